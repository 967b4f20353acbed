"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_pth, save_safetensors
from stylebatch.device import DTYPES, keep_freed_memory, pick_device, pick_precision
from stylebatch.errors import StylebatchError
from stylebatch.transnet import ResBlock, TransNet
from trainer.config import IDENTITY, FitConfig, option_name
from trainer.content import PACKAGED, content_loader, find_photographs, load_middles, load_photograph, load_style, spread
from trainer.losses import spike_loss
from trainer.muon import Muon
from trainer.objective import Objective
from trainer.report import COLUMNS, LOSSES, save_curves, save_fuse, save_losses
from trainer.stability import Motion, with_noise
from trainer.start import NEAREST, Start, find_start
from trainer.vgg import VGG16

#: Seconds until the first preview, and between previews.
PREVIEW_AFTER, PREVIEW_EVERY = 30.0, 60.0
#: Long side of the photograph in previews and fuse pictures.
PREVIEW_SIZE = 512
#: Photographs that are kept from training to see what it does to others: so many, and at most this share of them.
VALIDATION, VALIDATION_SHARE = 8, 1 / 4
#: Steps between validations, and how much better a loss must be to count.
VALIDATE_EVERY, BETTER = 25, 0.995
#: The share of a training in which the rate rises, the share in which it falls to nothing, and the power of its fall.
WARM_UP, COOLING, POWER = 0.04, 0.95, 1.5
#: The share of made-up frames without a camera's noise: a network that never sees an even sky leaves it unpainted.
CLEAN = 0.5
#: On divergence the rate is divided by this, so often at most.
RATE_CUT, MAX_RATE_CUTS = 4.0, 8

