"""ICC profiles: pixels into sRGB and back, by relative colorimetry with black point compensation, clipped to the gamut.

Eight bits go through Little CMS, which Pillow binds for no more than that. Sixteen bits are computed here: exactly for what
cameras, editors and screens write, three curves and a matrix or one curve for grey; by interpolation between colours that
Little CMS converts where a profile holds tables.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms

from stylebatch.colour.h273 import Chromaticities, to_xyz
from stylebatch.frame import Pixels

#: Little CMS writes the time into a profile: without it two runs write the same bytes.
_created = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
_created[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
SRGB = bytes(_created)
#: The white in which profiles connect, and the way there from another; sRGB's curve as a parametric one of type 3.
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_RGB = (b"r", b"g", b"b")
#: Steps of the table from light to codes. It goes by the square root of light, which is near straight for usual curves.
_STEPS = 1 << 20
#: Levels a channel of the colours between which tables are interpolated: every fifth of 256.
_LEVELS = np.arange(0, 256, 5, dtype=np.uint8)
#: Pixels that are converted at once, to stay in the cache.
_BLOCK = 1 << 15


def space_of(profile: bytes | None) -> str:
    """The colour space of an ICC profile's pixels, as "RGB", "GRAY" or "CMYK"; empty if it is no profile."""
    parsed = _parsed(profile or b"")
    return "" if parsed is None else str(parsed.profile.xcolor_space.strip())


def into_srgb(pixels: Image.Image | Pixels, profile: bytes) -> Pixels | None:
    """Pixels of a profile → H×W×3 in sRGB, of their depth; None where the profile does not lead there.

    Args:
        pixels: uint8 or uint16, RGB as H×W×3 or grey as H×W; or an image of mode RGB, L or CMYK.
        profile: one whose space theirs is.
    """
    return _converted(pixels, profile, SRGB)


def out_of_srgb(pixels: Image.Image | Pixels, profile: bytes) -> Pixels | None:
    """RGB in sRGB → H×W×3 of an RGB profile, the other way; None where there is no way back to it."""
    return _converted(pixels, SRGB, profile)


def has_way_back(profile: bytes) -> bool:
    """Whether `out_of_srgb` converts into an RGB profile."""
    return _by_lcms(Image.new("RGB", (1, 1)), SRGB, profile) is not None


def is_srgb(profile: bytes) -> bool:
    """Whether a profile is Little CMS's sRGB, whenever it was made: the time is in the header."""
    return profile[128:] == SRGB[128:]


def _converted(pixels: Image.Image | Pixels, source: bytes, target: bytes) -> Pixels | None:
    if not isinstance(pixels, Image.Image) and pixels.dtype == np.uint8:
        pixels = Image.fromarray(pixels)
    if isinstance(pixels, Image.Image):
        return _by_lcms(pixels, source, target)
    if pixels.ndim == 2:
        tones = _tones(source)
        return None if tones is None else np.repeat(tones[pixels][..., None], 3, axis=2)
    conversion = _conversion(source, target)
    if conversion is None:
        return None
    flat = pixels.reshape(-1, 3)
    blocks = [conversion(flat[start : start + _BLOCK]) for start in range(0, len(flat), _BLOCK)]
    return np.concatenate(blocks).reshape(pixels.shape)


