"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_pth
from stylebatch.device import DTYPES, keep_freed_memory, pick_device, pick_precision
from stylebatch.errors import StylebatchError
from stylebatch.styles import find_style
from stylebatch.transnet import TransNet
from trainer.config import CONTENT_LAYER, IDENTITY, STYLE_LAYERS, FitConfig, option_name
from trainer.content import PACKAGED, content_loader, find_photographs, load_photograph, load_style
from trainer.losses import content_loss, gram, style_loss, tv_loss
from trainer.report import COLUMNS, save_curves, save_fuse, save_losses
from trainer.vgg import VGG16

#: Seconds until the first preview, and between previews.
PREVIEW_AFTER, PREVIEW_EVERY = 30.0, 60.0
#: Long side of the photograph in previews and fuse pictures.
PREVIEW_SIZE = 512
#: On divergence the rate is divided by this, so often at most.
RATE_CUT, MAX_RATE_CUTS = 4.0, 8


@dataclass(frozen=True)
class Progress:
    """Told after each step. Losses are unweighted; `total` is their weighted sum."""

    step: int
    steps: int
    epoch: int
    content: float
    style: float
    total: float


@dataclass(frozen=True)
class FitResult:
    """Where a training ended."""

    checkpoint: Path
    step: int
    steps: int
    interrupted: bool


@dataclass
class _State:
    """All that a step changes: what a checkpoint must hold so that training goes on as if it had not stopped."""

    network: TransNet
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    rate_cuts: int = 0
    history: list[list[float]] = field(default_factory=list)

    def snapshot(self) -> dict[str, Any]:
        return copy.deepcopy({
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "rate_cuts": self.rate_cuts,
            "history": torch.tensor(self.history, dtype=torch.float64),
        })  # fmt: skip

    def restore(self, snapshot: dict[str, Any]) -> None:
        snapshot = copy.deepcopy(snapshot)
        self.network.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        self.scaler.load_state_dict(snapshot["scaler"])
        self.step, self.rate_cuts = snapshot["step"], snapshot["rate_cuts"]
        self.history = snapshot["history"].tolist()


