"""The join: a film's segments, and everything else that its source has, in one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from stylebatch.errors import OutputError, StylebatchError
from stylebatch.files import publish
from stylebatch.video.encoding import Encoding
from stylebatch.video.gif import repeats_of, write_gif
from stylebatch.video.options import show_time
from stylebatch.video.pyav import as_url, fraction, open_input, plain, put_beside, readable
from stylebatch.video.source import Clip, VideoSource
from stylebatch.video.streams import (
    Planned,
    Track,
    add_tracks,
    first_packets,
    left_out,
    metadata_of,
    places_of,
    plan_streams,
    timecode_of,
)
from stylebatch.video.timecode import TIMECODE, shifted_timecode
from stylebatch.video.times import Times
from stylebatch.video.work import Work

if TYPE_CHECKING:
    from av.container.core import Chapter


def rehearse(encoding: Encoding, source: VideoSource) -> list[Planned]:
    """Plan what becomes of each stream of a source, and write a header with all of them, before hours are spent.

    Raises:
        StylebatchError: no such film can be written.
    """
    film = source.clip.stream
    with source.opened() as read, source.opened() as container:
        streams = [stream for stream in read.streams if stream.index != film and stream.type != "attachment"]
        first = first_packets(source.times.packets(read, streams), streams) if streams else {}
        planned = plan_streams(container, encoding.container, film, first)
    if encoding.container == "gif":
        return planned
    begins, ends = source.clip.window(source.options)
    start = Fraction(max(0.0, begins))
    end = Fraction(ends) if ends < float("inf") else None
    try:
        with source.opened() as container, av.open(os.devnull, "w", format=encoding.container) as out:
            _begin(container, out, planned, encoding, source, start, end)
    except (av.FFmpegError, ValueError) as error:
        raise StylebatchError(
            f"{source.path}: does not go into {encoding.container} ({plain(error)}); write .mkv"
        ) from error
    return planned


def join(
    work: Work,
    encoding: Encoding,
    source: VideoSource,
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
            places = {source.clip.stream: 0}
        else:
            places = _write(work, encoding, source, planned, temp, start, warnings)
        _check(work, encoding, temp, output, places[source.clip.stream], start)
        with source.opened() as container, open_input(temp) as out:
            warnings += left_out(container, out, places)
    except (av.FFmpegError, ValueError) as error:
        raise OutputError(f"{output}: cannot be written: {plain(error)}", fatal=isinstance(error, OSError)) from error
    publish(temp, output, put)
    return warnings


def _start(work: Work, encoding: Encoding, source: VideoSource) -> Fraction:
    """The time in the source that is the output's zero: its own, or that of the first frame after a cut."""
    is_cut = source.clip.window(source.options)[0] > source.clip.start
    return work.segments[0].first * encoding.time_base if is_cut else Fraction(0)


def _write(
    work: Work,
    encoding: Encoding,
    source: VideoSource,
    planned: Sequence[Planned],
    temp: Path,
    start: Fraction,
    warnings: list[str],
) -> dict[int, int]:
    """The film with everything else. Where the source's streams are in it, both by index."""
    with (
        source.opened() as container,
        av.open(as_url(temp), "w", format=encoding.container, options=_options(encoding, container)) as out,
    ):
        last = work.segments[-1]
        end = (last.last + (last.duration or 1)) * encoding.time_base if source.options.is_cut else None
        tracks = _begin(container, out, planned, encoding, source, start, end)
        film = tracks[source.clip.stream]
        others = {index: track for index, track in tracks.items() if track is not film}
        packets = _film_packets(work, encoding, cast(VideoStream, film.stream), start)
        _feed(container, source.times, out, film, others, packets, start, end)
        for track in others.values():
            warnings += track.close(encoding.container)
        return places_of(tracks, encoding.container)


def _begin(
    container: InputContainer,
    out: OutputContainer,
    planned: Sequence[Planned],
    encoding: Encoding,
    source: VideoSource,
    start: Fraction,
    end: Fraction | None,
) -> dict[int, Track]:
    """Everything that `out` has before its first packet; its tracks by the source's index."""
    film = source.clip.stream
    out.metadata.update(metadata_of(container))
    tracks = add_tracks(container, out, planned, lambda: _film_stream(out, encoding, container, film))
    _set_timecode(container, out, tracks[film].stream, encoding, source.clip, start)
    origin = source.times.origin
    _copy_chapters(container, out, start + origin, None if end is None else end + origin)
    out.start_encoding()
    return tracks


def _set_timecode(
    container: InputContainer, out: OutputContainer, film: Stream, encoding: Encoding, clip: Clip, start: Fraction
) -> None:
    """That of the first frame that is written, on the film: the muxer makes the track of it."""
    for tags in (out.metadata, film.metadata):
        for key in [key for key in tags if key.lower() == TIMECODE]:
            del tags[key]
    if text := timecode_of(container, clip.stream):
        frames = max(0, round((start - Fraction(clip.start)) * clip.rate)) if start else 0
        film.metadata[TIMECODE] = shifted_timecode(text, clip.rate, frames, encoding.rate)


def _options(encoding: Encoding, container: InputContainer) -> dict[str, str]:
    if encoding.container in ("matroska", "webm"):
        return {"avoid_negative_ts": "disabled"}
    if encoding.container not in ("mp4", "mov"):
        return {}
    scale = encoding.time_base.denominator
    while scale < 10_000:
        scale *= 2
    # Tracks that start late do so by an edit in the movie's own ticks: as fine as those of the frames.
    flags = "+faststart"
    if encoding.container == "mov" and any(key.startswith("com.") for key in container.metadata):
        flags += "+use_metadata_tags"  # as phones and cameras have theirs: place, make, model
    return {"movflags": flags, "movie_timescale": str(min(scale, 2**31 - 1))}


def _film_stream(out: OutputContainer, encoding: Encoding, container: InputContainer, film: int) -> Stream:
    stream = cast(VideoStream, out.add_stream(encoding.encoder, rate=encoding.rate, options=dict(encoding.options)))
    encoding.configure(stream.codec_context)
    stream.time_base = encoding.time_base
    template = container.streams[film]
    stream.metadata.update(metadata_of(template, recoded=True))
    stream.disposition = template.disposition
    return stream


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
