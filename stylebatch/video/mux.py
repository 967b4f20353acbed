"""The join: a film's segments, and everything else that its source has, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
from av import VideoFrame
from av.codec.context import CodecContext
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.stream import VideoStream

from stylebatch.errors import OutputError
from stylebatch.files import publish
from stylebatch.video.decoding import plain
from stylebatch.video.encoding import Encoding
from stylebatch.video.options import show_time
from stylebatch.video.pyav import fraction, put_beside, readable
from stylebatch.video.source import VideoSource, open_film
from stylebatch.video.streams import Track, left_out, metadata_of, tracks
from stylebatch.video.times import Times
from stylebatch.video.work import Segment, Work

if TYPE_CHECKING:
    from av.container.core import Chapter

#: A GIF's ticks a second.
_GIF_RATE = 100


def join(work: Work, encoding: Encoding, source: VideoSource, output: Path) -> list[str]:
    """Write `output` from the segments and `source`, check that each frame is in it once and at its time, and only then
    give it its name.

    Returns:
        What could not come along, in words.

    Raises:
        OutputError: it cannot be written, or is not what it should be.
    """
    temp = work.folder / f"film{output.suffix.lower()}"
    try:
        start = _start(work, encoding, source)
        warnings: list[str] = []
        if encoding.container == "gif":
            track = _write_gif(work, encoding, temp)
        else:
            track = _write(work, encoding, source, temp, start, warnings)
        _check(work, encoding, temp, output, track, start)
        with open_film(source.path) as container, av.open(str(temp)) as out:
            warnings += left_out(container, out, source.clip.stream)
    except (av.FFmpegError, ValueError) as error:
        raise OutputError(f"{output}: cannot be written: {plain(error)}", fatal=isinstance(error, OSError)) from error
    publish(temp, output)
    return warnings


def _start(work: Work, encoding: Encoding, source: VideoSource) -> Fraction:
    """The time in the source that is the output's zero: its own, or that of the first frame after a cut."""
    is_cut = source.clip.window(source.options)[0] > source.clip.start
    return work.segments[0].first * encoding.time_base if is_cut else Fraction(0)


def _write(work: Work, encoding: Encoding, source: VideoSource, temp: Path, start: Fraction, warnings: list[str]) -> int:
    """The film with everything else; the index of its stream."""
    options = _options(encoding)
    with open_film(source.path) as container, av.open(str(temp), "w", format=encoding.container, options=options) as out:
        last = work.segments[-1]
        end = (last.last + (last.duration or 1)) * encoding.time_base if source.options.is_cut else None
        out.metadata.update(metadata_of(container))
        copies, changed = tracks(container, out, source.clip.stream, lambda: _film_stream(out, encoding, container, source))
        warnings += changed
        film = copies.pop(source.clip.stream)
        origin = source.times.origin
        _copy_chapters(container, out, start + origin, None if end is None else end + origin)
        out.start_encoding()
        packets = _film_packets(work, encoding, cast(VideoStream, film.stream), start)
        _feed(container, source.times, out, copies, packets, start, end)
        return film.stream.index


def _options(encoding: Encoding) -> dict[str, str]:
    if encoding.container in ("matroska", "webm"):
        return {"avoid_negative_ts": "disabled"}
    if encoding.container not in ("mp4", "mov"):
        return {}
    scale = encoding.time_base.denominator
    while scale < 10_000:
        scale *= 2
    # Tracks that start late do so by an edit in the movie's own ticks: as fine as those of the frames.
    return {"movflags": "+faststart", "movie_timescale": str(min(scale, 2**31 - 1))}


def _film_stream(out: OutputContainer, encoding: Encoding, container: InputContainer, source: VideoSource) -> Track:
    stream = cast(VideoStream, out.add_stream(encoding.encoder, rate=encoding.rate, options=dict(encoding.options)))
    encoding.configure(stream.codec_context)
    stream.time_base = encoding.time_base
    template = container.streams[source.clip.stream]
    stream.metadata.update(metadata_of(template, recoded=True))
    stream.disposition = template.disposition
    return Track(stream, lambda packet: [packet])


def _film_packets(work: Work, encoding: Encoding, stream: VideoStream, start: Fraction) -> Iterator[Packet[Any]]:
    """The segments' packets with the times of one film. A frame's is its own; a packet is decoded `delay` frames before
    the place of its frame, for the largest delay of all segments, so that the times of decoding rise across the joints."""
    extradata = (stream.codec_context.extradata or b"").hex()
    if any(segment.extradata != extradata for segment in work.segments):
        raise OutputError(f"{work.folder}: its segments were made by another version of the encoder; remove it")
    shift = int(start / encoding.time_base)
    delay = max(segment.delay for segment in work.segments)
    lagging = _lagging(work, encoding, delay)
    for index in range(len(work.segments)):
        packets = list(work.packets(index))
        durations = _durations(work.segments, index, sorted(coded.pts for coded in packets), encoding)
        for pts, key, data, alpha in packets:
            packet = Packet(data)
            if alpha:
                put_beside(packet, alpha)
            packet.stream, packet.time_base = stream, encoding.time_base
            packet.pts, packet.dts, packet.duration = pts - shift, next(lagging) - shift, durations[pts]
            packet.is_keyframe = key
            yield packet


