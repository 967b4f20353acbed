"""Picture files, read: every format as RGB for the network, with all that an output needs beside it."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from stylebatch.colour.h273 import HDR
from stylebatch.colour.icc import SRGB, is_srgb
from stylebatch.colour.stated import stated_colour
from stylebatch.errors import StylebatchError
from stylebatch.files import irregularity
from stylebatch.frame import Frame, FrameInfo, Pixels
from stylebatch.host import pillow_guards
from stylebatch.images.deep import TIFF_COMPRESSIONS, depth_of_png, load_deep, transparent_level
from stylebatch.images.exif import Result
from stylebatch.images.extra import ImageExtra
from stylebatch.images.formats import EXPORT, FORMATS, LARGEST, RAW, output_name, unread_kind, written_by_name
from stylebatch.images.jpeg import CodedJpeg, check_jpeg_in_tiff, is_plain, is_whole, load_jpeg
from stylebatch.images.metadata import Metadata, made_true, orientation, read_metadata
from stylebatch.images.options import DEFAULTS, ImageOptions
from stylebatch.images.tiff import beginning_at, pages_of
from stylebatch.pixels import fill_transparent, from_hdr, resized, to_8_bits, to_srgb, upright

#: Formats whose moving pictures keep moving.
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
#: An MPO's list of its pictures, and what gain maps say of themselves: Adobe's and Android's, Apple's, ISO 21496-1.
_MP_ENTRIES = 0xB002
_GAIN_MAPS = (b"ns.adobe.com/hdr-gain-map", b"HDRGainMap", b"urn:iso:std:iso:ts:21496")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

with suppress(ImportError):  # the extra `heif`
    importlib.import_module("pillow_heif").register_heif_opener()
Image.init()
#: Those of `FORMATS` that this Pillow was built with; MPO is opened as JPEG.
READABLE = [format for format in FORMATS if format in Image.OPEN]


def read_image(path: Path, name: str | None = None, options: ImageOptions = DEFAULTS) -> Frame:
    """Decode a photograph, or the first frame of an animation, as `read_frames` does."""
    return _read(path, name or path.name, options, None, still=True)[0]


def read_frames(
    path: Path, name: str | None = None, options: ImageOptions = DEFAULTS, output: str | None = None
) -> list[Frame]:
    """Decode a photograph, or every frame of an animation whose output format can move: upright, RGB, at its work size.

    Pixels are uint8, or uint16 of a file that has more than 8 bits, in sRGB where its profile leads there and back. Under
    transparent pixels lie the colours of their neighbours. All else is in `ImageExtra`.

    Args:
        output: where the result goes; by default to `name` with the extension of the format that is written.

    Raises:
        StylebatchError: too large, or not a regular file. Pillow's and the system's errors: missing, broken, no image.
    """
    return _read(path, name or path.name, options, output, still=False)


def read_coded(path: Path, name: str, options: ImageOptions = DEFAULTS, output: str | None = None) -> CodedJpeg | None:
    """A JPEG for another decoder, if it is a whole one whose levels are the same by any, or `gpu_jpeg` takes others, and if
    `read_frames` would do nothing to its pixels: turn, scale or convert them. Else None.

    Raises:
        As `read_frames`.
    """
    with _decoding(options), open_image(path) as image:
        width, height = image.size
        plain = is_plain(image, subsampled=options.gpu_jpeg == "all")
        if options.allow_truncated or not plain or options.work_size(width, height) != image.size:
            return None
        profile, hdr = stated_colour(image, path)
        if hdr or not (profile is None or is_srgb(profile)) or orientation(read_metadata(image)) != 1:
            return None
        image.fp.seek(0)  # type: ignore[attr-defined]
        data = image.fp.read()  # type: ignore[attr-defined]
    nothing = np.broadcast_to(np.uint8(0), (height, width, 3))
    info = _read(path, name, options, output, still=False, pixels=nothing)[0].info
    return CodedJpeg(info, data) if is_whole(data) else None


def read_pixels(path: Path, at_least: tuple[int, int] | None = None) -> tuple[Pixels, Pixels | None]:
    """The first picture of a file as `read_frames` decodes it, in 8 bits, without what belongs to an output.

    Args:
        at_least: width and height; a JPEG may come at a fraction of its size that is no smaller than this.

    Returns:
        H×W×3 uint8, upright, in sRGB; its alpha, H×W uint8, or None.

    Raises:
        As `read_frames`.
    """
    with _decoding(DEFAULTS), open_image(path) as image:
        width, height = image.size
        if width * height > DEFAULTS.max_megapixels * 1_000_000:
            raise StylebatchError(f"{width}×{height} pixels: over the limit of {DEFAULTS.max_megapixels} megapixels")
        if at_least:
            image.draft(None, at_least)
        shared = {"output": path.name, "format": "PNG", "frames": 1}
        pixels, extra = _decode(image, path, image.size, ImageOptions(strip_metadata=True), shared)
    return to_8_bits(pixels), None if extra.alpha is None else to_8_bits(extra.alpha)


def open_image(path: Path) -> Image.Image:
    """Read the header. Pillow's own guard against large pictures is replaced by ours."""
    if kind := irregularity(path.stat().st_mode):
        raise StylebatchError(kind)  # to open a FIFO would be to wait for ever
    if unread_kind(path.name) == RAW:
        raise _not_read(RAW)  # Pillow opens many, and gives a thumbnail
    with pillow_guards(None):
        try:
            image = Image.open(path, formats=READABLE)
        except UnidentifiedImageError as error:
            with path.open("rb") as file:
                start = file.read(16)
                is_raw = start[:4] in _TIFF_STARTS and any(page.sensor for page in pages_of(file))
            unread = RAW if is_raw else unread_kind(path.name, start)
            if unread is None and start[:4] in _TIFF_STARTS:
                raise StylebatchError(
                    "a TIFF in a depth, colours or compression that is not read; export as 16 bits"
                ) from None
            raise _not_read(unread) if unread else error from None
        return _first_page(image) if image.format == "TIFF" else image


