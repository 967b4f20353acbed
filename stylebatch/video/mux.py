"""The join: a film's segments, and everything else that its source has, in one file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from stylebatch.errors import OutputError
from stylebatch.files import publish
from stylebatch.video.clip import FilmSource
from stylebatch.video.encoding import Encoding
from stylebatch.video.gif import repeats_of, write_gif
from stylebatch.video.options import show_time
from stylebatch.video.pyav import as_url, fraction, open_input, plain, put_beside
from stylebatch.video.rehearsal import begin, muxer_options
from stylebatch.video.streams import Planned
from stylebatch.video.times import Times
from stylebatch.video.tracks import Track, places_of
from stylebatch.video.work import Work


def join(
    work: Work,
    encoding: Encoding,
    source: FilmSource,
    planned: Sequence[Planned],
    output: Path,
    put: Callable[[Path, Path], None] | None = None,
) -> list[str]:
    """Write `output` from the segments and the rest of `source`, check that each frame is in it once and at its time, and
    only then give it its name, as `publish` does.

    Returns:
        What has been lost on the way, in words.

    Raises:
        OutputError: it cannot be written, or is not what it should be.
    """
    temp = work.folder / f"film{output.suffix.lower()}"
    try:
        start = _start(work, encoding, source)
        warnings: list[str] = []
        if encoding.container == "gif":
            with source.opened() as container:
                repeats = repeats_of(source.path, container.format.name)
            write_gif(work, encoding, temp, repeats)
            track = 0
        else:
            track = _write(work, encoding, source, planned, temp, start, warnings)
        _check(work, encoding, temp, output, track, start)
    except (av.FFmpegError, ValueError) as error:
        raise OutputError(f"{output}: cannot be written: {plain(error)}", fatal=isinstance(error, OSError)) from error
    publish(temp, output, put)
    return warnings


def _start(work: Work, encoding: Encoding, source: FilmSource) -> Fraction:
    """The time in the source that is the output's zero: its own, or that of the first frame after a cut."""
    is_cut = source.clip.window(source.options)[0] > source.clip.start
    return work.segments[0].first * encoding.time_base if is_cut else Fraction(0)


def _write(
    work: Work,
    encoding: Encoding,
    source: FilmSource,
    planned: Sequence[Planned],
    temp: Path,
    start: Fraction,
    warnings: list[str],
) -> int:
    """The film with everything else; the index of its stream."""
    with (
        source.opened() as container,
        av.open(
            as_url(temp), "w", format=encoding.container, options=muxer_options(encoding, container, "+faststart")
        ) as out,
    ):
        last = work.segments[-1]
        end = (last.last + (last.duration or 1)) * encoding.time_base if source.options.is_cut else None
        tracks = begin(container, out, planned, encoding, source, start, end)
        film = tracks[source.clip.stream]
        others = {index: track for index, track in tracks.items() if track is not film}
        packets = _film_packets(work, encoding, cast(VideoStream, film.stream), start)
        _feed(container, source.times, out, film, others, packets, start, end)
        for track in others.values():
            warnings += track.close(encoding.container)
        return places_of(tracks, encoding.container)[source.clip.stream]


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
        durations = work.durations(index, sorted(coded.pts for coded in packets), encoding.tick)
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
            step = times[1] - times[0] if len(times) > 1 else encoding.tick
            yield from (times[0] - place * step for place in range(delay, 0, -1))
        yield from times


def _feed(
    container: InputContainer,
    times: Times,
    out: OutputContainer,
    film: Track,
    tracks: dict[int, Track],
    packets: Iterator[Packet[Any]],
    start: Fraction,
    end: Fraction | None,
) -> None:
    """Everything into the file, in the order of time, so that little waits in memory."""
    waiting = next(packets, None)
    streams = [container.streams[index] for index in tracks]
    for packet in times.packets(container, streams) if streams else ():
        time = packet.dts if packet.dts is not None else packet.pts
        track = tracks[packet.stream.index]
        for taken in track.take(packet, start, end):
            while waiting is not None and time is not None and _seconds(waiting) <= time * packet.time_base - start:
                film.put(out, waiting)
                waiting = next(packets, None)
            track.put(out, taken)
    while waiting is not None:
        film.put(out, waiting)
        waiting = next(packets, None)


def _seconds(packet: Packet[Any]) -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base


def _check(work: Work, encoding: Encoding, temp: Path, output: Path, track: int, start: Fraction) -> None:
    """Each frame once, and at its time within a tick, its own or the container's."""
    with open_input(temp) as container:
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
