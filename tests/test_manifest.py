from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stylebatch.errors import OutputError
from stylebatch.manifest import NAME, Manifest

SETTINGS = {"style": "abc", "quality": 95}


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


def test_foreign_lines_are_left_out(folders: tuple[Path, Path]) -> None:
    source, output = folders
    output.mkdir()
    (output / NAME).write_bytes(b'\xff\x00{"input": 3}\n[1]\n{"input": "a.jpg", "key": 1}\nnull\n')
    with Manifest(output, source, SETTINGS) as manifest:
        assert not manifest.is_done("a.jpg")


def test_names_that_are_no_text(folders: tuple[Path, Path]) -> None:
    source, output = folders
    name = os.fsdecode(b'caf\xe9 \n".jpg')
    (source / name).write_text("input")
    with Manifest(output, source, SETTINGS) as manifest:
        finish(manifest, name)
    with Manifest(output, source, SETTINGS) as manifest:
        assert manifest.is_done(name)


def test_temporaries_of_dead_runs_are_removed(folders: tuple[Path, Path]) -> None:
    source, output = folders
    (output / "deep").mkdir(parents=True)
    (output / "deep" / ".stylebatch-x1y2").touch()
    (output / "deep" / "photo.jpg").touch()
    with Manifest(output, source, SETTINGS):
        assert [path.name for path in (output / "deep").iterdir()] == ["photo.jpg"]


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