OPTIMIZERS: dict[str, Callable[[nn.Module, float], torch.optim.Optimizer]] = {
    "muon": Muon,
    "adamw": lambda network, rate: torch.optim.AdamW(network.parameters(), lr=rate),
}


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
    """Where a training ended. `style` is the finished style as one file, None if it was interrupted."""

    checkpoint: Path
    style: Path | None
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
    # 1. Pictures, some of the photographs kept for validation.
    began = time.monotonic()
    style = load_style(config.style, config.style_size)
    photographs, skipped = find_photographs(config.content or PACKAGED)
    for line in skipped:
        message(f"skipped {line}")
    held_out = spread(photographs, min(VALIDATION, int(len(photographs) * VALIDATION_SHARE))) if config.patience else []
    sample = spread(photographs, VALIDATION)
    photographs = [path for path in photographs if path not in held_out]

    # 2. Device, loss network.
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    autocast = torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")
    # Half precision has its fast kernels in channels_last; a CPU's fp32 is 13% slower in it.
    layout = torch.contiguous_format if precision == "fp32" else torch.channels_last
    vgg = VGG16(config.vgg, config.vgg_input).to(device, memory_format=layout)  # type: ignore[arg-type, call-overload]
    if device.type == "cpu":
        keep_freed_memory()

    # 3. What the losses aim at, and their weights.
    objective = Objective(config, vgg, style.to(device), load_middles(sample, config.crop_size).to(device))
    validation = load_middles(held_out or sample, config.crop_size).to(device)
    validation_target = objective.target(validation)

    # 4. The state in which an earlier run stopped, or the network to start from; its optimizer.
    def loss(network: TransNet) -> float:
        network.to(device, memory_format=layout)  # type: ignore[call-overload]
        with torch.no_grad(), autocast:
            return objective.mean_total(network, validation, validation_target)

    earlier = _earlier_state(config, message) if config.resume else None
    start = Start.of_training(earlier) if earlier else find_start(config, loss)
    network = start.network(config.padding_mode).to(device, memory_format=layout).train()  # type: ignore[call-overload]
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    state = _State(network, OPTIMIZERS[config.optimizer](network, config.learning_rate), scaler)
    if earlier:
        state.restore({"model": earlier.model, **earlier.training})
    elif config.init == NEAREST:
        message(f"starting from {start.name}, the nearest network to {config.style.name}")
    run = _Run(config, photographs, style, objective, start, device, message, began)
    good = [state.snapshot()]

    # 5. Steps, in runs that end at the last one or at a divergence.
    while state.step < run.end(state):
        loader = content_loader(
            photographs, size=config.crop_size, augment=config.augment, batch_size=config.batch_size, seed=config.seed,
            start=state.step, workers=config.workers, pin=device.type == "cuda",
        )  # fmt: skip
        for batch in loader:
            # 5a. Photographs to the device.
            run.report_skipped(batch.skipped)
            if not len(batch.images):
                raise StylebatchError(f"{config.content}: every content photograph is broken")
            images = batch.images.to(device, non_blocking=True, memory_format=layout).float() / 255

            with autocast:
                # 5b. As a film would show them a frame later, with what the network made of the frame before. Deviation
                # from the compound regulariser (arXiv 2003.09871): no gradient goes through the frame before, which
                # saves a backward pass, and the next frame is the one that content and style are learned on.
                frame = images
                if config.stability_weight:
                    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
                    motion = Motion.random(images, generator)
                    with torch.no_grad():
                        before = state.network(images)
                    images = motion.warp(images)
                    frame = with_noise(images, generator, CLEAN)

                # 5c. Stylize; losses.
                with bounded_features(state.network) as bounded:
                    stylized = state.network(frame)
                losses = objective(stylized, objective.target(images))
            spikes = spike_loss(bounded) if config.spike_weight else torch.zeros_like(losses.total)
            stability = motion.difference(before, stylized) if config.stability_weight else torch.zeros_like(losses.total)
            total = losses.total + objective.scale * (config.spike_weight * spikes + config.stability_weight * stability)

            # 5d. One step down.
            rate = config.learning_rate * run.rate(state) / RATE_CUT**state.rate_cuts
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            state.optimizer.zero_grad(set_to_none=True)
            state.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
            state.scaler.step(state.optimizer)
            state.scaler.update()

            # 5e. Diverged: back to the last good state, at a lower rate.
            each = (losses.content, losses.style, losses.palette, losses.shading, losses.tv, spikes, stability, total)
            values = torch.stack(each).tolist()
            if not math.isfinite(values[-1]):
                _roll_back(state, good, message)
                break
            state.step += 1

            # 5f. What it does to photographs that it does not learn from. Flat: cool down, and stop.
            validated = math.nan
            if config.patience and state.step % VALIDATE_EVERY == 0:
                with torch.no_grad(), autocast:
                    validated = objective.mean_total(state.network, validation, validation_target)
                run.judge(state, validated)
            state.history.append([state.step, run.epoch(state.step), *values, validated, rate])
            progress(Progress(state.step, run.end(state), run.epoch(state.step), values[0], values[1], values[-1]))

            # 5g. Previews and checkpoints.
            ending, stopping = state.step == run.end(state), stop()
            if stopping or ending or state.step % run.checkpoint_interval == 0:
                if not _is_finite(state.network):
                    _roll_back(state, good, message)
                    break
                good = [good[0], *good[1:][-2:], state.snapshot()]
                checkpoint = run.save(state)
                if ending:
                    break
                if stopping:
                    return FitResult(checkpoint, None, state.step, run.end(state), interrupted=True)
            run.preview_when_due(state.network)

    # 6. The style as one file.
    checkpoint = run.save(state)
    return FitResult(checkpoint, run.export(checkpoint), state.step, state.step, interrupted=False)


