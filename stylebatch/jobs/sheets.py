"""Contact sheets: photographs down, styles across, or one photograph in every style."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from stylebatch.effects import Effects, effects_of
from stylebatch.errors import OutputError, StylebatchError
from stylebatch.files import atomic_write, create
from stylebatch.files import replace as put_in_place
from stylebatch.frame import Failure, Frame, FrameInfo, Pixels, Saved
from stylebatch.grid import contact_sheet, stacked
from stylebatch.images.encoding import save_picture
from stylebatch.images.formats import format_of
from stylebatch.images.options import DEFAULTS, ImageOptions
from stylebatch.images.source import ImageSource
from stylebatch.jobs.image import check_output, check_photograph
from stylebatch.pipeline import Summary, check_done, stylize
from stylebatch.pixels import to_8_bits
from stylebatch.styles import epoch_checkpoints, named_styles, shipped_styles
from stylebatch.stylizer import Stylizer


def stylize_grid(
    photos: list[Path],
    styles: list[str],
    *,
    strengths: Sequence[float] = (1.0,),
    epochs: Path | None = None,
    output: Path = Path("grid.png"),
    overwrite: bool = False,
    width: int = 320,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Write a contact sheet: a row for each photograph, the original first, then a column for each style.

    Args:
        styles: names, paths or mixes; empty for all that are shipped.
        strengths: a column for each of them, for each style.
        epochs: instead of styles, the checkpoints `{epochs}_trans_net_*.pth` of one training, in order.
        overwrite: replace what is at `output`.
        progress: called with pictures done and in all.

    Raises:
        StylebatchError: bad input, or an output that is there or cannot be written.
    """
    format = format_of(output)
    check_output(output, photos, overwrite)
    if epochs:
        columns = [(f"epoch {epoch}", str(path), 1.0) for epoch, path in epoch_checkpoints(epochs)]
    else:
        columns = [
            (_title(style, strength), style, strength) for style in styles or shipped_styles() for strength in strengths
        ]
    frames = [_read(photo) for photo in photos]
    rows = [[_picture(frame.pixels)] for frame in frames]
    count = itertools.count(1)
    for _, style, strength in columns:
        stylizer = Stylizer(style, strength=strength, device=device, precision=precision, backend=backend)
        stylized = _stylized(frames, stylizer, lambda: progress(next(count), len(columns) * len(frames)))
        for row, picture in zip(rows, stylized, strict=True):
            row.append(picture)
    sheet = contact_sheet(rows, ["original", *(title for title, _, _ in columns)], width=width)
    with atomic_write(output, put_in_place if overwrite else create) as file:
        save_picture(sheet, file, format)
    return output


def style_sheet(
    photo: Path,
    output: Path = Path("styles.jpg"),
    *,
    overwrite: bool = False,
    width: int = 400,
    columns: int = 5,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Write a picture of `photo` in every style that has a name here, the original first.

    Args:
        overwrite: replace what is at `output`.
        width: pixels of a column; the network sees the photograph at twice this size.

    Raises:
        StylebatchError: bad input, or an output that is there or cannot be written.
    """
    format = format_of(output)
    check_output(output, [photo], overwrite)
    frame = _read(photo, ImageOptions(size=2 * width, keep_work_size=True))
    pictures = {"original": _picture(frame.pixels)}
    names = list(named_styles())
    count = itertools.count(1)
    for name in names:
        (pictures[name],) = _stylized([frame], Stylizer(name), lambda: progress(next(count), len(names)))
    titles = list(pictures)
    rows = [titles[first : first + columns] for first in range(0, len(titles), columns)]
    sheet = stacked([contact_sheet([[pictures[name] for name in row]], row, width=width) for row in rows])
    with atomic_write(output, put_in_place if overwrite else create) as file:
        save_picture(sheet, file, format)
    return output


class _Pictures:
    """A sink that keeps its results by the numbers of their frames."""

    def __init__(self, effects: Effects, done: Callable[[], None]) -> None:
        self.pictures: dict[int, Image.Image] = {}
        self._failures: list[Failure] = []
        self._effects = effects
        self._done = done

    def add(self, info: FrameInfo, original: Pixels, stylized: Pixels) -> None:
        try:
            self.pictures[info.index] = _picture(self._effects(original, stylized))
        except MemoryError:
            self.fail(info, "not enough memory for it")
        else:
            self._done()

    def fail(self, info: FrameInfo, reason: str) -> None:
        self._failures.append(Failure(info.source, reason))

    def outcomes(self) -> Iterator[Saved | Failure | OutputError]:
        while self._failures:
            yield self._failures.pop()

    def close(self) -> None:
        pass


class _Frames:
    """A source of what is decoded already, by number: each style sees it."""

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = [replace(frame, info=replace(frame.info, index=index)) for index, frame in enumerate(frames)]

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]

    def size(self, index: int) -> tuple[int, int]:
        height, width, _ = self._frames[index].pixels.shape
        return width, height


def _stylized(frames: list[Frame], stylizer: Stylizer, done: Callable[[], None]) -> list[Image.Image]:
    sink = _Pictures(effects_of(tone=stylizer.tone), done)
    numbers = range(len(frames))
    check_done(stylize(_Frames(frames), numbers, stylizer, sink, summary=Summary(total=len(frames)), workers=0))
    return [sink.pictures[number] for number in numbers]


def _title(style: str, strength: float) -> str:
    name = "+".join(part if ":" in part else Path(part).stem for part in style.split(","))
    return name if strength == 1 else f"{name} × {strength:g}"


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(to_8_bits(pixels))


def _read(photo: Path, options: ImageOptions = DEFAULTS) -> Frame:
    """The photograph, of an animation its first frame."""
    check_photograph(photo)
    loaded = ImageSource(photo.parent, options)[photo.name]
    if isinstance(loaded, Failure):
        raise StylebatchError(f"{photo}: {loaded.reason}")
    frame = loaded[0] if isinstance(loaded, list) else loaded
    return replace(frame, info=replace(frame.info, source=str(photo)))
