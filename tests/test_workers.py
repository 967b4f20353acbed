"""Processes that decode: what they hand over, and how they end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.sources import Arrays, Raising, Stuck, Talking

from stylebatch.workers import decoded


def samples(source: Any, *groups: list[Any], workers: int = 2, ahead: int = 4) -> Iterator[list[Any]]:
    return decoded(source, groups, workers=workers, ahead=ahead, lost=lambda key, reason: (key, reason))


def is_running(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(process: int) -> bool:
    deadline = time.monotonic() + 10
    while is_running(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(process)


def test_arrays_come_as_they_are_in_order() -> None:
    groups = list(samples(Arrays(), [3, 0], [1], [2, 2, 0]))
    numbers, arrays = zip(*(sample for group in groups for sample in group), strict=True)
    assert [len(group) for group in groups] == [2, 1, 3]
    assert os.getpid() not in numbers
    for array, expected in zip(arrays, (Arrays.MADE[index] for index in (3, 0, 1, 2, 2, 0)), strict=True):
        assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
        assert (array == expected).all()
        assert array.flags.writeable


def test_no_more_is_decoded_ahead_than_asked() -> None:
    given: list[int] = []

    def groups() -> Iterator[list[int]]:
        for _ in range(20):
            given.append(0)
            yield [0]

    loads = decoded(Arrays(), groups(), workers=1, ahead=3, lost=lambda key, _: (key, None))
    next(loads)
    assert len(given) == 3
    assert len(list(loads)) == 19


def test_what_a_source_raises_is_raised() -> None:
    for workers in (0, 1):
        with pytest.raises(ZeroDivisionError, match="at 5"):
            list(samples(Raising(), [5], workers=workers))


def test_what_is_printed_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(samples(Talking(), ["one", "two"])) == [["one", "two"]]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("executable", ["/nonexistent", "/bin/false", "", "a server"])
def test_where_no_process_starts_it_is_decoded_here(
    executable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if executable == "a server":  # which reads nothing and never ends
        executable = str(tmp_path / "server")
        Path(executable).write_text("#!/bin/sh\nexec sleep 3600\n")
        Path(executable).chmod(0o755)
        monkeypatch.setattr("stylebatch.workers._START_WITHIN", 0.3)
    monkeypatch.setattr(sys, "executable", executable)
    with caplog.at_level(logging.WARNING, "stylebatch"):
        groups = list(samples(Arrays(), [0], [1], [2], [0]))
    assert {number for group in groups for number, _ in group} == {os.getpid()}
    assert len(caplog.messages) == 1
    assert "no process can be started to decode pictures" in caplog.messages[0]


def test_a_stuck_process_ends_with_its_reader() -> None:
    loads = samples(Stuck(), [0], [1], workers=1)
    ((process,),) = [next(loads)]
    assert is_running(process)
    loads.close()  # type: ignore[attr-defined]
    assert ends(process)


def test_asked_to_stop_it_waits_no_longer() -> None:
    had: list[int] = []
    loads = decoded(Stuck(), [[0], [1]], workers=1, ahead=2, lost=lambda key, _: key, stop=lambda: bool(had))
    for (process,) in loads:
        had.append(process)
    assert len(had) == 1
    assert ends(had[0])


def test_a_stuck_process_ends_with_the_program() -> None:
    """However that ends."""
    script = (
        "import os; from stylebatch.workers import decoded; from support.sources import Stuck\n"
        "print(next(decoded(Stuck(), [[0], [1]], workers=1, ahead=2, lost=print))[0], flush=True); os._exit(0)"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", script], env=path, capture_output=True, text=True, check=True)
    assert ends(int(result.stdout))


def test_nothing_of_the_program_is_run_again(tmp_path: Path) -> None:
    """A script without a guard around what it does, in a folder with a module that is called like one of Python's."""
    (tmp_path / "struct.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "script.py").write_text(
        "import sys; sys.path.pop(0)\n"
        "import multiprocessing; multiprocessing.set_start_method('spawn')\n"
        "from stylebatch.workers import decoded; from support.sources import Arrays\n"
        "print(len(list(decoded(Arrays(), [[0], [1]], workers=2, ahead=2, lost=print))))\n"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("2\n", "")


def test_what_processes_import_leaves_out_what_is_slow_to_load() -> None:
    script = (
        "import sys, stylebatch.images, trainer.crops\n"
        "print([name for name in ('torch', 'av', 'openvino') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
