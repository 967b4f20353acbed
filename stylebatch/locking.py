"""Logs that one process has at a time."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from stylebatch.errors import BusyError, OutputError
from stylebatch.files import atomic_write, open_own


def open_locked(path: Path, wait: float = 0.0) -> int:
    """A descriptor of a log, made with its folder if missing, which no other process has while this one lives.

    Args:
        wait: seconds to wait for another process.

    Raises:
        BusyError: another has it.
        OutputError: it cannot be made.
    """
    deadline = time.monotonic() + wait
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (descriptor := _try_to_lock(path)) is None:
            if time.monotonic() >= deadline:
                raise BusyError(f"{path.parent}: another run is writing there; wait for it, or give another output")
            time.sleep(0.1)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be written: {error.strerror or error}") from error
    return descriptor


def _try_to_lock(path: Path) -> int | None:
    alone = False
    while True:
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        if not _lock(descriptor):
            os.close(descriptor)
            return None
        # Unless the run before has just put its ordered log in place of this one:
        if os.fstat(descriptor).st_ino == path.lstat().st_ino:
            if alone or os.fstat(descriptor).st_nlink == 1:
                return descriptor
            with atomic_write(path) as file:  # what other names the old one has is not known
                file.write(read_all(descriptor))
            alone = True
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """A record lock, which worker processes do not inherit: it ends with this process, however that dies."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks
    return True


def read_all(descriptor: int) -> bytes:
    """By the locked descriptor: opening and closing the file once more would give up a POSIX lock."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
