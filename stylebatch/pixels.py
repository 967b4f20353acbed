"""Pixels beside the network: colour spaces, depth, transparency, scale. Arrays are H×W×3 RGB in uint8 or uint16."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from stylebatch.colour.h273 import tone_mapped
from stylebatch.colour.icc import SRGB, has_way_back, into_srgb, is_srgb, out_of_srgb, space_of
from stylebatch.frame import Pixels

#: How much red, green and blue add to brightness, by ITU-R BT.601.
LUMA = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)


def to_srgb(pixels: Image.Image | Pixels, data: bytes | None) -> tuple[Pixels, bytes | None, bool]:
    """Pixels of any mode → RGB in sRGB, without alpha.

    Args:
        pixels: uint8 or uint16, H×W of grey, H×W×3 of RGB, or H×W×4 of CMYK, which becomes 8 bits; or an image of any of
            Pillow's modes for 8 bits.
        data: the ICC profile that they came with, or None.

    Returns:
        H×W×3, uint8 or uint16; the ICC profile that belongs to the output; whether the output's pixels have to be converted
        into it. A profile that only leads to sRGB and not back stays attached to unconverted pixels.
    """
    if not isinstance(pixels, Image.Image) and pixels.shape[2:] == (4,):
        pixels = Image.merge("CMYK", [Image.fromarray(ink) for ink in np.moveaxis(to_8_bits(pixels), 2, 0)])
    if isinstance(pixels, Image.Image):
        grey = pixels.mode in ("L", "LA", "1")
        own = "GRAY" if grey else pixels.mode if pixels.mode in ("CMYK", "LAB") else "RGB"
        rgb = np.array(pixels.convert("RGB"))
    else:
        own = "GRAY" if pixels.ndim == 2 else "RGB"
        rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    space = space_of(data)
    if data and space == own != "RGB":
        native = pixels.convert("L" if grey else own) if isinstance(pixels, Image.Image) else pixels
        if (converted := into_srgb(native, data)) is not None:
            return converted, SRGB, False
    if data and space == "RGB" and own in ("RGB", "GRAY") and not is_srgb(data) and has_way_back(data):
        converted = into_srgb(rgb, data)
        if converted is not None:
            return converted, data, True
    return rgb, data if space == "RGB" else None, False


def from_srgb(pixels: Pixels, profile: bytes) -> Pixels:
    """sRGB, uint8 or uint16 → the space of an RGB profile for which `to_srgb` asked to be converted back."""
    converted = out_of_srgb(pixels, profile)
    assert converted is not None
    return converted


def from_hdr(pixels: Image.Image | Pixels, primaries: int, transfer: int) -> Pixels:
    """Pixels as for `to_srgb` in PQ or HLG and H.273's primaries → H×W×3 in sRGB, tone-mapped, of their depth."""
    rgb, _, _ = to_srgb(pixels, None)
    codes = rgb if rgb.dtype == np.uint16 else rgb.astype(np.uint16) * 257
    light = tone_mapped(codes, primaries, transfer)
    shown = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** np.float32(1 / 2.4) - 0.055)
    return _rounded(shown * np.float32(np.iinfo(rgb.dtype).max), rgb)


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
    """Scale H×W(×C), uint8, uint16 or float32, to (width, height) by Lanczos in the depth that it has."""
    if pixels.shape[1::-1] == size:
        return pixels
    if pixels.dtype == np.uint8:
        return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    if pixels.ndim == 3:
        return np.stack([resized(pixels[..., channel], size) for channel in range(pixels.shape[2])], axis=-1)
    scaled = np.asarray(Image.fromarray(pixels.astype(np.float32)).resize(size, Image.Resampling.LANCZOS))
    return scaled if pixels.dtype == np.float32 else _rounded(scaled, pixels)


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


def with_tone_of(stylized: Pixels, photograph: Pixels, share: float) -> Pixels:
    """`stylized` on the way to the photograph's tone, by `share`, 0 to 1.

    Brightness and colour of blocks of 8 px come back first, by 1 - (1 - share)²: networks between photograph and style paint
    discs into even skies. Each channel's contrast comes back last, by share⁴, since it is brushwork too.
    """
    toned = np.empty_like(stylized)
    top = np.iinfo(stylized.dtype).max
    levels = np.arange(top + 1, dtype=np.float32)
    of_blocks, of_contrast = 1 - (1 - share) ** 2, share**4
    for channel in range(3):
        picture, model = (cv2.extractChannel(pixels, channel) for pixels in (stylized, photograph))
        (mean, contrast), (_, wanted) = (np.ravel(cv2.meanStdDev(pixels)) for pixels in (picture, model))
        scale = 1 + of_contrast * (wanted / max(contrast, top / 1000) - 1)
        table = ((levels - mean) * scale + mean).astype(np.float32)
        scaled = cv2.LUT(picture, table) if top == 255 else table[picture]
        change = _without_detail(cv2.subtract(model, scaled, dtype=cv2.CV_32F))
        change *= np.float32(of_blocks)
        cv2.insertChannel(cv2.add(scaled, change, dtype=cv2.CV_8U if top == 255 else cv2.CV_16U), toned, channel)
    return toned


def _without_detail(values: Pixels) -> Pixels:
    """H×W without what is finer than blocks of 8 px."""
    height, width = values.shape
    blocks = cv2.resize(values, (-(-width // 8), -(-height // 8)), interpolation=cv2.INTER_AREA)
    smooth: Pixels = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_CUBIC)
    return smooth


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
