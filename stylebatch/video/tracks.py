"""The streams of an output: what makes their packets of the source's, and what of them the container refuses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.container.core import Container
from av.packet import Packet
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from stylebatch.video.convert import TEXT, SoundConverter, TextConverter, add_sound
from stylebatch.video.pyav import fraction
from stylebatch.video.streams import Planned
from stylebatch.video.tags import describe
from stylebatch.video.trial import Trial, copy_of

#: Containers in which a track without packets vanishes.
_DROPS_EMPTY = ("mp4", "mov")
#: Those that fill the time between subtitles by empty ones; of how many ticks a second subtitles are elsewhere.
_FILLS_GAPS, _TICKS = ("mp4", "mov"), 1000


@dataclass
class Track:
    """A stream of the output, and what makes its packets of the source's: an empty one comes at the end.

    Attributes:
        planned: what it is.
        trial: the same stream alone in a container of its own, which refuses what this one would.
        written: packets.
        refused: packets that the container does not take.
    """

    planned: Planned
    stream: Stream
    convert: Callable[[Packet[Any]], list[Packet[Any]]]
    trial: Trial | None = None
    written: int = 0
    refused: int = 0
    begun: bool = field(default=False, repr=False)

    def take(self, packet: Packet[Any], start: Fraction, end: Fraction | None) -> list[Packet[Any]]:
        """The packets to write for one of the source's, on the output's clock, which has its zero at `start`."""
        if packet.size and not self._lies_within(packet, start, end):
            return []
        taken = []
        for converted in self.convert(packet):
            if not converted.size:
                continue
            shift = round(start / converted.time_base)
            converted.pts = None if converted.pts is None else converted.pts - shift
            converted.dts = None if converted.dts is None else converted.dts - shift
            if self.stream.container.format.name == "avi" and (converted.dts or 0) < 0:
                continue  # what a sound decoder takes to swing in: AVI's clock begins at zero, and all would come later
            if self.trial is not None and not self.trial.takes(converted):
                self.refused += 1
                continue
            converted.stream = self.stream
            taken.append(converted)
        return taken

    def put(self, out: OutputContainer, packet: Packet[Any]) -> None:
        """Write a packet; one that is refused is counted. Raises what the disk has against it."""
        try:
            out.mux(packet)
            self.written += 1
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            self.refused += 1

    def is_there(self, format: str) -> bool:
        """Whether the file has a track of it: MP4 and MOV have none without packets, but put one into each of subtitles."""
        return self.written > 0 or format not in _DROPS_EMPTY or self.stream.type == "subtitle"

    def close(self, format: str) -> list[str]:
        """All of it has come. Returns what has been lost on the way, in words."""
        if self.trial is not None:
            self.trial.close()
        damaged, guessed = (getattr(self.convert, name, 0) for name in ("damaged", "guessed"))
        lost = [f"{damaged} of its packets cannot be decoded and are left out"] * (damaged > 0)
        lost += [f"{guessed} of its texts are not UTF-8, and read as Windows-1252"] * (guessed > 0)
        lost += [f"{self.refused} of its packets are refused by {format} and left out"] * (self.refused > 0)
        if not self.is_there(format):
            lost.append("the track is left out: there is nothing in it")
        return [f"{self.planned.name}: {what}" for what in lost]

    def _lies_within(self, packet: Packet[Any], start: Fraction, end: Fraction | None) -> bool:
        """Subtitles that are on the screen at the cut are shortened; a video begins with a key frame."""
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None or (not start and end is None):
            return True
        first = pts * packet.time_base
        if end is not None and first >= end:
            return False
        if self.stream.type == "subtitle":
            after = pts + (packet.duration or 0)
            packet.pts = packet.dts = max(pts, round(start / packet.time_base)) if start else pts
            packet.duration = (after if end is None else min(after, round(end / packet.time_base))) - packet.pts
            return packet.duration > 0
        if self.stream.type == "video" and start and not self.begun:
            self.begun = first >= start and packet.is_keyframe
            return self.begun
        return not start or first >= start


def add_tracks(
    container: InputContainer, out: OutputContainer, planned: Sequence[Planned], add_film: Callable[[], Stream]
) -> dict[int, Track]:
    """Add a stream to `out` for each that is planned to be there, in the order of `container`; `add_film` adds the one that
    is stylized.

    Returns:
        The tracks by the source's index.
    """
    found: dict[int, Track] = {}
    for each in planned:
        if each.fate == "stylized":
            found[each.index] = Track(each, add_film(), _as_it_is)
        elif each.fate in ("copied", "converted"):
            stream = container.streams[each.index]
            if stream.disposition & Disposition.attached_pic and out.format.name == "matroska":
                _attach(container, out, stream)
            else:
                found[each.index] = _track(out, stream, each)
    return found


def places_of(tracks: Mapping[int, Track], format: str) -> dict[int, int]:
    """Where tracks that have been written are found in the file, both by index: MP4 and MOV leave out empty ones, and have
    covers at the end."""
    if format not in _DROPS_EMPTY:
        return {index: track.stream.index for index, track in tracks.items()}
    kept = [index for index, track in tracks.items() if track.is_there(format)]
    kept.sort(key=lambda index: bool(tracks[index].stream.disposition & Disposition.attached_pic))
    return {index: place for place, index in enumerate(kept)}


def _attach(container: InputContainer, out: OutputContainer, stream: Stream) -> None:
    picture = bytes(next(container.demux(stream)))
    container.seek(0)
    kind = "png" if stream.codec_context.name == "png" else "jpeg"
    out.add_attachment(f"cover.{'png' if kind == 'png' else 'jpg'}", f"image/{kind}", picture)


def _track(out: OutputContainer, stream: Stream, planned: Planned) -> Track:
    format = out.format.name
    if planned.fate == "copied":
        copy = copy_of(out, stream)
        if stream.type == "attachment":
            return Track(planned, copy, _as_it_is)
        if stream.type == "subtitle" and stream.codec_context.name == "mov_text":
            copy.time_base = Fraction(1, _ticks(stream.container))
            return Track(planned, copy, _without_gaps, Trial(format, stream))
        return Track(planned, copy, _as_it_is, Trial(format, stream))
    convert: Callable[[Packet[Any]], list[Packet[Any]]]
    target: Stream
    if planned.sound is not None:
        target = add_sound(out, planned.sound)
        convert = SoundConverter(cast(AudioStream, stream), target)
    else:
        target = out.add_stream(TEXT[format])
        ticks = _ticks(stream.container) if format in _FILLS_GAPS else _TICKS
        convert = TextConverter(cast(SubtitleStream, stream), cast(SubtitleStream, target), ticks)
    describe(target, stream, format)
    return Track(planned, target, convert)


def _ticks(container: Container) -> int:
    """A subtitle's ticks a second in MP4 and MOV, finer than those of any other track: when a subtitle ends, FFmpeg compares
    its ticks with others', and with coarser ones ends it before its successor has come, which then is late."""
    finest = [1 / (fraction(stream.time_base) or 1) for stream in container.streams]
    rates = [stream.codec_context.sample_rate for stream in container.streams.audio if stream.codec_context]
    return max(100_000, *map(math.ceil, finest), *rates)


def _as_it_is(packet: Packet[Any]) -> list[Packet[Any]]:
    return [packet]


def _without_gaps(packet: Packet[Any]) -> list[Packet[Any]]:
    """MP4 fills the time between subtitles by empty ones, and its muxer will do so again."""
    return [] if bytes(packet) == b"\0\0" else [packet]
