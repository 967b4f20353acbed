"""Whose a file in an output folder is, and proof of finished work: by which input, which settings, with what content.

An append-only log of JSON lines rather than a database: one line a file, a torn last line is recognised and dropped, and no
journal files lie beside the pictures. Several writers have a shard of the log each, until the run ends. A file's line is on
the disk before the file has its name, so that whatever a run leaves can be told from what it did not write. When a run ends
the log is rewritten in order, so that an interrupted and resumed run leaves the same bytes as an uninterrupted one.

While a manifest is open its lines lie in an SQLite database in a temporary file, which is nobody's but this process's: ten
million of them take no memory, and are found and put in order.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from stylebatch.errors import OutputError
from stylebatch.files import file_digest
from stylebatch.locking import read_lines
from stylebatch.storage import Content, Storage, storage_of
from stylebatch.storage.local import FileContent

NAME = ".stylebatch.jsonl"
#: Raised when the same input, style and options give other pixels than before.
FORMAT = 4


class Standing(IntEnum):
    """What lies where an output would: the larger, the more is against writing it."""

    DONE = 0  # the result, of this content with these settings
    FREE = 1  # nothing
    OUTDATED = 2  # the result of what the input was before, with these settings
    OTHERWISE = 3  # the result of this input with other settings
    FOREIGN = 4  # something else: of another input, changed since, or never written by this program


@dataclass(frozen=True)
class Record:
    """A file that was written. Its line is this as JSON.

    Attributes:
        output: its path, relative to the folder.
        input: the path of what it was made from, relative to the folder where it can be.
        content: digest of the input; None if that changed while it was read.
        key: digest of the settings.
        size, digest: of the file.
    """

    output: str
    input: str
    content: str | None
    key: str
    size: int
    digest: str

    def line(self) -> bytes:
        """ASCII; names that are no text are kept by their surrogates."""
        return json.dumps(vars(self), sort_keys=True).encode("ascii") + b"\n"


class Manifest:
    """The manifest of one output folder, locked while it is open. A context manager.

    Args:
        output: the output root; made if missing.
        source: the folder of the inputs, or the one input of all outputs.
        settings: whatever changes the bytes of an output; JSON values.
        overwrite: files that are no results of the same input with the same settings may be replaced, too.
        wait: seconds to wait for another run.
        writer: the name of one of several that write there at once, each to a shard, while no manifest without this is made;
            the next that is merges them.

    Raises:
        BusyError: another run writes there.
        OutputError: it cannot be written.
    """

    def __init__(
        self,
        output: Storage | Path,
        source: Storage | Path,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        wait: float = 0.5,
        writer: str | None = None,
    ) -> None:
        self.output = storage_of(output)
        self.source = storage_of(source)
        self.overwrite = overwrite
        self.key = digest_of([FORMAT, settings])
        self._writer = writer
        self._log = self.output.log(NAME, wait, writer)
        self._real = self.output.real
        self._records = _Records()
        if not writer:  # who reads them on demand
            self._records.add(self._log.read_all())
            if self.source.root.is_dir():
                self.output.clean()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if not self._writer:
                self._records.add(self._log.read_shards())
                self._settle()
                self._log.merge(self._records.lines)
        except (OutputError, OSError):
            pass  # the log says the same, in another order
        finally:
            self._log.close()
            self._records.close()

    def content(self, name: str) -> Content:
        """What an input, by its name in the source, holds now."""
        return self.source.content(name)

    def standing(self, content: Content, output: Path, listed: Storage | None = None) -> Standing:
        """What lies at `output`, under the folder, where the result of an input goes. The input is read if the answer
        depends on it.

        Args:
            listed: is asked in the place of the output's storage.
        """
        name = self._name(output)
        storage = listed or self.output
        size = storage.size(name)
        if size is None:
            return Standing.FREE
        held = self._records.of(name)
        if self._writer and not any(record.size == size for record in held):
            self._records.add(self._log.read_all())  # another writer's, perhaps one that has died since
            held = self._records.of(name)
        records = [record for record in held if record.size == size]
        if not records:
            return Standing.FOREIGN
        if len(held) == 1 and self._is_of(records[0], content):
            return Standing.DONE  # its size is enough: it will not be replaced
        digest = storage.digest(name)
        record = next((record for record in reversed(records) if record.digest == digest), None)
        if record is None:
            return Standing.FOREIGN
        self._records.keep(record)
        if self._is_of(record, content):
            return Standing.DONE
        if record.input != content.path_from(self._real):
            return Standing.FOREIGN
        return Standing.OUTDATED if record.key == self.key else Standing.OTHERWISE

    def put(self, content: Content, temp: Path, output: Path) -> None:
        """Give the complete file with the result of an input its name, under the folder, durably, after its line.

        Raises:
            OSError: it cannot be done.
            OutputError: something that may not be replaced has the name.
        """
        standing = self.standing(content, output)
        if standing >= Standing.OTHERWISE and not self.overwrite:
            raise self.refusal(standing, content, output)
        record = Record(
            self._name(output), content.path_from(self._real), content.confirmed, self.key, temp.stat().st_size,
            file_digest(temp),
        )  # fmt: skip
        self._records.add([record.line()])
        self._log.append(record.line())
        try:
            self.output.publish(temp, record.output, new=standing is Standing.FREE)
        except OutputError:
            if self.output.digest(record.output) != record.digest:  # another writer has done the same meanwhile
                raise
            temp.unlink()
        self._records.keep(record)

    def refusal(self, standing: Standing, content: Content, output: Path) -> OutputError:
        """Why the result of an input may not be written where it would go, and what to do."""
        if standing is Standing.OTHERWISE:
            why = f"the result of {content.name} with other options, or another style or precision"
        else:
            why = f"no result of {content.name}"
        shown = self.output.shown(self._name(output))
        return OutputError(f"{shown}: is there, and {why}; `overwrite` replaces it, another output keeps both")

    def _is_of(self, record: Record, content: Content) -> bool:
        return record.key == self.key and record.content is not None and record.content == content.digest

    def _name(self, output: Path) -> str:
        return output.relative_to(self.output.root).as_posix()

    def of_other_settings(self) -> Iterator[str]:
        """The inputs, by their paths, of results that were made with other settings."""
        return self._records.inputs_without(self.key)

    def _settle(self) -> None:
        """Of outputs with several records keep that of the file that lies there."""
        for name in self._records.doubled():
            digest = self.output.digest(name)
            for record in self._records.of(name):
                if record.digest == digest:
                    self._records.keep(record)


class _Records:
    """Records by output: of each the files that it can be, one, or two or more if a run was killed. Threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, self._database.close)  # a manifest may fail before it is whole, and nobody closes it then
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE records"
            " (output BLOB, line BLOB, number INTEGER, key BLOB, PRIMARY KEY (output, line)) WITHOUT ROWID;"
        )
        self._count = itertools.count()

    def add(self, lines: Iterable[bytes]) -> None:
        """Those of the lines that are whole and of this program; one that is there already counts as the latest."""
        rows = ((_blob(record.output), record.line(), next(self._count), _blob(record.key)) for record in _parsed(lines))
        with self._lock:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", rows)
            self._database.execute("COMMIT")

    def of(self, output: str) -> list[Record]:
        """Those of an output, the latest at the end."""
        return list(_parsed(self._column("SELECT line FROM records WHERE output = ? ORDER BY number", _blob(output))))

    def keep(self, record: Record) -> None:
        """Forget the others of its output."""
        with self._lock:
            self._database.execute(
                "DELETE FROM records WHERE output = ? AND line != ?", (_blob(record.output), record.line())
            )

    def lines(self) -> Iterator[bytes]:
        """All, in the order of the outputs."""
        return self._column("SELECT line FROM records ORDER BY output, number")

    def doubled(self) -> list[str]:
        """Outputs with several."""
        found = self._column("SELECT output FROM records GROUP BY output HAVING COUNT(*) > 1")
        return [output.decode("utf-8", "surrogatepass") for output in found]

    def inputs_without(self, key: str) -> Iterator[str]:
        return (record.input for record in _parsed(self._column("SELECT line FROM records WHERE key != ?", _blob(key))))

    def close(self) -> None:
        self._database.close()

    def _column(self, query: str, *arguments: bytes) -> Iterator[bytes]:
        with self._lock:
            cursor = self._database.execute(query, arguments)
        while True:
            with self._lock:
                rows = cursor.fetchmany(1000)
            if not rows:
                return
            yield from (value for (value,) in rows)


