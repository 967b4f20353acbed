"""The frames of a film's open segments as their encoders get them: a file for each segment, a checksum for each frame."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from stylebatch.errors import OutputError
from stylebatch.files import open_own, sync

#: Before each frame: its time and duration, how many bytes follow, and their checksum.
_HEAD = struct.Struct("<qqQI")


class KeptFrames:
    """Threads may share it.

    Args:
        folder: where the files are.
        length: frames of a segment; the last one may have fewer.
    """

    def __init__(self, folder: Path, length: int) -> None:
        self._folder, self._length = folder, length
        self._counts: dict[int, int] = {}  # by segment, from its first frame on
        self._file: BinaryIO | None = None
        self._segment = 0  # whose file is open
        self._lock = Lock()

    def path(self, segment: int) -> Path:
        return self._folder / f"{segment:06}.frames"

    def count(self, first: int) -> int:
        """How many there are from a segment on, up to the first that is missing."""
        with self._lock:
            total = 0
            for segment in count(first):
                total += self._counts.get(segment, 0)
                if self._counts.get(segment, 0) < self._length:
                    return total
        raise AssertionError

    def add(self, number: int, pts: int, duration: int, data: bytes) -> None:
        """Keep a frame, by its number in the film. Where there is no room, none of its segment is kept."""
        segment, place = divmod(number, self._length)
        with self._lock:
            if self._counts.get(segment, 0) != place:
                return  # one before it is missing
            try:
                if self._file is None or not place:
                    self._close()
                    descriptor = open_own(self.path(segment), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                    self._file, self._segment = os.fdopen(descriptor, "ab"), segment
                self._file.write(_HEAD.pack(pts, duration, len(data), zlib.crc32(data)) + data)
                self._file.flush()
                self._counts[segment] = place + 1
            except (OSError, OutputError):
                self._drop(segment)

    def drop(self, segment: int | None = None) -> None:
        """Those of a segment are not needed any more, or all have to make room."""
        with self._lock:
            for each in list(self._counts) if segment is None else [segment]:
                self._drop(each)

    def left(self, first: int) -> dict[int, int]:
        """How many another run has left, by segment from the first on, up to the first that is missing."""
        left: dict[int, int] = {}
        for segment in count(first):
            with suppress(OSError, OutputError), os.fdopen(open_own(self.path(segment), os.O_RDONLY), "rb") as file:
                left[segment] = sum(1 for _ in islice(_whole(file), self._length))
            if left.get(segment, 0) < self._length:
                break
        return left

    def take(self, left: dict[int, int]) -> Iterator[tuple[int, int, bytes]]:
        """Time, duration and data of so many frames by segment. To be gone through before any is added: what is behind them
        is cut away."""
        for segment, frames in left.items():
            with os.fdopen(open_own(self.path(segment), os.O_RDWR), "r+b") as file:
                end = 0
                for place, (pts, duration, data) in enumerate(islice(_whole(file), frames)):
                    end = file.tell()
                    with self._lock:
                        if self._counts.get(segment, 0) == place:  # none of its frames had to make room
                            self._counts[segment] = place + 1
                    yield pts, duration, data
                file.truncate(end)

    def close(self) -> None:
        """Leave them for the next run."""
        with self._lock:
            if self._file is not None:
                with suppress(OSError):
                    sync(self._file.fileno())
            self._close()

    def _drop(self, segment: int) -> None:
        if segment == self._segment:
            self._close()
        self._counts.pop(segment, None)
        with suppress(OSError):  # Windows removes nothing that is open; then it is removed with the folder
            self.path(segment).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


def _whole(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Time, duration and data of each frame, up to the first that is not whole."""
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        pts, duration, size, total = _HEAD.unpack(head)
        data = file.read(size)
        if len(data) < size or zlib.crc32(data) != total:
            return
        yield pts, duration, data