def written_as(path: Path) -> str | None:
    """The format in which a picture is written, by its header, else by its name; None if neither tells."""
    try:
        with open_image(path) as image:
            return _written(str(image.format), is_moving(image))
    except Exception:  # decoding tells why
        return written_by_name(path.name)


def is_moving(image: Image.Image) -> bool:
    return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))


def _written(source_format: str, moving: bool) -> str:
    return "GIF" if source_format == "GIF" and moving else FORMATS[source_format]


def _not_read(kind: str) -> StylebatchError:
    return StylebatchError(f"{kind} is not read; {EXPORT}")


def _first_page(image: Image.Image) -> Image.Image:
    """An opened TIFF at its first page that is no reduced copy of another."""
    file = image.fp  # type: ignore[attr-defined]
    pages = pages_of(file)
    if any(page.sensor for page in pages):
        image.close()
        raise _not_read(RAW)
    first = next((page for page in pages if page.whole), None)
    if first is None or first is pages[0]:
        return image
    file.seek(0)
    with image:
        return Image.open(io.BytesIO(beginning_at(file.read(), first.offset)), formats=["TIFF"])


def _read(
    path: Path, name: str, options: ImageOptions, output: str | None, *, still: bool, pixels: Pixels | None = None
) -> list[Frame]:
    """`pixels`: what takes the place of those that would be decoded."""
    with _decoding(options), open_image(path) as image:
        source_format = str(image.format)
        moving = is_moving(image)
        format = options.format or _written(source_format, moving)
        # A PNG may begin with a picture for viewers that know no animations.
        first = int(moving and bool(image.info.get("default_image")))
        last = image.n_frames if moving and not still and format in _ANIMATED else first + 1  # type: ignore[attr-defined]
        count = last - first
        width, height = image.size
        if width * height * count > options.max_megapixels * 1_000_000:
            frames = f" in {count} frames" if count > 1 else ""
            raise StylebatchError(f"{width}×{height} pixels{frames}: over the limit of {options.max_megapixels} megapixels")
        sides = options.work_size(width, height) if options.keep_work_size else (width, height)
        if max(sides) > LARGEST.get(format, max(sides)):
            raise StylebatchError(
                f"{sides[0]}×{sides[1]} pixels: {format} holds no more than {LARGEST[format]} a side; write PNG"
            )
        if options.keep_work_size or not options.preserve_color:
            image.draft(None, options.work_size(width, height))
        status = path.stat()
        shared = {
            "output": output or output_name(name, format), "format": format, "keep": _compression(image, path),
            "frames": count, "left_out": 0 if still else _frames_in(image) - last,
            "times": None if options.strip_metadata else (status.st_atime_ns, status.st_mtime_ns),
        }  # fmt: skip
        decoded = []
        for number in range(first, last):
            if number:
                image.seek(number)
            seen, extra = _decode(image, path, (width, height), options, {**shared, "frame": number - first}, pixels)
            decoded.append(Frame(FrameInfo(0, name, extra), seen))
    return decoded


def _frames_in(image: Image.Image) -> int:
    """Pictures in a file: pages, moving frames, a burst. A copy in another size is none, nor is a gain map."""
    count = 1
    with suppress(Exception):  # a damaged second page is no reason to lose the first
        if image.format == "TIFF":
            count = sum(page.whole and not page.nested for page in pages_of(image.fp))  # type: ignore[attr-defined]
        elif image.format == "MPO":
            count = 1 + _further_in_mpo(image)
        elif image.format in (*_ANIMATED, "HEIF"):
            count = image.n_frames  # type: ignore[attr-defined]
    return max(1, count)


