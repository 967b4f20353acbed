"""The losses that a training adds up, each named once: the columns of the CSV, the losses in checkpoints and `Progress`, and
the table in docs/training.md follow from `TERMS`.

To add one: write its function in `losses.py`, its entry here, and its weight in `FitConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

from torch import Tensor

from trainer.config import CONTENT_LAYER
from trainer.losses import content_loss, lattice_loss, palette_loss, shading_loss, spike_loss, style_loss, tv_loss
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


class Painting(NamedTuple):
    """What stylized pictures should have of the painting.

    Attributes:
        grams: style layer → 1×C×C.
        palette: 1×16×P.
    """

    grams: dict[str, Tensor]
    palette: Tensor


class Judged(NamedTuple):
    """N×3×H×W pictures in [0,1], their features by layer of the loss network, and what they are compared with."""

    picture: Tensor
    features: dict[str, Tensor]
    target: Target
    painting: Painting


@dataclass(frozen=True)
class Term(Generic[_Seen]):
    """One loss.

    Attributes:
        name: its column in the CSV.
        weight: the field of `FitConfig` that it is multiplied by.
        about: what it compares or looks at.
        loss: a scalar, averaged over the batch.
        costly: whether it is left out where its weight is 0, and told as 0.
    """

    name: str
    weight: str
    about: str
    loss: Callable[[_Seen], Tensor]
    costly: bool = False


@dataclass(frozen=True)
class PictureTerm(Term[Judged]):
    """Judges a picture, whoever made it: validations and Gatys' optimisation have it too. `scaled` is whether its weight is
    relative to the content's scale (`Objective.scale`)."""

    scaled: bool = False


@dataclass(frozen=True)
class StepTerm(Term[Painted]):
    """Judges how the network came to its pictures in a step."""

    scaled: ClassVar[bool] = True


PICTURE_TERMS = (
    PictureTerm("content", "content_weight", "features of the picture and of its photograph",
                lambda seen: content_loss(seen.features[CONTENT_LAYER], seen.target.content)),
    PictureTerm("style", "style_weight", "Gram matrices of features of the picture and of the painting",
                lambda seen: style_loss(seen.features, seen.painting.grams)),
    PictureTerm("palette", "palette_weight", "colours of the picture and of the painting",
                lambda seen: palette_loss(seen.picture, seen.painting.palette), scaled=True, costly=True),
    PictureTerm("shading", "shading_weight", "coarse light and dark of the picture and of its photograph",
                lambda seen: shading_loss(seen.picture, seen.target.shading), scaled=True),
    PictureTerm("tv", "tv_weight", "neighbouring pixels of the picture (total variation)",
                lambda seen: tv_loss(seen.picture)),
)  # fmt: skip
STEP_TERMS = (
    StepTerm("spikes", "spike_weight", "normalised features and logits of the network, beyond ±4",
             lambda painted: spike_loss(painted.bounded), costly=True),
    StepTerm("lattice", "lattice_weight", "what repeats in the picture every 4 px",
             lambda painted: lattice_loss(painted.stylized)),
    StepTerm("stability", "stability_weight", "the pictures of two frames of a made-up motion",
             lambda painted: painted.difference(), costly=True),
)  # fmt: skip

TERMS: tuple[PictureTerm | StepTerm, ...] = (*PICTURE_TERMS, *STEP_TERMS)
#: Their weighted sum.
TOTAL = "total"
#: What the CSV has of each step, in this order.
LOSSES = (*(term.name for term in TERMS), TOTAL)
#: Those that progress bars show and curves are drawn of.
SHOWN = ("content", "style", TOTAL)
