"""What reaches a terminal, and what happens where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import picture

from stylebatch.console.terminal import as_typed, printable, put_json, say, tell
from stylebatch.jobs.job import FolderJob
from stylebatch.options import options_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("a\nfailed: b\r\u2028c\x85", r"a\nfailed: b\r\u2028c\x85"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("\ud83d", r"\ud83d"),
        ("photo × 2 – été 👩\u200d🎨", "photo × 2 – été 👩\u200d🎨"),
    ],
)
def test_names_command_nothing(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_options_are_told_as_they_are_typed() -> None:
    assert "overwrite" in options_of(FolderJob)
    assert as_typed("a.jpg: `keep_work_size` and `overwrite`") == "a.jpg: --keep-work-size and --overwrite"
    assert as_typed("`a_picture`: no such photograph") == "`a_picture`: no such photograph"


def run(program: str, shell: str = "{}", **environment: str) -> subprocess.CompletedProcess[str]:
    """A program with the streams of the command, as a shell starts it."""
    code = f"import os, sys\nfrom stylebatch.console.terminal import *\nopen_streams()\n{program}"
    return subprocess.run(
        ["sh", "-c", shell.format('"$0" -c "$1"'), sys.executable, code],
        capture_output=True, text=True, env={**os.environ, **environment}, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-", "2>/dev/full", "2>&1 >&-"])
def test_streams_may_be_closed(closed: str, tmp_path: Path) -> None:
    """And no file gets the number of one, and what is printed there."""
    program = f"""
with open({str(tmp_path / "file")!r}, "w") as file:
    assert file.fileno() > 2
    tell("told")
    silence_libraries()
    os.write(2, b"printed by a library")
    say("said")
    tell("told")
"""
    result = run(program, "{} " + closed)
    assert result.returncode == 0, result.stderr
    assert result.stdout == {"2>&1 >&-": "told\ntold\n"}.get(closed, "said\n")
    assert (tmp_path / "file").read_text() == ""


def test_a_reader_may_leave() -> None:
    lines = "for _ in range(5000): tell('x' * 80)\nsay('done')"
    result = run(lines, "exec 3>&1; {{ {} 2>&1 >&3 3>&-; echo $? >&3; }} | head -c 1 >/dev/null")
    assert (result.stdout, result.stderr) == ("done\n0\n", "")
    result = run("for _ in range(5000): say('x' * 80)\ntell('done')", "{{ {}; echo $? >&2; }} | head -c 1")
    assert (result.stdout, result.stderr) == ("x", "done\n0\n")


def test_a_full_disk_is_told() -> None:
    result = run("say('done')", "{} >/dev/full")
    assert "standard output: cannot be written: No space left on device" in result.stderr


def test_what_an_encoding_lacks_is_escaped() -> None:
    result = run(r"say('\xe9t\xe9 \xd7 2'); tell('\xe9t\xe9')", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert (result.returncode, result.stdout, result.stderr) == (0, "\\xe9t\\xe9 \\xd7 2\n", "\\xe9t\\xe9\n")


@pytest.mark.parametrize(
    "arguments", [["\x1b[31m"], ["folder", "--format", "\x1b[31m"], ["--\x1b[31m"], ["image", "\x1b[31m\nb"]]
)
def test_errors_repeat_no_commands(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "stylebatch", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "\x1b" not in result.stderr
    assert "\nb" not in result.stderr


def test_tracebacks_repeat_no_commands() -> None:
    result = run(r"raise ValueError('\x1b[31mred')")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == r"ValueError: \x1b[31mred"


@pytest.mark.slow
def test_a_folder_without_a_terminal(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    """Names that forge lines, an encoding without them, and no standard error."""
    source = photos("a.png", "b\nfailed: é.png")
    (source / "\x1b[31mred.jpg").write_bytes(b"no picture")
    result = subprocess.run(
        ["sh", "-c", '"$0" -m stylebatch folder "$1" "$2" --style "$3" --device cpu 2>&-',
         sys.executable, str(source), str(tmp_path / "out"), str(checkpoint)],
        capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stdout.splitlines()[0] == r"failed: \x1b[31mred.jpg: not an image that can be read"
    assert "2 of 3 photographs" in result.stdout.splitlines()[-1]


@pytest.mark.slow
def test_what_libraries_print_is_not_shown(checkpoint: Path, tmp_path: Path) -> None:
    """Of damaged LZW, libtiff complains on standard error."""
    picture(200, 150).save(tmp_path / "a.tif", compression="tiff_lzw")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[100:3000] = b"\xff" * 2900
    (tmp_path / "a.tif").write_bytes(data)
    opened = subprocess.run(
        [sys.executable, "-c", "import sys; from PIL import Image; Image.open(sys.argv[1]).load()", str(tmp_path / "a.tif")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "Using code not yet in table" in opened.stderr or "LZW" in opened.stderr
    result = subprocess.run(
        [sys.executable, "-m", "stylebatch", "image", str(tmp_path / "a.tif"), "--style", str(checkpoint)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.splitlines() == [f"Error: {tmp_path / 'a.tif'}: damaged: what is in it cannot be decoded"]


def test_options_are_named_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    say("a.jpg: `allow_truncated` takes it")
    tell("b.jpg: `size` 512")
    assert capsys.readouterr() == ("a.jpg: --allow-truncated takes it\n", "b.jpg: --size 512\n")


def test_paths_in_json_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    put_json({"failed": [{"path": "`size`.jpg", "reason": "`overwrite` replaces it"}]})
    assert json.loads(capsys.readouterr().out) == {"failed": [{"path": "`size`.jpg", "reason": "--overwrite replaces it"}]}
