from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stylebatch.errors import OutputError
from stylebatch.files import atomic_write
from stylebatch.manifest import NAME, Manifest

SETTINGS = {"style": "abc", "quality": 95}
OPEN_AND_CLOSE = (
    "import sys; from pathlib import Path; from stylebatch.manifest import Manifest\n"
    "with Manifest(Path(sys.argv[2]), Path(sys.argv[1]), {}): pass"
)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (source / name).write_text(f"input {name}")
    return source, output


def finish(manifest: Manifest, name: str) -> None:
    """What a run does for one file."""
    stamp = manifest.stamp(name)
    path = manifest.output / name
    path.write_bytes(b"output of " + os.fsencode(name))
    manifest.add(name, [path], stamp)


def test_done_is_done_for_the_same_content_and_settings(folders: tuple[Path, Path]) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        assert not manifest.is_done("a.jpg")
        finish(manifest, "a.jpg")
    with Manifest(output, source, SETTINGS) as manifest:
        assert manifest.is_done("a.jpg")
        assert not manifest.is_done("b.jpg")
    with Manifest(output, source, {**SETTINGS, "quality": 90}) as manifest:
        assert not manifest.is_done("a.jpg")


@pytest.mark.parametrize(
    ("change", "still_done"),
    [
        (lambda source, _: os.utime(source / "a.jpg", (1, 1)), True),  # touched, not changed
        (lambda source, _: (source / "a.jpg").write_text("INPUT a.jpg"), False),  # of the same length
        (lambda source, _: (source / "a.jpg").write_text("longer than before"), False),
        (lambda source, _: (source / "a.jpg").unlink(), False),
        (lambda _, output: (output / "a.jpg").unlink(), False),
        (lambda _, output: (output / "a.jpg").write_text("short"), False),
    ],
)
def test_what_changed_is_not_done(
    folders: tuple[Path, Path], change: Callable[[Path, Path], object], still_done: bool
) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, "a.jpg")
    change(source, output)
    for _ in range(2):  # the second time from the new record
        with Manifest(output, source, SETTINGS) as manifest:
            assert manifest.is_done("a.jpg") == still_done


def test_an_input_that_changes_while_it_is_done_is_not_noted(folders: tuple[Path, Path]) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        stamp = manifest.stamp("a.jpg")
        (source / "a.jpg").write_text("still being copied")
        (output / "a.jpg").write_text("output")
        manifest.add("a.jpg", [output / "a.jpg"], stamp)
    with Manifest(output, source, SETTINGS) as manifest:
        assert not manifest.is_done("a.jpg")


def test_the_order_of_work_leaves_no_trace(folders: tuple[Path, Path], tmp_path: Path) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, "b.jpg")
        finish(manifest, "a.jpg")
    with Manifest(tmp_path / "again", source, SETTINGS) as manifest:
        finish(manifest, "a.jpg")
    with Manifest(tmp_path / "again", source, SETTINGS) as manifest:
        finish(manifest, "b.jpg")
    assert (output / NAME).read_bytes() == (tmp_path / "again" / NAME).read_bytes()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_log_loses_its_last_line_at_most(folders: tuple[Path, Path], cut: int) -> None:
    source, output = folders
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, "a.jpg")
        finish(manifest, "b.jpg")
    log = (output / NAME).read_bytes()
    (output / NAME).write_bytes(log[:-cut])
    with Manifest(output, source, SETTINGS) as manifest:
        assert manifest.is_done("a.jpg")
        finish(manifest, "b.jpg")
    assert (output / NAME).read_bytes() == log


RECORD: dict[str, Any] = {"input": "a.jpg", "key": "", "modified": 0, "outputs": {}, "sha256": "", "size": 0}


@pytest.mark.parametrize(
    "line",
    [
        b'\xff\x00{"input": 3}',
        b"[1]",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        *(
            json.dumps({**RECORD, **wrong}).encode()
            for wrong in (
                {"input": 5}, {"input": "a\0.jpg"}, {"key": None}, {"size": "0"}, {"modified": True}, {"outputs": []},
                {"outputs": {"a.jpg": "0"}}, {"outputs": {"\0": 0}}, {"more": 1},
            )
        ),
    ],
)  # fmt: skip
def test_foreign_lines_are_left_out(folders: tuple[Path, Path], line: bytes) -> None:
    source, output = folders
    output.mkdir()
    (output / NAME).write_bytes(line + b"\n")
    with Manifest(output, source, SETTINGS) as manifest:
        assert not manifest.is_done("a.jpg")
        finish(manifest, "b.jpg")
    with Manifest(output, source, SETTINGS) as manifest:
        assert manifest.is_done("b.jpg")


def test_names_that_are_no_text(folders: tuple[Path, Path]) -> None:
    source, output = folders
    name = os.fsdecode(b'caf\xe9 \n".jpg')
    (source / name).write_text("input")
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, name)
    with Manifest(output, source, SETTINGS) as manifest:
        assert manifest.is_done(name)


def test_temporaries_of_dead_runs_are_removed(folders: tuple[Path, Path]) -> None:
    """Nothing else: not what is being written, no other names, no links and what they lead to."""
    source, output = folders
    (output / "deep").mkdir(parents=True)
    for name in (".stylebatch-x1y2z3a4", ".stylebatch-notes", ".stylebatch-x1y2z3a4.txt", "photo.jpg"):
        (output / "deep" / name).touch()
    (output / ".stylebatch-link_ed_").symlink_to(output / "deep" / "photo.jpg")
    with atomic_write(output / "deep" / "other.jpg") as file:
        file.write(b"of another run, which has not ended")
        subprocess.run([sys.executable, "-c", OPEN_AND_CLOSE, source, output], check=True)
    left = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.name != NAME)
    assert left == [
        ".stylebatch-link_ed_", "deep", "deep/.stylebatch-notes", "deep/.stylebatch-x1y2z3a4.txt", "deep/other.jpg",
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
            finish(manifest, "a.jpg")
    else:
        with pytest.raises(OutputError, match=r"is a link or no plain file|Is a directory"):
            Manifest(output, source, SETTINGS)
    assert (tmp_path / "precious").read_text() == "of somebody else"


def _try_to_open(source: Path, output: Path) -> str:
    try:
        with Manifest(output, source, SETTINGS):
            return "opened"
    except OutputError as error:
        return str(error)


def test_one_run_at_a_time(folders: tuple[Path, Path]) -> None:
    source, output = folders
    with multiprocessing.get_context("spawn").Pool(1) as other:
        with Manifest(output, source, SETTINGS) as manifest:
            finish(manifest, "a.jpg")
            assert "another run is writing there" in other.apply(_try_to_open, (source, output))
        assert other.apply(_try_to_open, (source, output)) == "opened"


def test_an_output_that_cannot_be_a_folder(folders: tuple[Path, Path]) -> None:
    source, output = folders
    output.touch()
    with pytest.raises(OutputError, match="cannot be written"):
        Manifest(output, source, SETTINGS)
