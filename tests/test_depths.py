"""Grey in other depths than 8 bits and kinds of samples, transparent levels of PNG, moving PNG of 16 bits; what is large."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import picture
from PIL import Image

from stylebatch.colour.icc import SRGB
from stylebatch.frame import Failure, Frame, Saved
from stylebatch.images.decoding import read_image
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import ImageSink, write_grid
from stylebatch.images.source import ImageSource

RAMP = np.linspace(0, 1, 8 * 64).reshape(8, 64)
#: How a sample says its kind in TIFF.
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


def save_grey(path: Path, samples: Any, kind: int, photometric: int = 1) -> None:
    """By Pillow, which knows no unsigned 32 bits and no signed 16: the entry that says so is put right."""
    known = {np.dtype(np.uint32): np.int32, np.dtype(np.int16): np.uint16}.get(samples.dtype, samples.dtype)
    Image.fromarray(samples.view(known)).save(path, tiffinfo={339: 9, 262: photometric})
    data = path.read_bytes()
    at = data.rindex(struct.pack("<HHI", 339, 3, 1)) + 8
    path.write_bytes(data[:at] + struct.pack("<H", kind) + data[at + 2 :])


@pytest.mark.parametrize(
    ("samples", "kind"),
    [
        ((RAMP * (2**32 - 1)).astype(np.uint32), UNSIGNED), ((RAMP * (2**31 - 1)).astype(np.int32), SIGNED),
        ((RAMP * 65535).astype(np.int32), SIGNED), ((RAMP * 65535).astype(np.uint32), UNSIGNED),
        ((RAMP * 32767).astype(np.int16), SIGNED), ((RAMP * 65535).astype(np.uint16), UNSIGNED),
        (RAMP.astype(np.float32), FLOAT),
    ],
    ids=["uint32", "int32", "16 bits in int32", "16 bits in uint32", "int16", "uint16", "float32"],
)  # fmt: skip
def test_grey_has_its_range_by_the_kind_of_samples(samples: Any, kind: int, tmp_path: Path) -> None:
    save_grey(tmp_path / "a.tif", samples, kind)
    expected = RAMP * 65535
    found = read_image(tmp_path / "a.tif").pixels
    assert found.dtype == np.uint16
    assert np.abs(found - expected[..., None]).max() < 3


def test_floats_whose_white_is_zero(tmp_path: Path) -> None:
    save_grey(tmp_path / "a.tif", RAMP.astype(np.float32), FLOAT, photometric=0)
    assert np.abs(read_image(tmp_path / "a.tif").pixels[..., 0] - (1 - RAMP) * 65535).max() < 1


def test_floats_beyond_the_range(tmp_path: Path) -> None:
    """What is no number is black, a little above white is white, and of more nobody knows what white is."""
    odd = RAMP.astype(np.float32)
    odd[0, :4] = np.nan, np.inf, -np.inf, 1.2
    save_grey(tmp_path / "a.tif", odd, FLOAT)
    assert read_image(tmp_path / "a.tif").pixels[0, :4, 0].tolist() == [0, 65535, 0, 65535]
    save_grey(tmp_path / "b.tif", odd * 200, FLOAT)
    assert ImageSource(tmp_path)["b.tif"] == Failure(
        "b.tif", "floating-point values up to 240, where white is 1; export as 16 bits"
    )


def test_negative_samples_are_black(tmp_path: Path) -> None:
    save_grey(tmp_path / "a.tif", np.array([[-32768, -1, 0, 32767]], np.int16), SIGNED)
    assert read_image(tmp_path / "a.tif").pixels[0, :, 0].tolist() == [0, 0, 0, 65535]


def test_floating_point_colours_are_named(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.tif"), np.dstack([RAMP] * 3).astype(np.float32))
    failure = ImageSource(tmp_path)["a.tif"]
    assert isinstance(failure, Failure)
    assert failure.reason == "a TIFF in a depth, colours or compression that is not read; export as 16 bits"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_level_of_any_depth(bits: int, tmp_path: Path) -> None:
    """Grey of a PNG: one level is clear, which tRNS names in the file's own depth."""
    levels = np.arange(32) % min(1 << bits, 32)
    clear = min(1, len(set(levels)) - 1)
    if bits == 16:
        row = levels.astype(">u2").tobytes()
    else:
        row = np.packbits(np.unpackbits(levels.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
    head = struct.pack(">IIBBBBB", 32, 2, bits, 0, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"tRNS", struct.pack(">H", clear)) + chunk(b"IDAT", zlib.compress((b"\0" + row) * 2))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b""))
    frame = read_image(tmp_path / "a.png")
    alpha = frame.info.extra.alpha
    assert alpha is not None
    assert ((alpha[0] == 0) == (levels == clear)).all()
    top = np.iinfo(alpha.dtype).max
    shown = levels != clear
    assert (frame.pixels[0, :, 0][shown] == (levels * (top // ((1 << bits) - 1)))[shown]).all()


@pytest.mark.parametrize("colours", [True, False])
def test_a_moving_png_of_sixteen_bits_keeps_moving(colours: bool, tmp_path: Path) -> None:
    """In eight, which is told."""
    frames = [np.asarray(picture(seed=seed).convert("RGB" if colours else "L")) for seed in range(3)]

    def data(pixels: Any) -> bytes:
        rows = (pixels.astype(np.uint16) * 257).astype(">u2").reshape(len(pixels), -1)
        return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))

    height, width = frames[0].shape[:2]
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2 if colours else 0, 0, 0, 0))
    body += chunk(b"acTL", struct.pack(">II", len(frames), 0))
    for number, frame in enumerate(frames):
        order = 2 * number - (number > 0)
        body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", order, width, height, 0, 0, 1, 10, 0, 0))
        body += chunk(b"fdAT", struct.pack(">I", order + 1) + data(frame)) if number else chunk(b"IDAT", data(frame))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    loaded = ImageSource(tmp_path)["a.png"]
    assert isinstance(loaded, list)
    sink = ImageSink(tmp_path / "out")
    for frame in loaded:
        assert isinstance(frame, Frame)
        sink.add(frame.info, frame.pixels, frame.pixels)
    sink.close()
    (saved,) = sink.outcomes()
    assert isinstance(saved, Saved)
    assert saved.notes == ("animations are written in 8 bits",)
    with Image.open(saved.path) as back:
        assert back.n_frames == 3  # type: ignore[attr-defined]
        for number, pixels in enumerate(frames):
            back.seek(number)
            assert np.abs(np.asarray(back.convert("RGB" if colours else "L")).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize(
    "large",
    [
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b"a b c " * 500_000)),
        chunk(b"zTXt", b"history\0\0" + zlib.compress(b"a b c " * 500_000)),
        chunk(b"iCCP", b"printer\0\0" + zlib.compress(SRGB + np.random.default_rng(0).bytes(2_000_000))),
    ],
    ids=["text", "old text", "profile"],
)
def test_large_metadata_of_png_is_no_damage(large: bytes, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:33] + large + whole[33:])
    assert np.abs(read_image(tmp_path / "a.png").pixels.astype(int) - np.asarray(picture())).max() <= 1


