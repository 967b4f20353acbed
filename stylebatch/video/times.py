"""A file's clock made sound, for all of its streams alike: it begins at zero and goes on where it restarted or jumped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from av import time_base as AV_TIME_BASE
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from stylebatch.video.extent import extent
from stylebatch.video.opening import open_film
from stylebatch.video.pyav import described, fraction, is_end

#: Containers whose clock may restart, because files of theirs can be joined end to end and broadcasts be cut anywhere.
_RESTARTING = ("mpeg", "mpegts", "flv", "ogg")
#: Of these, those in which a picture's time is due even where nothing sounds: a gap in them is a jump, not a still.
_STEADY = ("mpeg", "mpegts")
#: Containers that tell only when packets are decoded; what PyAV says of when they are shown is a guess.
TIMED_BY_DECODING = ("avi", "asf")
#: Seconds: a gap that no stream fills is a jump above the one; a stream restarts where it goes back by the other. Times of
#: decoding rise, so that less tells there than of times of presentation, which go to and fro.
_AHEAD, _BACK, _BACK_SHOWN = Fraction(1), Fraction(1, 5), Fraction(1)


#: So many packets are looked at for the first of each stream.
_FIRST = 100
#: Bytes in which streams are looked for that FFmpeg has not found in its own number; they wait in memory.
_LARGEST_PROBE = 1 << 28


@dataclass(frozen=True)
class Times:
    """How the times of a file's packets become sound.

    Attributes:
        shifts: for each stream, by index: from its packet of which number on how many seconds are added.
        joints: seconds of the sound clock at which the file's own restarts or jumps.
        duration: seconds, if the file was read to its end: its header does not know of restarts.
        probe_size: in so many bytes its streams have to be looked for; None if FFmpeg's number does.
        late: streams of which still nothing is known then, by index, in words.
    """

    shifts: dict[int, list[tuple[int, Fraction]]]
    joints: list[Fraction] = field(default_factory=list)
    duration: Fraction | None = None
    probe_size: int | None = None
    late: dict[int, str] = field(default_factory=dict)

    @property
    def origin(self) -> Fraction:
        """The file's own time of the sound clock's zero."""
        return -next(iter(self.shifts.values()))[0][1]

    def packets(self, container: InputContainer, streams: Stream | Sequence[Stream]) -> Iterator[Packet[Any]]:
        """Demux from the file's beginning, or, of a file without joints, from where it stands, at sound times."""
        counts: dict[int, int] = {}
        for packet in demuxed(container, streams):
            index = packet.stream.index
            if is_end(packet) or index not in self.shifts:  # some streams come up late
                yield packet
                continue
            count = counts[index] = counts.get(index, -1) + 1
            seconds = next(shift for first, shift in reversed(self.shifts[index]) if first <= count)
            if seconds:
                ticks = round(seconds / base_of(packet))
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
            yield packet


def from_key(packets: Iterable[Packet[Any]], until: float) -> Iterator[Packet[Any]]:
    """Leave out what lies before the last key frame up to a time in seconds: seeking, where FFmpeg cannot or knows of no key
    frames."""
    group: list[Packet[Any]] = []
    packets = iter(packets)
    for packet in packets:
        ticks = packet.dts if packet.pts is None else packet.pts
        group = [*([] if packet.is_keyframe else group), packet]
        if ticks is None or ticks * base_of(packet) >= until:
            break
    yield from group
    yield from packets


def demuxed(container: InputContainer, streams: Stream | Sequence[Stream]) -> Iterator[Packet[Any]]:
    """Demux. Of streams that came up on the way PyAV has no packets, and fails at the end because of them."""
    with suppress(IndexError):
        yield from container.demux(streams)


def times_of(path: Path) -> Times:
    """The times of a file. Where its container's clock may restart it is read to its end."""
    times = _times(path, None)
    if times.late:
        again = _times(path, min(path.stat().st_size, _LARGEST_PROBE))
        if len(again.late) < len(times.late):
            return again
    return times


def _times(path: Path, probe_size: int | None) -> Times:
    with open_film(path, probe_size=probe_size) as container:
        name = container.format.name
        joined = name.startswith("matroska") and extent(path, name).follow > 0
        late = _unknown(container)
        start = _start(container)
        shifts: dict[int, list[tuple[int, Fraction]]] = {stream.index: [(0, -start)] for stream in container.streams}
        if name not in _RESTARTING and not joined:
            return Times(shifts, probe_size=probe_size, late=late)
        stretches = _stretches(container)
        late |= _unknown(container)
    joints: list[Fraction] = []
    shift = -start
    for before, stretch in pairwise(stretches):
        shift += before.end - stretch.start
        joints.append(stretch.start + shift)
        for index, first in stretch.first.items():
            shifts.setdefault(index, []).append((first, shift))
    return Times(shifts, joints, stretches[-1].end + shift, probe_size, late)


