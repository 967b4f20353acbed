"""The work folder of a film that is being written: its closed segments, a journal of them, and the frames of the open one.

It lies hidden beside the output. A segment's file is complete when the journal has its line. The open segment is made again
from its frames, each with a checksum. Where a frame depends on those before it, that state is kept too, with the number of
frames of the open segment that came before it.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from av.packet import Packet

from stylebatch.errors import OutputError
from stylebatch.files import TEMP_PREFIX, atomic_write, open_own, own_folder, remove_temporaries, sync
from stylebatch.locking import Log
from stylebatch.manifest import digest_of
from stylebatch.video.pyav import beside

_JOURNAL = "journal.jsonl"
#: The names that are given in a work folder, beside those of temporary files.
_OURS = re.compile(r"journal\.jsonl|\d{6,}\.(packets|frames|state)|film\.\w+")
_HEAD = struct.Struct("<q?II")
#: Before each frame of the open segment: its time and duration, how many bytes follow, and their checksum.
_FRAME_HEAD = struct.Struct("<qqQI")
#: Before a state: how many frames of the open segment came before it, and the checksum of what follows.
_STATE_HEAD = struct.Struct("<II")


@dataclass(frozen=True)
class Segment:
    """A closed segment.

    Attributes:
        frames: how many.
        first, last: when its first and last frame are shown, in the encoder's time base.
        duration: of its last frame; 0 if not known.
        delay: by how many places packets come later than their frames are shown.
        size: of its file, in bytes.
        extradata: what a decoder needs before its first packet, in hexadecimal.
    """

    frames: int
    first: int
    last: int
    duration: int
    delay: int
    size: int
    extradata: str

    @property
    def is_valid(self) -> bool:
        """Whether it holds what is declared: a damaged line may hold anything."""
        *numbers, extradata = asdict(self).values()
        return all(type(number) is int for number in numbers) and type(extradata) is str


class Coded(NamedTuple):
    """A packet: its time, whether it is a key frame, its data, and what lies beside it, which is VP9's alpha."""

    pts: int
    key: bool
    data: bytes
    alpha: bytes


