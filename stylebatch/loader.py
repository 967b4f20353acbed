"""From a source to equal-size batches, decoded by worker processes ahead of the network."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from stylebatch.frame import Batch, Failure, Frame

#: Frames share a batch up to so many pixels; larger ones go alone. A megapixel takes half a gigabyte on its way.
BATCH_PIXELS = 4_000_000
#: Files whose sizes the sampler knows ahead while it looks for equal ones.
LOOK_AHEAD = 256


class Source(Protocol):
    """Pictures by index, decoded on demand in any process."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame | Failure: ...

    def size(self, index: int, /) -> tuple[int, int] | None:
        """Width and height by a quick look, None if that fails. A hint: what decoding gives counts."""


@dataclass(frozen=True)
class Load:
    """What one request to a worker brought: mostly one batch, more if sizes were not as hinted."""

    batches: list[Batch]
    failures: list[Failure]

    def pin_memory(self) -> Load:
        return Load([Batch(batch.infos, batch.pixels.pin_memory()) for batch in self.batches], self.failures)


class EqualSizeBatches(Sampler[list[int]]):
    """Indices in groups of one size, no more than `batch_size`, in nearly the order of the source.

    Padding pictures to share a batch would change their instance statistics, so only equal sizes meet. Sizes are read
    `LOOK_AHEAD` files ahead: memory does not grow with their number.
    """

    def __init__(self, source: Source, batch_size: int) -> None:
        self.source = source
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        if self.batch_size == 1:
            yield from ([index] for index in range(len(self.source)))
            return
        waiting: dict[tuple[int, int] | None, list[int]] = {}
        count = 0
        for index in range(len(self.source)):
            size = self.source.size(index)
            group = waiting.setdefault(size, [])
            group.append(index)
            count += 1
            if len(group) == self._room(size):
                yield waiting.pop(size)
                count -= len(group)
            elif count == LOOK_AHEAD:
                group = waiting.pop(next(iter(waiting)))
                yield group
                count -= len(group)
        yield from waiting.values()

    def _room(self, size: tuple[int, int] | None) -> int:
        if size is None:
            return 1
        return max(1, min(self.batch_size, BATCH_PIXELS // (size[0] * size[1])))


def load_batches(source: Source, *, batch_size: int, workers: int, pin: bool) -> DataLoader[Load]:
    """Iterate over the whole source once, as `Load`s; pinned for asynchronous copies if asked."""
    return DataLoader(
        _Samples(source),  # type: ignore[arg-type]
        batch_sampler=EqualSizeBatches(source, batch_size),
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_start_worker,
    )


class _Samples(Dataset[Frame | Failure]):
    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, index: int) -> Frame | Failure:
        return self.source[index]


def _collate(samples: list[Frame | Failure]) -> Load:
    groups: dict[tuple[int, ...], list[Frame]] = {}
    for sample in samples:
        if isinstance(sample, Frame):
            groups.setdefault(tuple(sample.pixels.shape), []).append(sample)
    return Load(
        [Batch([f.info for f in frames], torch.stack([f.pixels for f in frames])) for frames in groups.values()],
        [sample for sample in samples if isinstance(sample, Failure)],
    )


def _start_worker(_: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
