"""Files: what may be read, and outputs, which have the old content or a complete new one, whatever happens."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stylebatch.errors import OutputError

TEMP_PREFIX = ".stylebatch-"
_KINDS = (
    (stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "FIFO"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)  # fmt: skip
#: What `tempfile.mkstemp` makes of it.
_TEMPORARY = re.compile(re.escape(TEMP_PREFIX) + "[a-z0-9_]{8}")


def irregularity(mode: int) -> str:
    """What a file's mode says against reading it; empty for a regular file."""
    return next((f"is a {kind}, not a file" for test, kind in _KINDS if test(mode)), "")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; when the block ends without an exception it takes that name, durably.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    temp: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temp = _temporary(path.parent)
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


def _temporary(folder: Path) -> tuple[int, str]:
    """A new file that `remove_temporaries` leaves alone while its descriptor is open. Its name is short whatever the final
    one is: names up to the file system's limit work."""
    while True:
        descriptor, temp = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=folder)
        with suppress(OSError):  # a file system without locks
            _lock(descriptor)
        if os.path.lexists(temp):
            return descriptor, temp
        os.close(descriptor)  # removed before it was locked


def remove_temporaries(root: Path) -> None:
    """Remove, anywhere under `root`, what killed processes left of files that they were writing."""
    for folder, _, names in os.walk(root):
        for name in filter(_TEMPORARY.fullmatch, names):
            with suppress(OSError, OutputError):  # it is being written, or no file of ours
                _remove_unlocked(Path(folder, name))


def _remove_unlocked(path: Path) -> None:
    descriptor = open_own(path, os.O_RDWR)
    try:
        _lock(descriptor, wait=False)
        with suppress(PermissionError):  # Windows removes nothing that is open
            path.unlink()
    finally:
        os.close(descriptor)
    path.unlink(missing_ok=True)


def open_own(path: Path, flags: int) -> int:
    """`os.open` of a file where only one of ours belongs: no link is followed, no FIFO or device opened.

    Raises:
        OSError: as `os.open`.
        OutputError: it is none.
    """
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not path.is_symlink():
        descriptor = os.open(path, flags, 0o666)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    raise OutputError(f"{path}: is a link or no plain file, and so not written by this program; remove it")


def own_folder(path: Path) -> None:
    """Make a folder where only one of ours belongs, if it is missing.

    Raises:
        OutputError: something else has its name, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    if path.is_symlink():
        raise OutputError(f"{path}: is a link, and so not made by this program; remove it")


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


def _lock(descriptor: int, *, wait: bool = True) -> None:
    """Lock an open file, for as long as it is open in any process. Raises BlockingIOError, or OSError without locks."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


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
