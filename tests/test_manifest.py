from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stylebatch.errors import OutputError
from stylebatch.files import atomic_write, create, identity, is_within, name_folding, remove_temporaries
from stylebatch.locking import Log
from stylebatch.manifest import NAME, Manifest, Standing
from stylebatch.storage.local import FileContent

SETTINGS = {"style": "abc", "quality": 95}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (source / name).write_text(f"input {name}")
    return source, output


def finish(manifest: Manifest, photo: Path, content: FileContent | None = None) -> None:
    """What a run does for one file."""
    content = content or FileContent(photo)
    path = manifest.output.root / photo.name
    with atomic_write(path, lambda temp, path: manifest.put(content, temp, path)) as file:
        file.write(b"painted " + photo.read_bytes())


def standing(photo: Path, output: Path, settings: Any = None) -> Standing:
    with Manifest(output, photo.parent, settings or SETTINGS) as manifest:
        return manifest.standing(manifest.content(photo.name), output / photo.name)


def write_alike(path: Path, content: str) -> None:
    """Other content, of the same size and time."""
    status = path.stat()
    path.write_text(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size


def test_done_is_done_for_the_same_content_and_settings(folders: tuple[Path, Path]) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        assert manifest.standing(FileContent(source / "a.jpg"), output / "a.jpg") is Standing.FREE
        finish(manifest, source / "a.jpg")
    assert standing(source / "a.jpg", output) is Standing.DONE
    assert standing(source / "b.jpg", output) is Standing.FREE
    assert standing(source / "a.jpg", output, {**SETTINGS, "quality": 90}) is Standing.OTHERWISE


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda photo, _: os.utime(photo, (1, 1)), Standing.DONE),
        (lambda photo, _: photo.write_text("longer than before"), Standing.OUTDATED),
        (lambda photo, _: write_alike(photo, "INPUT a.jpg"), Standing.OUTDATED),
        (lambda photo, _: photo.unlink(), Standing.OUTDATED),
        (lambda _, output: output.unlink(), Standing.FREE),
        (lambda _, output: output.write_text("somebody's retouching"), Standing.FOREIGN),
        (lambda photo, output: (photo.unlink(), write_alike(output, "PAINTED input a.jpg")), Standing.FOREIGN),
        (lambda _, output: (output.rename(output.with_name("c.jpg")), output.symlink_to("c.jpg")), Standing.FOREIGN),
        (lambda _, output: (output.unlink(), output.mkdir()), Standing.FOREIGN),
        (lambda _, output: (output.parent / NAME).unlink(), Standing.FOREIGN),
    ],
)  # fmt: skip
def test_what_changed(folders: tuple[Path, Path], change: Callable[[Path, Path], object], expected: Standing) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, source / "a.jpg")
    change(source / "a.jpg", output / "a.jpg")
    for _ in range(2):
        assert standing(source / "a.jpg", output) is expected


def test_another_input_of_the_same_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, source / "a.jpg")
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "a.jpg").write_text("INPUT a.jpg")
    assert standing(tmp_path / "card" / "a.jpg", output) is Standing.FOREIGN
    shutil.copy(source / "a.jpg", tmp_path / "card" / "a.jpg")
    assert standing(tmp_path / "card" / "a.jpg", output) is Standing.DONE
    (tmp_path / "link").symlink_to(source)
    write_alike(source / "a.jpg", "INPUT a.jpg")
    assert standing(tmp_path / "link" / "a.jpg", output) is Standing.OUTDATED
    tmp_path.joinpath("moved").mkdir()
    for folder in (source, output):
        folder.rename(tmp_path / "moved" / folder.name)
    assert standing(tmp_path / "moved" / "in" / "a.jpg", tmp_path / "moved" / "out") is Standing.OUTDATED


@pytest.mark.parametrize("settings", [SETTINGS, {"style": "other"}])
def test_only_what_may_be_is_replaced(folders: tuple[Path, Path], settings: dict[str, Any]) -> None:
    source, output = folders
    with Manifest(output, source, settings) as manifest:
        finish(manifest, source / "a.jpg")
        (output / "b.jpg").write_text("precious")
        write_alike(source / "a.jpg", "INPUT a.jpg")
    with Manifest(output, source, SETTINGS) as manifest:
        if settings == SETTINGS:
            finish(manifest, source / "a.jpg")
        else:
            with pytest.raises(
                OutputError, match=r"a\.jpg: is there, and the result of a\.jpg with other options, .*; `overwrite`"
            ):
                finish(manifest, source / "a.jpg")
        with pytest.raises(OutputError, match=r"b\.jpg: is there, and no result of b\.jpg; `overwrite` replaces it"):
            finish(manifest, source / "b.jpg")
    assert (output / "a.jpg").read_text() == ("painted INPUT a.jpg" if settings == SETTINGS else "painted input a.jpg")
    assert (output / "b.jpg").read_text() == "precious"
    with Manifest(output, source, SETTINGS, overwrite=True) as manifest:
        for name in ("a.jpg", "b.jpg"):
            finish(manifest, source / name)
    assert [standing(source / name, output) for name in ("a.jpg", "b.jpg")] == [Standing.DONE] * 2
    assert sorted(path.name for path in output.iterdir()) == [NAME, "a.jpg", "b.jpg"]


