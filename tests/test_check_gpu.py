"""The check of a GPU, where there is none: what it measures, and that its bars can fail."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import check_gpu
import pytest
import torch
from torch import Tensor

from stylebatch.pipeline import Summary


def checked(monkeypatch: pytest.MonkeyPatch, report: Path, *sections: str) -> tuple[int, dict[str, Any]]:
    """The exit status and the report."""
    command = ["check_gpu", "--device", "cpu", "--quick", "--json", str(report), "--only", *sections]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        check_gpu.main()
    return int(str(end.value.code)), json.loads(report.read_text())


@pytest.mark.slow
def test_what_is_right_passes_every_bar(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report = checked(monkeypatch, tmp_path / "report.json", "right", "tests")
    assert status == report["failed"] == 0
    assert len([line for line in report["lines"] if line["passed"]]) >= 12
    assert report["left_out"] == {"tests": "they need a GPU"}
    assert capsys.readouterr().out.count("\nok      right ") >= 12


@pytest.mark.slow
def test_a_backend_that_paints_noise_fails_every_bar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And takes every value for finite."""

    def noise(y: Tensor, dtype: torch.dtype) -> Tensor:
        shape = y.permute(0, 2, 3, 1).shape
        return torch.randint(torch.iinfo(dtype).max, shape, dtype=torch.int32).to(dtype)

    monkeypatch.setattr("stylebatch.backends.find_spec", lambda _: None)
    monkeypatch.setattr("stylebatch.backends.pytorch.to_integers", noise)
    monkeypatch.setattr("stylebatch.backends.bands.to_integers", noise)
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda self: torch.ones_like(self, dtype=torch.bool))
    status, report = checked(monkeypatch, tmp_path / "report.json", "right")
    assert status == 1
    assert [line["name"] for line in report["lines"] if line["section"] == "right" and line["passed"]] == []


def test_a_section_that_breaks_is_a_failure_and_the_next_ones_follow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more")

    monkeypatch.setitem(check_gpu.SECTIONS, "right", broken)
    status, report = checked(monkeypatch, tmp_path / "report.json", "right", "memory")
    assert status == report["failed"] == 1
    assert report["lines"][-1]["note"] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert list(report["left_out"]) == ["memory"]
    monkeypatch.setattr(check_gpu, "SECONDS", -1)
    assert checked(monkeypatch, tmp_path / "report.json", "right")[1]["failed"] == 2


def test_a_rate_leaves_out_the_start_and_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    rate = check_gpu._Rate()
    for clock[0], done in ((101, 0), (110, 8), (110, 16), (114, 48)):
        rate.progress(Summary(done=done))
    assert rate.rate == (48 - 8) / 4
    assert not rate.stop()
    clock[0] += check_gpu.AT_MOST
    assert rate.stop()


@pytest.mark.slow
def test_the_network_is_measured_by_its_own_operations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One of half the width has 3.7 times fewer: at the same rate of pictures, so much less of the matrix rate."""
    monkeypatch.setattr(check_gpu, "_in_flight", lambda *_: 0.5)
    _, report = checked(monkeypatch, tmp_path / "report.json", "fast")
    share = {line["name"]: line["value"] for line in report["lines"] if "matrix rate" in line["name"]}
    wide, narrow = (next(value for name, value in share.items() if f"width {width}" in name) for width in (32, 16))
    assert wide / narrow == pytest.approx(154 / 42, rel=0.02)


def test_bars_of_speed_are_a_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    gpu, cpu = (check_gpu.Check(torch.device(name), quick=True) for name in ("cuda", "cpu"))
    for check in (gpu, cpu):
        check.speed("pictures", 299, "a second", least=300)
        check.speed("a step", 16, "ms", most=15)
        check.speed("the GPU busy", math.nan, "%", least=85)
    assert [line.passed for line in gpu.lines] == [False] * 3
    assert [line.passed for line in cpu.lines] == [None] * 3
    assert capsys.readouterr().out.count("FAILED") == 3
