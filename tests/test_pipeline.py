from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ONE_LEVEL, picture, run
from PIL import Image

import stylebatch.loader
from stylebatch import Stylizer, pipeline, stylize_folder, stylize_image
from stylebatch.errors import OutputError, StylebatchError
from stylebatch.frame import Failure, Frame, FrameInfo, Pixels, Saved
from stylebatch.grid import contact_sheet
from stylebatch.jobs import stylize_grid
from stylebatch.loader import equal_sizes, load_batches
from stylebatch.manifest import NAME
from stylebatch.pipeline import Summary
from stylebatch.styles import shipped_styles


def tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name != NAME)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_tree_is_mirrored_and_stylized(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, workers: int
) -> None:
    source = photos("a.png", "b.png", "nested/deep/a.png")
    summary = run(source, tmp_path / "out", checkpoint, workers=workers)
    assert tree(tmp_path / "out") == ["a.png", "b.png", "nested/deep/a.png"]
    assert (summary.total, summary.done, summary.failures) == (3, 3, [])
    assert summary.megapixels == pytest.approx(3 * 48 * 32 / 1e6)
    assert sum(summary.waits.values()) == pytest.approx(summary.seconds, rel=0.01)
    stylizer = Stylizer(checkpoint, device="cpu", precision="fp32")
    for name in tree(source):
        pixels = torch.from_numpy(np.array(Image.open(source / name)))
        result = torch.from_numpy(np.array(Image.open(tmp_path / "out" / name)))
        assert (result.int() - stylizer(pixels[None])[0].int()).abs().max() <= ONE_LEVEL


@pytest.mark.parametrize(
    ("devices", "there", "count"),
    [(["cpu"], 1, 1), (["cpu"], 64, 8), (["cuda:0"], 4, 4), (["cuda:0"], 64, 16), (["cuda:0", "cuda:1"], 64, 32)],
)
def test_more_processes_decode_for_gpus(monkeypatch: pytest.MonkeyPatch, devices: list[str], there: int, count: int) -> None:
    monkeypatch.setattr("stylebatch.pipeline.cores", lambda: there)
    assert pipeline.decoders([torch.device(name) for name in devices]) == count


