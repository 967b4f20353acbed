"""A folder here: its files lie where they are read and written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stylebatch.files import TEMP_PREFIX, create, file_digest, identity, irregularity, is_within, remove_temporaries, replace
from stylebatch.images.formats import is_set_aside
from stylebatch.locking import ShardedLog
from stylebatch.storage import IS_OUTPUT, LEADS_OUT, Folder, Storage

if TYPE_CHECKING:
    from stylebatch.frame import Failure


class FileContent:
    """What a file here holds, by its SHA-256 in hexadecimal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._digest: str | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def digest(self) -> str | None:
        with suppress(OSError):
            if self._digest is None and self._stamp:
                self._digest = file_digest(self.path)
        return self._digest if self._stamp == _stamp(self.path) else None

    @property
    def confirmed(self) -> str | None:
        return self.digest

    def path_from(self, folder: Path | None) -> str:
        real = Path(os.path.realpath(self.path.parent), self.path.name)
        try:
            return (Path(os.path.relpath(real, folder)) if folder else real).as_posix()
        except ValueError:  # another drive of Windows
            return real.as_posix()


class LocalStorage:
    """A folder here. A path in it has its old file or a complete new one, whatever happens."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def real(self) -> Path:
        return Path(os.path.realpath(self.root))

    def __str__(self) -> str:
        return str(self.root)

    def walk(
        self,
        *,
        recursive: bool = True,
        follow_links: bool = False,
        output: Storage | None = None,
        left: Callable[[str, str], None] = lambda _name, _reason: None,
    ) -> Iterator[Folder]:
        real_root = self.root.resolve()
        out = output.root if isinstance(output, LocalStorage) else None
        seen = {real_root}

        def files(folder: str) -> Iterator[tuple[str, str]]:
            with suppress(OSError), os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if not _is_folder(entry) and not entry.name.startswith(TEMP_PREFIX):
                        regular = entry.is_file(follow_symlinks=False)
                        trouble = "" if regular else _trouble(Path(entry.path), real_root, follow_links)
                        if out and not trouble and entry.is_symlink() and is_within(Path(entry.path), out):
                            trouble = IS_OUTPUT
                        yield _joined(folder, entry.name), trouble

        def inner(folder: str) -> Iterator[str]:
            """The folders to look into."""
            try:
                with os.scandir(self.root / folder) as entries:
                    folders = sorted(filter(_is_folder, entries), key=lambda entry: entry.name)
            except OSError as error:
                denied = isinstance(error, PermissionError)
                left(folder or ".", "no permission to read the folder" if denied else f"unreadable: {error.strerror}")
                return
            for entry in folders:
                name, path = _joined(folder, entry.name), Path(entry.path)
                if is_set_aside(entry.name):
                    left(f"{name}/", "set aside")
                    continue
                link = entry.is_symlink() or (hasattr(entry, "is_junction") and entry.is_junction())
                outside = link and not path.resolve().is_relative_to(real_root)
                if out and (outside or identity(path) == identity(out)) and is_within(path, out):
                    left(name, IS_OUTPUT)
                elif outside and not follow_links:
                    left(name, LEADS_OUT)
                # What a link within `root` leads to is met under its own name.
                elif recursive and (outside or not link):
                    if follow_links:
                        real = path.resolve()
                        if real in seen:
                            continue
                        seen.add(real)
                    yield name

        waiting = [""]
        while waiting:
            folder = waiting.pop()
            yield Folder(folder, partial(files, folder))
            waiting += reversed(list(inner(folder)))

    def listed(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.root / folder) as entries:
                return [entry.name for entry in entries]
        except OSError:  # nothing is there
            return []

    def as_listed(self) -> LocalStorage:
        return self

    def content(self, name: str) -> FileContent:
        return FileContent(self.root / name)

    def size(self, name: str) -> int | None:
        try:
            status = (self.root / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            return -1
        return status.st_size if stat.S_ISREG(status.st_mode) else -1

    def digest(self, name: str) -> str | None:
        return self.content(name).digest

    def fetched(self, name: str, first: int | None = None) -> AbstractContextManager[Path]:  # noqa: ARG002
        return nullcontext(self.root / name)

    def staged(self, names: Iterable[str], failed: Callable[[Failure], None]) -> Iterator[str]:  # noqa: ARG002
        return iter(names)

    def publish(self, temp: Path, name: str, *, new: bool) -> None:
        (create if new else replace)(temp, self.root / name)

    def log(self, name: str, wait: float, writer: str | None) -> ShardedLog:
        return ShardedLog(self.root / name, wait, writer)

    def is_folder(self) -> bool:
        return self.root.is_dir()

    def shown(self, name: str) -> str:
        return str(self.root / name)

    def clean(self) -> None:
        remove_temporaries(self.root)

    def close(self) -> None:
        pass


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _trouble(path: Path, real_root: Path, follow_links: bool) -> str:
    """Why a file cannot be read, as far as can be told without opening it."""
    try:
        mode = path.stat().st_mode
        if path.is_symlink() and not follow_links and not path.resolve().is_relative_to(real_root):
            return LEADS_OUT
    except PermissionError:
        return "no permission to read it"
    except OSError as error:
        return "symbolic links in a circle" if error.errno == errno.ELOOP else "broken symbolic link"
    return irregularity(mode)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file's content does; None if it is not there. On Windows the change time is that of its making."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
