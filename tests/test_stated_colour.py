"""Colours that a file states otherwise than by an ICC profile: against the formulas of ITU-T H.273, PNG 3 and DCF."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture
from PIL import ExifTags, Image, ImageCms
from support.profiles import ADOBE, P3, SRGB_CURVE, primaries, rgb_profile

from stylebatch.colour.h273 import PRIMARIES
from stylebatch.colour.icc import SRGB, into_srgb, is_srgb, matrix_profile
from stylebatch.frame import Frame
from stylebatch.images.decoding import read_image
from stylebatch.images.encoding import write_image
from stylebatch.images.source import ImageSource

#: Of 255: eight bits through Little CMS.
NEAR = 1.5
REC2020 = primaries((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
REC709 = primaries((0.64, 0.33), (0.3, 0.6), (0.15, 0.06))
#: cHRM of Display P3 and of sRGB.
P3_CHRM, SRGB_CHRM = (
    struct.pack(">8I", *(round(value * 100_000) for value in (0.3127, 0.3290, *colours)))
    for colours in ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06), (0.64, 0.33, 0.3, 0.6, 0.15, 0.06))
)
MUTED = (150, 110, 120)


def linear(codes: Any) -> Any:
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def srgb(light: Any) -> Any:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def shown(colour: Any, matrix: Any, gamma: float | None = None) -> Any:
    """A colour of 8 bits as sRGB shows it."""
    codes = np.array(colour) / 255
    light = linear(codes) if gamma is None else codes**gamma
    return srgb((np.linalg.solve(REC709, matrix) @ light).clip(0, 1)) * 255


def save_png(path: Path, *chunks: tuple[bytes, bytes], colour: Any = MUTED, mode: str = "RGB", **options: Any) -> None:
    """An even picture with chunks before its pixels."""
    Image.new(mode, (16, 8), colour).save(path, **options)
    whole = path.read_bytes()
    inserted = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(whole[:33] + inserted + whole[33:])


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def cicp(colours: int, transfer: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes([colours, transfer, 0, 1])


P3_BY_ICC = {"icc_profile": rgb_profile(P3, SRGB_CURVE)}
SRGB_BY_CHUNK = (b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "options", "expected"),
    [
        ([cicp(12, 13)], {}, shown(MUTED, P3)),
        ([cicp(9, 13)], {}, shown(MUTED, REC2020)),
        ([cicp(1, 8)], {}, shown(MUTED, REC709, 1.0)),
        ([cicp(1, 13)], {}, MUTED),
        ([cicp(1, 1)], {}, MUTED),
        ([cicp(1, 13)], P3_BY_ICC, MUTED),
        ([cicp(9, 13), SRGB_BY_CHUNK], {}, shown(MUTED, REC2020)),
        ([SRGB_BY_CHUNK, gamma(1)], {}, MUTED),
        ([gamma(1)], P3_BY_ICC, shown(MUTED, P3)),
        ([gamma(1)], {}, shown(MUTED, REC709, 1.0)),
        ([gamma(1 / 1.8)], {}, shown(MUTED, REC709, 1.8)),
        ([gamma(0.45455)], {}, MUTED),
        ([gamma(0.45455), (b"cHRM", P3_CHRM)], {}, shown(MUTED, P3)),
        ([(b"cHRM", P3_CHRM)], {}, shown(MUTED, P3)),
        ([gamma(0.45455), (b"cHRM", SRGB_CHRM)], {}, MUTED),
        ([gamma(0)], {}, MUTED),
        ([(b"cHRM", bytes(32))], {}, MUTED),
    ],
    ids=str,
)
def test_what_a_png_states(chunks: Any, options: Any, expected: Any, tmp_path: Path) -> None:
    """Seen in sRGB, and written as it came with a profile that says the same."""
    save_png(tmp_path / "a.png", *chunks, **options)
    frame = read_image(tmp_path / "a.png")
    assert np.abs(frame.pixels[0, 0] - expected).max() < NEAR
    write_image(frame.pixels, frame.info.extra, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as back:
        assert np.abs(np.array(back)[0, 0].astype(int) - MUTED).max() < NEAR + 0.5
        assert ("icc_profile" in back.info) == bool(np.abs(np.array(expected) - MUTED).max() > NEAR)
        again = read_image(tmp_path / "out.png").pixels[0, 0]
    assert np.abs(again - expected).max() < NEAR + 0.5


def test_grey_and_sixteen_bits_by_gamma(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", gamma(1), mode="L", colour=100)
    assert np.abs(read_image(tmp_path / "a.png").pixels[0, 0] - shown((100,) * 3, REC709, 1.0)).max() < NEAR
    save_png(tmp_path / "b.png", gamma(1), mode="I;16", colour=100 * 257)
    assert np.abs(read_image(tmp_path / "b.png").pixels[0, 0] / 257 - shown((100,) * 3, REC709, 1.0)).max() < NEAR


def pq(nits: Any) -> Any:
    power = (np.asarray(nits) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


@pytest.mark.parametrize("nits", [20.0, 50.0, 100.0])
def test_high_dynamic_range_is_tone_mapped_and_told(nits: float, tmp_path: Path) -> None:
    """Up to half of SDR's white, 203 nits, greys keep their light; above it they stay below white, and in order."""
    levels = [round(float(pq(value)) * 255) for value in (nits, 400, 900)]
    seen = []
    for level in levels:
        save_png(tmp_path / "a.png", cicp(9, 16), colour=(level,) * 3)
        (frame,) = [ImageSource(tmp_path)["a.png"]]
        assert isinstance(frame, Frame)
        assert frame.info.extra.notes == ("PQ is tone-mapped to sRGB: its highlights lose their range",)
        assert is_srgb(frame.info.extra.profile or b"")
        seen.append(int(frame.pixels[0, 0, 1]))
    assert abs(seen[0] - srgb(nits / 203) * 255) < 4  # a step of PQ in eight bits
    assert 188 < seen[1] < seen[2] < 256
    save_png(tmp_path / "b.png", cicp(9, 18), colour=(128,) * 3)
    loaded = ImageSource(tmp_path)["b.png"]
    assert isinstance(loaded, Frame)
    assert loaded.info.extra.notes[0].startswith("HLG")
    assert not ImageSource(tmp_path)["b.png"].info.extra.convert_back  # type: ignore[union-attr]


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


