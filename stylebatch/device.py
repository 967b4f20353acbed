"""Which device computes, and in which precision: one rule for training and for stylizing."""

from __future__ import annotations

import re
from typing import Literal

import torch

from stylebatch.errors import StylebatchError
from stylebatch.options import check_device

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

#: Of PyTorch, CUDA, OpenVINO and C++.
_SHORT_OF_MEMORY = re.compile(r"out of memory|\balloc|bad_alloc|bad allocation|Allocator", re.IGNORECASE)


def pick_device(name: str = "auto") -> torch.device:
    """Turn "auto", "cpu", "cuda", "cuda:N" or "mps" into a device that is really there.

    Raises:
        StylebatchError: the name means nothing, or the device is missing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_device(name)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise StylebatchError(f"device {name}: one alone is needed here, such as cuda:0") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise StylebatchError(f"device {name}: PyTorch finds no CUDA GPU here; use `device` cpu or auto")
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise StylebatchError(f"device {name}: this machine has {torch.cuda.device_count()} GPU(s), from cuda:0")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise StylebatchError("device mps: PyTorch finds no Apple GPU here; use `device` cpu or auto")
    return device


def pick_devices(name: str) -> list[torch.device]:
    """Like `pick_device`, for several GPUs at once too: "cuda:0,cuda:1", or "all" that there are.

    Raises:
        StylebatchError: as there, and for a list of anything but different GPUs.
    """
    if name == "all":
        pick_device("cuda")
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    names = name.split(",")
    devices = [pick_device(part.strip()) for part in names]
    if len(names) > 1 and (len(set(devices)) < len(names) or any(device.index is None for device in devices)):
        raise StylebatchError(f"device {name}: a list names different GPUs, such as cuda:0,cuda:1")
    return devices


def pick_precision(name: str, device: torch.device, *, training: bool = False) -> Precision:
    """Turn "auto" into fp16 on CUDA, bf16 on CPUs that multiply it faster than fp32, fp32 elsewhere. For `training`, into
    bf16 on GPUs that have it, whose range no gradient leaves.

    Raises:
        StylebatchError: the name means nothing.
    """
    if name == "auto":
        if device.type == "cuda":
            return "bf16" if training and torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return "bf16" if device.type == "cpu" and _cpu_has_fast_bf16() else "fp32"
    if name not in DTYPES:
        raise StylebatchError(f"precision {name!r}: use auto, {', '.join(DTYPES)}")
    return name


def shortage(error: Exception) -> str:
    """What to say of an error that means that memory is short, the device's or the machine's, which each runtime puts in its
    own way; empty for any other."""
    if isinstance(error, MemoryError) and str(error):
        return str(error)
    if isinstance(error, MemoryError) or _SHORT_OF_MEMORY.search(str(error)):
        return "not enough memory; use `size`"
    return ""


def half_in_hardware(device: torch.device) -> Precision | None:
    """The half precision that a device multiplies by itself; None on a CPU that would have to imitate it."""
    if device.type != "cpu":
        return "fp16"
    return "bf16" if cpu_capabilities() & {"amx_bf16", "avx512_bf16"} else None


def _cpu_has_fast_bf16() -> bool:
    """AMX, or AMD's AVX512-BF16. Intel's AVX512-BF16 alone multiplies at half its fp32 rate (measured: 165 against 320
    GFLOP/s on two Emerald Rapids cores); AMD's at twice."""
    capabilities = cpu_capabilities()
    return "amx_bf16" in capabilities or (
        "avx512_bf16" in capabilities and "Intel" not in torch.cpu.get_capabilities()["cpu_name"]
    )


def cpu_capabilities() -> set[str]:
    """PyTorch's names of the instruction sets that this CPU has, such as "avx512_f"."""
    return {name for name, there in torch.cpu.get_capabilities().items() if there is True}
