"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebatch.device import DTYPES, pick_precision
from stylebatch.errors import StylebatchError
from stylebatch.fork import can_compute
from stylebatch.system import cores
from stylebatch.transnet import TransNet
from trainer.config import FitConfig
from trainer.content import PACKAGED, Batch, StylePicture, content_loader, find_photographs, load_style, share_out
from trainer.memory import check_memory, memory_errors_explained
from trainer.muon import Muon
from trainer.objective import Objective
from trainer.output import Output
from trainer.ranks import Ranks, Share, StopError, together
from trainer.replay import Replay
from trainer.results import PREVIEW_AFTER, Results
from trainer.schedule import Schedule
from trainer.start import NEAREST, NEAREST_SIZE, Start, find_start
from trainer.state import GoodStates, State
from trainer.step import Draws, draw, paint
from trainer.terms import LOSSES, TOTAL
from trainer.vgg import VGG16

_Module = TypeVar("_Module", bound=nn.Module)

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


@dataclass(frozen=True)
class _Caller:
    """Who asked for a training, and what it has told already."""

    progress: Callable[[Progress], None]
    message: Callable[[str], None]
    stop: Callable[[], bool]
    began: float = field(default_factory=time.monotonic)
    told: set[str] = field(default_factory=set)

    def stage(self, stage: str) -> None:
        self.progress(Progress(stage=stage))

    def skipped(self, line: str) -> None:
        """Each broken photograph once, however often its turn comes."""
        if line not in self.told:
            self.told.add(line)
            self.message(f"skipped {line}")

    def check(self) -> None:
        if self.stop():
            raise StopError


