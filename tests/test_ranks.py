"""Several processes train what one trains, and end together."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TOLERANCES, assert_close, picture

from stylebatch.checkpoint import load_checkpoint
from trainer import schedule
from trainer.config import FitConfig
from trainer.crops import endless_batches
from trainer.fit import fit
from trainer.step import draw

#: Steps between validations here.
EVERY = 5
#: How far losses and weights may be after so many steps, relative: sums of shares round in another order, and each step of a
#: training makes of such a difference a larger one.
DRIFT = 3e-2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_make_the_batch(count: int) -> None:
    whole = list(islice(endless_batches(7, 4, True, 5, 1), 6))
    parts = [list(islice(endless_batches(7, 4, True, 5, 1, number, count), 6)) for number in range(count)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert [key for share in shares for key in share] == batch
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_mean_of_shares_is_the_mean_of_all(tmp_path: Path) -> None:
    """Also of the difference between frames, of which photographs have not as many pixels each."""
    draws = draw(torch.Size((3, 3, 64, 64)), FitConfig(style=tmp_path), 1)
    assert draws.motion is not None
    before, after = torch.rand(2, 3, 3, 64, 64)
    parts = [slice(0, 1), slice(1, 3)]
    shares = [draws.part(part.start, part.stop).motion.difference(before[part], after[part]) for part in parts]  # type: ignore[union-attr]
    assert_close(shares[0] / 3 + shares[1] * 2 / 3, draws.motion.difference(before, after))
    assert torch.equal(draws.part(0, 3).motion.difference(before, after), draws.motion.difference(before, after))  # type: ignore[union-attr]


def torchrun(count: int, *words: str, **options: Any) -> subprocess.Popen[str]:
    """A free port, and no threads that processes take from each other."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *words]
    pipe, here = subprocess.PIPE, Path(__file__).parent.parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here)}
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, **options)


#: Each argument is a program for two processes that find each other: forks of this one, which has loaded PyTorch for all.
PAIRS = """
import os, socket, sys
import torch._dynamo, trainer.fit  # the first of which an optimizer loads
places = [socket.create_server(("127.0.0.1", 0)) for _ in sys.argv[1:]]
ports = [place.getsockname()[1] for place in places]
for place in places:
    place.close()
for port, program in zip(ports, sys.argv[1:]):
    for rank in "01":
        if not os.fork():
            os.environ.update(RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            exec(program, {})
            sys.exit()
sys.exit(any([os.wait()[1] for _ in 2 * ports]))
"""


def in_pairs(*programs: str) -> subprocess.CompletedProcess[str]:
    """It fails if one of the processes does."""
    return subprocess.run([sys.executable, "-c", PAIRS, *programs], capture_output=True, text=True, timeout=100)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Four photographs to learn from and one held out, three a step: every second step has one alone, for one process."""
    picture(80, 72, seed="style").save(tmp_path / "paint.png")
    (tmp_path / "in").mkdir()
    for number in range(5):
        picture(50, 40, seed=number).save(tmp_path / "in" / f"{number}.png")
    return {
        "style": tmp_path / "paint.png", "content": tmp_path / "in", "steps": EVERY + 1, "crop_size": 32,
        "batch_size": 3, "init": "none", "width": 8, "optimizer": "adamw", "schedule": "constant", "learning_rate": 1e-4,
        "patience": 50, "small_crops": 0.0, "checkpoint_steps": 100, "workers": 0, "device": "cpu", "precision": "fp32",
    }  # fmt: skip


def as_words(settings: dict[str, Any]) -> list[str]:
    return ["fit", *(f"--{name.replace('_', '-')}={value}" for name, value in settings.items())]


def rows(out: Path) -> list[dict[str, float]]:
    with (out / "paint_losses.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one goes on where two have ended."""
    one, two = tmp_path / "one", tmp_path / "two"
    monkeypatch.setattr(schedule, "VALIDATE_EVERY", EVERY)
    alone = fit(FitConfig(**settings, out=one))
    words = as_words({**settings, "steps": EVERY, "out": two})
    run = in_pairs(f"from trainer import cli, schedule; schedule.VALIDATE_EVERY = {EVERY}; cli.main({words!r})")
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{two / 'paint.safetensors'}\n"
    lines = "reading the photographs", "measuring the painting", "use it: "
    assert [run.stderr.count(line) for line in lines] == [1, 1, 1]
    resumed = fit(FitConfig(**settings, out=two, resume=True))
    here, there = rows(one), rows(two)
    assert [row["step"] for row in there] == [row["step"] for row in here]
    relative, _ = TOLERANCES[torch.float32]
    for name in ("content", "style", "palette", "shading", "stability", "total"):
        told_by = [[row[name] for row in of] for of in (there, here)]
        assert told_by[0][:3] == pytest.approx(told_by[1][:3], rel=relative), name
        # What rounding has made of a step, each further one makes more of.
        assert told_by[0][3:5] == pytest.approx(told_by[1][3:5], rel=10 * relative), name
    last = EVERY - 1
    assert [there[last][name] for name in ("total", "validation")] == pytest.approx(
        [here[last][name] for name in ("total", "validation")], rel=DRIFT
    )
    assert resumed.checkpoint is not None
    assert alone.checkpoint is not None
    model = load_checkpoint(resumed.checkpoint).model
    for key, tensor in load_checkpoint(alone.checkpoint).model.items():
        assert (model[key] - tensor).norm() <= DRIFT * tensor.norm(), key
    assert {path.name for path in two.iterdir()} >= {path.name for path in one.iterdir()}


@pytest.mark.slow
def test_ctrl_c_ends_all_and_keeps_what_is_done(settings: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = as_words({**settings, "steps": 100_000, "checkpoint_steps": 1, "out": out})
    with torchrun(2, "-m", "trainer", *words) as run:
        deadline = time.monotonic() + 60
        while not (out / "paint_losses.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        said, told = run.communicate(timeout=30)
    assert told.count("stopped at step ") == 1
    assert told.count("the same command with --resume goes on") == 1
    assert Path(said.strip()).parent == out
    assert load_checkpoint(Path(said.strip())).training["step"] == len(rows(out))


#: What one of two processes does, and what the other raises.
ENDS = {
    "raise StylebatchError('no room')": "StylebatchError: no room",
    "raise StopError": "StopError: ",
    "os.kill(os.getpid(), 9)":
        "StylebatchError: another process of the training was killed; `resume` goes on from the last checkpoint",
}  # fmt: skip
END = """
import os
from stylebatch.errors import StylebatchError
from trainer.ranks import StopError, together
try:
    with together("cpu") as ranks:
        assert ranks.shared(lambda: os.environ["RANK"]) == "0"
        if ranks.number == 1:
            {end}
        ranks.shared(lambda: None)
        ranks.share(None, 32)
except Exception as error:
    if os.environ["RANK"] == "0":
        print(f"{type(error).__name__}: {error}", flush=True)
"""


@pytest.mark.slow
def test_when_one_ends_all_end() -> None:
    run = in_pairs(*(END.replace("{end}", end) for end in ENDS))
    assert sorted(run.stdout.splitlines()) == sorted(ENDS.values()), run.stderr
    assert run.returncode == 1  # one was killed


@pytest.mark.slow
def test_more_processes_than_photographs_is_an_error(settings: dict[str, Any], tmp_path: Path) -> None:
    words = as_words({**settings, "batch_size": 1, "out": tmp_path / "out"})
    run = in_pairs(f"import trainer.cli; trainer.cli.main({words!r})")
    assert run.stderr.count("Error: --batch-size 1: each of 2 processes needs one in a step") == 1
    assert not (tmp_path / "out").exists()
