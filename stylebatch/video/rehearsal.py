"""Before the first frame is painted: everything that its film will hold is planned, and written once in small."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
from av import VideoFrame
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from stylebatch.errors import StylebatchError
from stylebatch.video.beat import Beat
from stylebatch.video.clip import Clip, FilmSource
from stylebatch.video.encoding import Encoding
from stylebatch.video.pyav import fraction, open_input, plain, readable
from stylebatch.video.streams import Planned, first_packets, plan_streams
from stylebatch.video.tags import left_out, metadata_of, timecode_of
from stylebatch.video.timecode import TIMECODE, shifted_timecode
from stylebatch.video.tracks import Track, add_tracks, places_of

if TYPE_CHECKING:
    from av.container.core import Chapter


@dataclass(frozen=True)
class Rehearsal:
    """What becomes of each stream of a film, in the source's order, and what will not come along, in words."""

    planned: list[Planned]
    warnings: list[str]


def rehearse(encoding: Encoding, source: FilmSource) -> Rehearsal:
    """Plan what becomes of everything in a source, write the beginning of its film into memory, and read it again.

    Raises:
        StylebatchError: no such film can be written.
    """
    Beat(encoding, source).check(source)
    film = source.clip.stream
    with source.opened() as read, source.opened() as container:
        streams = [stream for stream in read.streams if stream.index != film and stream.type != "attachment"]
        first = first_packets(source.times.packets(read, [*streams, read.streams[film]]), streams) if streams else {}
        planned = plan_streams(container, encoding.container, film, first)
        warnings = encoding.notes(source.clip, source.options)
        warnings += [f"{each.name} {each.reason}" for each in planned if each.reason]
        if encoding.container == "gif":
            lost = metadata_of(container)
            warnings += ["chapters are left out: gif takes none"] * bool(container.chapters())
            return Rehearsal(planned, warnings + [f"metadata is left out: {', '.join(sorted(lost))}"] * bool(lost))
    begins, ends = source.clip.window(source.options)
    start = Fraction(max(0.0, begins))
    end = Fraction(ends) if ends < float("inf") else None
    file = io.BytesIO()
    try:
        with (
            source.opened() as container,
            av.open(file, "w", format=encoding.container, options=muxer_options(encoding, container)) as out,
        ):
            tracks = begin(container, out, planned, encoding, source, start, end)
            _put_frame(out, tracks[film], encoding)
            for index, packets in first.items():
                for packet in packets if index in tracks else ():
                    for taken in tracks[index].take(packet, Fraction(0), None):
                        tracks[index].put(out, taken)
            places, chapters = places_of(tracks, encoding.container), len(out.chapters())
        file.seek(0)
        with source.opened() as container, open_input(file) as made:
            warnings += left_out(container, made, places, chapters)
    except (av.FFmpegError, ValueError) as error:
        raise StylebatchError(f"{source.path}: cannot be {encoding.container} ({plain(error)}); write .mkv") from error
    return Rehearsal(planned, warnings)


def muxer_options(encoding: Encoding, container: InputContainer, flags: str = "") -> dict[str, str]:
    """What a muxer is told, with `flags` for MP4 and MOV, to write a film of what is in `container`."""
    if encoding.container in ("matroska", "webm"):
        return {"avoid_negative_ts": "disabled"}
    if encoding.container not in ("mp4", "mov"):
        return {}
    scale = encoding.time_base.denominator
    while scale < 10_000:
        scale *= 2
    # Tracks that start late do so by an edit in the movie's own ticks: as fine as those of the frames.
    if encoding.container == "mov" and any(key.startswith("com.") for key in container.metadata):
        flags += "+use_metadata_tags"  # as phones and cameras have theirs: place, make, model
    return {"movie_timescale": str(min(scale, 2**31 - 1))} | ({"movflags": flags} if flags else {})


def begin(
    container: InputContainer,
    out: OutputContainer,
    planned: Sequence[Planned],
    encoding: Encoding,
    source: FilmSource,
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


def _film_stream(out: OutputContainer, encoding: Encoding, container: InputContainer, film: int) -> Stream:
    stream = cast(VideoStream, out.add_stream(encoding.encoder, rate=encoding.rate, options=dict(encoding.options)))
    encoding.configure(stream.codec_context)
    stream.time_base = encoding.time_base
    template = container.streams[film]
    stream.metadata.update(metadata_of(template, recoded=True))
    stream.disposition = template.disposition
    return stream


def _put_frame(out: OutputContainer, film: Track, encoding: Encoding) -> None:
    stream = cast(VideoStream, film.stream)
    frame = VideoFrame(*encoding.coded, encoding.pix_fmt)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))  # what the memory happens to hold may be no samples of ten bits
    frame.pts, frame.time_base = 0, encoding.time_base
    for packet in [*stream.encode(frame), *stream.encode(None)]:
        packet.dts = packet.pts  # x265 takes that of a film this short from memory that it has not set
        film.put(out, packet)


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
