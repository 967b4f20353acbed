"""Which files can be read, and how outputs are written: a path has its old file or a complete new one, whatever happens."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, reduce
from pathlib import Path
from typing import BinaryIO

from stylebatch import system
from stylebatch.errors import OutputError, StylebatchError

TEMP_PREFIX = ".stylebatch-"
_KINDS = (
    (stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "FIFO"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)  # fmt: skip
#: One accented letter, in the two ways in which a file system may keep it.
_COMPOSED, _DECOMPOSED = "\u00e9", "e\u0301"
_TEMP_ENDING = ".tmp"
_TEMPORARY = re.compile(f"{re.escape(TEMP_PREFIX)}[a-z0-9_]{{8}}({_COMPOSED}|{_DECOMPOSED})?{re.escape(_TEMP_ENDING)}")
#: Errors of a disk that is full or broken.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
#: Errors of file systems without hard links.
_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
#: Errors of file systems that cannot sync, such as some network and FUSE ones.
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def irregularity(mode: int) -> str:
    """Why something of this mode cannot be read as a file; empty for a regular file."""
    return next((f"is a {kind}, not a file" for test, kind in _KINDS if test(mode)), "")


def check_regular(path: Path, instead: str = "") -> None:
    """Check that there is a regular file, without opening it.

    Args:
        instead: what to do about anything else.

    Raises:
        StylebatchError: there is not.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StylebatchError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    if trouble := irregularity(mode):
        raise StylebatchError(f"{path}: {trouble}{instead}")


def check_name(path: Path) -> None:
    """Check, before any work is done, that the file system takes the names in an output's path.

    Raises:
        OutputError: one is too long.
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
            if system.REPLACES_OPEN_FILES:  # while it is locked
                (put or replace)(Path(temp), path)
        if not system.REPLACES_OPEN_FILES:
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
    """A new file, with its descriptor: while that is open, `remove_temporaries` leaves the file alone. Its name is short, so
    that the final one can be as long as the file system allows."""
    while True:
        descriptor, temp = tempfile.mkstemp(letter + _TEMP_ENDING, TEMP_PREFIX, folder)
        with suppress(OSError):  # a file system without locks
            system.lock(descriptor, wait=True)
        if os.path.lexists(temp):
            return descriptor, temp
        os.close(descriptor)  # removed before it was locked


def remove_temporaries(root: Path) -> None:
    """Remove the temporary files that killed processes have left anywhere under `root`."""
    for folder, _, names in os.walk(root):
        for name in filter(_TEMPORARY.fullmatch, names):
            with suppress(OSError, OutputError):  # it is being written, or is no file of this program
                _remove_unlocked(Path(folder, name))


def _remove_unlocked(path: Path) -> None:
    descriptor = open_own(path, os.O_RDWR)
    try:
        if not system.lock(descriptor):
            return
        with suppress(PermissionError):  # Windows removes nothing that is open
            path.unlink()
    finally:
        os.close(descriptor)
    path.unlink(missing_ok=True)


def open_own(path: Path, flags: int) -> int:
    """`os.open` of a file that only this program writes. Links are not followed, FIFOs and devices are not opened.

    Raises:
        OSError: as `os.open`.
        OutputError: it is a link or no regular file.
    """
    if not path.is_symlink():
        descriptor = os.open(path, flags | system.PLAIN_FILE, 0o666)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    raise OutputError(f"{path}: is a link or no regular file, so this program did not write it; remove it")


def own_folder(path: Path) -> None:
    """Make a folder that only this program uses, if it is missing.

    Raises:
        OutputError: it is a link or a file, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    if path.is_symlink():
        raise OutputError(f"{path}: is a link, so this program did not make it; remove it")


def publish(temp: Path, path: Path, put: Callable[[Path, Path], None] | None = None) -> None:
    """Give a complete file, on the same file system, its final name, durably.

    Args:
        put: as in `atomic_write`.

    Raises:
        OutputError: it cannot be done.
    """
    try:
        with temp.open("r+b") as file:  # Windows syncs nothing that is open for reading alone
            sync(file.fileno())
        (put or replace)(temp, path)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> OutputError:
    """The error that says why `path` cannot be written."""
    fatal = error.errno in (*_DISK, errno.EROFS)
    return OutputError(f"{path}: cannot be written: {error.strerror or error}", fatal=fatal)


def replace(temp: Path, path: Path) -> None:
    """Give a complete file its final name, durably. A file that has the name is replaced."""
    _give_usual_mode(temp)
    temp.replace(path)
    _sync_folder(path.parent)


def create(temp: Path, path: Path) -> None:
    """Give a complete file its final name, durably, unless something has that name.

    Raises:
        OutputError: something has it.
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


def taken(path: Path | str) -> OutputError:
    """The error for an output whose name something has already."""
    return OutputError(f"{path}: is there already; `overwrite` replaces it")


def name_folding(folder: Path) -> Callable[[str], str]:
    """A function that gives the same text for all names of one file in `folder`: its file system may ignore letter case, and
    how accented letters are composed."""
    changes: list[Callable[[str], str]] = []
    with suppress(OSError, ValueError):
        descriptor, temp = _temporary(folder, _COMPOSED)
        try:
            if os.path.lexists(temp.replace(_COMPOSED, _DECOMPOSED)):
                changes.append(partial(unicodedata.normalize, "NFC"))
            if os.path.lexists(Path(temp).with_name(Path(temp).name.upper().replace(_COMPOSED.upper(), _COMPOSED))):
                changes.append(str.casefold)
        finally:
            os.close(descriptor)
            Path(temp).unlink(missing_ok=True)
    return lambda name: reduce(lambda folded, change: change(folded), changes, name)


def is_folder(path: Path | str) -> bool:
    """Whether a path means a folder: it is one, or nothing is there and it ends with a slash or has no extension."""
    if os.path.lexists(path):
        return Path(path).is_dir()
    return str(path).endswith(("/", os.sep)) or not Path(path).suffix


def identity(path: Path) -> tuple[int, int | str] | None:
    """What identifies a file or folder under any of its names: device and number, or device and real path where the file
    system has no numbers. None if nothing is there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino or os.path.realpath(path)


def is_within(path: Path, folder: Path) -> bool:
    """Whether `path`, which need not exist, is `folder` or lies anywhere in it, under any of their names."""
    own = identity(folder)
    return own is not None and own in identities_above(path)


def identities_above(path: Path) -> set[tuple[int, int | str]]:
    """The identities of `path`, which need not exist, and of all folders that it lies in."""
    real = Path(os.path.realpath(path))
    return {each for each in map(identity, (real, *real.parents)) if each}


def sync(descriptor: int) -> None:
    """Have the file's data written to the disk, if the file system can do that.

    Raises:
        OSError: the disk is full or broken.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _give_usual_mode(temp: Path) -> None:
    """Give a file the mode that new files have. File systems without modes (SMB, exFAT, some of FUSE) refuse."""
    with suppress(OSError):
        temp.chmod(0o666 & ~system.umask())


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, if the system can do that.

    Raises:
        OSError: the disk is full or broken.
    """
    try:
        system.sync_folder(folder)
    except OSError as error:
        if error.errno in _DISK:
            raise
