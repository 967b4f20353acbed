"""What a training writes while it runs: checkpoints with their pictures and curves, previews, the finished style."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_pth, save_safetensors
from stylebatch.transnet import TransNet
from trainer.output import LOSSES_FILE, PREVIEW, Output, readable
from trainer.report import COLUMNS, save_curves, save_losses, save_side_by_side
from trainer.schedule import Schedule
from trainer.state import State
from trainer.terms import LOSSES

#: Seconds until the first preview, and between previews.
PREVIEW_AFTER, PREVIEW_EVERY = 30.0, 60.0


@dataclass
class Results:
    """Of one training.

    Attributes:
        facts: metadata of checkpoints that no step changes.
        pictures: what a network is shown by: the painting, a photograph, the photograph stylized, 1×3×H×W in [0,1] each.
        next_preview: when it is due, by `time.monotonic`.
        replacing: whether the first checkpoint takes the place of an earlier training.
    """

    output: Output
    schedule: Schedule
    facts: dict[str, Any]
    pictures: Callable[[TransNet], Sequence[Tensor]]
    message: Callable[[str], None]
    next_preview: float
    replacing: bool

    def save(self, state: State) -> Path:
        """Checkpoint, picture, curves and numbers. A checkpoint carries the number of the epoch that it lies in."""
        epoch = self.schedule.epoch(state.step)
        training = state.snapshot()
        last = dict(zip(COLUMNS, state.history[-1], strict=True)) if state.history else {}
        metadata = {
            "style": readable(self.output.name),
            "width": state.network.width,
            "step": state.step,
            "steps": self.schedule.steps,
            "epoch": epoch,
            "losses": {name: last[name] for name in LOSSES if name in last},
            **self.facts,
            **self.output.origin,
        }
        path = self.output.path(f"trans_net_{epoch}.pth")
        save_pth(Checkpoint(training.pop("model"), metadata, training), path)
        if self.replacing:
            self.output.remove_others(path)
            self.replacing = False
        save_losses(state.history, self.output.path(LOSSES_FILE))
        save_curves(state.history, path.parent, self.output.name)
        self._show(state.network, self.output.path(f"fuse_{epoch}.jpg"))
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
            self._show(network, path)
            self.next_preview = time.monotonic() + PREVIEW_EVERY

    def _show(self, network: TransNet, path: Path) -> None:
        with torch.inference_mode():
            save_side_by_side(self.pictures(network), path)
