"""From a source to equal-size batches, decoded by worker processes ahead of the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Protocol, TypeVar

import numpy as np
import torch

from stylebatch.frame import BATCH_PIXELS, Batch, Failure, Frame
from stylebatch.workers import Pool, decoded

#: Files whose sizes are known ahead while it looks for equal ones.
LOOK_AHEAD = 256

_Key = TypeVar("_Key")
_KeyIn = TypeVar("_KeyIn", contravariant=True)


class Source(Protocol[_KeyIn]):
    """Pictures by key, decoded on demand in any process; an animation is all of its frames. A failure calls a picture by its
    key."""

    def __getitem__(self, key: _KeyIn, /) -> Frame | Failure | list[Frame]: ...

    def size(self, key: _KeyIn, /) -> tuple[int, int] | None:
        """Width and height by a quick look, None if that fails. A hint: what decoding gives counts."""


@dataclass(frozen=True)
class Load:
    """What was decoded for one batch: mostly just that, more if sizes were not as hinted or pictures move."""

    batches: list[Batch]
    failures: list[Failure]


def equal_sizes(
    source: Source[_Key], keys: Iterable[_Key], batch_size: int, batch_pixels: int = BATCH_PIXELS
) -> Iterator[list[_Key]]:
    """Keys in groups of pictures of one size, no more than `batch_size`, in nearly the order in which they come.

    Padding pictures to share a batch would change their instance statistics, so only equal sizes meet. Sizes are read
    `LOOK_AHEAD` files ahead.
    """
    if batch_size == 1:
        yield from ([key] for key in keys)
        return
    waiting: dict[tuple[int, int] | None, list[_Key]] = {}
    count = 0
    for key in keys:
        size = source.size(key)
        group = waiting.setdefault(size, [])
        group.append(key)
        count += 1
        if size is None or len(group) == _room(size, batch_size, batch_pixels):
            yield waiting.pop(size)
            count -= len(group)
        elif count == LOOK_AHEAD:
            group = waiting.pop(next(iter(waiting)))
            yield group
            count -= len(group)
    yield from waiting.values()


def load_batches(
    source: Source[_Key],
    keys: Iterable[_Key],
    *,
    batch_size: int,
    workers: int | Pool,
    pin: bool,
    batch_pixels: int = BATCH_PIXELS,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Load, None, None]:
    """Pictures in batches of no more frames and pixels, as their keys come; pinned for asynchronous copies if asked.

    Pictures are decoded by `workers` processes, 0 for none, up to a batch and two for each process ahead. When `stop`, asked
    while it waits for them, is True, nothing more comes.
    """
    groups = decoded(
        source, equal_sizes(source, keys, batch_size, batch_pixels), workers=workers,
        ahead=batch_size + 2 * (workers.size if isinstance(workers, Pool) else workers),
        lost=lambda key, reason: Failure(str(key), reason), stop=stop,
    )  # fmt: skip
    with closing(groups):
        for samples in groups:
            yield _as_load(samples, batch_size, batch_pixels, pin)


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
        load = Load(_stacked(group, self._pin), [])
        start = time.perf_counter()
        self._queue.put(load)
        self.waited += time.perf_counter() - start


def _as_load(samples: list[Frame | Failure | list[Frame]], batch_size: int, batch_pixels: int, pin: bool) -> Load:
    groups: dict[tuple[object, ...], list[Frame]] = {}
    for sample in samples:
        if not isinstance(sample, Failure):
            for frame in sample if isinstance(sample, list) else [sample]:
                groups.setdefault((frame.pixels.shape, frame.pixels.dtype), []).append(frame)
    batches = []
    for frames in groups.values():
        height, width, _ = frames[0].pixels.shape
        room = _room((width, height), batch_size, batch_pixels)
        for first in range(0, len(frames), room):
            batches += _stacked(frames[first : first + room], pin)
    return Load(batches, [sample for sample in samples if isinstance(sample, Failure)])


def _stacked(frames: list[Frame], pin: bool) -> list[Batch]:
    """One batch; where there is no memory for it, one of each frame, as it lies."""
    if len(frames) > 1 or pin:
        arrays = [frame.pixels for frame in frames]
        with suppress(MemoryError, RuntimeError):  # torch has no narrower type for a CPU out of memory
            dtype = torch.from_numpy(arrays[0]).dtype
            pixels = torch.empty((len(frames), *arrays[0].shape), dtype=dtype, pin_memory=pin)
            np.stack(arrays, out=pixels.numpy())
            return [Batch([frame.info for frame in frames], pixels)]
    return [Batch([frame.info], torch.from_numpy(frame.pixels)[None]) for frame in frames]


def _room(size: tuple[int, int], batch_size: int, batch_pixels: int) -> int:
    """How many pictures of one width and height share a batch."""
    return max(1, min(batch_size, batch_pixels // (size[0] * size[1])))
