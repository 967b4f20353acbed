"""What colours a file's numbers mean, where it says so otherwise than by an ICC profile."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from PIL import ExifTags, Image

from stylebatch.colour.h273 import BT709, GAMMAS, HDR, PRIMARIES, Chromaticities
from stylebatch.colour.icc import matrix_profile, space_of

_ADOBE_RGB: Chromaticities = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), (0.3127, 0.3290))
#: How far PNG's gamma may be from 1/2.2, for which writers of sRGB say it, and chromaticities from sRGB's.
_GAMMA_NEAR, _CHROMATICITY_NEAR = 0.05, 0.001
_UNCALIBRATED_AS_ADOBE = 2
#: The largest header that is read, in bytes.
_MOST = 1 << 24


def stated_colour(image: Image.Image, path: Path) -> tuple[bytes | None, tuple[int, int] | None]:
    """The ICC profile of an opened picture, embedded or made from what it states; or, if that is high dynamic range, H.273's
    numbers of primaries and transfer function. Both None: as good as sRGB, or not told.

    A PNG's cICP comes before its profile, then sRGB, gAMA and cHRM, as PNG 3 has it; a profile before AVIF's and HEIC's
    nclx, and EXIF's Adobe RGB last.
    """
    icc = image.info.get("icc_profile")
    points = _cicp(path) if image.format == "PNG" else None
    if points is None and not space_of(icc):
        points = _nclx(image, path)
    if points is not None:
        primaries, transfer = points
        return (None, points) if transfer in HDR else (_by_numbers(primaries, transfer), None)
    if space_of(icc):
        return icc, None
    if image.format == "PNG" and "srgb" not in image.info and ("gamma" in image.info or "chromaticity" in image.info):
        return _by_png(image.info), None
    if image.mode in ("RGB", "RGBA", "L", "LA") and _is_adobe_rgb(image):
        return matrix_profile("Compatible with Adobe RGB (1998)", _ADOBE_RGB, 563 / 256), None
    return icc, None


def _by_numbers(primaries: int, transfer: int) -> bytes | None:
    name, chromaticities = PRIMARIES.get(primaries, PRIMARIES[1])
    gamma = GAMMAS.get(transfer)
    if chromaticities == BT709 and gamma is None:
        return None
    return matrix_profile(name if gamma is None else f"{name}, gamma {gamma:g}", chromaticities, gamma)


def _by_png(info: dict[Any, Any]) -> bytes | None:
    gamma = None
    if "gamma" in info and 0.1 <= info["gamma"] <= 10 and abs(info["gamma"] * 2.2 - 1) > _GAMMA_NEAR:
        gamma = 1 / info["gamma"]
    white, red, green, blue = _pairs(info.get("chromaticity", ())) or (BT709[3], *BT709[:3])
    chromaticities = (red, green, blue, white)
    same = all(
        abs(a - b) <= _CHROMATICITY_NEAR
        for point, other in zip(chromaticities, BT709, strict=True)
        for a, b in zip(point, other, strict=True)
    )
    if same and gamma is None:
        return None
    known = next((name for name, their in PRIMARIES.values() if their == chromaticities), "Colours of a PNG")
    name = "sRGB" if same else known
    return matrix_profile(name if gamma is None else f"{name}, gamma {gamma:.4g}", BT709 if same else chromaticities, gamma)


def _pairs(values: Any) -> tuple[tuple[float, float], ...]:
    """White, red, green and blue, or nothing if they make no colours."""
    pairs = tuple(zip(values[::2], values[1::2], strict=False))
    sound = len(pairs) == 4 and all(0 < x < 1 and 0 < y < 1 and x + y <= 1.001 for x, y in pairs)
    if sound:
        (_, (rx, ry), (gx, gy), (bx, by)) = pairs
        sound = abs((gx - rx) * (by - ry) - (bx - rx) * (gy - ry)) > 0.01
    return pairs if sound else ()


def _is_adobe_rgb(image: Image.Image) -> bool:
    """By the Design rule for Camera File system, or by the number that some write for it."""
    if image.format == "PNG" and "exif" not in image.info:
        return False  # it may lie behind the pixels, which asking for it would decode
    with suppress(Exception):  # a damaged EXIF says nothing
        exif = image.getexif()
        colour_space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        index = exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex)
        text = index.decode("latin-1") if isinstance(index, bytes) else str(index)
        return colour_space == _UNCALIBRATED_AS_ADOBE or (colour_space != 1 and text.rstrip("\0") == "R03")
    return False


def _cicp(path: Path) -> tuple[int, int] | None:
    """PNG's chunk, which comes before the pixels and which Pillow passes over."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"cICP" and length == 4:
                primaries, transfer = file.read(2)
                return primaries, transfer
            if kind in (b"IDAT", b"IEND"):
                break
            file.seek(length + 4, 1)
    return None


def _nclx(image: Image.Image, path: Path) -> tuple[int, int] | None:
    """HEIC's by pillow-heif, AVIF's by its boxes (ISO/IEC 14496-12 and 23008-12)."""
    if image.format == "HEIF":
        told = image.info.get("nclx_profile") or {}
        return (told["color_primaries"], told["transfer_characteristics"]) if "color_primaries" in told else None
    if image.format == "AVIF":
        with suppress(struct.error, OSError, IndexError, KeyError), path.open("rb") as file:
            return _nclx_of_primary_item(file)
    return None


def _nclx_of_primary_item(file: BinaryIO) -> tuple[int, int] | None:
    meta = _boxes(_meta(file)[4:])
    item = _number(meta[b"pitm"], 4, 2 if meta[b"pitm"][0] == 0 else 4)
    described = _boxes(meta[b"iprp"])
    properties = _listed(described[b"ipco"])
    for index in _properties_of(item, described[b"ipma"]):
        kind, data = properties[index - 1]
        if kind == b"colr" and data[:4] == b"nclx":
            return _number(data, 4, 2), _number(data, 6, 2)
    return None


def _meta(file: BinaryIO) -> bytes:
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        length = size - 8
        if size == 1:
            length = struct.unpack(">Q", file.read(8))[0] - 16
        if kind == b"meta":
            return file.read(min(length, _MOST))
        if size == 0 or length < 0:
            break
        file.seek(length, 1)
    raise KeyError("meta")


def _listed(data: bytes) -> list[tuple[bytes, bytes]]:
    """Boxes one after the other: what kind each is, and what is in it."""
    found, at = [], 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            break
        found.append((kind, data[at + 8 : at + size]))
        at += size
    return found


def _boxes(data: bytes) -> dict[bytes, bytes]:
    return dict(_listed(data))


def _properties_of(item: int, ipma: bytes) -> list[int]:
    """Numbers, from 1, of the properties that an item has."""
    id_size, index_size = 2 if ipma[0] == 0 else 4, 2 if ipma[3] & 1 else 1
    at = 8
    for _ in range(_number(ipma, 4, 4)):
        here, count = _number(ipma, at, id_size), ipma[at + id_size]
        at += id_size + 1
        if here == item:
            top = 0x7FFF if index_size == 2 else 0x7F  # the highest bit says that it is essential
            indices = [_number(ipma, at + index_size * number, index_size) & top for number in range(count)]
            return [index for index in indices if index]
        at += index_size * count
    return []


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + size], "big")
