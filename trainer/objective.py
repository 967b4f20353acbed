"""What a training minimises, and Gatys' optimisation with it: the losses with their targets and weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from trainer.config import CONTENT_LAYER, STYLE_LAYERS, FitConfig
from trainer.content import StylePicture
from trainer.losses import gram, palette, shading, style_loss
from trainer.step import Painted
from trainer.terms import PICTURE_TERMS, STEP_TERMS, TERMS, TOTAL, Judged, Target, Term
from trainer.vgg import VGG16

_Seen = TypeVar("_Seen")

#: What a relative style loss (1 on the photographs themselves) costs against a relative content loss (1 for features that
#: carry no more than their mean) at a style strength of 1. On The Starry Night this is Johnson's 1 : 5.
BALANCE = 50.0


class Objective:
    """The losses of stylized pictures, against one style picture.

    Args:
        config: the weights. Where `style_weight` is None, it is chosen so that paintings of any contrast pull alike: content
            and style are taken relative to what they are on photographs that nobody has stylized.
        vgg: the loss network.
        style: what is to be learned, except where it is transparent.
        photographs: N×3×S×S in [0,1], a sample of what will be stylized.

    Attributes:
        scale: the content loss of features that carry no more than their mean, times the content weight: what scaled terms'
            weights are relative to.
        weights: what each picture term is multiplied by, with the scale; what each step term is, without it.
    """

    def __init__(self, config: FitConfig, vgg: VGG16, style: StylePicture, photographs: Tensor) -> None:
        self.vgg = vgg
        with torch.no_grad():
            self.grams = {layer: gram(each, style.opacity) for layer, each in vgg(style.image, STYLE_LAYERS).items()}
            self.palette = palette(style.image, style.opacity)
            samples = [self._unstylized(photograph[None]) for photograph in photographs]
        variance, unstylized = (sum(column) / len(samples) for column in zip(*samples, strict=True))
        self.scale: float = (config.content_weight or 1.0) * variance
        self.weights: dict[str, float] = {term.name: getattr(config, term.weight) for term in TERMS}
        if config.style_weight is None:
            self.weights["style"] = config.style_strength * BALANCE * self.scale / max(unstylized, 1e-12)
        for term in PICTURE_TERMS:
            if term.scaled:
                self.weights[term.name] *= self.scale
        self._zero = torch.zeros((), device=style.image.device)

    @property
    def gradient_scale(self) -> float:
        """What brings a training's first total near 2¹⁶, the largest power of two in fp16: so much are losses multiplied by
        there before they are differentiated, and no gradient is lost to the format's range."""
        return float(2.0 ** round(16 - math.log2(max(self.scale * BALANCE, 1e-12))))

    def _unstylized(self, photograph: Tensor) -> tuple[float, float]:
        """The variance of the content features over the picture, and the style loss of the picture as it is."""
        features = self.vgg(photograph, {CONTENT_LAYER, *STYLE_LAYERS})
        variance = features[CONTENT_LAYER].var((2, 3), unbiased=False).mean()
        return float(variance), float(style_loss(features, self.grams))

    @torch.no_grad()
    def target(self, photographs: Tensor) -> Target:
        """What `__call__` compares the stylized pictures of N×3×H×W photographs in [0,1] with."""
        return Target(self.vgg(photographs, (CONTENT_LAYER,))[CONTENT_LAYER], shading(photographs))

    def __call__(self, stylized: Tensor, target: Target) -> dict[str, Tensor]:
        """The picture terms of N×3×H×W stylized pictures in [0,1] of photographs with that target, unweighted scalars, and
        their weighted "total"."""
        features = self.vgg(stylized, {CONTENT_LAYER, *STYLE_LAYERS})
        losses = self._losses(PICTURE_TERMS, Judged(stylized, features, target, self.grams, self.palette))
        # Sums round: this order is that of all trainings so far.
        order = sorted(PICTURE_TERMS, key=lambda term: term.scaled)
        return {**losses, TOTAL: self._sum(order, losses)}

    def with_step(self, losses: dict[str, Tensor], painted: Painted) -> dict[str, Tensor]:
        """What `__call__` gave for a step, with the step terms of it, and the total of all."""
        more = self._losses(STEP_TERMS, painted)
        return {**losses, **more, TOTAL: losses[TOTAL] + self.scale * self._sum(STEP_TERMS, more)}

    def _losses(self, terms: Iterable[Term[_Seen]], seen: _Seen) -> dict[str, Tensor]:
        """A costly one of weight 0 is left out."""
        return {term.name: self._zero if term.costly and not self.weights[term.name] else term.loss(seen) for term in terms}

    def _sum(self, terms: Sequence[Term[_Seen]], losses: dict[str, Tensor]) -> Tensor:
        first, *others = (self.weights[term.name] * losses[term.name] for term in terms)
        return sum(others, first)

    @torch.no_grad()
    def mean_total(self, network: nn.Module, photographs: Tensor, target: Target) -> float:
        """The mean total of what a network makes of N×3×H×W photographs with that target, one at a time: what a batch of
        all would need in memory is for steps."""
        one_by_one = zip(photographs[:, None], *(part[:, None] for part in target), strict=True)
        totals = [self(network(photograph), Target(*parts))[TOTAL] for photograph, *parts in one_by_one]
        return float(torch.stack(totals).mean())
