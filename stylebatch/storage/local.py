"""A folder here: its files lie where they are read and written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stylebatch.files import TEMP_PREFIX, create, file_digest, identity, irregularity, is_within, remove_temporaries, replace
from stylebatch.images.formats import is_set_aside
from stylebatch.locking import ShardedLog
from stylebatch.storage import IS_OUTPUT, Storage

if TYPE_CHECKING:
    from stylebatch.frame import Failure

_LEADS_OUT = "is a symbolic link out of the folder; `follow_links` takes it"


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
        self, *, recursive: bool, follow_links: bool, output: Storage | None, on_error: Callable[[str, OSError], None]
    ) -> Iterator[tuple[str, str]]:
        root, real_root = self.root, self.root.resolve()
        out = output.root if isinstance(output, LocalStorage) else None
        seen = {real_root}

        def unreadable(error: OSError) -> None:
            on_error(Path(error.filename).relative_to(root).as_posix(), error)

        for folder, folders, names in os.walk(root, followlinks=follow_links, onerror=unreadable):
            walked = []
            for name in sorted(folders):
                path = Path(folder, name)
                if is_set_aside(name):
                    yield f"{path.relative_to(root).as_posix()}/", "set aside"
                    continue
                outside = path.is_symlink() and not path.resolve().is_relative_to(real_root)
                if out and (outside or identity(path) == identity(out)) and is_within(path, out):
                    yield path.relative_to(root).as_posix(), IS_OUTPUT
                    continue
                if outside and not follow_links:
                    yield path.relative_to(root).as_posix(), _LEADS_OUT
                # What a link within `root` leads to is met under its own name.
                if recursive and (outside or not path.is_symlink()) and path.resolve() not in seen:
                    seen.add(path.resolve())
                    walked.append(name)
            folders[:] = walked
            for name in names:
                path = Path(folder, name)
                if not name.startswith(TEMP_PREFIX):
                    trouble = _trouble(path, real_root, follow_links)
                    if out and not trouble and path.is_symlink() and is_within(path, out):
                        trouble = IS_OUTPUT
                    yield path.relative_to(root).as_posix(), trouble

    def listed(self, folder: str) -> list[str]:
        try:
            return [path.name for path in (self.root / folder).iterdir()]
        except OSError:  # nothing is there
            return []

    def planning(self) -> AbstractContextManager[None]:
        return nullcontext()

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


def _trouble(path: Path, real_root: Path, follow_links: bool) -> str:
    """Why a file cannot be read, as far as can be told without opening it."""
    try:
        mode = path.stat().st_mode
        if path.is_symlink() and not follow_links and not path.resolve().is_relative_to(real_root):
            return _LEADS_OUT
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
