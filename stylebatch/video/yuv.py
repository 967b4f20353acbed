"""YCbCr as films have it, and RGB as the network wants it: matrices, ranges, depths, and what untagged files mean."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from av import VideoFrame
from av.video.format import VideoFormat
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc, Interpolation, VideoReformatter

from stylebatch.colour.h273 import HDR, tone_mapped
from stylebatch.frame import Pixels
from stylebatch.pixels import to_8_bits

#: ITU-T H.273's numbers for matrices, and how much red and blue add to luma by each.
RGB, BT709, UNSPECIFIED, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 0, 1, 2, 4, 5, 6, 7, 9
_LUMA = {
    BT709: (0.2126, 0.0722), FCC: (0.30, 0.11), BT470BG: (0.299, 0.114), SMPTE170M: (0.299, 0.114),
    SMPTE240M: (0.212, 0.087), BT2020: (0.2627, 0.0593),
}  # fmt: skip


@dataclass(frozen=True)
class Colour:
    """How a film's numbers mean colours: H.273's matrix, primaries and transfer, and whether the range is full."""

    matrix: int
    primaries: int
    transfer: int
    full: bool

    @property
    def hdr(self) -> str | None:
        """PQ, HLG or None."""
        return HDR.get(self.transfer)

    @property
    def shown(self) -> Colour:
        """What pictures in this colour become: BT.709 where they have to be tone-mapped, else the same."""
        bt709 = Colour(BT709, int(ColorPrimaries.BT709), int(ColorTrc.BT709), False)
        return bt709 if self.hdr else self

    def written(self, format: VideoFormat) -> Colour:
        """What pictures read from a format are written in: in the range of films where they had no choice of their own."""
        return replace(self, full=self.full and not (is_rgb(format) or is_grey(format)))

    def tag(self, target: Any) -> None:
        """Write it on a frame or on an encoder's context."""
        target.colorspace, target.color_range = self.matrix, ColorRange.JPEG if self.full else ColorRange.MPEG
        target.color_primaries, target.color_trc = self.primaries, self.transfer


def colour_of(frame: VideoFrame) -> Colour:
    """What a frame says of itself, completed by convention: small pictures are BT.601, large ones BT.709; RGB becomes
    BT.709 with sRGB's curve when it is written; grey is full range unless it says otherwise."""
    large = frame.width >= 1280 or frame.height > 576
    if is_rgb(frame.format):
        return Colour(BT709, int(ColorPrimaries.BT709), int(ColorTrc.IEC61966_2_1), True)
    matrix, primaries, transfer = int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
    if matrix not in _LUMA:
        by_primaries = {1: BT709, 5: BT470BG, 6: SMPTE170M, 7: SMPTE240M, 9: BT2020}
        matrix = by_primaries.get(primaries, BT709 if large else BT470BG if frame.height == 576 else SMPTE170M)
    if primaries in (0, UNSPECIFIED, 3):
        primaries = matrix if matrix != FCC else int(ColorPrimaries.SMPTE170M)
    if transfer in (0, UNSPECIFIED, 3):
        same = {SMPTE240M: ColorTrc.SMPTE240M, SMPTE170M: ColorTrc.SMPTE170M, BT2020: ColorTrc.BT2020_10}
        transfer = int(same.get(matrix, ColorTrc.BT709))
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    full = full or (is_grey(frame.format) and frame.color_range != ColorRange.MPEG)
    return Colour(matrix, primaries, transfer, full)


def is_rgb(format: VideoFormat) -> bool:
    """Whether swscale knows its colours: RGB, and what is shown as such, palettes, black and white, raw sensors, XYZ."""
    return format.is_rgb or format.has_palette or format.is_bayer or format.name.startswith(("mono", "xyz"))


def is_grey(format: VideoFormat) -> bool:
    return format.name.startswith("gray") or _grey_with_alpha(format)


def _grey_with_alpha(format: VideoFormat) -> bool:
    return len(format.components) == 2


def _is_float(format: VideoFormat) -> bool:
    return "f16" in format.name or "f32" in format.name


def has_alpha(format: VideoFormat) -> bool:
    """Whether there is room for alpha. Palettes have it too."""
    return any(component.is_alpha for component in format.components) or format.has_palette


def depth_of(format: VideoFormat) -> int:
    """Bits of the deepest component, from 8 to 16."""
    bits = 8 if format.has_palette else max(component.bits for component in format.components)
    return min(max(bits, 8), 16)


