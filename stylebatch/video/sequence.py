"""Numbered pictures as a film: the same protocol as of `VideoSource`, without streams beside the picture."""

from __future__ import annotations

import io
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.video.reformatter import ColorPrimaries, ColorTrc

from stylebatch.errors import StylebatchError
from stylebatch.frame import Failure, Frame, FrameInfo, Pixels
from stylebatch.images.exr import ExrExtra, exr_size, read_exr
from stylebatch.images.extra import ImageExtra
from stylebatch.images.jpeg import Decode
from stylebatch.images.options import ImageOptions
from stylebatch.images.source import ImageSource
from stylebatch.manifest import digest_of
from stylebatch.pixels import fill_transparent, resized, to_8_bits
from stylebatch.storage import Content
from stylebatch.storage.local import FileContent
from stylebatch.video.clip import Clip, Timing
from stylebatch.video.numbered import Numbered, sequence_of
from stylebatch.video.options import VideoOptions, show_time
from stylebatch.video.pyav import open_input
from stylebatch.video.relay import in_order
from stylebatch.video.source import VideoSource
from stylebatch.video.times import Times
from stylebatch.video.yuv import BT709, Colour

#: Frames a second of pictures, unless `fps` says another number.
RATE = Fraction(24)
#: Of a frame, by which a time may miss its beginning.
_ROUNDING = 1e-6


def open_source(path: Path | str, options: VideoOptions) -> VideoSource | SequenceSource:
    """A film, or numbered pictures by their pattern or folder. Raises StylebatchError, as these do."""
    pictures = sequence_of(path)
    return VideoSource(path, options) if pictures is None else SequenceSource(pictures, options)


class SequenceSource:
    """The frames of numbered pictures, in order, as often as asked. Sizes and gaps are checked before anything is decoded.

    Args:
        pictures: PNG, TIFF, JPEG or EXR files.
        options: which part, at which size; `fps` is their rate. `on_corrupt` repeat repeats the picture before one that is
            missing or broken.
        deep: give uint16 instead of uint8; by default where the first picture has more than 8 bits.
        threads: that decode.

    Attributes:
        clip: what they are as a film.
        content: what all files hold.
        files: that each frame is read from: of its number, or the last one before it.
        numbers: those of the pictures, from the first that is taken to the last, missing ones too.
        format: Pillow's name of the format in which its pictures will be written, for their metadata; None for a film.
        jpeg: decodes JPEGs, if it takes them, as of `ImageSource`.
        warnings: what was met on the way that a person should know.

    Raises:
        StylebatchError: no pictures, missing ones, or of several sizes. While frames are taken: one that is broken.
    """

    def __init__(
        self,
        pictures: Numbered,
        options: VideoOptions = VideoOptions(),  # noqa: B008 (frozen)
        *,
        deep: bool | None = None,
        threads: int = 2,
    ) -> None:
        self.pictures = pictures
        self.path = pictures.path
        there = pictures.numbers()
        if not there:
            raise StylebatchError(f"{self.path}: no such pictures")
        rate = options.fps or RATE
        self.numbers = _taken(self.path, range(there[0], there[-1] + 1), rate, options)
        self.options = replace(options, fps=rate, start=None, end=None, preview=None)
        self.threads = threads
        self.format: str | None = None
        self.jpeg: Decode | None = None
        self.warnings: list[str] = []
        self.times = Times({0: [(0, Fraction(0))]})
        self.files = [pictures.picture(there[bisect_right(there, number) - 1]) for number in self.numbers]
        self._check_gaps(there)
        self.content: Content = _Contents(self.path, self.files)
        self.clip = self._probe()
        self.deep = self.clip.depth > 8 if deep is None else deep
        self._check_sizes()

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, wanted: Callable[[int], bool] = lambda _: True) -> Iterator[Frame]:
        """Go over the pictures. What is not `wanted`, by its place, is not decoded."""
        return in_order(self._frame, filter(wanted, range(len(self.numbers))), self.threads)

    def count(self) -> int:
        """How many frames there are."""
        return len(self.numbers)

    @contextmanager
    def opened(self) -> Iterator[InputContainer]:
        """A film of one black picture in memory: what copies the rest of a film finds nothing to copy."""
        file = io.BytesIO()
        with av.open(file, "w", format="nut") as out:
            stream = out.add_stream("rawvideo", rate=self.clip.rate)
            stream.width, stream.height, stream.pix_fmt = 16, 16, "gray"
            for packet in stream.encode(VideoFrame.from_ndarray(np.zeros((16, 16), np.uint8), format="gray")):
                out.mux(packet)
        file.seek(0)
        with open_input(file) as container:
            yield container

    def contents(self, *, chained: bool) -> list[Content]:
        """What each frame's picture holds; `chained` with all pictures before it, which a steadied frame depends on."""
        if not chained:
            return [FileContent(path) for path in self.files]
        links: list[_Link] = []
        for path in self.files:
            links.append(_Link(path, links[-1] if links else None))
        return list(links)

    def warn(self, what: str) -> None:
        """Say it once."""
        if what not in self.warnings:
            self.warnings.append(what)

    def _frame(self, place: int) -> Frame:
        options, path = self.options, self.files[place]
        try:
            pixels, timing = self._decoded(path, place)
        except StylebatchError as error:
            if options.on_corrupt == "fail" or not place:
                raise
            self.warn(f"{error}: the one before is repeated")
            before = self._frame(place - 1)
            return Frame(FrameInfo(place, path.name, replace(before.info.extra, pts=place)), before.pixels)
        original, alpha = (plane if plane is None else self._in_depth(plane) for plane in (timing.original, timing.alpha))
        return Frame(FrameInfo(place, path.name, replace(timing, original=original, alpha=alpha)), self._in_depth(pixels))

    def _decoded(self, path: Path, place: int) -> tuple[Pixels, Timing]:
        """What the network is to see of a picture, and what goes around it, in the file's depth."""
        options = self.options
        shows = bool(options.side_by_side or options.preserve_color) and not options.keep_work_size
        beside: ImageExtra | ExrExtra
        if self.pictures.format == "EXR":
            original, beside, notes = read_exr(path, options.max_pixels)
            alpha = None if beside.alpha is None else np.rint(beside.alpha.clip(0, 1) * 65535).astype(np.uint16)
            original = original if alpha is None else fill_transparent(original, alpha)
            pixels = resized(original, self._work_size(original))
            notes = [f"left out: {note}" for note in notes]
        else:
            reading = ImageOptions(
                format=self.format, size=options.size, keep_work_size=options.keep_work_size, preserve_color=shows,
                max_megapixels=options.max_megapixels, gpu_jpeg=options.gpu_jpeg,
            )  # fmt: skip
            frame = ImageSource(path.parent, reading, jpeg=self.jpeg)[path.name]
            if isinstance(frame, Failure):
                raise StylebatchError(f"{path}: {frame.reason}")
            if isinstance(frame, list):
                raise StylebatchError(f"{path}: a moving picture; a sequence is of still ones")
            beside = image = cast(ImageExtra, frame.info.extra)
            pixels, alpha, notes = frame.pixels, image.alpha, list(image.notes)
            original = pixels if image.original is None else image.original
        for note in notes:
            self.warn(note)
        return pixels, Timing(place, 1, original if shows and original.shape != pixels.shape else None, alpha, beside)

    def _work_size(self, pixels: Pixels) -> tuple[int, int]:
        return ImageOptions(size=self.options.size).work_size(pixels.shape[1], pixels.shape[0])

    def _in_depth(self, pixels: Pixels) -> Pixels:
        if not self.deep:
            return to_8_bits(pixels)
        return pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * 257

    def _check_gaps(self, there: list[int]) -> None:
        missing = sorted(set(self.numbers) - set(there))
        if not missing:
            return
        some = ", ".join(self.pictures.name(number) for number in missing[:3])
        verb = "is" if len(missing) == 1 else "are"
        what = f"{len(missing)} of {len(self.numbers)} pictures {verb} missing: {some}{', …' * (len(missing) > 3)}"
        if self.options.on_corrupt == "fail":
            raise StylebatchError(f"{self.path}: {what}; `on_corrupt` repeat repeats the one before each")
        self.warn(f"{what}; the one before each is repeated")

    def _check_sizes(self) -> None:
        """By their headers; what has none is left to be decoded."""
        for path in dict.fromkeys(self.files):
            size, first = self._size(path), self.clip.size
            if size is not None and size != first:
                raise StylebatchError(
                    f"{path}: is {size[0]}×{size[1]}, and the first picture {first[0]}×{first[1]}; "
                    "pictures of a film are of one size"
                )

    def _size(self, path: Path) -> tuple[int, int] | None:
        if self.pictures.format != "EXR":
            return ImageSource(path.parent).size(path.name)
        try:
            return exr_size(path)
        except StylebatchError:
            return None

    def _probe(self) -> Clip:
        """By the first picture."""
        path, rate = self.files[0], self.options.fps or RATE
        pixels, timing = self._decoded(path, 0)
        return Clip(
            path=self.path, stream=0, size=self._size(path) or pixels.shape[1::-1], turn=(False, False, False),
            aspect=Fraction(1), rate=rate, time_base=1 / rate, start=0.0, duration=float(len(self.numbers) / rate),
            depth=8 if pixels.dtype == np.uint8 else 16, chroma=(1, 1), is_rgb=True, alpha=timing.alpha is not None,
            colour=Colour(BT709, int(ColorPrimaries.BT709), int(ColorTrc.IEC61966_2_1), False),
        )  # fmt: skip


