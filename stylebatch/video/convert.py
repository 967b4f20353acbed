"""Sound and subtitles in another form, where a container does not take them as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet

from stylebatch.video.pyav import fraction, is_end

#: What sound and text become, by the container.
SOUND = {"mp4": "aac", "mov": "aac", "matroska": "aac", "avi": "pcm_s16le", "webm": "libopus"}
TEXT = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
#: Subtitles that are text, by their decoder.
_TEXTS = ("mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text", "microdvd", "subviewer", "sami", "realtext")
#: How many channels are meant to stand where nobody says it, and layouts that differ from an encoder's by name alone.
_USUAL = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_SAME = {"5.0(side)": "5.0", "5.1(side)": "5.1"}
#: Bits a second of a channel.
_BIT_RATE = 96_000
#: Gaps in sound are filled from this on, in seconds: what cannot be decoded leaves silence, and the rest stays in step.
_FILL = "async=1:min_hard_comp=0.01"


@dataclass(frozen=True)
class Sound:
    """What sound is encoded in.

    Attributes:
        encoder, layout: FFmpeg's names of the encoder and of the channels.
        rate: samples a second.
        mixed: it has fewer channels than it had.
    """

    encoder: str
    layout: str
    rate: int
    mixed: bool = False


def sound_for(format: str, stream: AudioStream, packets: Sequence[Packet[Any]]) -> Sound | None:
    """What the sound of a stream becomes in a container: as many channels and samples as its encoder takes, tried with the
    first packets, if any come early; None if nothing of these can be decoded, or no encoder takes it."""
    frames = [frame for packet in packets for frame in _decoded(stream, packet) or ()]
    known = frames[0] if frames else stream.codec_context
    own, channels = known.layout.name, known.layout.nb_channels
    if format not in SOUND or not known.sample_rate or not channels or (packets and not frames):
        return None
    encoder = SOUND[format]
    rates = Codec(encoder, "w").audio_rates or [known.sample_rate]
    rate = min((rate for rate in rates if rate >= known.sample_rate), default=max(rates))
    named = None if _is_unnamed(own) else _SAME.get(own, own)
    for layout in dict.fromkeys(filter(None, [named, _USUAL.get(channels), "stereo"])):
        sound = Sound(encoder, layout, rate, AudioLayout(layout).nb_channels < channels)
        with suppress(av.FFmpegError, ValueError):
            with av.open(os.devnull, "w", format=format) as trial:
                target = add_sound(trial, sound)
                target.codec_context.open()
                chain = _Chain(target)
                for frame in frames:
                    for passed in chain.push(frame):
                        target.encode(passed)
            return sound
    return None


def add_sound(out: OutputContainer, sound: Sound) -> AudioStream:
    """A stream for such sound, not yet opened. Raises what PyAV raises where there can be none."""
    target = out.add_stream(sound.encoder, rate=sound.rate)
    assert isinstance(target, AudioStream)
    target.codec_context.layout = sound.layout
    target.codec_context.bit_rate = _BIT_RATE * target.codec_context.layout.nb_channels
    return target


class SoundConverter:
    """Packets of one stream → packets of another. An empty packet is the end.

    Attributes:
        damaged: packets that could not be decoded.
    """

    def __init__(self, stream: AudioStream, target: AudioStream) -> None:
        self.damaged = 0
        self._stream, self._target = stream, target
        self._chain = _Chain(target)

    def __call__(self, packet: Packet[Any]) -> list[Packet[Any]]:
        if not packet.size and not is_end(packet):
            return []  # nothing, at a time of its own
        frames = _decoded(self._stream, packet)
        if frames is None:
            self.damaged += 1
            return []
        passed = [passed for frame in frames for passed in self._chain.push(frame)]
        if not packet.size:
            passed += self._chain.end()
        packets = [encoded for frame in passed for encoded in self._target.encode(frame)]
        return packets if packet.size else [*packets, *self._target.encode(None)]


class _Chain:
    """Frames as they come from a decoder → what an encoder takes, without gaps. Some streams change on the way."""

    def __init__(self, target: AudioStream) -> None:
        self._target = target
        self._kind: tuple[object, ...] = ()
        self._graph: Graph | None = None
        self._next: int | None = None

    def push(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            yield from self.end()
            self._kind, self._graph = kind, self._built(frame)
        assert self._graph is not None
        self._graph.push(frame)
        yield from self._pull()

    def end(self) -> Iterator[AudioFrame]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            self._graph = None

    def _built(self, frame: AudioFrame) -> Graph:
        graph, context = Graph(), self._target.codec_context
        layout = frame.layout.name
        if _is_unnamed(layout):
            layout = _USUAL.get(frame.layout.nb_channels, layout)
        time_base = fraction(frame.time_base) or Fraction(1, frame.sample_rate)
        source = graph.add(
            "abuffer", sample_rate=str(frame.sample_rate), sample_fmt=frame.format.name, channel_layout=layout,
            time_base=str(time_base),
        )  # fmt: skip
        form = f"sample_rates={context.sample_rate}:sample_fmts={context.format.name}:channel_layouts={context.layout.name}"
        graph.link_nodes(
            source, graph.add("aresample", _FILL), graph.add("aformat", form), graph.add("abuffersink")
        ).configure()
        return graph

    def _pull(self) -> Iterator[AudioFrame]:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, AudioFrame)
            if frame.pts is None:
                frame.pts = self._next or 0
            self._next = frame.pts + frame.samples
            yield frame


def _is_unnamed(layout: str) -> bool:
    """Whether nobody says where the channels stand: WMA, PCM and others."""
    return layout.endswith(" channels")


def _decoded(stream: AudioStream, packet: Packet[Any]) -> list[AudioFrame] | None:
    """The frames of a packet; None if it is damaged."""
    try:
        return [frame for frame in stream.decode(packet) if frame.sample_rate and frame.layout.nb_channels]
    except av.EOFError:
        return []
    except (av.FFmpegError, ValueError):
        return None


def is_text(stream: SubtitleStream) -> bool:
    return stream.codec_context is not None and stream.codec_context.name in _TEXTS


class TextConverter:
    """Subtitles of one stream → those of another. An empty packet is the end.

    Args:
        ticks: of the result, a second.

    Attributes:
        damaged: packets that could not be decoded; `guessed` are those whose text is not UTF-8, read as Windows-1252.
    """

    def __init__(self, stream: SubtitleStream, target: SubtitleStream, ticks: int) -> None:
        self.damaged = self.guessed = 0
        self._context: SubtitleCodecContext = stream.codec_context
        self._context.open(strict=False)
        self._target = target
        target.codec_context.subtitle_header = self._context.subtitle_header
        self._tick = Fraction(1, ticks)
        target.time_base = target.codec_context.time_base = self._tick

    def __call__(self, packet: Packet[Any]) -> list[Packet[Any]]:
        try:
            decoded = self._decoded(packet) if packet.size else None
            if not decoded:
                return []
            encoded = self._target.codec_context.encode_subtitle(decoded)
        except (av.FFmpegError, ValueError):
            self.damaged += 1
            return []
        encoded.time_base = self._tick
        encoded.pts = encoded.dts = round((packet.pts or 0) * packet.time_base / self._tick)
        encoded.duration = round((packet.duration or 0) * packet.time_base / self._tick)
        return [encoded]

    def _decoded(self, packet: Packet[Any]) -> SubtitleSet | None:
        try:
            return self._context.decode2(packet)
        except av.error.InvalidDataError:
            decoded = self._context.decode2(_as_utf_8(packet, self._context.name))
            self.guessed += 1
            return decoded


def _as_utf_8(packet: Packet[Any], codec: str) -> Packet[Any]:
    """The same subtitle, whose text is taken for Windows-1252, or Latin-1 where that has no letter."""
    data, rest = bytes(packet), b""
    if codec == "mov_text":  # the length in two bytes, the text, styles
        length = 2 + int.from_bytes(data[:2], "big")
        data, rest = data[2:length], data[length:]
    try:
        text = data.decode("cp1252").encode()
    except UnicodeDecodeError:
        text = data.decode("latin-1").encode()
    again = Packet((len(text).to_bytes(2, "big") if codec == "mov_text" else b"") + text + rest)
    again.pts, again.dts, again.duration, again.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    return again