def _by_lcms(image: Image.Image, source: bytes, target: bytes) -> Pixels | None:
    with suppress(ImageCms.PyCMSError):
        converted = ImageCms.profileToProfile(
            image, _parsed(source), _parsed(target), ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
        return np.array(converted)
    return None


@lru_cache(8)
def _conversion(source: bytes, target: bytes) -> Callable[[Pixels], Pixels] | None:
    """What turns N×3 uint16 of one RGB profile into another; None where Little CMS, which rules both depths, has no way."""
    blue, green, red = np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij")
    points = np.stack([red, green, blue], axis=-1)
    converted = _by_lcms(Image.fromarray(points.reshape(-1, len(_LEVELS), 3)), source, target)
    if converted is None:
        return None
    first, second = _shaper(source), _shaper(target)
    if first is not None and second is not None:
        return partial(_by_curves, first, second)
    values = converted.reshape(points.shape).astype(np.float32) * 257
    return partial(_between, np.ascontiguousarray(np.moveaxis(values, 3, 0))[None])


def _by_curves(source: _Shaper, target: _Shaper, pixels: Pixels) -> Pixels:
    light = np.stack([curve.light[pixels[:, channel]] for channel, curve in enumerate(source.curves)], axis=-1)
    light = cv2.transform(light[None], np.linalg.solve(target.matrix, source.matrix))[0]
    steps = _steps(light)
    return np.stack([curve.codes[steps[:, channel]] for channel, curve in enumerate(target.curves)], axis=-1)


def _between(lattice: Pixels, pixels: Pixels) -> Pixels:
    """By linear interpolation in 1×3×B×G×R values from 0 to 65535, as smooth as 16 bits and as true as 8."""
    import torch  # takes seconds, and these profiles are rare
    from torch.nn.functional import grid_sample

    places = torch.from_numpy(pixels.astype(np.float32) / 32767.5 - 1)[None, None, None]
    found = grid_sample(torch.from_numpy(lattice), places, padding_mode="border", align_corners=True)
    whole: Pixels = np.rint(found[0, :, 0, 0].T.numpy()).astype(np.uint16)
    return whole


@lru_cache(8)
def _parsed(data: bytes) -> Any:
    with suppress(OSError, ImageCms.PyCMSError):
        return ImageCms.ImageCmsProfile(io.BytesIO(data))
    return None


@dataclass(frozen=True)
class _Curve:
    """What light a code is, 65,536 values from 0 to 1, and what code a light is, by its square root in `_STEPS`."""

    light: Pixels
    codes: Pixels


@dataclass(frozen=True)
class _Shaper:
    """Three curves and the matrix from their light to D50 XYZ: ICC.1:2022, F.3."""

    curves: list[_Curve]
    matrix: Pixels


@lru_cache(8)
def _shaper(data: bytes) -> _Shaper | None:
    """None for a profile of tables, or one with curves or colours from which there is no way back."""
    tags = _tags(data)
    if any(name[:3] in (b"A2B", b"B2A", b"D2B", b"B2D") for name in tags):
        return None  # Little CMS prefers them too
    profile = _parsed(data).profile
    try:
        curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
        colours = (profile.red_colorant, profile.green_colorant, profile.blue_colorant)
        matrix = np.array([colour[0] for colour in colours]).T
        np.linalg.inv(matrix)
    except (KeyError, TypeError, ValueError, struct.error):
        return None
    return _Shaper(curves, matrix)


@lru_cache(8)
def _tones(data: bytes) -> Pixels | None:
    """A GRAY profile's 65,536 codes in sRGB: ICC.1:2022, F.2."""
    srgb = _shaper(SRGB)
    try:
        light = _curve(_tags(data)[b"kTRC"]).light
    except (KeyError, ValueError, struct.error):
        return None
    if _parsed(data).profile.connection_space.strip() == "Lab":
        light = np.where(light > 0.08, ((light + 0.16) / 1.16) ** 3, light * 2700 / 24389)  # it is L*
    return None if srgb is None else srgb.curves[1].codes[_steps(light)]


def _tags(data: bytes) -> dict[bytes, bytes]:
    """ICC.1:2022, 7.3."""
    count = int.from_bytes(data[128:132], "big")
    table = data[132 : 132 + 12 * count]
    entries = struct.iter_unpack(">4sII", table[: len(table) // 12 * 12])
    return {name: data[at : at + size] for name, at, size in entries}


@lru_cache(16)
def _curve(tag: bytes) -> _Curve:
    """A curveType or a parametricCurveType, ICC.1:2022, 10.6 and 10.18, its darkest made black as compensation does.

    Raises:
        ValueError, struct.error: it is neither, is cut short, or falls.
    """
    code = np.linspace(0, 1, 65536)
    kind, count = struct.unpack(">4s4xI", tag[:12])
    with np.errstate(all="ignore"):
        if kind == b"curv" and count > 1:
            table = np.frombuffer(tag, ">u2", count, 12) / 65535
            light = np.interp(code, np.linspace(0, 1, count), table)
        elif kind == b"curv":
            light = code ** (struct.unpack(">H", tag[12:14])[0] / 256 if count else 1)
        elif kind == b"para" and count >> 16 < 5:
            light = _parametric(code, count >> 16, tag[12:])
        else:
            raise ValueError(f"a curve of type {kind!r}")
        light = np.clip(light, 0, 1)
        light = (light - light[0]) / (1 - light[0])
    # Where the pieces of a parametric curve meet, rounded parameters may leave a step.
    rising = np.maximum.accumulate(light)
    if not np.isfinite(light).all() or light[-1] <= 0 or (rising - light).max() > 1e-4:
        raise ValueError("a curve that falls")
    ends = (0.5 + np.arange(65535)) / 65535
    codes = np.searchsorted(np.interp(ends, code, rising), (np.arange(_STEPS + 1) / _STEPS) ** 2)
    return _Curve(rising, codes.astype(np.uint16))


def _parametric(code: Pixels, kind: int, data: bytes) -> Pixels:
    """Table 68 of ICC.1:2022."""
    values = np.frombuffer(data, ">i4", (1, 3, 4, 5, 7)[kind]) / 65536
    g, a, b, c, d, e, f = np.concatenate([values, (1, 1, 0, 0, 0, 0, 0)[len(values) :]])
    if kind == 2:  # c lies under all of it
        c, e = 0.0, c
    power: Pixels = np.maximum(a * code + b, 0) ** g + e
    return np.where(code >= d, power, c * code + f)


def _steps(light: Pixels) -> Pixels:
    steps: Pixels = np.rint(np.sqrt(np.clip(light, 0, 1)) * _STEPS).astype(np.intp)
    return steps


@lru_cache(64)
def matrix_profile(name: str, chromaticities: Chromaticities, gamma: float | None = None) -> bytes:
    """An RGB profile of three primaries and one curve, a power or, by default, sRGB's: ICC.1:2022, 8.3."""
    *_, white = chromaticities
    own = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    adaptation = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ _D50 / (_BRADFORD @ own)) @ _BRADFORD)
    columns = (adaptation @ to_xyz(chromaticities)).T
    curve = struct.pack(">4s4xHxx", b"para", 0 if gamma else 3) + _fixed([gamma] if gamma else _SRGB_CURVE)
    tags = {
        b"desc": _text(name), b"cprt": _text("No copyright, use freely"), b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50),
        b"chad": b"sf32" + bytes(4) + _fixed(adaptation.ravel()),
        **{letter + b"XYZ": b"XYZ " + bytes(4) + _fixed(column) for letter, column in zip(_RGB, columns, strict=True)},
        **{letter + b"TRC": curve for letter in _RGB},
    }  # fmt: skip
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += struct.pack(">4sII", tag, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4xI4s4s4s6H4s", at + len(body), 0x04400000, b"mntr", b"RGB ", b"XYZ ", 2000, 1, 1, 0, 0, 0, b"acsp"
    )
    return head.ljust(68, b"\0") + _fixed(_D50).ljust(60, b"\0") + table + body


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(encoded), 28) + encoded


def _fixed(values: Any) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)
