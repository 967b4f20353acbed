"""What a training changes step by step, and what it writes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_pth, save_safetensors
from stylebatch.errors import StylebatchError
from stylebatch.transnet import TransNet
from trainer.config import FitConfig
from trainer.objective import Objective
from trainer.output import LOSSES_FILE, PREVIEW, Output, readable
from trainer.report import COLUMNS, save_curves, save_fuse, save_losses
from trainer.start import Start
from trainer.terms import LOSSES

#: Seconds until the first preview, and between previews.
PREVIEW_AFTER, PREVIEW_EVERY = 30.0, 60.0
#: How much better a validation must be to count.
BETTER = 0.995
#: The share of a training in which the rate rises, the share in which it falls to nothing, and the power of its fall.
WARM_UP, COOLING, POWER = 0.04, 0.95, 1.5


@dataclass
class State:
    """All that a step changes: what a checkpoint must hold so that training goes on as if it had not stopped."""

    network: TransNet
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    rate_cuts: int = 0
    best: float = math.inf
    best_step: int = 0
    cooling_from: int | None = None
    history: list[list[float]] = field(default_factory=list)

    def snapshot(self) -> dict[str, Any]:
        return copy.deepcopy({
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "rate_cuts": self.rate_cuts,
            "best": self.best,
            "best_step": self.best_step,
            "cooling_from": self.cooling_from,
            "history": torch.tensor(self.history, dtype=torch.float64),
        })  # fmt: skip

    def restore(self, snapshot: dict[str, Any]) -> None:
        snapshot = copy.deepcopy(snapshot)
        self.network.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.scaler.load_state_dict(snapshot["scaler"])
        for name in ("step", "rate_cuts", "best", "best_step", "cooling_from"):
            setattr(self, name, snapshot[name])
        self.history = snapshot["history"].tolist()

    def resume(self, earlier: Checkpoint, folder: Path) -> None:
        """Restore what an earlier run has saved. Raises StylebatchError if that is damaged."""
        try:
            self.restore({"model": earlier.model, **earlier.training})
            numbers = (self.step, self.rate_cuts, self.best, self.best_step, self.cooling_from or 0)
            whole = all(isinstance(number, int | float) for number in numbers) and len(self.history) == self.step
            whole = whole and all(len(row) == len(COLUMNS) for row in self.history)
            for parameter, values in self.optimizer.state.items():
                shapes = {value.shape for value in values.values() if isinstance(value, Tensor) and value.ndim}
                whole = whole and shapes <= {parameter.shape}
        except Exception as error:  # pickled values of any kind, in any place
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        else:
            reason = "" if whole else "its parts do not fit together"
        if reason:
            raise StylebatchError(
                f"{folder}: the training's state in its newest checkpoint is damaged ({reason}); move it away, and --resume "
                "goes on from the one before"
            )


class Run:
    """The fixed side of a training: its length, its names, and what it writes."""

    def __init__(
        self,
        config: FitConfig,
        output: Output,
        steps_per_epoch: int,
        style: Tensor,
        photograph: Tensor,
        objective: Objective,
        start: Start,
        device: torch.device,
        message: Callable[[str], None],
        began: float,
    ) -> None:
        self.config = config
        self.style = style
        self.objective = objective
        self.start = start
        self.device = device
        self.message = message
        self.output = output
        self.photograph = photograph
        self.steps_per_epoch = steps_per_epoch
        self.steps = config.epochs * steps_per_epoch if config.epochs else config.steps
        self.next_preview = began + PREVIEW_AFTER
        self._replacing = config.overwrite

    def epoch(self, step: int) -> int:
        """The epoch, from 1, in which step `step`, from 1, lies."""
        return -(-step // self.steps_per_epoch)

    def end(self, state: State) -> int:
        """The last step: the planned one, or an earlier one, where the training cools down early."""
        if state.cooling_from is None:
            return self.steps
        return min(self.steps, 2 * state.cooling_from)

    def rate(self, state: State) -> float:
        """Share of the peak learning rate for the next step: linear up, then polynomial down to nothing. A training that is
        flat goes down from where it is, in as many steps as it has taken."""
        if self.config.schedule == "constant":
            return 1.0
        step = state.step if state.cooling_from is None else state.cooling_from
        rising, left = (step + 1) / max(1.0, WARM_UP * self.steps), (self.steps - step) / (COOLING * self.steps)
        planned = min(1.0, rising, math.pow(left, POWER))
        if state.cooling_from is None:
            return planned
        end = self.end(state)
        return planned * math.pow((end - state.step) / (end - step), POWER)

    def judge(self, state: State, validated: float) -> None:
        """Note whether a validation is better than the best one; cool down when none was for `patience` steps."""
        if validated < BETTER * state.best:
            state.best, state.best_step = validated, state.step
        elif state.cooling_from is None and state.step - state.best_step >= self.config.patience:
            state.cooling_from = state.step
            self.message(
                f"validation loss flat since step {state.best_step}: cooling down, the last step is {self.end(state)} "
                f"instead of {self.steps}"
            )

    def save(self, state: State) -> Path:
        """Checkpoint, fuse picture, curves and numbers. A checkpoint carries the number of the epoch that it lies in."""
        epoch = self.epoch(state.step)
        training = state.snapshot()
        last = dict(zip(COLUMNS, state.history[-1], strict=True)) if state.history else {}
        metadata = {
            "style": readable(self.output.name),
            "padding_mode": self.config.padding_mode,
            "width": state.network.width,
            "step": state.step,
            "steps": self.steps,
            "epoch": epoch,
            "losses": {key: last[key] for key in LOSSES if key in last},
            "style_weight": self.objective.weights["style"],
            "init": self.start.name,
            **({"base": self.start.base} if self.start.base else {}),
            **self.output.origin,
        }
        path = self.output.path(f"trans_net_{epoch}.pth")
        save_pth(Checkpoint(training.pop("model"), metadata, training), path)
        if self._replacing:
            self.output.remove_others(path)
            self._replacing = False
        save_losses(state.history, self.output.path(LOSSES_FILE))
        save_curves(state.history, self.config.out, self.output.name)
        self._fuse(state.network, self.output.path(f"fuse_{epoch}.jpg"))
        return path

    def export(self, trained: Path) -> Path:
        """The style as one file, `{name}.safetensors`, which is found by its name."""
        checkpoint = load_checkpoint(trained)
        save_safetensors(Checkpoint(checkpoint.model, checkpoint.metadata), self.output.style)
        return self.output.style

    def preview_when_due(self, network: TransNet) -> None:
        if time.monotonic() >= self.next_preview:
            path = self.output.path(PREVIEW)
            if not path.exists():
                self.message(f"preview: {path}, renewed every minute")
            self._fuse(network, path)
            self.next_preview = time.monotonic() + PREVIEW_EVERY

    def _fuse(self, network: TransNet, path: Path) -> None:
        with torch.inference_mode():
            stylized = network(self.photograph.to(self.device)).cpu()
        save_fuse([self.style, self.photograph, stylized], path)
