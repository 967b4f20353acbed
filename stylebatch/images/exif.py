"""EXIF as the bytes that a camera wrote, patched where they stand: what nobody understands, and offsets, stay as they were.

Source: CIPA DC-008 (Exif 3.0) and TIFF 6.0.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from stylebatch.images.tiff import SIZES, SUB_DIRECTORIES, Directory, Entry, Tiff

PREFIX = b"Exif\0\0"
_ORIENTATION, _WIDTH, _HEIGHT = 0x112, 256, 257
_CAMERA, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
#: Where the widths and heights of the picture stand beside the first directory.
_SIZES_OF_CAMERA, _SIZES_OF_INTEROPERABILITY = (0xA002, 0xA003), (0x1001, 0x1002)
_THUMBNAIL = ((0x201, 0x202), (273, 279), (324, 325))
#: IPTC, Photoshop's resources and layers.
IPTC, PHOTOSHOP, _LAYERS = 33723, 34377, 37724
#: What says how the pixels of a file lie, and what of it has a place of its own beside EXIF: ICC, XMP, IPTC.
NOT_EXIF = frozenset(
    [*range(254, 260), 262, 266, 273, *range(277, 282), 284, 297, 301, *range(317, 326), SUB_DIRECTORIES, *range(332, 337),
     *range(338, 348), *range(512, 522), *range(529, 533), 559, 700, IPTC, PHOTOSHOP, 34675, _LAYERS]
)  # fmt: skip
#: Coordinates of pixels in a map or a picture, which another size or turn makes untrue.
_PLACES = frozenset([33550, 33922, 34264, 0x9214, 0xA214])
#: TIFF has no tags below.
_LEAST = 254
#: Enough for every camera's notes.
_LARGEST = 1 << 26


@dataclass(frozen=True)
class Result:
    """What became of the picture.

    Attributes:
        size: width and height of the result.
        before: width and height of the photograph, upright.
        turned: it did not lie upright in its file.
    """

    size: tuple[int, int]
    before: tuple[int, int]
    turned: bool = False

    @property
    def moved(self) -> bool:
        """Pixels are not where they were."""
        return self.turned or self.size != self.before


def orientation(block: bytes) -> int:
    """What EXIF says of how the picture lies, 1 to 8; 0 if it says nothing."""
    with suppress(struct.error, KeyError, StopIteration):
        tiff = _opened(block)
        value = next(iter(tiff.integers(tiff.directory(tiff.first).entries[_ORIENTATION])))
        return value if 1 <= value <= 8 else 0
    return 0


def patched(block: bytes, result: Result) -> bytes:
    """EXIF of a picture that lies upright, has the result's size and no thumbnail.

    Raises:
        struct.error: its first directory cannot be read.
    """
    tiff = _opened(block)
    data = bytearray(block)
    first = tiff.directory(tiff.first)
    end = _without_thumbnail(tiff, data, first)
    if _ORIENTATION in first.entries:
        _set(tiff, data, first.entries[_ORIENTATION], 1)
    _set_size(tiff, data, first, (_WIDTH, _HEIGHT), result)
    unwanted = {SUB_DIRECTORIES, PHOTOSHOP, _LAYERS} | (_PLACES if result.moved else set())
    for entry in first.entries.values():
        if entry.tag in unwanted:
            data[entry.offset : entry.offset + entry.size] = bytes(len(data[entry.offset : entry.offset + entry.size]))
    _remove(tiff, data, tiff.first, first, unwanted)
    for pointer, sizes in ((_CAMERA, _SIZES_OF_CAMERA), (_INTEROPERABILITY, _SIZES_OF_INTEROPERABILITY)):
        for directory, at in _inner(tiff, first, pointer):
            _set_size(tiff, data, directory, sizes, result)
            _remove(tiff, data, at, directory, _PLACES if result.moved else set())
    return bytes(data[:end])


def without_orientation(block: bytes) -> bytes:
    """EXIF for a format that says by itself how its picture lies."""
    tiff = _opened(block)
    data = bytearray(block)
    _remove(tiff, data, tiff.first, tiff.directory(tiff.first), {_ORIENTATION})
    return bytes(data)


def of_tiff(file: BinaryIO) -> bytes:
    """EXIF from the first directory of a TIFF: all but what describes the file's pixels. Offsets inside of makers' notes are
    true no more.

    Raises:
        struct.error: the directory cannot be read.
    """
    tiff = Tiff(file)
    head = b"MM\0*" if tiff.order == ">" else b"II*\0"
    return head + tiff.pack(4, [8]) + _copied(tiff, tiff.directory(tiff.first), 8, NOT_EXIF)


def entries_of(block: bytes) -> list[tuple[Entry, bytes]]:
    """The first directory's sound lines that say nothing of pixels, each with the four bytes of its values or their offset.

    Raises:
        struct.error: it cannot be read.
    """
    tiff = _opened(block)
    entries = tiff.directory(tiff.first).entries.values()
    return [
        (entry, block[entry.place + 8 : entry.place + 12])
        for entry in entries
        if entry.tag >= _LEAST and entry.tag not in NOT_EXIF and entry.kind in SIZES and entry.size
        and entry.offset + entry.size <= len(block)
    ]  # fmt: skip


def _opened(block: bytes) -> Tiff:
    if block[:4] not in (b"II*\0", b"MM\0*"):
        raise struct.error("no EXIF")
    return Tiff(io.BytesIO(block))


def _copied(tiff: Tiff, directory: Directory, at: int, without: frozenset[int], depth: int = 0) -> bytes:
    """A directory in bytes that are to lie at `at`, and all that hangs on it."""
    found: list[tuple[int, int, int, bytes]] = []
    entries = [entry for tag, entry in sorted(directory.entries.items()) if tag not in without]
    for entry in entries:
        if entry.tag in (_CAMERA, _GPS, _INTEROPERABILITY):
            found.append((entry.tag, 4, 1, b""))
        elif entry.kind not in (16, 17, 18) and 0 < entry.size <= _LARGEST and len(data := tiff.read(entry)) == entry.size:
            found.append((entry.tag, entry.kind, entry.count, data))
    lines, values = b"", b""
    values_at = at + 2 + 12 * len(found) + 4
    for tag, kind, count, data in found:
        if tag in (_CAMERA, _GPS, _INTEROPERABILITY):
            for inner, _ in _inner_of(tiff, directory.entries[tag]) if depth < 2 else ():
                data = tiff.pack(4, [values_at + len(values)])
                values += _copied(tiff, inner, values_at + len(values), frozenset(), depth + 1)
            if not data:
                data = tiff.pack(4, [0])
        elif len(data) > 4:
            pointer = tiff.pack(4, [values_at + len(values)])
            values += data + bytes(len(data) % 2)
            data = pointer
        lines += tiff.pack(3, [tag, kind]) + tiff.pack(4, [count]) + data.ljust(4, b"\0")
    return tiff.pack(3, [len(found)]) + lines + tiff.pack(4, [0]) + values


def _inner(tiff: Tiff, first: Directory, pointer: int) -> Iterator[tuple[Directory, int]]:
    """The directory that a pointer in the first one, or in the camera's, leads to, and its offset; none if damaged."""
    if pointer in first.entries:
        yield from _inner_of(tiff, first.entries[pointer])
    elif _CAMERA in first.entries and pointer != _CAMERA:
        for camera, _ in _inner_of(tiff, first.entries[_CAMERA]):
            if pointer in camera.entries:
                yield from _inner_of(tiff, camera.entries[pointer])