def _lagging(work: Work, encoding: Encoding, delay: int) -> Iterator[int]:
    """When frames are shown, in order, after `delay` times before the first."""
    for index in range(len(work.segments)):
        times = sorted(coded.pts for coded in work.packets(index))
        if index == 0:
            step = times[1] - times[0] if len(times) > 1 else _tick(encoding)
            yield from (times[0] - place * step for place in range(delay, 0, -1))
        yield from times


def _durations(segments: list[Segment], index: int, times: list[int], encoding: Encoding) -> dict[int, int]:
    """A frame is shown until the next one."""
    if index + 1 < len(segments):
        after = segments[index + 1].first
    else:
        after = times[-1] + (segments[index].duration or _tick(encoding))
    return {pts: until - pts for pts, until in zip(times, [*times[1:], after], strict=True)}


def _tick(encoding: Encoding) -> int:
    """A frame at the nominal rate."""
    return max(1, round(1 / encoding.rate / encoding.time_base))


def _feed(
    container: InputContainer,
    times: Times,
    out: OutputContainer,
    copies: dict[int, Track],
    film: Iterator[Packet[Any]],
    start: Fraction,
    end: Fraction | None,
) -> None:
    """Everything into the file, in the order of time, so that little waits in memory."""
    waiting = next(film, None)
    streams = [container.streams[index] for index in copies]
    for packet in times.packets(container, streams) if streams else ():
        time = packet.dts if packet.dts is not None else packet.pts
        for copy in copies[packet.stream.index].take(packet, start, end):
            while waiting is not None and time is not None and _seconds(waiting) <= time * packet.time_base - start:
                out.mux(waiting)
                waiting = next(film, None)
            out.mux(copy)
    while waiting is not None:
        out.mux(waiting)
        waiting = next(film, None)


def _seconds(packet: Packet[Any]) -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base


def _copy_chapters(container: InputContainer, out: OutputContainer, start: Fraction, end: Fraction | None) -> None:
    kept: list[Chapter] = []
    for chapter in container.chapters():
        time_base = fraction(chapter["time_base"]) or Fraction(1, 1000)
        first = max(chapter["start"] * time_base - start, Fraction(0))
        last = chapter["end"] * time_base - start
        if end is not None:
            last = min(last, end - start)
        if first < last:
            kept.append({
                **chapter, "start": int(first / time_base), "end": int(last / time_base),
                "metadata": readable(chapter["metadata"]),
            })  # fmt: skip
    out.set_chapters(kept)


def _write_gif(work: Work, encoding: Encoding, temp: Path) -> int:
    """Each frame with 256 colours of its own, which only now are chosen: the segments keep all."""
    with av.open(str(temp), "w", format="gif") as out:
        stream = out.add_stream("gif", rate=_GIF_RATE)
        stream.width, stream.height = encoding.coded
        stream.pix_fmt = "pal8"
        stream.codec_context.time_base = Fraction(1, _GIF_RATE)
        graph: Graph | None = None
        zero, tick = work.segments[0].first, -1
        for index, segment in enumerate(work.segments):
            decoder = CodecContext.create("ffv1", "r")
            decoder.extradata = bytes.fromhex(segment.extradata)
            decoder.width, decoder.height = encoding.coded
            packets = list(work.packets(index))
            durations = _durations(work.segments, index, [coded.pts for coded in packets], encoding)
            for pts, _, data, _ in packets:
                for frame in decoder.decode(Packet(data)):
                    # Frames that round to one tick take one each: a GIF's are coarse.
                    tick = max(tick + 1, round((pts - zero) * encoding.time_base * _GIF_RATE))
                    frame.pts, frame.time_base = tick, stream.codec_context.time_base
                    graph = graph or _palettes(frame)
                    graph.vpush(frame)
                    for packet in stream.encode(graph.vpull()):
                        packet.duration = max(1, round(durations[pts] * encoding.time_base * _GIF_RATE))
                        out.mux(packet)
    return 0


def _palettes(like: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=like.time_base)
    split, make = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    use, sink = graph.add("paletteuse", "new=1"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(make, 0, 0)
    split.link_to(use, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _check(work: Work, encoding: Encoding, temp: Path, output: Path, track: int, start: Fraction) -> None:
    """Each frame once, and at its time within a tick, its own or the container's."""
    with av.open(str(temp)) as container:
        stream = container.streams[track]
        time_base = fraction(stream.time_base) or encoding.time_base
        packets = (packet for packet in container.demux(stream) if packet.size)
        found = sorted((packet.dts if encoding.container == "avi" else packet.pts) or 0 for packet in packets)
    if len(found) != work.frames:
        raise OutputError(f"{output}: {len(found)} frames were written of {work.frames}; nothing is kept under this name")
    expected = (pts for index in range(len(work.segments)) for pts in sorted(coded.pts for coded in work.packets(index)))
    zero = start if encoding.container != "gif" else work.segments[0].first * encoding.time_base
    tick = max(time_base, encoding.time_base)
    for got, pts in zip(found, expected, strict=True):
        time = pts * encoding.time_base - zero
        if abs(got * time_base - time) > tick:
            times = f"{show_time(float(time))} was written for {show_time(float(got * time_base))}"
            raise OutputError(f"{output}: the frame of {times}; nothing is kept under this name")