class Work:
    """The work folder of one output, locked while it is open.

    Args:
        output: the film that will be written.
        key: of everything that changes its frames; segments that were made under another are removed.
        anew: remove them all.
        stateful: frames depend on those before them, so that none is gone on from without a state.

    Raises:
        OutputError: another run is at it, or it cannot be written.
    """

    def __init__(self, output: Path, key: str, *, anew: bool = False, stateful: bool = False) -> None:
        # Its name is short whatever the output's is: names up to the file system's limit work.
        self.folder = output.with_name(f"{TEMP_PREFIX}{digest_of(output.name)[:16]}")
        own_folder(self.folder)
        self._journal = Log(self.folder / _JOURNAL)
        self.segments: list[Segment] = []
        self.kept = 0  # frames of the open segment
        self._frames: BinaryIO | None = None
        lines = self._journal.read().split(b"\n")
        goes_on = not anew and lines[0] == json.dumps({"key": key}).encode()
        if goes_on:
            self.segments = list(self._whole(lines[1:]))
        self._stateful = stateful
        self.state = b""
        self._after = 0  # frames of the open segment that came before the state
        if stateful and goes_on:
            goes_on = self._read_state() or not self.segments
            self.segments = self.segments if goes_on else []
        self._rewrite(key, goes_on)

    @property
    def frames(self) -> int:
        """How many are in closed segments."""
        return sum(segment.frames for segment in self.segments)

    def add(self, segment: Segment, packets: Sequence[Packet[Any]], state: bytes = b"") -> None:
        """Write a segment's packets, durably, and the state after it, then its line."""
        try:
            size = self._write(packets)
        except OutputError:
            if not self.kept:
                raise
            self._drop_frames()  # they may have taken the room
            size = self._write(packets)
        segment = Segment(**{**asdict(segment), "size": size})
        if self._stateful:
            self._write_state(len(self.segments) + 1, 0, state)
        self._append(asdict(segment))
        self._drop_frames()
        self._state_path(len(self.segments)).unlink(missing_ok=True)
        self.segments.append(segment)

    def keep_state(self, state: bytes) -> None:
        """Note the state after the frames that are kept of the open segment."""
        if self._stateful and self.kept:
            with suppress(OutputError):  # no room: the open segment is made again
                self._write_state(len(self.segments), self.kept, state)

    def _write(self, packets: Sequence[Packet[Any]]) -> int:
        with atomic_write(self._path(len(self.segments))) as file:
            for packet in packets:
                data, alpha = bytes(packet), beside(packet)
                file.write(_HEAD.pack(packet.pts, packet.is_keyframe, len(data), len(alpha)) + data + alpha)
            return file.tell()

    def keep(self, pts: int, duration: int, data: bytes) -> None:
        """Note a frame of the open segment. Where there is no room for them they are not kept, and nothing else suffers."""
        try:
            if self._frames is None:
                descriptor = open_own(self._frames_path(), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                self._frames = os.fdopen(descriptor, "ab")
            head = _FRAME_HEAD.pack(pts, duration, len(data), zlib.crc32(data))
            self._frames.write(head + data)
            self._frames.flush()
            self.kept += 1
        except (OSError, OutputError):
            self._drop_frames()

    def left_frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Time, duration and data of the frames that another run has kept of the open segment. To be gone through before
        any is added: what is behind the last whole one is cut away."""
        if not self._frames_path().exists():
            return
        with os.fdopen(open_own(self._frames_path(), os.O_RDWR), "r+b") as file:
            end = 0
            for pts, duration, data in islice(_whole_frames(file), self._after if self._stateful else None):
                end = file.tell()
                self.kept += 1
                yield pts, duration, data
            file.truncate(end)

    def packets(self, index: int) -> Iterator[Coded]:
        """A segment's packets, in the order of decoding."""
        content = self._path(index).read_bytes()
        offset = 0
        while offset < len(content):
            pts, key, size, more = _HEAD.unpack_from(content, offset)
            offset += _HEAD.size
            yield Coded(pts, key, content[offset : offset + size], content[offset + size : offset + size + more])
            offset += size + more

    def durations(self, index: int, times: Sequence[int], tick: int) -> dict[int, int]:
        """For how long each frame of a segment is shown, by its time: until the next one. The film's last one for as long as
        it says, or for a `tick`."""
        if index + 1 < len(self.segments):
            after = self.segments[index + 1].first
        else:
            after = times[-1] + (self.segments[index].duration or tick)
        return {pts: until - pts for pts, until in zip(times, [*times[1:], after], strict=True)}

    def close(self) -> None:
        """Leave it for the next run."""
        if self._frames is not None:
            with suppress(OSError):
                sync(self._frames.fileno())
            self._frames.close()
            self._frames = None
        self._journal.close()

    def remove(self) -> None:
        """The film is there."""
        with suppress(OSError):
            self._remove_all_but({_JOURNAL})
            self._journal.remove()
            self.folder.rmdir()
        self.close()

    def _read_state(self) -> bool:
        """The state that was left, if it is whole and so are the frames that came before it."""
        with (
            suppress(OSError, OutputError),
            os.fdopen(open_own(self._state_path(len(self.segments)), os.O_RDONLY), "rb") as file,
        ):
            head, state = file.read(_STATE_HEAD.size), file.read()
            if len(head) == _STATE_HEAD.size:
                after, total = _STATE_HEAD.unpack(head)
                if zlib.crc32(state) == total and self._has_frames(after):
                    self._after, self.state = after, state
                    return True
        return False

    def _has_frames(self, count: int) -> bool:
        """Whether so many of the open segment are kept."""
        if not count:
            return True
        with os.fdopen(open_own(self._frames_path(), os.O_RDONLY), "rb") as file:
            return sum(1 for _ in islice(_whole_frames(file), count)) == count

    def _write_state(self, index: int, after: int, state: bytes) -> None:
        with atomic_write(self._state_path(index)) as file:
            file.write(_STATE_HEAD.pack(after, zlib.crc32(state)) + state)

    def _state_path(self, index: int) -> Path:
        return self.folder / f"{index:06}.state"

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06}.packets"

    def _frames_path(self) -> Path:
        return self.folder / f"{len(self.segments):06}.frames"

    def _drop_frames(self) -> None:
        if self._frames is not None:
            with suppress(OSError):
                self._frames.close()
            self._frames = None
        self._frames_path().unlink(missing_ok=True)
        self.kept = 0

    def _whole(self, lines: list[bytes]) -> Iterator[Segment]:
        for index, line in enumerate(lines):
            try:
                segment = Segment(**json.loads(line))
                if not segment.is_valid or self._path(index).stat().st_size != segment.size:
                    return
            except (ValueError, TypeError, RecursionError, OSError):
                return
            yield segment

    def _rewrite(self, key: str, goes_on: bool) -> None:
        """Keep what is proven, drop everything else."""
        try:
            kept = {self._path(index).name for index in range(len(self.segments))} | {_JOURNAL}
            if goes_on:
                kept |= {self._frames_path().name, self._state_path(len(self.segments)).name}
            self._remove_all_but(kept)
            self._journal.clear()
            for line in [{"key": key}, *map(asdict, self.segments)]:
                self._append(line)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {error.strerror or error}", fatal=True) from error

    def _remove_all_but(self, kept: set[str]) -> None:
        remove_temporaries(self.folder)
        for path in list(self.folder.iterdir()):
            if _OURS.fullmatch(path.name) and path.name not in kept:
                path.unlink()

    def _append(self, line: dict[str, object]) -> None:
        try:
            self._journal.append(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {error.strerror or error}", fatal=True) from error


def _whole_frames(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Time, duration and data of each frame that was kept, up to the first that is not whole."""
    while len(head := file.read(_FRAME_HEAD.size)) == _FRAME_HEAD.size:
        pts, duration, size, total = _FRAME_HEAD.unpack(head)
        data = file.read(size)
        if len(data) < size or zlib.crc32(data) != total:
            return
        yield pts, duration, data