def test_mixed_sizes_in_batches_equal_one_by_one(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    for size in ((48, 32), (33, 47), (32, 48)):
        photos(*(f"{size[0]}_{i}.png" for i in range(3)), size=size)
    source = tmp_path / "in"
    run(source, tmp_path / "one", checkpoint, batch_size=1)
    run(source, tmp_path / "four", checkpoint, batch_size=4)
    for name in tree(source):
        one, four = (np.asarray(Image.open(tmp_path / out / name)).astype(int) for out in ("one", "four"))
        assert np.abs(one - four).max() <= ONE_LEVEL


def test_grid_shows_original_beside_result(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    run(photos("a.png"), tmp_path / "out", checkpoint, grid=True)
    sheet = np.asarray(Image.open(tmp_path / "out" / "a_grid.jpg")).astype(int)
    assert sheet.shape == (32, 96, 3)
    result = np.asarray(Image.open(tmp_path / "out" / "a.png")).astype(int)
    assert np.abs(sheet[:, :48] - np.asarray(picture(seed="a.png")).astype(int)).mean() < 12
    assert np.abs(sheet[:, 48:] - result).mean() < 12


def test_one_bad_file_is_one_line(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos("a.png", "c.png")
    (source / "b.jpg").write_text("no picture")
    (source / "notes.txt").write_text("text")
    summary = run(source, tmp_path / "out", checkpoint)
    assert tree(tmp_path / "out") == ["a.png", "c.png"]
    assert [failure.source for failure in summary.failures] == ["b.jpg"]
    assert summary.ignored == ["notes.txt"]


def test_stop_finishes_what_is_in_flight(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos(*(f"{i}.png" for i in range(6)))
    seen: list[int] = []
    summary = run(source, tmp_path / "out", checkpoint, progress=lambda s: seen.append(s.done), stop=lambda: len(seen) >= 2)
    assert summary.interrupted
    assert 1 <= summary.done < 6
    assert len(tree(tmp_path / "out")) == summary.done


class _Sizes:
    """A source of given sizes whose frames are made when asked for."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes
        self.asked = 0

    def size(self, index: int) -> tuple[int, int]:
        self.asked += 1
        return self.sizes[index]

    def __getitem__(self, index: int) -> Frame | Failure:
        width, height = self.sizes[index]
        if width == 13:
            return Failure(str(index), "unlucky")
        return Frame(FrameInfo(index, str(index)), np.full((height, width, 3), index, np.uint8))


def test_batches_have_one_size_and_lose_nothing() -> None:
    sizes = [((i % 3 + 1) * 8, 8) for i in range(50)] + [(13, 8)]
    loads = list(load_batches(_Sizes(sizes), range(51), batch_size=4, workers=0, pin=False))
    batches = [batch for load in loads for batch in load.batches]
    for batch in batches:
        assert len(batch.infos) == len(batch.pixels) <= 4
        for info, pixels in zip(batch.infos, batch.pixels, strict=True):
            assert (pixels == info.index).all()
            assert sizes[info.index] == (pixels.shape[1], pixels.shape[0])
    assert sorted(info.index for batch in batches for info in batch.infos) == list(range(50))
    assert [failure.source for load in loads for failure in load.failures] == ["50"]
    assert sum(len(batch.infos) == 4 for batch in batches) >= 11


def test_wrong_size_hints_still_give_true_batches() -> None:
    class Liar(_Sizes):
        def size(self, _: int) -> tuple[int, int]:
            return (8, 8)

    loads = list(load_batches(Liar([(8, 8), (16, 8), (8, 8)]), range(3), batch_size=3, workers=0, pin=False))
    assert [tuple(batch.pixels.shape) for batch in loads[0].batches] == [(2, 8, 8, 3), (1, 8, 16, 3)]


def test_the_sampler_looks_only_so_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stylebatch.loader, "LOOK_AHEAD", 10)
    source = _Sizes([(index + 8, 8) for index in range(1000)])
    indices = iter(equal_sizes(source, range(1000), 4))
    assert next(indices) == [0]
    assert source.asked == 10
    assert sorted([0, *(index for group in indices for index in group)]) == list(range(1000))


def test_large_pictures_go_alone() -> None:
    groups = list(equal_sizes(_Sizes([(3000, 1000)] * 3 + [(1000, 1000)] * 5), range(8), 4))
    assert groups == [[0], [1], [2], [3, 4, 5, 6], [7]]


class _Failing:
    """A backend that runs out of memory above `room` pictures, and always at a colour, at once or when
    its result is waited for; it inverts."""

    def __init__(self, room: int, colour: int = -1, *, late: bool = False) -> None:
        self.room, self.colour, self.late = room, colour, late
        self.batches: list[int] = []

    def start(self, pixels: torch.Tensor) -> Callable[[], tuple[torch.Tensor, bool]]:
        def result() -> tuple[torch.Tensor, bool]:
            if len(pixels) > self.room or self.colour in pixels[:, 0, 0, 0].tolist():
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore of it")
            self.batches.append(len(pixels))
            return 255 - pixels, True

        if self.late:
            return result
        made = result()
        return lambda: made


class _Collecting:
    """A sink that remembers in which order things came."""

    def __init__(self) -> None:
        self.came: list[tuple[int, int]] = []
        self.failed: list[tuple[str, str]] = []

    def add(self, info: FrameInfo, _original: Pixels, stylized: Pixels) -> None:
        self.came.append((info.index, int(stylized[0, 0, 0])))

    def fail(self, info: FrameInfo, reason: str) -> None:
        self.failed.append((info.source, reason))

    def outcomes(self) -> Iterator[Saved | Failure | OutputError]:
        return iter(())

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("room", "halved", "batches"), [(8, 0, [5, 5]), (4, 2, [2, 3, 2, 3]), (1, 8, [1] * 10)])
@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_batches_that_do_not_fit_are_halved_and_stay_in_order(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, room: int, halved: int, batches: list[int], in_flight: int
) -> None:
    stylizer = Stylizer(checkpoint, device="cpu", precision="fp32", backend="torch")
    backend = _Failing(room)
    monkeypatch.setattr(stylizer, "_backend", lambda *_: backend)
    monkeypatch.setattr(Stylizer, "in_flight", in_flight)
    sink = _Collecting()
    loader = load_batches(_Sizes([(8, 8)] * 10), range(10), batch_size=5, workers=0, pin=False)
    summary = pipeline.run(loader, stylizer, sink, summary=Summary(total=10))
    assert sink.came == [(index, 255 - index) for index in range(10)]
    assert (summary.halved, backend.batches, sink.failed) == (halved, batches, [])


@pytest.mark.parametrize(("late", "reason"), [
    (False, "8×8 could not be stylized: not enough memory; use `size`"),
    (True, "could not be stylized: CUDA out of memory. Tried to allocate 2.00 GiB"),
])  # fmt: skip
def test_a_picture_that_never_fits_fails_alone(
    late: bool, reason: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even in bands."""
    stylizer = Stylizer(checkpoint, device="cpu", precision="fp32", backend="torch")
    backend = _Failing(room=8, colour=3, late=late)
    monkeypatch.setattr(stylizer, "_backend", lambda *_: backend)
    sink = _Collecting()
    loader = load_batches(_Sizes([(8, 8)] * 10), range(10), batch_size=5, workers=0, pin=False)
    pipeline.run(loader, stylizer, sink, summary=Summary(total=10))
    assert [index for index, _ in sink.came] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert sink.failed == [("3", reason)]


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("none", "out", "no such folder"),
        ("empty", "out", "no photographs in it"),
        ("in", "in", "the same folder"),
        ("in", "in/out", "lies inside the input"),
        ("in/nested", "in", "lies inside the output"),
        ("in", "in/../in/./x", "lies inside the input"),
        ("in", "file", "is a file"),
    ],
)
def test_bad_folders(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, source: str, output: str, message: str
) -> None:
    photos()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    before = tree(tmp_path)
    with pytest.raises(StylebatchError, match=message):
        run(tmp_path / source, tmp_path / output, checkpoint)
    assert tree(tmp_path) == before


def test_bad_numbers_and_styles(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos()
    with pytest.raises(StylebatchError, match="batch size 0: must be at least 1"):
        run(source, tmp_path / "out", checkpoint, batch_size=0)
    with pytest.raises(StylebatchError, match="workers -1"):
        run(source, tmp_path / "out", checkpoint, workers=-1)
    with pytest.raises(StylebatchError, match=f"choose from .*{next(iter(shipped_styles()))}"):
        stylize_folder(source, tmp_path / "out", "nobody")
    with pytest.raises(StylebatchError, match="no such checkpoint file"):
        stylize_folder(source, tmp_path / "out", "none.pth")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        run(photos(), tmp_path / "out", checkpoint)


def test_one_image(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    photo = photos("a.jpg") / "a.jpg"
    path = stylize_image(photo, None, checkpoint, device="cpu")
    assert path == photo.with_name("a_plain.jpg")
    path = stylize_image(photo, tmp_path / "x.png", checkpoint, device="cpu", grid=True)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (48, 32))
    assert (tmp_path / "x_grid.jpg").exists()
    for output, message in ((photo, "same file"), (tmp_path / "x.xyz", "use .jpg")):
        with pytest.raises(StylebatchError, match=message):
            stylize_image(photo, output, checkpoint, device="cpu")
    with pytest.raises(StylebatchError, match="no such photograph"):
        stylize_image(tmp_path / "none.jpg", None, checkpoint)


def test_titles_are_legible() -> None:
    """A font without a glyph shows the same box for any of them."""
    box, *sheets = (np.asarray(contact_sheet([[picture(64, 40)]], [title])) for title in "\uffff×…Øжω")
    assert all((sheet != box).any() for sheet in sheets)


@pytest.mark.slow
def test_contact_sheets(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photos("a.jpg", "b.jpg", size=(64, 40))
    for epoch in (30, 60, 150):
        (tmp_path / f"t_trans_net_{epoch}.pth").write_bytes(checkpoint.read_bytes())
    sheet = stylize_grid(
        [root / "a.jpg", root / "b.jpg"], [], epochs=tmp_path / "t", output=tmp_path / "sheet.png", width=64, device="cpu"
    )
    with Image.open(sheet) as image:
        assert image.width == 4 * 64 + 5 * 4  # original, 30, 60, 150
        assert image.height > 2 * 40
        originals = image.crop((4, image.height - 44, 68, image.height - 4))
        assert np.abs(np.asarray(originals, dtype=int) - np.asarray(Image.open(root / "b.jpg"), dtype=int)).max() == 0
    other = photos("b.jpg", folder="other") / "b.jpg"  # of another size, and another folder
    pair = stylize_grid([root / "b.jpg", other], [str(checkpoint)], output=tmp_path / "pair.png", width=64, device="cpu")
    with Image.open(pair) as image:
        first, second = (np.asarray(image.crop((72, top, 136, top + 30)), dtype=int) for top in (24, 68))
        assert np.abs(first - second).max() > 10
    monkeypatch.setattr(Stylizer, "start", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.raises(StylebatchError, match=f"{other}: 48×32 could not be stylized: no room"):
        stylize_grid([other], [str(checkpoint)], output=tmp_path / "x.png", device="cpu")
    monkeypatch.undo()
    with pytest.raises(StylebatchError, match="no checkpoints"):
        stylize_grid([root / "a.jpg"], [], epochs=tmp_path / "none", output=tmp_path / "x.png")
