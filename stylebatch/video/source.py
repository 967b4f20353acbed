"""A film as a source of frames: decoded in order, upright, in RGB, each with its own time."""

from __future__ import annotations

import struct
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av import VideoFrame
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.format import VideoFormat
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from stylebatch.codec import irregularity
from stylebatch.colour import resized
from stylebatch.errors import StylebatchError
from stylebatch.frame import Frame, FrameInfo, Pixels
from stylebatch.images import ImageOptions
from stylebatch.video.colour import Colour, ToRGB, colour_of, depth_of
from stylebatch.video.options import VideoOptions, show_time
from stylebatch.video.pyav import fraction, open_input

#: Seconds before a cut from which on decoding runs up to it, over streams whose key frames refer across them.
_RUN_UP = 5.0
#: A file that ends so many seconds before its header says has been cut off.
_CUT_OFF = 0.5
_RATE = Fraction(25)


@dataclass(frozen=True)
class Timing:
    """What a film's sink needs back of each frame.

    Attributes:
        pts, duration: in the source's time base; 0 where the file gives no duration.
        original: the picture in full size, where the network sees a smaller one and both are wanted.
    """

    pts: int
    duration: int
    original: Pixels | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Clip:
    """What a film is, by its header and its first frame.

    Attributes:
        stream: index of the video stream that is stylized.
        size: width and height, upright.
        turn: how its frames become upright: swap axes, then flip vertically, then horizontally.
        aspect: of a pixel, width to height, upright.
        rate: frames a second, nominal.
        time_base: seconds of a tick.
        start: seconds, the time of its first frame.
        duration: seconds, or None if it cannot be known.
        depth: bits of a component. `chroma` has the powers of two by which it is coarser across and down.
    """

    path: Path
    stream: int
    size: tuple[int, int]
    turn: tuple[bool, bool, bool]
    aspect: Fraction
    rate: Fraction
    time_base: Fraction
    start: float
    duration: float | None
    depth: int
    chroma: tuple[int, int]
    is_rgb: bool
    colour: Colour

    def work_size(self, options: VideoOptions) -> tuple[int, int]:
        """What the network sees of it."""
        return ImageOptions(size=options.size).work_size(*self.size)

    def ticks(self, options: VideoOptions) -> Fraction:
        """The time base of its frames, resampled or not."""
        return 1 / options.fps if options.fps else self.time_base

    def window(self, options: VideoOptions) -> tuple[float, float]:
        """The seconds that are taken: first and after the last. As given they count from the film's first frame."""
        if options.preview is not None:
            length = options.preview if self.duration is None else min(options.preview, self.duration)
            first = self.start + ((self.duration or length) - length) / 2
            return first, first + length
        first = self.start + options.start if options.start else float("-inf")
        return first, float("inf") if options.end is None else self.start + options.end

    def expected_frames(self, options: VideoOptions) -> int | None:
        """How many there will be, about."""
        if self.duration is None:
            return None
        first, last = self.window(options)
        seconds = min(last, self.start + self.duration) - max(first, self.start)
        return max(1, round(seconds * (options.fps or self.rate) / (options.every or 1)))


