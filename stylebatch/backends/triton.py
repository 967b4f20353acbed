"""NVIDIA GPUs: PyTorch's convolutions, and everything between them in kernels of our own (`kernels.py`).

cuDNN's convolutions in half precision reach most of a GPU's matrix rate, but as single operations of PyTorch, padding,
shuffling, normalising, adding and activating go over memory five times for each. Here it is twice: once for the statistics,
once for the next convolution's input. The first and the last convolution, with three channels on one side, are computed of
blocks of 2×2 and 4×4 pixels.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Lock

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from stylebatch.backends import Result
from stylebatch.backends.cuda import Streams
from stylebatch.backends.kernels import PARTS, TILE, activate, conclude, enter, leave, measure
from stylebatch.backends.pytorch import PyTorchBackend, convolution
from stylebatch.device import DTYPES, Precision
from stylebatch.stages import EPSILON, PIXEL_SCALE, Stage, levels_to_subtract
from stylebatch.transnet import whole_size

#: Pixels a side of what the first and the last convolution take as one.
FIRST_BLOCK, LAST_BLOCK = 2, 4
#: What is computed at once has no more values in a layer: cuDNN counts in 32 bits.
MOST_VALUES = 2**31 - 1
#: Shapes of batches that are kept as CUDA graphs, and among how many of the last ones a shape has to come again for that.
MOST_GRAPHS, REMEMBERED = 8, 32
#: How far the kernels may be from PyTorch's operations where it is tried whether they compute what they should: 40 dB.
_MOST_ERROR = 255**2 * 1e-4
#: One capture at a time in a process.
_capturing = Lock()


@dataclass(frozen=True)
class _Step:
    """A stage, and the input of the next one. `stage.kernel` and `shuffle` are those that are computed with."""

    stage: Stage
    following: Stage
    block: int

    @property
    def channels(self) -> int:
        return self.stage.channels


class TritonBackend:
    """Fused stages, batch by batch on one stream. On a CPU it runs where TRITON_INTERPRET=1 is set, slowly, for tests.

    Raises:
        Exception: of any kind, where Triton cannot compile for this GPU.
        ArithmeticError: it does, and another picture comes out than by PyTorch alone.
    """

    def __init__(self, stages: list[Stage], device: torch.device, precision: Precision) -> None:
        index = torch.cuda.current_device() if device.type == "cuda" and device.index is None else device.index
        self.device = torch.device(device.type, index)
        self._dtype = DTYPES[precision]
        placed = [stage.to(self.device, self._dtype, torch.channels_last) for stage in (_first(stages[0]), *stages[1:-1])]
        last = _last(stages[-1])
        assert last.bias is not None
        self._bias = last.bias.to(self.device, torch.float32)
        self._last = last.to(self.device, self._dtype, torch.channels_last)
        steps = pairwise([*placed, self._last])
        self._steps = [_Step(stage, after, LAST_BLOCK if after.last else 1) for stage, after in steps]
        self._graphs: dict[tuple[torch.Size, torch.dtype], _Graph] = {}
        self._most_graphs = MOST_GRAPHS
        self._recent: deque[tuple[torch.Size, torch.dtype]] = deque(maxlen=REMEMBERED)
        if self.device.type == "cuda":
            self._streams = Streams(self.device)
            self._pool = torch.cuda.graph_pool_handle()
            self._compare(PyTorchBackend(stages, self.device, precision))

    def start(self, pixels: Tensor) -> Result:
        """Done on return, but on CUDA. Raises MemoryError where a picture alone has too many values in a layer."""
        _, height, width, _ = pixels.shape
        around, beyond = 2 * self._last.padding, 2 * self._steps[0].stage.beyond
        high, wide = whole_size(height + beyond) + around, whole_size(width + beyond) + around
        values = high * wide * self._steps[0].channels
        if values > MOST_VALUES:
            raise MemoryError(f"{width}×{height} pixels are too many to be computed at once; use `size`")
        at_once = MOST_VALUES // values
        if self.device.type == "cuda":
            return self._streams.start(pixels, lambda on_device: self._in_turn(on_device, at_once))
        with torch.inference_mode():
            stylized, finite = self._in_turn(pixels, at_once)
        return lambda: (stylized, bool(finite))

    def _in_turn(self, pixels: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
        run = self._by_graph if self.device.type == "cuda" else self._run
        results = [run(part.contiguous()) for part in torch.split(pixels, at_once)]
        if len(results) == 1:
            return results[0]
        return torch.cat([stylized for stylized, _ in results]), torch.stack([finite for _, finite in results]).amin()

    def _by_graph(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """A shape that comes again is captured, the others are computed kernel by kernel: the GPU is not kept waiting but by
        small pictures."""
        key = pixels.shape, pixels.dtype
        try:
            if key not in self._graphs and key in self._recent and len(self._graphs) < self._most_graphs:
                self._capture(key, pixels)
            self._recent.append(key)
            return self._graphs[key](pixels) if key in self._graphs else self._run(pixels)
        except torch.OutOfMemoryError:
            self._recent.clear()
            if self._graphs:  # what they hold may be what is missing
                torch.cuda.synchronize(self.device)
                self._graphs.clear()
            raise

    def _capture(self, key: tuple[torch.Size, torch.dtype], pixels: Tensor) -> None:
        try:
            self._graphs[key] = _Graph(self, pixels)
        except RuntimeError:  # the driver or the program around may not allow it: without one the same kernels are launched
            self._most_graphs = len(self._graphs)

    def _run(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The same shape and dtype, and 1 if every value was finite, else 0. Each layer is freed once it has been read."""
        n, height, width, _ = pixels.shape
        finite = torch.ones(1, dtype=torch.int32, device=self.device)
        x = self._enter(pixels)
        skip: Tensor | None = None
        for step in self._steps:
            y = self._convolved(x, step.stage)
            added, skip = skip, x if step.following.residual else None
            del x
            x = self._activated(y, step, added, finite)
            del y, added
        y = self._convolved(x, self._last)
        out = torch.empty_like(pixels)
        high, wide, channels = y.shape[1:]
        tile = TILE // 4 // channels
        leave[high * triton.cdiv(wide, tile), n](
            y, self._bias, out, finite, high, wide, height, width,
            BEYOND=self._steps[0].stage.beyond, CHANNELS=channels, BLOCK=LAST_BLOCK, TOP=torch.iinfo(pixels.dtype).max,
            TILE_WIDTH=tile,
        )  # fmt: skip
        return out, finite

    def _enter(self, pixels: Tensor) -> Tensor:
        n, height, width, _ = pixels.shape
        first = self._steps[0].stage
        high, wide = whole_size(height + 2 * first.beyond), whole_size(width + 2 * first.beyond)
        levels = levels_to_subtract(pixels, first).contiguous()
        blocks = high // FIRST_BLOCK + first.padding, wide // FIRST_BLOCK + first.padding
        out = self._empty(n, *blocks, first.kernel.shape[1])
        tile = TILE // out.shape[3]
        enter[blocks[0] * triton.cdiv(blocks[1], tile), n](
            pixels, levels, out, height, width, high, wide, PIXEL_SCALE / torch.iinfo(pixels.dtype).max,
            BEYOND=first.beyond, PADDING=first.padding, MODE=first.padding_mode, TILE_WIDTH=tile,
        )  # fmt: skip
        return out

    def _convolved(self, x: Tensor, stage: Stage) -> Tensor:
        """N×H×W×C, padded already."""
        y = convolution(x.permute(0, 3, 1, 2), stage.kernel, None, stage.stride)
        return y.permute(0, 2, 3, 1).contiguous()

    def _activated(self, y: Tensor, step: _Step, skip: Tensor | None, finite: Tensor) -> Tensor:
        stage, following, channels = step.stage, step.following, step.channels
        n, high, wide, held = y.shape
        quarters = held // channels
        columns = triton.next_power_of_2(held)
        rows = max(1, TILE // columns)
        part = triton.cdiv(triton.cdiv(high * wide, PARTS), rows) * rows
        parts = triton.cdiv(high * wide, part)
        sums = torch.empty((n, parts, 2, held), dtype=torch.float32, device=self.device)
        measure[parts, n](
            y, sums, high, wide, part, CHANNELS=held, SHUFFLE=stage.shuffle, CROP=stage.crop, COLUMNS=columns, ROWS=rows
        )
        scale = 2 if stage.shuffle else 1
        height, width = scale * high - 2 * stage.crop, scale * wide - 2 * stage.crop
        moments = torch.empty((n, 2, channels), dtype=torch.float32, device=self.device)
        conclude[n, triton.cdiv(channels, 32)](
            y, sums, moments, finite, high, wide, parts, height * width, EPSILON,
            CHANNELS=channels, QUARTERS=quarters, COLUMNS=32,
        )  # fmt: skip
        padding, block = following.padding, step.block
        padded = height + 2 * padding, width + 2 * padding
        out = self._empty(n, padded[0] // block, padded[1] // block, block * block * channels)
        columns = triton.next_power_of_2(channels)
        tile = max(1, TILE // columns)
        activate[padded[0] * triton.cdiv(padded[1], tile), n](
            y, moments, y if skip is None else skip, out, high, wide, height, width,
            CHANNELS=channels, SHUFFLE=stage.shuffle, CROP=stage.crop, SKIP=skip is not None, SKIP_PADDING=stage.padding,
            PADDING=padding, MODE=following.padding_mode, BLOCK=block, COLUMNS=columns, TILE_WIDTH=tile,
        )  # fmt: skip
        return out

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self._dtype, device=self.device)

    def _compare(self, reference: PyTorchBackend) -> None:
        """Compile the kernels, and see that they paint what PyTorch paints: a picture of a size that has to be padded."""
        coarse = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
        pixels = (F.interpolate(coarse, (50, 71), mode="bicubic").clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous()
        (ours, finite), (theirs, both) = self.start(pixels)(), reference.start(pixels)()
        error = float((ours.float() - theirs.float()).square().mean())
        if finite != both or (finite and error > _MOST_ERROR):
            raise ArithmeticError(f"its pictures are others than PyTorch's, by {error**0.5:.1f} levels of 255")


class _Graph:
    """All kernels of one shape of batch, launched by one call. The memory is that of the backend's other graphs too: one
    runs at a time, and results are copied out before the next."""

    def __init__(self, backend: TritonBackend, like: Tensor) -> None:
        self._pixels = like.clone()
        self._graph = torch.cuda.CUDAGraph()
        # In other threads, pinned memory may be taken meanwhile.
        context = torch.cuda.graph(self._graph, backend._pool, backend._streams.compute, capture_error_mode="thread_local")
        with _capturing, context:
            self._results = backend._run(self._pixels)

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        self._pixels.copy_(pixels)
        self._graph.replay()
        stylized, finite = self._results
        return stylized.clone(), finite.clone()


def _first(stage: Stage) -> Stage:
    """A fourth channel makes a pixel of the first stage's input eight bytes, a block of four of them a sector of memory."""
    kernel = F.pad(stage.kernel, (0, 0, 0, 0, 0, 1))
    return replace(stage, kernel=in_blocks(kernel, FIRST_BLOCK), shuffle=True)


def _last(stage: Stage) -> Stage:
    """The last stage's kernel stands in it four times, shifted, for 2×2 pixels. Of blocks of 4×4 pixels, whose 48 channels
    become 64."""
    assert stage.bias is not None
    side = stage.kernel.shape[-1] - 1
    kernel, bias = in_blocks(stage.kernel[:3, :, :side, :side], LAST_BLOCK), stage.bias[:3].repeat(LAST_BLOCK**2)
    spare = triton.next_power_of_2(len(bias)) - len(bias)
    kernel, bias = F.pad(kernel, (0, 0, 0, 0, 0, 0, 0, spare)), F.pad(bias, (0, spare))
    return replace(stage, kernel=kernel, bias=bias, stride=1, shuffle=False)


def in_blocks(kernel: Tensor, block: int) -> Tensor:
    """A convolution of stride 1 from pixels to pixels, O×I×K×K, as one from blocks of B×B pixels to such blocks:
    B²·O × B²·I × K' × K'. K' is how many blocks a side K + B - 1 pixels take."""
    o, i, k, _ = kernel.shape
    blocks = -(-(k + block - 1) // block)
    wide = kernel.new_zeros(block, block, o, i, block * blocks, block * blocks)
    for row in range(block):
        for column in range(block):
            wide[row, column, :, :, row : row + k, column : column + k] = kernel
    parted = wide.view(block, block, o, i, blocks, block, blocks, block).permute(0, 1, 2, 5, 7, 3, 4, 6)
    return parted.reshape(block * block * o, block * block * i, blocks, blocks).contiguous()
