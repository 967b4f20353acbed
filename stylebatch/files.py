"""Files: what may be read, and outputs, which have the old content or a complete new one, whatever happens."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, reduce
from pathlib import Path
from typing import BinaryIO

from stylebatch.errors import OutputError

TEMP_PREFIX = ".stylebatch-"
_KINDS = (
    (stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "FIFO"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)  # fmt: skip
#: A letter that may be written in two ways.
_COMPOSED, _DECOMPOSED = "\u00e9", "e\u0301"
_TEMP_ENDING = ".tmp"
_TEMPORARY = re.compile(f"{re.escape(TEMP_PREFIX)}[a-z0-9_]{{8}}({_COMPOSED}|{_DECOMPOSED})?{re.escape(_TEMP_ENDING)}")
#: What is said of a disk that is full or broken.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
#: What file systems say that have no hard links.
_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
#: What those say that cannot be asked to write at once, some network and FUSE file systems.
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def irregularity(mode: int) -> str:
    """What a file's mode says against reading it; empty for a regular file."""
    return next((f"is a {kind}, not a file" for test, kind in _KINDS if test(mode)), "")


def check_name(path: Path) -> None:
    """Whether a file can be called so: before the work, not after it.

    Raises:
        OutputError: the file system takes no such name.
    """
    folder = Path()
    for name in path.parts:
        try:
            (folder / name).lstat()
            folder /= name
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise OutputError(f"{name}: the name is too long for the file system; give another output") from None


@contextmanager
def atomic_write(path: Path, put: Callable[[Path, Path], None] | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; when the block ends without an exception it takes that name, durably.

    Args:
        put: gives the file, once it is complete, its name; by default `replace`.

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
            sync(file.fileno())
            if os.name == "posix":  # while it is locked
                (put or replace)(Path(temp), path)
        if os.name != "posix":
            (put or replace)(Path(temp), path)
        temp = None
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise  # an encoder's complaint about the data, not about the disk
        raise write_error(path, error) from error
    finally:
        if temp is not None:
            Path(temp).unlink(missing_ok=True)


def _temporary(folder: Path, letter: str = "") -> tuple[int, str]:
    """A new file that `remove_temporaries` leaves alone while its descriptor is open. Its name is short whatever the final
    one is: names up to the file system's limit work."""
    while True:
        descriptor, temp = tempfile.mkstemp(letter + _TEMP_ENDING, TEMP_PREFIX, folder)
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


def publish(temp: Path, path: Path, put: Callable[[Path, Path], None] | None = None) -> None:
    """Give a complete file, on the same file system, its final name, durably.

    Args:
        put: as in `atomic_write`.

    Raises:
        OutputError: it cannot be done.
    """
    try:
        with temp.open("rb") as file:
            sync(file.fileno())
        (put or replace)(temp, path)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> OutputError:
    """In words what the system says against writing `path`."""
    fatal = error.errno in (*_DISK, errno.EROFS)
    return OutputError(f"{path}: cannot be written: {error.strerror or error}", fatal=fatal)


def _lock(descriptor: int, *, wait: bool = True) -> None:
    """Lock an open file, for as long as it is open in any process. Raises BlockingIOError, or OSError without locks."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def replace(temp: Path, path: Path) -> None:
    """Give a complete file its final name, durably, whatever has it."""
    _give_usual_mode(temp)
    temp.replace(path)
    _sync_folder(path.parent)


def create(temp: Path, path: Path) -> None:
    """Give a complete file its final name, durably, unless something has it.

    Raises:
        OutputError: something has.
    """
    _give_usual_mode(temp)
    try:
        os.link(temp, path)
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise taken(path) from None
        temp.replace(path)
    else:
        temp.unlink()
    _sync_folder(path.parent)


def taken(path: Path) -> OutputError:
    """That something has an output's name."""
    return OutputError(f"{path}: is there already; --overwrite replaces it")


def name_folding(folder: Path) -> Callable[[str], str]:
    """Makes one of names that lead to one file in `folder`, where letter case or how letters are composed may not count."""
    changes: list[Callable[[str], str]] = []
    with suppress(OSError, ValueError):
        descriptor, temp = _temporary(folder, _COMPOSED)
        try:
            if os.path.lexists(temp.replace(_COMPOSED, _DECOMPOSED)):
                changes.append(partial(unicodedata.normalize, "NFC"))
            if os.path.lexists(Path(temp).with_name(Path(temp).name.upper().replace(_COMPOSED.upper(), _COMPOSED))):
                changes.append(str.casefold)
        finally:
            Path(temp).unlink(missing_ok=True)
            os.close(descriptor)
    return lambda name: reduce(lambda folded, change: change(folded), changes, name)


def is_folder(path: Path | str) -> bool:
    """Whether a path stands for a folder: it is one, or is called like one and nothing is there."""
    if os.path.lexists(path):
        return Path(path).is_dir()
    return str(path).endswith(("/", os.sep)) or not Path(path).suffix


def identity(path: Path) -> tuple[int, int | str] | None:
    """What tells a file or folder from all others, by whatever name: its number, or its path where the file system has no
    numbers. None if nothing is there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino or os.path.realpath(path)


def is_within(path: Path, folder: Path) -> bool:
    """Whether `path`, which need not be there, is `folder` or lies anywhere in it, by whatever names."""
    own = identity(folder)
    return own is not None and own in identities_above(path)


def identities_above(path: Path) -> set[tuple[int, int | str]]:
    """Of `path`, which need not be there, and all folders that it lies in."""
    real = Path(os.path.realpath(path))
    return {each for each in map(identity, (real, *real.parents)) if each}


def sync(descriptor: int) -> None:
    """Have what was written on the disk, where the file system can be asked for that.

    Raises:
        OSError: the disk is full or broken.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _give_usual_mode(temp: Path) -> None:
    """That of files that are not temporary. File systems without modes (SMB, exFAT, some of FUSE) refuse."""
    with suppress(OSError):
        temp.chmod(0o666 & ~_umask())


def _umask() -> int:
    """The process's umask, read without changing it where the system tells."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return 0o022


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets folders be opened for that. Windows needs no such call.

    Raises:
        OSError: the disk is full or broken.
    """
    if os.name == "posix":
        try:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno in _DISK:
                raise
