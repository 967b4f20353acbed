"""YCbCr as films have it, and RGB as the network wants it: matrices, ranges, depths, and what untagged files mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from av import VideoFrame
from av.video.format import VideoFormat
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc, Interpolation, VideoReformatter

from stylebatch.frame import Pixels
from stylebatch.h273 import HDR, tone_mapped

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

    def tag(self, target: Any) -> None:
        """Write it on a frame or on an encoder's context."""
        target.colorspace, target.color_range = self.matrix, ColorRange.JPEG if self.full else ColorRange.MPEG
        target.color_primaries, target.color_trc = self.primaries, self.transfer


def colour_of(frame: VideoFrame) -> Colour:
    """What a frame says of itself, completed by convention: small pictures are BT.601, large ones BT.709; RGB becomes
    BT.709 with sRGB's curve when it is written."""
    large = frame.width >= 1280 or frame.height > 576
    if frame.format.is_rgb:
        return Colour(BT709, int(ColorPrimaries.BT709), int(ColorTrc.IEC61966_2_1), False)
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
    return Colour(matrix, primaries, transfer, full)


def depth_of(format: VideoFormat) -> int:
    """Bits of the deepest component."""
    return max(component.bits for component in format.components) if format.name != "pal8" else 8


class ToRGB:
    """Frames → H×W×3 RGB, full range; uint16 if `deep`, else uint8. Keeps swscale's state from frame to frame.

    swscale only brings chroma to the size of luma; the matrix is applied here, in one rounding and for every depth alike.
    High dynamic range is tone-mapped to BT.709.
    """

    def __init__(self, colour: Colour, *, deep: bool) -> None:
        self.colour = colour
        self.deep = deep
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Pixels:
        name, depth = frame.format.name, depth_of(frame.format)
        if frame.format.is_rgb:
            return self._packed(frame)
        self.colour.tag(frame)
        if name.startswith("gray"):
            grey = _plane(frame, 0)
            chroma = np.full_like(grey, 1 << (depth - 1))
            planes = [grey, chroma, chroma]
        else:
            target = f"yuv444p{f'{depth}le' if depth > 8 else ''}"
            if name != target:
                frame = self._scale(frame, target, self.colour.full)
            planes = [_plane(frame, index) for index in range(3)]
        packed = cv2.merge(planes)
        if self.colour.hdr:
            codes = cv2.transform(packed.astype(np.uint16), _decoding(self.colour, depth, 16))
            mapped = tone_mapped(codes, self.colour.primaries, self.colour.transfer) ** np.float32(1 / 2.4)
            dtype = np.uint16 if self.deep else np.uint8
            whole: Pixels = np.rint(mapped * np.iinfo(dtype).max).astype(dtype)
            return whole
        if self.deep and packed.dtype == np.uint8:
            packed = packed.astype(np.uint16)
        rgb: Pixels = cv2.transform(packed, _decoding(self.colour, depth, 16 if self.deep else 8))
        return rgb if self.deep or rgb.dtype == np.uint8 else np.minimum(rgb, 255).astype(np.uint8)

    def _packed(self, frame: VideoFrame) -> Pixels:
        return _as_array(self._scale(frame, "rgb48le" if self.deep else "rgb24", True))

    def _scale(self, frame: VideoFrame, format: str, full: bool) -> VideoFrame:
        return _scaled(self._scaler, frame, format, full)


class FromRGB:
    """H×W×3 RGB, uint8 or uint16, full range → frames of a pixel format, tagged. The inverse of `ToRGB`.

    Args:
        size: width and height to write; what the pixels lack of it, an odd edge, repeats their last row and column.
    """

    def __init__(self, colour: Colour, pix_fmt: str, size: tuple[int, int]) -> None:
        self.colour = colour
        self.format = VideoFormat(pix_fmt)
        self.size = size
        self._scaler = VideoReformatter()

    def __call__(self, pixels: Pixels) -> VideoFrame:
        height, width = pixels.shape[:2]
        if (width, height) != self.size:
            pixels = np.pad(pixels, ((0, self.size[1] - height), (0, self.size[0] - width), (0, 0)), mode="edge")
        if self.format.is_rgb:
            frame = VideoFrame.from_ndarray(pixels, format="rgb24" if pixels.dtype == np.uint8 else "rgb48le")
            frame = _scaled(self._scaler, frame, self.format.name, True)
            replace(self.colour, matrix=RGB, full=True).tag(frame)
            return frame
        depth = depth_of(self.format)
        if depth > 8 and pixels.dtype == np.uint8:
            pixels = pixels.astype(np.uint16) * 257
        coded = cv2.transform(pixels, _encoding(self.colour, 16 if pixels.dtype == np.uint16 else 8, depth))
        if depth == 8 and coded.dtype == np.uint16:
            coded = coded.astype(np.uint8)
        frame = VideoFrame(*self.size, f"yuv444p{f'{depth}le' if depth > 8 else ''}")
        for index, plane in enumerate(cv2.split(coded)):
            _fill(frame, index, plane)
        self.colour.tag(frame)
        return _scaled(self._scaler, frame, self.format.name, self.colour.full)


def _scaled(scaler: VideoReformatter, frame: VideoFrame, format: str, full: bool) -> VideoFrame:
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
    plane = frame.planes[index]
    samples = np.frombuffer(plane, np.uint8 if depth_of(frame.format) == 8 else np.uint16)  # type: ignore[call-overload]
    lines: Pixels = samples.reshape(-1, plane.line_size // samples.itemsize)
    return lines[: plane.height, : plane.width]


def _fill(frame: VideoFrame, index: int, samples: Pixels) -> None:
    plane = frame.planes[index]
    lines = np.zeros((plane.buffer_size // plane.line_size, plane.line_size // samples.itemsize), samples.dtype)
    lines[: samples.shape[0], : samples.shape[1]] = samples
    plane.update(lines.tobytes())


def _as_array(frame: VideoFrame) -> Pixels:
    return np.ascontiguousarray(frame.to_ndarray())
