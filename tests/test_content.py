from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image
from support.profiles import P3, SRGB_CURVE, rgb_profile

from stylebatch.errors import StylebatchError
from trainer import content
from trainer.content import PACKAGED, content_loader, find_photographs, load_middles, load_style
from trainer.crops import Crops, endless_batches
from trainer.report import save_sheet


def test_the_package_carries_photographs_with_their_licences() -> None:
    photographs, skipped = find_photographs(PACKAGED)
    assert len(photographs) >= 6
    assert not skipped
    licences = (PACKAGED / "LICENSES.md").read_text()
    assert all(path.name in licences for path in photographs)


def test_nested_folders_and_broken_files(photos: Callable[..., Path]) -> None:
    folder = photos("a.jpg", "x/y/b.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "x" / "empty.jpg").touch()
    photographs, skipped = find_photographs(folder)
    assert [path.relative_to(folder).as_posix() for path in photographs] == ["a.jpg", "x/y/b.png"]
    assert [Path(line.split(": ")[0]).name for line in skipped] == ["notes.txt", "empty.jpg"]


def test_truncated_photograph_gives_way_to_the_next(photos: Callable[..., Path]) -> None:
    folder = photos("a.jpg", "b.jpg", size=(200, 150))
    whole = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    photographs, _ = find_photographs(folder)
    crop, skipped = Crops(photographs, 32, augment=False, seed=0)[0, 0]
    other, _ = Crops(photographs, 32, augment=False, seed=0)[0, 1]
    assert crop is not None
    assert np.array_equal(crop, other)  # type: ignore[arg-type]
    assert skipped[0].startswith(f"{folder / 'a.jpg'}: broken: truncated or damaged JPEG data")
    assert "allow_truncated" not in skipped[0]  # which `trainer` has not
    (folder / "b.jpg").unlink()
    crop, skipped = Crops(photographs, 32, augment=True, seed=0)[0, 0]
    assert crop is None
    assert len(skipped) == 2


def test_crops_depend_on_seed_epoch_and_index_alone(photos: Callable[..., Path]) -> None:
    photographs, _ = find_photographs(photos("a.jpg", "b.png", size=(300, 200)))
    crops = Crops(photographs, 64, augment=True, seed=5)
    first, again = crops[2, 1][0], Crops(photographs, 64, augment=True, seed=5)[2, 1][0]
    assert first is not None
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)  # type: ignore[arg-type]
    for other in (crops[3, 1][0], crops[2, 0][0], Crops(photographs, 64, augment=True, seed=6)[2, 1][0]):
        assert not np.array_equal(first, other)  # type: ignore[arg-type]


def test_batches_cover_each_epoch_and_start_anywhere() -> None:
    batches = list(islice(endless_batches(7, 3, True, 0, 0), 9))
    assert [len(batch) for batch in batches] == [3, 3, 1] * 3
    for epoch in range(3):
        keys = [key for batch in batches[3 * epoch : 3 * epoch + 3] for key in batch]
        assert {e for e, _ in keys} == {epoch}
        assert sorted(index for _, index in keys) == list(range(7))
    assert list(islice(endless_batches(7, 3, True, 0, 4), 5)) == batches[4:]
    assert next(endless_batches(7, 3, False, 0, 0)) == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_is_the_same_for_any_number_of_workers(photos: Callable[..., Path], workers: int) -> None:
    photographs, _ = find_photographs(photos("a.jpg", "b.png", "c.jpg", size=(100, 80)))
    loader = content_loader(photographs, size=32, augment=True, batch_size=2, seed=1, start=1, workers=workers, pin=False)
    crops = Crops(photographs, 32, augment=True, seed=1)
    keys = list(islice(endless_batches(3, 2, True, 1, 1), 3))
    for batch, batch_keys in zip(islice(loader, 3), keys, strict=True):
        assert (batch.images.permute(0, 2, 3, 1).numpy() == np.stack([crops[key][0] for key in batch_keys])).all()  # type: ignore[misc]


