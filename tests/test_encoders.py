"""Encoders keep all cores busy: what takes long lets go of Python's lock."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from bench_encoders import waiting
from conftest import picture
from PIL import Image

from stylebatch.effects import OriginalColours, Tone
from stylebatch.frame import FrameInfo, Pixels
from stylebatch.images.decoding import read_image
from stylebatch.images.encoding import save_picture, write_frames, write_image
from stylebatch.images.extra import ImageExtra
from stylebatch.images.formats import EXTENSIONS
from stylebatch.images.options import DEFAULTS
from stylebatch.images.sink import ImageSink, write_grid


def large(seed: int = 0, deep: bool = False, times: int = 1) -> Pixels:
    """As detailed as paint."""
    pixels = np.asarray(picture(1600, 1200, seed)) ^ np.random.default_rng(seed).integers(0, 16, (1200, 1600, 3), np.uint8)
    pixels = np.tile(pixels, (times, times, 1))
    return pixels.astype(np.uint16) * 257 if deep else pixels


def test_what_holds_the_lock_is_noticed() -> None:
    assert waiting(lambda: sum(range(3_000_000))) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "deep", "count"),
    [("JPEG", False, 1), ("PNG", False, 1), ("WEBP", False, 1), ("AVIF", False, 1), ("TIFF", False, 1), ("PNG", True, 1),
     ("TIFF", True, 1), ("PNG", False, 2), ("WEBP", False, 2), ("AVIF", False, 2), ("GIF", False, 2)],
)  # fmt: skip
def test_encoders_hold_no_lock(format: str, deep: bool, count: int, tmp_path: Path) -> None:
    # JPEG is so fast that the disk takes most of the time for a small one.
    times, height = {"JPEG": (3, 3600), "AVIF": (1, 400), "GIF": (1, 400)}.get(format, (1, 800))
    frames = [large(seed, deep, times)[:height, : height * 4 // 3] for seed in range(count)]
    extras = [ImageExtra("", format, frames=count, frame=frame, duration=40) for frame in range(count)]
    path = tmp_path / f"a{EXTENSIONS[format][0]}"
    assert any(waiting(lambda: write_frames(frames, extras, path, DEFAULTS)) < 0.5 for _ in range(8))
    with Image.open(path) as written:
        assert written.format == format
        assert getattr(written, "n_frames", 1) == count


@pytest.mark.slow
def test_an_avif_has_the_same_bytes_on_any_number_of_cores(tmp_path: Path) -> None:
    """Contact sheets too. It has tiles, which by default are as many as there are threads."""
    sheet = Image.fromarray(large()[:256, :1024])
    by_one, by_two = io.BytesIO(), io.BytesIO()
    sheet.save(by_one, "AVIF", max_threads=1)
    sheet.save(by_two, "AVIF", max_threads=2)
    assert by_one.getvalue() != by_two.getvalue()
    with (tmp_path / "a.avif").open("w+b") as file:
        save_picture(sheet, file, "AVIF")
    assert (tmp_path / "a.avif").read_bytes() == by_one.getvalue()


def test_what_is_done_beside_encoding_holds_no_lock(tmp_path: Path) -> None:
    pixels, other = large(), large(1)
    for work in (
        lambda: Tone(0.5)(pixels, other),
        lambda: OriginalColours()(pixels, other),
        lambda: write_grid(tmp_path / "a.png", pixels, other),
    ):
        assert any(waiting(work) < 0.5 for _ in range(8))


@pytest.mark.slow
@pytest.mark.parametrize("deep", [False, True])
def test_a_tall_tiff(deep: bool, tmp_path: Path) -> None:
    """With more lines than a directory has room for strips."""
    pixels = np.arange(20_001 * 1400 * 3, dtype=np.uint32).reshape(20_001, 1400, 3).astype(np.uint16 if deep else np.uint8)
    extra = ImageExtra("", "TIFF", keep={"TIFF": {"compression": "packbits"}})
    write_image(pixels, extra, tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, pixels)


def test_what_is_on_its_way_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By memory, not by number alone; and what takes more than all of that goes alone."""
    pixels = large()
    monkeypatch.setattr("stylebatch.images.sink.free_memory", lambda: 10 * 4 * 2 * pixels.nbytes)
    most = 0
    encoding = 0
    lock = threading.Lock()

    def put(_source: str, temp: Path, path: Path) -> None:
        nonlocal most, encoding
        with lock:
            encoding += 1
            most = max(most, encoding)
        time.sleep(0.05)
        with lock:
            encoding -= 1
        temp.replace(path)

    sink = ImageSink(tmp_path, threads=6, put=put)
    for index in range(8):
        name = f"{index}.bmp"
        frame = np.vstack([pixels] * 3) if index == 4 else pixels
        sink.add(FrameInfo(index, name, ImageExtra(name, "BMP")), frame, frame)
    sink.close()
    assert most == 2
    assert len(list(sink.outcomes())) == 8
