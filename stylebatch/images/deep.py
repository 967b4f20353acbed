"""What Pillow does not do with PNG and TIFF: sixteen bits a channel.

TIFF is not read by tifffile, which needs imagecodecs, 26 MB, for LZW and predictors: Pillow's libtiff decompresses as well,
once it is told that the samples are others.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from stylebatch.errors import StylebatchError
from stylebatch.frame import Pixels

#: Lossless ones that are written, by Pillow's names, with their numbers in the file.
TIFF_COMPRESSIONS = {"raw": 1, "tiff_lzw": 5, "packbits": 32773, "tiff_adobe_deflate": 8}
#: Pillow's raw modes of PNG, up to the byte order, whose low bytes it drops.
_DROPPED = ("RGB;16", "RGBA;16", "LA;16")
_GREY = ("I;16", "I;16B", "I;16L", "I", "F")
#: Compressions under which libtiff may write each sample as its difference from the one before.
_PREDICTING = (5, 8, 32946, 34925, 50000)
#: A TIFF's sample format of signed integers; how far floating point may reach beyond white, where it is clipped.
_SIGNED, _OVERSHOOT = 2, 2
#: OpenCV writes strips of one line and more; a directory with more of them than this is not read again.
_MOST_STRIPS = 10_000
_OFFSETS = (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.TILEOFFSETS)


def load_deep(image: Image.Image, path: Path) -> tuple[Pixels, Pixels | None] | None:
    """Decode an opened picture of more than 8 bits a channel; None if it has no more, or of a kind that is not understood.
    Of a moving PNG in colours Pillow's 8 bits have to do.

    Returns:
        H×W of grey, H×W×3 of RGB or H×W×4 of CMYK, and alpha H×W or None; uint16, turned as the EXIF that `image` has after
        this says.

    Raises:
        StylebatchError: floating point of which white is not known. Pillow's errors: it is broken.
    """
    if _is_deep_tiff(image):
        return _tiff(image, path)
    args = image.tile[0].args if image.tile else None  # type: ignore[attr-defined]
    raw_mode = str(args[0] if isinstance(args, tuple) and args else args)
    image.load()
    if image.mode in _GREY:
        return _grey(image)
    dropped = image.format == "PNG" and raw_mode.startswith(_DROPPED) and not getattr(image, "is_animated", False)
    return _png(image, path) if dropped else None


def encode_png(pixels: Pixels) -> bytes:
    """H×W×3 or ×4 uint16 as PNG without metadata."""
    return cv2.imencode(".png", _bgr(pixels))[1].tobytes()


def encode_tiff(pixels: Pixels, compression: str, big_endian: bool) -> bytes:
    """H×W×3 or ×4, uint8 or uint16, as TIFF without metadata; `compression` is one of `TIFF_COMPRESSIONS`. Of a big-endian
    one only the samples are so yet: what is stated of them is little-endian."""
    parameters = [cv2.IMWRITE_TIFF_COMPRESSION, TIFF_COMPRESSIONS[compression]]
    if len(pixels) > _MOST_STRIPS:
        parameters += [cv2.IMWRITE_TIFF_ROWSPERSTRIP, -(-len(pixels) // _MOST_STRIPS)]
    if big_endian and pixels.dtype == np.uint16:
        pixels = pixels.byteswap()
        parameters += [cv2.IMWRITE_TIFF_PREDICTOR, 1]  # none: differences of swapped samples would be none of these
    return bytes(cv2.imencode(".tif", _bgr(pixels), parameters)[1])


def transparent_level(image: Image.Image, path: Path) -> tuple[Pixels, Pixels] | None:
    """Grey of a PNG with 2, 4 or 8 bits, and alpha by its one transparent level, both H×W uint8; None if it has none.
    Pillow spreads levels of 2 and 4 bits over 8, but not the transparent one."""
    level = image.info.get("transparency")
    if image.format != "PNG" or image.mode != "L" or not isinstance(level, int):
        return None
    grey = np.array(image)
    spread = level * 255 // ((1 << depth_of_png(path)) - 1)
    return grey, np.where(grey == spread, 0, 255).astype(np.uint8)


def depth_of_png(path: Path) -> int:
    """Bits a channel."""
    with path.open("rb") as file:
        return file.read(25)[24]


def _grey(image: Image.Image) -> tuple[Pixels, Pixels | None]:
    """White by the kind of sample: 1 of floating point, else its largest; 65,535 for 32 bits that hold no more."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    kind, bits = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0], tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    if image.mode == "F":
        values = np.nan_to_num(values, nan=0, posinf=1, neginf=0)
        if values.max(initial=0) > _OVERSHOOT:
            raise StylebatchError(f"floating-point values up to {values.max():g}, where white is 1; export as 16 bits")
        values = values * 65535
    elif image.mode == "I":
        if bits == 32 and kind == 1:
            values = values.view(np.uint32)
        if bits == 16 and kind == _SIGNED:
            values = values * (65535 / 32767)
        elif values.max(initial=0) > 65535:
            values = values * (65535 / np.iinfo(values.dtype).max)
    grey: Pixels = np.rint(values).clip(0, 65535).astype(np.uint16)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is 0, which Pillow minds in 8 bits alone
        grey = ~grey
    if "transparency" in image.info:  # a PNG's one transparent level
        return grey, np.where(grey == image.info["transparency"], 0, 65535).astype(np.uint16)
    return grey, None