def state_in_avif(path: Path, colours: int, transfer: int) -> None:
    """Numbers in place of those in each nclx box."""
    data = bytearray(path.read_bytes())
    at, found = 0, 0
    while (at := data.find(b"colrnclx", at)) >= 0:
        data[at + 8 : at + 12] = struct.pack(">2H", colours, transfer)
        at, found = at + 8, found + 1
    assert found
    path.write_bytes(data)


@pytest.mark.parametrize(("colours", "matrix"), [(12, P3), (9, REC2020), (1, REC709)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_what_avif_states(colours: int, matrix: Any, mode: str, tmp_path: Path) -> None:
    Image.new(mode, (16, 16), (*MUTED, 200)[: len(mode)]).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    plain = read_image(tmp_path / "a.avif").pixels[4, 4]
    state_in_avif(tmp_path / "a.avif", colours, 13)
    frame = read_image(tmp_path / "a.avif")
    assert np.abs(frame.pixels[4, 4] - shown(plain, matrix)).max() < NEAR
    assert (frame.info.extra.profile is None) == (colours == 1)


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_in_avif_and_heic(transfer: int, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (128,) * 3).save(tmp_path / "a.avif", quality=100)
    state_in_avif(tmp_path / "a.avif", 9, transfer)
    assert read_image(tmp_path / "a.avif").info.extra.notes
    pytest.importorskip("pillow_heif")
    numbers = {"color_primaries": 9, "transfer_characteristics": transfer, "matrix_coefficients": 9, "full_range_flag": 1}
    Image.new("RGB", (64, 64), (128,) * 3).save(tmp_path / "a.heic", quality=-1, **numbers)
    frame = read_image(tmp_path / "a.heic")
    assert frame.info.extra.notes
    assert np.abs(frame.pixels[9, 9] - read_image(tmp_path / "a.avif").pixels[9, 9].astype(int)).max() < 6


def test_what_heic_states(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    numbers = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 6, "full_range_flag": 1}
    Image.new("RGB", (64, 64), MUTED).save(tmp_path / "a.heic", quality=-1, **numbers)
    frame = read_image(tmp_path / "a.heic")
    assert np.abs(frame.pixels[9, 9] - shown(MUTED, P3)).max() < 2 * NEAR
    assert frame.info.extra.profile is not None


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".webp"])
@pytest.mark.parametrize(
    ("space", "index", "adobe"),
    [(65535, "R03", True), (2, None, True), (65535, None, False), (1, "R98", False), (1, "R03", False)],
)
def test_adobe_rgb_by_exif(suffix: str, space: int, index: str | None, adobe: bool, tmp_path: Path) -> None:
    """As cameras say it."""
    if suffix == ".tif" and index is not None:
        pytest.skip("Pillow does not write the index into a TIFF")
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = space
    if index is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: index}
    options: dict[str, Any] = (
        {} if suffix == ".tif" else {"quality": 100, "lossless": True} if suffix == ".webp" else {"quality": 100}
    )
    Image.new("RGB", (16, 16), MUTED).save(tmp_path / f"a{suffix}", exif=exif.tobytes(), **options)
    frame = read_image(tmp_path / f"a{suffix}")
    expected = shown(MUTED, ADOBE, 563 / 256) if adobe else MUTED
    assert np.abs(frame.pixels[4, 4] - expected).max() < 2 * NEAR
    assert (frame.info.extra.profile is not None) == adobe
    Image.new("RGB", (16, 16), MUTED).save(tmp_path / f"b{suffix}", exif=exif.tobytes(), icc_profile=SRGB, **options)
    assert np.abs(read_image(tmp_path / f"b{suffix}").pixels[4, 4].astype(int) - MUTED).max() < 2 * NEAR


@pytest.mark.parametrize("number", PRIMARIES)
def test_profiles_that_are_made_are_sound(number: int) -> None:
    """By Little CMS, which tells what it does not like, and by the formula; white stays white."""
    name, chromaticities = PRIMARIES[number]
    *colours, white = chromaticities
    profile = matrix_profile(name, chromaticities)
    parsed = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    assert parsed.profile_description == name
    matrix = primaries(*colours, white)
    assert np.abs(np.array(parsed.red_colorant[0]) - matrix[:, 0]).max() < 1e-4
    assert (into_srgb(np.full((1, 1, 3), 65535, np.uint16), profile) > 65500).all()
    levels = np.asarray(picture(16, 16))
    expected = srgb((linear(levels / 255) @ np.linalg.solve(REC709, matrix).T).clip(0, 1)) * 255
    assert np.abs(into_srgb(levels, profile) - expected).max() < 2 * NEAR
