"""The losses, as functions. Each sums in fp32, also under autocast: Gram sums overflow float16."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stylebatch.pixels import LUMA

#: Colour axes along which palettes are compared: red, green, blue, and thirteen between them.
_AXES = torch.cat([torch.eye(3), F.normalize(torch.randn(13, 3, generator=torch.Generator().manual_seed(0)), dim=1)])
#: About this many pixels of a picture are taken for its palette.
_PALETTE_PIXELS = 8192
#: Shrunk by this factor, a picture shows light and dark but no brush strokes.
_SHADING_SHRINK = 16
#: Beyond this, a normalised feature (in standard deviations) or a logit counts as a spike.
_SPIKE = 4.0


def gram(features: Tensor, opacity: Tensor | None = None) -> Tensor:
    """Gram matrix of each image: inner products of its channels (Gatys et al. 2016, eq. 3; Johnson et al. 2016, eq. 4).

    Args:
        features: N×C×H×W, any floating dtype.
        opacity: N×1×H'×W' in [0,1], larger or as large: how much each place counts; all alike if None.

    Returns:
        N×C×C, fp32 (float64 for float64), divided by C·H·W, or by C and the sum of what places count. The inner products of
        bfloat16 features are rounded to bfloat16 once, after a sum in fp32: a relative 0.4% that no float16 could hold.
    """
    _, c, h, w = features.shape
    with torch.autocast(features.device.type, enabled=False):
        wide = features if features.dtype == torch.bfloat16 else _at_least_fp32(features)
        flat = wide.flatten(2)
        if opacity is None:
            products: Tensor = _InnerProducts.apply(flat)
            return _at_least_fp32(products) / (c * h * w)
        counts = F.interpolate(opacity, (h, w), mode="area").flatten(2).to(flat)
        return _at_least_fp32((flat * counts) @ flat.mT) / (c * _at_least_fp32(counts).sum(2, keepdim=True))


class _InnerProducts(torch.autograd.Function):
    """X·Xᵀ of N×C×P. Its gradient, (G + Gᵀ)·X, is one product of that size; PyTorch's own is two and their sum."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        ctx.save_for_backward(flat)
        products: Tensor = flat @ flat.mT
        return products

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        flat: Tensor = ctx.saved_tensors[0]
        with torch.autocast(flat.device.type, enabled=False):
            return (gradient + gradient.mT) @ flat


