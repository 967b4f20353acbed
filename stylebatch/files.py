"""Output files: under its final name a path holds the old file or a complete new one, whatever happens."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stylebatch.errors import OutputError

TEMP_PREFIX = ".stylebatch-"


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; when the block ends without an exception it takes that name, durably.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    temp: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The temporary name is short whatever the final one is: names up to the file system's limit work.
        descriptor, temp = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=path.parent)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename(Path(temp), path)
        temp = None
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise  # an encoder's complaint about the data, not about the disk
        raise write_error(path, error) from error
    finally:
        if temp is not None:
            Path(temp).unlink(missing_ok=True)


def publish(temp: Path, path: Path) -> None:
    """Give a complete file, on the same file system, its final name, durably.

    Raises:
        OutputError: it cannot be done.
    """
    try:
        with temp.open("rb") as file:
            os.fsync(file.fileno())
        _rename(temp, path)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> OutputError:
    """In words what the system says against writing `path`."""
    fatal = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
    return OutputError(f"{path}: cannot be written: {error.strerror or error}", fatal=fatal)


def _rename(temp: Path, path: Path) -> None:
    temp.chmod(0o666 & ~_umask())
    temp.replace(path)
    _sync_folder(path.parent)


def _umask() -> int:
    """The process's umask, read without changing it where the system tells."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return 0o022


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut. Windows has no such call, and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
