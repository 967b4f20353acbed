"""Everything in a file beside the film that is stylized: copied as it is, converted where the container needs it, or left
out and named."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream

from stylebatch.video.pyav import readable

#: What sound and text become where a container does not take them as they are.
_AUDIO = {"mp4": "aac", "mov": "aac", "matroska": "aac", "avi": "aac", "webm": "libopus"}
_TEXT = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
#: Languages that QuickTime has under the older of their two codes alone.
_QUICKTIME = {
    "ces": "cze", "cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per", "fra": "fre", "hye": "arm",
    "isl": "ice", "kat": "geo", "mkd": "mac", "msa": "may", "mya": "bur", "nld": "dut", "ron": "rum", "slk": "slo",
    "sqi": "alb", "zho": "chi",
}  # fmt: skip
#: Metadata that speaks of a file's own form, not of what is in it.
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "software", "vendor_id", "duration"}
_OF_THE_CODING = {"duration", "bps", "number_of_frames", "number_of_bytes", "rotate", "encoder", "vendor_id", "alpha_mode"}


@dataclass
class Track:
    """A stream of the output, and what makes its packets of the source's: an empty one comes at the end."""

    stream: Stream
    convert: Callable[[Packet[Any]], list[Packet[Any]]]
    begun: bool = False

    def take(self, packet: Packet[Any], start: Fraction, end: Fraction | None) -> list[Packet[Any]]:
        """The packets to write for one of the source's, on the output's clock, which has its zero at `start`."""
        if packet.size and not self._lies_within(packet, start, end):
            return []
        packets = self.convert(packet)
        for converted in packets:
            converted.stream = self.stream
            shift = round(start / converted.time_base)
            converted.pts = None if converted.pts is None else converted.pts - shift
            converted.dts = None if converted.dts is None else converted.dts - shift
        return [converted for converted in packets if converted.size]

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


def tracks(
    container: InputContainer, out: OutputContainer, film: int, make_film: Callable[[], Track]
) -> tuple[dict[int, Track], list[str]]:
    """Add a stream to `out` for each of `container`, in its order, `make_film` for the one that is stylized.

    Returns:
        The tracks by the source's index, and what could not come along, in words.
    """
    copies: dict[int, Track] = {}
    warnings: list[str] = []
    for stream in container.streams:
        if stream.index == film:
            copies[film] = make_film()
            continue
        if _is_chapter_text(container, stream):
            continue
        track, trouble = _track(container, out, stream)
        if track is not None:
            track.stream.metadata.update(metadata_of(stream))
            if out.format.name == "mov" and stream.language in _QUICKTIME:
                track.stream.metadata["language"] = _QUICKTIME[stream.language]
            track.stream.disposition = stream.disposition
            copies[stream.index] = track
        if trouble:
            warnings.append(f"{_name(stream)} {trouble}")
    return copies, warnings


def left_out(container: InputContainer, out: InputContainer, film: int) -> list[str]:
    """What of a source's metadata, chapters and, in a GIF, streams has not come along in `out`, in words."""
    warnings = []
    if out.format.name == "gif":
        others = [stream for stream in container.streams if stream.index != film]
        warnings += [f"{_name(stream)} is left out: gif takes none such" for stream in others]
    if len(out.chapters()) < len(container.chapters()):
        warnings.append(f"chapters are left out: {out.format.name} takes none")
    there = {key.lower() for key in out.metadata}
    lost = sorted(key for key in metadata_of(container) if key.lower() not in there)
    return [*warnings, f"metadata is left out: {', '.join(lost)}"] if lost else warnings


def metadata_of(holder: Any, *, recoded: bool = False) -> dict[str, str]:
    """Tags of a file or stream that are true of its copy."""
    dropped = _OF_THE_CODING if recoded else _OF_THE_FILE
    tags = readable(holder.metadata)
    return {key: value for key, value in tags.items() if key.lower() not in dropped and not key.startswith("_")}