def fit(
    config: FitConfig,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    message: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train a network to paint like `config.style`; the result lies in `config.out`. What has been trained there already,
    with the same picture, photographs and options, is not trained again. Where torchrun has started several processes, all
    call this, and each takes its share of `config.batch_size`.

    Args:
        progress: called at the beginning of each stage and after each step; of several processes, in the first.
        message: called with one line for what a user should know: skipped files, a lowered rate, a preview; likewise.
        stop: asked again and again. If True before the first step, `fit` returns; after a step, it saves a checkpoint and
            returns. Of several processes, one is enough.

    Raises:
        StylebatchError: bad input, another training in its place, too little memory, or divergence at any rate; or a fork of
            a process that has trained or stylized.
    """
    if not can_compute():
        raise StylebatchError(
            "a fork of a process that has used PyTorch cannot train: its threads are missing; spawn processes"
        )
    try:
        with together(config.device) as ranks, ExitStack() as lock:
            first = ranks.number == 0
            caller = _Caller(progress if first else lambda _: None, message if first else lambda _: None, stop)
            caller.stage("reading the photographs")
            style = load_style(config.style, config.style_size)
            paths, skipped = ranks.shared(lambda: find_photographs(config.content or PACKAGED, config.out, caller.check))
            for line in skipped:
                caller.skipped(line)
            plan = Schedule(config, len(paths))
            output = Output(config, paths, last_epoch=plan.epoch(plan.steps))
            ranks.shared(lambda: lock.enter_context(output.locked()))
            if not config.resume and not config.overwrite and ranks.shared(output.is_done):
                caller.message(f"{output.style}: trained before, from the same picture with the same options")
                return FitResult(None, output.style, 0, 0, interrupted=False)
            with memory_errors_explained():
                return _train(config, style, paths, output, ranks, caller)
    except StopError:
        return FitResult(None, None, 0, 0, interrupted=True)


def _train(
    config: FitConfig, style: StylePicture, paths: list[Path], output: Output, ranks: Ranks, caller: _Caller
) -> FitResult:
    # 1. Where it computes, and how. Half precision has its fast kernels in channels_last; a CPU's fp32 is 13% slower in it.
    device = ranks.device
    precision = pick_precision(config.precision, device, training=True)
    check_memory(config, style.image.shape, device, precision, ranks.photographs_on_device(config.batch_size))
    earlier = ranks.shared(lambda: output.earlier(caller.message)) if config.resume else None
    autocast = torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")
    layout = torch.contiguous_format if precision == "fp32" else torch.channels_last

    def placed(module: _Module) -> _Module:
        return module.to(device, memory_format=layout)  # type: ignore[call-overload, no-any-return]

    # 2. The photographs, some of them kept for validation.
    photographs = share_out(paths, config.crop_size, config.patience > 0, caller.skipped)
    schedule = Schedule(config, len(photographs.training))
    ranks.check_shares(config.batch_size, len(photographs.training))

    # 3. What the losses aim at, and their weights.
    vgg = placed(VGG16(config.vgg, config.vgg_input))  # type: ignore[arg-type]
    with ExitStack() as hooks:  # until the first step, each layer asks whether to stop
        for layer in vgg.convolutions.values():
            hooks.enter_context(layer.register_forward_pre_hook(lambda _layer, _input: caller.check()))
        caller.stage("measuring the painting")
        objective = Objective(config, vgg, style.to(device), photographs.sample.to(device))
        held_out = photographs.held_out.to(device)

        def loss_on(squares: Tensor) -> Callable[[TransNet], float]:
            target = objective.target(squares)

            def loss(network: TransNet) -> float:
                with torch.no_grad(), autocast:
                    return objective.mean_total(placed(network), squares, target)

            return loss

        validation_loss = loss_on(held_out)

        # 4. The state in which an earlier run stopped, or the network to start from.
        if not earlier and config.init == NEAREST:
            caller.stage("choosing the nearest network to start from")
        small = F.avg_pool2d(held_out, max(1, config.crop_size // NEAREST_SIZE))
        start = Start.of_training(earlier) if earlier else ranks.shared(lambda: find_start(config, loss_on(small)))
        network = placed(start.network(config.padding_mode)).train()
        scaler = torch.amp.GradScaler(device.type, init_scale=objective.gradient_scale, enabled=precision == "fp16")
        state = State(network, OPTIMIZERS[config.optimizer](network, config.learning_rate), scaler)
        if earlier:
            state.resume(earlier, config.out)
        elif config.init == NEAREST:
            caller.message(f"starting from {start.name}, the nearest network to {config.style.name}")
        good = GoodStates(state)

    # 5. What it writes.
    def pictures(network: TransNet) -> list[Tensor]:
        return [style.image, photographs.shown, network(photographs.shown.to(device)).cpu()]

    base = {"base": start.base} if start.base else {}
    facts = {"padding_mode": config.padding_mode, "style_weight": objective.weights["style"], "init": start.name, **base}
    due = caller.began + PREVIEW_AFTER
    results = Results(output, schedule, facts, pictures, caller.message, due, config.overwrite)

    # 6. Steps. The losses stay where they are computed until so many are looked at: that waits for the device.
    def differentiate(images: Tensor, draws: Draws) -> Tensor:
        with autocast:
            painted = paint(network, images.float() / 255, draws)
            losses = objective(painted.judged, objective.target(painted.photographs))
        losses = objective.with_step(losses, painted)
        state.differentiate(losses[TOTAL])
        return torch.stack([losses[name].detach() for name in LOSSES])

    parameters = list(network.parameters())
    replay = Replay(differentiate, parameters, device)

    def compute(images: Tensor, draws: Draws, weight: float) -> Tensor:
        return ranks.mean(replay(images, draws), weight, parameters)

    at_once = steps_at_once(device)
    taken: list[tuple[float, Tensor]] = []

    def note_steps() -> None:
        """Look at the losses of the steps that were taken. If they diverge: back to the last good state, at a lower rate.
        What the network does to photographs that it does not learn from: flat, it is to cool down, and stop."""
        rows = [(each, dict(zip(LOSSES, values.tolist(), strict=True))) for each, values in taken]
        first = state.step - len(rows) + 1
        taken.clear()
        diverged = next((step for step, (_, values) in enumerate(rows, first) if not math.isfinite(values[TOTAL])), None)
        if diverged is not None:
            state.step = diverged - 1
            caller.message(good.go_back(state))
            return
        validation = math.nan
        if schedule.is_validated(state):
            validation = ranks.shared(lambda: validation_loss(network))
            if line := schedule.judge(state, validation):
                caller.message(line)
        for step, (each, values) in enumerate(rows, first):
            validated = validation if step == state.step else math.nan
            state.history.append([step, schedule.epoch(step), *values.values(), validated, each])
            caller.progress(Progress(step, schedule.end(state), schedule.epoch(step), values))

    load = partial(
        content_loader, photographs.training, augment=config.augment, batch_size=config.batch_size, seed=config.seed,
        workers=decoders(config, ranks), pin=device.type == "cuda", number=ranks.number, count=ranks.count, stop=caller.stop,
    )  # fmt: skip
    for share in _shares(load, schedule, state, ranks, caller.stop):
        # 6a. Photographs to the device.
        for line in share.skipped:
            caller.skipped(line)
        if not share.of:
            raise StylebatchError(f"{config.content}: every content photograph is broken")
        images = share.images.to(device, non_blocking=True).contiguous(memory_format=layout)
        draws = draw(torch.Size((share.of, *images.shape[1:])), config, state.step)
        draws = draws.part(share.first, share.first + len(images)).to(device)

        # 6b. Stylize; losses; one step down. What overflows in fp16 is no step, and is computed again, scaled to less.
        rate = schedule.rate(state)
        losses = compute(images, draws, share.weight)
        while not state.descend(rate) and bool(losses.isfinite().all()):
            losses = torch.full_like(losses, math.nan) if state.out_of_scale else compute(images, draws, share.weight)
        taken.append((rate, losses.clone()))
        state.step += 1
        last = state.step == schedule.end(state)
        if len(taken) < at_once and not (last or schedule.is_validated(state) or schedule.is_saved(state)):
            continue

        # 6c. What came of them; where it has diverged, all that follows is done again.
        reached = state.step
        note_steps()
        if state.step != reached:
            continue

        # 6d. Checkpoints and previews.
        last = state.step == schedule.end(state)
        if last or schedule.is_saved(state):
            if not state.is_finite():
                caller.message(good.go_back(state))
                continue
            good.keep(state)
            if last:
                break
            ranks.shared(lambda: results.save(state))
        if ranks.number == 0:
            results.preview_when_due(network)

    if taken:  # asked to stop
        note_steps()
    if not state.is_finite():
        caller.message(good.go_back(state))

    # 7. The last checkpoint, and the style as one file.
    checkpoint = ranks.shared(lambda: results.save(state)) if state.step else None
    if checkpoint is None or state.step < schedule.end(state):
        return FitResult(checkpoint, None, state.step, schedule.end(state), interrupted=True)
    style_file = ranks.shared(lambda: results.export(checkpoint))
    return FitResult(checkpoint, style_file, state.step, state.step, interrupted=False)


def decoders(config: FitConfig, ranks: Ranks) -> int:
    if config.workers is not None:
        return config.workers
    return max(2, min(8, cores() // ranks.on_machine)) if ranks.device.type == "cuda" else 2


def steps_at_once(device: torch.device) -> int:
    """Whose losses are read back, and told: on a GPU that waits for all that is on its way."""
    return 10 if device.type == "cuda" else 1


def _shares(
    load: Callable[..., Iterator[Batch]], schedule: Schedule, state: State, ranks: Ranks, stop: Callable[[], bool]
) -> Iterator[Share]:
    """The crops for each next step, wherever the last one or a divergence has led, until the end or a stop."""
    while state.step < schedule.end(state):
        side, step = schedule.crop_side(state), state.step
        batches = load(size=side, start=step)
        while state.step == step and schedule.crop_side(state) == side:
            share = ranks.share(None if stop() else next(batches, None), side)
            if share is None:
                return
            yield share
            step += 1
