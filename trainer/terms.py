"""The losses that a training adds up, each named once: the columns of the CSV, the losses in checkpoints and `Progress`, and
the table in docs/training.md follow from `TERMS`.

To add one: write its function in `losses.py`, its entry here, and its weight in `FitConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

from trainer.config import CONTENT_LAYER
from trainer.grain import lattice_loss
from trainer.losses import content_loss, palette_loss, shading_loss, spike_loss, style_loss, tv_loss
from trainer.step import Painted

_Seen = TypeVar("_Seen")


class Target(NamedTuple):
    """What stylized pictures should keep of N photographs.

    Attributes:
        content: N×C×h×w, features of the content layer.
        shading: N×h×w, their coarse light and dark.
    """

    content: Tensor
    shading: Tensor


class Judged(NamedTuple):
    """N×3×H×W pictures in [0,1], their features by layer of the loss network, and what they are compared with: the target of
    their photographs, the painting's Gram matrices by layer and its palette."""

    picture: Tensor
    features: dict[str, Tensor]
    target: Target
    grams: dict[str, Tensor]
    palette: Tensor


@dataclass(frozen=True)
class Term(Generic[_Seen]):
    """One loss.

    Attributes:
        name: its column in the CSV.
        weight: the field of `FitConfig` that it is multiplied by.
        about: what it compares or looks at.
        loss: a scalar, averaged over the batch.
        scaled: whether the weight is relative to the content's scale (`Objective.scale`).
        costly: whether it is left out where its weight is 0, and told as 0.
    """

    name: str
    weight: str
    about: str
    loss: Callable[[_Seen], Tensor]
    scaled: bool = False
    costly: bool = False


#: Of pictures, whoever made them: validations and Gatys' optimisation have them too.
PICTURE_TERMS: tuple[Term[Judged], ...] = (
    Term("content", "content_weight", "features of the picture and of its photograph",
         lambda seen: content_loss(seen.features[CONTENT_LAYER], seen.target.content)),
    Term("style", "style_weight", "Gram matrices of features of the picture and of the painting",
         lambda seen: style_loss(seen.features, seen.grams)),
    Term("palette", "palette_weight", "colours of the picture and of the painting",
         lambda seen: palette_loss(seen.picture, seen.palette), scaled=True, costly=True),
    Term("shading", "shading_weight", "coarse light and dark of the picture and of its photograph",
         lambda seen: shading_loss(seen.picture, seen.target.shading), scaled=True),
    Term("tv", "tv_weight", "neighbouring pixels of the picture (total variation)",
         lambda seen: tv_loss(seen.picture)),
)  # fmt: skip
#: Of how the network came to its pictures in a step. All of them are scaled.
STEP_TERMS: tuple[Term[Painted], ...] = (
    Term("spikes", "spike_weight", "normalised features and logits of the network, beyond ±4",
         lambda painted: spike_loss(painted.bounded), scaled=True, costly=True),
    Term("lattice", "lattice_weight", "energy of the picture that repeats every 4 px, over that around",
         lambda painted: lattice_loss(painted.stylized), scaled=True, costly=True),
    Term("stability", "stability_weight", "the pictures of two frames of a made-up motion",
         lambda painted: painted.difference(), scaled=True, costly=True),
)  # fmt: skip

TERMS: tuple[Term[Any], ...] = (*PICTURE_TERMS, *STEP_TERMS)
#: Their weighted sum.
TOTAL = "total"
#: What the CSV has of each step, in this order.
LOSSES = (*(term.name for term in TERMS), TOTAL)
#: Those that progress bars show and curves are drawn of.
SHOWN = ("content", "style", TOTAL)
