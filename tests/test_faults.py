"""What can go wrong while a folder is done: nothing is lost, torn or left behind, and only the disk ends the run."""

from __future__ import annotations

import errno
import os
import random
import re
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import picture, run
from PIL import Image
from support.clips import make_clip
from support.sources import Deadly

from stylebatch import ImageOptions, StylebatchError, stylize_video
from stylebatch.cli import main
from stylebatch.files import TEMP_PREFIX
from stylebatch.loader import load_batches
from stylebatch.manifest import NAME

#: What damaged megapixels may cost the process that decodes them, beyond what it has from the process that started it.
MAX_WORKER_BYTES = 1_000_000_000


def peak_bytes(who: int) -> int:
    return resource.getrusage(who).ru_maxrss * 1024


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def words(source: Path, output: Path, checkpoint: Path) -> list[str]:
    """The command that does what `run` does."""
    options = {"--style": str(checkpoint), "--device": "cpu", "--precision": "fp32", "--backend": "torch"}
    return ["folder", str(source), str(output), *chain(*options.items())]


def started(*arguments: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "stylebatch", *words(*arguments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_rerun_does_nothing_and_leaves_everything_as_it_is(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    source, out = photos(), tmp_path / "out"
    run(source, out, checkpoint)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = run(source, out, checkpoint)
    assert (again.total, again.skipped, again.done) == (3, 3, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.slow
def test_a_changed_photograph_is_done_anew(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source, out = photos("a.bmp", "b.png"), tmp_path / "out"
    run(source, out, checkpoint)
    first = contents(out)
    status = (source / "a.bmp").stat()
    picture(seed="new").save(source / "a.bmp")
    os.utime(source / "a.bmp", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (source / "a.bmp").stat().st_size == status.st_size
    assert run(source, out, checkpoint).done == 1
    assert contents(out)["a.bmp"] != first["a.bmp"]
    assert run(source, out, checkpoint, batch_size=2, workers=1).done == 0


@pytest.mark.slow
def test_limits_change_no_results(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source, out = photos("a.png", "b.png"), tmp_path / "out"
    picture(1001, 1000).save(source / "large.png")
    (source / "b.png").write_bytes((source / "b.png").read_bytes()[:-200])
    assert run(source, out, checkpoint, options=ImageOptions(max_megapixels=1)).done == 1
    raised = run(source, out, checkpoint, options=ImageOptions(size=64, allow_truncated=True), overwrite=True)
    assert (raised.skipped, raised.done) == (0, 3)
    again = run(source, out, checkpoint, options=ImageOptions(size=64, max_megapixels=2))
    assert (again.skipped, again.done, again.failures) == (3, 0, [])
    assert "max_megapixels" not in ImageOptions().as_settings()


@pytest.mark.slow
def test_results_with_other_options_stay_unless_asked(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source, out = photos("a.png", "b.png"), tmp_path / "out"
    run(source, out, checkpoint)
    first = contents(out)
    for style, options in ((checkpoint, ImageOptions(preserve_color=True)), ("hosi", ImageOptions())):
        with pytest.raises(
            StylebatchError, match=r"made with other options, .* such as [ab]\.png; `overwrite` makes them anew"
        ):
            run(source, out, style, options=options)
    assert contents(out) == first
    assert run(source, out, checkpoint, options=ImageOptions(preserve_color=True), overwrite=True).done == 2
    assert contents(out)["a.png"] != first["a.png"]
    assert run(source, out, checkpoint, options=ImageOptions(preserve_color=True), overwrite=True).skipped == 2
    assert run(source, out, checkpoint, overwrite=True).done == 2
    assert contents(out) == first
    added = run(source, out, checkpoint, grid=True)
    assert (added.done, sorted(contents(out))) == (2, [NAME, "a.png", "a_grid.jpg", "b.png", "b_grid.jpg"])
    assert run(source, out, checkpoint).skipped == 2


@pytest.mark.slow
def test_files_of_others_stay_unless_asked(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    """Photographs, results of another folder with the same names, what has been retouched; for the grid, too."""
    source, out = photos("100/a.png", "100/b.png", "100/c.png"), tmp_path / "out"
    card = photos("a.png", "d.png", folder="card")
    picture(seed="another a").save(card / "a.png")
    run(source / "100", out, checkpoint)
    picture(seed="precious").save(out / "d_grid.jpg")
    (out / "b.png").write_bytes((out / "b.png").read_bytes() + b"retouched")
    before = contents(out)
    summary = run(card, out, checkpoint, grid=True)
    assert {failure.source: failure.reason for failure in summary.failures} == {
        "a.png": f"{out}/a.png: is there, and no result of a.png; `overwrite` replaces it, another output keeps both",
        "d.png": f"{out}/d_grid.jpg: is there, and no result of d.png; `overwrite` replaces it, another output keeps both",
    }
    assert contents(out) == before
    again = run(source / "100", out, checkpoint)
    assert (again.skipped, [failure.source for failure in again.failures]) == (2, ["b.png"])
    assert run(card, out, checkpoint, grid=True, overwrite=True).done == 2
    assert contents(out)["a.png"] != before["a.png"]
    assert sorted(contents(out)) == [NAME, "a.png", "a_grid.jpg", "b.png", "c.png", "d.png", "d_grid.jpg"]


def test_what_is_written_by_content_meets_what_is_there(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    """The name of a result is that of what it holds."""
    source, out = photos("other.png"), tmp_path / "out"
    picture().save(source / "a.jpg", format="PNG")
    out.mkdir()
    (out / "a.png").write_text("precious")
    (out / "other.png").symlink_to("nowhere")
    summary = run(source, out, checkpoint)
    assert [failure.source for failure in summary.failures] == ["a.jpg", "other.png"]
    assert (out / "a.png").read_text() == "precious"
    assert (out / "other.png").is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_photographs_are_never_replaced(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, overwrite: bool
) -> None:
    """Folders in the output lead to the photographs, as links or mounts; links follow into the output."""
    source, out = photos("2024/a.png", "2025/b.png", "c.png"), tmp_path / "out"
    (out / "2025").mkdir(parents=True)
    (out / "2024").symlink_to(source / "2024")
    mounted = subprocess.run(["mount", "--bind", source / "2025", out / "2025"], capture_output=True).returncode == 0
    before = contents(source)
    try:
        summary = run(source, out, checkpoint, overwrite=overwrite)
    finally:
        if mounted:
            subprocess.run(["umount", out / "2025"], check=True)
    assert contents(source) == before
    led = [failure.source for failure in summary.failures if f"leads into {source}" in failure.reason]
    assert led == ["2024/a.png", *(["2025/b.png"] if mounted else [])]
    (out / "2024").unlink()
    (source / "painted").symlink_to(out)
    (source / "painted.png").symlink_to(out / "c.png")
    (tmp_path / "above").symlink_to(tmp_path)
    (source / "up").symlink_to(tmp_path / "above")
    summary = run(source, out, checkpoint, follow_links=True)
    assert {failure.source for failure in summary.failures} == {"painted", "painted.png", "up/out"}
    assert not (out / "painted").exists()


def test_the_output_is_a_mount_of_a_folder_of_the_input(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    source, out = photos("2024/a.png", "a.png"), tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "--bind", source / "2024", out], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    before = contents(source)
    try:
        with pytest.raises(StylebatchError, match=r"the output is the folder .*in/2024 of the input; give another"):
            run(source, out, checkpoint, overwrite=True)
    finally:
        subprocess.run(["umount", out], check=True)
    assert contents(source) == before


@pytest.mark.slow
def test_what_runs_have_left_is_not_listed(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos("deep/a.png")
    (source / "deep" / "notes.txt").touch()
    stylize_video(make_clip(source / "deep" / "clip.mp4", frames=2), None, checkpoint, device="cpu")
    assert run(source, tmp_path / "out", checkpoint).ignored == ["deep/clip.mp4", "deep/notes.txt"]


def test_folders_by_other_names(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos("deep/a.png")
    (tmp_path / "link").symlink_to(source)
    for output, message in (
        ("link", "the same folder"),
        ("link/new", "inside the input"),
        ("link/deep/new", "inside the input"),
    ):
        with pytest.raises(StylebatchError, match=message):
            run(source, tmp_path / output, checkpoint)
    with pytest.raises(StylebatchError, match="lies inside the output"):
        run(source / "deep", tmp_path / "link", checkpoint)


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    source = photos(*(f"{i}.{'jpg' if i % 2 else 'png'}" for i in range(100)), size=(120, 90))
    run(source, tmp_path / "whole", checkpoint)
    out, rng = tmp_path / "killed", random.Random(0)
    for _ in range(2):
        process = started(source, out, checkpoint)
        deadline, before = time.monotonic() + 60, len(list(out.glob("*.*g")))
        while len(list(out.glob("*.*g"))) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
    assert 0 < len(list(out.glob("*.*g"))) < 100
    summary = run(source, out, checkpoint)
    assert summary.skipped > 0
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_interrupted_and_continued_is_uninterrupted(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos(*(f"{i}.png" for i in range(8)))
    run(source, tmp_path / "whole", checkpoint)
    seen: list[int] = []
    run(source, tmp_path / "parts", checkpoint, progress=lambda s: seen.append(s.done), stop=lambda: len(seen) >= 3)
    rest = run(source, tmp_path / "parts", checkpoint)
    assert 0 < rest.skipped < 8
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_whole_files(photos: Callable[..., Path], checkpoint: Path, small_disk: Path) -> None:
    source = photos(*(f"{i}.bmp" for i in range(20)), size=(120, 90))
    summary = run(source, small_disk / "out", checkpoint)
    assert summary.aborted is not None
    assert "No space left on device" in summary.aborted
    assert 0 < summary.done < 20
    written = [path for path in (small_disk / "out").iterdir() if path.name != NAME]
    assert len(written) == summary.done
    for path in written:
        Image.open(path).load()
    result = CliRunner().invoke(main, words(source, small_disk / "out", checkpoint))
    assert result.exit_code == 1
    assert "stopped: " in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_read_only_output_is_told_at_once(photos: Callable[..., Path], checkpoint: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = CliRunner().invoke(main, words(photos(), small_disk / "out", checkpoint))
    assert result.exit_code == 1
    assert "out: cannot be written: Read-only file system" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_that_cannot_be_written_is_one_line(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    """A file where the output's folder should be, and a folder where its file should be."""
    source = photos("nested/a.jpg", "b.png", "c.png")
    (tmp_path / "out" / "b.png" / "x").mkdir(parents=True)
    (tmp_path / "out" / "nested").touch()
    summary = run(source, tmp_path / "out", checkpoint)
    assert summary.aborted is None
    assert sorted(failure.source for failure in summary.failures) == ["b.png", "nested/a.jpg"]
    assert all(re.search("cannot be written|is there", failure.reason) for failure in summary.failures)
    assert (tmp_path / "out" / "c.png").exists()


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("chmod", errno.EPERM),
        ("utime", errno.EPERM),
        ("fsync", errno.EINVAL),
        ("fsync", errno.ENOTSUP),
        ("open", errno.EACCES),
    ],
)
def test_what_a_file_system_refuses_beside_contents_is_no_failure(
    call: str, number: int, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SMB, exFAT and FUSE do: modes, times, to write at once, to open a folder."""
    allowed = getattr(os, call)

    def refused(what: object, *arguments: object, **options: object) -> object:
        if call == "open" and not Path(str(what)).is_dir():
            return allowed(what, *arguments, **options)
        raise OSError(number, os.strerror(number))

    source = photos("a.jpg", "b.png")
    monkeypatch.setattr(os, call, refused)
    summary = run(source, tmp_path / "out", checkpoint)
    monkeypatch.undo()
    assert (summary.done, summary.failures, summary.aborted) == (2, [], None)
    assert run(source, tmp_path / "out", checkpoint).skipped == 2


@pytest.mark.parametrize("of_a_folder", [False, True])
def test_a_disk_that_cannot_write_ends_the_run(
    of_a_folder: bool, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def broken(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_a_folder:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", broken)
    summary = run(photos("a.jpg"), tmp_path / "out", checkpoint)
    assert summary.done == 0
    assert "Input/output error" in str(summary.aborted)


@pytest.mark.slow
def test_inputs_that_are_no_plain_files(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos("good.png")
    os.mkfifo(source / "fifo.jpg")
    (source / "dangling.jpg").symlink_to("nowhere")
    picture().save(tmp_path / "outside.jpg")
    (source / "outside.jpg").symlink_to(tmp_path / "outside.jpg")
    (source / "loop").symlink_to(source)
    (source / "device.jpg").symlink_to("/dev/zero")
    (source / "folder.jpg").mkdir()
    summary = run(source, tmp_path / "out", checkpoint)
    assert summary.done == 1
    assert sorted(failure.source for failure in summary.failures) == [
        "dangling.jpg", "device.jpg", "fifo.jpg", "outside.jpg"
    ]  # fmt: skip
    followed = run(source, tmp_path / "followed", checkpoint, follow_links=True)
    assert (tmp_path / "followed" / "outside.jpg").exists()
    assert followed.done == 2


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 2)])
def test_a_killed_worker_costs_one_picture(batch_size: int, workers: int) -> None:
    loads = list(load_batches(Deadly(), range(8), batch_size=batch_size, workers=workers, pin=False))
    assert sorted(info.index for load in loads for batch in load.batches for info in batch.infos) == [0, 1, 3, 4, 5, 6, 7]
    failures = [failure for load in loads for failure in load.failures]
    assert [failure.source for failure in failures] == ["2"]
    assert "killed" in failures[0].reason


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 1)])
def test_extreme_sizes(size: tuple[int, int], photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos("a.png", size=size)
    assert run(source, tmp_path / "out", checkpoint, backend="auto").done == 1
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == size


def test_awkward_names(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    names = ["a b.jpg", "it's \"so\".jpg", "🎨.png", "line\nbreak.png", os.fsdecode(b"caf\xe9.jpg"), "x" * 251 + ".jpg",
             "/".join("deep" for _ in range(40)) + "/a.JPG"]  # fmt: skip
    source = photos(*names)
    summary = run(source, tmp_path / "out", checkpoint, grid=True)
    assert summary.failures == []
    assert summary.done == len(names)
    assert all((tmp_path / "out" / name).exists() for name in names)
    assert run(source, tmp_path / "out", checkpoint, grid=True).skipped == len(names)


def test_inputs_are_never_touched(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos()
    before = contents(source), {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    run(source, tmp_path / "out", checkpoint, grid=True)
    assert (contents(source), {path: path.stat().st_mtime_ns for path in source.rglob("*")}) == before


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".avif"])
def test_fuzzed_files_fail_or_come_through(suffix: str, checkpoint: Path, tmp_path: Path) -> None:
    """Truncations and flipped bytes: each file is a failure with a reason or a whole picture, quickly."""
    rng = random.Random(suffix)
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    picture(40, 30).save(tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    for index in range(300):
        data = bytearray(whole)
        if index % 2:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.randrange(1, 6) if data else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (source / f"{index:03}{suffix}").write_bytes(data)
    start = time.monotonic()
    cap = max(peak_bytes(resource.RUSAGE_CHILDREN), peak_bytes(resource.RUSAGE_SELF) + MAX_WORKER_BYTES)
    # A cap well under the default, so that a forged header cannot make the suite's machine compute for minutes.
    summary = run(source, out, checkpoint, options=ImageOptions(max_megapixels=1), workers=2)
    assert time.monotonic() - start < 20
    assert summary.done + len(summary.failures) == 300
    assert all(failure.reason for failure in summary.failures)
    written = [path for path in out.rglob("*") if path.is_file() and path.name != NAME]
    assert len(written) == summary.done
    assert not any(path.name.startswith(TEMP_PREFIX) for path in out.rglob("*"))
    for path in written:
        Image.open(path).load()
    assert peak_bytes(resource.RUSAGE_CHILDREN) <= cap
