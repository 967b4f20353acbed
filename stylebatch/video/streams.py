"""Everything in a file beside the film that is stylized: copied as it is, converted where the container needs it, or left
out and named."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.container.core import Container
from av.packet import Packet
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from stylebatch.video.convert import TEXT, Sound, SoundConverter, TextConverter, add_sound, is_text, sound_for
from stylebatch.video.pyav import Description, described, fraction, open_input, readable
from stylebatch.video.timecode import TIMECODE, is_timecode

#: Languages that QuickTime has under the older of their two codes alone.
_QUICKTIME = {
    "ces": "cze", "cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per", "fra": "fre", "hye": "arm",
    "isl": "ice", "kat": "geo", "mkd": "mac", "msa": "may", "mya": "bur", "nld": "dut", "ron": "rum", "slk": "slo",
    "sqi": "alb", "zho": "chi",
}  # fmt: skip
#: Metadata that speaks of a file's own form, not of what is in it.
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "software", "vendor_id", "duration"}
_OF_THE_CODING = {"duration", "bps", "number_of_frames", "number_of_bytes", "rotate", "encoder", "vendor_id", "alpha_mode"}
#: A stream's metadata that is told otherwise, or of a container's own making.
_NOT_MISSED = {TIMECODE, "handler_name", "creation_time"} | _OF_THE_CODING
#: Tracks in which MP4 and MOV have timecodes, and repeat the names of chapters.
_TIMECODES, _CHAPTERS = ("tmcd",), ("text", "tx3g")
#: Containers that have a place for timecodes.
_WITH_TIMECODES = ("mp4", "mov", "matroska", "webm")
#: Those that make a track of it, by a frame rate that copied packets do not have.
_MAKES_TIMECODES = ("mp4", "mov")
#: Containers in which a track without packets vanishes.
_DROPS_EMPTY = ("mp4", "mov")
#: Those that fill the time between subtitles by empty ones; of how many ticks a second subtitles are elsewhere.
_FILLS_GAPS, _TICKS = ("mp4", "mov"), 1000
#: So many packets of each stream are tried before painting, looked for among so many of the file.
_TRIED, _LOOKED_AT = 8, 3000

Fate = Literal["stylized", "copied", "converted", "made anew", "left out"]


@dataclass(frozen=True)
class Planned:
    """What becomes of a stream.

    Attributes:
        index: of the stream in its source.
        name: in words.
        fate: whether it is in the output, and how it gets there.
        reason: what a person should hear, after the name; empty if nothing.
        sound: what it is converted to, if it is sound.
    """

    index: int
    name: str
    fate: Fate
    reason: str = ""
    sound: Sound | None = None


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


class Trial:
    """A stream alone in a container, by default written nowhere. What is refused there would cost a film its other packets,
    which wait in the container beside it.

    Raises:
        av.FFmpegError, ValueError: there can be no such stream.
    """

    def __init__(self, format: str, stream: Stream, file: Any = os.devnull) -> None:
        self._out = av.open(file, "w", format=format)
        self._stream = _copy_of(self._out, stream)
        self._out.start_encoding()

    def takes(self, packet: Packet[Any]) -> bool:
        packet.stream = self._stream
        try:
            self._out.mux(packet)
        except (av.FFmpegError, ValueError):
            return False
        return True

    def close(self) -> None:
        with suppress(av.FFmpegError, ValueError):
            self._out.close()


def first_packets(packets: Iterable[Packet[Any]], streams: Sequence[Stream]) -> dict[int, list[Packet[Any]]]:
    """Some of each stream, by its index, as far as they come early."""
    found: dict[int, list[Packet[Any]]] = {stream.index: [] for stream in streams}
    waiting = len(found)
    for number, packet in enumerate(packets):
        of_stream = found.get(packet.stream.index)
        if of_stream is not None and packet.size and len(of_stream) < _TRIED:
            of_stream.append(packet)
            waiting -= len(of_stream) == _TRIED
        if not waiting or number > _LOOKED_AT:
            break
    return found


def plan_streams(
    container: InputContainer, format: str, film: int, first: Mapping[int, Sequence[Packet[Any]]]
) -> list[Planned]:
    """What becomes of each stream of a file when it is written as `format`, tried with the `first` packets of each.

    Args:
        container: not yet read from: reading tells FFmpeg more of some streams, and the film will be joined without that.
        film: index of the stream that is stylized.
    """
    descriptions = described(container)
    planned = []
    for stream in container.streams:
        description = descriptions.get(stream.index, Description(stream.type, "unknown"))
        name = _name(stream, description)
        if stream.index == film:
            loses = format not in _WITH_TIMECODES and timecode_of(container, film)
            reason = f"loses its timecode: {format} has no place for it" if loses else ""
            planned.append(Planned(film, name, "stylized", reason))
        elif not (stream.type == "data" and description.tag in _CHAPTERS and container.chapters()):
            planned.append(_planned(format, stream, description, name, first.get(stream.index, ())))
    return planned


def _planned(
    format: str,
    stream: Stream,
    description: Description,
    name: str,
    packets: Sequence[Packet[Any]],
) -> Planned:
    index, refused = stream.index, f"is left out: {format} takes none such"
    if stream.type == "data" and description.tag in _TIMECODES:
        return Planned(index, name, "made anew" if format in _WITH_TIMECODES else "left out")
    if format == "gif":
        return Planned(index, name, "left out", refused)
    if stream.type == "attachment":
        return Planned(index, name, "copied") if format == "matroska" else Planned(index, name, "left out", refused)
    has_decoder = bool(stream.codec_context)
    if stream.type not in ("audio", "video", "subtitle", "data") or not (has_decoder or stream.type == "data"):
        return Planned(index, name, "left out", "is left out: FFmpeg does not know how to read it")
    if stream.disposition & Disposition.attached_pic and format == "matroska":
        return Planned(index, name, "copied")
    if _takes(format, stream, description, packets):
        return Planned(index, name, "copied")
    if isinstance(stream, AudioStream):
        sound = None if description.order_of_its_own else sound_for(format, stream, packets)
        if sound is None:
            return Planned(index, name, "left out", refused)
        mixed = f" and mixed down to {sound.layout}" if sound.mixed else ""
        return Planned(index, name, "converted", f"is converted to {sound.encoder}{mixed}", sound)
    if isinstance(stream, SubtitleStream) and format in TEXT and is_text(stream):
        return Planned(index, name, "converted", f"is converted to {TEXT[format]}")
    return Planned(index, name, "left out", refused)


def _takes(format: str, stream: Stream, description: Description, packets: Sequence[Packet[Any]]) -> bool:
    """Ask the container itself: with such a stream and its first packets it makes a file that can be read."""
    file = io.BytesIO()
    try:
        trial = Trial(format, stream, file)
        taken = [trial.takes(_copied(packet)) for packet in packets]
        trial.close()
        if not packets or stream.disposition & Disposition.attached_pic:
            return True
        if taken.count(False) > 1:  # one may be damaged
            return False
        file.seek(0)
        with open_input(file) as container:
            found = described(container).get(0)
    except (av.FFmpegError, ValueError):
        return False
    return found is not None and found.kind == stream.type and (stream.type != "data" or found.tag == description.tag)


def _copied(packet: Packet[Any]) -> Packet[Any]:
    copy = Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    copy.is_keyframe = packet.is_keyframe
    return copy


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
        copy = _copy_of(out, stream)
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
    _describe(target, stream, format)
    return Track(planned, target, convert)


def _copy_of(out: OutputContainer, stream: Stream) -> Stream:
    copy = out.add_stream_from_template(stream, opaque=True)
    _describe(copy, stream, out.format.name)
    return copy


def _ticks(container: Container) -> int:
    """A subtitle's ticks a second in MP4 and MOV, finer than those of any other track: when a subtitle ends, FFmpeg compares
    its ticks with others', and with coarser ones ends it before its successor has come, which then is late."""
    finest = [1 / (fraction(stream.time_base) or 1) for stream in container.streams]
    rates = [stream.codec_context.sample_rate for stream in container.streams.audio if stream.codec_context]
    return max(100_000, *map(math.ceil, finest), *rates)


