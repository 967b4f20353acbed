from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from conftest import picture

from stylebatch.errors import StylebatchError
from trainer.content import PACKAGED, content_loader, find_photographs, load_style
from trainer.crops import Crops, endless_batches


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
    assert "a.jpg" in skipped[0]
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