class _Contents(FileContent):
    """What several files hold, as one, under the name of `path`."""

    def __init__(self, path: Path, files: list[Path]) -> None:
        super().__init__(path)
        self._files = [FileContent(file) for file in files]

    @property
    def digest(self) -> str | None:
        digests = [each.digest for each in self._files]
        return None if None in digests else digest_of(digests)


class _Link(FileContent):
    """What a file and all those before it hold."""

    def __init__(self, path: Path, before: _Link | None) -> None:
        super().__init__(path)
        self._own, self._before = FileContent(path), before
        self._chain: str | None = None

    @property
    def digest(self) -> str | None:
        waiting = [self]
        while (before := waiting[-1]._before) and before._chain is None:
            waiting.append(before)
        for link in reversed(waiting):
            own, before = link._own.digest, link._before
            if own is None or (before and before._chain is None):
                return None
            link._chain = digest_of([before and before._chain, own])
        return self._chain


def _taken(path: Path, numbers: range, rate: Fraction, options: VideoOptions) -> range:
    """The numbers of the part that is wanted, with those that are missing among them.

    Raises:
        StylebatchError: there are none.
    """
    if options.preview is not None:
        count = min(len(numbers), max(1, round(options.preview * rate)))
        first = (len(numbers) - count) // 2
        return numbers[first : first + count]
    begin, end = (
        None if time is None else math.ceil(float(time * rate) - _ROUNDING) for time in (options.start, options.end)
    )
    taken = numbers[begin:end]
    if not taken:
        length = f"{len(numbers)} frames, {float(len(numbers) / rate):.3f} seconds at {float(rate):g} a second"
        raise StylebatchError(f"{path}: no frames from {show_time(options.start or 0)} on; it has {length}")
    return taken
