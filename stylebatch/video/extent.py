"""How far a file goes by what its container says, against how far it does go: whether it has been cut off."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

#: IDs of EBML: the header, and the segment in which a Matroska file has everything else; and that of a part of it.
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_OPEN = -1
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
#: AVI's flag for an index at the end.
_HAS_INDEX = 0x10


@dataclass(frozen=True)
class Extent:
    """What a container's own sizes say.

    Attributes:
        is_cut_off: the file ends before what it says it holds.
        follow: so many files of its kind were joined to it; `unread` is how many of these FFmpeg does not come to.
    """

    is_cut_off: bool = False
    follow: int = 0
    unread: int = 0


def extent(path: Path | str, format: str) -> Extent:
    """Look at the outermost elements of a file.

    Args:
        format: FFmpeg's name of its demuxer. Of containers that do not say how long they are, such as transport streams,
            nothing is known.
    """
    walk = _WALKS.get(format.partition(",")[0])
    if walk is None:
        return Extent()
    with Path(path).open("rb") as file:
        return walk(file, file.seek(0, os.SEEK_END))


def _mp4(file: BinaryIO, size: int) -> Extent:
    """Boxes: size in 4 bytes, kind; 1 for a size in 8 more, 0 for the rest of the file."""
    position = follow = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        follow += position > 0 and head[4:8] == b"ftyp"
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or not head[4:8].isascii():  # to the end of the file, or what somebody has appended
            return Extent(follow=follow, unread=follow)
        position += length
    return Extent(position > size, follow, follow)


def _matroska(file: BinaryIO, size: int) -> Extent:
    """Elements: ID and size, both in 1 to 8 bytes. A live recording leaves sizes open: what is in these is walked over."""
    position = segments = 0
    while position < size:
        file.seek(position)
        ident, length = _number(file, marker=True), _number(file)
        if ident is None or length is None:
            return Extent(is_cut_off=segments > 0)
        segments += ident == _SEGMENT
        position = file.tell()
        if length != _OPEN:
            position += length
        elif ident not in (_SEGMENT, _CLUSTER):
            return Extent()
    return Extent(position > size, max(0, segments - 1), max(0, segments - 2))


def _number(file: BinaryIO, *, marker: bool = False) -> int | None:
    """A number of EBML, in one byte and as many more as this one has leading zeros; sizes of nothing but ones are open.
    IDs keep the one that marks their length."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        return None
    value, ones = int.from_bytes(first + rest, "big"), (1 << 7 * length) - 1
    if marker:
        return value
    return _OPEN if value & ones == ones else value & ones


def _avi(file: BinaryIO, size: int) -> Extent:
    """RIFF chunks: kind, size in 4 bytes. Who writes one with an index at its end fills in its size when closing it."""
    position = 0
    while position + 12 <= size:
        file.seek(position)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF":
            break
        if position == 0:
            start = file.read(1024)
            place = start.find(b"avih")
            flags = int.from_bytes(start[place + 20 : place + 24], "little") if place >= 0 else 0
            if length == 0:
                return Extent(is_cut_off=bool(flags & _HAS_INDEX))
        position += 8 + length + length % 2
    return Extent(is_cut_off=position > size + 1)


def _asf(file: BinaryIO, size: int) -> Extent:
    """Objects: a GUID of 16 bytes, size in 8. Broadcasts leave that of the data open."""
    position = headers = 0
    while position + 24 <= size:
        file.seek(position)
        head = file.read(24)
        length = int.from_bytes(head[16:], "little")
        headers += head[:16] == _ASF_HEADER
        if not headers or length < 24 or length > 1 << 62:
            return Extent()
        position += length
    return Extent(position > size, max(0, headers - 1), max(0, headers - 1))


def _flv(file: BinaryIO, size: int) -> Extent:
    """A header, then tags: kind, size in 3 bytes, 7 more, and the size again behind."""
    position = 13
    while position + 11 <= size:
        file.seek(position)
        head = file.read(4)
        if head.startswith(b"FLV"):
            return Extent(follow=1, unread=1)
        position += int.from_bytes(head[1:], "big") + 15
    return Extent(is_cut_off=position > size)


_WALKS: dict[str, Callable[[BinaryIO, int], Extent]] = {
    "mov": _mp4, "matroska": _matroska, "avi": _avi, "asf": _asf, "flv": _flv,
}  # fmt: skip