def _further_in_mpo(image: Image.Image) -> int:
    """Cameras put larger thumbnails and gain maps there, but also a second view, or the pictures of a panorama."""
    image.fp.seek(0)  # type: ignore[attr-defined]
    data = image.fp.read()  # type: ignore[attr-defined]
    base = data.index(b"MPF\0") + 4
    count = 0
    for entry in image.mpinfo[_MP_ENTRIES][1:]:  # type: ignore[attr-defined]
        start = data[base + entry["DataOffset"] :][:65_536]
        thumbnail = entry["Attribute"]["MPType"].startswith("Large Thumbnail")
        count += not thumbnail and not any(mark in start for mark in _GAIN_MAPS)
    return count


def _decode(
    image: Image.Image,
    path: Path,
    full: tuple[int, int],
    options: ImageOptions,
    shared: dict[str, Any],
    instead: Pixels | None = None,
) -> tuple[Pixels, ImageExtra]:
    """The frame at which an opened picture stands, as the network is to see it. `full` is its size before any draft,
    `instead` what is taken for its pixels."""
    drafted = image.size != full
    profile, hdr = stated_colour(image, path)  # before a TIFF is loaded, which closes it
    # A TIFF is closed by loading, which turns those of 8 bits upright; of others, not all is known before.
    before = read_metadata(image) if image.format == "TIFF" else None
    loaded, alpha = _loaded(image, path, options.allow_truncated) if instead is None else (instead, None)
    metadata = before or read_metadata(image, further=shared.get("frame", 0) > 0)
    lies = image.getexif().get(ExifTags.Base.Orientation, 1) if before else orientation(metadata)
    colours, profile, convert_back = to_srgb(loaded, profile) if hdr is None else (from_hdr(loaded, *hdr), SRGB, False)
    colours = upright(colours, lies)
    whole = (full[::-1] if lies >= 5 else full) if drafted else (colours.shape[1], colours.shape[0])
    work = options.work_size(*whole)
    size = work if options.keep_work_size else whole
    if alpha is not None:
        alpha = upright(alpha, lies)
        colours = fill_transparent(colours, alpha)
        alpha = resized(alpha, size)
    pixels = resized(colours, work)
    metadata, notes = made_true(metadata, shared["format"], Result(size, whole, orientation(metadata) != 1))
    if options.strip_metadata:
        metadata, notes = Metadata(), []
    if hdr is not None:
        notes.append(f"{HDR[hdr[1]]} is tone-mapped to sRGB: its highlights lose their range")
    if shared["frames"] > 1 and image.format == "PNG" and depth_of_png(path) > 8:
        notes.append("animations are written in 8 bits")
    extra = ImageExtra(
        size=size if size != work else None,
        alpha=alpha,
        original=resized(colours, size) if options.preserve_color and size != work else None,
        profile=profile,
        convert_back=convert_back,
        metadata=metadata,
        loop=image.info.get("loop") if shared["frames"] > 1 else None,
        duration=image.info.get("duration", 0),
        notes=tuple(notes),
        **shared,
    )
    return pixels, extra


def _loaded(image: Image.Image, path: Path, allow_truncated: bool) -> tuple[Image.Image | Pixels, Pixels | None]:
    if (pixels := load_jpeg(image, allow_damaged=allow_truncated)) is not None:
        return pixels, None
    if not allow_truncated:
        check_jpeg_in_tiff(image)
    return load_deep(image, path) or transparent_level(image, path) or _eight_bits(image)


def _eight_bits(image: Image.Image) -> tuple[Image.Image, Pixels | None]:
    """A loaded picture as `to_srgb` takes it, and its alpha, if there is any."""
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image, None
    with_alpha = image.convert("RGBA")
    return image if image.mode == "LA" else with_alpha, np.array(with_alpha.getchannel("A"))


def _compression(image: Image.Image, path: Path) -> dict[str, dict[str, Any]]:
    """How to write the input's own format as losslessly as it came."""
    if image.format == "TIFF" and image.info.get("compression") in TIFF_COMPRESSIONS:
        return {"TIFF": {"compression": image.info["compression"]}}
    if image.format == "WEBP" and _webp_is_lossless(path):
        return {"WEBP": {"lossless": True}}
    return {}


def _webp_is_lossless(path: Path) -> bool:
    """By the name of the first chunk that holds pixels; those of an animation's frames lie in a chunk of their own."""
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            kind, size = header[:4], int.from_bytes(header[4:], "little")
            if kind == b"ANMF":
                file.seek(16, os.SEEK_CUR)
            elif kind in (b"VP8 ", b"VP8L"):
                return kind == b"VP8L"
            else:
                file.seek(size + size % 2, os.SEEK_CUR)
    return False


@contextmanager
def _decoding(options: ImageOptions) -> Iterator[None]:
    """A frame may reach beyond what the header says: Pillow looks at that while it decodes."""
    try:
        with pillow_guards(options.max_megapixels * 1_000_000, allow_truncated=options.allow_truncated):
            yield
    except Image.DecompressionBombError as error:
        raise StylebatchError(f"{str(error).partition(',')[0]}: over the limit of megapixels") from None
