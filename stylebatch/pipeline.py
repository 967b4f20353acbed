"""The journey of a frame, top to bottom: loader → stylizer → sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol, TypeVar

import torch

from stylebatch.errors import OutputError, StylebatchError
from stylebatch.frame import Batch, Failure, FrameInfo, Pixels, Saved
from stylebatch.loader import Load, Source, load_batches
from stylebatch.stylizer import Pending, Stylizer
from stylebatch.system import cores
from stylebatch.workers import Pool

#: A core decodes about 100 photographs of 1080p a second, a GPU paints about 1000.
_MOST_DECODERS, _MOST_DECODERS_A_GPU = 8, 16

_Key = TypeVar("_Key")
_AnySummary = TypeVar("_AnySummary", bound="Summary")


@dataclass
class Summary:
    """What a run did, or has done so far.

    Attributes:
        total: pictures found; while `listing`, more may be.
        skipped: those that an earlier run had finished.
        done: those that this run finished, `megapixels` in all.
        renamed: those of them whose format, and so whose extension, had to change, with the names of their outputs.
        partial: those of them that have further pages or frames, with their number, of which only the first was done.
        notes: what of them did not come through, or not as it was, such as metadata that the format has no place for.
        failures: files that did not come through, each with the reason.
        ignored: files that are no pictures.
        unread: of pictures that are not read, such as camera raw files, how many there are of each kind.
        set_aside: folders that are hidden or hold trash, thumbnails or previews, whose pictures were not taken.
        halved: how often a batch did not fit into the device's memory and went in halves.
        seconds: wall time; `waits` says how much of it the main loop spent on each stage.
        interrupted: it was asked to stop.
        aborted: why it could not go on, such as a full disk.
    """

    total: int = 0
    skipped: int = 0
    done: int = 0
    megapixels: float = 0.0
    renamed: dict[str, str] = field(default_factory=dict)
    partial: dict[str, int] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)
    set_aside: list[str] = field(default_factory=list)
    halved: int = 0
    seconds: float = 0.0
    waits: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("load", "stylize", "save"), 0.0))
    interrupted: bool = False
    aborted: str | None = None
    listing: bool = False

    @property
    def finished(self) -> int:
        return self.skipped + self.done + len(self.failures)

    def snapshot(self: _AnySummary) -> _AnySummary:
        """A copy, which stays as it is while the run goes on."""
        taken = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | list):
                setattr(taken, name, copy(value))
        return taken

    def add(self, part: Summary) -> None:
        """Add what another worker has done of the same run, beside its time."""
        self.done += part.done
        self.megapixels += part.megapixels
        self.halved += part.halved
        self.renamed |= part.renamed
        self.partial |= part.partial
        self.notes |= part.notes
        self.failures += part.failures
        self.aborted = self.aborted or part.aborted
        for stage, seconds in part.waits.items():
            self.waits[stage] += seconds

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "total": self.total,
            "skipped": self.skipped,
            "done": self.done,
            "renamed": self.renamed,
            "partial": self.partial,
            "notes": self.notes,
            "halved": self.halved,
            "failed": [{"path": failure.source, "reason": failure.reason} for failure in self.failures],
            "ignored": self.ignored,
            "unread": self.unread,
            "set_aside": self.set_aside,
            "megapixels": round(self.megapixels, 3),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.done / max(self.seconds, 1e-9), 3),
            "waits": {stage: round(seconds, 3) for stage, seconds in self.waits.items()},
            "interrupted": self.interrupted,
            "aborted": self.aborted,
        }


class Sink(Protocol):
    """Where results go: encoded in threads of its own, behind a bounded queue."""

    def add(self, info: FrameInfo, original: Pixels, stylized: Pixels, /) -> None:
        """Take one result, both H×W×3 uint8 or uint16; wait while too many are on their way."""

    def fail(self, info: FrameInfo, reason: str, /) -> None:
        """A frame that could not be stylized."""

    def outcomes(self) -> Iterator[Saved | Failure | OutputError]:
        """What has been finished since the last call."""

    def close(self) -> None:
        """Wait until everything that came is finished."""


def stylize(
    source: Source[_Key],
    keys: Iterable[_Key],
    stylizer: Stylizer,
    sink: Sink,
    *,
    summary: Summary,
    batch_size: int | None = None,
    workers: int | Pool | None = None,
    saved: Callable[[Saved], object] = lambda _: None,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Pictures by key, decoded by worker processes. `saved` is told of each file on the disk; the rest is as in
    `stylize_folder`."""
    loader = load_batches(
        source,
        keys,
        batch_size=batch_size or stylizer.batch_size,
        batch_pixels=stylizer.batch_pixels,
        workers=workers if workers is not None else decoders(stylizer.devices),
        pin=stylizer.device.type == "cuda",
        stop=stop,
    )

    def note(outcome: Saved) -> None:
        if outcome.path.name != PurePath(outcome.source).name:
            summary.renamed[outcome.source] = outcome.path.name
        if outcome.left_out:
            summary.partial[outcome.source] = outcome.left_out
        if outcome.notes:
            summary.notes[outcome.source] = list(outcome.notes)
        saved(outcome)

    with closing(loader):
        return run(loader, stylizer, sink, summary=summary, saved=note, progress=progress, stop=stop)


