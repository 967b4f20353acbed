"""The log of a storage in which nothing is appended to a file."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from typing import Protocol

#: Lines in a part of a shard, which is stored anew for each line; two requests for a result cost less than its pixels.
_PART_LINES = 200


class Store(Protocol):
    """Small files by name."""

    def read(self, name: str, /) -> bytes: ...
    def write(self, name: str, content: bytes, /) -> None: ...
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

    def read_all(self) -> bytes:
        return b"\n".join([self._storage.read(self._name), self.read_shards()])

    def read_shards(self) -> bytes:
        return b"\n".join(map(self._storage.read, self._parts()))

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
            self._storage.write(f"{self._folder}/{self._shard}-{self._number:06}.jsonl", b"".join(self._part))
            self._stored = upto
            if len(self._part) >= _PART_LINES:
                self._part, self._number = [], self._number + 1

    def merge(self, content: bytes) -> None:
        parts = self._parts()
        if parts or self._storage.read(self._name) != content:
            self._storage.write(self._name, content)
        for part in parts:
            self._storage.remove(part)

    def close(self) -> None:
        pass

    def _parts(self) -> list[str]:
        return sorted(self._storage.entries(self._folder))
