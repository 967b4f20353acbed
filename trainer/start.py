"""What a training starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stylebatch.checkpoint import Checkpoint, load_checkpoint
from stylebatch.errors import StylebatchError
from stylebatch.styles import base_of, find_style, shipped_styles
from stylebatch.transnet import TransNet, width_of
from trainer.config import FitConfig

#: The `init` that chooses by the painting.
NEAREST = "nearest"
#: About so many pixels a side have the photographs that it judges by: what is nearest there is so on larger ones, sooner.
NEAREST_SIZE = 128


@dataclass(frozen=True)
class Start:
    """Weights to start from.

    Attributes:
        name: "base", a style's name, or "none" for random weights.
        model: TransNet's state dict.
        base: digest of the base network that the weights were trained from, so that what is trained from here lies on a line
            with it; None if there is none.
    """

    name: str
    model: dict[str, Tensor]
    base: str | None

    @classmethod
    def of_training(cls, earlier: Checkpoint) -> Start:
        """What an earlier part of a training started from, with what it had learned."""
        return cls(str(earlier.metadata.get("init", "unknown")), earlier.model, earlier.metadata.get("base"))

    def network(self, padding_mode: str) -> TransNet:
        network = TransNet(padding_mode, width_of(self.model))  # type: ignore[arg-type]
        network.load_state_dict(self.model)
        return network


def find_start(config: FitConfig, loss: Callable[[TransNet], float]) -> Start:
    """The start that `config.init` asks for.

    "nearest" is the one of least loss among the base of the width and the shipped styles that come from it: a network that
    paints already learns another painting sooner, and all that come from one base can be mixed.

    Args:
        loss: of a network, against the painting to be learned.

    Raises:
        StylebatchError: unknown style, unreadable checkpoint, a network of another width, or no base of the width.
    """
    if config.init == "none":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed % 2**63)
            return Start("none", TransNet(width=config.width).state_dict(), None)
    if config.init not in ("base", NEAREST):
        path = find_style(config.init)
        checkpoint = load_checkpoint(path)
        if checkpoint.width != config.width:
            raise StylebatchError(
                f"{config.init}: is a network of width {checkpoint.width}; give a `width` of {checkpoint.width}, or a start "
                f"of width {config.width}"
            )
        return _start(path.stem, checkpoint)
    try:
        base = _start("base", load_checkpoint(base_of(config.width)))
    except StylebatchError as error:
        raise StylebatchError(f"{error}; `init` none starts from random weights") from None
    if config.init == "base":
        return base
    styles = (_start(name, load_checkpoint(info.path)) for name, info in shipped_styles().items())
    starts = [base, *(style for style in styles if style.base == base.base)]
    return min(starts, key=lambda start: loss(start.network(config.padding_mode)))


def _start(name: str, checkpoint: Checkpoint) -> Start:
    """A network that nothing was trained from before is a base itself."""
    return Start(name, checkpoint.model, str(checkpoint.metadata.get("base") or checkpoint.digest))
