"""What runs a network: one file a runtime, one Protocol, one rule that picks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal, Protocol, TypeAlias, get_args

import torch
from torch import Tensor

from stylebatch.device import Precision
from stylebatch.errors import StylebatchError, first_line
from stylebatch.stages import Stage

BackendName: TypeAlias = Literal["torch", "openvino", "triton"]
#: Waits for a batch on its way through the device: the stylized batch on the CPU, and whether every value was finite.
Result: TypeAlias = Callable[[], tuple[Tensor, bool]]

_TELEMETRY = "openvino_telemetry"


class RefusedError(StylebatchError):
    """A runtime that cannot compute on this machine."""


class Backend(Protocol):
    """A style's network on one runtime, device and precision."""

    def start(self, pixels: Tensor, /) -> Result:
        """Stylize N×H×W×3 pixels, RGB, uint8 or uint16, on the CPU, into the same shape and dtype."""


def pick_backend(name: str, device: torch.device) -> BackendName:
    """Turn "auto" into OpenVINO on CPUs where it is installed, Triton on CUDA, PyTorch elsewhere.

    Raises:
        StylebatchError: the name means nothing, or the runtime is missing or has no such device.
    """
    if name == "auto":
        if device.type == "cpu":
            return "openvino" if find_spec("openvino") else "torch"
        return "triton" if device.type == "cuda" else "torch"
    if name not in get_args(BackendName):
        raise StylebatchError(f"backend {name!r}: use auto, {', '.join(get_args(BackendName))}")
    if name == "openvino" and device.type != "cpu":
        raise StylebatchError(f"backend openvino: it computes on the CPU, not on {device}; use `backend` torch or auto")
    if name == "triton" and device.type != "cuda":
        raise StylebatchError(f"backend triton: it computes on CUDA, not on {device}; use `backend` torch or auto")
    if name != "torch" and not find_spec(name):
        raise StylebatchError(f"backend {name}: not installed; pip install {name}, or use `backend` torch")
    return name  # type: ignore[return-value]


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """OpenVINO tells its makers that it is imported, by a process that it forks, which may hang for ever, or spawns, which
    runs the program once more. Where the package for that is missing, it does not."""
    hidden = sys.modules.setdefault(_TELEMETRY, None) is None  # type: ignore[arg-type]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]


def load_backend(
    name: BackendName, stages: list[Stage], device: torch.device, precision: Precision, *, in_bands: bool = False
) -> Backend:
    """Put a network on a runtime, loading no other; or, `in_bands`, on PyTorch in little memory, whatever the runtime.

    Raises:
        RefusedError: Triton is missing, or cannot compute on this machine.
    """
    if in_bands:
        from stylebatch.backends.bands import InBands

        return InBands(stages, device, precision)
    if name == "openvino":
        with _without_telemetry():
            from stylebatch.backends.openvino import OpenVINOBackend

        return OpenVINOBackend(stages, precision)
    if name == "triton":
        try:
            from stylebatch.backends.triton import TritonBackend

            return TritonBackend(stages, device, precision)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # it lacks a compiler, or its own refuses the GPU, in every way
            raise RefusedError(f"backend triton: it does not compute here: {first_line(error)}") from error
    from stylebatch.backends.pytorch import PyTorchBackend

    return PyTorchBackend(stages, device, precision)
