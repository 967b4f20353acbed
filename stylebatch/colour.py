"""Pixels beside the network: colour spaces, depth, transparency, scale. Arrays are H×W×3 RGB in uint8 or uint16."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms

Pixels = np.ndarray[Any, np.dtype[Any]]

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
SRGB_BYTES = _SRGB.tobytes()
#: How much red, green and blue add to brightness, by ITU-R BT.601.
_LUMA = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)


def to_srgb(image: Image.Image) -> tuple[Pixels, bytes | None, bool]:
    """Any of Pillow's modes → RGB in sRGB, without alpha.

    Returns:
        H×W×3, uint16 for grey of more than 8 bits, else uint8; the ICC profile that belongs to the output; whether the
        output's pixels have to be converted into it. A profile that only leads to sRGB and not back stays attached to
        unconverted pixels.
    """
    data = image.info.get("icc_profile")
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        return np.repeat(_deep_grey(image)[..., None], 3, axis=2), None, False
    profile, space = _parse(data)
    source = {
        "RGB": "RGB" if image.mode not in ("CMYK", "LAB") else None,
        "GRAY": "L" if image.mode in ("L", "LA", "1") else None,
        "CMYK": "CMYK" if image.mode == "CMYK" else None,
    }.get(space)
    if source is not None:
        with suppress(ImageCms.PyCMSError):
            converted = np.array(_convert(image.convert(source), profile, _SRGB))
            if source != "RGB":
                return converted, SRGB_BYTES, False
            if data != SRGB_BYTES:
                _convert(Image.new("RGB", (1, 1)), _SRGB, profile)  # is there a way back?
            return converted, data, data != SRGB_BYTES
    return np.array(image.convert("RGB")), rgb_profile(data), False


def from_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    """sRGB uint8 → the space of an RGB profile for which `to_srgb` asked to be converted back."""
    return np.array(_convert(Image.fromarray(pixels), _SRGB, _parse(profile)[0]))


def rgb_profile(data: bytes | None) -> bytes | None:
    """The profile, if RGB pixels may carry it."""
    return data if _parse(data)[1] == "RGB" else None


def to_8_bits(pixels: Pixels) -> Pixels:
    return pixels if pixels.dtype == np.uint8 else np.rint(pixels / np.float32(257)).astype(np.uint8)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn H×W(×C) as EXIF's orientation, 1 to 8, asks."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Scale H×W(×C) to (width, height) by Lanczos in the depth that it has."""
    if pixels.shape[1::-1] == size:
        return pixels
    if pixels.dtype == np.uint8:
        return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    if pixels.ndim == 3:
        return np.stack([resized(pixels[..., channel], size) for channel in range(pixels.shape[2])], axis=-1)
    scaled = np.asarray(Image.fromarray(pixels.astype(np.float32)).resize(size, Image.Resampling.LANCZOS))
    return _rounded(scaled, pixels)


def fill_transparent(colours: Pixels, alpha: Pixels) -> Pixels:
    """Colours for what does not show, taken from what does: the network sees no black or white behind a cut-out.

    A pixel keeps its colour as far as it is as opaque as its surroundings, so glass and gradients stay themselves.
    """
    top = np.iinfo(alpha.dtype).max
    opacity = alpha.astype(np.float32) / np.float32(top)
    if opacity.min() == 1 or opacity.max() == 0:
        return colours
    around = np.maximum(cv2.dilate(opacity, np.ones((5, 5), np.uint8)), np.float32(1 / top))
    trust = np.clip(2.5 * opacity / around - 1.25, 0, 1)
    return _rounded(_push_pull(colours.astype(np.float32), trust), colours)


def over_white(colours: Pixels, alpha: Pixels) -> Pixels:
    """What shows of colours with alpha on white paper."""
    top = np.float32(np.iinfo(colours.dtype).max)
    opacity = alpha.astype(np.float32)[..., None] / np.iinfo(alpha.dtype).max
    return _rounded(top + (colours - top) * opacity, colours)


def with_colours_of(stylized: Pixels, photograph: Pixels) -> Pixels:
    """Brightness of `stylized`, YCbCr's chroma of `photograph`; both of one shape and dtype."""
    # Equal chroma means equal distances of R, G and B from luma: to move luma alone is to add its difference to each.
    luma = cv2.transform(cv2.subtract(stylized, photograph, dtype=cv2.CV_32F), _LUMA)
    return cv2.add(photograph, cv2.merge([luma] * 3), dtype=cv2.CV_8U if photograph.dtype == np.uint8 else cv2.CV_16U)


def _push_pull(colours: Pixels, trust: Pixels) -> Pixels:
    """Where trust (0 to 1) is short, the colours of a picture of half the size, filled in the same way."""
    height, width = trust.shape
    if trust.min() == 1 or trust.size == 1:
        return colours
    half = ((width + 1) // 2, (height + 1) // 2)
    weight = trust[..., None]
    sums = cv2.resize(colours * weight, half, interpolation=cv2.INTER_AREA)
    weights = cv2.resize(trust, half, interpolation=cv2.INTER_AREA)
    below = _push_pull(sums / np.maximum(weights, 1e-9)[..., None], np.minimum(weights * 4, 1))
    spread: Pixels = cv2.resize(below, (width, height), interpolation=cv2.INTER_LINEAR)
    spread += (colours - spread) * weight
    return spread


def _rounded(values: Pixels, like: Pixels) -> Pixels:
    whole: Pixels = np.rint(values).clip(0, np.iinfo(like.dtype).max).astype(like.dtype)
    return whole


def _deep_grey(image: Image.Image) -> Pixels:
    values = np.asarray(image)
    if image.mode == "F" and values.max(initial=0) <= 1:
        values = values * 65535
    whole: Pixels = np.rint(values).clip(0, 65535).astype(np.uint16)
    return whole


def _parse(data: bytes | None) -> tuple[Any, str]:
    """An ICC profile and its colour space, or None and nothing if it is no profile."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data or b""))
    except (OSError, ImageCms.PyCMSError):
        return None, ""
    return profile, profile.profile.xcolor_space.strip()


def _convert(image: Image.Image, source: Any, target: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, source, target, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip
    assert converted is not None
    return converted
