"""What lies between the convolutions of a network, as Triton kernels: one pass over memory to measure what a convolution
gives, and one to make the next one's input of it.

Activations are N×H×W×C, and what a convolution reads is padded in memory already. Two of the convolutions take and give
blocks of B×B pixels as channels, row by row: tensor cores multiply three channels no faster than sixteen.

Every picture is measured in parts that depend on its size alone, and these are added in one order: its statistics do not
depend on its neighbours in the batch, and are the same in each run. For the same reason no tile is chosen by timing.

Offsets within a picture exceed 32 bits; those within a row do not. Sizes are `do_not_specialize`: otherwise Triton would
compile for each combination of what 16 divides.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Values that a program holds at a time; parts of a picture that are measured at most.
TILE, PARTS = 4096, 512
#: Parts that are added at a time.
_AT_A_TIME = tl.constexpr(16)


@triton.jit
def _within(at, size, MODE: tl.constexpr):
    """Where in a row or column of `size` pixels the value of a place in its padding comes from."""
    if MODE == "reflect":
        at = tl.where(at < 0, -at, at)
        at = tl.where(at >= size, 2 * size - 2 - at, at)
    return tl.minimum(tl.maximum(at, 0), size - 1)


@triton.jit
def _in_picture(at, size, whole, BEYOND: tl.constexpr):
    """As `pad_to_multiple`, which makes `whole` pixels of `size`."""
    at -= BEYOND
    reflected = tl.abs(at)
    reflected = tl.where(reflected < size, reflected, 2 * (size - 1) - reflected)
    at = tl.where(whole - BEYOND < 2 * size, reflected, at)
    return tl.minimum(tl.maximum(at, 0), size - 1)


@triton.jit(do_not_specialize=["height", "width", "whole_height", "whole_width"])
def enter(
    pixels, levels, out, height, width, whole_height, whole_width, scale,
    BEYOND: tl.constexpr, PADDING: tl.constexpr, MODE: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """N×H×W×3 integers, less N×3 levels, times `scale`, extended by BEYOND and to whole sizes, padded, in blocks of 2×2
    pixels of four channels, the last empty."""
    blocks_high, blocks_wide = whole_height // 2 + PADDING, whole_width // 2 + PADDING
    tiles = (blocks_wide + TILE_WIDTH - 1) // TILE_WIDTH
    i, n = tl.program_id(0) // tiles, tl.program_id(1).to(tl.int64)
    j = tl.program_id(0) % tiles * TILE_WIDTH + tl.arange(0, TILE_WIDTH)
    c = tl.arange(0, 16)
    y, x = 2 * i + c // 8 - PADDING, 2 * j[:, None] + (c // 4 % 2)[None, :] - PADDING
    inside = (j < blocks_wide)[:, None] & (c % 4 < 3)[None, :]
    if MODE == "zeros":
        inside &= ((y >= 0) & (y < whole_height))[None, :] & (x >= 0) & (x < whole_width)
    y = _in_picture(_within(y, whole_height, MODE), height, whole_height, BEYOND)
    x = _in_picture(_within(x, whole_width, MODE), width, whole_width, BEYOND)
    row = pixels + ((n * height + y) * width * 3 + c % 4)[None, :]
    value = tl.load(row + 3 * x, mask=inside, other=0).to(tl.float32)
    value -= tl.load(levels + 3 * n + c % 4, mask=c % 4 < 3, other=0)[None, :]
    value = tl.where(inside, value * scale, 0.0)
    to = out + ((n * blocks_high + i) * blocks_wide * 16) + j[:, None] * 16 + c[None, :]
    tl.store(to, value.to(out.dtype.element_ty), mask=(j < blocks_wide)[:, None])


@triton.jit(do_not_specialize=["high", "wide", "part"])
def measure(
    y, out, high, wide, part,
    CHANNELS: tl.constexpr, SHUFFLE: tl.constexpr, CROP: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Sums and sums of squares of the channels of a part of a picture, N×high×wide×CHANNELS to N×parts×2×CHANNELS, fp32.

    They are of what a channel has beyond its value in the middle: a variance that is small beside the mean stays exact.
    """
    s, n = tl.program_id(0), tl.program_id(1).to(tl.int64)
    c = tl.arange(0, COLUMNS)
    real = c < CHANNELS
    quarter = CHANNELS // 4 if SHUFFLE else CHANNELS
    picture = y + n * high * wide * CHANNELS
    centre = ((high // 2).to(tl.int64) * wide + wide // 2) * CHANNELS
    middle = tl.load(picture + centre + c % quarter, mask=real, other=0).to(tl.float32)
    first = s.to(tl.int64) * part
    count = tl.minimum(part, high.to(tl.int64) * wide - first).to(tl.int32)
    row, column = (first // wide).to(tl.int32), (first % wide).to(tl.int32)
    picture += first * CHANNELS
    sums, squares = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(0, count, ROWS):
        p = start + tl.arange(0, ROWS)
        counts = (p < count)[:, None] & real[None, :]
        value = tl.load(picture + p[:, None] * CHANNELS + c[None, :], mask=counts, other=0).to(tl.float32)
        if CROP:  # the first and last row and column of the shuffled picture
            i, j = (row + (column + p) // wide)[:, None], ((column + p) % wide)[:, None]
            down, right = (c // quarter // 2)[None, :], (c // quarter % 2)[None, :]
            counts &= (i + down > 0) & (i + down < high) & (j + right > 0) & (j + right < wide)
        value = tl.where(counts, value - middle[None, :], 0.0)
        sums += value
        squares += value * value
    to = out + (n * tl.num_programs(0) + s) * 2 * CHANNELS + c
    tl.store(to, tl.sum(sums, 0), mask=real)
    tl.store(to + CHANNELS, tl.sum(squares, 0), mask=real)


@triton.jit(do_not_specialize=["high", "wide", "parts", "count"])
def conclude(
    y, parts_of, out, finite, high, wide, parts, count, epsilon,
    CHANNELS: tl.constexpr, QUARTERS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Mean and reciprocal of the standard deviation of each channel, N×2×C, from its parts; `finite` becomes 0 where they
    are none: a ReLU would make zeros of what is no number."""
    n = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    real = c < CHANNELS
    sums, squares = tl.zeros([COLUMNS], tl.float32), tl.zeros([COLUMNS], tl.float32)
    for first in range(0, parts, _AT_A_TIME):
        s = first + tl.arange(0, _AT_A_TIME)
        mask = (s < parts)[:, None] & real[None, :]
        for quarter in tl.static_range(QUARTERS):
            at = parts_of + (n * parts + s)[:, None] * (2 * QUARTERS * CHANNELS) + quarter * CHANNELS + c[None, :]
            sums += tl.sum(tl.load(at, mask=mask, other=0), 0)
            squares += tl.sum(tl.load(at + QUARTERS * CHANNELS, mask=mask, other=0), 0)
    centre = ((n * high + high // 2) * wide + wide // 2) * (QUARTERS * CHANNELS)
    middle = tl.load(y + centre + c, mask=real, other=0).to(tl.float32)
    beyond = sums / count
    variance = tl.maximum(squares / count - beyond * beyond, 0.0)
    mean = middle + beyond
    wrong = real & ~((tl.abs(mean) < float("inf")) & (tl.abs(squares) < float("inf")))
    tl.store(finite + c * 0, 0, mask=wrong)
    tl.store(out + 2 * n * CHANNELS + c, mean, mask=real)
    tl.store(out + (2 * n + 1) * CHANNELS + c, 1.0 / tl.sqrt(variance + epsilon), mask=real)


@triton.jit(do_not_specialize=["high", "wide", "height", "width"])
def activate(
    y, moments, skip, out, high, wide, height, width,
    CHANNELS: tl.constexpr, SHUFFLE: tl.constexpr, CROP: tl.constexpr, SKIP: tl.constexpr, SKIP_PADDING: tl.constexpr,
    PADDING: tl.constexpr, MODE: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """What a stage does after its convolution, N×high×wide×C or 4·C, and the padding of the next: shuffled, cropped to
    height×width, normalised, added to what lies in N×(height+2·SKIP_PADDING)×…×C, activated, padded, in blocks."""
    padded_height, padded_width = height + 2 * PADDING, width + 2 * PADDING
    tiles = (padded_width + TILE_WIDTH - 1) // TILE_WIDTH
    row, n = tl.program_id(0) // tiles, tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) % tiles * TILE_WIDTH + tl.arange(0, TILE_WIDTH)
    c = tl.arange(0, COLUMNS)
    real = (column < padded_width)[:, None] & (c < CHANNELS)[None, :]
    i, j = row - PADDING, column - PADDING
    inside = real
    if MODE == "zeros":
        inside &= ((i >= 0) & (i < height) & (j >= 0) & (j < width))[:, None]
    i, j = _within(i, height, MODE), _within(j, width, MODE)
    if SHUFFLE:
        down, right = (i + CROP) % 2, (j + CROP) % 2
        at = y + (n * high + (i + CROP) // 2) * wide * (4 * CHANNELS) + down * (2 * CHANNELS)
        at += ((j + CROP) // 2 * (4 * CHANNELS) + right * CHANNELS)[:, None]
    else:
        at = y + (n * high + i) * wide * CHANNELS + (j * CHANNELS)[:, None]
    value = tl.load(at + c[None, :], mask=inside, other=0).to(tl.float32)
    moment = moments + 2 * n * CHANNELS + c
    value -= tl.load(moment, mask=c < CHANNELS, other=0)[None, :]
    value *= tl.load(moment + CHANNELS, mask=c < CHANNELS, other=0)[None, :]
    if SKIP:
        at = skip + (n * (height + 2 * SKIP_PADDING) + i + SKIP_PADDING) * (width + 2 * SKIP_PADDING) * CHANNELS
        at += ((j + SKIP_PADDING) * CHANNELS)[:, None]
        value += tl.load(at + c[None, :], mask=inside, other=0).to(tl.float32)
    value = tl.where(inside, tl.maximum(value, 0.0), 0.0)
    to = out + (n * padded_height + row // BLOCK * BLOCK) * padded_width * CHANNELS + row % BLOCK * (BLOCK * CHANNELS)
    to += (column // BLOCK * (BLOCK * BLOCK * CHANNELS) + column % BLOCK * CHANNELS)[:, None]
    tl.store(to + c[None, :], value.to(out.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=["high", "wide", "height", "width"])
def leave(
    y, bias, out, finite, high, wide, height, width,
    BEYOND: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr, TOP: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Blocks of pixels before the sigmoid, N×high×wide×CHANNELS of which 3·BLOCK² are in use, plus their bias, as
    N×height×width×3 integers up to TOP, without what lies BEYOND; `finite` becomes 0 where one is no number."""
    tiles = (wide + TILE_WIDTH - 1) // TILE_WIDTH
    i, n = tl.program_id(0) // tiles, tl.program_id(1).to(tl.int64)
    j = tl.program_id(0) % tiles * TILE_WIDTH + tl.arange(0, TILE_WIDTH)
    c = tl.arange(0, CHANNELS)
    used = c < 3 * BLOCK * BLOCK
    row = BLOCK * i + c // (3 * BLOCK) - BEYOND
    column = BLOCK * j[:, None] + (c // 3 % BLOCK)[None, :] - BEYOND
    inside = (used & (row >= 0) & (row < height))[None, :] & (column >= 0) & (column < width)
    at = y + (n * high + i) * wide * CHANNELS + (j * CHANNELS)[:, None] + c[None, :]
    value = tl.load(at, mask=inside, other=0).to(tl.float32) + tl.load(bias + c, mask=used, other=0)[None, :]
    number = tl.abs(value) < float("inf")
    wrong = tl.sum((inside & ~number).to(tl.int32)) > 0
    tl.store(finite, 0, mask=wrong)
    # Beyond ±30 the result is the same, and the exponential not yet infinite.
    value = tl.where(number, tl.minimum(tl.maximum(value, -30.0), 30.0), 0.0)
    level = TOP / (1.0 + tl.exp(-value)) + 0.5
    to = out + ((n * height + row) * width * 3 + c % 3)[None, :] + 3 * column
    tl.store(to, level.to(tl.int32).to(out.dtype.element_ty), mask=inside)
