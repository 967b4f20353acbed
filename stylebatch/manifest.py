"""Whose a file in an output folder is, and proof of finished work: by which input, which settings, with what content.

An append-only log of JSON lines rather than a database: one writer, one line a file, a torn last line is recognised and
dropped, and no journal files lie beside the pictures. A file's line is on the disk before the file has its name, so that
whatever a run leaves can be told from what it did not write. When a run ends the log is rewritten in order, so that an
interrupted and resumed run leaves the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from stylebatch.errors import OutputError
from stylebatch.files import create, open_own, remove_temporaries, replace
from stylebatch.locking import Log

NAME = ".stylebatch.jsonl"
#: Raised when the same input, style and options give other pixels than before.
FORMAT = 3


class Content:
    """What a file holds when this is made, to be made before it is read. A file that is not there holds nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._digest: str | None = None

    @property
    def digest(self) -> str | None:
        """SHA-256 in hexadecimal; None if it is not known: the file cannot be read, or has changed."""
        with suppress(OSError):
            if self._digest is None and self._stamp:
                self._digest = file_digest(self.path)
        return self._digest if self._stamp == _stamp(self.path) else None


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

    Raises:
        BusyError: another run writes there.
        OutputError: it cannot be written.
    """

    def __init__(
        self, output: Path, source: Path, settings: Mapping[str, Any], *, overwrite: bool = False, wait: float = 0.5
    ) -> None:
        self.output = output
        self.source = source
        self.overwrite = overwrite
        self.key = digest_of([FORMAT, settings])
        self._log = Log(output / NAME, wait)
        self._real = Path(os.path.realpath(output))
        log = self._log.read()
        #: Of each output the files that it can be: one, or two or more if a run was killed.
        self._records = _parse(log)
        if log and not log.endswith(b"\n"):
            self._log.append(b"\n")  # after a line that was cut off
        if source.is_dir():
            remove_temporaries(output)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            content = b"".join(record.line() for _, records in sorted(self._records.items()) for record in records)
            if self._log.read() != content:
                self._log.replace(content)
        except (OutputError, OSError):
            pass  # the log says the same, in another order
        finally:
            self._log.close()

    def content(self, name: str) -> Content:
        """What an input, by its name in the source, holds now."""
        return Content(self.source / name)

    def standing(self, content: Content, output: Path) -> Standing:
        """What lies at `output`, under the folder, where the result of an input goes. The input is read if the answer
        depends on it."""
        try:
            status = output.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return Standing.FREE
        except OSError:
            return Standing.FOREIGN
        records = [record for record in self._records.get(self._name(output), []) if record.size == status.st_size]
        if not stat.S_ISREG(status.st_mode) or not records:
            return Standing.FOREIGN
        if len(self._records[self._name(output)]) == 1 and self._is_of(records[0], content):
            return Standing.DONE  # its size is enough: it will not be replaced
        digest = Content(output).digest
        record = next((record for record in reversed(records) if record.digest == digest), None)
        if record is None:
            return Standing.FOREIGN
        self._records[record.output] = [record]
        if self._is_of(record, content):
            return Standing.DONE
        if record.input != self._input(content.path):
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
            self._name(output), self._input(content.path), content.digest, self.key, temp.stat().st_size, file_digest(temp)
        )
        self._records[record.output] = [*self._records.get(record.output, []), record]
        self._log.append(record.line())
        (create if standing is Standing.FREE else replace)(temp, output)
        self._records[record.output] = [record]

    def refusal(self, standing: Standing, content: Content, output: Path) -> OutputError:
        """Why the result of an input may not be written where it would go, and what to do."""
        if standing is Standing.OTHERWISE:
            why = f"the result of {content.path.name} with other options, or another style or precision"
        else:
            why = f"no result of {content.path.name}"
        return OutputError(f"{output}: is there, and {why}; `overwrite` replaces it, another output keeps both")

    def _is_of(self, record: Record, content: Content) -> bool:
        return record.key == self.key and record.content is not None and record.content == content.digest

    def _name(self, output: Path) -> str:
        return output.relative_to(self.output).as_posix()

    def _input(self, path: Path) -> str:
        real = Path(os.path.realpath(path.parent), path.name)
        try:
            return Path(os.path.relpath(real, self._real)).as_posix()
        except ValueError:  # another drive of Windows
            return real.as_posix()


def written_in(folder: Path) -> set[str]:
    """The names of the outputs in a folder that are on record there, and of the manifest itself."""
    with suppress(OSError, OutputError), open(open_own(folder / NAME, os.O_RDONLY), "rb") as file:
        return {NAME, *_parse(file.read())}
    return set()


def is_result(output: Path, source: Path) -> bool:
    """Whether `output` was written by a run whose input was `source`, with whatever options, and nobody has changed it.

    Raises:
        OutputError: as `Manifest`.
    """
    if not (output.parent / NAME).exists():
        return False
    with Manifest(output.parent, source, {}) as manifest:
        return manifest.standing(Content(source), output) is Standing.OTHERWISE


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(log: bytes) -> dict[str, list[Record]]:
    """The records of each output; lines that are not of this program, or not whole, are left out."""
    records: dict[str, list[Record]] = {}
    for line in log.split(b"\n"):
        with suppress(ValueError, TypeError, RecursionError):
            record = Record(**json.loads(line))
            if _is_valid(record):
                records.setdefault(record.output, []).append(record)
    return records


def _is_valid(record: Record) -> bool:
    """Whether it holds what is declared: a damaged line may hold anything."""
    kinds: dict[str, tuple[type, ...]] = {"size": (int,), "content": (str, type(None))}
    return all(type(getattr(record, field.name)) in kinds.get(field.name, (str,)) for field in fields(record))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file's content does; None if it is not there. On Windows the change time is that of its making."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
