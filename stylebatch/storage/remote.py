"""Storages that are reached by URL: object stores, Hadoop, SFTP and what else fsspec has a file system for.

Photographs are fetched by threads ahead of the decoders. Results are stored whole: in one request where a store makes an
object visible when it is complete, else under a temporary name that is then changed.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from stylebatch.ahead import in_order
from stylebatch.errors import OutputError, StylebatchError, first_line
from stylebatch.files import TEMP_PREFIX, file_digest
from stylebatch.frame import Failure
from stylebatch.images.formats import is_set_aside
from stylebatch.storage import Folder, Storage
from stylebatch.storage.remote_content import RemoteContent, digest_of
from stylebatch.storage.remote_log import RemoteLog

#: Files fetched at a time, and how many are at most ahead of the decoders.
_FETCHERS, _AHEAD = 8, 16
#: Folders whose listings are remembered for planning.
_LISTINGS = 8
#: Stores in which nothing is visible before it is complete.
_WHOLE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "obs", "memory"}


class RemoteStorage:
    """What lies under a URL. Credentials are found as fsspec finds them: in the environment, or its configuration.

    Raises:
        StylebatchError: fsspec has no file system for it, or lacks the package for that.
    """

    real = None

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        if self._url.endswith(":"):
            raise StylebatchError(f"{url}: names no bucket and no folder")
        try:
            self._files, self._top = fsspec.core.url_to_fs(self._url, use_listings_cache=False)
        except Exception as error:  # every store has errors of its own
            raise StylebatchError(f"{url}: cannot be reached: {first_line(error)}") from None
        protocols = self._files.protocol
        self._whole = not _WHOLE.isdisjoint([protocols] if isinstance(protocols, str) else protocols)
        self._asks_now = True
        self._made: set[str] = set()
        self._listings: dict[str, dict[str, dict[str, Any]]] = {}
        self._listing = threading.Lock()

    def __str__(self) -> str:
        return self._url

    @cached_property
    def root(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=TEMP_PREFIX))

    def close(self) -> None:
        if "root" in vars(self):
            shutil.rmtree(self.root, ignore_errors=True)

    def is_folder(self) -> bool:
        try:
            with _as_system_errors():
                return bool(self._files.isdir(self._top))
        except OSError as error:
            raise self._unreadable(error) from error

    def shown(self, name: str) -> str:
        return f"{self._url}/{name}"

    def walk(
        self,
        *,
        recursive: bool = True,
        follow_links: bool = False,  # noqa: ARG002
        output: Storage | None = None,  # noqa: ARG002
        left: Callable[[str, str], None] = lambda _name, _reason: None,
    ) -> Iterator[Folder]:
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                entries = self._entries(folder)
            except OSError as error:
                if not folder:
                    raise self._unreadable(error) from error
                denied = isinstance(error, PermissionError)
                left(folder, "no permission to read the folder" if denied else f"unreadable: {error.strerror}")
                continue
            files, folders = [], []
            for name, entry in sorted(entries.items()):
                if not _is_plain(name):
                    files.append((name, "has a name that no folder can hold"))
                elif entry["type"] != "directory":
                    if not posixpath.basename(name).startswith(TEMP_PREFIX):
                        files.append((name, ""))
                elif is_set_aside(posixpath.basename(name)):
                    left(f"{name}/", "set aside")
                elif recursive:
                    folders.append(name)
            del entries
            yield Folder(folder, files.__iter__)
            waiting += reversed(folders)

    def listed(self, folder: str) -> list[str]:
        return [posixpath.basename(name) for name in self._remembered("" if folder == "." else folder)]

    def as_listed(self) -> RemoteStorage:
        assert self.root  # of both
        listed = copy(self)
        listed._asks_now = False
        listed._listings, listed._listing = {}, threading.Lock()
        return listed

    def content(self, name: str) -> RemoteContent:
        return RemoteContent(self.shown(name), digest_of(self._entry(name)), lambda: digest_of(self._info(name)))

    def size(self, name: str) -> int | None:
        entry = self._entry(name)
        return None if entry is None else entry["size"] if entry["type"] == "file" else -1

    def digest(self, name: str) -> str | None:
        with suppress(OSError), self.fetched(name) as path:
            return file_digest(path)
        return None

    @contextmanager
    def fetched(self, name: str, first: int | None = None) -> Iterator[Path]:
        path = self.root / f"{TEMP_PREFIX}{uuid.uuid4().hex}" / posixpath.basename(name)
        try:
            self._fetch(name, path, first)
            yield path
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)

    def staged(self, names: Iterable[str], failed: Callable[[Failure], None]) -> Iterator[str]:
        def fetch(name: str) -> None:
            self._fetch(name, self.root / name)

        with closing(in_order(fetch, names, threads=_FETCHERS, ahead=_AHEAD)) as fetched:
            for name, outcome in fetched:
                try:
                    outcome.result()
                except Exception as error:  # every store has errors of its own
                    failed(Failure(name, f"cannot be fetched: {first_line(error)}"))
                else:
                    yield name

    def publish(self, temp: Path, name: str, *, new: bool) -> None:  # noqa: ARG002  (its size was asked a moment ago)
        try:
            self._put(temp, self._path(name))
        except Exception as error:
            raise self._unwritable(name, error) from error
        temp.unlink()

    def log(self, name: str, wait: float, writer: str | None) -> RemoteLog:  # noqa: ARG002
        return RemoteLog(self, name, writer or "run")

    def clean(self) -> None:
        pass

    def lines(self, name: str) -> Iterator[bytes]:
        """Of a file of lines; none where there is none. Raises OutputError."""
        try:
            with _as_system_errors(), self.fetched(name) as path, path.open("rb") as file:
                yield from file
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{self.shown(name)}: cannot be read: {first_line(error)}") from error

    def write(self, name: str, content: Iterable[bytes]) -> None:
        """A file of lines, whole. Raises OutputError."""
        with tempfile.NamedTemporaryFile(dir=self.root, delete=False) as file:
            file.writelines(content)
        try:
            self._put(Path(file.name), self._path(name))
        except Exception as error:
            raise self._unwritable(name, error) from error
        finally:
            Path(file.name).unlink()

    def remove(self, name: str) -> None:
        with suppress(Exception):  # it stays, and is read again
            self._files.rm_file(self._path(name))

    def _put(self, temp: Path, path: str) -> None:
        if self._whole:
            self._files.put_file(str(temp), path)
            return
        folder = posixpath.dirname(path)
        if folder not in self._made:
            self._files.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        passing = f"{folder}/{TEMP_PREFIX}{uuid.uuid4().hex}.tmp"
        self._files.put_file(str(temp), passing)
        if self._files.exists(path):
            self._files.rm_file(path)
        self._files.mv(passing, path)

    def _path(self, name: str) -> str:
        return f"{self._top}/{name}" if name else self._top

    def _fetch(self, name: str, path: Path, first: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if first is None:
            self._files.get_file(self._path(name), str(path))
        else:
            path.write_bytes(self._files.cat_file(self._path(name), start=0, end=first))

    def _entry(self, name: str) -> dict[str, Any] | None:
        """What the store says of a file, or said when its folder was listed; None if it is not there."""
        return self._info(name) if self._asks_now else self._remembered(posixpath.dirname(name)).get(name)

    def _info(self, name: str) -> dict[str, Any] | None:
        try:
            with _as_system_errors():
                entry: dict[str, Any] = self._files.info(self._path(name))
                return entry
        except FileNotFoundError:
            return None

    def _remembered(self, folder: str) -> dict[str, dict[str, Any]]:
        """The entries of a folder, listed once; of no more than some folders at a time."""
        with self._listing:
            if folder not in self._listings:
                if len(self._listings) == _LISTINGS:
                    del self._listings[next(iter(self._listings))]
                self._listings[folder] = self.entries(folder)
            return self._listings[folder]

    def entries(self, folder: str) -> dict[str, dict[str, Any]]:
        """What lies in a folder now, by name; nothing where there is none. Raises OSError."""
        try:
            return self._entries(folder)
        except FileNotFoundError:
            return {}

    def _entries(self, folder: str) -> dict[str, dict[str, Any]]:
        with _as_system_errors():
            listed = self._files.ls(self._path(folder), detail=True)
        start = len(self._top) + 1
        names = {entry["name"].rstrip("/")[start:]: entry for entry in listed}
        return {name: entry for name, entry in names.items() if name != folder}

    def _unreadable(self, error: OSError) -> StylebatchError:
        return StylebatchError(f"{self}: cannot be read: {first_line(error)}")

    def _unwritable(self, name: str, error: Exception) -> OutputError:
        fatal = isinstance(error, PermissionError | FileNotFoundError)  # no such bucket, or no right to write there
        return OutputError(f"{self.shown(name)}: cannot be written: {first_line(error)}", fatal=fatal)


@contextmanager
def _as_system_errors() -> Iterator[None]:
    """Every store has errors of its own beside those of the system."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(first_line(error)) from error


def _is_plain(name: str) -> bool:
    """Whether a folder here can hold it: an object's name is any text, and may lead out of it."""
    return not {"", ".", ".."} & {*name.split("/")} and "\0" not in name and (os.sep == "/" or os.sep not in name)
