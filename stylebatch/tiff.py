"""What the directories of a TIFF or BigTIFF say of its pages: Pillow takes thumbnails and sensors' data for pages, too."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _PHOTOMETRIC, _SUB_IFDS = 254, 255, 262, 330
_TAGS = (_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _PHOTOMETRIC, _SUB_IFDS)
#: By type: struct's letter. Others do not occur with those tags.
_TYPES = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
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


def pages_of(file: BinaryIO) -> list[Page]:
    """All directories, as far as they can be read; those of the chain first."""
    layout = _Layout(file)
    pages: list[Page] = []
    nested: list[int] = []
    seen: set[int] = set()
    with suppress(struct.error, OSError, OverflowError):
        offset = layout.first
        while (offset or nested) and len(seen) < _MOST:
            inner = not offset
            at = nested.pop(0) if inner else offset
            if at in seen:
                break
            seen.add(at)
            tags, following = layout.directory(at)
            pages.append(_page(at, tags, inner))
            nested += tags.get(_SUB_IFDS, ())
            offset = 0 if inner else following
    return pages


def beginning_at(data: bytes, offset: int) -> bytes:
    """The same file with the directory at `offset` as its first page."""
    order = _order(data)
    if _is_big(data, order):
        return data[:8] + struct.pack(order + "Q", offset) + data[16:]
    return data[:4] + struct.pack(order + "I", offset) + data[8:]


def _page(offset: int, tags: dict[int, tuple[int, ...]], nested: bool) -> Page:
    kind = tags.get(_NEW_SUBFILE_TYPE, (0,))[0]
    photometric = tags.get(_PHOTOMETRIC, (0,))[0]
    whole = not kind & 0b101 and tags.get(_SUBFILE_TYPE) != (2,) and photometric != _MASK
    return Page(offset, whole, photometric in _SENSORS, nested)


class _Layout:
    """Byte order and the widths of offsets."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)
        head = file.read(16)
        self._order = _order(head)
        self._big = _is_big(head, self._order)
        self.first = self._unpack("Q" if self._big else "I", head[8 if self._big else 4 :])[0]

    def directory(self, offset: int) -> tuple[dict[int, tuple[int, ...]], int]:
        """Values of `_TAGS`, and the offset of the next directory, 0 for none."""
        count_letter, entry, offset_letter = ("Q", "HHQ8s", "Q") if self._big else ("H", "HHI4s", "I")
        self._file.seek(offset)
        (count,) = self._read(count_letter)
        entries = self._file.read(struct.calcsize(self._order + entry) * min(count, 65_536))
        (following,) = self._read(offset_letter)
        found = {}
        for tag, kind, length, value in struct.iter_unpack(self._order + entry, entries):
            if tag in _TAGS and kind in _TYPES and 0 < length <= _MOST:
                letters = f"{length}{_TYPES[kind]}"
                if struct.calcsize(self._order + letters) > len(value):
                    self._file.seek(self._unpack(offset_letter, value)[0])
                    found[tag] = self._read(letters)
                else:
                    found[tag] = self._unpack(letters, value)
        return found, following

    def _read(self, letters: str) -> tuple[int, ...]:
        return self._unpack(letters, self._file.read(struct.calcsize(self._order + letters)))

    def _unpack(self, letters: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack_from(self._order + letters, data)


def _order(data: bytes) -> str:
    return ">" if data[:2] == b"MM" else "<"


def _is_big(data: bytes, order: str) -> bool:
    return struct.unpack_from(order + "H", data, 2) == (43,)