class _Run:
    """The fixed side of a training: its length, its names, and what it writes."""

    def __init__(
        self,
        config: FitConfig,
        photographs: list[Path],
        style: Tensor,
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
        self.name = config.style.stem
        self.photograph = _first_readable(photographs)
        self.steps_per_epoch = config.steps_per_epoch(len(photographs))
        self.steps = config.total_steps(len(photographs))
        self.checkpoint_interval = config.checkpoint_interval(len(photographs))
        self.next_preview = began + PREVIEW_AFTER
        self._skipped: set[str] = set()

    def epoch(self, step: int) -> int:
        """The epoch, from 1, in which step `step`, from 1, lies."""
        return -(-step // self.steps_per_epoch)

    def end(self, state: _State) -> int:
        """The last step: the planned one, or an earlier one, where the training cools down early."""
        if state.cooling_from is None:
            return self.steps
        return min(self.steps, 2 * state.cooling_from)

    def rate(self, state: _State) -> float:
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

    def judge(self, state: _State, validated: float) -> None:
        """Note whether a validation is better than the best one; cool down when none was for `patience` steps."""
        if validated < BETTER * state.best:
            state.best, state.best_step = validated, state.step
        elif state.cooling_from is None and state.step - state.best_step >= self.config.patience:
            state.cooling_from = state.step
            self.message(
                f"validation loss flat since step {state.best_step}: cooling down, the last step is {self.end(state)} "
                f"instead of {self.steps}"
            )

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
            "losses": {key: last[key] for key in LOSSES if key in last},
            "style_weight": self.objective.style_weight,
            "init": self.start.name,
            **({"base": self.start.base} if self.start.base else {}),
            "config": self.config.as_metadata(),
        }
        path = self.path(f"trans_net_{epoch}.pth")
        save_pth(Checkpoint(training.pop("model"), metadata, training), path)
        save_losses(state.history, self.path("losses.csv"))
        save_curves(state.history, self.config.out, self.name)
        self._fuse(state.network, self.path(f"fuse_{epoch}.jpg"))
        return path

    def export(self, trained: Path) -> Path:
        """The style as one file, `{name}.safetensors`, which is found by its name."""
        checkpoint = load_checkpoint(trained)
        path = self.config.out / f"{self.name}.safetensors"
        save_safetensors(Checkpoint(checkpoint.model, checkpoint.metadata), path)
        return path

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


def _earlier_state(config: FitConfig, message: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint of this style, if there is one."""
    found = sorted(config.out.glob(f"{config.style.stem}_trans_net_*.pth"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        message(f"nothing to resume in {config.out}: starting anew")
        return None
    checkpoint = load_checkpoint(found[-1])
    before = checkpoint.metadata.get("config", {})
    now = config.as_metadata()
    for name in IDENTITY:
        if name not in before or before[name] != now[name]:
            raise StylebatchError(
                f"{found[-1]}: was trained with {option_name(name)} {before.get(name)}, not {now[name]}; "
                "give the same options, or leave out --resume"
            )
    message(f"resumed from {found[-1]} at step {checkpoint.training['step']}")
    return checkpoint


@contextmanager
def bounded_features(network: TransNet) -> Iterator[list[Tensor]]:
    """Lists, in order of computation, what `spike_loss` is to bound: what the instance normalisations from the first
    residual block on give, and the last convolution, of which the sigmoid makes pixels."""
    features: list[Tensor] = []
    first = next(index for index, layer in enumerate(network.layer) if isinstance(layer, ResBlock))
    norms = [module for module in network.layer[first:].modules() if isinstance(module, nn.InstanceNorm2d)]
    hooks = [
        module.register_forward_hook(lambda _module, _input, output: features.append(output))
        for module in (*norms, network.layer[-2])
    ]
    try:
        yield features
    finally:
        for hook in hooks:
            hook.remove()


def _first_readable(photographs: list[Path]) -> Tensor:
    for path in photographs:
        try:
            return load_photograph(path, PREVIEW_SIZE)
        except Exception:  # broken: reported when its turn comes
            continue
    raise StylebatchError(f"{photographs[0].parent}: every content photograph is broken")


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
