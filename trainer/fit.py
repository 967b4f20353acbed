"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stylebatch.device import DTYPES, pick_device, pick_precision
from stylebatch.errors import StylebatchError
from stylebatch.fork import computes_here
from stylebatch.transnet import TransNet
from trainer.config import FitConfig
from trainer.content import (
    PACKAGED,
    StylePicture,
    content_loader,
    find_photographs,
    first_readable,
    load_middles,
    load_style,
)
from trainer.memory import check_memory, memory_errors_told
from trainer.muon import Muon
from trainer.objective import Objective
from trainer.output import Output
from trainer.run import Run, State
from trainer.start import NEAREST, Start, find_start
from trainer.step import paint
from trainer.terms import LOSSES, TOTAL
from trainer.vgg import VGG16

#: Photographs that are kept from training to see what it does to others: so many, and at most this share of them.
VALIDATION, VALIDATION_SHARE = 8, 1 / 4
#: Steps between validations.
VALIDATE_EVERY = 25
#: On divergence the rate is divided by this, so often at most.
RATE_CUT, MAX_RATE_CUTS = 4.0, 8

OPTIMIZERS: dict[str, Callable[[nn.Module, float], torch.optim.Optimizer]] = {
    "muon": Muon,
    "adamw": lambda network, rate: torch.optim.AdamW(network.parameters(), lr=rate),
}


@dataclass(frozen=True)
class Progress:
    """Told at the beginning of each stage before the first step, when `stage` says what is done and step is 0, and after
    each step. `losses` are by the names of `terms.LOSSES`, unweighted; "total" is their weighted sum."""

    step: int = 0
    steps: int = 0
    epoch: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    stage: str = ""


@dataclass(frozen=True)
class FitResult:
    """Where a training ended. `style` is the finished style as one file, None if it was interrupted; `checkpoint` None if
    that was before the first step."""

    checkpoint: Path | None
    style: Path | None
    step: int
    steps: int
    interrupted: bool


class _StopError(Exception):
    """Asked to stop before the first step: there is nothing to save."""


