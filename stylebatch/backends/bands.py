"""Pictures too large to lie in memory with all their activations: band by band, and yet exact.

Instance normalisation needs the mean and the variance of a whole layer. So each layer is computed in bands of rows, its
statistics are combined (Chan et al. 1979, eq. 2.1), and only then the next one reads it. Layers of reduced size are
kept; those of full size, three quarters of the memory, are computed twice instead. Nothing is approximated, as it is where
statistics come from a thumbnail (URST, arXiv 2103.11784) or from each tile alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from stylebatch.backends import Result
from stylebatch.backends.pytorch import convolve, on_device, to_input, to_integers
from stylebatch.device import Precision
from stylebatch.stages import EPSILON, Stage, levels_to_subtract
from stylebatch.system import free_memory
from stylebatch.transnet import pad_to_multiple

#: Values in a band of a convolution's output. Larger bands leave the caches, smaller ones compute more borders twice.
BAND_VALUES = 1 << 21


class InBands:
    """A `Backend` by PyTorch for what does not fit: one picture of the batch after the other."""

    def __init__(self, stages: list[Stage], device: torch.device, precision: Precision) -> None:
        self.stages = on_device(stages, device, precision)

    def start(self, pixels: Tensor, between: Callable[[], object] = lambda: None) -> Result:
        """Done on return. `between` is called before each band; what it raises ends the pass.

        Raises:
            MemoryError: the layers kept do not fit into main memory.
        """
        _, height, width, _ = pixels.shape
        beyond = self.stages[0].beyond
        padded = pad_to_multiple(pixels, dims=(1, 2), beyond=beyond)
        kernel = self.stages[0].kernel
        if kernel.device.type == "cpu":
            _check_memory(padded[0, :, :, 0].numel() * values_per_pixel(self.stages) * kernel.itemsize)
        with torch.inference_mode():
            results = [stylize_in_bands(self.stages, picture, between) for picture in padded]
        whole = torch.stack([result for result, _ in results])
        stylized = whole[:, beyond : beyond + height, beyond : beyond + width].contiguous()
        finite = all(finite for _, finite in results)
        return lambda: (stylized, finite)


def values_per_pixel(stages: list[Stage]) -> float:
    """What the layers kept take at their peak, in values for each pixel of the picture: the three of a residual block, which
    has the most channels, at a sixteenth of the pixels. Half the channels at a quarter, and what they are made from, take as
    much."""
    return 3 * max(stage.channels for stage in stages) / 16


def stylize_in_bands(
    stages: list[Stage], pixels: Tensor, between: Callable[[], object] = lambda: None
) -> tuple[Tensor, bool]:
    """Stylize one picture.

    Args:
        stages: on the device, and in the dtype, to compute with.
        pixels: H×W×3 integers on the CPU, H and W multiples of 4 from 8 up.
        between: called before each band; what it raises ends the pass.

    Returns:
        The same shape and dtype, on the CPU, and whether every value was finite.
    """
    layer: _Picture | _Layer = _Picture(pixels, stages[0])
    before: _Picture | _Layer | None = None
    for stage, following in pairwise(stages):
        reduced = stage.output_size(layer.height) < len(pixels)
        above = _Layer(stage, layer, before if stage.residual else None, between, keep=reduced)
        layer, before = above, layer if following.residual else None
    stylized, finite = torch.empty_like(pixels), True
    for first, end in _bands(stages[-1], *pixels.shape[:2]):
        between()
        rows = _convolve_rows(stages[-1], layer, first, end)
        stylized[first:end] = to_integers(rows, pixels.dtype)[0].cpu()
        finite = finite and bool(rows.isfinite().all())
    return stylized, finite


class _Picture:
    """The lowest layer."""

    def __init__(self, pixels: Tensor, first: Stage) -> None:
        self._pixels = pixels[None]
        self._like = first.kernel
        self._levels = levels_to_subtract(self._pixels, first).to(first.kernel)
        self.height: int = pixels.shape[0]
        self.width: int = pixels.shape[1]

    def rows(self, first: int, end: int) -> Tensor:
        return to_input(self._pixels[:, first:end].to(self._like.device), self._levels, self._like.dtype)


class _Layer:
    """What a stage makes of the layer below, normalised and activated; kept, or computed again whenever rows are read."""

    def __init__(
        self,
        stage: Stage,
        below: _Picture | _Layer,
        skip: _Picture | _Layer | None,
        between: Callable[[], object],
        *,
        keep: bool,
    ) -> None:
        self._stage = stage
        self._below: _Picture | _Layer | None = below
        self._skip = skip
        self.height: int = stage.output_size(below.height)
        self.width: int = stage.output_size(below.width)
        self._kept: Tensor | None = None
        kept = stage.kernel.new_empty(1, stage.channels, self.height, self.width) if keep else None
        moments = _Moments(stage.channels)
        for first, end in _bands(stage, self.height, self.width):
            between()
            rows = _convolve_rows(stage, below, first, end)
            moments.add(rows)
            if kept is not None:
                kept[:, :, first:end] = rows
        self._mean, self._rstd = (moment.to(stage.kernel) for moment in moments.mean_and_rstd())
        if kept is not None:
            for first, end in _bands(stage, self.height, self.width):
                self._activate(kept[:, :, first:end], first, end)
            self._kept, self._below, self._skip = kept, None, None

    def rows(self, first: int, end: int) -> Tensor:
        """1×C×(end-first)×W."""
        if self._below is None:
            assert self._kept is not None
            return self._kept[:, :, first:end]
        return self._activate(_convolve_rows(self._stage, self._below, first, end), first, end)

    def _activate(self, rows: Tensor, first: int, end: int) -> Tensor:
        rows.sub_(self._mean).mul_(self._rstd)
        if self._skip is not None:
            rows.add_(self._skip.rows(first, end))
        return rows.relu_()


class _Moments:
    """Mean and variance of the channels of a layer, from its bands: within one in fp32 or better, across them in fp64."""

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._mean = torch.zeros(1, channels, 1, 1, dtype=torch.float64)
        self._squares = torch.zeros_like(self._mean)

    def add(self, rows: Tensor) -> None:
        """By two plain reductions: `torch.var_mean` takes seven times as long on CPUs."""
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        mean = rows.mean((2, 3), keepdim=True)
        norm = torch.linalg.vector_norm(rows - mean, dim=(2, 3), keepdim=True)
        count = rows.shape[2] * rows.shape[3]
        total = self._count + count
        step = mean.cpu().double() - self._mean
        self._squares += norm.cpu().double().square() + step.square() * (self._count * count / total)
        self._mean += step * (count / total)
        self._count = total

    def mean_and_rstd(self) -> tuple[Tensor, Tensor]:
        return self._mean, (self._squares / self._count + EPSILON).rsqrt()


def _convolve_rows(stage: Stage, below: _Picture | _Layer, first: int, end: int) -> Tensor:
    """Rows of a stage's convolution, from the rows below that they depend on. Padding belongs to the picture's borders."""
    scale = 2 if stage.shuffle else 1
    start = (first + stage.crop) // scale
    positions = -(-(end + stage.crop) // scale) - start
    low = start * stage.stride - stage.padding
    high = low + (positions - 1) * stage.stride + stage.kernel.shape[-1]
    x = below.rows(max(low, 0), min(high, below.height))
    y = convolve(stage, x, top=max(-low, 0), bottom=max(high - below.height, 0))
    offset = first + stage.crop - start * scale
    return y[:, :, offset : offset + end - first]


def _bands(stage: Stage, height: int, width: int) -> Iterator[tuple[int, int]]:
    """First row and end of each band of a stage's output."""
    rows = max(16, BAND_VALUES // (stage.channels * width))
    for first in range(0, height, rows):
        yield first, min(first + rows, height)


def _check_memory(needed: float) -> None:
    free = free_memory()
    if free is not None and needed > free:
        raise MemoryError(f"the network needs {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; use `size`")
