"""Lists of photographs in the place of a folder: `@list.txt`, `@list.parquet`, `@list.arrow`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath

from stylebatch.errors import StylebatchError
from stylebatch.files import check_regular
from stylebatch.frame import Failure
from stylebatch.jobs.inputs import Group, Inputs
from stylebatch.pipeline import Summary
from stylebatch.storage import Storage, is_url, storage_of

#: Columns that hold photographs; the first that is there counts.
_COLUMNS = ("path", "url")
_TABLES = {".parquet": "parquet", ".arrow": "ipc", ".feather": "ipc"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def open_list(path: Path) -> tuple[Storage, ListInputs]:
    """The photographs in a list, and the folder that all lie in: the list's own, if each is named by a path from there, else
    the one that is nearest to all of them.

    Raises:
        StylebatchError: the list cannot be read, or its photographs have no folder in common.
    """
    check_regular(path)
    own = os.path.normpath(path.absolute().parent)
    common: str | None = None
    relative = True
    for entry in entries_of(path):
        place = _whole(entry, own)
        relative = relative and not is_url(entry) and not Path(entry).is_absolute() and Path(place).is_relative_to(own)
        common = _common(path, common, place.rpartition("/")[0] if is_url(place) else str(Path(place).parent))
    if common is None:
        raise StylebatchError(f"{path}: is empty; give a photograph's path or URL in each line")
    root = own if relative else common
    return storage_of(root if is_url(root) else Path(root)), ListInputs(path, own, root)


class ListInputs(Inputs):
    """The photographs in a list."""

    by_folder = False

    def __init__(self, path: Path, own: str, root: str) -> None:
        self._path, self._own, self._root = path, own, root

    def check(self) -> None:
        """There is one at least, or the list would not have been opened."""

    def folders(self) -> Iterator[str]:
        return iter({str(PurePosixPath(name).parent) for name in self._names() if "\0" not in name})

    def groups(self, summary: Summary) -> Iterator[Group]:
        def failed(failure: Failure) -> None:
            summary.total += 1
            summary.failures.append(failure)

        yield Group(self._names, partial(self._there, failed))

    def _names(self) -> Iterator[str]:
        for entry in entries_of(self._path):
            place = _whole(entry, self._own)
            below = place[len(self._root) :].lstrip("/") if is_url(place) else os.path.relpath(place, self._root)
            yield below if is_url(place) else Path(below).as_posix()

    def _there(self, failed: Callable[[Failure], None]) -> Iterator[str]:
        """Those in a store are missed when they are fetched."""
        for name in self._names():
            try:
                if not is_url(self._root):
                    check_regular(Path(self._root, name))
            except StylebatchError as error:
                failed(Failure(name, str(error).rpartition(": ")[2]))
            except ValueError:
                failed(Failure(name, "is no name of a file"))
            else:
                yield name


def entries_of(path: Path) -> Iterator[str]:
    """The lines of a text, or the values in a column `path` or `url` of a Parquet or Arrow file; none that are blank.

    Raises:
        StylebatchError: it cannot be read.
    """
    kind = _TABLES.get(path.suffix.lower())
    try:
        yield from (entry for entry in (_column(path, kind) if kind else _lines(path)) if entry and not entry.isspace())
    except (OSError, UnicodeError) as error:
        raise StylebatchError(f"{path}: cannot be read as a list: {error}") from None


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        wide = file.read(2) in _UTF_16
    # Of Windows: PowerShell writes UTF-16, Notepad puts a mark before UTF-8.
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
    with path.open(encoding=encoding, errors=errors) as file:
        for line in file:
            yield line.rstrip("\r\n")


def _column(path: Path, kind: str) -> Iterator[str | None]:
    try:
        import pyarrow as arrow
        import pyarrow.dataset as datasets
    except ImportError:
        raise StylebatchError(f"{path}: needs pyarrow to be read; pip install 'stylebatch[tables]'") from None
    try:
        table = datasets.dataset(path, format=kind)
        column = next((name for name in _COLUMNS if name in table.schema.names), None)
        if column is None:
            there = ", ".join(table.schema.names)
            raise StylebatchError(f"{path}: has no column `path` or `url`, only {there}")
        for batch in table.to_batches(columns=[column], batch_size=1 << 16, batch_readahead=1, fragment_readahead=1):
            for value in batch.column(0).to_pylist():
                if not isinstance(value, str | None):
                    raise StylebatchError(f"{path}: the column `{column}` holds no texts")
                yield value
    except arrow.ArrowException as error:
        raise StylebatchError(f"{path}: cannot be read as a list: {str(error).splitlines()[0]}") from None


def _whole(entry: str, folder: str) -> str:
    if entry.lower().startswith("file://"):
        return os.path.normpath(storage_of(entry).root)
    return entry if is_url(entry) else os.path.normpath(Path(folder, entry))


def _common(path: Path, common: str | None, folder: str) -> str:
    if common is None or common == folder:
        return folder
    with suppress(ValueError):  # drives of Windows
        if is_url(common) == is_url(folder):
            if not is_url(common):
                return os.path.commonpath([common, folder])
            pairs = takewhile(lambda pair: pair[0] == pair[1], zip(common.split("/"), folder.split("/"), strict=False))
            shared = [part for part, _ in pairs]
            if len(shared) >= 3:  # the protocol and a bucket
                return "/".join(shared)
    raise StylebatchError(f"{path}: {common} and {folder} have no folder in common; make a list for each")
