"""Batch in, batch out, in the depth that it has: the one entry to a style's network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylebatch.device import DTYPES, free_memory, keep_freed_memory, pick_device, pick_precision
from stylebatch.styles import load_style
from stylebatch.transnet import TransNet

#: What the network needs at its peak for a pixel, in values: measured, 1.1 kB in fp32 (two copies of 64 channels in full
#: size around the last upsampling, and what the convolution makes of them).
VALUES_PER_PIXEL = 300


@dataclass(frozen=True)
class Pending:
    """A batch on its way through the device. `result` waits for it."""

    result: Callable[[], Tensor]


class Stylizer:
    """One style on one device.

    Args:
        style: a name, the path of a checkpoint, or a mix, "hosi:0.6,wave:0.4".
        strength: 0 (the photograph) to 1 (the style as trained) to 1.5.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto" (half where the device is faster in it), "fp32", "bf16" or "fp16". Instance statistics are
            summed in fp32 in each, and a batch whose result is not finite is run again in fp32.

    Raises:
        StylebatchError: unknown style, unreadable checkpoint, missing device.
    """

    def __init__(
        self, style: str | Path = "hosi", *, strength: float = 1.0, device: str = "auto", precision: str = "auto"
    ) -> None:
        checkpoint = load_style(str(style), strength)
        self.name = str(checkpoint.metadata["style"])
        self.digest = checkpoint.digest
        self._tone = checkpoint.tone
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self._dtype = DTYPES[self.precision]
        self._fp32 = checkpoint.network().to(self.device)
        self._network: TransNet = self._fp32
        if self.precision != "fp32":
            self._network = checkpoint.network().to(self.device, self._dtype)
        if self.device.type == "cuda":
            self._network.to(memory_format=torch.channels_last)
        elif self.device.type == "cpu":
            keep_freed_memory()

    def __call__(self, pixels: Tensor) -> Tensor:
        """Stylize a batch.

        Args:
            pixels: N×H×W×3, RGB, uint8 or uint16, on the CPU, any size from 1×1. 16 bits are always computed in fp32:
                half precision has fewer steps than they.

        Returns:
            The same shape and dtype, contiguous, on the CPU.
        """
        return self.start(pixels).result()

    def start(self, pixels: Tensor) -> Pending:
        """Like a call, but on CUDA it returns while the device still computes, so that the caller can feed it the next
        batch; pinned `pixels` are copied asynchronously. On a CPU the work is done on return.

        Raises:
            MemoryError: main memory is too small, which the system would answer by killing the process.
        """
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype not in (torch.uint8, torch.uint16):
            raise ValueError(f"a batch is N×H×W×3 uint8 or uint16, not {tuple(pixels.shape)} {pixels.dtype}")
        if self.device.type == "cpu":
            _check_memory(pixels, torch.float32.itemsize if pixels.dtype == torch.uint16 else self._dtype.itemsize)
        with torch.inference_mode():
            on_device = pixels.to(self.device, non_blocking=True)
            if pixels.dtype == torch.uint16:
                stylized, finite = self._run(on_device, self._fp32, torch.float32)
            else:
                stylized, finite = self._run(on_device, self._network, self._dtype)
            if self.device.type != "cuda":
                done = self._checked(on_device, stylized, finite)
                return Pending(lambda: done)
            host = torch.empty(stylized.shape, dtype=stylized.dtype, pin_memory=True)
            host.copy_(stylized, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()

        def wait() -> Tensor:
            event.synchronize()
            return host if finite else self._checked(on_device, stylized, finite)

        return Pending(wait)

    def _checked(self, pixels: Tensor, stylized: Tensor, finite: Tensor) -> Tensor:
        if not finite and self._network is not self._fp32:
            with torch.inference_mode():
                stylized, _ = self._run(pixels, self._fp32, torch.float32)
        return stylized.cpu()

    def _run(self, pixels: Tensor, network: TransNet, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The same shape and dtype, and whether every value was finite. Permuted, NHWC is channels_last: no copy."""
        top = torch.iinfo(pixels.dtype).max
        x = pixels.permute(0, 3, 1, 2).to(dtype) / top
        y = network(x)
        if self._tone:
            y = with_tone_of(x.float(), y.float(), self._tone)
        finite = y.isfinite().all()
        # Rounded in fp32: bf16 would step over levels above 128.
        y = (y.float() * top).round().clamp_(0, top).to(pixels.dtype)
        return y.permute(0, 2, 3, 1).contiguous(), finite


def with_tone_of(x: Tensor, y: Tensor, share: float) -> Tensor:
    """N×3×H×W y with its mean and standard deviation by channel moved by `share` of the way to those of x."""
    (x_std, x_mean), (y_std, y_mean) = (torch.std_mean(z, (2, 3), correction=0, keepdim=True) for z in (x, y))
    scale = 1 + share * (x_std / y_std.clamp_min(1e-3) - 1)
    return (y - y_mean) * scale + y_mean + share * (x_mean - y_mean)


def _check_memory(pixels: Tensor, bytes_per_value: int) -> None:
    needed = pixels.shape[0] * pixels.shape[1] * pixels.shape[2] * VALUES_PER_PIXEL * bytes_per_value
    free = free_memory()
    if free is not None and needed > free:
        raise MemoryError(f"the network needs {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; use --size")
