"""What a training minimises, and Gatys' optimisation with it: the losses with their targets and weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.config import CONTENT_LAYER, STYLE_LAYERS, FitConfig
from trainer.losses import content_loss, gram, palette, palette_loss, style_loss, tv_loss
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
    tv: Tensor
    total: Tensor


class Objective:
    """Content, style, colours and smoothness of a stylized picture, against one style picture.

    Args:
        config: its weights. Where `style_weight` is None, it is chosen so that paintings of any contrast pull alike:
            both losses are taken relative to what they are on photographs that nobody has stylized. `palette_weight` is
            relative to the content's scale likewise.
        vgg: the loss network.
        style: 1×3×H×W in [0,1].
        photographs: N×3×S×S in [0,1], a sample of what will be stylized.
    """

    def __init__(self, config: FitConfig, vgg: VGG16, style: Tensor, photographs: Tensor) -> None:
        self.vgg = vgg
        self.content_weight, self.tv_weight = config.content_weight, config.tv_weight
        with torch.no_grad():
            self.targets = {layer: gram(features) for layer, features in vgg(style, STYLE_LAYERS).items()}
            self.palette = palette(style)
            scales = [self._scales(photograph[None]) for photograph in photographs]
        content, self.unstylized = (sum(column) / len(scales) for column in zip(*scales, strict=True))
        self.scale: float = (config.content_weight or 1.0) * content
        self.palette_weight = config.palette_weight * self.scale
        automatic = config.style_strength * BALANCE * self.scale / max(self.unstylized, 1e-12)
        self.style_weight = automatic if config.style_weight is None else config.style_weight

    def _scales(self, photograph: Tensor) -> tuple[float, float]:
        """The variance of the content features over the picture, and the style loss of the picture as it is."""
        features = self.vgg(photograph, {CONTENT_LAYER, *STYLE_LAYERS})
        variance = features[CONTENT_LAYER].var((2, 3), unbiased=False).mean()
        return float(variance), float(style_loss(features, self.targets))

    @torch.no_grad()
    def content(self, images: Tensor) -> Tensor:
        """The content target of N×3×H×W photographs, for `__call__`."""
        features: Tensor = self.vgg(images, (CONTENT_LAYER,))[CONTENT_LAYER]
        return features

    def __call__(self, stylized: Tensor, content: Tensor) -> Losses:
        """The losses of N×3×H×W stylized pictures in [0,1] of photographs with that content."""
        features = self.vgg(stylized, {CONTENT_LAYER, *STYLE_LAYERS})
        content_ = content_loss(features[CONTENT_LAYER], content)
        style = style_loss(features, self.targets)
        colours = palette_loss(stylized, self.palette) if self.palette_weight else torch.zeros_like(style)
        tv = tv_loss(stylized)
        total = self.content_weight * content_ + self.style_weight * style + self.tv_weight * tv
        return Losses(content_, style, colours, tv, total + self.palette_weight * colours)

    @torch.no_grad()
    def mean_total(self, network: nn.Module, photographs: Tensor, content: Tensor) -> float:
        """The mean total of what a network makes of N×3×H×W photographs with that content, one at a time: what a batch of
        all would need in memory is for steps."""
        totals = [self(network(x[None]), c[None]).total for x, c in zip(photographs, content, strict=True)]
        return float(torch.stack(totals).mean())
