"""A job is data: JSON carries it, and what is no job is refused with what is wrong of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from support.clips import make_clip

from stylebatch import FolderJob, ImageOptions, StylebatchError, VideoJob, VideoOptions, VideoSummary, run_job
from stylebatch.jobs import job_from_dict, job_from_json
from stylebatch.jobs.job import Job
from stylebatch.stylizer import Stylizer
from trainer.config import FitConfig

FOLDER = {"kind": "folder", "source": "in", "output": "out"}


@pytest.mark.parametrize(
    "job",
    [
        FolderJob(source="in", output="out"),
        FolderJob(
            source="caf\udce9 \n", output="out/", options=ImageOptions(size=64, format="png"), workers=0, device="cpu"
        ),
        VideoJob(source="clip.mp4", options=VideoOptions(fps=Fraction(30000, 1001), start=1, steady=0)),
    ],
)
def test_json_carries_it(job: Job) -> None:
    line = job.as_json()
    assert line.isascii()
    assert "\n" not in line
    assert job_from_json(line) == job


def test_what_is_not_said_has_its_default() -> None:
    assert job_from_dict(FOLDER) == FolderJob(source="in", output="out")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{", "job: is no JSON: "),
        ("[" * 100_000, "job: is no JSON: "),
        ([], r"job: must be an object with fields, not \[\]"),
        ({"kind": ["folder"]}, r"job: `kind` must be folder or video, not \['folder'\]"),
        ({"kind": "folder"}, "job: `output`, `source`: missing"),
        ({**FOLDER, "siez": 3}, "job: `siez`: no such field"),
        ({**FOLDER, "source": None}, "job: `source`: must be text, not None"),
        ({**FOLDER, "grid": 1}, "job: `grid`: must be true or false, not 1"),
        ({**FOLDER, "workers": True}, "job: `workers`: must be a whole number, not True"),
        ({**FOLDER, "workers": -1}, "workers -1: must be at least 0"),
        ({**FOLDER, "strength": float("nan")}, "job: `strength`: must be a number, not nan"),
        ({**FOLDER, "strength": 10**400}, "job: `strength`: must be a number, not 1000"),
        ({**FOLDER, "device": "gpu"}, "device 'gpu': no such device"),
        ({**FOLDER, "options": 3}, "job: `options`: must be an object with fields, not 3"),
        ({**FOLDER, "options": {"size": "big"}}, "job: `options`: `size`: must be a whole number, not 'big'"),
        ({**FOLDER, "kind": "video", "options": {"fps": "1/0"}}, "job: `options`: `fps`: must be a fraction, not '1/0'"),
    ],
)
def test_what_is_no_job_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(StylebatchError, match=f"^{message}"):
        job_from_json(wrong if isinstance(wrong, str) else json.dumps(wrong))


def test_a_training_is_data_too() -> None:
    config = FitConfig(style=Path("a.jpg"), steps=7)
    assert FitConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config


@pytest.mark.slow
def test_it_runs_in_another_process_and_folder(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos()
    monkeypatch.chdir(tmp_path)
    job = FolderJob(source="in", output="out", style=str(checkpoint), device="cpu", workers=0).absolute()
    program = "import sys; from stylebatch import job_from_json, run_job; print(run_job(job_from_json(sys.argv[1])).done)"
    ran = subprocess.run([sys.executable, "-c", program, job.as_json()], cwd="/", capture_output=True, text=True)
    assert ran.stdout == "3\n", ran.stderr
    assert (run_job(job).skipped, run_job(job).done) == (3, 0)


def test_films_share_a_stylizer(checkpoint: Path, tmp_path: Path) -> None:
    job = VideoJob(source=str(make_clip(tmp_path / "a.mp4", frames=3)), style=str(checkpoint), device="cpu", backend="torch")
    summary = run_job(job, stylizer=Stylizer(**job.stylizer))
    assert isinstance(summary, VideoSummary)
    assert (summary.done, summary.output) == (3, tmp_path / "a_plain.mp4")
