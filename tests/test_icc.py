"""Sixteen bits through ICC profiles: against the formulas, and against Little CMS in eight bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import LEVEL, MEAN_LEVEL, ROUNDED, THERE_AND_BACK
from PIL import Image
from support.profiles import (
    ADOBE,
    P3,
    PROPHOTO,
    SRGB_CURVE,
    curve,
    grey_profile,
    parametric,
    primaries,
    rgb_profile,
    table_profile,
)

from stylebatch.colour.icc import SRGB, has_way_back, into_srgb, is_srgb, out_of_srgb, space_of


def colours(low: int = 0, high: int = 255) -> Any:
    """Levels of eight bits in three channels, greys among them."""
    levels = np.random.default_rng(0).integers(low, high + 1, (64, 256, 3), dtype=np.uint8)
    levels[0] = np.linspace(low, high, 256).astype(np.uint8)[:, None]
    return levels


def linear(codes: Any) -> Any:
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def srgb(light: Any) -> Any:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light.clip(1e-9) ** (1 / 2.4) - 0.055)


def apart(deep: Any, levels: Any) -> Any:
    assert deep.dtype == np.uint16
    assert levels.dtype == np.uint8
    return np.abs(deep / 257 - levels)


def test_display_p3_by_the_formulas() -> None:
    """In and out of the gamut: what sRGB cannot show is clipped."""
    codes = np.random.default_rng(0).integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    matrix = primaries((0.64, 0.33), (0.3, 0.6), (0.15, 0.06))
    expected = srgb((linear(codes / 65535) @ P3.T @ np.linalg.inv(matrix).T).clip(0, 1))
    found = into_srgb(codes, rgb_profile(P3, SRGB_CURVE))
    assert found is not None
    assert np.abs(found - expected * 65535).max() < ROUNDED
    assert (found == 0).any()
    assert (found == 65535).any()


@pytest.mark.parametrize(
    ("matrix", "tone"), [(P3, SRGB_CURVE), (ADOBE, curve(563)), (PROPHOTO, curve(461)), (ADOBE, curve())]
)
def test_there_and_back(matrix: Any, tone: bytes) -> None:
    """Colours that are in sRGB and not next to black, where a pure power is steeper than sixteen bits can follow."""
    profile = rgb_profile(matrix, tone)
    original = np.random.default_rng(0).integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    wide = out_of_srgb(original, profile)
    assert wide is not None
    seen = into_srgb(wide, profile)
    assert seen is not None
    again = out_of_srgb(seen, profile)
    assert again is not None
    clear = (original > 2000).all(axis=2)
    assert np.abs(again.astype(int) - wide)[clear].max() <= THERE_AND_BACK
    assert np.abs(again.astype(int) - wide).mean() < 1


@pytest.mark.parametrize(
    "tones",
    [
        (SRGB_CURVE,),
        (parametric(4, 1 / 0.45, 1 / 1.0993, 0.0993 / 1.0993, 1 / 4.5, 0.08145, 0, 0),),
        (parametric(0, 2.2),),
        (parametric(1, 2, 1.1, -0.1),),
        (parametric(2, 2.2, 1.02, -0.02, 0),),
        (curve(), curve(512), curve(0, 3000, 20000, 65535)),
    ],
    ids=["para 3", "para 4", "para 0", "para 1", "para 2", "curv"],
)
def test_every_kind_of_curve_agrees_with_little_cms(tones: tuple[bytes, ...]) -> None:
    profile = rgb_profile(ADOBE, *tones)
    levels = colours(low=8)
    for convert in (into_srgb, out_of_srgb):
        deep, shallow = convert(levels.astype(np.uint16) * 257, profile), convert(Image.fromarray(levels), profile)
        assert apart(deep, shallow).max() < LEVEL
        assert apart(deep, shallow).mean() < MEAN_LEVEL


@pytest.mark.parametrize("tone", [curve(3000, 65535), parametric(2, 2.2, 0.98, 0, 1 - 0.98**2.2)], ids=["curv", "para 2"])
def test_the_darkest_becomes_black_and_white_stays(tone: bytes) -> None:
    for convert in (into_srgb, out_of_srgb):
        for level in (0, 255):
            levels = np.full((1, 1, 3), level, np.uint8)
            shallow = convert(Image.fromarray(levels), rgb_profile(P3, tone))
            deep = convert(levels.astype(np.uint16) * 257, rgb_profile(P3, tone))
            assert apart(deep, shallow).max() < LEVEL
            assert apart(deep, levels).max() < LEVEL


@pytest.mark.parametrize("connection", [b"XYZ ", b"Lab "])
def test_grey_by_the_formula(connection: bytes) -> None:
    codes = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    light = (codes / 65535) ** 1.8
    if connection == b"Lab ":
        light = np.where(light > 0.08, ((light * 100 + 16) / 116) ** 3, light * 100 / 903.2963)
    found = into_srgb(codes, grey_profile(curve(round(1.8 * 256)), connection))
    assert found is not None
    assert found.shape == (256, 256, 3)
    assert np.abs(found - srgb(light)[..., None] * 65535).max() < 0.001 * 65535  # of the gamma, in 256ths


def test_tables_are_interpolated_between_what_little_cms_converts() -> None:
    profile = table_profile(P3, 2.2)
    levels = colours()
    for convert in (into_srgb, out_of_srgb):
        deep, shallow = convert(levels.astype(np.uint16) * 257, profile), convert(Image.fromarray(levels), profile)
        assert apart(deep, shallow).mean() < MEAN_LEVEL
    ramp = np.linspace(20000, 24000, 4000).astype(np.uint16)
    smooth = into_srgb(np.repeat(ramp[None, :, None], 3, axis=2), profile)
    assert smooth is not None
    assert len(np.unique(smooth[..., 1])) > 3000  # eight bits would have 16


def test_falling_curves_are_left_to_little_cms() -> None:
    profile = rgb_profile(P3, curve(65535, 0))
    levels = colours()
    deep, shallow = into_srgb(levels.astype(np.uint16) * 257, profile), into_srgb(Image.fromarray(levels), profile)
    assert shallow is not None
    assert shallow[0, 0, 0] > shallow[0, -1, 0]
    assert apart(deep, shallow).mean() < 3  # a negative is steepest where the points are fewest


def test_one_way_profiles_are_known() -> None:
    assert has_way_back(rgb_profile(P3, SRGB_CURVE))
    scanner = table_profile(P3, 2.2, back=False)
    assert into_srgb(np.zeros((1, 1, 3), np.uint16), scanner) is not None
    assert not has_way_back(scanner)


def test_srgb_has_the_same_bytes_in_every_run() -> None:
    """Or a picture tagged with it would not."""
    assert SRGB[24:36] == bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    assert is_srgb(SRGB[:24] + bytes(12) + SRGB[36:])
    assert not is_srgb(rgb_profile(P3, SRGB_CURVE))


@pytest.mark.parametrize(
    "profile", [rgb_profile(P3, SRGB_CURVE, curve(512), curve(0, 9, 65535)), grey_profile(curve(512))], ids=["RGB", "GRAY"]
)
def test_a_damaged_profile_converts_or_does_not(profile: bytes) -> None:
    rng = np.random.default_rng(0)
    converted = 0
    for number in range(60):
        damaged = bytearray(profile if number % 2 else profile[: rng.integers(128, len(profile))])
        for at in rng.integers(128, len(damaged), 3 if len(damaged) > 128 else 0):
            damaged[at] = rng.integers(256)
        if (space := space_of(bytes(damaged))) in ("RGB", "GRAY"):
            pixels = np.full((2, 2, 3) if space == "RGB" else (2, 2), 30000, np.uint16)
            found = into_srgb(pixels, bytes(damaged))
            converted += found is not None
            assert found is None or (found.shape == (2, 2, 3) and found.dtype == np.uint16)
    assert 0 < converted < 60
