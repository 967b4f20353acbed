"""Where photographs come from and results go: a folder here, or what a URL names. Work is done on files under `root`: a
remote storage fetches inputs there, and takes results from there when they are complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from stylebatch.errors import StylebatchError

if TYPE_CHECKING:
    from stylebatch.frame import Failure

IS_OUTPUT = "leads into the output, and is not taken"
LEADS_OUT = "is a symbolic link out of the folder; `follow_links` takes it"
_URL = re.compile(r"([a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Content(Protocol):
    """What a file holds when this is made, to be made before it is read. A file that is not there holds nothing."""

    @property
    def name(self) -> str:
        """The file's, without its folder."""

    @property
    def digest(self) -> str | None:
        """What differs for other content; None if it is not known: the file cannot be read, or has changed."""

    @property
    def confirmed(self) -> str | None:
        """`digest`, None if the file has changed since."""

    def path_from(self, folder: Path | None) -> str:
        """Where it is, relative to a folder here if there is one and it can be."""


class Shards(Protocol):
    """A log that several write, as `ShardedLog` is one."""

    def read_all(self) -> Iterator[bytes]: ...
    def read_shards(self) -> Iterator[bytes]: ...
    def append(self, data: bytes, /) -> None: ...
    def merge(self, lines: Callable[[], Iterator[bytes]], /) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Folder:
    """A folder in a storage, or another group of files.

    Attributes:
        name: its path there, empty for the storage itself.
        files: lists its files, as often as it is called: names, each with the reason why it cannot be read, empty for
            regular files.
    """

    name: str
    files: Callable[[], Iterator[tuple[str, str]]]


class Storage(Protocol):
    """A tree of files. Their names are paths in it, with slashes.

    Attributes:
        root: the folder where its files lie, or pass through.
        real: `root` without links; None if they do not lie there.
    """

    @property
    def root(self) -> Path: ...

    @property
    def real(self) -> Path | None: ...

    def walk(
        self,
        *,
        recursive: bool = True,
        follow_links: bool = False,
        output: Storage | None = None,
        left: Callable[[str, str], None] = lambda _name, _reason: None,
    ) -> Iterator[Folder]:
        """Itself and the folders in it, as they are found.

        Args:
            output: where results go; nothing there is taken.
            left: told of folders that are not looked into, with the reason. The name of one that was set aside ends with a
                slash.
        """

    def listed(self, folder: str) -> Iterable[str]:
        """The names in a folder, none where there is no such folder."""

    def as_listed(self) -> Storage:
        """The same for planning: what it says of files may be a while old, where that costs less."""

    def content(self, name: str) -> Content: ...

    def size(self, name: str) -> int | None:
        """Bytes of a file; None if nothing is there, -1 if it is no regular file."""

    def digest(self, name: str) -> str | None:
        """SHA-256 of a file in hexadecimal; None if it cannot be read."""

    def fetched(self, name: str, first: int | None = None) -> AbstractContextManager[Path]:
        """A file here, or its `first` bytes, for as long as the context lasts. Raises OSError."""

    def staged(self, names: Iterable[str], failed: Callable[[Failure], None]) -> Iterator[str]:
        """The names, each when its file lies under `root`; `failed` is told of those that could not be fetched. What is
        fetched stays until it is removed."""

    def publish(self, temp: Path, name: str, *, new: bool) -> None:
        """Give a complete file its name, durably; `new` if nothing may have it already. `temp` is gone then.

        Raises:
            OSError, OutputError: it cannot be done.
        """

    def log(self, name: str, wait: float, writer: str | None) -> Shards:
        """The log `name` of lines; the other arguments are those of `ShardedLog`."""

    def is_folder(self) -> bool:
        """Whether it is there."""

    def shown(self, name: str) -> str:
        """What people call a file in it."""

    def clean(self) -> None:
        """Remove the temporary files of killed runs."""

    def close(self) -> None:
        """Remove what has passed through."""


def storage_of(place: Storage | Path | str) -> Storage:
    """The storage of a folder, or of a URL: s3://bucket/folder, file:///folder, what else fsspec has a file system for.

    Raises:
        StylebatchError: the URL is of none that is installed.
    """
    from stylebatch.storage.local import LocalStorage

    if isinstance(place, Path):
        return LocalStorage(place)
    if not isinstance(place, str):
        return place
    if not is_url(place):
        return LocalStorage(Path(place))
    if place.lower().startswith("file://"):
        from urllib.request import url2pathname  # which loads all of HTTP

        parts = urlsplit(place)
        if parts.netloc not in ("", "localhost"):
            raise StylebatchError(f"{place}: a file URL begins with file:///")
        return LocalStorage(Path(url2pathname(parts.path)))
    from stylebatch.storage.remote import RemoteStorage

    return RemoteStorage(place)


def is_url(place: str) -> bool:
    return bool(_URL.match(place))
