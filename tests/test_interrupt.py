"""A signal ends a command soon, whatever is stuck."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from stylebatch.cli import main
from stylebatch.files import TEMP_PREFIX
from stylebatch.interrupt import catch_interrupts

#: What makes a stage wait for ever, in the program that runs the command.
STUCK = {
    "decoder": """
from stylebatch.workers import Process
ask = Process.ask
def stopped(process, key):
    if key:
        stuck()
        os.kill(process._popen.pid, signal.SIGSTOP)
    return ask(process, key)
Process.ask = stopped
""",
    "network": """
from stylebatch.stylizer import Stylizer
Stylizer._start = lambda *_: (stuck(), time.sleep(3600))
""",
    "patient network": """
from stylebatch import interrupt
from stylebatch.stylizer import Stylizer
interrupt.GRACE = 3600
Stylizer._start = lambda *_: (stuck(), time.sleep(3600))
""",
    "encoder": """
fsync = os.fsync
def never(descriptor):
    if any(OUT.glob("*.png")):
        stuck()
        time.sleep(3600)
    fsync(descriptor)
os.fsync = never
""",
}


def start(stuck: str, arguments: list[str], out: Path) -> subprocess.Popen[str]:
    """The command, at its stuck stage."""
    program = (
        "import os, pathlib, signal, sys, time\n"
        f"OUT = pathlib.Path({str(out)!r})\n"
        "def stuck(): print('stuck', file=sys.stderr, flush=True)\n"
        f"{STUCK[stuck]}\n"
        "from stylebatch.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "stuck" not in (line := process.stderr.readline()):
        assert line, "it ended"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("stuck", ["decoder", "network", "encoder"])
def test_one_signal_ends_a_folder(stuck: str, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = photos(*(f"{number}.png" for number in range(6)))
    options = ["--style", str(checkpoint), "--device", "cpu", "--precision", "fp32"]
    process = start(stuck, ["folder", str(source), str(out), *options], out)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "not done; the same command goes on" in said
    again = CliRunner().invoke(main, ["folder", str(source), str(out), *options])
    assert again.exit_code == 0, again.output
    assert len(list(out.glob("*.png"))) == 6
    assert not [path for path in out.iterdir() if path.name.startswith(TEMP_PREFIX)]


@pytest.mark.slow
def test_one_signal_ends_one_photograph(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    process = start("network", ["image", str(photos("a.png") / "a.png"), "--style", str(checkpoint)], tmp_path)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "")
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    """Whatever the first one waits for."""
    process = start(
        "patient network", ["folder", str(photos()), str(tmp_path / "out"), "--style", str(checkpoint)], tmp_path
    )
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_a_job_ends_as_it_does() -> None:
    with catch_interrupts() as interrupt:
        assert interrupt.wait_for(lambda: 5) == 5
        with pytest.raises(ZeroDivisionError):
            interrupt.wait_for(lambda: 1 // 0)
        assert not interrupt.left_behind


def test_a_job_in_flight_may_end() -> None:
    """And a second signal leaves it behind at once."""
    program = """
import os, signal, time
from stylebatch.interrupt import catch_interrupts
def job():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.3)
    return 5
with catch_interrupts() as interrupt:
    print(interrupt.wait_for(job), interrupt.exit_code, interrupt.left_behind)
with catch_interrupts() as interrupt:
    print(interrupt.wait_for(lambda: (job(), job(), time.sleep(3600))), interrupt.exit_code, interrupt.left_behind)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("5 130 False\nNone 130 True\n", "")