def fit(
    config: FitConfig,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    message: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train a network to paint like `config.style`; the result lies in `config.out`. What has been trained there already,
    with the same picture, photographs and options, is not trained again.

    Args:
        progress: called at the beginning of each stage and after each step.
        message: called with one line for what a user should know: skipped files, a lowered rate, a preview.
        stop: asked again and again before the first step, where True only returns; after each step it saves a checkpoint and
            returns.

    Raises:
        StylebatchError: bad input, another training in its place, too little memory, or divergence at any rate; or a fork of
            a process that has trained or stylized.
    """
    if not computes_here():
        raise StylebatchError(
            "a fork of a process that has used PyTorch cannot train: its threads are missing; spawn processes"
        )
    began = time.monotonic()
    told: set[str] = set()

    def skip(line: str) -> None:
        """Each broken photograph once, however often its turn comes."""
        if line not in told:
            told.add(line)
            message(f"skipped {line}")

    def check() -> None:
        if stop():
            raise _StopError

    try:
        progress(Progress(stage="reading the photographs"))
        style = load_style(config.style, config.style_size)
        photographs, skipped = find_photographs(config.content or PACKAGED, config.out, check)
        for line in skipped:
            skip(line)
        last_epoch = -(-config.total_steps(len(photographs)) // config.steps_per_epoch(len(photographs)))
        output = Output(config, photographs, last_epoch)
        with output.locked(), memory_errors_told():
            if not config.resume and not config.overwrite and output.is_done():
                message(f"{output.style}: trained before, from the same picture with the same options")
                return FitResult(None, output.style, 0, 0, interrupted=False)
            return _train(config, style, photographs, output, began, progress, message, skip, stop, check)
    except _StopError:
        return FitResult(None, None, 0, 0, interrupted=True)


def _train(
    config: FitConfig,
    style: StylePicture,
    photographs: list[Path],
    output: Output,
    began: float,
    progress: Callable[[Progress], None],
    message: Callable[[str], None],
    skip: Callable[[str], None],
    stop: Callable[[], bool],
    check: Callable[[], None],
) -> FitResult:
    # 1. Device, loss network, in which a stop is heard until the first step.
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    check_memory(config, style.image.shape, device, precision)
    earlier = output.earlier(message) if config.resume else None
    autocast = torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")
    # Half precision has its fast kernels in channels_last; a CPU's fp32 is 13% slower in it.
    layout = torch.contiguous_format if precision == "fp32" else torch.channels_last
    vgg = VGG16(config.vgg, config.vgg_input).to(device, memory_format=layout)  # type: ignore[arg-type, call-overload]
    hooks = [layer.register_forward_pre_hook(lambda _layer, _input: check()) for layer in vgg.convolutions.values()]

    # 2. Some of the photographs kept for validation.
    sample, _ = load_middles(photographs, VALIDATION, config.crop_size, skip)
    validation, count = sample, min(VALIDATION, int(len(photographs) * VALIDATION_SHARE)) if config.patience else 0
    if count:
        validation, held_out = load_middles(photographs, count, config.crop_size, skip)
        photographs = [path for path in photographs if path not in held_out]
        if first_readable(photographs) is None:
            photographs = held_out
    photograph = first_readable(photographs)
    assert photograph is not None  # of the sample, one was

    # 3. What the losses aim at, and their weights.
    progress(Progress(stage="measuring the painting"))
    objective = Objective(config, vgg, style.to(device), sample.to(device))
    validation = validation.to(device)
    validation_target = objective.target(validation)

    # 4. The state in which an earlier run stopped, or the network to start from; its optimizer.
    def loss(network: TransNet) -> float:
        network.to(device, memory_format=layout)  # type: ignore[call-overload]
        with torch.no_grad(), autocast:
            return objective.mean_total(network, validation, validation_target)

    if not earlier and config.init == NEAREST:
        progress(Progress(stage="choosing the nearest network to start from"))
    start = Start.of_training(earlier) if earlier else find_start(config, loss)
    network = start.network(config.padding_mode).to(device, memory_format=layout).train()  # type: ignore[call-overload]
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    state = State(network, OPTIMIZERS[config.optimizer](network, config.learning_rate), scaler)
    if earlier:
        state.resume(earlier, config.out)
    elif config.init == NEAREST:
        message(f"starting from {start.name}, the nearest network to {config.style.name}")
    steps_per_epoch = config.steps_per_epoch(len(photographs))
    run = Run(config, output, steps_per_epoch, style.image, photograph, objective, start, device, message, began)
    checkpoint_interval = config.checkpoint_interval(len(photographs))
    good = [state.snapshot()]
    for hook in hooks:
        hook.remove()

    # 5. Steps, in runs that end at the last one, where crops become large, or at a divergence.
    small_until = round(config.small_crops * run.steps)
    while state.step < run.end(state):
        side = config.crop_size // 2 if state.step < small_until else config.crop_size
        loader = content_loader(
            photographs, size=side, augment=config.augment, batch_size=config.batch_size, seed=config.seed,
            start=state.step, workers=config.workers, pin=device.type == "cuda", stop=stop,
        )  # fmt: skip
        for batch in loader:
            # 5a. Photographs to the device.
            for line in batch.skipped:
                skip(line)
            if not len(batch.images):
                raise StylebatchError(f"{config.content}: every content photograph is broken")
            images = batch.images.to(device, non_blocking=True, memory_format=layout).float() / 255

            with autocast:
                # 5b. Stylize; losses.
                painted = paint(state.network, images, config, state.step)
                losses = objective(painted.judged, objective.target(painted.photographs))
            losses = objective.with_step(losses, painted)

            # 5d. One step down.
            rate = config.learning_rate * run.rate(state) / RATE_CUT**state.rate_cuts
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            state.optimizer.zero_grad(set_to_none=True)
            state.scaler.scale(losses[TOTAL]).backward()  # type: ignore[no-untyped-call]
            state.scaler.step(state.optimizer)
            state.scaler.update()

            # 5e. Diverged: back to the last good state, at a lower rate.
            values = torch.stack([losses[name] for name in LOSSES]).tolist()
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
            progress(Progress(state.step, run.end(state), run.epoch(state.step), dict(zip(LOSSES, values, strict=True))))

            # 5g. Previews and checkpoints.
            ending, stopping = state.step == run.end(state), stop()
            if stopping or ending or state.step % checkpoint_interval == 0:
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
            if state.step == small_until:
                break
        else:  # asked to stop while it waited for photographs
            saved = run.save(state) if state.step and _is_finite(state.network) else None
            return FitResult(saved, None, state.step, run.end(state), interrupted=True)

    # 6. The style as one file.
    checkpoint = run.save(state)
    return FitResult(checkpoint, run.export(checkpoint), state.step, state.step, interrupted=False)


def _is_finite(network: nn.Module) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in network.parameters())


def _roll_back(state: State, good: list[dict[str, Any]], message: Callable[[str], None]) -> None:
    """Restore the newest good state, and forget it: if it carries the seed of the divergence, the next try is from the
    one before."""
    diverged_at, cuts = state.step, state.rate_cuts + 1
    if cuts > MAX_RATE_CUTS:
        raise StylebatchError("the training diverges at any learning rate; check the loss weights and the style picture")
    state.restore(good.pop() if len(good) > 1 else good[0])
    state.rate_cuts = cuts
    message(f"diverged after step {diverged_at}: back to step {state.step}, learning rate divided by {RATE_CUT**cuts:g}")
