"""What becomes of everything in a file beside the film that is stylized: copied, converted, or left out and named."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from stylebatch.video.convert import TEXT, Sound, is_text, sound_for
from stylebatch.video.pyav import Description, described, open_input
from stylebatch.video.tags import timecode_of
from stylebatch.video.trial import Trial

#: Tracks in which MP4 and MOV have timecodes, and repeat the names of chapters.
_TIMECODES, _CHAPTERS = ("tmcd",), ("text", "tx3g")
#: Containers that have a place for timecodes.
_WITH_TIMECODES = ("mp4", "mov", "matroska", "webm")
#: So many packets of each stream are tried before painting, looked for among so many of the file, and so many bytes.
_TRIED, _LOOKED_AT, _BYTES_LOOKED_AT = 8, 3000, 1 << 26

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


def first_packets(packets: Iterable[Packet[Any]], streams: Sequence[Stream]) -> dict[int, list[Packet[Any]]]:
    """Some of each stream, by its index, as far as they come early.

    Args:
        packets: also those of the film, which tell how far the file has been read.
    """
    found: dict[int, list[Packet[Any]]] = {stream.index: [] for stream in streams}
    waiting, size = len(found), 0
    for number, packet in enumerate(packets):
        size += packet.size
        of_stream = found.get(packet.stream.index)
        if of_stream is not None and packet.size and len(of_stream) < _TRIED:
            of_stream.append(packet)
            waiting -= len(of_stream) == _TRIED
        if not waiting or number > _LOOKED_AT or size > _BYTES_LOOKED_AT:
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
    index, refused = stream.index, f"is left out: {format} holds no such streams"
    if stream.type == "data" and description.tag in _TIMECODES:
        return Planned(index, name, "made anew" if format in _WITH_TIMECODES else "left out")
    if format == "gif":
        return Planned(index, name, "left out", refused)
    if stream.type == "attachment":
        return Planned(index, name, "copied") if format == "matroska" else Planned(index, name, "left out", refused)
    has_decoder = bool(stream.codec_context)
    if stream.type not in ("audio", "video", "subtitle", "data") or not (has_decoder or stream.type == "data"):
        return Planned(index, name, "left out", "is left out: FFmpeg does not know how to read it")
    if stream.disposition & Disposition.attached_pic and format != "mp4":
        return Planned(index, name, "copied") if format == "matroska" else Planned(index, name, "left out", refused)
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


def _name(stream: Stream, description: Description) -> str:
    codec = stream.codec_context.name if stream.codec_context else description.codec
    if codec in ("none", "bin_data") and description.tag:
        codec = description.tag
    language = f", {stream.language}" if stream.language else ""
    return f"stream {stream.index} ({stream.type} {codec}{language})"
