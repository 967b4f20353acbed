from __future__ import annotations

import copy
import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import assert_close, picture, requires_cuda
from PIL import Image

from stylebatch.checkpoint import load_checkpoint, save_pth
from stylebatch.errors import StylebatchError
from stylebatch.styles import base_of, shipped_styles
from stylebatch.styles import load_style as load_network
from stylebatch.transnet import TransNet
from trainer.config import FitConfig
from trainer.content import PACKAGED, load_middles, load_photograph, load_style
from trainer.fit import fit
from trainer.losses import content_loss, gram, spike_loss, style_loss, tv_loss
from trainer.objective import Objective
from trainer.replay import Replay
from trainer.report import to_image
from trainer.schedule import COOLING, POWER
from trainer.stability import stability_error
from trainer.state import State
from trainer.step import Draws, bounded_features, draw, paint
from trainer.vgg import VGG16

#: The style at the photograph's height, the photograph, the result, as `settings` makes them.
FUSE_SIZE = (round(96 * 70 / 80) + 80 + 80, 70)


@pytest.fixture
def settings(tmp_path: Path, photos: Callable[..., Path]) -> dict[str, Any]:
    """A training from scratch that takes a second: small crops of three small photographs, AdamW, nothing held out."""
    picture(96, 80, seed="style").save(tmp_path / "paint.png")
    return {
        "style": tmp_path / "paint.png", "content": photos("a.jpg", "b.png", "c.jpg", size=(80, 70)),
        "out": tmp_path / "checkpoints", "steps": 5, "crop_size": 32, "style_size": 0, "checkpoint_steps": 100,
        "batch_size": 2, "init": "none", "optimizer": "adamw", "learning_rate": 2e-3, "patience": 0, "stability_weight": 0.0,
        "small_crops": 0.0, "shift_share": 0.0, "style_weight": 5.0, "workers": 0, "device": "cpu", "precision": "fp32",
    }  # fmt: skip


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).model


def same(a: Path, b: Path) -> bool:
    return all(torch.equal(tensor, weights(b)[key]) for key, tensor in weights(a).items())


