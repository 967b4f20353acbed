"""Colours by the numbers of ITU-T H.273, which films and stills share: primaries, transfer functions, tone mapping."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from stylebatch.frame import Pixels

#: Chromaticities x, y of red, green, blue and white.
Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]

_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
_SMPTE170M: Chromaticities = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)
BT709: Chromaticities = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65)
#: By number: the name under which they are known, and the chromaticities.
PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    1: ("BT.709", BT709),
    4: ("BT.470 M", ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C)),
    5: ("BT.470 BG", ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65)),
    6: ("SMPTE 170M", _SMPTE170M),
    7: ("SMPTE 240M", _SMPTE170M),
    8: ("Film", ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C)),
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65)),
    11: ("DCI-P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351))),
    12: ("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65)),
    22: ("EBU 3213", ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65)),
}
#: Transfer functions that are a power; the other ones of standard dynamic range are shown as sRGB's.
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
#: Transfer functions of high dynamic range: what they hold cannot be shown by the others without tone mapping.
PQ, HLG = 16, 18
HDR = {PQ: "PQ", HLG: "HLG"}

#: Tone mapping: nits of SDR's white and of the brightest that is kept apart; from which part of white on it compresses.
_WHITE, _PEAK, _KNEE = 203.0, 1000.0, np.float32(0.5)


def to_xyz(chromaticities: Chromaticities) -> Pixels:
    """3×3: linear RGB → CIE XYZ, not adapted; white's Y is 1."""
    *colours, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in chromaticities)
    columns = np.stack(colours, axis=1)
    matrix: Pixels = columns * np.linalg.solve(columns, white)
    return matrix


def tone_mapped(codes: Pixels, primaries: int, transfer: int) -> Pixels:
    """H×W×3 RGB in PQ or HLG, uint16 → linear light in BT.709's primaries, float32 from 0 to 1. What is darker than half of
    SDR's white stays as bright as it is; from there up to `_PEAK` brightness is compressed, each pixel keeping its hue."""
    light: Pixels = _light(transfer)[codes]
    if transfer == HLG:
        luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light = light * (_PEAK / _WHITE * luma**0.2)[..., None]  # the system gamma of a display of that peak
    if primaries in PRIMARIES and PRIMARIES[primaries][1] != BT709:
        light = cv2.transform(light, _to_bt709(primaries))
    light = np.maximum(light, 0)
    brightest = light.max(axis=2, keepdims=True)
    top = np.float32(_PEAK / _WHITE)
    above = np.clip((brightest - _KNEE) / (top - _KNEE), 0, 1)
    slope = (top - _KNEE) / (1 - _KNEE)
    compressed = _KNEE + (1 - _KNEE) * above * slope / (1 + above * (slope - 1))
    light *= np.where(brightest > _KNEE, compressed / np.maximum(brightest, _KNEE), 1)
    shown: Pixels = np.minimum(light, 1)
    return shown


@lru_cache
def _to_bt709(primaries: int) -> Pixels:
    matrix: Pixels = np.linalg.solve(to_xyz(BT709), to_xyz(PRIMARIES[primaries][1])).astype(np.float32)
    return matrix


@lru_cache(maxsize=1)
def _light(transfer: int) -> Pixels:
    """By 16-bit code: light, 1 for SDR's white; in HLG that of the scene, 1 for its largest."""
    signal = np.arange(65536) / 65535
    if transfer == HLG:
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    else:
        power = signal ** (1 / 78.84375)
        ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        light = ratio ** (1 / 0.1593017578125) * 10_000 / _WHITE
    return light.astype(np.float32)
