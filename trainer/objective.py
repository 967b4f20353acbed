"""What a training minimises, and Gatys' optimisation with it: the losses with their targets and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.config import CONTENT_LAYER, STYLE_LAYERS, FitConfig
from trainer.content import StylePicture
from trainer.losses import content_loss, gram, palette, palette_loss, shading, shading_loss, style_loss, tv_loss
from trainer.vgg import VGG16

#: What a relative style loss (1 on the photographs themselves) costs against a relative content loss (1 for features that
#: carry no more than their mean) at `--style-strength 1`. On The Starry Night this is Johnson's 1 : 5.
BALANCE = 50.0


@dataclass(frozen=True)
class Losses:
    """Scalars, averaged over a batch. `total` is the weighted sum of the others."""

    content: Tensor
    style: Tensor
    palette: Tensor
    shading: Tensor
    tv: Tensor
    total: Tensor


class Target(NamedTuple):
    """What stylized pictures should keep of N photographs.

    Attributes:
        content: N×C×h×w, features of the content layer.
        shading: N×h×w, light and dark in large.
    """

    content: Tensor
    shading: Tensor


class Objective:
    """Content, shading, style, colours and smoothness of a stylized picture, against one style picture.

    Args:
        config: its weights. Where `style_weight` is None, it is chosen so that paintings of any contrast pull alike:
            both losses are taken relative to what they are on photographs that nobody has stylized. `palette_weight` and
            `shading_weight` are relative to the content's scale likewise.
        vgg: the loss network.
        style: what is to be learned; what is clear of it is not.
        photographs: N×3×S×S in [0,1], a sample of what will be stylized.
    """

    def __init__(self, config: FitConfig, vgg: VGG16, style: StylePicture, photographs: Tensor) -> None:
        self.vgg = vgg
        self.content_weight, self.tv_weight = config.content_weight, config.tv_weight
        with torch.no_grad():
            features = vgg(style.image, STYLE_LAYERS)
            self.targets = {layer: gram(each, style.opacity) for layer, each in features.items()}
            self.palette = palette(style.image, style.opacity)
            scales = [self._scales(photograph[None]) for photograph in photographs]
        content, self.unstylized = (sum(column) / len(scales) for column in zip(*scales, strict=True))
        self.scale: float = (config.content_weight or 1.0) * content
        self.palette_weight, self.shading_weight = config.palette_weight * self.scale, config.shading_weight * self.scale
        automatic = config.style_strength * BALANCE * self.scale / max(self.unstylized, 1e-12)
        self.style_weight = automatic if config.style_weight is None else config.style_weight

    def _scales(self, photograph: Tensor) -> tuple[float, float]:
        """The variance of the content features over the picture, and the style loss of the picture as it is."""
        features = self.vgg(photograph, {CONTENT_LAYER, *STYLE_LAYERS})
        variance = features[CONTENT_LAYER].var((2, 3), unbiased=False).mean()
        return float(variance), float(style_loss(features, self.targets))

    @torch.no_grad()
    def target(self, photographs: Tensor) -> Target:
        """What `__call__` compares the stylized pictures of N×3×H×W photographs in [0,1] with."""
        return Target(self.vgg(photographs, (CONTENT_LAYER,))[CONTENT_LAYER], shading(photographs))

    def __call__(self, stylized: Tensor, target: Target) -> Losses:
        """The losses of N×3×H×W stylized pictures in [0,1] of photographs with that target."""
        features = self.vgg(stylized, {CONTENT_LAYER, *STYLE_LAYERS})
        content = content_loss(features[CONTENT_LAYER], target.content)
        style = style_loss(features, self.targets)
        colours = palette_loss(stylized, self.palette) if self.palette_weight else torch.zeros_like(style)
        shades = shading_loss(stylized, target.shading)
        tv = tv_loss(stylized)
        total = self.content_weight * content + self.style_weight * style + self.tv_weight * tv
        total = total + self.palette_weight * colours + self.shading_weight * shades
        return Losses(content, style, colours, shades, tv, total)

    @torch.no_grad()
    def mean_total(self, network: nn.Module, photographs: Tensor, target: Target) -> float:
        """The mean total of what a network makes of N×3×H×W photographs with that target, one at a time: what a batch of
        all would need in memory is for steps."""
        one_by_one = zip(photographs[:, None], *(part[:, None] for part in target), strict=True)
        totals = [self(network(photograph), Target(*parts)).total for photograph, *parts in one_by_one]
        return float(torch.stack(totals).mean())