@pytest.mark.slow
def test_text_that_expands_without_end_is_not_followed(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    bomb = chunk(b"zTXt", b"history\0\0" + zlib.compress(bytes(1 << 27)))
    (tmp_path / "a.png").write_bytes(whole[:33] + bomb + whole[33:])
    assert isinstance(ImageSource(tmp_path)["a.png"], Failure)


@pytest.mark.parametrize(("format", "side"), [("webp", 16_383), ("jpg", 65_500), ("avif", 32_768)])
def test_what_a_format_cannot_hold_fails_before_it_is_painted(format: str, side: int, tmp_path: Path) -> None:
    Image.new("RGB", (side + 1, 1)).save(tmp_path / "a.png")
    Image.new("RGB", (1, side)).save(tmp_path / "b.png")
    large, fitting = map(ImageSource(tmp_path, ImageOptions(format=format)).__getitem__, ("a.png", "b.png"))
    assert isinstance(large, Failure)
    assert f"holds no more than {side} a side" in large.reason
    assert isinstance(fitting, Frame)
    smaller = ImageOptions(format=format, size=64, keep_work_size=True)
    assert isinstance(ImageSource(tmp_path, smaller)["a.png"], Frame)


def test_a_grid_picture_fits_into_a_jpeg(tmp_path: Path) -> None:
    wide = np.zeros((8, 40_000, 3), np.uint8)
    write_grid(tmp_path / "a.png", wide, wide)
    with Image.open(tmp_path / "a_grid.jpg") as grid:
        assert grid.width <= 65_500
        assert grid.height == 6
