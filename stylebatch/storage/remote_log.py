"""The log of a storage in which nothing is appended to a file."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from stylebatch.locking import are_equal

#: Lines in a part of a shard, which is stored anew for each line; two requests for a result cost less than its pixels.
_PART_LINES = 200


class Store(Protocol):
    """Small files by name."""

    def lines(self, name: str, /) -> Iterator[bytes]: ...
    def write(self, name: str, content: Iterable[bytes], /) -> None: ...
    def remove(self, name: str, /) -> None: ...
    def entries(self, folder: str, /) -> Iterable[str]: ...


class RemoteLog:
    """A log of lines in a store, where nothing is appended: each writer stores its latest lines anew, in parts of a shard,
    until the log is merged. Nobody is kept out: two runs at once do work twice, and each result is whole.

    Args:
        writer: begins the name of the shard.
    """

    def __init__(self, storage: Store, name: str, writer: str) -> None:
        self._storage = storage
        self._name = name
        self._folder = f"{name.removesuffix('.jsonl')}.shards"
        self._shard = f"{writer}-{uuid.uuid4().hex}"
        self._part: list[bytes] = []
        self._number = 0
        self._waiting: list[bytes] = []
        self._came = self._stored = 0
        self._coming, self._storing = threading.Lock(), threading.Lock()

    def read_all(self) -> Iterator[bytes]:
        yield from self._storage.lines(self._name)
        yield from self.read_shards()

    def read_shards(self) -> Iterator[bytes]:
        for part in self._parts():
            yield from self._storage.lines(part)

    def append(self, data: bytes) -> None:
        """Store a line. Those that come while others are stored are stored together. Raises OutputError."""
        with self._coming:
            self._waiting.append(data)
            self._came += 1
            own = self._came
        with self._storing:
            if self._stored >= own:
                return
            with self._coming:
                self._part += self._waiting
                self._waiting, upto = [], self._came
            self._storage.write(f"{self._folder}/{self._shard}-{self._number:06}.jsonl", self._part)
            self._stored = upto
            if len(self._part) >= _PART_LINES:
                self._part, self._number = [], self._number + 1

    def merge(self, lines: Callable[[], Iterator[bytes]]) -> None:
        parts = self._parts()
        if parts or not are_equal(self._storage.lines(self._name), lines()):
            self._storage.write(self._name, lines())
        for part in parts:
            self._storage.remove(part)

    def close(self) -> None:
        pass

    def _parts(self) -> list[str]:
        return sorted(self._storage.entries(self._folder))