def _inner_of(tiff: Tiff, entry: Entry) -> Iterator[tuple[Directory, int]]:
    with suppress(struct.error, OverflowError):
        for at in tiff.integers(entry)[:1]:
            yield tiff.directory(at), at


def _set_size(tiff: Tiff, data: bytearray, directory: Directory, tags: tuple[int, int], result: Result) -> None:
    for tag, value in zip(tags, result.size, strict=True):
        if tag in directory.entries:
            _set(tiff, data, directory.entries[tag], value)


def _set(tiff: Tiff, data: bytearray, entry: Entry, value: int) -> None:
    with suppress(struct.error, KeyError):  # no integer, or too small for this one
        packed = tiff.pack(entry.kind, [value])
        if entry.count == 1 and entry.offset + len(packed) <= len(data):
            data[entry.offset : entry.offset + len(packed)] = packed


def _remove(tiff: Tiff, data: bytearray, at: int, directory: Directory, tags: set[int] | frozenset[int]) -> None:
    """Take lines out of a directory; those behind move up, and what they point to stays."""
    lines = [bytes(data[entry.place : entry.place + 12]) for entry in directory.entries.values() if entry.tag not in tags]
    if len(lines) < len(directory.entries):
        body = tiff.pack(3, [len(lines)]) + b"".join(lines) + bytes(data[directory.next_place : directory.next_place + 4])
        room = min(directory.next_place + 4, len(data)) - at
        data[at : at + room] = body.ljust(room, b"\0")[:room]


def _without_thumbnail(tiff: Tiff, data: bytearray, first: Directory) -> int:
    """Unlink and blank the second directory's picture. Returns how much of the data is then needed."""
    end = len(data)
    if not first.next:
        return end
    with suppress(struct.error):
        second = tiff.directory(first.next).entries
        for where, length in _THUMBNAIL:
            if where in second and length in second:
                pairs = zip(tiff.integers(second[where]), tiff.integers(second[length]), strict=False)
                for at, size in sorted(pairs, reverse=True):
                    data[at : at + size] = bytes(len(data[at : at + size]))
                    end = at if at + size >= end else end
    data[first.next_place : first.next_place + 4] = bytes(4)
    return end
