"""Picture files, written: what a format can hold, without loss."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from stylebatch.files import atomic_write
from stylebatch.frame import Pixels
from stylebatch.images.deep import encode_png, encode_tiff
from stylebatch.images.extra import ImageExtra
from stylebatch.images.jpeg import Encode
from stylebatch.images.metadata import as_saved, into_png, into_tiff
from stylebatch.images.options import DEFAULTS, ImageOptions
from stylebatch.pixels import from_srgb, over_white, resized, to_8_bits

_NO_ALPHA = ("JPEG", "BMP")
_END_OF_JPEG = b"\xff\xd9"
#: Huffman tables made for the picture would save a JPEG 6% for 3.6 times the time; PNG's levels 1 to 6 differ by 2% in size.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "PNG": {"compress_level": 3},
    "WEBP": {"quality": 95, "method": 4, "exact": False},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
    "GIF": {},
}
#: One thread for each AVIF: more make other bytes, and several pictures at once keep the cores busier (measured on two: 1.06
#: pictures a second by one thread each, 0.84 by two).
_ON_EVERY_MACHINE: dict[str, dict[str, Any]] = {"AVIF": {"max_threads": 1}}


def write_image(pixels: Pixels, extra: ImageExtra, path: Path, options: ImageOptions = DEFAULTS) -> None:
    """Encode H×W×3 uint8 or uint16, in the output's size or the network's, with what its source had beside its colours;
    atomic.

    Raises:
        StylebatchError: the file cannot be written.
    """
    write_frames([resized(pixels, extra.size or pixels.shape[1::-1])], [extra], path, options)


def write_frames(
    frames: list[Pixels],
    extras: list[ImageExtra],
    path: Path,
    options: ImageOptions,
    put: Callable[[Path, Path], None] | None = None,
    jpeg: Encode | None = None,
) -> None:
    """Encode the pixels of a photograph, or of all frames of an animation, in the output's size; atomic, as `atomic_write`.
    JPEGs by `jpeg`, if there is one and it takes the picture.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_write(path, put) as file:
        _encode(frames, extras, options, file, jpeg)
        if extras[0].times is not None:
            file.flush()  # a later write would set the time again
            with suppress(OSError):  # refused, or beyond what the file system can tell
                os.utime(file.name, ns=extras[0].times)


def _encode(
    frames: list[Pixels], extras: list[ImageExtra], options: ImageOptions, file: BinaryIO, jpeg: Encode | None
) -> None:
    """What takes long lets go of Python's lock, so that threads encode on all cores. Of Pillow's encoders that of TIFF never
    does, and that of JPEG into a real file alone."""
    extra = extras[0]
    save = {**_SAVE_OPTIONS[extra.format], **extra.keep.get(extra.format, {})}
    if extra.format == "TIFF":
        big_endian = extra.metadata.exif.startswith(b"MM")
        tiff = encode_tiff(_array(frames[0], extra), save["compression"], big_endian)
        file.write(into_tiff(tiff, extra.metadata, extra.profile))
    elif extra.format != "PNG":
        _save(frames, extras, save, options, file, jpeg)
    elif len(frames) == 1 and frames[0].dtype == np.uint16:
        file.write(into_png(encode_png(_array(frames[0], extra)), extra.metadata, extra.profile))
    else:
        png = io.BytesIO()
        _save(frames, extras, save, options, png)
        file.write(into_png(png.getvalue(), extra.metadata, extra.profile))


def _array(pixels: Pixels, extra: ImageExtra) -> Pixels:
    """One frame in its own depth and the colour space of its file."""
    pixels = from_srgb(pixels, extra.profile) if extra.profile and extra.convert_back else pixels
    return pixels if extra.alpha is None else np.dstack([pixels, extra.alpha])


def _save(
    frames: list[Pixels], extras: list[ImageExtra], save: dict[str, Any], options: ImageOptions, file: BinaryIO,
    jpeg: Encode | None = None,
) -> None:  # fmt: skip
    """By Pillow, or `jpeg`, in 8 bits."""
    extra = extras[0]
    if options.quality is not None and "quality" in save and "lossless" not in save:
        save["quality"] = options.quality
    if extra.format != "PNG":
        save |= as_saved(extra.metadata, extra.profile, extra.format)
    if jpeg and extra.format == "JPEG" and (encoded := jpeg(_colours(frames[0], extra), save)):
        file.write(encoded)
        return
    pictures = [_picture(*frame) for frame in zip(frames, extras, strict=True)]
    if len(pictures) > 1:
        if any(picture.mode == "RGBA" for picture in pictures):
            pictures = [picture.convert("RGBA") for picture in pictures]
            save["disposal"] = 2 if extra.format == "GIF" else 0
        save |= {"save_all": True, "append_images": pictures[1:], "duration": [round(e.duration) for e in extras]}
        save |= {} if extra.loop is None else {"loop": extra.loop}
    save_picture(pictures[0], file, extra.format, **save)


def save_picture(picture: Image.Image, file: BinaryIO, format: str, **options: Any) -> None:
    """Pillow's save into an open file, without Python's lock for long, and complete; on any number of cores the same bytes.

    Raises:
        OSError: the disk is full.
    """
    if format == "JPEG":
        picture.save(file, format=format, **options)
        file.seek(-2, os.SEEK_END)
        if file.read() != _END_OF_JPEG:  # Pillow notes no write that was cut short
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    else:
        buffer = io.BytesIO()
        picture.save(buffer, format=format, **_ON_EVERY_MACHINE.get(format, {}), **options)
        file.write(buffer.getbuffer())


def _picture(pixels: Pixels, extra: ImageExtra) -> Image.Image:
    """One frame in 8 bits and the colour space of its file."""
    picture = Image.fromarray(_colours(pixels, extra))
    if extra.alpha is not None and extra.format not in _NO_ALPHA:
        picture.putalpha(Image.fromarray(to_8_bits(extra.alpha)))
    return picture


def _colours(pixels: Pixels, extra: ImageExtra) -> Pixels:
    """Its H×W×3, shown on white where the file holds no alpha."""
    pixels = to_8_bits(pixels)
    if extra.alpha is not None and extra.format in _NO_ALPHA:
        pixels = over_white(pixels, to_8_bits(extra.alpha))
    return from_srgb(pixels, extra.profile) if extra.convert_back and extra.profile is not None else pixels