def _track(container: InputContainer, out: OutputContainer, stream: Stream) -> tuple[Track | None, str]:
    format = out.format.name
    if stream.type == "attachment":
        if format != "matroska":
            return None, f"is left out: {format} takes none such"
        return Track(out.add_stream_from_template(stream), _as_it_is), ""
    if stream.disposition & Disposition.attached_pic and format == "matroska":
        picture = bytes(next(container.demux(stream)))
        container.seek(0)
        kind = "png" if stream.codec_context.name == "png" else "jpeg"
        out.add_attachment(f"cover.{'png' if kind == 'png' else 'jpg'}", f"image/{kind}", picture)
        return None, ""
    if _takes(format, stream):
        is_mov_text = stream.type == "subtitle" and stream.codec_context.name == "mov_text"
        return Track(out.add_stream_from_template(stream, opaque=True), _without_gaps if is_mov_text else _as_it_is), ""
    if isinstance(stream, AudioStream) and stream.codec_context is not None:
        return _recoded_audio(out, stream, _AUDIO[format])
    if isinstance(stream, SubtitleStream) and format in _TEXT and _is_text(stream):
        return _converted_text(out, stream, _TEXT[format]), f"is converted to {_TEXT[format]}"
    return None, f"is left out: {format} takes none such"


def _as_it_is(packet: Packet[Any]) -> list[Packet[Any]]:
    return [packet] if packet.size else []


def _without_gaps(packet: Packet[Any]) -> list[Packet[Any]]:
    """MP4 fills the time between subtitles by empty ones, and its muxer will do so again."""
    return _as_it_is(packet) if bytes(packet) != b"\0\0" else []


def _takes(format: str, stream: Stream) -> bool:
    """Ask the container itself: it writes a header with such a stream, or refuses."""
    try:
        trial = av.open(io.BytesIO(), "w", format=format)
        trial.add_stream_from_template(stream, opaque=True)
        trial.start_encoding()
        trial.close()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _recoded_audio(out: OutputContainer, stream: AudioStream, codec: str) -> tuple[Track, str]:
    rate = 48_000 if codec == "libopus" else stream.codec_context.sample_rate
    target = cast(AudioStream, out.add_stream(codec, rate=rate))
    target.codec_context.layout = stream.codec_context.layout.name
    target.codec_context.bit_rate = 96_000 * max(1, stream.codec_context.layout.nb_channels)
    resampler = AudioResampler(target.codec_context.format, target.codec_context.layout, rate)

    def convert(packet: Packet[Any]) -> list[Packet[Any]]:
        frames = [resampled for frame in stream.decode(packet) for resampled in resampler.resample(frame)]
        if not packet.size:
            frames += resampler.resample(None)
        packets = [encoded for frame in frames for encoded in target.encode(frame)]
        return packets if packet.size else [*packets, *target.encode(None)]

    return Track(target, convert), f"is converted to {target.codec_context.name}"


def _converted_text(out: OutputContainer, stream: SubtitleStream, codec: str) -> Track:
    target = cast(SubtitleStream, out.add_stream(codec))
    context: SubtitleCodecContext = stream.codec_context
    context.open(strict=False)
    target.codec_context.subtitle_header = context.subtitle_header
    ticks = Fraction(1, 1000)
    target.time_base = target.codec_context.time_base = ticks

    def convert(packet: Packet[Any]) -> list[Packet[Any]]:
        decoded = context.decode2(packet) if packet.size else None
        if decoded is None or not len(decoded):
            return []
        encoded = target.codec_context.encode_subtitle(decoded)
        encoded.time_base = ticks
        encoded.pts = encoded.dts = round((packet.pts or 0) * packet.time_base / ticks)
        encoded.duration = round((packet.duration or 0) * packet.time_base / ticks)
        return [encoded]

    return Track(target, convert)


def _is_text(stream: SubtitleStream) -> bool:
    return stream.codec_context is not None and stream.codec_context.name in (
        "mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text", "microdvd", "subviewer", "sami", "realtext",
    )  # fmt: skip


def _is_chapter_text(container: InputContainer, stream: Stream) -> bool:
    """The track in which MP4 and MOV repeat the names of chapters, which come along as chapters."""
    return stream.type == "data" and bool(container.chapters()) and stream.name in ("bin_data", None)


def _name(stream: Stream) -> str:
    codec = stream.codec_context.name if stream.codec_context else stream.name or "unknown"
    language = f", {stream.language}" if stream.language else ""
    return f"stream {stream.index} ({stream.type} {codec}{language})"
