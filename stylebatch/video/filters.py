"""What is done to frames on their way from the decoder: one size, progressive, resampled, at rising times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import av
from av import VideoFrame
from av.filter import Graph
from av.video.reformatter import VideoReformatter

from stylebatch.video.pyav import fraction
from stylebatch.video.yuv import colour_of


def equal(frames: Iterator[VideoFrame], warn: Callable[[str], None]) -> Iterator[VideoFrame]:
    """All in the first one's size and format, each with its own colours: some streams change theirs on the way."""
    scaler = VideoReformatter()
    like: VideoFrame | None = None
    said = False
    for frame in frames:
        if like is None:
            like = frame
        if (frame.width, frame.height, frame.format.name) == (like.width, like.height, like.format.name):
            yield frame
            continue
        if not said and (frame.width, frame.height) != (like.width, like.height):
            warn(f"its size changes to {frame.width}×{frame.height}: scaled to {like.width}×{like.height} as at first")
            said = True
        colour = colour_of(frame)
        scaled = scaler.reformat(frame, width=like.width, height=like.height, format=like.format.name, threads=1)
        scaled.pts, scaled.time_base, scaled.duration = frame.pts, frame.time_base, frame.duration
        if not scaled.format.is_rgb:
            colour.tag(scaled)
        yield scaled


def progressive(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Interlaced frames become whole ones, one for one; the others pass. It begins with the first interlaced frame."""
    graph: Graph | None = None
    time_base = Fraction(1)
    for frame in frames:
        if graph is None and frame.interlaced_frame:
            graph = _graph(frame, "bwdif", "mode=send_frame:parity=auto:deint=interlaced")
            time_base = frame_base(frame)
        if graph is None:
            yield frame
        else:
            yield from _rebased(_through(graph, frame), time_base)
    if graph is not None:
        yield from _rebased(_through(graph, None), time_base)


def resampled(frames: Iterator[VideoFrame], fps: Fraction | None) -> Iterator[VideoFrame]:
    graph: Graph | None = None
    for frame in frames:
        if fps is None:
            yield frame
            continue
        graph = graph or _graph(frame, "fps", f"fps={fps}:round=near")
        yield from _through(graph, frame)
    if graph is not None:
        yield from _through(graph, None)


def rising(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Every frame at a time after the one before, in one time base. Files without times, or with one twice, are mended."""
    last: int | None = None
    step = 1
    for frame in frames:
        if frame.pts is None:
            frame.pts = 0 if last is None else last + max(step, frame.duration or 1)
        if last is not None:
            frame.pts = max(frame.pts, last + 1)
            step = frame.pts - last
        last = frame.pts
        yield frame


def frame_base(frame: VideoFrame) -> Fraction:
    """The time base of a frame."""
    time_base = fraction(frame.time_base)
    assert time_base is not None
    return time_base


def _graph(like: VideoFrame, name: str, arguments: str) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=like.time_base)
    graph.link_nodes(source, graph.add(name, arguments), graph.add("buffersink")).configure()
    return graph


def _through(graph: Graph, frame: VideoFrame | None) -> Iterator[VideoFrame]:
    """Push one frame, or the end, and pull what is ready."""
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


def _rebased(frames: Iterator[VideoFrame], time_base: Fraction) -> Iterator[VideoFrame]:
    """Times in the film's own ticks: the filter counts in half ones."""
    for frame in frames:
        ratio = frame_base(frame) / time_base
        if frame.pts is not None:
            frame.pts = round(frame.pts * ratio)
        frame.duration = round(frame.duration * ratio)
        frame.time_base = time_base
        yield frame
