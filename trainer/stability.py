"""Made-up motion: what a film does to a photograph between two frames, for training and measuring stability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from stylebatch.transnet import TransNet

#: The motion: a shift of the whole picture and a smooth flow, in pixels, and the noise of a camera, on [0,1].
MAX_SHIFT, FLOW, NOISE = 10.0, 2.0, 0.02
#: Pixels between the independent values of the flow.
FLOW_SCALE = 32
#: Next to the border, pixels depend on what a frame does not show: not compared.
BORDER = 16


@dataclass(frozen=True)
class Motion:
    """From one frame to the next.

    Attributes:
        grid: N×H×W×2, where each pixel of the next frame comes from, in `grid_sample`'s units.
        inside: N×1×H×W, 1.0 where that lies in the frame and away from its borders, else 0.0.
        compared: how many pixels are inside, a scalar; of a part of a step's pictures, its part of those of all.
    """

    grid: Tensor
    inside: Tensor
    compared: Tensor

    @classmethod
    def random(cls, shape: torch.Size, generator: torch.Generator) -> Motion:
        """A motion for each of N×3×H×W images: the compound regulariser's flow and shift (Wang et al. 2020, arXiv
        2003.09871, section III-C). On the CPU."""
        n, _, height, width = shape
        coarse = torch.randn(n, 2, height // FLOW_SCALE + 2, width // FLOW_SCALE + 2, generator=generator) * FLOW
        flow = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
        flow = flow + (torch.rand(n, 2, 1, 1, generator=generator) * 2 - 1) * MAX_SHIFT
        x = torch.arange(width).float() + flow[:, 0]
        y = torch.arange(height).float()[:, None] + flow[:, 1]
        inside = (x >= BORDER) & (x <= width - 1 - BORDER) & (y >= BORDER) & (y <= height - 1 - BORDER)
        inside[:, :BORDER], inside[:, -BORDER:], inside[..., :BORDER], inside[..., -BORDER:] = False, False, False, False
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        return cls(grid, inside[:, None].float(), inside.float().sum())

    def each(self, change: Callable[[Tensor], Tensor]) -> Motion:
        """The same of other tensors."""
        return Motion(change(self.grid), change(self.inside), change(self.compared))

    def part(self, first: int, last: int) -> Motion:
        """Of the pictures from `first` to before `last`, so that the mean of parts, weighted by their pictures, is that of
        all."""
        share = (last - first) / len(self.grid)
        return Motion(self.grid[first:last], self.inside[first:last], self.compared * share)

    def warp(self, images: Tensor) -> Tensor:
        """N×C×H×W as the next frame shows it, the same shape, fp32."""
        with torch.autocast(images.device.type, enabled=False):
            return F.grid_sample(images.float(), self.grid, padding_mode="reflection", align_corners=False)

    def difference(self, frame: Tensor, next_frame: Tensor) -> Tensor:
        """Mean squared difference between `frame`, warped, and `next_frame`, N×3×H×W in [0,1], over pixels inside."""
        squared = (self.warp(frame) - next_frame.float()).square().mean(1, keepdim=True)
        return (squared * self.inside).sum() / self.compared.clamp_min(1)


def camera_noise(shape: torch.Size, generator: torch.Generator, clean: float = 0.0) -> Tensor:
    """What a camera adds to N×3×H×W images in [0,1], nothing to a share `clean` of them. On the CPU."""
    level = NOISE * (torch.rand(shape[0], 1, 1, 1, generator=generator) >= clean) if clean else NOISE
    return torch.randn(shape, generator=generator) * level


def with_noise(images: Tensor, generator: torch.Generator, clean: float = 0.0) -> Tensor:
    """N×3×H×W in [0,1] with it."""
    return (images + camera_noise(images.shape, generator, clean).to(images.device)).clamp(0, 1)


@torch.inference_mode()
def stability_error(network: TransNet, photograph: Tensor, *, motions: int = 4, seed: int = 0) -> float:
    """Mean squared difference on [0,1] RGB between warp(network(f)) and network(warp(f) + noise), over random motions.

    Args:
        photograph: 1×3×H×W in [0,1], over 64 px a side.
    """
    generator = torch.Generator().manual_seed(seed)
    stylized, errors = network(photograph), []
    for _ in range(motions):
        motion = Motion.random(photograph.shape, generator).each(lambda tensor: tensor.to(photograph.device))
        errors.append(motion.difference(stylized, network(with_noise(motion.warp(photograph), generator))))
    return float(torch.stack(errors).mean())