def _describe(copy: Stream, stream: Stream, format: str) -> None:
    tags = metadata_of(stream)
    if stream.type == "video" and format in _MAKES_TIMECODES:
        tags = {key: value for key, value in tags.items() if key.lower() != TIMECODE}
    copy.metadata.update(tags)
    if format == "mov" and stream.language in _QUICKTIME:
        copy.metadata["language"] = _QUICKTIME[stream.language]
    copy.disposition = stream.disposition


def timecode_of(container: InputContainer, film: int) -> str | None:
    """The timecode of a file's first frame: the film's own, that of a track for it, or the file's; None if it has none."""
    others = [stream for stream in container.streams if stream.type == "data"]
    holders: list[Any] = [container.streams[film], *others, container]
    tags = (readable(holder.metadata) for holder in holders)
    found = (value for each in tags for key, value in each.items() if key.lower() == TIMECODE)
    return next(filter(is_timecode, found), None)


def left_out(container: InputContainer, out: InputContainer, places: Mapping[int, int]) -> list[str]:
    """What of a source's metadata and chapters has not come along in `out`, in words.

    Args:
        places: of the source's streams in `out`, both by index.
    """
    warnings = []
    if len(out.chapters()) < len(container.chapters()):
        warnings.append(f"chapters are left out: {out.format.name} takes none")
    if lost := _lost(metadata_of(container), out.metadata, {TIMECODE}):
        warnings.append(f"metadata is left out: {', '.join(lost)}")
    for index, place in places.items():
        tags = {key: value for key, value in metadata_of(container.streams[index], recoded=True).items() if value != "und"}
        if lost := _lost(tags, metadata_of(out.streams[place]), _NOT_MISSED):
            warnings.append(f"metadata of stream {index} is left out: {', '.join(lost)}")
    return warnings


def _lost(tags: Mapping[str, str], there: Mapping[str, str], told: set[str]) -> list[str]:
    kept = {key.lower() for key in there} | told
    return sorted(key for key in tags if key.lower() not in kept)


def metadata_of(holder: Any, *, recoded: bool = False) -> dict[str, str]:
    """Tags of a file or stream that are true of its copy."""
    dropped = _OF_THE_CODING if recoded else _OF_THE_FILE
    tags = readable(holder.metadata)
    if "name" in tags and isinstance(holder, Stream):
        tags.setdefault("title", tags.pop("name"))  # as MP4 and MOV have it
    return {key: value for key, value in tags.items() if key.lower() not in dropped and not key.startswith("_")}


def _as_it_is(packet: Packet[Any]) -> list[Packet[Any]]:
    return [packet]


def _without_gaps(packet: Packet[Any]) -> list[Packet[Any]]:
    """MP4 fills the time between subtitles by empty ones, and its muxer will do so again."""
    return [] if bytes(packet) == b"\0\0" else [packet]


def _name(stream: Stream, description: Description) -> str:
    codec = stream.codec_context.name if stream.codec_context else description.codec
    if codec in ("none", "bin_data") and description.tag:
        codec = description.tag
    language = f", {stream.language}" if stream.language else ""
    return f"stream {stream.index} ({stream.type} {codec}{language})"
