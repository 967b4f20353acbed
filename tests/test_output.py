"""The folder of a training: found out before its first step, held by one training at a time, replaced only if asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from conftest import picture

import trainer.cli
from stylebatch.checkpoint import Checkpoint, save_pth, save_safetensors
from stylebatch.errors import StylebatchError
from stylebatch.transnet import TransNet
from trainer.config import FitConfig
from trainer.content import find_photographs
from trainer.memory import check_memory, memory_errors_explained
from trainer.output import Output, readable
from trainer.state import State


@pytest.fixture
def make(tmp_path: Path, photos: Callable[..., Path]) -> Callable[..., Output]:
    """An output of a training of a painting of a name, with options; the painting is made anew from `seed`."""
    content = photos("a.jpg", "b.jpg")

    def output(name: str = "paint.png", seed: int = 0, **options: Any) -> Output:
        picture(96, 80, seed=seed).save(tmp_path / name)
        config = FitConfig(**{"style": tmp_path / name, "content": content, "out": tmp_path / "out", **options})
        return Output(config, find_photographs(content)[0], last_epoch=12)

    return output


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return TransNet("reflect", 8).state_dict()


def saved(output: Output, epoch: int, model: dict[str, torch.Tensor], **training: Any) -> Path:
    path = output.path(f"trans_net_{epoch}.pth")
    path.parent.mkdir(exist_ok=True)
    save_pth(Checkpoint(model, {**output.origin, "padding_mode": "reflect"}, training), path)
    return path


def finished(output: Output, model: dict[str, torch.Tensor]) -> None:
    output.config.out.mkdir(exist_ok=True)
    save_safetensors(Checkpoint(model, {**output.origin, "padding_mode": "reflect"}), output.style)


def test_one_training_at_a_time(make: Callable[..., Output]) -> None:
    with make().locked():
        command = ["fit", str(make().config.style), "--out", str(make().config.out), "--steps", "1"]
        other = CliRunner().invoke(trainer.cli.main, command)
        assert other.exit_code == 1
        assert "another run is writing there; wait for it, or give another output" in other.stderr
        with make("other.png").locked():
            pass
    assert not make().config.out.exists()  # nothing was trained


@pytest.mark.parametrize("name", ["x" * 240 + ".png", "x" * 251 + ".png"])
def test_a_name_that_cannot_be_written_is_found_out_at_once(make: Callable[..., Output], name: str) -> None:
    with pytest.raises(StylebatchError, match="cannot be written"), make(name).locked():
        pass


@pytest.mark.parametrize("inside", ["paint_trans_net_12.pth", "paint.safetensors", "paint_losses.csv", "paint_fuse_3.jpg"])
def test_a_folder_in_the_way_is_found_out_at_once(make: Callable[..., Output], inside: str) -> None:
    output = make()
    (output.config.out / inside).mkdir(parents=True)
    with pytest.raises(StylebatchError, match="a folder has this name"), output.locked():
        pass


def test_a_file_in_place_of_the_folder(make: Callable[..., Output], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StylebatchError, match="out"), make().locked():
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_what_was_trained_is_kept(make: Callable[..., Output], weights: dict[str, torch.Tensor]) -> None:
    with make().locked():
        assert not make().is_done()
    finished(make(), weights)
    assert make().is_done()
    for other, told in (
        (make(seed=1), "of another painting"), (make(steps=7), "steps"), (make(style_weight=2.0), "`style_weight`"),
        (make(width=8), "`width`"),
    ):  # fmt: skip
        with pytest.raises(StylebatchError, match=f"has a training of paint already.*{told}.*`overwrite`"):
            other.is_done()


@pytest.mark.parametrize("name", ["paint_preview.jpg", "paint_losses.csv", "paint_total_loss.png", "paint_fuse_3.jpg"])
def test_a_file_of_the_users_is_kept(make: Callable[..., Output], name: str) -> None:
    output = make()
    output.config.out.mkdir()
    if name.endswith("csv"):
        (output.config.out / name).write_text("my,own,table\n")
    else:
        picture().save(output.config.out / name)
    with pytest.raises(StylebatchError, match=f"{name}: no training wrote it; `overwrite` replaces it"):
        output.is_done()


def test_resuming_takes_most_steps_not_the_latest_time(
    make: Callable[..., Output], weights: dict[str, torch.Tensor]
) -> None:
    """Copies, clouds and version control give files times of their own. Brackets in a name are letters."""
    output = make("art [1].png")
    told: list[str] = []
    with output.locked():
        assert output.earlier(told.append) is None
    assert "nothing to resume" in told[0]
    for epoch, step in ((1, 100), (3, 300), (2, 200)):
        os.utime(saved(output, epoch, weights, step=step), (1e9 - step, 1e9 - step))
    earlier = output.earlier(told.append)
    assert earlier is not None
    assert earlier.training["step"] == 300
    assert "art [1]_trans_net_3.pth at step 300" in told[-1]


def test_resuming_is_of_the_same_training(make: Callable[..., Output], weights: dict[str, torch.Tensor]) -> None:
    saved(make(), 1, weights, step=5)
    assert make(steps=900).earlier(lambda _: None) is not None  # longer is the same
    for other, told in ((make(seed=1), "of another painting"), (make(style_weight=2.0), "with `style_weight`")):
        with pytest.raises(StylebatchError, match=f"paint_trans_net_1.pth: is of a training {told}.*`overwrite`"):
            other.earlier(lambda _: None)


def test_an_older_versions_checkpoint_is_said_to_be_one(
    make: Callable[..., Output], weights: dict[str, torch.Tensor]
) -> None:
    """Before a loss was added, there was no weight of it, and no column."""
    older = make()
    del older.origin["config"]["lattice_weight"]
    saved(older, 1, weights, step=5)
    with pytest.raises(StylebatchError, match="by another version, which had no `lattice_weight`"):
        make().earlier(lambda _: None)
    network = TransNet("reflect", 8)
    state = State(network, torch.optim.AdamW(network.parameters()), torch.amp.GradScaler("cpu", enabled=False))
    state.step, state.history = 1, [[1.0, 1.0, 0.5]]
    training = state.snapshot()
    with pytest.raises(StylebatchError, match="an older version wrote it, with other losses"):
        state.resume(Checkpoint(training.pop("model"), {}, training), Path("out"))


@pytest.mark.parametrize("step", [None, "many", 2.5])
def test_a_damaged_state_is_one_line(make: Callable[..., Output], weights: dict[str, torch.Tensor], step: Any) -> None:
    saved(make(), 1, weights, **({} if step is None else {"step": step}))
    with pytest.raises(StylebatchError, match="no training's state is in it"):
        make().earlier(lambda _: None)


def test_names_that_terminals_and_headers_take() -> None:
    assert readable("Monet, Lilies") == "Monet, Lilies"
    assert readable("x\x1b[31m\ny") == "x\ufffd[31m\ufffdy"
    assert readable(os.fsdecode(b"caf\xe9")) == "caf\ufffd"


def test_memory_is_compared_before_it_is_taken(make: Callable[..., Output], monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("trainer.memory._free", lambda _: 2_000_000_000)
    check_memory(make().config, torch.Size((1, 3, 800, 1000)), cpu, "fp32", photographs=2)
    with pytest.raises(
        StylebatchError, match=r"to measure 4000×3000 px takes 10\.8 GB, 2\.0 GB are free; a `style_size` of 16\d\d fits"
    ):
        check_memory(make().config, torch.Size((1, 3, 3000, 4000)), cpu, "fp32", photographs=2)
    for options, fits in (
        ({"batch_size": 64}, r"a `batch_size` of \d+ fits"),
        ({"crop_size": 2048}, r"a `crop_size` of \d+ fits"),
    ):
        config = make(**options).config
        with pytest.raises(StylebatchError, match=fits):
            check_memory(config, torch.Size((1, 3, 80, 96)), cpu, "fp32", photographs=config.batch_size)


def test_memory_that_runs_out_all_the_same_is_one_line() -> None:
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")):
        with pytest.raises(StylebatchError, match="out of memory; give a smaller `crop_size`"), memory_errors_explained():
            raise error
    with pytest.raises(RuntimeError, match="something else"), memory_errors_explained():
        raise RuntimeError("something else")
