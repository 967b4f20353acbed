from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import assert_close

from stylebatch.console.options import option_name
from trainer.config import IDENTITY, FitConfig
from trainer.content import StylePicture
from trainer.losses import content_loss, palette, palette_loss, shading, shading_loss, tv_loss
from trainer.objective import BALANCE, Objective
from trainer.terms import LOSSES, STEP_TERMS, TERMS
from trainer.vgg import VGG16


@pytest.fixture(scope="module")
def vgg() -> VGG16:
    return VGG16()


def pictures(n: int, contrast: float = 1.0) -> torch.Tensor:
    return 0.5 + contrast * (torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(n)) - 0.5)


def test_total_is_the_weighted_sum(vgg: VGG16) -> None:
    objective = Objective(
        FitConfig(style=Path("s.png"), style_weight=7.0, tv_weight=1e-3), vgg, StylePicture(pictures(1)), pictures(2)
    )
    photograph, stylized = pictures(3), pictures(3, 0.5)
    target = objective.target(photograph)
    losses = objective(stylized, target)
    others = objective.weights["palette"] * losses["palette"] + objective.weights["shading"] * losses["shading"]
    assert_close(losses["total"], losses["content"] + 7 * losses["style"] + 1e-3 * losses["tv"] + others)
    assert_close(losses["palette"], palette_loss(stylized, palette(pictures(1))))
    assert_close(torch.tensor(objective.weights["palette"]), torch.tensor(80 * objective.scale))
    assert_close(losses["shading"], shading_loss(stylized, shading(photograph)))
    assert_close(torch.tensor(objective.weights["shading"]), torch.tensor(40 * objective.scale))
    assert_close(losses["tv"], tv_loss(stylized))
    assert_close(losses["content"], content_loss(vgg(stylized, ["relu2_2"])["relu2_2"], target.content))


@pytest.mark.parametrize("contrast", [0.2, 1.0])
def test_balance_makes_paintings_pull_alike(vgg: VGG16, contrast: float) -> None:
    """Weighted, the photographs' own style loss is the same share of their content whatever the painting's contrast."""
    photographs = pictures(4)
    objective = Objective(FitConfig(style=Path("s.png")), vgg, StylePicture(pictures(1, contrast)), photographs)
    style = torch.stack([objective(x[None], objective.target(x[None]))["style"] for x in photographs]).mean()
    features = vgg(photographs, ["relu2_2"])["relu2_2"]
    variance = (features - features.mean((2, 3), keepdim=True)).square().mean()
    assert_close(objective.weights["style"] * style, BALANCE * variance)


def test_strength_scales_and_explicit_weights_rule(vgg: VGG16) -> None:
    def weight(**options: float) -> float:
        config = FitConfig(style=Path("s.png"), **options)
        return Objective(config, vgg, StylePicture(pictures(1)), pictures(2)).weights["style"]

    assert weight(style_strength=2.0) == pytest.approx(2 * weight())
    assert weight(content_weight=3.0) == pytest.approx(3 * weight())
    assert weight(content_weight=0.0) == pytest.approx(weight())  # a texture, no photograph
    assert weight(style_strength=2.0, style_weight=5.0) == 5.0


def test_every_loss_has_a_name_and_a_weight_that_identifies_a_training() -> None:
    assert len(set(LOSSES)) == len(LOSSES)
    assert {term.weight for term in TERMS} <= set(IDENTITY)
    assert all(term.scaled for term in STEP_TERMS)  # as `with_step` takes it


def test_the_docs_list_every_loss() -> None:
    page = (Path(__file__).parent.parent / "docs" / "training.md").read_text(encoding="utf-8")
    for term in TERMS:
        row = f"| {term.name} | `{option_name(term.weight)}` | {'yes' if term.scaled else ''} | {term.about} |\n"
        assert row.replace("|  |", "| |") in page
