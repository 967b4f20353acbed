"""How long a training lasts, how fast it learns, and when it is measured and saved."""

from __future__ import annotations

import math

from trainer.config import FitConfig
from trainer.state import RATE_CUT, State

#: Steps between validations, and how much better one must be to count.
VALIDATE_EVERY, BETTER = 25, 0.995
#: The share of a training in which the rate rises, the share in which it falls to nothing, and the power of its fall.
WARM_UP, COOLING, POWER = 0.04, 0.95, 1.5


class Schedule:
    """Of a training on so many photographs. `steps` is its planned length."""

    def __init__(self, config: FitConfig, photographs: int) -> None:
        self.config = config
        self._per_epoch = -(-photographs // config.batch_size)  # a last partial batch is a step
        self.steps = config.epochs * self._per_epoch if config.epochs else config.steps
        self._small = round(config.small_crops * self.steps)
        epochs = config.checkpoint_epochs
        self._checkpoint_interval = epochs * self._per_epoch if epochs else config.checkpoint_steps

    def epoch(self, step: int) -> int:
        """The epoch, from 1, in which step `step`, from 1, lies."""
        return -(-step // self._per_epoch)

    def end(self, state: State) -> int:
        """The last step: the planned one, or an earlier one, where the training cools down early."""
        if state.cooling_from is None:
            return self.steps
        return min(self.steps, 2 * state.cooling_from)

    def crop_side(self, state: State) -> int:
        """Of the next step, in pixels."""
        return self.config.crop_size // 2 if state.step < self._small else self.config.crop_size

    def rate(self, state: State) -> float:
        """Learning rate of the next step."""
        return self.config.learning_rate * self._share(state) / RATE_CUT**state.rate_cuts

    def _share(self, state: State) -> float:
        """Of the peak rate: linear up, then polynomial down to nothing. Cooling down early takes as many steps as there have
        been."""
        if self.config.schedule == "constant":
            return 1.0
        step = state.step if state.cooling_from is None else state.cooling_from
        rising, left = (step + 1) / max(1.0, WARM_UP * self.steps), (self.steps - step) / (COOLING * self.steps)
        planned = min(1.0, rising, math.pow(left, POWER))
        if state.cooling_from is None:
            return planned
        end = self.end(state)
        return planned * math.pow((end - state.step) / (end - step), POWER)

    def is_validated(self, state: State) -> bool:
        """With small crops never: there the rate is near its peak, and the loss goes up and down."""
        return self.config.patience > 0 and state.step > self._small and state.step % VALIDATE_EVERY == 0

    def is_saved(self, state: State) -> bool:
        return state.step % self._checkpoint_interval == 0

    def judge(self, state: State, validated: float) -> str:
        """Note whether a validation loss is better than the best one; cool down when none was for `patience` steps. Returns
        what that changes, in one line, or nothing."""
        if validated < BETTER * state.best:
            state.best, state.best_step = validated, state.step
        elif state.cooling_from is None and state.step - state.best_step >= self.config.patience:
            state.cooling_from = state.step
            return (
                f"validation loss flat since step {state.best_step}: cooling down, the last step is {self.end(state)} "
                f"instead of {self.steps}"
            )
        return ""