def style_loss(features: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Mean squared difference of Gram matrices, summed over layers (Johnson et al. 2016, eq. 5, as a mean over entries).

    Deviation: a Gram matrix belongs to one image. At batch 1 this is the formula that mixes a batch into one
    (N·C)×(N·C) matrix; above, images of a batch do not disturb each other.

    Args:
        features: layer → N×C×H×W of the stylized images.
        targets: layer → 1×C×C or N×C×C, the style's `gram`.

    Returns:
        A scalar, averaged over the batch.
    """
    return torch.stack([_mean_squared(gram(features[layer]), target) for layer, target in targets.items()]).sum()


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of features, N×C×H×W each (Johnson et al. 2016, eq. 2). Returns a scalar."""
    with torch.autocast(features.device.type, enabled=False):
        return _mean_squared(features, target)


def tv_loss(images: Tensor) -> Tensor:
    """Total variation: squared differences of neighbouring pixels on the 0-255 scale, summed over each image.

    Args:
        images: N×3×H×W in [0,1].

    Returns:
        A scalar, averaged over the batch (Johnson et al. 2016, section 3.2; Mahendran & Vedaldi 2015 with β = 2).
    """
    with torch.autocast(images.device.type, enabled=False):
        pixels = _at_least_fp32(images) * 255
        down, right = pixels.diff(dim=-2), pixels.diff(dim=-1)
        return (down.square().sum() + right.square().sum()) / images.shape[0]


def palette(images: Tensor, opacity: Tensor | None = None) -> Tensor:
    """How an image's pixels are distributed along each of 16 colour axes.

    Args:
        images: N×3×H×W in [0,1].
        opacity: 1×1×H×W in [0,1], or None: what is clearer than half of the most opaque has no part in it.

    Returns:
        N×16×P, fp32, sorted, of every k-th pixel. k is odd: an even one would see the same columns of each row.
    """
    with torch.autocast(images.device.type, enabled=False):
        pixels = _at_least_fp32(images).flatten(2)
        if opacity is not None:
            pixels = pixels[:, :, (opacity >= opacity.max() / 2).flatten()]
        every = pixels.shape[2] // _PALETTE_PIXELS | 1
        return (_on(pixels.device, pixels.dtype)[0] @ pixels[:, :, ::every]).sort(dim=2).values


def palette_loss(images: Tensor, target: Tensor) -> Tensor:
    """Sliced Wasserstein distance, squared, between the colours of two pictures (Bonneel et al. 2015; in a loss, Heitz et
    al. 2021, arXiv 2006.07229). Gram matrices alone are satisfied by a few blinding patches.

    Args:
        images: N×3×H×W in [0,1].
        target: 1×16×P, the painting's `palette`, of any P.

    Returns:
        A scalar, averaged over the batch.
    """
    colours = palette(images)
    return _mean_squared(colours, F.interpolate(target.to(colours), colours.shape[2], mode="linear", align_corners=False))


def shading(images: Tensor) -> Tensor:
    """Where an image is light and where dark, coarsely: its luma, shrunk to a sixteenth, less the mean.

    Args:
        images: N×3×H×W in [0,1].

    Returns:
        N×⌈H/16⌉×⌈W/16⌉, fp32.
    """
    with torch.autocast(images.device.type, enabled=False):
        height, width = (-(-side // _SHADING_SHRINK) for side in images.shape[2:])
        # Antialiased, a ripple of 64 px keeps four fifths of its height, one of 20 px a twentieth. In means over squares of
        # 16 px the latter would keep a quarter.
        small = F.interpolate(_at_least_fp32(images), (height, width), mode="bilinear", antialias=True)
        luma = torch.einsum("nchw,c->nhw", small, _on(small.device, small.dtype)[1])
        return luma - luma.mean((1, 2), keepdim=True)


def shading_loss(images: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of `shading`. Gram matrices and palette ask every picture for the painting's darkest and
    lightest, which an even sky would give in patches. Brush strokes are too fine to be seen here.

    Deviation: Li et al. (2017, arXiv 1707.01253) compare Laplacians of pooled pixels, for details; with means
    taken off instead, what is compared is the whole picture's light and dark.

    Args:
        images: N×3×H×W in [0,1].
        target: the `shading` of the photographs.

    Returns:
        A scalar, averaged over the batch.
    """
    return _mean_squared(shading(images), target)


def spike_loss(features: Iterable[Tensor]) -> Tensor:
    """What normalised features and logits of pixels have beyond ±4, squared, as a mean over each tensor, summed.

    A feature that spikes takes the statistics of the instance normalisation and so sets the contrast of everything else: the
    droplets of StyleGAN (Karras et al. 2020, arXiv 1912.04958, section 2). They cure theirs by another normalisation; this
    one leaves the network as it is. A logit beyond ±4, five levels of 255 from black or white, has next to no gradient
    through the sigmoid: what a large step sent there would stay, black, whatever the other losses say.

    Args:
        features: outputs of instance normalisations and what the sigmoid is given, N×C×H×W each.
    """
    return torch.stack([_at_least_fp32(F.softshrink(each, _SPIKE)).square().mean() for each in features]).sum()


@cache
def _on(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The colour axes and luma's weights, brought to a device once: a copy in each step would wait for the steps before."""
    with torch.inference_mode(False):  # an evaluation may ask first, and a training must be able to go through them
        return _AXES.to(device, dtype), torch.from_numpy(LUMA[0]).to(device, dtype)


def _mean_squared(a: Tensor, b: Tensor) -> Tensor:
    return (_at_least_fp32(a) - _at_least_fp32(b)).square().mean()


def _at_least_fp32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
