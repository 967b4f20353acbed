"""What the network makes of the photographs of one step, for the losses to judge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylebatch.transnet import ResBlock, TransNet
from trainer.config import FitConfig
from trainer.grain import random_shift, shifted_pass
from trainer.stability import Motion, with_noise

#: The share of made-up frames without a camera's noise: a network that never sees an even sky leaves it unpainted.
CLEAN = 0.5


@dataclass(frozen=True)
class Painted:
    """Pictures of one step, N×3×S×S in [0,1].

    Attributes:
        photographs: what was stylized, without a camera's noise.
        stylized: what the network made of it, with gradients.
        judged: `stylized`, or its mean with a second pass: the picture that losses of pictures are of.
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


def paint(network: TransNet, photographs: Tensor, config: FitConfig, step: int) -> Painted:
    """Stylize N×3×S×S photographs in [0,1]. Randomness comes from the seed and the step alone.

    Args:
        step: how many were taken before this one.
    """
    generator = torch.Generator().manual_seed((config.seed * 1_000_003 + step) % 2**63)

    # As a film would show the photographs a frame later. Deviation from the compound regulariser (Wang et al. 2020, arXiv
    # 2003.09871): no gradient goes through the frame before, which saves a backward pass, and the next frame is the one that
    # content and style are learned on.
    frame, before = photographs, None
    if config.stability_weight:
        motion = Motion.random(photographs, generator)
        with torch.no_grad():
            before = network(photographs), motion
        photographs = motion.warp(photographs)
        frame = with_noise(photographs, generator, CLEAN)

    with bounded_features(network) as bounded:
        stylized: Tensor = network(frame)

    # In some steps the mean with a second pass is judged, made of the same frame elsewhere on the network's grid, without a
    # gradient: paint that is tied to the grid is lost in it.
    judged = stylized
    if config.shift_every and (step + 1) % config.shift_every == 0:
        with torch.no_grad():
            elsewhere = shifted_pass(network, frame, *random_shift(generator))
        judged = (stylized + elsewhere) / 2
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
