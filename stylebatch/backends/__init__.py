"""What runs a network: one file a runtime, one Protocol, one rule that picks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from stylebatch.device import Precision
from stylebatch.errors import StylebatchError
from stylebatch.stages import Stage

BackendName: TypeAlias = Literal["torch", "openvino"]
#: Waits for a batch on its way through the device: the stylized batch on the CPU, and whether every value was finite.
Result: TypeAlias = Callable[[], tuple[Tensor, bool]]

_TELEMETRY = "openvino_telemetry"


class Backend(Protocol):
    """A style's network on one runtime, device and precision."""

    def start(self, pixels: Tensor, /) -> Result:
        """Stylize N×H×W×3 pixels, RGB, uint8 or uint16, on the CPU, into the same shape and dtype."""


def pick_backend(name: str, device: torch.device) -> BackendName:
    """Turn "auto" into OpenVINO on CPUs where it is installed, PyTorch elsewhere.

    Raises:
        StylebatchError: the name means nothing, or the runtime is missing or has no such device.
    """
    if name == "auto":
        return "openvino" if device.type == "cpu" and find_spec("openvino") else "torch"
    if name not in ("torch", "openvino"):
        raise StylebatchError(f"backend {name!r}: use auto, torch, openvino")
    if name == "openvino":
        if device.type != "cpu":
            raise StylebatchError(f"backend openvino: it computes on the CPU, not on {device}; use `backend` torch or auto")
        if not find_spec("openvino"):
            raise StylebatchError("backend openvino: not installed; pip install openvino, or use `backend` torch")
        return "openvino"
    return "torch"


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
    """Put a network on a runtime, loading no other; or, `in_bands`, on PyTorch in little memory, whatever the runtime."""
    if in_bands:
        from stylebatch.backends.bands import InBands

        return InBands(stages, device, precision)
    if name == "openvino":
        with _without_telemetry():
            from stylebatch.backends.openvino import OpenVINOBackend

        return OpenVINOBackend(stages, precision)
    from stylebatch.backends.pytorch import PyTorchBackend

    return PyTorchBackend(stages, device, precision)
