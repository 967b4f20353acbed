"""The work folder of a film that is being written: its closed segments, a journal of them, and the frames of the open ones.

It lies hidden beside the output. A segment's file is complete when the journal has its line, and the journal has them in
order. Open segments are made again from their frames, each with a checksum. Where a frame depends on those before it, that
state is kept too: of each open segment that before its first frame, and where a run was stopped, that after its last.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from av.packet import Packet

from stylebatch.errors import OutputError
from stylebatch.files import TEMP_PREFIX, atomic_write, open_own, own_folder, remove_temporaries
from stylebatch.locking import Log
from stylebatch.manifest import digest_of
from stylebatch.video.kept import KeptFrames
from stylebatch.video.pyav import beside

_JOURNAL = "journal.jsonl"
#: The names that are given in a work folder, beside those of temporary files.
_OURS = re.compile(r"journal\.jsonl|\d{6,}\.(packets|frames|state)|film\.\w+")
_Written = TypeVar("_Written")
_HEAD = struct.Struct("<q?II")
#: Before a state: how many frames of its segment came before it, and the checksum of what follows.
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
    """The work folder of one output, locked while it is open. Threads may share it.

    Args:
        output: the film that will be written.
        length: frames of a segment; the last one may have fewer.
        key: of everything that changes its frames; segments that were made under another are removed.
        anew: remove them all.
        stateful: frames depend on those before them, so that none is gone on from without a state.

    Raises:
        OutputError: another run is at it, or it cannot be written.
    """

    def __init__(self, output: Path, key: str, length: int, *, anew: bool = False, stateful: bool = False) -> None:
        # Its name is short whatever the output's is: names up to the file system's limit work.
        self.folder = output.with_name(f"{TEMP_PREFIX}{digest_of(output.name)[:16]}")
        own_folder(self.folder)
        self._journal = Log(self.folder / _JOURNAL)
        self.segments: list[Segment] = []
        self._lock = Lock()  # held while a segment's frames stop to be kept ones
        self._length = length
        self._frames = KeptFrames(self.folder, length)
        lines = self._journal.read().split(b"\n")
        goes_on = not anew and lines[0] == json.dumps({"key": key}).encode()
        if goes_on:
            self.segments = list(self._whole(lines[1:]))
        self.state = b""
        self._state_of = len(self.segments)
        self._left = self._frames.left(len(self.segments)) if goes_on else {}
        if stateful and goes_on:
            goes_on = self._read_state() or not self.segments
            self.segments = self.segments if goes_on else []
        self._rewrite(key, goes_on)

    @property
    def frames(self) -> int:
        """How many are in closed segments."""
        return sum(segment.frames for segment in self.segments)

    @property
    def kept(self) -> int:
        """How many of open segments are kept, up to the first that is not."""
        return self._frames.count(len(self.segments))

    @property
    def done(self) -> int:
        """How many another run need not be given: those in closed segments and those kept."""
        with self._lock:
            return self.frames + self.kept

    def add(self, segment: Segment, packets: Sequence[Packet[Any]]) -> None:
        """Write the next segment's packets, durably, and then its line."""
        index = len(self.segments)
        size = self._with_room(lambda: self._write(index, packets))
        segment = Segment(**{**asdict(segment), "size": size})
        self._append(asdict(segment))
        with self._lock:
            self._frames.drop(index)
            self.segments.append(segment)
        self._state_path(index).unlink(missing_ok=True)

    def keep_state(self, index: int, after: int, state: bytes) -> None:
        """Note, durably, the state after so many frames of a segment.

        Raises:
            OutputError: it cannot be written.
        """
        self._with_room(lambda: self._write_state(index, after, state))

    def _with_room(self, write: Callable[[], _Written]) -> _Written:
        """What has to be written is, if there is no room even in the place of what only saves time."""
        try:
            return write()
        except OutputError:
            self._frames.drop()
            return write()

    def _write(self, index: int, packets: Sequence[Packet[Any]]) -> int:
        with atomic_write(self._path(index)) as file:
            for packet in packets:
                data, alpha = bytes(packet), beside(packet)
                file.write(_HEAD.pack(packet.pts, packet.is_keyframe, len(data), len(alpha)) + data + alpha)
            return file.tell()

    def keep(self, number: int, pts: int, duration: int, data: bytes) -> None:
        """Note a frame of an open segment, by its number in the film, if there is room."""
        self._frames.add(number, pts, duration, data)

    def left_frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Time, duration and data of the frames that another run has kept of open segments. To be gone through before any is
        added."""
        return self._frames.take(self._left)

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
        self._frames.close()
        self._journal.close()

    def remove(self) -> None:
        """The film is there."""
        with suppress(OSError):
            self._remove_all_but({_JOURNAL})
            self._journal.remove()
            self.folder.rmdir()
        self.close()

    def _read_state(self) -> bool:
        """The last state that is whole, and has all frames before it; those after it are left out."""
        first = len(self.segments)
        for index in reversed(range(first, first + len(self._left) + 1)):
            with suppress(OSError, OutputError), os.fdopen(open_own(self._state_path(index), os.O_RDONLY), "rb") as file:
                head, state = file.read(_STATE_HEAD.size), file.read()
                after, total = _STATE_HEAD.unpack(head) if len(head) == _STATE_HEAD.size else (0, None)
                before = {each: frames for each, frames in self._left.items() if each < index}
                has_all = after <= self._left.get(index, 0) and all(frames == self._length for frames in before.values())
                if zlib.crc32(state) == total and has_all:
                    self._left = before | ({index: after} if after else {})
                    self.state, self._state_of = state, index
                    return True
        self._left = {}
        return False

    def _write_state(self, index: int, after: int, state: bytes) -> None:
        with atomic_write(self._state_path(index)) as file:
            file.write(_STATE_HEAD.pack(after, zlib.crc32(state)) + state)

    def _state_path(self, index: int) -> Path:
        return self.folder / f"{index:06}.state"

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06}.packets"

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
            kept |= {self._frames.path(index).name for index in self._left}
            if goes_on:
                kept |= {self._state_path(index).name for index in (len(self.segments), self._state_of)}
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
