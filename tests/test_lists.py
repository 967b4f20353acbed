"""Folders of any size are planned while they are painted; a list stands in the place of a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import picture

from stylebatch import FolderJob, ImageOptions, StylebatchError, stylize_folder
from stylebatch.jobs import plan
from stylebatch.jobs.folder import open_manifest, opened
from stylebatch.manifest import NAME
from stylebatch.pipeline import Summary


def painted(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != NAME)


def paint(source: object, out: Path, checkpoint: Path, **options: Any) -> Summary:
    return stylize_folder(str(source), out, checkpoint, device="cpu", backend="torch", workers=0, **options)


def test_photographs_come_before_all_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_LISTED_AHEAD", 4)
    monkeypatch.setattr(plan, "_ASKED_AHEAD", 2)
    for number in range(30):
        folder = tmp_path / "in" / f"{number // 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").touch()
    (tmp_path / "in" / "2" / "20.png").touch()
    (tmp_path / "in" / "2" / "notes.txt").touch()
    job, summary = FolderJob(source=str(tmp_path / "in"), output=str(tmp_path / "out"), grid=True), Summary()
    with opened(job) as (source, output, inputs), open_manifest(job, {}, source, output) as manifest:
        units = plan.planned(job, manifest, inputs, summary=summary)
        first, _ = next(units)
        assert summary.listing
        assert 1 <= summary.total < 10
        names = [first, *(name for name, _ in units)]
    assert sorted(names) == sorted(f"{number // 10}/{number}.jpg" for number in range(30))
    assert (summary.listing, summary.total, summary.ignored) == (False, 31, ["2/notes.txt"])
    assert [failure.source for failure in summary.failures] == ["2/20.png"]  # both would have one side-by-side picture


def test_other_options_are_refused_before_anything_is_painted(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    source, out = photos("m.png"), tmp_path / "out"
    paint(source, out, checkpoint)
    for name in ("a.png", "z/b.png"):
        (source / name).parent.mkdir(exist_ok=True)
        picture().save(source / name)
    with pytest.raises(StylebatchError, match="made with other options"):
        paint(source, out, checkpoint, options=ImageOptions(preserve_color=True))
    assert painted(out) == ["m.png"]


def test_a_list_stands_for_a_folder(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos("a.png", "deep/b.png", "deep/c.png", "not listed.png")
    entries = ["a.png", "", " \t", "./deep/b.png", "a.png", "gone.png", "deep", "nul\0.png"]
    (source / "list.txt").write_bytes("\r\n".join(entries).encode("utf-8-sig"))
    summary = paint(f"@{source / 'list.txt'}", tmp_path / "out", checkpoint)
    assert painted(tmp_path / "out") == ["a.png", "deep/b.png"]
    assert {failure.source: failure.reason for failure in summary.failures} == {
        "deep": "is a folder, not a file",
        "gone.png": "no such file or directory",
        "nul\0.png": "is no name of a file",
    }
    assert (summary.done, summary.total, summary.listing) == (2, 5, False)
    assert paint(source, tmp_path / "out", checkpoint).skipped == 2  # the same results as of the whole folder


@pytest.mark.parametrize("overwrite", [False, True])
def test_results_of_a_list_replace_no_photograph(overwrite: bool, photos: Callable[..., Path], checkpoint: Path) -> None:
    source = photos("a.png", "deep/b.png")
    before = (source / "a.png").read_bytes()
    (source / "list.txt").write_text("a.png\n")
    summary = paint(f"@{source / 'list.txt'}", source, checkpoint, overwrite=overwrite)
    assert [failure.source for failure in summary.failures] == ["a.png"]
    assert (source / "a.png").read_bytes() == before
    assert paint(f"@{source / 'list.txt'}", source / "out", checkpoint).done == 1


def test_listed_photographs_of_several_folders_keep_what_tells_them_apart(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    one, other = photos("x/a.png", folder="one"), photos("a.png", folder="other")
    path = tmp_path / "lists" / "list.txt"
    path.parent.mkdir()
    path.write_text(f"{one / 'x' / 'a.png'}\n../other/a.png\n", encoding="utf-16")
    paint(f"@{path}", tmp_path / "out", checkpoint)
    assert painted(tmp_path / "out") == ["one/x/a.png", "other/a.png"]
    assert other.is_dir()


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_table_lists_photographs(
    ending: str, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    source = photos("a.png", "deep/b.png")
    table = arrow.table({"caption": ["a", "b", "c"], "path": ["a.png", None, "deep/b.png"]})
    path = source / f"list.{ending}"
    (parquet.write_table if ending == "parquet" else feather.write_feather)(table, path)
    monkeypatch.chdir(source)
    job = FolderJob(source=f"@list.{ending}", output="out").absolute()
    assert job.source == f"@{path}"
    assert paint(job.source, tmp_path / "out", checkpoint).done == 2
    assert painted(tmp_path / "out") == ["a.png", "deep/b.png"]
    parquet.write_table(arrow.table({"caption": ["a"]}), source / "none.parquet")
    with pytest.raises(StylebatchError, match="has no column `path` or `url`, only caption"):
        paint("@none.parquet", tmp_path / "out", checkpoint)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        (" \n\t\n", "is empty"),
        ("memory://one/a.jpg\nmemory://other/b.jpg\n", "no folder in common"),
        ("memory://one/a.jpg\nb.jpg\n", "no folder in common"),
        (None, "no such file"),
    ],
)
def test_lists_that_cannot_be(content: str | None, reason: str, checkpoint: Path, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_text(content)
    with pytest.raises(StylebatchError, match=reason):
        paint(f"@{tmp_path / 'list.txt'}", tmp_path / "out", checkpoint)
    assert not (tmp_path / "out").exists()


def test_a_list_of_urls(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    bucket = f"bucket-{os.getpid()}"
    content = (photos("a.png") / "a.png").read_bytes()
    for name in ("x/a.png", "x/y/b.png", "x/not listed.png"):
        files.pipe_file(f"/{bucket}/{name}", content)
    listed = [f"memory://{bucket}/x/{name}" for name in ("a.png", "y/b.png", "gone.png")]
    (tmp_path / "list.txt").write_text("\n".join(listed))
    summary = paint(f"@{tmp_path / 'list.txt'}", tmp_path / "out", checkpoint)
    assert painted(tmp_path / "out") == ["a.png", "y/b.png"]
    assert [failure.source for failure in summary.failures] == ["gone.png"]
    assert paint(f"@{tmp_path / 'list.txt'}", f"memory://{bucket}/out", checkpoint).done == 2
    assert paint(f"@{tmp_path / 'list.txt'}", f"memory://{bucket}/out", checkpoint).skipped == 2


def test_file_urls_in_a_list_are_paths(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos("a.png", "b c.png")
    (tmp_path / "list.txt").write_text(f"{(source / 'b c.png').as_uri()}\n{source / 'a.png'}\n")
    paint(f"@{tmp_path / 'list.txt'}", tmp_path / "out", checkpoint)
    assert painted(tmp_path / "out") == ["a.png", "b c.png"]


def test_folders_that_are_one_in_the_output(
    photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk here knows letter case apart; others do not."""
    monkeypatch.setattr(plan, "name_folding", lambda _: str.casefold)
    source = photos("A/x.jpg", "a/X.jpg", "a/y.jpg", "b/x.jpg")
    job, summary = FolderJob(source=str(source), output=str(tmp_path / "out"), overwrite=True), Summary()
    with opened(job) as (storage, output, inputs), open_manifest(job, {}, storage, output) as manifest:
        names = {name for name, _ in plan.planned(job, manifest, inputs, summary=summary)}
    (failure,) = summary.failures
    assert names == {"A/x.jpg", "a/X.jpg", "a/y.jpg", "b/x.jpg"} - {failure.source}
    assert {failure.source.casefold()} == {"a/x.jpg"}
    assert failure.reason.endswith("is; rename one")