def fit(
    config: FitConfig,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    message: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train a network to paint like `config.style`; the result lies in `config.out`.

    Args:
        progress: called after each step.
        message: called with one line for what a user should know: skipped files, a lowered rate, a preview.
        stop: asked after each step; True saves a checkpoint and returns.

    Raises:
        StylebatchError: bad input, or a training that diverges at any rate.
    """
    # 1. Pictures.
    style = load_style(config.style, config.style_size)
    photographs, skipped = find_photographs(config.content or PACKAGED)
    for line in skipped:
        message(f"skipped {line}")

    # 2. Device, networks, optimizer.
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    autocast = torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")
    state = _initial_state(config, device, use_scaler=precision == "fp16")
    vgg = VGG16(config.vgg, config.vgg_input).to(device)  # type: ignore[arg-type]

    if device.type == "cpu":
        keep_freed_memory()

    # 3. What the style's Gram matrices are.
    with torch.no_grad():
        targets = {layer: gram(features) for layer, features in vgg(style.to(device), STYLE_LAYERS).items()}

    # 4. Go on from where an earlier run stopped.
    run = _Run(config, photographs, style, device, message)
    if config.resume:
        run.resume(state)
    good = [state.snapshot()]

    # 5. Steps, in runs that end at the last one or at a divergence.
    while state.step < run.steps:
        loader = content_loader(
            photographs, size=config.crop_size, augment=config.augment, batch_size=config.batch_size, seed=config.seed,
            start=state.step, workers=config.workers, pin=device.type == "cuda",
        )  # fmt: skip
        for batch in loader:
            # 5a. Photographs to the device.
            run.report_skipped(batch.skipped)
            if not len(batch.images):
                raise StylebatchError(f"{config.content}: every content photograph is broken")
            images = batch.images.to(device, non_blocking=True).float() / 255

            # 5b. Stylize, and see both through the loss network, the photographs only as deep as needed.
            with autocast:
                with torch.no_grad():
                    content_target = vgg(images, (CONTENT_LAYER,))[CONTENT_LAYER]
                stylized = state.network(images)
                features = vgg(stylized, {CONTENT_LAYER, *STYLE_LAYERS})

            # 5c. Losses.
            content = content_loss(features[CONTENT_LAYER], content_target)
            style_ = style_loss(features, targets)
            tv = tv_loss(stylized)
            total = config.content_weight * content + config.style_weight * style_ + config.tv_weight * tv

            # 5d. One step down.
            rate = config.learning_rate * _schedule(config, state.step / run.steps) / RATE_CUT**state.rate_cuts
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            state.optimizer.zero_grad(set_to_none=True)
            state.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
            state.scaler.step(state.optimizer)
            state.scaler.update()

            # 5e. Diverged: back to the last good state, at a lower rate.
            losses = torch.stack([content, style_, tv, total]).tolist()
            if not math.isfinite(losses[-1]):
                _roll_back(state, good, message)
                break
            state.step += 1
            state.history.append([state.step, run.epoch(state.step), *losses, rate])
            progress(Progress(state.step, run.steps, run.epoch(state.step), losses[0], losses[1], losses[-1]))

            # 5f. Previews and checkpoints.
            stopping = stop()
            if stopping or state.step == run.steps or state.step % run.checkpoint_interval == 0:
                if not _is_finite(state.network):
                    _roll_back(state, good, message)
                    break
                good = [good[0], *good[1:][-2:], state.snapshot()]
                checkpoint = run.save(state)
                if stopping or state.step == run.steps:
                    return FitResult(checkpoint, state.step, run.steps, interrupted=state.step < run.steps)
            run.preview_when_due(state.network)
    return FitResult(run.save(state), state.step, run.steps, interrupted=False)


class _Run:
    """The fixed side of a training: its length, its names, and what it writes."""

    def __init__(
        self, config: FitConfig, photographs: list[Path], style: Tensor, device: torch.device, message: Callable[[str], None]
    ) -> None:
        self.config = config
        self.style = style
        self.device = device
        self.message = message
        self.name = config.style.stem
        self.photograph = _first_readable(photographs)
        self.steps_per_epoch = config.steps_per_epoch(len(photographs))
        self.steps = config.total_steps(len(photographs))
        self.checkpoint_interval = config.checkpoint_interval(len(photographs))
        self.next_preview = time.monotonic() + PREVIEW_AFTER
        self._skipped: set[str] = set()

    def epoch(self, step: int) -> int:
        """The epoch, from 1, in which step `step`, from 1, lies."""
        return -(-step // self.steps_per_epoch)

    def path(self, ending: str) -> Path:
        return self.config.out / f"{self.name}_{ending}"

    def save(self, state: _State) -> Path:
        """Checkpoint, fuse picture, curves and numbers. A checkpoint carries the number of the epoch that it lies in."""
        epoch = self.epoch(state.step)
        training = state.snapshot()
        last = dict(zip(COLUMNS, state.history[-1], strict=True)) if state.history else {}
        metadata = {
            "style": self.name,
            "padding_mode": self.config.padding_mode,
            "step": state.step,
            "steps": self.steps,
            "epoch": epoch,
            "losses": {key: last[key] for key in ("content", "style", "tv", "total") if key in last},
            "config": self.config.as_metadata(),
        }
        path = self.path(f"trans_net_{epoch}.pth")
        save_pth(Checkpoint(training.pop("model"), metadata, training), path)
        save_losses(state.history, self.path("losses.csv"))
        save_curves(state.history, self.config.out, self.name)
        self._fuse(state.network, self.path(f"fuse_{epoch}.jpg"))
        return path

    def resume(self, state: _State) -> None:
        """Load the newest checkpoint of this style, if there is one."""
        found = sorted(self.config.out.glob(f"{self.name}_trans_net_*.pth"), key=lambda path: path.stat().st_mtime_ns)
        if not found:
            self.message(f"nothing to resume in {self.config.out}: starting anew")
            return
        checkpoint = load_checkpoint(found[-1])
        before = checkpoint.metadata.get("config", {})
        now = self.config.as_metadata()
        for name in IDENTITY:
            if name not in before or before[name] != now[name]:
                raise StylebatchError(
                    f"{found[-1]}: was trained with {option_name(name)} {before.get(name)}, not {now[name]}; "
                    "give the same options, or leave out --resume"
                )
        state.restore({"model": checkpoint.model, **checkpoint.training})
        self.message(f"resumed from {found[-1]} at step {state.step}")

    def preview_when_due(self, network: TransNet) -> None:
        if time.monotonic() >= self.next_preview:
            path = self.path("preview.jpg")
            if not path.exists():
                self.message(f"preview: {path}, renewed every minute")
            self._fuse(network, path)
            self.next_preview = time.monotonic() + PREVIEW_EVERY

    def report_skipped(self, lines: list[str]) -> None:
        """Each broken photograph once, however often its turn comes."""
        for line in lines:
            if line not in self._skipped:
                self._skipped.add(line)
                self.message(f"skipped {line}")

    def _fuse(self, network: TransNet, path: Path) -> None:
        with torch.inference_mode():
            stylized = network(self.photograph.to(self.device)).cpu()
        save_fuse([self.style, self.photograph, stylized], path)


def _initial_state(config: FitConfig, device: torch.device, *, use_scaler: bool) -> _State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = TransNet(config.padding_mode)  # type: ignore[arg-type]
    if config.init:
        network.load_state_dict(load_checkpoint(find_style(str(config.init))).model)
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)
    return _State(network, optimizer, torch.amp.GradScaler(device.type, enabled=use_scaler))


def _first_readable(photographs: list[Path]) -> Tensor:
    for path in photographs:
        try:
            return load_photograph(path, PREVIEW_SIZE)
        except Exception:  # broken: reported when its turn comes
            continue
    raise StylebatchError(f"{photographs[0].parent}: every content photograph is broken")


def _schedule(config: FitConfig, progress: float) -> float:
    """Share of the learning rate at `progress` in [0,1): the one-cycle policy (Smith & Topin, arXiv 1708.07120), cosine
    up over the first tenths, cosine down to nothing. Deviation: the momentum stays."""
    if config.schedule == "constant":
        return 1.0
    warm_up, start = 0.3, 1 / 25
    if progress < warm_up:
        return start + (1 - start) * (1 - math.cos(math.pi * progress / warm_up)) / 2
    return (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2


def _is_finite(network: nn.Module) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in network.parameters())


def _roll_back(state: _State, good: list[dict[str, Any]], message: Callable[[str], None]) -> None:
    """Restore the newest good state, and forget it: if it carries the seed of the divergence, the next try is from the
    one before."""
    diverged_at, cuts = state.step, state.rate_cuts + 1
    if cuts > MAX_RATE_CUTS:
        raise StylebatchError("the training diverges at any learning rate; check the loss weights and the style picture")
    state.restore(good.pop() if len(good) > 1 else good[0])
    state.rate_cuts = cuts
    message(f"diverged after step {diverged_at}: back to step {state.step}, learning rate divided by {RATE_CUT**cuts:g}")