def losses(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_what_it_leaves(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.fit.PREVIEW_AFTER", math.inf)
    told: list[Any] = []
    settings |= {"checkpoint_steps": 2, "crop_size": 64}  # smaller crops have no lattice loss
    result = fit(FitConfig(**settings), progress=told.append)
    out = settings["out"]
    assert result.checkpoint == out / "paint_trans_net_3.pth"  # 2 steps an epoch: step 5 lies in the third
    assert {path.name for path in out.iterdir()} == {
        *(f"paint_trans_net_{epoch}.pth" for epoch in (1, 2, 3)), *(f"paint_fuse_{epoch}.jpg" for epoch in (1, 2, 3)),
        *(f"paint_{loss}_loss.png" for loss in ("content", "style", "total")), "paint_losses.csv", "paint.safetensors",
    }  # fmt: skip
    rows = losses(out / "paint_losses.csv")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5] == [progress.step for progress in told if not progress.stage]
    assert [row["epoch"] for row in rows] == [1, 1, 2, 2, 3]
    assert rows[-1]["total"] == pytest.approx(told[-1].losses["total"], rel=1e-4)
    relative = [row["total"] - (row["content"] + 5 * row["style"] + 1e-6 * row["tv"]) for row in rows]
    others = [80 * row["palette"] + 40 * row["shading"] + 6 * row["spikes"] + 0.1 * row["lattice"] for row in rows]
    scales = [rest / other for rest, other in zip(relative, others, strict=True)]
    assert scales == pytest.approx([scales[0]] * 5, rel=1e-2)  # the content's scale, the same at each step
    assert scales[0] > 1e3
    assert all(row["lattice"] > 0 for row in rows)
    with Image.open(out / "paint_fuse_3.jpg") as fuse:
        assert fuse.size == FUSE_SIZE
    with Image.open(out / "paint_style_loss.png") as curve:
        assert curve.width >= 600
    metadata = load_checkpoint(result.checkpoint).metadata
    assert metadata["style"] == "paint"
    assert metadata["padding_mode"] == "reflect"
    assert metadata["config"]["style_weight"] == 5.0


@pytest.mark.slow
def test_preview(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.fit.PREVIEW_AFTER", 0.0)
    told: list[str] = []
    fit(FitConfig(**settings), message=told.append)
    path = settings["out"] / "paint_preview.jpg"
    assert [line for line in told if "preview" in line] == [f"preview: {path}, renewed every minute"]
    with Image.open(path) as preview:
        assert preview.size == FUSE_SIZE


@pytest.mark.slow
def test_it_learns(settings: dict[str, Any]) -> None:
    fit(FitConfig(**{**settings, "steps": 30, "optimizer": "muon", "learning_rate": 1e-2}))
    rows = losses(settings["out"] / "paint_losses.csv")
    assert rows[-1]["style"] < 0.5 * rows[0]["style"]


@pytest.mark.slow
def test_first_step_is_what_the_losses_say(settings: dict[str, Any]) -> None:
    """The CSV's first row against the losses computed here from the initial network and the first batch."""
    from stylebatch.transnet import TransNet
    from trainer.config import CONTENT_LAYER, STYLE_LAYERS
    from trainer.content import content_loader, find_photographs, load_style

    config = FitConfig(**{**settings, "steps": 1})
    fit(config)
    torch.manual_seed(config.seed)
    network, vgg = TransNet(width=config.width), VGG16()
    photographs, _ = find_photographs(settings["content"])
    loader = content_loader(photographs, size=32, augment=True, batch_size=2, seed=0, start=0, workers=0, pin=False)
    images = next(iter(loader)).images / 255
    with torch.inference_mode():
        targets = {name: gram(f) for name, f in vgg(load_style(config.style, 0).image, STYLE_LAYERS).items()}
        with bounded_features(network) as bounded:
            stylized = network(images)
        quarter, half, full = 4 * config.width, 2 * config.width, config.width
        assert [f.shape[1] for f in bounded] == [
            *[quarter] * 10,
            half,
            full,
            3,
        ]  # of the residual blocks, after them, and logits
        features = vgg(stylized, STYLE_LAYERS)
        content = content_loss(features[CONTENT_LAYER], vgg(images, [CONTENT_LAYER])[CONTENT_LAYER])
    row = losses(settings["out"] / "paint_losses.csv")[0]
    style, spikes = style_loss(features, targets), spike_loss(bounded)
    for name, value in (("content", content), ("style", style), ("tv", tv_loss(stylized)), ("spikes", spikes)):
        assert row[name] == pytest.approx(value.item(), rel=1e-3)


def test_black_pixels_have_a_gradient() -> None:
    """Of pixels that too large a step has made black, a loss on pixels has no gradient any more, but spikes have."""
    network = load_checkpoint(shipped_styles()["hosi"].path).network().train()
    bias = network.layer[-2].bias
    with torch.no_grad():
        bias -= 60
    with bounded_features(network) as bounded:
        black = network(load_photograph(PACKAGED / "cat.jpg", 64))
    of_pixels, of_spikes = (torch.autograd.grad(x, bias, retain_graph=True)[0] for x in (black.sum(), spike_loss(bounded)))
    assert of_pixels.abs().max() < 1e-9
    assert of_spikes.max() < -1  # a step against it makes every colour lighter


@pytest.mark.slow
def test_same_seed_same_weights(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["steps"] = 3  # the last one lies in the second epoch
    first = fit(FitConfig(**settings)).checkpoint
    torch.rand(3)  # the caller's own random numbers do not matter
    for workers in (0, 2):
        again = fit(FitConfig(**{**settings, "out": tmp_path / f"again{workers}", "workers": workers})).checkpoint
        assert same(first, again)
    other = fit(FitConfig(**{**settings, "out": tmp_path / "other", "seed": 1})).checkpoint
    assert not same(first, other)


#: What is off in `settings`: with it, a training has as much to remember as it can have.
EVERYTHING = {
    "optimizer": "muon", "learning_rate": 1e-2, "stability_weight": 6.0, "shift_share": 0.5, "patience": 25, "crop_size": 64,
    "small_crops": 0.5,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["plain", "everything"])
def test_interrupted_and_resumed_is_uninterrupted(settings: dict[str, Any], tmp_path: Path, more: dict[str, Any]) -> None:
    settings |= more
    whole = fit(FitConfig(**settings))
    out = tmp_path / "parts"
    steps: list[int] = []
    part = fit(FitConfig(**{**settings, "out": out}), progress=lambda p: steps.append(p.step), stop=lambda: 3 in steps)
    assert part.interrupted
    assert part.step == 3
    said: list[str] = []
    rest = fit(FitConfig(**{**settings, "out": out, "resume": True}), message=said.append)
    assert not rest.interrupted
    assert "step 3" in said[0]
    assert same(whole.checkpoint, rest.checkpoint)
    assert (out / "paint_losses.csv").read_text() == (settings["out"] / "paint_losses.csv").read_text()


@pytest.mark.slow
def test_resume_of_nothing_starts_and_of_something_else_is_refused(settings: dict[str, Any]) -> None:
    said: list[str] = []
    fit(FitConfig(**{**settings, "steps": 1, "resume": True}), message=said.append)
    assert "starting anew" in said[0]
    with pytest.raises(StylebatchError, match=r"`style_weight` 5\.0, not 7\.0"):
        fit(FitConfig(**{**settings, "resume": True, "style_weight": 7.0}))


@pytest.mark.slow
def test_init_starts_from_a_checkpoint(settings: dict[str, Any], checkpoint: Path) -> None:
    still = fit(
        FitConfig(**{**settings, "steps": 1, "learning_rate": 1e-12, "width": 8, "init": str(checkpoint)})
    ).checkpoint
    for key, tensor in weights(still).items():
        assert_close(tensor, weights(checkpoint)[key])


@pytest.mark.slow
def test_another_width_starts_from_random_weights_or_its_own(settings: dict[str, Any], tmp_path: Path) -> None:
    narrow = load_checkpoint(fit(FitConfig(**{**settings, "steps": 1, "width": 8, "init": "none"})).style)
    assert narrow.width == 8
    assert narrow.metadata["width"] == "8"
    with torch.inference_mode():
        assert narrow.network()(torch.rand(1, 3, 16, 24)).shape == (1, 3, 16, 24)
    again = {**settings, "out": tmp_path / "again", "steps": 1, "init": str(settings["out"] / "paint.safetensors")}
    assert load_checkpoint(fit(FitConfig(**{**again, "width": 8})).style).width == 8
    with pytest.raises(StylebatchError, match="is a network of width 8; give a `width` of 8, or a start of width 16"):
        fit(FitConfig(**{**again, "out": tmp_path / "other"}))
    with pytest.raises(StylebatchError, match=r"there is no base network of width 7, but of .*32; `init` none"):
        fit(FitConfig(**{**again, "out": tmp_path / "other", "width": 7, "init": "nearest"}))


@pytest.mark.slow
def test_it_starts_from_the_base_and_says_so(settings: dict[str, Any]) -> None:
    style = fit(FitConfig(**{**settings, "steps": 1, "learning_rate": 1e-12, "init": "base"})).style
    assert style == settings["out"] / "paint.safetensors"
    base, trained = load_checkpoint(base_of(FitConfig(**settings).width)), load_checkpoint(style)
    assert trained.metadata["base"] == base.digest
    for key, tensor in base.model.items():
        assert_close(trained.model[key], tensor)


@pytest.mark.slow
def test_it_starts_from_the_nearest_network_and_remembers_it(settings: dict[str, Any]) -> None:
    """The painting is one that *wave* made of a photograph: of all networks, *wave* is nearest to it."""
    with torch.inference_mode():
        painting = load_network("wave").network()(load_photograph(PACKAGED / "palace.jpg", 256))
    to_image(painting).save(settings["style"])
    settings |= {"crop_size": 64, "batch_size": 1, "steps": 2}
    del settings["init"]
    said: list[str] = []
    steps: list[int] = []
    fit(FitConfig(**settings), progress=lambda p: steps.append(p.step), message=said.append, stop=lambda: 1 in steps)
    assert said == ["starting from wave, the nearest network to paint.png"]
    result = fit(FitConfig(**settings, resume=True), message=said.append)
    assert len(said) == 2
    assert "resumed" in said[1]
    metadata = load_checkpoint(result.checkpoint).metadata
    assert metadata["init"] == "wave"
    assert metadata["base"] == load_checkpoint(base_of(FitConfig(**settings).width)).digest


@pytest.mark.slow
def test_flat_validation_cools_down_and_stops(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """At a rate of nearly nothing no validation is better than the first: with one each 2 steps and a patience of 4, step 6
    is the last on the planned way."""
    monkeypatch.setattr("trainer.schedule.VALIDATE_EVERY", 2)
    said: list[str] = []
    config = FitConfig(**{**settings, "steps": 40, "learning_rate": 1e-9, "patience": 4})
    result = fit(config, message=said.append)
    assert result.step == result.steps == 12
    assert any("flat since step 2: cooling down, the last step is 12 instead of 40" in line for line in said)
    rates = [row["learning_rate"] for row in losses(settings["out"] / "paint_losses.csv")]
    left = [(34 / (COOLING * 40)) ** POWER * ((6 - step) / 6) ** POWER for step in range(6)]
    assert rates[6:] == pytest.approx([config.learning_rate * share for share in left], rel=1e-4)
    assert load_checkpoint(result.checkpoint).metadata["step"] == result.step


@pytest.mark.slow
def test_patience_begins_after_the_small_crops(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, with 4 of 20 steps on small crops and a patience of 2: the first validation is after step 6, and step 8 is
    the last on the planned way."""
    monkeypatch.setattr("trainer.schedule.VALIDATE_EVERY", 2)
    shared = {"steps": 20, "learning_rate": 1e-9, "patience": 2}
    assert fit(FitConfig(**{**settings, **shared, "crop_size": 64, "small_crops": 0.2})).steps == 16
    rows = losses(settings["out"] / "paint_losses.csv")
    assert [row["step"] for row in rows if not math.isnan(row["validation"])] == [6, 8, 10, 12, 14, 16]


@pytest.mark.slow
def test_photographs_are_held_out(
    settings: dict[str, Any], photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of four: three steps an epoch. Its loss is that of the network, computed here."""
    monkeypatch.setattr("trainer.schedule.VALIDATE_EVERY", 3)
    content = photos(*(f"{i}.jpg" for i in range(4)), size=(40, 40), folder="four")
    result = fit(FitConfig(**{**settings, "content": content, "patience": 50, "steps": 3, "batch_size": 1}))
    rows = losses(settings["out"] / "paint_losses.csv")
    assert [row["epoch"] for row in rows] == [1, 1, 1]
    assert [math.isnan(row["validation"]) for row in rows] == [True, True, False]
    held_out, _ = load_middles([content / "2.jpg"], 1, 32)
    sample, _ = load_middles(sorted(content.iterdir()), 4, 32)
    objective = Objective(FitConfig(**settings), VGG16(), load_style(settings["style"], 0), sample)
    with torch.inference_mode():
        total = objective(load_checkpoint(result.checkpoint).network()(held_out), objective.target(held_out))["total"]
    assert rows[-1]["validation"] == pytest.approx(float(total), rel=1e-3)


@pytest.mark.slow
def test_stability_is_learned(settings: dict[str, Any]) -> None:
    """The same training with and without it, judged on a motion that neither has seen. It goes on from a style that is good
    at what it learns: in the first steps towards another one, how much a picture shimmers is chance."""
    settings |= {
        "style": Path(__file__).parent / "data" / "cat_hosi.png", "content": PACKAGED, "init": "hosi", "style_weight": None,
        "steps": 12, "crop_size": 96, "batch_size": 1, "optimizer": "muon", "learning_rate": 0.02,
    }  # fmt: skip
    photograph = load_photograph(PACKAGED / "coffee.jpg", 128)
    errors = []
    for weight in (0.0, 2000.0):
        result = fit(FitConfig(**{**settings, "stability_weight": weight, "out": settings["out"] / str(weight)}))
        errors.append(stability_error(load_checkpoint(result.checkpoint).network(), photograph, seed=9))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.slow
def test_each_second_step_judges_the_mean_of_four_passes(settings: dict[str, Any], tmp_path: Path) -> None:
    """Of random weights, passes that lie elsewhere on the grid differ: their mean is smoother. Other steps are as ever."""
    settings |= {"learning_rate": 1e-12, "steps": 2, "crop_size": 64}
    fit(FitConfig(**settings))
    fit(FitConfig(**{**settings, "shift_share": 0.5, "out": tmp_path / "shifted"}))
    alone, shifted = (losses(out / "paint_losses.csv") for out in (settings["out"], tmp_path / "shifted"))
    assert shifted[0]["total"] == alone[0]["total"]
    assert shifted[1]["tv"] < 0.95 * alone[1]["tv"]
    assert alone[1]["lattice"] > 0
    assert shifted[1]["lattice"] == pytest.approx(alone[1]["lattice"])  # of the one pass, which is the one that is used


@pytest.mark.parametrize(("share", "steps"), [(0, []), (0.3, [4, 7, 10]), (0.5, [2, 4, 6, 8, 10]), (1, [*range(1, 11)])])
def test_steps_that_judge_four_passes_are_spread_evenly(tmp_path: Path, share: float, steps: list[int]) -> None:
    config = FitConfig(style=tmp_path, shift_share=share)
    assert [step for step in range(1, 11) if draw(torch.Size((1, 3, 32, 32)), config, step - 1).shifts] == steps


@pytest.mark.slow
def test_the_first_steps_have_small_crops(settings: dict[str, Any]) -> None:
    """Total variation is a sum over pixels: of a quarter of them, about a quarter."""
    fit(FitConfig(**{**settings, "learning_rate": 1e-12, "steps": 4, "crop_size": 64, "small_crops": 0.5}))
    tv = [row["tv"] for row in losses(settings["out"] / "paint_losses.csv")]
    assert tv[0] + tv[1] == pytest.approx((tv[2] + tv[3]) / 4, rel=0.5)


@pytest.mark.slow
def test_divergence_rolls_back_and_lowers_the_rate(settings: dict[str, Any]) -> None:
    """A rate at which weight decay turns into growth, beyond fp32 within the run; a four-thousandth of it still computes."""
    said: list[str] = []
    result = fit(FitConfig(**{**settings, "learning_rate": 1e7, "schedule": "constant"}), message=said.append)
    assert result.step == 5
    assert any("diverged" in line and "divided by 4" in line for line in said)
    assert all(tensor.isfinite().all() for tensor in weights(result.checkpoint).values())
    with pytest.raises(StylebatchError, match="diverges at any learning rate"):
        fit(FitConfig(**{**settings, "learning_rate": 1e30, "schedule": "constant", "overwrite": True}))


@pytest.mark.slow
def test_broken_photographs_are_told_once(settings: dict[str, Any]) -> None:
    broken = settings["content"] / "a.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    said: list[str] = []
    fit(FitConfig(**settings), message=said.append)
    assert len([line for line in said if "a.jpg" in line]) == 1
    for path in settings["content"].iterdir():
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(StylebatchError, match=r"broken|no content"):
        fit(FitConfig(**settings, overwrite=True))


@pytest.mark.slow
def test_bf16_trains_like_fp32(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["learning_rate"] = 2e-4  # at higher rates the first steps from random weights overshoot, each its own way
    fit(FitConfig(**settings))
    fit(FitConfig(**{**settings, "out": tmp_path / "half", "precision": "bf16"}))
    full, half = (losses(out / "paint_losses.csv") for out in (settings["out"], tmp_path / "half"))
    assert [row["total"] for row in half] == pytest.approx([row["total"] for row in full], rel=0.05)


@pytest.mark.slow
def test_losses_that_are_read_together_are_those_of_each_step(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: checkpoints, validations and stops come at the same steps, with the same bytes."""
    more = {**settings, "steps": 7, "checkpoint_steps": 4, "patience": 50}
    fit(FitConfig(**more))
    monkeypatch.setattr("trainer.fit.steps_at_once", lambda _: 3)
    told: list[Any] = []
    fit(FitConfig(**{**more, "out": tmp_path / "together"}), progress=told.append)
    assert [progress.step for progress in told if not progress.stage] == list(range(1, 8))
    names = sorted(path.name for path in settings["out"].iterdir())
    assert names == sorted(path.name for path in (tmp_path / "together").iterdir())
    for name in names:
        if name.endswith(".pth"):
            assert same(settings["out"] / name, tmp_path / "together" / name)
    csvs = [losses(folder / "paint_losses.csv") for folder in (settings["out"], tmp_path / "together")]
    assert str(csvs[0]) == str(csvs[1])
    told.clear()
    stopped = fit(
        FitConfig(**{**more, "out": tmp_path / "stopped"}), stop=lambda: any(progress.step == 3 for progress in told),
        progress=told.append,
    )  # fmt: skip
    assert stopped.interrupted
    assert len(losses(tmp_path / "stopped" / "paint_losses.csv")) == stopped.step
    monkeypatch.setattr("trainer.fit.steps_at_once", lambda _: 7)
    said: list[str] = []
    with pytest.raises(StylebatchError, match="diverges at any learning rate"):
        fit(
            FitConfig(**{**settings, "out": tmp_path / "diverged", "learning_rate": 1e30, "schedule": "constant"}),
            message=said.append,
        )
    assert any("diverged" in line and "back to step 0" in line for line in said)


@pytest.mark.slow
def test_a_step_that_overflows_in_fp16_is_none() -> None:
    network = TransNet("reflect", 4)
    state = State(network, torch.optim.SGD(network.parameters()), torch.amp.GradScaler("cpu", init_scale=2.0**126))
    before = copy.deepcopy(network.state_dict())
    state.differentiate(network(torch.rand(1, 3, 16, 16)).sum() * 1e6)
    assert not state.descend(0.1)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    while not state.descend(0.1):
        assert not state.out_of_scale
        state.differentiate(network(torch.rand(1, 3, 16, 16)).sum() * 1e6)
    assert not torch.equal(network.layer[0].weight, before["layer.0.weight"])


@requires_cuda
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_precisions_train_alike_on_cuda(settings: dict[str, Any], tmp_path: Path, optimizer: str) -> None:
    """By graphs, with both sizes of crops and all losses; no step is lost."""
    more = {
        **settings,
        "steps": 40,
        "device": "cuda",
        "crop_size": 128,
        "style_size": 96,
        "small_crops": 0.5,
        "init": "base",
    }
    more |= {"optimizer": optimizer, "learning_rate": 4e-2 if optimizer == "muon" else 2e-3, "stability_weight": 10.0}
    totals = {}
    for precision in ("fp32", "bf16", "fp16"):
        fit(FitConfig(**{**more, "out": tmp_path / precision, "precision": precision}))
        rows = losses(tmp_path / precision / "paint_losses.csv")
        assert [row["step"] for row in rows] == list(range(1, 41))
        totals[precision] = sum(row["total"] for row in rows[-10:])
    assert totals["bf16"] == pytest.approx(totals["fp32"], rel=0.05)
    assert totals["fp16"] == pytest.approx(totals["fp32"], rel=0.05)


@requires_cuda
def test_a_captured_step_gives_the_gradients_of_its_operations(
    settings: dict[str, Any],
) -> None:
    config = FitConfig(**{**settings, "device": "cuda", "stability_weight": 10.0})
    network = TransNet("reflect", 8).cuda()

    def differentiate(images: torch.Tensor, draws: Draws) -> torch.Tensor:
        network.zero_grad(set_to_none=True)
        painted = paint(network, images.float() / 255, draws)
        loss = painted.judged.square().mean() + painted.difference()
        loss.backward()
        return loss.detach()[None]

    replay = Replay(differentiate, list(network.parameters()), torch.device("cuda"))
    for step in range(8):
        images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8).cuda()
        draws = draw(images.shape, config, step).to(images.device)
        expected = differentiate(images, draws).clone()
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        assert_close(replay(images, draws), expected)
        for p, gradient in zip(network.parameters(), gradients, strict=True):
            assert p.grad is not None
            assert_close(p.grad, gradient)
    assert replay.enabled
    assert len(replay._captured) == 1


@requires_cuda
def test_fp16_with_loss_scaling_on_cuda(settings: dict[str, Any]) -> None:
    result = fit(FitConfig(**{**settings, "steps": 40, "device": "cuda", "precision": "fp16", "checkpoint_steps": 100}))
    rows = losses(settings["out"] / "paint_losses.csv")
    assert rows[-1]["style"] < rows[0]["style"]
    assert load_checkpoint(result.checkpoint).training["scaler"]["scale"] > 0


def test_article_checkpoints_resume_nothing_of_ours(settings: dict[str, Any], checkpoint: Path) -> None:
    settings["out"].mkdir()
    save_pth(load_checkpoint(checkpoint), settings["out"] / "paint_trans_net_30.pth")
    with pytest.raises(StylebatchError, match="cannot be resumed"):
        fit(FitConfig(**{**settings, "resume": True}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps 0: must be at least 1"),
        ({"batch_size": 0}, "batch size 0"),
        ({"crop_size": 8}, "crop size 8: must be at least 32"),
        ({"learning_rate": 0.0}, "learning rate 0: must be above 0"),
        ({"style_weight": -1.0}, "style weight -1"),
        ({"tv_weight": float("nan")}, "tv weight nan"),
        ({"content_weight": 0.0, "style_weight": 0.0}, "nothing to learn"),
        ({"style_size": 20}, "style size 20"),
        ({"small_crops": 1.5}, "small crops 1.5: must be from 0 to 1"),
        ({"width": 0}, "width 0: must be from 1 to 128"),
        ({"width": 200}, "width 200: must be from 1 to 128"),
        ({"padding_mode": "mirror"}, "padding mode mirror: unknown; choose from reflect, zeros"),
    ],
)
def test_impossible_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StylebatchError, match=message):
        FitConfig(style=Path("s.png"), **change)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none(settings: dict[str, Any]) -> None:
    with pytest.raises(StylebatchError, match="no CUDA GPU here"):
        fit(FitConfig(**{**settings, "device": "cuda"}))