class VideoSource:
    """The frames of one film, from the first to the last, as often as asked.

    Args:
        path: the film.
        options: which part of it, at which rate and size, and what to do about damage.
        deep: give uint16 instead of uint8; by default where the film has more than 8 bits.
        threads: of the decoder.

    Attributes:
        clip: what it is.
        warnings: what was met on the way that a person should hear of.

    Raises:
        StylebatchError: no film, nothing in it, or nothing that can be decoded. While frames are taken: damage, with its
            time.
    """

    def __init__(
        self,
        path: Path | str,
        options: VideoOptions = VideoOptions(),  # noqa: B008 (frozen)
        *,
        deep: bool | None = None,
        threads: int = 2,
    ) -> None:
        self.path = Path(path)
        self.options = options
        self.threads = threads
        self.warnings: list[str] = []
        self.clip = self._probe()
        self.deep = self.clip.depth > 8 if deep is None else deep

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, wanted: Callable[[int], bool] = lambda _: True) -> Iterator[Frame]:
        """Go over the film. What is not `wanted`, by number, is decoded, and left out before it costs more."""
        clip, options = self.clip, self.options
        to_rgb = ToRGB(clip.colour, deep=self.deep)
        for index, picture in enumerate(self._pictures()):
            if index % (options.every or 1) or not wanted(index):
                continue
            pixels = _turned(to_rgb(picture), clip.turn)
            work = resized(pixels, clip.work_size(options))
            keep = options.side_by_side and work is not pixels and not options.keep_work_size
            timing = Timing(picture.pts or 0, picture.duration or 0, pixels if keep else None)
            yield Frame(FrameInfo(index, clip.path.name, timing), torch.from_numpy(work))

    def _probe(self) -> Clip:
        with open_film(self.path) as container:
            stream = _main_stream(container, self.path)
            frame = next(_decoded(container, stream, self.path, repeat=True), None)
            if frame is None:
                raise StylebatchError(f"{self.path}: no frame in it can be decoded")
            turn = _turn(frame)
            colour = colour_of(frame)
            if colour.hdr:
                self.warnings.append(f"{colour.hdr} is tone-mapped to BT.709: its highlights lose their range")
            width, height = frame.width, frame.height
            aspect = fraction(stream.sample_aspect_ratio) or Fraction(1)
            format = VideoFormat(frame.format.name, 16, 16)
            chroma = format.components[1] if len(format.components) > 2 and not format.is_rgb else format.components[0]
            return Clip(
                path=self.path,
                stream=stream.index,
                size=(height, width) if turn[0] else (width, height),
                turn=turn,
                aspect=(1 / aspect if turn[0] else aspect) if aspect > 0 else Fraction(1),
                rate=_rate(stream),
                time_base=fraction(stream.time_base) or 1 / _RATE,
                start=float((frame.pts or 0) * (stream.time_base or 0)),
                duration=_duration(container, stream),
                depth=depth_of(frame.format),
                chroma=(1, 1) if len(format.components) < 3 else (16 // chroma.width // 2, 16 // chroma.height // 2),
                is_rgb=frame.format.is_rgb or frame.format.name == "pal8",
                colour=colour,
            )

    def _pictures(self) -> Iterator[VideoFrame]:
        """The frames that are taken, progressive, of one size, at rising times."""
        clip, options = self.clip, self.options
        first, last = clip.window(options)
        with open_film(self.path) as container:
            stream = container.streams[clip.stream]
            assert isinstance(stream, VideoStream)
            stream.thread_type = "AUTO"
            stream.thread_count = self.threads
            if options.on_corrupt == "repeat":
                stream.thread_type = "SLICE"  # an error then comes with the packet that it is in
            if first > clip.start + _RUN_UP:
                with suppress(av.FFmpegError):  # what cannot seek is decoded from its beginning
                    container.seek(int((first - _RUN_UP) / clip.time_base), stream=stream)
            frames = _decoded(container, stream, self.path, repeat=options.on_corrupt == "repeat", warnings=self.warnings)
            count = 0
            for frame in _rising(_resampled(_progressive(_equal(frames)), options.fps)):
                time = float((frame.pts or 0) * _time_base(frame))
                if time >= last - 1e-9:
                    break
                if time >= first - 1e-9:
                    count += 1
                    yield frame
            if not count:
                raise StylebatchError(f"{self.path}: no frames from {show_time(first)} on; it has {_length(clip)}")


@contextmanager
def open_film(path: Path) -> Iterator[InputContainer]:
    """A file as FFmpeg sees it; its refusals as one line."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StylebatchError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    if trouble := irregularity(mode):
        raise StylebatchError(f"{path}: {trouble}; give a film")
    try:
        container = open_input(str(path))
    except PermissionError:
        raise StylebatchError(f"{path}: no permission to read it") from None
    except (av.FFmpegError, ValueError, OSError) as error:
        raise StylebatchError(f"{path}: no film that can be read, or cut off before its index ({plain(error)})") from error
    with container:
        yield container


def _main_stream(container: InputContainer, path: Path) -> VideoStream:
    """The film in the file: the default one, never cover art."""
    moving = [stream for stream in container.streams.video if not stream.disposition & av.stream.Disposition.attached_pic]
    if not moving:
        raise StylebatchError(f"{path}: no video in it")
    default = [stream for stream in moving if stream.disposition & av.stream.Disposition.default]
    stream = (default or moving)[0]
    if stream.codec_context is None:
        raise StylebatchError(f"{path}: its video codec cannot be decoded by this PyAV; convert it first")
    return stream


def _decoded(
    container: InputContainer, stream: VideoStream, path: Path, *, repeat: bool, warnings: list[str] | None = None
) -> Iterator[VideoFrame]:
    """Frames in order of presentation. Damage fails with its time, or is bridged by the frame before."""
    lost: list[int] = []
    # AVI tells only when packets are decoded: their times belong to the frames in the order in which these are shown.
    slots: deque[int | None] | None = deque() if container.format.name == "avi" else None
    before: VideoFrame | None = None
    end = 0.0
    time_base = fraction(stream.time_base) or 1 / _RATE

    def bridge(until: float) -> Iterator[VideoFrame]:
        while lost and lost[0] < until:
            pts = lost.pop(0)
            if before is not None:
                copy = _copy(before)
                copy.pts, copy.time_base = pts, time_base
                yield copy

    def damaged(what: str) -> None:
        if not repeat:
            raise StylebatchError(f"{path}: {what} at {show_time(end)}; --on-corrupt repeat goes on with the frame before")
        if warnings is not None and len(warnings) < 20:
            warnings.append(f"{what} at {show_time(end)}: the frame before is repeated")

    for packet in container.demux(stream):
        frames: list[VideoFrame] = []
        if slots is not None and packet.size:
            slots.append(packet.dts)
        try:
            frames = stream.decode(packet)
        except av.EOFError:
            pass
        except (av.FFmpegError, ValueError) as error:
            damaged(f"cannot be decoded ({plain(error)})")
            if packet.pts is not None:
                insort(lost, packet.pts)
        if packet.is_corrupt and packet.size:
            damaged("the file is cut off in the middle of a frame")
        for frame in frames:
            if slots:
                frame.pts = slots.popleft()
            elif frame.pts is None:
                frame.pts = frame.dts
            time = end if frame.pts is None else float(frame.pts * time_base)
            if frame.is_corrupt:
                end = time
                damaged("a frame is damaged")
                if before is not None and frame.pts is not None:
                    insort(lost, frame.pts)
                    continue
            if frame.pts is not None:
                yield from bridge(frame.pts)
            before = frame
            end = time + float((frame.duration or 0) * time_base)
            yield frame
    yield from bridge(float("inf"))
    expected = _duration(container, stream)
    if expected is not None and before is not None:
        missing = _start(container, stream) + expected - end
        if missing > max(_CUT_OFF, float(3 / _rate(stream))):
            damaged(f"the file is cut off, {missing:.1f} seconds before its end,")


def _copy(frame: VideoFrame) -> VideoFrame:
    copy = VideoFrame(frame.width, frame.height, frame.format.name)
    for target, source in zip(copy.planes, frame.planes, strict=True):
        target.update(bytes(source)[: target.buffer_size].ljust(target.buffer_size, b"\0"))
    copy.colorspace, copy.color_range = frame.colorspace, frame.color_range
    copy.color_primaries, copy.color_trc = frame.color_primaries, frame.color_trc
    copy.duration = frame.duration
    return copy


def _equal(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """All in the first one's size and format: some streams change theirs on the way."""
    scaler = VideoReformatter()
    like: VideoFrame | None = None
    for frame in frames:
        like = like or frame
        same = (frame.width, frame.height, frame.format.name) == (like.width, like.height, like.format.name)
        if same:
            yield frame
        else:
            scaled = scaler.reformat(frame, width=like.width, height=like.height, format=like.format.name, threads=1)
            scaled.pts, scaled.time_base, scaled.duration = frame.pts, frame.time_base, frame.duration
            yield scaled


def _progressive(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Interlaced frames become whole ones, one for one; the others pass. It begins with the first interlaced frame."""
    graph: Graph | None = None
    time_base = Fraction(1)
    for frame in frames:
        if graph is None and frame.interlaced_frame:
            graph = _graph(frame, "bwdif", "mode=send_frame:parity=auto:deint=interlaced")
            time_base = _time_base(frame)
        if graph is None:
            yield frame
        else:
            yield from _rebased(_through(graph, frame), time_base)
    if graph is not None:
        yield from _rebased(_through(graph, None), time_base)


def _resampled(frames: Iterator[VideoFrame], fps: Fraction | None) -> Iterator[VideoFrame]:
    graph: Graph | None = None
    for frame in frames:
        if fps is None:
            yield frame
            continue
        graph = graph or _graph(frame, "fps", f"fps={fps}:round=near")
        yield from _through(graph, frame)
    if graph is not None:
        yield from _through(graph, None)


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
        ratio = _time_base(frame) / time_base
        if frame.pts is not None:
            frame.pts = round(frame.pts * ratio)
        frame.duration = round(frame.duration * ratio)
        frame.time_base = time_base
        yield frame


def _time_base(frame: VideoFrame) -> Fraction:
    time_base = fraction(frame.time_base)
    assert time_base is not None
    return time_base


def _rising(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
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


def _turn(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Swap axes, flip vertically, flip horizontally: what the display matrix asks, in quarter turns and mirrors."""
    side_data: Any = frame.side_data
    if Type.DISPLAYMATRIX not in side_data:
        return False, False, False
    matrix = side_data[Type.DISPLAYMATRIX]
    a, b, _, c, d = struct.unpack("<9i", bytes(matrix)[:36])[:5]
    if abs(b) > abs(a):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _turned(pixels: Pixels, turn: tuple[bool, bool, bool]) -> Pixels:
    swap, vertical, horizontal = turn
    if swap:
        pixels = pixels.swapaxes(0, 1)
    if vertical:
        pixels = pixels[::-1]
    if horizontal:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _rate(stream: VideoStream) -> Fraction:
    rates = map(fraction, (stream.guessed_rate, stream.average_rate, stream.base_rate))
    return next((rate for rate in rates if rate is not None and 0 < rate <= 1000), _RATE)


def _start(container: InputContainer, stream: VideoStream) -> float:
    if stream.start_time is not None:
        return float(stream.start_time * (stream.time_base or 0))
    return (container.start_time or 0) / av.time_base


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of the video, as the header says."""
    if stream.duration:
        return float(stream.duration * (stream.time_base or 0))
    tag = stream.metadata.get("DURATION", "")
    with suppress(ValueError):
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - _start(container, stream)
    others = [other for other in container.streams if other.type in ("audio", "subtitle")]
    return None if container.duration is None or others else container.duration / av.time_base


def _length(clip: Clip) -> str:
    return "an unknown length" if clip.duration is None else f"{clip.duration:.3f} seconds"


def plain(error: Exception) -> str:
    """FFmpeg's words, without numbers and paths."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
