"""JPEG's pixels, and whether they are whole: Pillow passes on none of libjpeg's warnings, and so half a picture as one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, TiffImagePlugin
from simplejpeg import decode_jpeg, encode_jpeg

from stylebatch.frame import FrameInfo, Pixels

#: A file → H×W×3 uint8, RGB, or None if it is not taken.
Decode: TypeAlias = Callable[[bytes], Pixels | None]
#: H×W×3 uint8, and what Pillow's `save` is given beside the format → the file, or None if it is not taken.
Encode: TypeAlias = Callable[[Pixels, dict[str, Any]], bytes | None]

#: Where a picture breaks off or its data are damaged, behind what is wrong.
ADVICE = "; `allow_truncated` takes what there is"
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
#: How often brightness and the two colours lie across and down in 4:2:0 and 4:2:2.
_SUBSAMPLED = (((2, 2), (1, 1), (1, 1)), ((2, 1), (1, 1), (1, 1)))
_JPEG_IN_TIFF = 7
_TIFF_PARTS = (
    (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS),
    (TiffImagePlugin.TILEOFFSETS, TiffImagePlugin.TILEBYTECOUNTS),
)


@dataclass(frozen=True)
class CodedJpeg:
    """A photograph whose pixels are still in its file, whole and as the network is to see them."""

    info: FrameInfo
    data: bytes

    def decoded(self) -> Pixels:
        """By libjpeg, H×W×3 uint8."""
        pixels: Pixels = decode_jpeg(self.data, "RGB")
        return pixels


def is_plain(image: Image.Image, *, subsampled: bool) -> bool:
    """Whether an opened picture is a JPEG that every decoder reads: 8 bits, nothing but a baseline scan. Of colours at full
    resolution all make the same levels, within rounding; `subsampled` takes 4:2:0 and 4:2:2 too, of which they do not."""
    if image.format != "JPEG" or image.mode != "RGB":
        return False
    parts = tuple(part[1:3] for part in image.layer)  # type: ignore[attr-defined]
    return (
        image.bits == 8  # type: ignore[attr-defined]
        and (len({*parts}) == 1 or (subsampled and parts in _SUBSAMPLED))
        and image.info.get("adobe_transform") != 0
        and not image.info.get("progressive")
    )


def is_whole(data: bytes) -> bool:
    """Whether libjpeg reads a JPEG to its end without a complaint: of its brightness, at an eighth of its size."""
    try:
        return _decoded(data, "GRAY", (1, 1), False) is not None
    except OSError:
        return False


def load_jpeg(image: Image.Image, *, allow_damaged: bool) -> Pixels | None:
    """Decode an opened JPEG at the size to which it was drafted: H×W of grey, H×W×3 of RGB or H×W×4 of CMYK, uint8. None if
    it is no JPEG, or one of which libjpeg's simple interface makes nothing: odd sampling, broken tables.

    Raises:
        OSError: data is missing or damaged, and that is not allowed.
    """
    if image.format not in ("JPEG", "MPO"):
        return None
    inverted = image.tile[0].args[0] == "CMYK;I"  # type: ignore[attr-defined]
    image.fp.seek(0)  # type: ignore[attr-defined]
    data = image.fp.read()  # type: ignore[attr-defined]
    pixels = _decoded(data, _SPACES[image.mode], image.size, allow_damaged)
    return ~pixels if inverted and pixels is not None else pixels


def to_jpeg(pixels: Pixels, quality: int) -> bytes:
    """H×W×3 uint8 → the bytes of a JPEG, without Python's lock, with half of the chroma: to be looked at, not to be kept."""
    encoded: bytes = encode_jpeg(np.ascontiguousarray(pixels), quality, colorsubsampling="420", fastdct=False)
    return encoded


def check_jpeg_in_tiff(image: Image.Image) -> None:
    """The same for an opened TIFF, whose strips or tiles may be JPEGs that share their tables.

    Raises:
        OSError: as `load_jpeg`.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(TiffImagePlugin.COMPRESSION) != _JPEG_IN_TIFF:
        return
    tables = tags.get(TiffImagePlugin.JPEGTABLES, b"\xff\xd8\xff\xd9")[:-2]
    for offsets, lengths in _TIFF_PARTS:
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            image.fp.seek(offset)  # type: ignore[attr-defined]
            _decoded(tables + image.fp.read(length)[2:], "GRAY", (1, 1), False)  # type: ignore[attr-defined]


def _decoded(data: bytes, space: str, size: tuple[int, int], allow_damaged: bool) -> Pixels | None:
    """By libjpeg's smallest scale at which the picture is not smaller than `size`."""
    decode = partial(decode_jpeg, data, space, min_width=size[0], min_height=size[1], min_factor=1.0)
    warning = ""
    try:
        try:
            pixels = decode(strict=True)
        except ValueError as error:
            warning = str(error)
            pixels = decode(strict=False)
    except (ValueError, IndexError):
        return None
    if not allow_damaged and _tells_of_damage(warning, data):
        told = warning.removeprefix("Corrupt JPEG data: ")
        truncated = "truncated or " if "remature end" in told else ""
        raise OSError(f"{truncated}damaged JPEG data ({told}){ADVICE}")
    grey_or_colours: Pixels = pixels.squeeze(2) if space == "GRAY" else pixels
    return grey_or_colours


def _tells_of_damage(warning: str, data: bytes) -> bool:
    """What is left over before the end is mostly the trace of damage; that of some cameras is padding, all one byte."""
    left_over = re.match(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9", warning)
    if left_over:
        return re.search(rb"(.)\1{%d}\xff\xd9" % (int(left_over[1]) - 1), data, re.DOTALL) is None
    return warning.startswith(("Corrupt JPEG data", "Premature end of JPEG"))
