"""All that a step changes, and how a training that diverges returns to an earlier state."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylebatch.checkpoint import Checkpoint
from stylebatch.errors import StylebatchError
from stylebatch.transnet import TransNet
from trainer.report import COLUMNS

#: On divergence the rate is divided by this, so often at most.
RATE_CUT, MAX_RATE_CUTS = 4.0, 8
#: Of the loss in fp16, before it counts as diverged.
LEAST_SCALE = 2.0**-40
_NUMBERS = ("step", "rate_cuts", "best", "best_step", "cooling_from")


@dataclass
class State:
    """What a checkpoint must hold so that training goes on as if it had not stopped.

    Attributes:
        step: steps taken.
        rate_cuts: how often the training has diverged.
        best, best_step: the lowest validation loss, and when it was measured.
        cooling_from: the step from which the rate falls to nothing early; None before.
        history: one row a step, in the order of `COLUMNS`.
    """

    network: TransNet
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    rate_cuts: int = 0
    best: float = math.inf
    best_step: int = 0
    cooling_from: int | None = None
    history: list[list[float]] = field(default_factory=list)

    def differentiate(self, loss: Tensor) -> None:
        """Leave the gradient of a scalar at the weights, in fp16 scaled."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def descend(self, rate: float) -> bool:
        """Change the weights against the gradient. In fp16, where it has overflowed, they stay: the scale becomes smaller,
        and the answer is False."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self.scaler.get_scale() >= scale

    @property
    def out_of_scale(self) -> bool:
        """Whether gradients overflow at any scale: it is the loss that diverges."""
        return self.scaler.get_scale() < LEAST_SCALE

    def is_finite(self) -> bool:
        return all(bool(parameter.isfinite().all()) for parameter in self.network.parameters())

    def snapshot(self) -> dict[str, Any]:
        return copy.deepcopy({
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **{name: getattr(self, name) for name in _NUMBERS},
            "history": torch.tensor(self.history, dtype=torch.float64),
        })  # fmt: skip

    def restore(self, snapshot: dict[str, Any]) -> None:
        snapshot = copy.deepcopy(snapshot)
        self.network.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.scaler.load_state_dict(snapshot["scaler"])
        for name in _NUMBERS:
            setattr(self, name, snapshot[name])
        self.history = snapshot["history"].tolist()

    def resume(self, earlier: Checkpoint, folder: Path) -> None:
        """Restore what an earlier run has saved. Raises StylebatchError if that is damaged or of another version."""
        try:
            self.restore({"model": earlier.model, **earlier.training})
            reason = self._misfit()
        except Exception as error:  # pickled values of any kind, in any place
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        if reason:
            raise StylebatchError(
                f"{folder}: the newest checkpoint cannot be resumed ({reason}); move it away to resume from the one before"
            )

    def _misfit(self) -> str:
        """What does not fit together, in words; empty if all does."""
        numbers = (getattr(self, name) or 0 for name in _NUMBERS)
        whole = all(isinstance(number, int | float) for number in numbers) and len(self.history) == self.step
        for parameter, values in self.optimizer.state.items():
            shapes = {value.shape for value in values.values() if isinstance(value, Tensor) and value.ndim}
            whole = whole and shapes <= {parameter.shape}
        if not whole:
            return "its parts do not fit together"
        return (
            "" if all(len(row) == len(COLUMNS) for row in self.history) else "an older version wrote it, with other losses"
        )


class GoodStates:
    """Where a training that diverges goes back to: its beginning, and the last three states that were kept."""

    def __init__(self, state: State) -> None:
        self._snapshots = [state.snapshot()]

    def keep(self, state: State) -> None:
        self._snapshots = [self._snapshots[0], *self._snapshots[1:][-2:], state.snapshot()]

    def go_back(self, state: State) -> str:
        """Restore the newest one, and forget it: if it carries the seed of the divergence, the next try is from the one
        before. From there the rate is lower.

        Returns:
            What happened, in one line.

        Raises:
            StylebatchError: it diverges at any rate.
        """
        diverged_at, cuts = state.step, state.rate_cuts + 1
        if cuts > MAX_RATE_CUTS:
            raise StylebatchError("the training diverges at any learning rate; check the loss weights and the style picture")
        state.restore(self._snapshots.pop() if len(self._snapshots) > 1 else self._snapshots[0])
        state.rate_cuts = cuts
        return f"diverged after step {diverged_at}: back to step {state.step}, learning rate divided by {RATE_CUT**cuts:g}"
