"""A film as a source of frames: decoded in order, upright, in RGB, each with its own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from fractions import Fraction
from pathlib import Path

import av
from av import VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream

from stylebatch.errors import StylebatchError
from stylebatch.frame import Frame, FrameInfo
from stylebatch.pixels import fill_transparent, resized
from stylebatch.storage import Content
from stylebatch.storage.local import FileContent
from stylebatch.system import cores
from stylebatch.video.clip import Clip, Timing
from stylebatch.video.decoding import decoded
from stylebatch.video.extent import extent
from stylebatch.video.filters import equal, frame_base, progressive, resampled, rising
from stylebatch.video.opening import open_film
from stylebatch.video.options import VideoOptions, show_time
from stylebatch.video.pyav import fraction, plain
from stylebatch.video.relay import in_order
from stylebatch.video.sidedata import not_kept, turn_of, turned
from stylebatch.video.times import Times, base_of, from_key, times_of
from stylebatch.video.yuv import ToRGB, chroma_of, colour_of, depth_of, has_alpha, is_rgb

#: Seconds before a cut from which on decoding runs up to it, over streams whose key frames refer across them.
_RUN_UP = 5.0
#: Threads that bring frames to RGB, at most.
_CONVERTING = 4
#: Of what is damaged so many places are named.
_NAMED = 20
_RATE = Fraction(25)
#: Gigabytes of memory that a megapixel of a frame takes, with all that are under way.
_MEMORY = 0.075


class VideoSource:
    """The frames of one film, from the first to the last, as often as asked.

    Args:
        path: the film.
        options: which part of it, at which rate and size, and what to do about damage.
        deep: give uint16 instead of uint8; by default where the film has more than 8 bits.
        threads: of the decoder.

    Attributes:
        clip: what it is.
        content: what the file held when this was made.
        files: the one.
        times: how its packets' times become those of the output.
        warnings: what was met on the way that a person should know.

    Raises:
        StylebatchError: no film, nothing in it, nothing that can be decoded, or cut off within the part that is wanted.
            While frames are taken: damage, with its time.
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
        self.content: Content = FileContent(self.path)
        self.files = [self.path]
        self.options = options
        self.threads = threads
        self.warnings: list[str] = []
        self.clip, self.times = self._probe()
        self.deep = self.clip.depth > 8 if deep is None else deep

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, wanted: Callable[[int], bool] = lambda _: True) -> Iterator[Frame]:
        """Go over the film. What is not `wanted`, by number, is decoded, and left out before it costs more. Frames are
        brought to RGB in several threads."""
        to_rgb = ToRGB(deep=self.deep)
        taken = (
            (index, picture, picture.pts or 0, picture.duration or 0)  # that shows once more at another time
            for index, picture in enumerate(self._pictures())
            if wanted(index)
        )
        return in_order(lambda each: self._frame(to_rgb, *each), taken, min(_CONVERTING, cores()))

    def _frame(self, to_rgb: ToRGB, index: int, picture: VideoFrame, pts: int, duration: int) -> Frame:
        clip, options = self.clip, self.options
        pixels, alpha = turned(to_rgb(picture), clip.turn), to_rgb.alpha(picture)
        if alpha is not None:
            alpha = turned(alpha, clip.turn)
            pixels = fill_transparent(pixels, alpha)
        work = resized(pixels, clip.work_size(options))
        shows = options.side_by_side or options.preserve_color
        keep = shows and work is not pixels and not options.keep_work_size
        return Frame(FrameInfo(index, clip.path.name, Timing(pts, duration, pixels if keep else None, alpha)), work)

    def count(self) -> int:
        """How many frames there are: all are decoded."""
        return sum(1 for _ in self._pictures())

    def opened(self) -> AbstractContextManager[InputContainer]:
        """The file, with all of its streams."""
        return open_film(self.path, probe_size=self.times.probe_size, max_pixels=self.options.max_pixels)

    def warn(self, what: str) -> None:
        """Say it once, and not more than a person reads."""
        if what not in self.warnings and len(self.warnings) < _NAMED:
            self.warnings.append(what)

    def _probe(self) -> tuple[Clip, Times]:
        max_pixels = self.options.max_pixels
        with open_film(self.path, decode=False) as container:
            _check_size(_main_stream(container, self.path), self.path, max_pixels)
        times = times_of(self.path)
        with open_film(self.path, probe_size=times.probe_size, max_pixels=max_pixels) as container:
            stream = _main_stream(container, self.path)
            frame = next(
                decoded(times.packets(container, stream), stream, self.path, repeat=True, max_pixels=max_pixels), None
            )
            if frame is None:
                raise StylebatchError(f"{self.path}: no frame in it can be decoded")
            turn = turn_of(frame)
            colour = colour_of(frame)
            if colour.hdr:
                self.warn(f"{colour.hdr} is tone-mapped to BT.709: its highlights lose their range")
            if times.joints:
                places = "1 place" if len(times.joints) == 1 else f"{len(times.joints)} places"
                first = show_time(float(times.joints[0]))
                self.warn(f"its clock restarts or jumps in {places}, at {first} first: what follows is joined on")
            next(self._noting(iter([frame])))
            for index, name in times.late.items():
                if index >= len(container.streams):
                    self.warn(f"{name} is left out: it begins too late in the file")
            width, height = frame.width, frame.height
            aspect = fraction(stream.sample_aspect_ratio) or Fraction(1)
            clip = Clip(
                path=self.path,
                stream=stream.index,
                size=(height, width) if turn[0] else (width, height),
                turn=turn,
                aspect=(1 / aspect if turn[0] else aspect) if aspect > 0 else Fraction(1),
                rate=_rate(stream),
                time_base=base_of(stream),
                start=float((frame.pts or 0) * base_of(stream)),
                duration=_duration(container, stream, times),
                depth=depth_of(frame.format),
                chroma=chroma_of(frame.format),
                is_rgb=is_rgb(frame.format),
                alpha=has_alpha(frame.format),
                colour=colour.written(frame.format),
            )
            try:
                ToRGB(deep=False)(frame)
            except (av.FFmpegError, ValueError) as error:
                raise StylebatchError(
                    f"{self.path}: its pixel format {frame.format.name} cannot be read ({plain(error)}); convert it first"
                ) from error
        self._look_at_end(clip, times)
        return clip, times

    def _noting(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """Say what is beside their pixels and cannot be kept."""
        for frame in frames:
            for name in not_kept(frame):
                self.warn(f"left out, for it lies beside the pixels: {name}")
            yield frame

    def _look_at_end(self, clip: Clip, times: Times) -> None:
        """A file that ends before its container says is refused before hours are spent on it, or it is said."""
        with open_film(self.path, probe_size=times.probe_size) as container:
            found = extent(self.path, container.format.name)
            if found.unread:
                self.warn("another film was joined to its end, and cannot be read there; join them by FFmpeg's concat")
            if not found.is_cut_off:
                return
            end = 0.0
            with suppress(av.FFmpegError):
                for packet in times.packets(container, container.streams[clip.stream]):
                    if packet.pts is not None or packet.dts is not None:
                        ticks = packet.dts if packet.pts is None else packet.pts
                        end = max(end, float(((ticks or 0) + (packet.duration or 0)) * clip.time_base))
        if end < clip.window(self.options)[1]:
            what = f"the file is cut off at {show_time(end)}"
            if self.options.on_corrupt == "fail":
                raise StylebatchError(f"{self.path}: {what}; `on_corrupt` repeat takes what there is")
            self.warn(f"{what}: what comes before is taken")

    def _pictures(self) -> Iterator[VideoFrame]:
        """The frames that are taken, progressive, of one size, at rising times."""
        clip, options = self.clip, self.options
        first, last = clip.window(options)
        with self.opened() as container:
            stream = container.streams[clip.stream]
            assert isinstance(stream, VideoStream)
            repeat = options.on_corrupt == "repeat"
            # An error comes with the packet that it is in where slices are decoded together, but not frames.
            stream.thread_type = "SLICE" if repeat else "AUTO"
            stream.thread_count = self.threads
            packets = self.times.packets(container, stream)
            if first > clip.start + _RUN_UP:
                if self.times.duration is None:
                    with suppress(av.FFmpegError):  # what cannot seek is decoded from its beginning
                        seconds = Fraction(first - _RUN_UP) + self.times.origin
                        container.seek(int(seconds / clip.time_base), stream=stream)
                else:
                    packets = from_key(packets, first - _RUN_UP)
            frames = decoded(packets, stream, self.path, repeat=repeat, max_pixels=options.max_pixels, warn=self.warn)
            frames = equal(self._noting(frames), self.warn)
            count = 0
            for frame in rising(resampled(progressive(frames), options.fps)):
                time = float((frame.pts or 0) * frame_base(frame))
                if time >= last - 1e-9:
                    break
                if time >= first - 1e-9:
                    count += 1
                    yield frame
            if not count:
                raise StylebatchError(f"{self.path}: no frames from {show_time(first)} on; it has {_length(clip)}")


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


def _check_size(stream: VideoStream, path: Path, max_pixels: int) -> None:
    """Refuse by its header what would take the memory: some kilobytes of film may hold frames of gigabytes."""
    width, height = stream.codec_context.width, stream.codec_context.height  # 0 where only decoding tells
    if width * height > max_pixels:
        megapixels = -(-width * height // 1_000_000)
        raise StylebatchError(
            f"{path}: its frames are {width}×{height}, {megapixels} megapixels, and may take {_MEMORY * megapixels:.0f} GB; "
            f"`max_megapixels` {megapixels} takes them"
        )


def _rate(stream: VideoStream) -> Fraction:
    rates = map(fraction, (stream.guessed_rate, stream.average_rate, stream.base_rate))
    return next((rate for rate in rates if rate is not None and 0 < rate <= 1000), _RATE)


def _duration(container: InputContainer, stream: VideoStream, times: Times) -> float | None:
    """Seconds of the video, about: as the header says, unless it cannot know."""
    if times.duration is not None:
        return float(times.duration)
    if stream.duration:
        return float(stream.duration * base_of(stream))
    tag = stream.metadata.get("DURATION", "")
    with suppress(ValueError):
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - float(times.origin)
    others = [other for other in container.streams if other.type in ("audio", "subtitle")]
    return None if container.duration is None or others else container.duration / av.time_base


def _length(clip: Clip) -> str:
    return "an unknown length" if clip.duration is None else f"{clip.duration:.3f} seconds"