def decoders(devices: Sequence[torch.device]) -> int:
    """How many processes decode by default: on a CPU half the cores, for the network needs them; else as many as there are,
    and keep the GPUs busy."""
    if devices[0].type == "cpu":
        return max(1, min(_MOST_DECODERS, cores() // 2))
    return min(cores(), _MOST_DECODERS_A_GPU * len(devices))


def run(
    loader: Iterable[Load],
    stylizer: Stylizer,
    sink: Sink,
    *,
    summary: _AnySummary,
    saved: Callable[[Saved], None] = lambda _: None,
    progress: Callable[[_AnySummary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> _AnySummary:
    """The loop. Three stages keep going at once: the loader decodes ahead, the device computes one batch while the next is
    fetched, the sink encodes."""
    clock = _Clock(summary)
    in_flight: list[_InFlight] = []
    progress(summary)
    try:
        for load in loader:
            clock.lap("load")
            summary.failures += load.failures
            for batch in load.batches:
                in_flight += _start(batch, stylizer, summary)
                clock.lap("stylize")
                # Batches stay with a GPU while the next is fetched; a CPU has finished already.
                while len(in_flight) >= stylizer.in_flight:
                    _finish(in_flight.pop(0), stylizer, summary, sink, clock)
            _collect(sink, summary, saved)
            progress(summary)
            summary.interrupted = stop()
            if summary.interrupted or summary.aborted:
                break
        else:
            summary.interrupted = stop()
        for remaining in in_flight:
            _finish(remaining, stylizer, summary, sink, clock)
    finally:
        sink.close()
        clock.lap("save")
        _collect(sink, summary, saved)
    progress(summary)
    return summary


def check_done(summary: Summary, folder: Path = Path()) -> None:
    """Of pictures in a folder that are wanted together: raises StylebatchError if one was not done."""
    for failure in summary.failures:
        raise StylebatchError(f"{folder / failure.source}: {failure.reason}")
    if summary.aborted:
        raise StylebatchError(summary.aborted)


@dataclass(frozen=True)
class _InFlight:
    """A batch, and the promise of its result or the reason why there will be none."""

    batch: Batch
    pending: Pending | str


def _start(batch: Batch, stylizer: Stylizer, summary: Summary) -> list[_InFlight]:
    """Hand a batch to the device. One that does not fit goes in halves."""
    try:
        return [_InFlight(batch, stylizer.start(batch.pixels))]
    except Exception as error:  # runtimes fail in every way, and each concerns these pictures alone
        reason = _reason(error)
    # Out of the handler: the error keeps what filled the memory.
    if halves := _halves(batch):
        summary.halved += 1
        return [started for half in halves for started in _start(half, stylizer, summary)]
    _, height, width, _ = batch.pixels.shape
    return [_InFlight(batch, f"{width}×{height} could not be stylized: {reason}")]


def _halves(batch: Batch) -> list[Batch]:
    """None of a single picture."""
    middle = len(batch.infos) // 2
    parts = (slice(middle), slice(middle, None)) if middle else ()
    return [Batch(batch.infos[part], batch.pixels[part]) for part in parts]


def _reason(error: Exception) -> str:
    """The first line that tells something, after OpenVINO's places in its source."""
    lines = (line for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from "))
    return next(lines, type(error).__name__)


def _finish(started: _InFlight, stylizer: Stylizer, summary: Summary, sink: Sink, clock: _Clock) -> None:
    """Wait for the device, hand its results to the encoders. Where it fails only now, the batch goes in halves, too: that
    costs none but the picture that it cannot do."""
    batch = started.batch
    if isinstance(started.pending, str):
        for info in batch.infos:
            sink.fail(info, started.pending)
        return
    try:
        stylized = started.pending.result()
    except Exception as error:  # as above
        told = isinstance(error, StylebatchError)
        reason = str(error) if told else f"could not be stylized: {_reason(error)}"
    else:
        clock.lap("stylize")
        for info, original, result in zip(batch.infos, batch.pixels.numpy(), stylized.numpy(), strict=True):
            sink.add(info, original, result)
        clock.lap("save")
        return
    halves = _halves(batch)
    if not halves:
        sink.fail(batch.infos[0], reason)
    summary.halved += bool(halves) and not told
    for half in halves:
        for again in _start(half, stylizer, summary):
            _finish(again, stylizer, summary, sink, clock)


def _collect(sink: Sink, summary: Summary, saved: Callable[[Saved], None]) -> None:
    """Put into the summary what the encoders have finished."""
    for outcome in sink.outcomes():
        if isinstance(outcome, Saved):
            summary.done += 1
            summary.megapixels += outcome.pixels / 1e6
            saved(outcome)
        elif isinstance(outcome, OutputError):
            summary.aborted = summary.aborted or str(outcome)
        else:
            summary.failures.append(outcome)


class _Clock:
    """Gives each stretch of the main loop's time to the stage that it waited for."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._start = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._summary.waits[stage] += now - self._last
        self._summary.seconds = now - self._start
        self._last = now
