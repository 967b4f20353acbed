"""What the network makes of the photographs of one step, for the losses to judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylebatch.transnet import ResBlock, TransNet
from trainer.config import FitConfig
from trainer.grain import random_shifts, shifted_pass
from trainer.stability import Motion, camera_noise

#: The share of made-up frames without a camera's noise: a network that never sees an even sky leaves it unpainted.
CLEAN = 0.5


@dataclass(frozen=True)
class Draws:
    """What is random in a step.

    Attributes:
        motion: of each photograph; None where the stability weight is 0.
        noise: N×3×S×S, the camera's, to be added; None likewise.
        shifts: on the network's grid, of further passes; none in steps of one pass.
    """

    motion: Motion | None
    noise: Tensor | None
    shifts: Sequence[tuple[int, int]]

    def to(self, device: torch.device) -> Draws:
        """On CUDA without waiting for it."""

        def there(tensor: Tensor) -> Tensor:
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        return self._each(there)

    def clone(self) -> Draws:
        return self._each(Tensor.clone)

    def copy_(self, other: Draws) -> None:
        """Take over the numbers of others of the same shapes."""
        if self.motion is not None and other.motion is not None:
            self.motion.grid.copy_(other.motion.grid)
            self.motion.inside.copy_(other.motion.inside)
            self.motion.compared.copy_(other.motion.compared)
        if self.noise is not None and other.noise is not None:
            self.noise.copy_(other.noise)

    def part(self, first: int, last: int) -> Draws:
        """For the photographs from `first` to before `last`."""
        noise = None if self.noise is None else self.noise[first:last]
        return Draws(self.motion and self.motion.part(first, last), noise, self.shifts)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Draws:
        noise = None if self.noise is None else change(self.noise)
        return Draws(self.motion and self.motion.each(change), noise, self.shifts)


@dataclass(frozen=True)
class Painted:
    """Pictures of one step, N×3×S×S in [0,1].

    Attributes:
        photographs: what was stylized, without a camera's noise.
        stylized: what the network made of it, with gradients.
        judged: `stylized`, or its mean with further passes: the picture that losses of pictures are of.
        bounded: what `spike_loss` is to bound.
        before: what the network made of the frame before, without gradients, and how the picture moved since; None where
            the stability weight is 0.
    """

    photographs: Tensor
    stylized: Tensor
    judged: Tensor
    bounded: list[Tensor]
    before: tuple[Tensor, Motion] | None

    def difference(self) -> Tensor:
        """What changed from frame to frame beyond the motion. A scalar, averaged over the batch."""
        assert self.before is not None
        stylized, motion = self.before
        return motion.difference(stylized, self.stylized)


def draw(shape: torch.Size, config: FitConfig, step: int) -> Draws:
    """For N×3×S×S photographs, on the CPU, the same for every device: from the seed and the step alone.

    Args:
        step: how many were taken before this one.
    """
    generator = torch.Generator().manual_seed((config.seed * 1_000_003 + step) % 2**63)
    motion = noise = None
    if config.stability_weight:
        motion = Motion.random(shape, generator)
        noise = camera_noise(shape, generator, CLEAN)
    shifted = int((step + 1) * config.shift_share) > int(step * config.shift_share)
    return Draws(motion, noise, random_shifts(generator) if shifted else ())


def paint(network: TransNet, photographs: Tensor, draws: Draws) -> Painted:
    """Stylize N×3×S×S photographs in [0,1], with what is random on their device."""
    # As a film would show the photographs a frame later. Deviation from the compound regulariser (Wang et al. 2020, arXiv
    # 2003.09871): no gradient goes through the frame before, which saves a backward pass, and the next frame is the one that
    # content and style are learned on.
    frame, before = photographs, None
    if draws.motion is not None and draws.noise is not None:
        with torch.no_grad():
            before = network(photographs), draws.motion
        photographs = draws.motion.warp(photographs)
        frame = (photographs + draws.noise).clamp(0, 1)

    with bounded_features(network) as bounded:
        stylized: Tensor = network(frame)

    # In some steps the mean with further passes is judged, made of the same frame elsewhere on the network's grid: paint
    # that is tied to the grid is lost in it. The gradient is that of the one pass, as if the others moved with it; the
    # mean's own, a quarter of it, would hardly count beside the other steps'.
    judged = stylized
    if draws.shifts:
        with torch.no_grad():
            elsewhere = [shifted_pass(network, frame, *shift) for shift in draws.shifts]
            difference = torch.stack([stylized, *elsewhere]).mean(0) - stylized
        judged = stylized + difference
    return Painted(photographs, stylized, judged, bounded, before)


@contextmanager
def bounded_features(network: TransNet) -> Iterator[list[Tensor]]:
    """Lists, in order of computation, what `spike_loss` is to bound: what the instance normalisations from the first
    residual block on give, and the last convolution, of which the sigmoid makes pixels."""
    features: list[Tensor] = []
    first = next(index for index, layer in enumerate(network.layer) if isinstance(layer, ResBlock))
    norms = [module for module in network.layer[first:].modules() if isinstance(module, nn.InstanceNorm2d)]
    with ExitStack() as hooks:
        for module in (*norms, network.layer[-2]):
            hooks.enter_context(module.register_forward_hook(lambda _module, _input, output: features.append(output)))
        yield features
