"""From a source to equal-size batches, decoded by worker processes ahead of the network."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, Queue
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from stylebatch.frame import BATCH_PIXELS, Batch, Failure, Frame
from stylebatch.interrupt import ignore_interrupts

#: Files whose sizes the sampler knows ahead while it looks for equal ones.
LOOK_AHEAD = 256


_Sample: TypeAlias = Frame | Failure | list[Frame]


class Source(Protocol):
    """Pictures by index, decoded on demand in any process; an animation is all of its frames."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame | Failure | list[Frame]: ...

    def size(self, index: int, /) -> tuple[int, int] | None:
        """Width and height by a quick look, None if that fails. A hint: what decoding gives counts."""

    def name(self, index: int, /) -> str:
        """What a failure calls it."""


@dataclass(frozen=True)
class Load:
    """What one request to a worker brought: mostly one batch, more if sizes were not as hinted or pictures move."""

    indices: list[int]
    batches: list[Batch]
    failures: list[Failure]

    def pin_memory(self) -> Load:
        pinned = [Batch(batch.infos, batch.pixels.pin_memory()) for batch in self.batches]
        return Load(self.indices, pinned, self.failures)


class EqualSizeBatches(Sampler[list[int]]):
    """Indices in groups of one size, no more than `batch_size`, in nearly the order of the source.

    Padding pictures to share a batch would change their instance statistics, so only equal sizes meet. Sizes are read
    `LOOK_AHEAD` files ahead. `handed_out` lists what the workers have been given.
    """

    def __init__(
        self, source: Source, batch_size: int, indices: Sequence[int] | None = None, batch_pixels: int = BATCH_PIXELS
    ) -> None:
        self.source = source
        self.batch_size = batch_size
        self.batch_pixels = batch_pixels
        self.indices = range(len(source)) if indices is None else indices
        self.handed_out: list[int] = []

    def __iter__(self) -> Iterator[list[int]]:
        for group in self._groups():
            self.handed_out += group
            yield group

    def _groups(self) -> Iterator[list[int]]:
        if self.batch_size == 1:
            yield from ([index] for index in self.indices)
            return
        waiting: dict[tuple[int, int] | None, list[int]] = {}
        count = 0
        for index in self.indices:
            size = self.source.size(index)
            group = waiting.setdefault(size, [])
            group.append(index)
            count += 1
            if size is None or len(group) == _room(size, self.batch_size, self.batch_pixels):
                yield waiting.pop(size)
                count -= len(group)
            elif count == LOOK_AHEAD:
                group = waiting.pop(next(iter(waiting)))
                yield group
                count -= len(group)
        yield from waiting.values()


def load_batches(
    source: Source, *, batch_size: int, workers: int, pin: bool, batch_pixels: int = BATCH_PIXELS
) -> Iterator[Load]:
    """Go over the whole source once, in batches of no more frames and pixels; pinned for asynchronous copies if asked.

    When the system kills a worker, which it does to whoever asks for too much memory, what was with the workers is decoded
    again one by one: the picture that does it once more becomes a failure, the rest goes on.
    """
    waiting = dict.fromkeys(range(len(source)))
    while waiting:
        sampler = EqualSizeBatches(source, batch_size, list(waiting), batch_pixels)
        try:
            for load in _loader(source, sampler, batch_size, batch_pixels, workers, pin):
                for index in load.indices:
                    del waiting[index]
                yield load
        except (RuntimeError, ConnectionError, EOFError) as error:
            if not _tells_of_a_dead_worker(error):
                raise
            for index in [index for index in sampler.handed_out if index in waiting]:
                del waiting[index]
                yield _load_alone(source, index, pin)