def chroma_of(format: VideoFormat) -> tuple[int, int]:
    """The powers of two by which chroma is coarser across and down."""
    format = VideoFormat(format.name, 16, 16)
    if is_rgb(format) or is_grey(format):
        return 1, 1
    chroma = format.components[1]
    return 16 // chroma.width // 2, 16 // chroma.height // 2


class ToRGB:
    """Frames → H×W×3 RGB, full range; uint16 if `deep`, else uint8. Threads may share it.

    Each frame is read by its own tags. swscale only brings chroma to the size of luma; the matrix is applied here, in one
    rounding and for every depth alike. High dynamic range is tone-mapped to BT.709.
    """

    def __init__(self, *, deep: bool) -> None:
        self.deep = deep
        self._scaler = _Scaler()

    def __call__(self, frame: VideoFrame) -> Pixels:
        depth = depth_of(frame.format)
        if is_rgb(frame.format):
            # swscale takes the bytes of 15 and 16 bits a pixel in the wrong order on the straight way to 24.
            few = not frame.format.has_palette and frame.format.components[0].bits < 8
            wide = _as_array(_scaled(self._scaler, frame, "rgb48le" if self.deep or few else "rgb24", True))
            return wide if self.deep else to_8_bits(wide)
        colour = colour_of(frame)
        colour.tag(frame)
        if is_grey(frame.format):
            grey = _plane(self._as(frame, f"gray{f'{depth}le' if depth > 8 else ''}", colour), 0)
            chroma = np.full_like(grey, 1 << (depth - 1))
            planes = [grey, chroma, chroma]
        else:
            frame = self._as(frame, f"yuv444p{f'{depth}le' if depth > 8 else ''}", colour)
            planes = [_plane(frame, index) for index in range(3)]
        packed = cv2.merge(planes)
        if colour.hdr:
            codes = cv2.transform(packed.astype(np.uint16), _decoding(colour, depth, 16))
            mapped = tone_mapped(codes, colour.primaries, colour.transfer) ** np.float32(1 / 2.4)
            dtype = np.uint16 if self.deep else np.uint8
            whole: Pixels = np.rint(mapped * np.iinfo(dtype).max).astype(dtype)
            return whole
        if self.deep and packed.dtype == np.uint8:
            packed = packed.astype(np.uint16)
        rgb: Pixels = cv2.transform(packed, _decoding(colour, depth, 16 if self.deep else 8))
        return rgb if self.deep or rgb.dtype == np.uint8 else np.minimum(rgb, 255).astype(np.uint8)

    def alpha(self, frame: VideoFrame) -> Pixels | None:
        """A frame's alpha, H×W, in the depth of its colours; None if its format has none."""
        if not has_alpha(frame.format):
            return None
        format, depth = frame.format, depth_of(frame.format)
        if format.is_planar and not _is_float(format):
            if format.is_big_endian:
                frame = _scaled(self._scaler, frame, format.name.removesuffix("be") + "le", True)
            alpha = _plane(frame, 3)
        else:
            depth = 8 if depth == 8 else 16
            alpha = _as_array(_scaled(self._scaler, frame, "rgba" if depth == 8 else "rgba64le", True))[..., 3]
        own, top = (1 << depth) - 1, 65535 if self.deep else 255
        return ((alpha.astype(np.uint32) * top + own // 2) // own).astype(np.uint16 if self.deep else np.uint8)

    def _as(self, frame: VideoFrame, format: str, colour: Colour) -> VideoFrame:
        return frame if frame.format.name == format else _scaled(self._scaler, frame, format, colour.full)


class FromRGB:
    """RGB, uint8 or uint16, full range → frames of a pixel format, tagged. The inverse of `ToRGB`. Pixels are H×W×3, or
    H×W×4 with alpha where the format has it. Threads may share it.

    Args:
        size: width and height to write; what the pixels lack of it, an odd edge, repeats their last row and column.
    """

    def __init__(self, colour: Colour, pix_fmt: str, size: tuple[int, int]) -> None:
        self.colour = colour
        self.format = VideoFormat(pix_fmt)
        self.size = size
        self._scaler = _Scaler()

    def __call__(self, pixels: Pixels) -> VideoFrame:
        height, width = pixels.shape[:2]
        if (width, height) != self.size:
            pixels = np.pad(pixels, ((0, self.size[1] - height), (0, self.size[0] - width), (0, 0)), mode="edge")
        if self.format.is_rgb:
            names = ("rgb24", "rgb48le") if pixels.shape[2] == 3 else ("rgba", "rgba64le")
            frame = VideoFrame.from_ndarray(pixels, format=names[pixels.dtype == np.uint16])
            frame = _scaled(self._scaler, frame, self.format.name, True)
            self.tag(frame)
            return frame
        depth = depth_of(self.format)
        if depth > 8 and pixels.dtype == np.uint8:
            pixels = pixels.astype(np.uint16) * 257
        own = 16 if pixels.dtype == np.uint16 else 8
        coded = cv2.transform(pixels[..., :3], _encoding(self.colour, own, depth))
        if depth == 8 and coded.dtype == np.uint16:
            coded = coded.astype(np.uint8)
        planes = list(cv2.split(coded))
        if pixels.shape[2] == 4:
            top, full = (1 << depth) - 1, (1 << own) - 1
            planes.append(((pixels[..., 3].astype(np.uint32) * top + full // 2) // full).astype(coded.dtype))
        letter = "a" if len(planes) == 4 else ""
        frame = VideoFrame(*self.size, f"yuv{letter}444p{f'{depth}le' if depth > 8 else ''}")
        for index, plane in enumerate(planes):
            _fill(frame, index, plane)
        self.tag(frame)
        return _scaled(self._scaler, frame, self.format.name, self.colour.full)

    def tag(self, frame: VideoFrame) -> None:
        """Write on a frame what its numbers mean."""
        colour = replace(self.colour, matrix=RGB, full=True) if self.format.is_rgb else self.colour
        colour.tag(frame)


class _Scaler(threading.local):
    """Keeps swscale's state from frame to frame, for each thread its own."""

    def __init__(self) -> None:
        self.reformat = VideoReformatter().reformat


def _scaled(scaler: _Scaler, frame: VideoFrame, format: str, full: bool) -> VideoFrame:
    """Another pixel format, with the same colours, range and size. One thread: the network needs the others."""
    range_ = ColorRange.JPEG if full else ColorRange.MPEG
    flags = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
    return scaler.reformat(frame, format=format, dst_color_range=range_, interpolation=flags, threads=1)


def _decoding(colour: Colour, depth: int, target: int) -> Pixels:
    """3×4: codes of `depth` bits → RGB of `target` bits, full range."""
    red, blue = _LUMA[colour.matrix]
    green = 1 - red - blue
    matrix = np.array([
        [1, 0, 2 * (1 - red)],
        [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
        [1, 2 * (1 - blue), 0],
    ])  # fmt: skip
    scale, offset = _range(colour.full, depth)
    matrix = matrix / scale * ((1 << target) - 1)
    return np.column_stack([matrix, -matrix @ offset])


def _encoding(colour: Colour, source: int, depth: int) -> Pixels:
    """3×4: RGB of `source` bits, full range → codes of `depth` bits."""
    red, blue = _LUMA[colour.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    to_blue, to_red = np.array([0, 0, 1]) - luma, np.array([1, 0, 0]) - luma
    matrix = np.stack([luma, to_blue / (2 * (1 - blue)), to_red / (2 * (1 - red))])
    scale, offset = _range(colour.full, depth)
    return np.column_stack([matrix * scale[:, None] / ((1 << source) - 1), offset])


def _range(full: bool, depth: int) -> tuple[Pixels, Pixels]:
    """Codes that luma and chroma span, and where they have their zero."""
    step, top = 1 << (depth - 8), (1 << depth) - 1
    scale = [top] * 3 if full else [219 * step, 224 * step, 224 * step]
    return np.array(scale, np.float64), np.array([0 if full else 16 * step, 128 * step, 128 * step], np.float64)


def _plane(frame: VideoFrame, index: int) -> Pixels:
    """A view of a plane's samples, H×W, without the padding of its lines."""
    plane: Any = frame.planes[index]  # a buffer, which not every version of PyAV declares
    samples = np.frombuffer(plane, np.uint8 if depth_of(frame.format) == 8 else np.uint16)
    lines: Pixels = samples.reshape(-1, plane.line_size // samples.itemsize)
    return lines[: plane.height, : plane.width]


def _fill(frame: VideoFrame, index: int, samples: Pixels) -> None:
    plane: Any = frame.planes[index]  # as above
    lines = np.frombuffer(plane, samples.dtype).reshape(-1, plane.line_size // samples.itemsize)
    lines[: samples.shape[0], : samples.shape[1]] = samples
    lines[: samples.shape[0], samples.shape[1] :] = 0
    lines[samples.shape[0] :] = 0


def _as_array(frame: VideoFrame) -> Pixels:
    return np.ascontiguousarray(frame.to_ndarray())
