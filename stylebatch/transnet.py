"""TransNet, the image transformation network, and nothing else.

Architecture: Johnson et al. 2016 (arXiv 1603.08155, supplementary, table 1) with the refinements of later work:
instance normalisation (Ulyanov et al., arXiv 1607.08022) and nearest upsampling followed by a convolution
(Odena et al. 2016) in place of transposed convolutions. Unlike Johnson's, the residual blocks end in a ReLU, the
convolutions pad, and a sigmoid bounds the output. "The article", here and elsewhere, is named in docs/training.md.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

PaddingMode = Literal["zeros", "reflect"]

#: The two stride-2 convolutions and the two ×2 upsamplings restore a size only when it is a multiple of this.
SIZE_MULTIPLE = 4
#: The article's number of channels at full size.
WIDTH = 32


class ResBlock(nn.Module):
    """Two 3×3 convolutions around a skip connection: N×C×H×W in, N×C×H×W out."""

    def __init__(self, channels: int, padding_mode: PaddingMode) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False, padding_mode=padding_mode),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False, padding_mode=padding_mode),
            nn.InstanceNorm2d(channels),
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.layer(x) + x)
        return y


class TransNet(nn.Module):
    """Feed-forward stylization, one network a style.

    Args:
        padding_mode: "reflect" keeps borders free of dark seams; "zeros" is what the original checkpoints were
            trained with. The weights fit either, but look right only with the mode they were trained with.
        width: channels at full size; twice as many at half of it, four times as many at a quarter. The article has 32.
    """

    def __init__(self, padding_mode: PaddingMode = "reflect", width: int = WIDTH) -> None:
        super().__init__()
        self.padding_mode = padding_mode
        self.width = width
        self.layer = nn.Sequential(
            nn.Conv2d(3, width, 9, 1, 4, bias=False, padding_mode=padding_mode),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False, padding_mode=padding_mode),
            nn.InstanceNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, 2, 1, bias=False, padding_mode=padding_mode),
            nn.InstanceNorm2d(4 * width),
            nn.ReLU(),
            ResBlock(4 * width, padding_mode),
            ResBlock(4 * width, padding_mode),
            ResBlock(4 * width, padding_mode),
            ResBlock(4 * width, padding_mode),
            ResBlock(4 * width, padding_mode),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(4 * width, 2 * width, 3, 1, 1, bias=False, padding_mode=padding_mode),
            nn.InstanceNorm2d(2 * width),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(2 * width, width, 3, 1, 1, bias=False, padding_mode=padding_mode),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 3, 9, 1, 4, padding_mode=padding_mode),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Stylize.

        Args:
            x: N×3×H×W, RGB in [0,1], any floating dtype, H and W from 1 up.

        Returns:
            N×3×H×W, RGB in [0,1], the dtype of x. Sizes that the network cannot keep by itself are padded at the
            bottom and right and cropped back.
        """
        height, width = x.shape[-2:]
        y: Tensor = self.layer(pad_to_multiple(x))
        return y[..., :height, :width]


def width_of(model: dict[str, Tensor]) -> int:
    """The width of the network that a state dict is of."""
    return model["layer.0.weight"].shape[0]


def whole_size(size: int) -> int:
    """The least size, no smaller, that TransNet keeps: a multiple of 4, at least 8."""
    return max(2 * SIZE_MULTIPLE, -(-size // SIZE_MULTIPLE) * SIZE_MULTIPLE)


def pad_to_multiple(x: Tensor, dims: tuple[int, int] = (-2, -1), beyond: int = 0) -> Tensor:
    """Extend height and width at the bottom and right to sizes that TransNet keeps: multiples of 4, at least 8.

    Under 8 pixels the bottleneck would be one pixel wide, which has neither a reflection nor a variance.

    Args:
        x: any dtype and layout.
        dims: which dimensions are height and width.
        beyond: pixels by which to extend all four sides before.
    """
    for dim in dims:
        size = x.shape[dim]
        padded = whole_size(size + 2 * beyond)
        if padded > size:
            index = torch.arange(-beyond, padded - beyond, device=x.device)
            if padded - beyond < 2 * size:
                index = index.abs()
                index = torch.where(index < size, index, 2 * (size - 1) - index)
            x = x.index_select(dim, index.clamp(0, size - 1))
    return x
