"""What a film is, and what travels with each of its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from av.container import InputContainer

from stylebatch.frame import Frame, Pixels
from stylebatch.images.exr import ExrExtra
from stylebatch.images.extra import ImageExtra
from stylebatch.images.options import ImageOptions
from stylebatch.storage import Content
from stylebatch.video.options import VideoOptions
from stylebatch.video.times import Times
from stylebatch.video.yuv import Colour


@dataclass(frozen=True)
class Timing:
    """What a film's sink needs back of each frame.

    Attributes:
        pts, duration: in the source's time base, from the beginning of its picture and sound; 0 where the file gives no
            duration.
        original: the picture in full size, where the network sees a smaller one and both are wanted.
        alpha: H×W, in full size and the frame's dtype, if the film has it.
        beside: what the file of the frame has beside its colours, if it has one of its own.
    """

    pts: int
    duration: int
    original: Pixels | None = field(default=None, repr=False)
    alpha: Pixels | None = field(default=None, repr=False)
    beside: ImageExtra | ExrExtra | None = field(default=None, repr=False)


class FilmSource(Protocol):
    """What sinks need of a film that is read: `VideoSource`, and `SequenceSource` of pictures."""

    path: Path
    options: VideoOptions
    clip: Clip
    times: Times
    content: Content
    files: list[Path]
    deep: bool
    warnings: list[str]

    def frames(self, wanted: Callable[[int], bool] = ..., /) -> Iterator[Frame]:
        """From the first to the last, those whose number is `wanted`."""

    def count(self) -> int:
        """How many there are, by reading them if need be."""

    def opened(self) -> AbstractContextManager[InputContainer]:
        """The file, with all of its streams."""

    def warn(self, what: str, /) -> None:
        """Say something once."""


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
        start: seconds from the beginning of its picture and sound to its first frame.
        duration: seconds, or None if it cannot be known.
        depth: bits of a component. `chroma` has the powers of two by which it is coarser across and down.
        colour: of its first frame, as it is written; frames are read by their own.
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
    alpha: bool
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
