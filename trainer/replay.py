"""The losses and gradients of a step on a GPU, launched by one call: as single operations they are over a thousand launches,
which take the processor longer than the GPU needs for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from trainer.step import Draws

#: The losses of N×3×S×S uint8 photographs, one tensor; leaves their gradients at the parameters.
Differentiate: TypeAlias = Callable[[Tensor, Draws], Tensor]

#: Steps of a size that are computed operation by operation before it is captured: they initialise what may not be captured.
WARM_UP = 3
#: How far the losses of a captured step may be from those of the same step before: atomic sums have no order.
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class _Captured:
    """One size of crops. The inputs and the gradients stay where they are."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    draws: Draws
    losses: Tensor
    gradients: list[Tensor | None]


class Replay:
    """Computes steps by `differentiate`; on CUDA, as CUDA graphs of it, one for each size of crops, where that is possible.

    Attributes:
        enabled: False on other devices, and once a capture was refused or gave other losses.
    """

    def __init__(self, differentiate: Differentiate, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self.enabled = device.type == "cuda"
        self._differentiate = differentiate
        self._parameters = parameters
        self._device = device
        self._seen: Counter[torch.Size] = Counter()
        self._captured: dict[torch.Size, _Captured] = {}

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """The losses, which a later step overwrites; of N×3×S×S uint8 photographs, contiguous or channels_last, on the
        device."""
        if not self.enabled or draws.shifts:
            return self._differentiate(images, draws)
        if images.shape not in self._captured:
            self._seen[images.shape] += 1
            if self._seen[images.shape] <= WARM_UP:
                return self._differentiate(images, draws)
            return self._capture(images, draws)
        captured = self._captured[images.shape]
        captured.images.copy_(images)
        captured.draws.copy_(draws)
        captured.graph.replay()
        for parameter, gradient in zip(self._parameters, captured.gradients, strict=True):
            parameter.grad = gradient
        return captured.losses

    def _capture(self, images: Tensor, draws: Draws) -> Tensor:
        """Whatever becomes of it, the losses and gradients of this step."""
        expected = self._differentiate(images, draws)
        try:
            with torch.cuda.device(self._device):
                graph, inputs, drawn = torch.cuda.CUDAGraph(), images.clone(), draws.clone()
                # In other threads, pinned memory may be taken meanwhile.
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    losses = self._differentiate(inputs, drawn)
            gradients = [parameter.grad for parameter in self._parameters]
            self._captured[images.shape] = _Captured(graph, inputs, drawn, losses, gradients)
            again = self(images, draws)
            self.enabled = torch.allclose(again, expected, rtol=_TOLERANCE, equal_nan=True)
        except RuntimeError:
            self.enabled = False
        if not self.enabled:
            self._captured.clear()
            return self._differentiate(images, draws)
        return again
