"""TransNet rewritten for inference: the same function as a list of stages, with fewer multiplications.

Three identities, exact but for rounding:

- *Nearest ×2, then 3×3.* The four output pixels around a corner of the small picture see the same 2×2 of its pixels, so one
  2×2 convolution makes all four as channels, and a pixel shuffle (Shi et al., arXiv 1609.05158, section 3.2) lays them out:
  4/9 of the multiplications, and no enlarged copy of the input in memory.
- *Three output channels.* They would use three of a vector's eight or sixteen lanes. A 10×10 convolution of stride 2 makes
  2×2 output pixels as twelve channels: more multiplications, less time.
- *Pixels around zero.* The first normalisation takes out whatever is constant over a picture. If that is taken out of the
  pixels before, in whole levels, and they are scaled by 1/256 instead of 1/255, they are exact in bfloat16, and what the
  first convolution makes of them is rounded by the picture's contrast, not its brightness: on even skies 42 dB against
  fp32, where it was 36.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from stylebatch.transnet import ResBlock, TransNet

#: InstanceNorm2d's, which the network trained with.
EPSILON = 1e-5
#: What the first stage takes of a pixel in [0,1].
PIXEL_SCALE = 255 / 256
#: Pixels by which a picture goes on beyond its borders while it is painted. As far as that lie what networks paint next to
#: the borders of what they see: lines, lighter or darker (docs/styles.md, "Borders").
_BEYOND = 8


@dataclass(frozen=True)
class Stage:
    """One convolution with all that surrounds it: pad, convolve, shuffle, crop, normalise, add, activate.

    Attributes:
        kernel: O×I×K×K; with `shuffle`, the O = 4·C channels are C for each of the 2×2 output pixels, row by row.
        bias: O values; None before a normalisation, which would take it out again.
        stride: of the convolution.
        padding: pixels added to each side of the input.
        padding_mode: what they hold.
        shuffle: whether each position becomes 2×2 pixels.
        crop: pixels taken from each side after that.
        beyond: pixels by which pictures are to go on, by their reflection, beyond each border, of the first stage.
        centred: whether its input has been made to lie around zero. Not before a padding with zeros: it would change them.
        residual: whether what went into the stage before is added after the normalisation.
        last: a sigmoid ends the network; all others normalise and end in a ReLU.
    """

    kernel: Tensor
    bias: Tensor | None = None
    stride: int = 1
    padding: int = 1
    padding_mode: Literal["reflect", "replicate", "zeros"] = "reflect"
    shuffle: bool = False
    crop: int = 0
    beyond: int = 0
    centred: bool = False
    residual: bool = False
    last: bool = False

    @property
    def channels(self) -> int:
        """Of the output."""
        return self.kernel.shape[0] // (4 if self.shuffle else 1)

    def output_size(self, size: int) -> int:
        """Height or width of the output for that of the input."""
        positions = (size + 2 * self.padding - self.kernel.shape[-1]) // self.stride + 1
        return positions * (2 if self.shuffle else 1) - 2 * self.crop

    def to(self, device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format) -> Stage:
        kernel = self.kernel.to(device, dtype, memory_format=memory_format)
        return replace(self, kernel=kernel, bias=None if self.bias is None else self.bias.to(device, dtype))


def as_stages(network: TransNet) -> list[Stage]:
    """The network as stages, in its own dtype. They take N×3×H×W whose H and W are multiples of 4, from 8 up, of pixels in
    [0,1] less a constant by channel if the first is `centred`, times `PIXEL_SCALE`."""
    stages: list[Stage] = []
    enlarged = False
    for layer in network.layer:
        if isinstance(layer, nn.Conv2d):
            stage = _stage(layer)
            stages.append(_after_upsampling(stage) if enlarged else stage)
        elif isinstance(layer, ResBlock):
            first, second = (inner for inner in layer.layer if isinstance(inner, nn.Conv2d))
            stages += [_stage(first), replace(_stage(second), residual=True)]
        enlarged = isinstance(layer, nn.Upsample)
    stages[0] = replace(stages[0], kernel=stages[0].kernel / PIXEL_SCALE, centred=stages[0].padding_mode != "zeros")
    stages[-1] = _two_by_two_outputs(replace(stages[-1], last=True))
    return stages


def beyond_borders(stages: list[Stage]) -> list[Stage]:
    """The stages, for pictures that go on beyond their borders. Not those of a network that pads with zeros, as the
    article's do, whose checkpoints give their own output."""
    first, *others = stages
    return [replace(first, beyond=0 if first.padding_mode == "zeros" else _BEYOND), *others]


def levels_to_subtract(pixels: Tensor, first: Stage) -> Tensor:
    """The whole levels to take from N×H×W×3 integer pixels: about the mean of each picture's channels, N×1×1×3, fp32. Any
    constant would do, so a 64th of the pixels is asked: of all, it would take as long as a tenth of the network."""
    mean = pixels[:, ::8, ::8].float().mean((1, 2), keepdim=True).round()
    return mean if first.centred else torch.zeros_like(mean)


def _stage(layer: nn.Conv2d) -> Stage:
    return Stage(
        layer.weight.detach(),
        bias=None if layer.bias is None else layer.bias.detach(),
        stride=layer.stride[0],
        padding=int(layer.padding[0]),
        padding_mode="zeros" if layer.padding_mode == "zeros" else "reflect",
    )


def _after_upsampling(stage: Stage) -> Stage:
    """Nearest ×2 and a 3×3 convolution as one 2×2 convolution of the small picture.

    Its position i, between small rows i-1 and i, makes the large rows 2i-1 and 2i. Of the three kernel rows, the first two
    fall on small row i-1 for the one and the last two on small row i for the other. The reflection of the large picture's
    border is its first row once more, that is, a replication of the small picture's.
    """
    shared = torch.tensor([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]], dtype=stage.kernel.dtype)
    kernel = torch.einsum("pak,qbl,oikl->pqoiab", shared, shared, stage.kernel)
    mode: Literal["replicate", "zeros"] = "zeros" if stage.padding_mode == "zeros" else "replicate"
    return replace(stage, kernel=kernel.flatten(0, 2).contiguous(), padding_mode=mode, shuffle=True, crop=1)


def _two_by_two_outputs(stage: Stage) -> Stage:
    """A convolution of stride 1 as one of stride 2, whose kernel, shifted, stands there four times."""
    out_channels, in_channels, height, width = stage.kernel.shape
    kernel = stage.kernel.new_zeros(2, 2, out_channels, in_channels, height + 1, width + 1)
    for row in (0, 1):
        for column in (0, 1):
            kernel[row, column, :, :, row : row + height, column : column + width] = stage.kernel
    bias = None if stage.bias is None else stage.bias.repeat(4)
    return replace(stage, kernel=kernel.flatten(0, 2), bias=bias, stride=2, shuffle=True)