def test_style_picture(tmp_path: Path) -> None:
    picture(200, 100).save(tmp_path / "s.png")
    style = load_style(tmp_path / "s.png", 160).image
    assert style.shape == (1, 3, 80, 160)
    assert 0 <= style.min() < style.max() <= 1
    assert load_style(tmp_path / "s.png", 0).image.shape == (1, 3, 100, 200)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "no such style picture"),
        (lambda path: path.write_text("nothing"), "cannot be read as a style picture: not an image"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: picture(63, 500).save(path), "63×500 px is too small"),
    ],
)
def test_bad_style_picture(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    make(tmp_path / "s.png")
    with pytest.raises(StylebatchError, match=message):
        load_style(tmp_path / "s.png", 0)


def test_no_content(tmp_path: Path) -> None:
    with pytest.raises(StylebatchError, match="no such folder"):
        find_photographs(tmp_path / "none")
    (tmp_path / "a.txt").touch()
    with pytest.raises(StylebatchError, match="no content photographs"):
        find_photographs(tmp_path)


def test_style_pictures_of_many_kinds(tmp_path: Path) -> None:
    """As photographs are read: sixteen bits, profiles, HEIC. A scroll comes at the size that its short side allows."""
    ramp = np.linspace(0, 65535, 96 * 80).reshape(80, 96).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert load_style(tmp_path / "deep.png", 0).image.mean() == pytest.approx(0.5, abs=0.01)
    profile = rgb_profile(P3, SRGB_CURVE)
    Image.new("RGB", (96, 80), (200, 100, 50)).save(tmp_path / "p3.png", icc_profile=profile)
    colours = load_style(tmp_path / "p3.png", 0).image[0, :, 40, 48] * 255
    assert colours[0] > 205  # sRGB needs more red for the same colour
    picture(96, 80).save(tmp_path / "a.heic", quality=95)
    assert load_style(tmp_path / "a.heic", 0).image.shape == (1, 3, 80, 96)
    picture(1500, 150).save(tmp_path / "scroll.png")
    assert load_style(tmp_path / "scroll.png", 512).image.shape == (1, 3, 64, 640)


def test_what_does_not_show_of_a_style_picture(tmp_path: Path) -> None:
    """Its colours are those of what shows around it, and its opacity is told; a picture of next to nothing is no style."""
    whole = picture(128, 112).convert("RGBA")
    whole.paste((255, 0, 255), (0, 0, 128, 56))
    alpha = Image.new("L", whole.size, 255)
    alpha.paste(0, (0, 0, 128, 56))
    whole.putalpha(alpha)
    whole.save(tmp_path / "half.png")
    style = load_style(tmp_path / "half.png", 0)
    assert style.opacity is not None
    assert style.opacity.mean() == pytest.approx(0.5, abs=0.02)
    assert style.image[:, 1, :50].min() > 0  # nothing of the magenta
    whole.putalpha(255)
    whole.save(tmp_path / "opaque.png")
    assert load_style(tmp_path / "opaque.png", 0).opacity is None
    whole.putalpha(2)
    whole.save(tmp_path / "nothing.png")
    with pytest.raises(StylebatchError, match="too much of it is transparent"):
        load_style(tmp_path / "nothing.png", 0)


@pytest.mark.slow
def test_large_scans_are_reduced_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(2000, 1600).save(tmp_path / "scan.jpg", quality=95)
    exact = load_style(tmp_path / "scan.jpg", 160).image
    monkeypatch.setattr("trainer.content._SCAN", 1_000_000)
    sizes: list[tuple[int, int] | None] = []
    read = content.read_pixels
    monkeypatch.setattr("trainer.content.read_pixels", lambda path, size: sizes.append(size) or read(path, size))
    reduced = load_style(tmp_path / "scan.jpg", 160).image
    assert sizes == [(640, 512)]
    assert reduced.shape == exact.shape
    assert (reduced - exact).abs().mean() < 0.01


def test_what_lies_between_photographs(photos: Callable[..., Path]) -> None:
    """A link to a folder is followed once; a pipe, a program's code and what trainings leave are no photographs."""
    folder = photos("a.jpg", "x/b.jpg")
    elsewhere = photos("c.jpg", folder="elsewhere")
    (folder / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "code.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    save_sheet(picture(), folder / "paint_fuse_1.jpg")
    photos("d.jpg", folder="in/checkpoints")
    photographs, skipped = find_photographs(folder, folder / "checkpoints")
    assert [path.name for path in photographs] == ["a.jpg", "c.jpg", "b.jpg"]
    assert sorted(Path(line.split(": ")[0]).name for line in skipped) == ["code.jpg", "pipe.jpg"]


def test_a_broken_photograph_that_was_held_out_gives_its_place_to_the_next(photos: Callable[..., Path]) -> None:
    folder = photos("a.jpg", "b.jpg", "c.jpg", "d.jpg", size=(80, 70))
    (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:-300])
    photographs = sorted(folder.iterdir())
    told: list[str] = []
    squares, taken = load_middles(photographs, 2, 32, told.append)
    assert squares.shape == (2, 3, 32, 32)
    assert [path.name for path in taken] == ["c.jpg", "d.jpg"]
    assert len(told) == 1
    assert "b.jpg: " in told[0]
    for path in photographs:
        path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(StylebatchError, match="every content photograph is broken"):
        load_middles(photographs, 2, 32)
