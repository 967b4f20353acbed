"""One photograph."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from stylebatch.effects import effects_of
from stylebatch.errors import StylebatchError
from stylebatch.files import create, identity, is_folder, taken
from stylebatch.files import replace as put_in_place
from stylebatch.images.decoding import written_as
from stylebatch.images.formats import format_of, output_name
from stylebatch.images.nvjpeg import jpegs_on
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import ImageSink, grid_path
from stylebatch.images.source import ImageSource
from stylebatch.pipeline import Summary, check_done, stylize
from stylebatch.stylizer import Stylizer


def stylize_image(
    source: Path | str,
    output: Path | str | None = None,
    style: str | Path | Stylizer = "hosi",
    *,
    strength: float = 1.0,
    strokes: float | None = None,
    options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    grid: bool = False,
    overwrite: bool = False,
    keep: Sequence[Path] = (),
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    note: Callable[[str], None] = lambda _: None,
) -> Path:
    """Stylize one photograph.

    Args:
        output: a file, whose extension chooses the format, or a folder, where the result has the photograph's name; by
            default `{name}_{style}` beside the photograph, in its format.
        style: as in `stylize_folder`, or a `Stylizer`, which then has strength, strokes, device, precision and backend.
        strength, strokes: as in `stylize_folder`.
        options: as in `stylize_folder`.
        grid: as in `stylize_folder`.
        overwrite: replace what is there.
        keep: files that are not replaced even so.
        note: told what of the photograph did not come through, or not as it was.

    Returns:
        Where the result lies.

    Raises:
        StylebatchError: bad input, or an output that is there or cannot be written.
    """
    source = Path(source)
    check_photograph(source)
    if output and not is_folder(output):
        path = Path(output)
        options = replace(options, format=format_of(path))
        check_output(path, [source, *keep], overwrite)
    if not isinstance(style, Stylizer):
        style = Stylizer(style, strength=strength, strokes=strokes, device=device, precision=precision, backend=backend)
    stylizer = style
    if not output or is_folder(output):
        format = options.format or written_as(source)
        name = Path(output_name(source.name, format) if format else source.name)
        path = Path(output) / name if output else source.with_name(f"{name.stem}_{stylizer.name}{name.suffix}")
    for each in (path, grid_path(path)) if grid else (path,):
        check_output(each, [source, *keep], overwrite)
    put = put_in_place if overwrite else create
    effects = effects_of(tone=stylizer.tone, preserve_color=options.preserve_color)
    jpegs = jpegs_on(stylizer.device, options.gpu_jpeg)
    sink = ImageSink(
        path.parent, options=options, grid=grid, effects=effects, jpeg=jpegs.encode,
        put=lambda _, temp, path: put(temp, path),
    )  # fmt: skip
    photograph = ImageSource(source.parent, options, {source.name: path.name}, jpeg=jpegs.decode)
    summary = stylize(photograph, [source.name], stylizer, sink, summary=Summary(total=1), workers=0)
    check_done(summary, source.parent)
    for more in summary.partial.values():
        note(f"first page or frame alone, {more} more")
    for texts in summary.notes.values():
        for text in texts:
            note(text)
    return path


def check_photograph(photo: Path) -> None:
    """Raises StylebatchError if there is none."""
    if not photo.is_file():
        raise StylebatchError(f"{photo}: no such photograph")


def check_output(output: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    """Whether a single result may be written. Raises StylebatchError."""
    if not os.path.lexists(output):
        return
    if output.exists() and identity(output) in map(identity, inputs):
        raise StylebatchError(f"{output}: output and input are the same file; give another output")
    if not overwrite:
        raise StylebatchError(str(taken(output)))
