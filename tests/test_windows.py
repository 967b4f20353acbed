"""What the program does on Windows, simulated by `windows.py`: it was never tried there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.clips import make_clip, pictures

from stylebatch import stylize_folder
from stylebatch.manifest import NAME

#: A command, twice, and what lies in its output each time.
COMMAND = """
from stylebatch.cli import main
output, *words = sys.argv[1:]
for _ in range(2):
    main(words, standalone_mode=False)
    print("there:", {path.name: path.stat().st_ino for path in sorted(Path(output).iterdir())})
"""
IMPORTS = """
import importlib, importlib.util, pkgutil, stylebatch, trainer
needed = {"backends.openvino": "openvino", "jobs.cluster": "ray"}
left_out = ("__main__", *(name for name, package in needed.items() if not importlib.util.find_spec(package)))
for package in (stylebatch, trainer):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(left_out):
            importlib.import_module(module.name)
from stylebatch import system
assert not system.REPLACES_OPEN_FILES
assert system.free_memory() is None
"""
LOCKS = """
from stylebatch.errors import BusyError, OutputError
from stylebatch.locking import Log
path = Path(sys.argv[1], "log")

def is_busy():
    try:
        Log(path).close()
    except BusyError:
        return True

log = Log(path)
log.append(b"line")
assert is_busy()
assert log.read() == b"line"
log.replace([b"other"])
assert not is_busy()
(log := Log(path)).append(b" line")
assert log.read() == b"other line"
log.remove()
assert not list(path.parent.iterdir())

# Killed while it has it.
code = "import os, sys; from pathlib import Path; from stylebatch.locking import Log\\n"
code += "log = Log(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
other = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert other.stdout.readline() == b"locked\\n"
assert is_busy()
other.kill()
other.wait()
assert not is_busy()

# Another run has it in the moment between closing and replacing: nothing of it is lost.
log, close = Log(path), Log.close
log.append(b"of this run")
others = []
def closed(log):
    close(log)
    if not others:
        others.append(None)
        others[0] = Log(path)
Log.close = closed
try:
    log.replace([b"in order"])
    raise AssertionError
except OutputError:
    pass
assert others[0].read() == b"of this run"
assert [each.name for each in path.parent.iterdir()] == ["log"]
"""


def on_windows(program: str, *arguments: object) -> str:
    """What a program in a process of its own says on standard output."""
    program = f"from support import windows; import os, subprocess, sys; from pathlib import Path\n{program}"
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def there(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("there:")]


@pytest.mark.slow
def test_every_module_is_imported_and_locks_hold(tmp_path: Path) -> None:
    on_windows(IMPORTS + LOCKS, tmp_path)


@pytest.mark.slow
def test_a_folder(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source, out = photos("b.jpg", "a.png", size=(120, 80)), tmp_path / "out"
    command = "folder", source, out, "--style", checkpoint, "--device", "cpu", "--workers", 1
    first, again = there(on_windows(COMMAND, out, *command))
    assert first == again
    stylize_folder(source, tmp_path / "here", checkpoint, device="cpu")
    for name in ("a.png", "b.jpg", NAME):
        assert (out / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert sorted(path.name for path in out.iterdir()) == [NAME, "a.png", "b.jpg"]


@pytest.mark.slow
def test_a_film(checkpoint: Path, tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4")
    command = "video", tmp_path / "clip.mp4", "-o", tmp_path / "out" / "film.mp4", "--style", checkpoint, "--device", "cpu"
    first, again = there(on_windows(COMMAND, tmp_path / "out", *command))
    assert first == again
    assert len(pictures(tmp_path / "out" / "film.mp4")) == len(pictures(tmp_path / "clip.mp4"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [NAME, "film.mp4"]
