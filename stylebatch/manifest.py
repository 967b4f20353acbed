"""Whose a file in an output folder is, and proof of finished work: by which input, which settings, with what content.

An append-only log of JSON lines rather than a database: one line a file, a torn last line is recognised and dropped, and no
journal files lie beside the pictures. Several writers have a shard of the log each, until the run ends. A file's line is on
the disk before the file has its name, so that whatever a run leaves can be told from what it did not write. When a run ends
the log is rewritten in order, so that an interrupted and resumed run leaves the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from stylebatch.errors import OutputError
from stylebatch.files import file_digest
from stylebatch.locking import read_lines
from stylebatch.storage import Content, Storage, storage_of
from stylebatch.storage.local import FileContent

NAME = ".stylebatch.jsonl"
#: Raised when the same input, style and options give other pixels than before.
FORMAT = 3


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
        return json.dumps(asdict(self), sort_keys=True).encode("ascii") + b"\n"


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
        #: Of each output the files that it can be: one, or two or more if a run was killed. A writer reads them on demand.
        self._records: dict[str, list[Record]] = {} if writer else _parse(self._log.read_all())
        if not writer and self.source.root.is_dir():
            self.output.clean()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if not self._writer:
                ordered = sorted(self._merged().items())
                self._log.merge(b"".join(record.line() for _, records in ordered for record in records))
        except (OutputError, OSError):
            pass  # the log says the same, in another order
        finally:
            self._log.close()

    def content(self, name: str) -> Content:
        """What an input, by its name in the source, holds now."""
        return self.source.content(name)

    def standing(self, content: Content, output: Path) -> Standing:
        """What lies at `output`, under the folder, where the result of an input goes. The input is read if the answer
        depends on it."""
        name = self._name(output)
        size = self.output.size(name)
        if size is None:
            return Standing.FREE
        if self._writer and not any(record.size == size for record in self._records.get(name, [])):
            self._records = _parse(self._log.read_all())  # another writer's, perhaps one that has died since
        records = [record for record in self._records.get(name, []) if record.size == size]
        if not records:
            return Standing.FOREIGN
        if len(self._records[name]) == 1 and self._is_of(records[0], content):
            return Standing.DONE  # its size is enough: it will not be replaced
        digest = self.output.digest(name)
        record = next((record for record in reversed(records) if record.digest == digest), None)
        if record is None:
            return Standing.FOREIGN
        self._records[record.output] = [record]
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
        self._records[record.output] = [*self._records.get(record.output, []), record]
        self._log.append(record.line())
        try:
            self.output.publish(temp, record.output, new=standing is Standing.FREE)
        except OutputError:
            if self.output.digest(record.output) != record.digest:  # another writer has done the same meanwhile
                raise
            temp.unlink()
        self._records[record.output] = [record]

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

    def _merged(self) -> dict[str, list[Record]]:
        """The records of each output, with those of other writers: where there are several, of the file that lies there."""
        for name, written in _parse(self._log.read_shards()).items():
            records = list(dict.fromkeys([*self._records.get(name, []), *written]))
            if len(records) > 1:
                digest = self.output.digest(name)
                records = [record for record in records if record.digest == digest][-1:] or records
            self._records[name] = records
        return self._records


def written_in(folder: Path) -> set[str]:
    """The names of the outputs in a folder that are on record there, and of the manifest itself."""
    return {NAME, *_parse(read_lines(folder / NAME))}


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


def _parse(log: bytes) -> dict[str, list[Record]]:
    """The records of each output; lines that are not of this program, or not whole, are left out."""
    records: dict[str, list[Record]] = {}
    for line in log.split(b"\n"):
        with suppress(ValueError, TypeError, RecursionError):
            record = Record(**json.loads(line))
            if _is_valid(record):
                of_output = records.setdefault(record.output, [])
                if record in of_output:  # where a merge was cut short, or a unit done again, it has been written twice
                    of_output.remove(record)
                of_output.append(record)
    return records


def _is_valid(record: Record) -> bool:
    """Whether it holds what is declared: a damaged line may hold anything."""
    kinds: dict[str, tuple[type, ...]] = {"size": (int,), "content": (str, type(None))}
    return all(type(getattr(record, field.name)) in kinds.get(field.name, (str,)) for field in fields(record))
