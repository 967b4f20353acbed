"""Logs that one run has at a time.

The log itself is locked, by filelock, through the descriptor that writes it: no lock file lies beside a user's pictures, and
the lock ends with the process, however that dies.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
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

    def replace(self, content: bytes) -> None:
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
                file.write(content)
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
                self.replace(self.read())  # what other names the old one has is not known
                alone = True


_open: WeakSet[Log] = WeakSet()


def _close_all() -> None:
    for log in list(_open):
        log.close()


system.after_fork(_close_all)  # a fork would hold the locks for as long as it lives
