from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import picture
from PIL import Image

import trainer.cli
from stylebatch.checkpoint import load_checkpoint, save_safetensors
from stylebatch.errors import StylebatchError
from trainer.config import FitConfig
from trainer.content import load_photograph, load_style
from trainer.evaluate import evaluate, gatys, self_similarity
from trainer.objective import Objective
from trainer.vgg import VGG16


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    picture(96, 80, seed="style").save(tmp_path / "paint.png")
    return tmp_path / "paint.png"


@pytest.mark.slow
def test_optimisation_descends_inside_the_range_of_pixels(painting: Path, photos: Callable[..., Path]) -> None:
    photograph = load_photograph(photos("a.png", size=(72, 64)) / "a.png", 72)
    objective = Objective(FitConfig(style=painting, style_weight=5.0), VGG16(), load_style(painting, 0), photograph)
    target = objective.target(photograph)
    few, more = (gatys(objective, photograph, iterations) for iterations in (3, 12))
    assert few.shape == photograph.shape
    assert 0 <= more.min() < more.max() <= 1
    totals = [float(objective(x, target)["total"]) for x in (photograph, few, more)]
    assert totals[2] < totals[1] < totals[0]


def test_self_similarity_is_of_places_not_of_brightness() -> None:
    features = torch.rand(1, 8, 6, 5, generator=torch.Generator().manual_seed(0))
    similar = self_similarity(features)
    assert similar.shape == (30, 30)
    a, b = features[0, :, 0, 0], features[0, :, 1, 2]
    assert similar[0, 7] == pytest.approx(float(a @ b / a.norm() / b.norm()), rel=1e-5)
    torch.testing.assert_close(self_similarity(3 * features), similar)


@pytest.mark.slow
def test_report(painting: Path, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source, out = photos("a.png", "b.png", size=(150, 140)), tmp_path / "report"
    args = [
        "evaluate", "--style", checkpoint, "--picture", painting, "--photos", source, "--out", out, "--iterations", 2,
        "--size", 140,
    ]  # fmt: skip
    result = CliRunner().invoke(trainer.cli.main, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    assert Path(result.stdout.strip()) == out / "plain.md"
    report = json.loads((out / "plain.json").read_text())
    photographs = report["photographs"]
    for scores in photographs:
        for loss in ("style", "unseen_style", "total"):
            photograph, network, optimised = scores[loss]
            assert scores[f"{loss}_score"] == pytest.approx((photograph - network) / (photograph - optimised))
        for content, style, total in zip(scores["content"], scores["style"], scores["total"], strict=True):
            assert total >= content + report["style weight"] * style
        assert scores["content"][0] == 0
        assert 0 < scores["similarity"] < 2
    scores = sorted(scores["style_score"] for scores in photographs)
    assert report["summary"]["style_score"][0] == pytest.approx(sum(scores) / 2)
    of_four, of_one = (
        sum(values) for values in zip(*((s["shifted_style"], s["style"][1]) for s in photographs), strict=True)
    )
    grain = report["grain"]
    assert grain["style loss of four shifted passes, times"] == pytest.approx(of_four / of_one)
    assert 0.3 < grain["lattice energy"] < grain["lattice energy, highest"]
    with Image.open(out / "plain.jpg") as sheet:
        assert sheet.width > 3 * 320
    # The optimised pictures are kept: the second time they are read, whatever they hold.
    kept = sorted((out / "gatys").iterdir())
    assert len(kept) == 2
    kept[0].write_bytes(kept[1].read_bytes())
    with pytest.raises(StylebatchError, match=r"plain\.json: is there already; `overwrite` replaces it"):
        evaluate(str(checkpoint), painting, source, out=out, iterations=2, size=140)
    evaluate(str(checkpoint), painting, source, out=out, iterations=2, size=140, overwrite=True)
    again = json.loads((out / "plain.json").read_text())["photographs"]
    assert [a["style"][:2] for a in again] == [b["style"][:2] for b in report["photographs"]]
    assert [a["total"][2] for a in again] != [b["total"][2] for b in report["photographs"]]


@pytest.mark.slow
def test_a_style_is_judged_by_the_loss_that_it_was_trained_on(
    painting: Path, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    trained = load_checkpoint(checkpoint)
    trained.metadata["style_weight"] = 7.5
    save_safetensors(trained, tmp_path / "heavy.safetensors")
    report = evaluate(
        str(tmp_path / "heavy.safetensors"), painting, photos("a.png", size=(72, 64)), out=tmp_path, iterations=1, size=72
    )
    assert json.loads(report.with_suffix(".json").read_text())["style weight"] == 7.5
    assert "style weight 7.5" in report.read_text()


def test_bad_input_is_told(painting: Path, tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(StylebatchError, match="`iterations` 0"):
        evaluate(str(checkpoint), painting, tmp_path, iterations=0)
    with pytest.raises(StylebatchError, match="no such folder"):
        evaluate(str(checkpoint), painting, tmp_path / "none", out=tmp_path / "report")
