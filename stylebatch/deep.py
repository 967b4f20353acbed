"""What Pillow does not do with PNG and TIFF: sixteen bits a channel, and metadata beside compressed pixels."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from stylebatch.colour import Pixels

#: Lossless ones that are written, by Pillow's names, with their numbers in the file.
TIFF_COMPRESSIONS = {"raw": 1, "tiff_lzw": 5, "packbits": 32773, "tiff_adobe_deflate": 8}
#: Pillow's raw modes, up to the byte order, whose low bytes it drops.
_DROPPED = ("RGB;16", "RGBA;16", "RGBX;16", "LA;16")


def is_deep(image: Image.Image) -> bool:
    """Whether an opened, not yet loaded picture has 16-bit channels that Pillow would halve."""
    args = image.tile[0].args if image.tile else None  # type: ignore[attr-defined]
    raw_mode = args[0] if isinstance(args, tuple) and args else args
    return image.format in ("PNG", "TIFF") and str(raw_mode).startswith(_DROPPED)


def read_deep(path: Path, *, has_alpha: bool) -> tuple[Pixels, Pixels | None] | None:
    """Colours H×W×3 and alpha H×W, uint16, not turned; None if the file is of a kind that is not understood."""
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] < 3:
        return None
    alpha = np.ascontiguousarray(pixels[..., 3]) if has_alpha and pixels.shape[2] == 4 else None
    return np.ascontiguousarray(pixels[..., 2::-1]), alpha


def encode_png(pixels: Pixels, profile: bytes | None, info: dict[str, Any]) -> bytes:
    """H×W×3 or ×4 uint16 as PNG. `info` has "exif", "xmp" and "dpi" as Pillow's save takes them."""
    encoded = cv2.imencode(".png", _bgr(pixels))[1].tobytes()
    chunks = b""
    if profile:
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))
    if "dpi" in info:
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *(round(dpi / 0.0254) for dpi in info["dpi"]), 1))
    if "exif" in info:
        chunks += _chunk(b"eXIf", info["exif"].removeprefix(b"Exif\0\0"))
    if "xmp" in info:
        chunks += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + info["xmp"])
    after_header = 8 + 25  # the signature, and IHDR, which always comes first
    return encoded[:after_header] + chunks + encoded[after_header:]


def encode_tiff(pixels: Pixels, compression: str) -> bytes:
    """H×W×3 or ×4 uint16 as TIFF without metadata; `compression` is one of `TIFF_COMPRESSIONS`."""
    parameters = [cv2.IMWRITE_TIFF_COMPRESSION, TIFF_COMPRESSIONS[compression]]
    return bytes(cv2.imencode(".tif", _bgr(pixels), parameters)[1])


def with_tags(encoded: bytes, profile: bytes | None, info: dict[str, Any]) -> bytes:
    """Put metadata into a TIFF of little-endian strips, as Pillow and OpenCV write them. Libtiff, which they use for
    compression, takes no EXIF. `info` is as for `encode_png`."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    with Image.open(io.BytesIO(encoded)) as image:
        for tag, value in image.tag_v2.items():  # type: ignore[attr-defined]
            directory[tag] = value
    if directory[TiffImagePlugin.SAMPLESPERPIXEL] == 4:
        directory[TiffImagePlugin.EXTRASAMPLES] = 2  # alpha that the colours are not multiplied by
    if "exif" in info:
        exif = Image.Exif()
        exif.load(info["exif"])
        for tag in exif:
            directory[tag] = exif.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else exif[tag]
    if "dpi" in info:
        directory[TiffImagePlugin.RESOLUTION_UNIT] = 2  # inches
        directory[TiffImagePlugin.X_RESOLUTION], directory[TiffImagePlugin.Y_RESOLUTION] = info["dpi"]
    if "xmp" in info:
        directory[TiffImagePlugin.XMP] = info["xmp"]
    if profile:
        directory[TiffImagePlugin.ICCPROFILE] = profile
    # The new directory goes between the header and the old file's body. `tobytes` counts strips from its end.
    directory[TiffImagePlugin.STRIPOFFSETS] = tuple(at - 8 for at in directory[TiffImagePlugin.STRIPOFFSETS])
    return struct.pack("<2sHI", b"II", 42, 8) + directory.tobytes(8) + encoded[8:]


def _bgr(pixels: Pixels) -> Pixels:
    return pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
