"""What the commands do: a folder, one photograph, a contact sheet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from stylebatch.device import cores
from stylebatch.errors import StylebatchError
from stylebatch.files import atomic_write, create, identity, is_folder, is_within, taken
from stylebatch.files import replace as put_in_place
from stylebatch.frame import Failure, Frame, Pixels, Saved
from stylebatch.grid import contact_sheet, stacked
from stylebatch.images.formats import EXPORT, format_of, told_apart
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import ImageSink, grid_path
from stylebatch.images.source import IS_OUTPUT, ImageSource, find_images
from stylebatch.manifest import Manifest, written_in
from stylebatch.pipeline import Summary, stylize
from stylebatch.pixels import to_8_bits
from stylebatch.plan import planned
from stylebatch.styles import epoch_checkpoints, named_styles, shipped_styles
from stylebatch.stylizer import Stylizer


def stylize_folder(
    source: Path | str,
    output: Path | str,
    style: str | Path = "hosi",
    *,
    strength: float = 1.0,
    options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    grid: bool = False,
    recursive: bool = True,
    follow_links: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Stylize every photograph under `source` into the same tree under `output`.

    What an earlier run has finished, from the same content with the same style and options, is not done again. What it has
    made of a photograph that has changed since is made anew. Nothing else that is there is replaced.

    Args:
        style: a name, a checkpoint's path, or a mix, "hosi:0.6,wave:0.4".
        strength: 0 (the photograph) to 1 (the style as trained) to 1.5.
        options: formats, sizes, colours, limits.
        grid: also write original | stylized, as `{name}_grid.jpg`.
        follow_links: follow symbolic links that lead out of `source`.
        overwrite: replace what is there and was not made from these photographs, or with other options.
        batch_size: photographs of one size that go through the network together; by default 1 on a CPU, on a GPU
            what fits.
        workers: processes that decode; by default half the cores on a CPU, where the network needs them, else all.
        progress: called after each batch with the summary so far.
        stop: asked after each batch, and while it waits for one; True ends the run when what is in flight has been written.

    Raises:
        StylebatchError: bad input, an output that another run is writing, that has results with other options or that
            cannot be written at all. A photograph that fails is a line in the summary, a disk that fills up on the way is
            its `aborted`.
    """
    source, output = Path(source), Path(output)
    _check_folders(source, output)
    for name, value, least in (("batch size", batch_size, 1), ("workers", workers, 0)):
        if value is not None and value < least:
            raise StylebatchError(f"{name} {value}: must be at least {least}")
    names, others, failures = find_images(source, recursive=recursive, follow_links=follow_links, output=output)
    real = os.path.realpath(source)
    for failure in failures:
        if failure.reason == IS_OUTPUT and Path(os.path.realpath(source / failure.source)).is_relative_to(real):
            raise StylebatchError(f"{output}: the output is the folder {source / failure.source} of the input; give another")
    own = {folder / name for folder in {(source / each).parent for each in others} for name in written_in(folder)}
    ignored, unread, set_aside = told_apart([name for name in others if source / name not in own])
    if not names and not failures:
        there = "".join(f"; {count} {kind} files, which are not read: {EXPORT}" for kind, count in unread.items())
        raise StylebatchError(f"{source}: no photographs in it; give a folder of JPEG, PNG or other images{there}")
    stylizer = Stylizer(style, strength=strength, device=device, precision=precision, backend=backend)
    with Manifest(output, source, _settings(stylizer, options), overwrite=overwrite) as manifest:
        plan = planned(manifest, names, grid=grid, format=options.format, stop=stop)
        summary = Summary(
            total=len(names) + len(failures), skipped=plan.done, failures=failures + plan.failures, ignored=ignored,
            unread=unread, set_aside=set_aside, interrupted=stop(),
        )  # fmt: skip
        if summary.interrupted:
            return summary

        def put(name: str, temp: Path, path: Path) -> None:
            manifest.put(plan.todo[name], temp, path)

        sink = ImageSink(output, options=options, grid=grid, threads=max(2, cores() // 2), put=put)
        return stylize(
            ImageSource(source, list(plan.todo), options), stylizer, sink, summary=summary, batch_size=batch_size,
            workers=workers, progress=progress, stop=stop,
        )  # fmt: skip


def _settings(stylizer: Stylizer, options: ImageOptions) -> dict[str, Any]:
    """Everything beside a photograph that its result depends on."""
    return {
        "style": stylizer.digest,
        "precision": stylizer.precision,
        "backend": stylizer.backend,
        "options": options.as_settings(),
    }


def stylize_image(
    source: Path | str,
    output: Path | str | None = None,
    style: str | Path | Stylizer = "hosi",
    *,
    strength: float = 1.0,
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
        style: as in `stylize_folder`, or a `Stylizer`, which then has strength, device, precision and backend.
        strength, options, grid: as in `stylize_folder`.
        overwrite: replace what is there.
        keep: files that are not replaced even so.
        note: told what of the photograph did not come through, or not as it was.

    Returns:
        Where the result lies.

    Raises:
        StylebatchError: bad input, or an output that is there or cannot be written.
    """
    source = Path(source)
    folder = output is not None and is_folder(output)
    if output and not folder:
        options = replace(options, format=format_of(Path(output)))
        _check_output(Path(output), [source, *keep], overwrite)
    frames = _read(source, options)
    if not isinstance(style, Stylizer):
        style = Stylizer(style, strength=strength, device=device, precision=precision, backend=backend)
    stylizer = style
    written = Path(frames[0].info.extra.output)
    if output:
        path = Path(output) / written if folder else Path(output)
    else:
        path = source.with_name(f"{written.stem}_{stylizer.name}{written.suffix}")
    for each in (path, grid_path(path)) if grid else (path,):
        _check_output(each, [source, *keep], overwrite)
    put = put_in_place if overwrite else create
    sink = ImageSink(path.parent, options=options, grid=grid, put=lambda _, temp, path: put(temp, path))
    for frame in frames:
        info = replace(frame.info, extra=replace(frame.info.extra, output=path.name))
        sink.add(info, frame.pixels, stylizer(frame.pixels[None])[0])
    sink.close()
    for outcome in sink.outcomes():
        if isinstance(outcome, Failure):
            raise StylebatchError(f"{source}: {outcome.reason}")
        if isinstance(outcome, StylebatchError):
            raise outcome
        if isinstance(outcome, Saved):
            if outcome.left_out:
                note(f"first page or frame alone, {outcome.left_out} more")
            for text in outcome.notes:
                note(text)
    return path


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
    _check_output(output, photos, overwrite)
    if epochs:
        columns = [(f"epoch {epoch}", str(path), 1.0) for epoch, path in epoch_checkpoints(epochs)]
    else:
        columns = [
            (_column(style, strength), style, strength) for style in styles or shipped_styles() for strength in strengths
        ]
    frames = [_read(photo, ImageOptions())[0] for photo in photos]
    rows = [[_picture(frame.pixels)] for frame in frames]
    for done, (_, style, strength) in enumerate(columns):
        stylizer = Stylizer(style, strength=strength, device=device, precision=precision, backend=backend)
        for row, frame in enumerate(frames):
            rows[row].append(_picture(stylizer(frame.pixels[None])[0]))
            progress(done * len(frames) + row + 1, len(columns) * len(frames))
    sheet = contact_sheet(rows, ["original", *(title for title, _, _ in columns)], width=width)
    with atomic_write(output, put_in_place if overwrite else create) as file:
        sheet.save(file, format=format)
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
    _check_output(output, [photo], overwrite)
    frame = _read(photo, ImageOptions(size=2 * width, keep_work_size=True))[0]
    pictures = {"original": _picture(frame.pixels)}
    names = list(named_styles())
    for done, name in enumerate(names):
        pictures[name] = _picture(Stylizer(name)(frame.pixels[None])[0])
        progress(done + 1, len(names))
    titles = list(pictures)
    rows = [titles[first : first + columns] for first in range(0, len(titles), columns)]
    sheet = stacked([contact_sheet([[pictures[name] for name in row]], row, width=width) for row in rows])
    with atomic_write(output, put_in_place if overwrite else create) as file:
        sheet.save(file, format=format)
    return output


def _column(style: str, strength: float) -> str:
    name = "+".join(part if ":" in part else Path(part).stem for part in style.split(","))
    return name if strength == 1 else f"{name} × {strength:g}"


def _check_folders(source: Path, output: Path) -> None:
    if not source.is_dir():
        raise StylebatchError(f"{source}: no such folder of photographs")
    if identity(source) == identity(output):
        raise StylebatchError(f"{output}: output and input are the same folder; give another output")
    if is_within(output, source):
        raise StylebatchError(f"{output}: the output lies inside the input {source}; give one outside")
    if is_within(source, output):
        raise StylebatchError(f"{output}: the input {source} lies inside the output; give another output")
    if output.exists() and not output.is_dir():
        raise StylebatchError(f"{output}: is a file; give a folder for the output")


def _check_output(output: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    """Whether a single result may be written. Raises StylebatchError."""
    if not os.path.lexists(output):
        return
    if output.exists() and identity(output) in map(identity, inputs):
        raise StylebatchError(f"{output}: output and input are the same file; give another output")
    if not overwrite:
        raise StylebatchError(str(taken(output)))


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(to_8_bits(pixels))


def _read(photo: Path, options: ImageOptions) -> list[Frame]:
    """The frames of a photograph: one, or those of an animation."""
    if not photo.is_file():
        raise StylebatchError(f"{photo}: no such photograph")
    loaded = ImageSource(photo.parent, [photo.name], options)[0]
    if isinstance(loaded, Failure):
        raise StylebatchError(f"{photo}: {loaded.reason}")
    return loaded if isinstance(loaded, list) else [loaded]