def test_what_comes_in_between_is_not_replaced(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was there when it was asked for, something is when the result gets its name; with hard links or without."""
    _, output = folders
    for link in (os.link, lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted"))):
        monkeypatch.setattr(os, "link", link)
        shutil.rmtree(output, ignore_errors=True)
        with atomic_write(output / "b.jpg", create) as file:
            file.write(b"painted")
        (output / "a.jpg").write_text("precious")
        with pytest.raises(OutputError, match="is there already; `overwrite` replaces it"):  # noqa: SIM117
            with atomic_write(output / "a.jpg", create) as file:
                file.write(b"painted")
        assert (output / "a.jpg").read_text() == "precious"
        assert sorted((path.name, path.stat().st_nlink) for path in output.iterdir()) == [("a.jpg", 1), ("b.jpg", 1)]


@pytest.mark.parametrize("replaced", [False, True])
def test_killed_between_line_and_name(folders: tuple[Path, Path], replaced: bool) -> None:
    """What is left is known, whichever of the files it is."""
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, source / "a.jpg")
    write_alike(source / "a.jpg", "INPUT a.jpg")
    before = (output / "a.jpg").read_bytes()
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, source / "a.jpg")
        log = (output / NAME).read_bytes()
    assert len(log.splitlines()) == 2
    (output / NAME).write_bytes(log + log)
    if not replaced:
        (output / "a.jpg").write_bytes(before)
    assert standing(source / "a.jpg", output) is (Standing.DONE if replaced else Standing.OUTDATED)
    assert len((output / NAME).read_bytes().splitlines()) == 1
    (output / "a.jpg").write_text("somebody's own painting")
    assert standing(source / "a.jpg", output) is Standing.FOREIGN


def test_an_input_that_changes_while_it_is_done_is_not_done(folders: tuple[Path, Path]) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        content = FileContent(source / "a.jpg")
        (source / "a.jpg").write_text("still being copied")
        finish(manifest, source / "a.jpg", content)
    assert standing(source / "a.jpg", output) is Standing.OUTDATED


def test_the_order_of_work_leaves_no_trace(folders: tuple[Path, Path], tmp_path: Path) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        for name in ("b.jpg", "a.jpg", "a.jpg"):
            finish(manifest, source / name)
    for name in ("a.jpg", "b.jpg"):
        with Manifest(tmp_path / "again", source, SETTINGS) as manifest:
            finish(manifest, source / name)
    assert (output / NAME).read_bytes() == (tmp_path / "again" / NAME).read_bytes()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_log_loses_its_last_line_at_most(folders: tuple[Path, Path], cut: int) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        for name in ("a.jpg", "b.jpg"):
            finish(manifest, source / name)
    log = (output / NAME).read_bytes()
    (output / NAME).write_bytes(log[:-cut])
    (output / "b.jpg").unlink()  # its line comes first
    with Manifest(output, source, SETTINGS) as manifest:
        assert manifest.standing(FileContent(source / "a.jpg"), output / "a.jpg") is Standing.DONE
        finish(manifest, source / "b.jpg")
    assert (output / NAME).read_bytes() == log


RECORD: dict[str, Any] = {"output": "a.jpg", "input": "../in/a.jpg", "content": "", "key": "", "size": 0, "digest": ""}


@pytest.mark.parametrize(
    "line",
    [
        b'\xff\x00{"output": 3}',
        b"[1]",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        *(
            json.dumps({**RECORD, **wrong}).encode()
            for wrong in (
                {"input": 5}, {"output": None}, {"output": ["a.jpg"]}, {"key": None}, {"size": "0"}, {"size": True},
                {"content": 1.5}, {"digest": {}}, {"more": 1}, {"output": "a\0.jpg"},
            )
        ),
    ],
)  # fmt: skip
def test_foreign_lines_are_left_out(folders: tuple[Path, Path], line: bytes) -> None:
    source, output = folders
    output.mkdir()
    (output / NAME).write_bytes(line + b"\n")
    (output / "a.jpg").touch()
    with Manifest(output, source, SETTINGS) as manifest:
        assert manifest.standing(FileContent(source / "a.jpg"), output / "a.jpg") is Standing.FOREIGN
        finish(manifest, source / "b.jpg")
    assert standing(source / "b.jpg", output) is Standing.DONE


def test_names_that_are_no_text(folders: tuple[Path, Path]) -> None:
    source, output = folders
    name = os.fsdecode(b'caf\xe9 \n".jpg')
    (source / name).write_text("input")
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, source / name)
    assert standing(source / name, output) is Standing.DONE


REMOVE = "import sys; from pathlib import Path; from stylebatch.files import remove_temporaries as r; r(Path(sys.argv[1]))"


def test_temporaries_of_dead_runs_are_removed(folders: tuple[Path, Path]) -> None:
    """Nothing else: not what is being written, no other names, no links and what they lead to."""
    _, output = folders
    (output / "deep").mkdir(parents=True)
    for name in (".stylebatch-x1y2z3a4.tmp", ".stylebatch-settings", ".stylebatch-notes.tmp", "photo.jpg"):
        (output / "deep" / name).touch()
    (output / ".stylebatch-link_ed_.tmp").symlink_to(output / "deep" / "photo.jpg")
    with atomic_write(output / "deep" / "other.jpg") as file:
        file.write(b"of another run, which has not ended")
        remove_temporaries(output)
        subprocess.run([sys.executable, "-c", REMOVE, output], check=True)
    left = sorted(path.relative_to(output).as_posix() for path in output.rglob("*"))
    assert left == [
        ".stylebatch-link_ed_.tmp", "deep", "deep/.stylebatch-notes.tmp", "deep/.stylebatch-settings", "deep/other.jpg",
        "deep/photo.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["link", "hard link", "FIFO", "folder"])
def test_only_its_own_log_is_written(folders: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    source, output = folders
    output.mkdir()
    (tmp_path / "precious").write_text("of somebody else")
    if kind == "FIFO":
        os.mkfifo(output / NAME)
    elif kind == "folder":
        (output / NAME).mkdir()
    else:
        getattr(output / NAME, "symlink_to" if kind == "link" else "hardlink_to")(tmp_path / "precious")
    if kind == "hard link":
        with Manifest(output, source, SETTINGS) as manifest:
            finish(manifest, source / "a.jpg")
    else:
        with pytest.raises(OutputError, match=r"is a link or no regular file|Is a directory"):
            Manifest(output, source, SETTINGS)
    assert (tmp_path / "precious").read_text() == "of somebody else"


def _try_to_open(source: Path, output: Path) -> str:
    try:
        with Manifest(output, source, SETTINGS):
            return "opened"
    except OutputError as error:
        return str(error)


@pytest.mark.slow
def test_one_run_at_a_time(folders: tuple[Path, Path]) -> None:
    source, output = folders
    with multiprocessing.get_context("spawn").Pool(1) as other:
        with Manifest(output, source, SETTINGS) as manifest:
            finish(manifest, source / "a.jpg")
            for opening in (_try_to_open(source, output), other.apply(_try_to_open, (source, output))):
                assert "another run is writing there" in opening
        assert other.apply(_try_to_open, (source, output)) == "opened"


def test_a_line_is_written_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    log = Log(tmp_path / "log")
    log.append(b"a line of a log\n")
    assert log.read() == b"a line of a log\n"
    log.close()


def test_an_output_that_cannot_be_a_folder(folders: tuple[Path, Path]) -> None:
    source, output = folders
    output.touch()
    with pytest.raises(OutputError, match="cannot be written"):
        Manifest(output, source, SETTINGS)


def test_within_by_whatever_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    source, output = folders
    (tmp_path / "link").symlink_to(source)
    for path in (source, source / "new" / "a.jpg", tmp_path / "link" / "new", tmp_path / "out" / ".." / "in"):
        assert is_within(path, source)
        assert is_within(path, tmp_path / "link")
    assert not is_within(output / "new", source)
    assert not is_within(source, output)
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    assert not is_within(tmp_path / "one", source)


def test_files_without_numbers(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, output = folders
    (tmp_path / "link").symlink_to(source)
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **options: os.stat_result([0o40755, 0, *stat(path, **options)[2:10]]))
    assert identity(source) == identity(tmp_path / "link") != identity(tmp_path)
    assert identity(output) is None
    assert not is_within(tmp_path, source)


def test_names_are_one_where_the_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk here knows letter case and composed letters apart; others, as those of cameras and Macs, do not."""
    names = ["A\u00e9", "a\u00e9", "Ae\u0301"]
    assert [name_folding(tmp_path)(name) for name in names] == names
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os.path, "lexists", lambda _: True)
    assert len({name_folding(tmp_path)(name) for name in names}) == 1
