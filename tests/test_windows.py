"""What the program does on Windows, simulated by `windows.py`: it was never tried there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.clips import make_clip, pictures

from stylebatch import stylize_folder
from stylebatch.manifest import NAME

#: Each command twice, and what lies in its output each time.
COMMANDS = """
import json
from stylebatch.cli import main
for output, *words in json.loads(sys.argv[1]):
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


@pytest.mark.slow
def test_every_module_is_imported_and_locks_hold(tmp_path: Path) -> None:
    on_windows(IMPORTS + LOCKS, tmp_path)


@pytest.mark.slow
def test_a_folder_and_a_film(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source, out, clip = photos("b.jpg", "a.png", size=(120, 80)), tmp_path / "out", tmp_path / "clip.mp4"
    make_clip(clip)
    common = ["--style", str(checkpoint), "--device", "cpu"]
    commands = [
        [str(out), "folder", str(source), str(out), *common, "--workers", "1"],
        [str(tmp_path / "films"), "video", str(clip), "-o", str(tmp_path / "films" / "film.mp4"), *common],
    ]
    said = on_windows(COMMANDS, json.dumps(commands)).splitlines()
    folder, folder_again, film, film_again = (line for line in said if line.startswith("there:"))
    assert folder == folder_again
    assert film == film_again
    stylize_folder(source, tmp_path / "here", checkpoint, device="cpu")
    for name in ("a.png", "b.jpg", NAME):
        assert (out / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert sorted(path.name for path in out.iterdir()) == [NAME, "a.png", "b.jpg"]
    assert len(pictures(tmp_path / "films" / "film.mp4")) == len(pictures(clip))
    assert sorted(path.name for path in (tmp_path / "films").iterdir()) == [NAME, "film.mp4"]
