"""Proof of finished work, in the output folder: what each output was made from, by content.

An append-only log of JSON lines rather than a database: one writer, one line a file, a torn last line is recognised and
dropped, and no journal files lie beside the pictures. When a run ends the log is rewritten in order, so that an interrupted
and resumed run leaves the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from stylebatch.errors import OutputError
from stylebatch.files import atomic_write, open_own, remove_temporaries

NAME = ".stylebatch.jsonl"
#: Raised when the same input, style and options give other pixels than before.
FORMAT = 2


class Manifest:
    """The manifest of one output folder, locked while it is open. A context manager.

    Args:
        output: the output root; made if missing. Temporary files of runs over folders that were cut off are removed.
        source: the input root; or the one input of all outputs, which then are the names here.
        settings: whatever changes the bytes of an output; JSON values.

    Raises:
        OutputError: another run writes there, or it cannot be written.
    """

    def __init__(self, output: Path, source: Path, settings: Mapping[str, Any]) -> None:
        self.output = output
        self.source = source
        self.key = digest_of([FORMAT, settings])
        self._path = output / NAME
        self._descriptor = open_locked(self._path)
        log = read_all(self._descriptor)
        self._records = _parse(log)
        if log and not log.endswith(b"\n"):
            os.write(self._descriptor, b"\n")  # after a line that was cut off
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="manifest")
        if self.source.is_dir():
            remove_temporaries(output)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hasher.shutdown(wait=True)
        try:
            content = b"".join(_line(name, record) for name, record in sorted(self._records.items()))
            if read_all(self._descriptor) != content:
                with atomic_write(self._path) as file:
                    file.write(content)
        except (OutputError, OSError):
            pass  # the log says the same, in another order
        finally:
            os.close(self._descriptor)

    def __contains__(self, name: str) -> bool:
        """Whether an input, or an output of the one, is on record, however it was made."""
        return name in self._records

    def is_done(self, name: str) -> bool:
        """Whether the outputs of an input are there, made from its present content with the present settings.

        Size and time of the input stand for its content if they have not changed; else it is read again.
        """
        record = self._records.get(name)
        if record is None or record["key"] != self.key:
            return False
        try:
            if any((self.output / path).stat().st_size != size for path, size in record["outputs"].items()):
                return False
            size, modified = _stamp(self._input(name))
            if size != record["size"]:
                return False
            if modified != record["modified"]:
                if file_digest(self._input(name)) != record["sha256"]:
                    return False
                self._append(name, {**record, "modified": modified})
        except OSError:
            return False
        return True

    def _input(self, name: str) -> Path:
        return self.source if self.source.is_file() else self.source / name

    def stamp(self, name: str) -> tuple[int, int] | None:
        """Size and time of an input, to be taken before it is read; None if it is not there."""
        try:
            return _stamp(self._input(name))
        except OSError:
            return None

    def add(self, name: str, outputs: list[Path], stamp: tuple[int, int] | None) -> None:
        """Note, in the background, that `outputs` are on the disk. An input that changed since `stamp` is not noted: its
        next run does it again."""
        self._hasher.submit(self._add, name, outputs, stamp)

    def _add(self, name: str, outputs: list[Path], stamp: tuple[int, int] | None) -> None:
        try:
            if stamp is None or stamp != _stamp(self._input(name)):
                return
            digest = _digest_at(self._input(name), stamp)
            if _stamp(self._input(name)) != stamp:
                return
            sizes = {path.relative_to(self.output).as_posix(): path.stat().st_size for path in outputs}
        except OSError:
            return
        size, modified = stamp
        self._append(name, {"key": self.key, "modified": modified, "outputs": sizes, "sha256": digest, "size": size})

    def _append(self, name: str, record: dict[str, Any]) -> None:
        self._records[name] = record
        os.write(self._descriptor, _line(name, record))


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _digest_at(path: Path, _stamp: tuple[int, int]) -> str:
    """Read once for all outputs of one input."""
    return file_digest(path)


def open_locked(path: Path) -> int:
    """A descriptor of a log, made with its folder if missing, which no other process has while this one lives.

    Raises:
        OutputError: another has it, or it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        alone = False
        while True:
            descriptor = open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            # Unless the run before has just put its ordered log in place of this one:
            if _lock(descriptor) and os.fstat(descriptor).st_ino == path.lstat().st_ino:
                if alone or os.fstat(descriptor).st_nlink == 1:
                    return descriptor
                with atomic_write(path) as file:  # what other names the old one has is not known
                    file.write(read_all(descriptor))
                alone = True
            os.close(descriptor)
    except BlockingIOError:
        raise OutputError(f"{path.parent}: another run is writing there; wait for it, or give another output") from None
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be written: {error.strerror or error}") from error


def _lock(descriptor: int) -> bool:
    """A record lock, which worker processes do not inherit: it ends with this process, however that dies."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            pass  # a file system without locks
    return True


def read_all(descriptor: int) -> bytes:
    """By the locked descriptor: opening and closing the file once more would give up a POSIX lock."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _parse(log: bytes) -> dict[str, dict[str, Any]]:
    """The last record of each input; lines that are not of this program, or not whole, are left out."""
    records: dict[str, dict[str, Any]] = {}
    for line in log.split(b"\n"):
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if _is_record(record):
                records[record.pop("input")] = record
    return records


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"input", "key", "modified", "outputs", "sha256", "size"}:
        return False
    texts, numbers = [value["input"], value["key"], value["sha256"]], [value["modified"], value["size"]]
    if not isinstance(value["outputs"], dict):
        return False
    texts, numbers = [*texts, *value["outputs"]], [*numbers, *value["outputs"].values()]
    return all(type(text) is str and "\0" not in text for text in texts) and all(type(each) is int for each in numbers)


def _line(name: str, record: dict[str, Any]) -> bytes:
    """One line of ASCII; names that are no text are kept by their surrogates."""
    return json.dumps({"input": name, **record}, sort_keys=True).encode("ascii") + b"\n"


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
