"""Compiles what kernels networks ask for, for GPUs that need not be there: each argument is a network,
"PRECISION WIDTH PADDING_MODE CAPABILITY…". Says how many."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from triton import compiler
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from stylebatch.backends import triton as backend
from stylebatch.stages import as_stages
from stylebatch.transnet import TransNet

TYPES = {
    torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.uint8: "*u8", torch.uint16: "*u16",
    torch.int32: "*i32",
}  # fmt: skip


class Noted:
    """Stands for a kernel, and notes what it is called with."""

    def __init__(self, kernel: Any, asked: dict[str, ASTSource]) -> None:
        self._kernel, self._asked = kernel, asked

    def __getitem__(self, _grid: object) -> Callable[..., None]:
        return self._note

    def _note(self, *arguments: Any, **constants: Any) -> None:
        names = self._kernel.arg_names
        signature = {name: _type(argument) for name, argument in zip(names, arguments, strict=False)}
        signature |= dict.fromkeys(constants, "constexpr")
        aligned = {(index,): [["tt.divisibility", 16]] for index, each in enumerate(signature.values()) if each[0] == "*"}
        self._asked[f"{self._kernel}{signature}{constants}"] = ASTSource(self._kernel, signature, constants, aligned)


def _type(argument: Any) -> str:
    if isinstance(argument, torch.Tensor):
        return TYPES[argument.dtype]
    return "fp32" if isinstance(argument, float) else "i32"


KERNELS = {name: getattr(backend, name) for name in ("enter", "measure", "conclude", "activate", "leave")}


def compiled(precision: str, width: str, padding_mode: str, *capabilities: str) -> int:
    asked: dict[str, ASTSource] = {}
    for name, kernel in KERNELS.items():
        setattr(backend, name, Noted(kernel, asked))
    network = TransNet(padding_mode, int(width)).eval()  # type: ignore[arg-type]
    fused = backend.TritonBackend(as_stages(network), torch.device("cpu"), precision)  # type: ignore[arg-type]
    for dtype in (torch.uint8, torch.uint16):
        fused.start(torch.zeros(1, 40, 52, 3, dtype=dtype))()
    for capability in capabilities:
        for source in asked.values():
            compiler.compile(source, target=GPUTarget("cuda", int(capability), 32))
    return len(asked) * len(capabilities)


if __name__ == "__main__":
    sys.stdout.write(" ".join(str(compiled(*network.split())) for network in sys.argv[1:]))