def _blob(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def written_in(folder: Path) -> set[str]:
    """The names of the outputs in a folder that are on record there, and of the manifest itself."""
    return {NAME, *(record.output for record in _parsed(read_lines(folder / NAME)))}


def is_result(output: Path, source: Path) -> bool:
    """Whether `output` was written by a run whose input was `source`, with whatever options, and nobody has changed it.

    Raises:
        OutputError: as `Manifest`.
    """
    if not (output.parent / NAME).exists():
        return False
    with Manifest(output.parent, source, {}) as manifest:
        return manifest.standing(FileContent(source), output) is Standing.OTHERWISE


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _parsed(lines: Iterable[bytes]) -> Iterator[Record]:
    """Lines that are not of this program, or not whole, are left out."""
    for line in lines:
        with suppress(ValueError, TypeError, RecursionError):
            record = Record(**json.loads(line))
            if _is_valid(record):
                yield record


def _is_valid(record: Record) -> bool:
    """Whether it holds what is declared: a damaged line may hold anything."""
    return all(type(getattr(record, name)) in kinds for name, kinds in _KINDS.items())


_KINDS: dict[str, tuple[type, ...]] = {
    **{field.name: (str,) for field in fields(Record)},
    "size": (int,),
    "content": (str, type(None)),
}