class FilmBatches:
    """A film's frames in order, in batches, made by a thread ahead of the network: at most `AHEAD` of them wait.

    FFmpeg lets go of the interpreter while it decodes; a worker process took 1.7 times as long, to hand the frames over.

    Attributes:
        waited: seconds that the thread had to wait because the network was busy.
    """

    AHEAD = 3

    def __init__(self, frames: Iterator[Frame], *, batch_size: int, pin: bool, batch_pixels: int = BATCH_PIXELS) -> None:
        self.waited = 0.0
        self._frames = frames
        self._batch_size = batch_size
        self._batch_pixels = batch_pixels
        self._pin = pin
        self._queue: Queue[Load | Exception | None] = Queue(self.AHEAD)
        self._stopped = False
        self._thread = threading.Thread(target=self._fill, name="decode", daemon=True)

    def __iter__(self) -> Iterator[Load]:
        self._thread.start()
        while (load := self._queue.get()) is not None:
            if isinstance(load, Exception):
                raise load
            yield load

    def close(self) -> None:
        """Stop the thread, whatever it has not yet given."""
        self._stopped = True
        while self._thread.is_alive():
            with suppress(Empty):
                self._queue.get(timeout=0.05)

    def _fill(self) -> None:
        end: Exception | None = None
        group: list[Frame] = []
        try:
            for frame in self._frames:
                group.append(frame)
                height, width, _ = frame.pixels.shape
                if len(group) == _room((width, height), self._batch_size, self._batch_pixels):
                    self._put(group)
                    group = []
                if self._stopped:
                    break
            if group:
                self._put(group)
        except Exception as error:  # raised again where the frames are taken
            end = error
        self._queue.put(end)

    def _put(self, group: list[Frame]) -> None:
        load = Load([frame.info.index for frame in group], [_stacked(group)], [])
        start = time.perf_counter()
        self._queue.put(load.pin_memory() if self._pin else load)
        self.waited += time.perf_counter() - start


def _load_alone(source: Source, index: int, pin: bool) -> Load:
    try:
        return next(iter(_loader(source, [[index]], 1, BATCH_PIXELS, 1, pin)))
    except (RuntimeError, ConnectionError, EOFError) as error:
        if not _tells_of_a_dead_worker(error):
            raise
        reason = "the process that decoded it was killed; it may take more memory than there is"
        return Load([index], [], [Failure(source.name(index), reason)])


def _tells_of_a_dead_worker(error: Exception) -> bool:
    """The loader says so, or finds the worker's end of a transfer closed. A source's own errors come as failures."""
    return not isinstance(error, RuntimeError) or str(error).startswith("DataLoader worker")


def _loader(
    source: Source, batches: Iterable[list[int]], batch_size: int, batch_pixels: int, workers: int, pin: bool
) -> Iterator[Load]:
    loader: DataLoader[Load] = DataLoader(
        _Samples(source),  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=partial(_collate, batch_size=batch_size, batch_pixels=batch_pixels),
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=ignore_interrupts,
    )
    loads = iter(loader)
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        # PyTorch's handler would raise the death of a worker out of whatever line the main thread is at. Without it the
        # loader itself notices, when it waits for that worker.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return loads


class _Samples(Dataset[tuple[int, _Sample]]):
    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, index: int) -> tuple[int, _Sample]:
        return index, self.source[index]


def _collate(samples: list[tuple[int, _Sample]], *, batch_size: int, batch_pixels: int) -> Load:
    groups: dict[tuple[object, ...], list[Frame]] = {}
    for _, sample in samples:
        if not isinstance(sample, Failure):
            for frame in sample if isinstance(sample, list) else [sample]:
                groups.setdefault((frame.pixels.shape, frame.pixels.dtype), []).append(frame)
    batches = []
    for frames in groups.values():
        height, width, _ = frames[0].pixels.shape
        room = _room((width, height), batch_size, batch_pixels)
        for first in range(0, len(frames), room):
            batches.append(_stacked(frames[first : first + room]))
    failures = [sample for _, sample in samples if isinstance(sample, Failure)]
    return Load([index for index, _ in samples], batches, failures)


def _stacked(frames: list[Frame]) -> Batch:
    return Batch([frame.info for frame in frames], torch.from_numpy(np.stack([frame.pixels for frame in frames])))


def _room(size: tuple[int, int], batch_size: int, batch_pixels: int) -> int:
    """How many pictures of one width and height share a batch."""
    return max(1, min(batch_size, batch_pixels // (size[0] * size[1])))
