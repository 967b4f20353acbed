"""Logs that one run has at a time.

The log itself is locked, by filelock, through the descriptor that writes it: no lock file lies beside a user's pictures, and
the lock ends with the process, however that dies.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from weakref import WeakSet

from stylebatch import system
from stylebatch.errors import BusyError, OutputError
from stylebatch.files import atomic_write, open_own, replace, sync


class Log:
    """A log that nobody else has while it is open, made with its folder if missing.

    Args:
        wait: seconds to wait for another run.

    Raises:
        BusyError: another run has it.
        OutputError: it cannot be made.
    """

    def __init__(self, path: Path, wait: float = 0.0) -> None:
        self.path = path
        self._descriptor = -1
        deadline = time.monotonic() + wait
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while not self._try_to_open():
                if time.monotonic() >= deadline:
                    raise BusyError(f"{path.parent}: another run is writing there; wait for it, or give another output")
                time.sleep(0.1)
        except OSError as error:
            self.close()
            raise OutputError(f"{path.parent}: cannot be written: {error.strerror or error}") from error
        _open.add(self)

    def read(self) -> bytes:
        """All of it."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()

    def append(self, data: bytes) -> None:
        """Write behind what is there, durably. Raises OSError."""
        while data:
            data = data[os.write(self._descriptor, data) :]
        sync(self._descriptor)

    def clear(self) -> None:
        """Forget what is there. Raises OSError."""
        os.ftruncate(self._descriptor, 0)

    def replace(self, content: Iterable[bytes]) -> None:
        """Put other content in its place, whole or not at all, and close it.

        Windows replaces no open file. There it is closed first, and if another run has it then, it stays as it was.

        Raises:
            OutputError: it stays as it was.
        """

        def put(temp: Path, path: Path) -> None:
            if not system.REPLACES_OPEN_FILES:
                self.close()
            replace(temp, path)

        try:
            with atomic_write(self.path, put) as file:
                file.writelines(content)
        finally:
            self.close()

    def remove(self) -> None:
        """Remove the file and close it; on Windows, where nothing that is open is removed, the other way round."""
        if not system.REPLACES_OPEN_FILES:
            self.close()
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let others have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    __del__ = close  # where what has opened it has failed

    def _try_to_open(self) -> bool:
        alone = False
        while True:
            self._descriptor = open_own(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            with suppress(OSError):  # a file system without locks
                if not system.lock(self._descriptor):
                    self.close()
                    return False
            status = os.fstat(self._descriptor)
            # Unless the run before has just put its ordered log in place of this one:
            if status.st_ino != self.path.lstat().st_ino:
                self.close()
            elif alone or status.st_nlink == 1:
                return True
            else:
                self.replace([self.read()])  # what other names the old one has is not known
                alone = True


class ShardedLog(Log):
    """A log of lines that several write at once: each has a shard of its own, and who opens the log itself merges them when
    the writers have ended. The shards lie in a folder beside it.

    Args:
        writer: opens a new shard, whose name begins with this; None opens the log, and nobody else has it or a shard.
    """

    def __init__(self, path: Path, wait: float = 0.0, writer: str | None = None) -> None:
        self._main = path
        deadline = time.monotonic() + wait
        super().__init__(_shard_folder(path) / f"{writer}-{uuid.uuid4().hex}.jsonl" if writer else path, wait)
        if not writer:
            for shard in _shards(self._main):  # of a run that was killed, and whose writers may live on for a moment
                Log(shard, deadline - time.monotonic()).close()
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            self._torn = file.read() not in (b"", b"\n")

    def read_all(self) -> Iterator[bytes]:
        """Its lines and those of all shards; the last one of each may be cut off."""
        return read_lines(self._main)

    def read_shards(self) -> Iterator[bytes]:
        """The lines of all shards, as `read_all`."""
        return _lines_of(_shards(self._main))

    def append(self, data: bytes) -> None:
        """Write whole lines behind what is there, durably. Raises OSError."""
        super().append(b"\n" + data if self._torn else data)
        self._torn = False

    def merge(self, lines: Callable[[], Iterator[bytes]]) -> None:
        """Put lines in the place of the log and of all shards, and close it.

        Args:
            lines: gives them, whenever it is called.

        Raises:
            OutputError: all stays as it was.
        """
        shards = _shards(self._main)
        if shards or not are_equal(_lines_of([self._main]), lines()):
            self.replace(lines())
        for shard in shards:
            with suppress(OSError, OutputError):  # a writer has it yet: the next run merges it
                Log(shard).remove()
        with suppress(OSError):
            _shard_folder(self._main).rmdir()
        self.close()


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a log and of its shards, none where there are none; the last one of each may be cut off."""
    return _lines_of([path, *_shards(path)])


def are_equal(lines: Iterable[bytes], others: Iterable[bytes]) -> bool:
    return all(line == other for line, other in zip_longest(lines, others))


def _shards(path: Path) -> list[Path]:
    return sorted(_shard_folder(path).glob("*.jsonl"))


def _shard_folder(path: Path) -> Path:
    return path.with_suffix(".shards")


def _lines_of(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with suppress(OSError, OutputError), open(open_own(path, os.O_RDONLY), "rb") as file:
            yield from file


_open: WeakSet[Log] = WeakSet()


def _close_all() -> None:
    for log in list(_open):
        log.close()


system.after_fork(_close_all)  # a fork would hold the locks for as long as it lives
