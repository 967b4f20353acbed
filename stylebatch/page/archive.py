"""A ZIP that is sent while it is made: no copy of the results lies on the disk or in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1_000_000


class _Outgoing(io.RawIOBase):
    """What is written, until it is taken. It cannot be gone back in."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken


def zipped(files: list[tuple[str, Path]]) -> Iterator[bytes]:
    """The bytes of an archive of files, under these names. Pictures and films are stored as they are: they hold nothing to
    compress. A file that is gone meanwhile is left out."""
    outgoing = _Outgoing()
    with zipfile.ZipFile(outgoing, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            try:
                source = path.open("rb")
            except OSError:
                continue
            with source, archive.open(zipfile.ZipInfo.from_file(path, name), "w", force_zip64=True) as entry:
                while chunk := source.read(_CHUNK):
                    entry.write(chunk)
                    yield outgoing.take()
            yield outgoing.take()
    yield outgoing.take()
