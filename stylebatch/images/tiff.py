"""The directories of a TIFF or BigTIFF, which EXIF is, too: what they say of pages, and where each of their values lies."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _PHOTOMETRIC, SUB_DIRECTORIES = 254, 255, 262, 330
#: By type: bytes of one value, and struct's letter of those that are integers.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
_LETTERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
#: Photometric interpretations: a mask, and sensors' data: a colour filter array, linear raw.
_MASK, _SENSORS = 4, (32803, 34892)
#: More than sound files have, and few enough to be looked at in no time.
_MOST = 20_000


@dataclass(frozen=True)
class Page:
    """A directory.

    Attributes:
        offset: where in the file it begins.
        whole: it is no reduced copy and no mask of another.
        sensor: its pixels are a camera's raw data.
        nested: it belongs to another, rather than to the chain of pages.
    """

    offset: int
    whole: bool
    sensor: bool
    nested: bool


@dataclass(frozen=True)
class Entry:
    """A line of a directory.

    Attributes:
        tag: what it says.
        kind: TIFF's number of the values' type.
        count: how many values.
        place: where in the file the line itself lies.
        offset: where its values lie: in the line, if they have room there.
        size: bytes of its values.
    """

    tag: int
    kind: int
    count: int
    place: int
    offset: int
    size: int


@dataclass(frozen=True)
class Directory:
    """Entries by tag; where the offset of the next directory stands, and what it is, 0 for none."""

    entries: dict[int, Entry]
    next_place: int
    next: int


class Tiff:
    """A file's byte order, the widths of its offsets, and where its first directory is.

    Raises:
        struct.error: it is too short.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)
        head = file.read(16)
        self.order = _order(head)
        self.big = _is_big(head, self.order)
        self.first = self.unpack("Q" if self.big else "I", head[8 if self.big else 4 :])[0]

    def directory(self, offset: int) -> Directory:
        """Read one, without its values.

        Raises:
            struct.error: it reaches beyond the end of the file, or is none.
        """
        count_letter, entry, offset_letter = ("Q", "HHQ8s", "Q") if self.big else ("H", "HHI4s", "I")
        self._file.seek(offset)
        (count,) = self.unpack(count_letter, self._file.read(self._size(count_letter)))
        length = self._size(entry)
        lines = self._file.read(length * min(count, 65_536))
        if len(lines) < length * min(count, 65_536):
            raise struct.error("a directory reaches beyond the end")
        after = offset + self._size(count_letter) + length * count
        self._file.seek(after)
        last = self._file.read(self._size(offset_letter))
        following = self.unpack(offset_letter, last)[0] if len(last) == self._size(offset_letter) else 0
        entries: dict[int, Entry] = {}
        for index, (tag, kind, number, value) in enumerate(struct.iter_unpack(self.order + entry, lines)):
            size = number * SIZES.get(kind, 0)
            place = offset + self._size(count_letter) + index * length
            inside = size <= len(value)
            at = place + length - len(value) if inside else self.unpack(offset_letter, value)[0]
            entries.setdefault(tag, Entry(tag, kind, number, place, at, size))
        return Directory(entries, after, following)

    def read(self, entry: Entry) -> bytes:
        """An entry's values as they lie there; fewer, if the file ends before."""
        self._file.seek(entry.offset)
        return self._file.read(entry.size)

    def integers(self, entry: Entry) -> tuple[int, ...]:
        """An entry's values, if they are integers and not unusually many; else none.

        Raises:
            struct.error: they reach beyond the end of the file.
        """
        if entry.kind not in _LETTERS or entry.count > _MOST:
            return ()
        return self.unpack(f"{entry.count}{_LETTERS[entry.kind]}", self.read(entry))

    def pack(self, kind: int, values: Iterable[int]) -> bytes:
        """Integers as an entry of a type holds them.

        Raises:
            struct.error: one is too large for it.
        """
        return b"".join(struct.pack(self.order + _LETTERS[kind], value) for value in values)

    def unpack(self, letters: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack_from(self.order + letters, data)

    def _size(self, letters: str) -> int:
        return struct.calcsize(self.order + letters)


def pages_of(file: BinaryIO) -> list[Page]:
    """All directories, as far as they can be read; those of the chain first."""
    pages: list[Page] = []
    nested: list[int] = []
    seen: set[int] = set()
    with suppress(struct.error, OSError, OverflowError):
        tiff = Tiff(file)
        offset = tiff.first
        while (offset or nested) and len(seen) < _MOST:
            inner = not offset
            at = nested.pop(0) if inner else offset
            if at in seen:
                break
            seen.add(at)
            directory = tiff.directory(at)
            pages.append(_page(tiff, at, directory, inner))
            if SUB_DIRECTORIES in directory.entries:
                nested += tiff.integers(directory.entries[SUB_DIRECTORIES])
            offset = 0 if inner else directory.next
    return pages


def beginning_at(data: bytes, offset: int) -> bytes:
    """The same file with the directory at `offset` as its first page."""
    order = _order(data)
    if _is_big(data, order):
        return data[:8] + struct.pack(order + "Q", offset) + data[16:]
    return data[:4] + struct.pack(order + "I", offset) + data[8:]


def _page(tiff: Tiff, offset: int, directory: Directory, nested: bool) -> Page:
    def value(tag: int) -> int:
        entry = directory.entries.get(tag)
        return next(iter(tiff.integers(entry)), 0) if entry else 0

    whole = not value(_NEW_SUBFILE_TYPE) & 0b101 and value(_SUBFILE_TYPE) != 2 and value(_PHOTOMETRIC) != _MASK
    return Page(offset, whole, value(_PHOTOMETRIC) in _SENSORS, nested)


def _order(data: bytes) -> str:
    return ">" if data[:2] == b"MM" else "<"


def _is_big(data: bytes, order: str) -> bool:
    return struct.unpack_from(order + "H", data, 2) == (43,)