def _png(image: Image.Image, path: Path) -> tuple[Pixels, Pixels | None] | None:
    """By OpenCV. Pillow has decoded it first, which tells a broken file."""
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] < 3:
        return None
    alpha = np.ascontiguousarray(pixels[..., 3]) if image.has_transparency_data and pixels.shape[2] == 4 else None
    return np.ascontiguousarray(pixels[..., 0] if image.mode == "LA" else pixels[..., 2::-1]), alpha


def _is_deep_tiff(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    bits, kinds = tags.get(TiffImagePlugin.BITSPERSAMPLE, ()), tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
    return image.mode in ("RGB", "RGBA", "CMYK") and len(bits) >= 3 and set(bits) == {16} and set(kinds) == {1}


def _tiff(image: Image.Image, path: Path) -> tuple[Pixels, Pixels | None]:
    """Any compression and layout that Pillow decodes. It is shown each plane of the file, or its one plane with all channels
    side by side, as a TIFF of 16-bit grey, of which it drops nothing."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    samples = len(tags[TiffImagePlugin.BITSPERSAMPLE])
    planes = samples if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2 else 1
    beside = samples // planes
    compression = tags[TiffImagePlugin.COMPRESSION]
    tiled = TiffImagePlugin.TILEOFFSETS in tags
    across = tags[TiffImagePlugin.TILEWIDTH] if tiled else width
    body = path.read_bytes()[8:]
    pixels: Pixels = np.empty((height, width, samples), np.uint16)
    for plane in range(planes):
        entries = {
            TiffImagePlugin.IMAGEWIDTH: [width * beside],
            TiffImagePlugin.IMAGELENGTH: [height],
            TiffImagePlugin.BITSPERSAMPLE: [16],
            TiffImagePlugin.COMPRESSION: [compression],
            TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: [1],
            TiffImagePlugin.SAMPLESPERPIXEL: [1],
        }
        if tiled:
            entries[TiffImagePlugin.TILEWIDTH] = [across * beside]
        for tag in (TiffImagePlugin.ROWSPERSTRIP, TiffImagePlugin.TILELENGTH, TiffImagePlugin.FILLORDER):
            if tag in tags:
                entries[tag] = [tags[tag]]
        for tag in (*_OFFSETS, TiffImagePlugin.STRIPBYTECOUNTS, TiffImagePlugin.TILEBYTECOUNTS):
            if tag in tags:
                count = len(tags[tag]) // planes
                entries[tag] = list(tags[tag][plane * count : (plane + 1) * count])
        with TiffImagePlugin.TiffImageFile(io.BytesIO(_head(entries, tags.prefix) + body)) as grey:
            values = np.array(grey, dtype=np.uint16).reshape(height, width, beside)
        if tags.get(TiffImagePlugin.PREDICTOR) == 2 and compression in _PREDICTING:
            for left in range(0, width, across):
                part = values[:, left : left + across]
                np.cumsum(part, axis=1, dtype=np.uint16, out=part)
        pixels[..., plane : plane + beside] = values
    colours = np.ascontiguousarray(pixels[..., : 4 if image.mode == "CMYK" else 3])
    if image.mode != "RGBA":
        return colours, None
    alpha = np.ascontiguousarray(pixels[..., 3])
    multiplied = tags.get(TiffImagePlugin.EXTRASAMPLES, (2,))[0] == 1
    return (_divided(colours, alpha) if multiplied else colours), alpha


def _head(entries: dict[int, list[int]], prefix: bytes) -> bytes:
    """A TIFF's header and directory, to stand before the body of another, into which its offsets point."""
    order = "<" if prefix == b"II" else ">"
    arrays_at = 8 + 2 + 12 * len(entries) + 4
    moved = arrays_at - 8 + sum(4 * len(values) for values in entries.values() if len(values) > 1)
    table, arrays = b"", b""
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}I", *(value + moved if tag in _OFFSETS else value for value in values))
        table += struct.pack(order + "HHI", tag, 4, len(values))
        if len(values) == 1:
            table += packed
        else:
            table += struct.pack(order + "I", arrays_at + len(arrays))
            arrays += packed
    return struct.pack(order + "2sHIH", prefix, 42, 8, len(entries)) + table + bytes(4) + arrays


def _divided(colours: Pixels, alpha: Pixels) -> Pixels:
    """Colours that alpha was multiplied into as they were before."""
    whole: Pixels = np.rint(colours * (65535 / np.maximum(alpha, 1))[..., None]).clip(0, 65535).astype(np.uint16)
    return whole


def _bgr(pixels: Pixels) -> Pixels:
    swapped: Pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    return swapped