def _unknown(container: InputContainer) -> dict[int, str]:
    """Streams that came up after the file was opened, and sound of which nothing was known by then."""
    return {
        index: f"stream {index} ({each.kind} {each.codec})"
        for index, each in described(container).items()
        if index >= len(container.streams) or (each.kind == "audio" and not each.layout)
    }


def _start(container: InputContainer) -> Fraction:
    """When the first of picture and sound begins, without what a sound decoder takes to swing in."""
    streams = [stream for stream in container.streams if _sets_time(stream)]
    if container.format.name in TIMED_BY_DECODING:
        first = islice(container.demux(streams), _FIRST)
        return min((packet.dts * base_of(packet) for packet in first if packet.dts is not None), default=Fraction(0))
    starts = [stream.start_time * base_of(stream) for stream in streams if stream.start_time is not None]
    return min(starts, default=Fraction(0))


def base_of(timed: Stream | Packet[Any]) -> Fraction:
    return fraction(timed.time_base) or Fraction(1, AV_TIME_BASE)


def _sets_time(stream: Stream) -> bool:
    return stream.type in ("audio", "video") and not stream.disposition & Disposition.attached_pic


@dataclass
class _Stretch:
    """A part of a file in which its clock runs on: `start` and `end` by picture and sound, the number of each stream's first
    packet in it, and whether it came by a jump ahead."""

    start: Fraction
    end: Fraction
    ahead: bool = False
    first: dict[int, int] = field(default_factory=dict)


@dataclass
class _Reading:
    """Where the reading of a stream is: its stretch, how many packets, and when the last one was and ended."""

    stretch: int = 0
    count: int = 0
    last: Fraction | None = None
    step: Fraction = Fraction(0)


def _stretches(container: InputContainer) -> list[_Stretch]:
    """What a file is joined of. Around a joint, packets of one stream may still belong to the part before while those of
    another have gone on: each stream goes over by itself, to the stretch that the first one has opened."""
    by_decoding = not container.format.name.startswith("matroska")  # whose times of decoding are guessed
    sounding = len([stream for stream in container.streams if _sets_time(stream)]) > 1
    jumps = container.format.name in _STEADY or sounding
    stretches: list[_Stretch] = []
    readings: dict[int, _Reading] = {}
    for packet in demuxed(container, list(container.streams)):
        if is_end(packet):
            continue
        reading = readings.setdefault(packet.stream.index, _Reading(max(0, len(stretches) - 1)))
        ticks = packet.dts if by_decoding and packet.dts is not None else packet.pts
        if ticks is not None:
            time = ticks * base_of(packet)
            shown = time if packet.pts is None else packet.pts * base_of(packet)
            duration = (packet.duration or 0) * base_of(packet)
            if not stretches:
                stretches.append(_Stretch(shown, shown))
            if _sets_time(packet.stream):
                back = _BACK if by_decoding else _BACK_SHOWN
                before, ahead = reading.stretch, False
                if _goes_over(reading, stretches, time):
                    reading.stretch = len(stretches) - 1
                elif reading.last is not None and (
                    time < reading.last - back
                    or (ahead := jumps and time > stretches[-1].end + max(_AHEAD, 3 * reading.step))
                ):
                    stretches.append(_Stretch(shown, shown, ahead))
                    reading.stretch = len(stretches) - 1
                stretch = stretches[reading.stretch]
                stretch.start, stretch.end = min(stretch.start, shown), max(stretch.end, shown + duration)
                if reading.last is not None and reading.stretch == before:
                    reading.step = max(duration, time - reading.last)
                reading.last = time
            elif len(stretches) > 1 and abs(time - stretches[-1].end) < abs(time - stretches[reading.stretch].end):
                reading.stretch = len(stretches) - 1
        if stretches:
            stretches[reading.stretch].first.setdefault(packet.stream.index, reading.count)
        reading.count += 1
    return stretches or [_Stretch(Fraction(0), Fraction(0))]


def _goes_over(reading: _Reading, stretches: list[_Stretch], time: Fraction) -> bool:
    """Whether a stream follows another into the stretch that this one has opened."""
    if reading.stretch == len(stretches) - 1 or reading.last is None:
        return False
    latest = stretches[-1]
    return time >= latest.start - _AHEAD / 2 if latest.ahead else time < reading.last
