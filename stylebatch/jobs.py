"""What the commands do: a folder, one photograph, a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from PIL import Image

from stylebatch.colour import to_8_bits
from stylebatch.device import cores
from stylebatch.errors import StylebatchError
from stylebatch.files import atomic_write
from stylebatch.formats import EXPORT, format_of, told_apart
from stylebatch.frame import Failure, Frame, Pixels
from stylebatch.grid import contact_sheet, stacked
from stylebatch.images import (
    ImageOptions,
    ImageSink,
    ImageSource,
    Saved,
    find_images,
    grid_path,
    without_clashes,
)
from stylebatch.manifest import Manifest
from stylebatch.pipeline import Summary, stylize
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

    What an earlier run has finished, from the same content with the same style and options, is not done again.

    Args:
        style: a name, a checkpoint's path, or a mix, "hosi:0.6,wave:0.4".
        strength: 0 (the photograph) to 1 (the style as trained) to 1.5.
        options: formats, sizes, colours, limits.
        grid: also write original | stylized, as `{name}_grid.jpg`.
        follow_links: follow symbolic links that lead out of `source`.
        overwrite: do everything again.
        batch_size: photographs of one size that go through the network together; by default 1 on a CPU, on a GPU
            what fits.
        workers: processes that decode; by default half the cores on a CPU, where the network needs them, else all.
        progress: called after each batch with the summary so far.
        stop: asked after each batch; True ends the run when what is in flight has been written.

    Raises:
        StylebatchError: bad input, an output that another run is writing or that cannot be written at all. A photograph
            that fails is a line in the summary, a disk that fills up on the way is its `aborted`.
    """
    source, output = Path(source), Path(output)
    _check_folders(source, output)
    for name, value, least in (("batch size", batch_size, 1), ("workers", workers, 0)):
        if value is not None and value < least:
            raise StylebatchError(f"{name} {value}: must be at least {least}")
    names, others, failures = find_images(source, recursive=recursive, follow_links=follow_links)
    ignored, unread, set_aside = told_apart(others)
    if not names and not failures:
        there = "".join(f"; {count} {kind} files, which are not read: {EXPORT}" for kind, count in unread.items())
        raise StylebatchError(f"{source}: no photographs in it; give a folder of JPEG, PNG or other images{there}")
    names, clashes = without_clashes(names, grid=grid, format=options.format, root=source)
    failures += clashes
    stylizer = Stylizer(style, strength=strength, device=device, precision=precision, backend=backend)
    settings = {
        "style": stylizer.digest,
        "precision": stylizer.precision,
        "backend": stylizer.backend,
        "grid": grid,
        "options": asdict(options),
    }
    with Manifest(output, source, settings) as manifest:
        todo = [name for name in names if overwrite or not manifest.is_done(name)]
        stamps = {name: manifest.stamp(name) for name in todo}

        def note(saved: Saved) -> None:
            paths = [saved.path, grid_path(saved.path)] if grid else [saved.path]
            manifest.add(saved.source, paths, stamps[saved.source])

        summary = Summary(
            total=len(names) + len(failures), skipped=len(names) - len(todo), failures=failures, ignored=ignored,
            unread=unread, set_aside=set_aside,
        )  # fmt: skip
        sink = ImageSink(output, options=options, grid=grid, threads=max(2, cores() // 2))
        return stylize(
            ImageSource(source, todo, options), stylizer, sink, summary=summary, saved=note, batch_size=batch_size,
            workers=workers, progress=progress, stop=stop,
        )  # fmt: skip


def stylize_image(
    source: Path | str,
    output: Path | str | None = None,
    style: str | Path = "hosi",
    *,
    strength: float = 1.0,
    options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    grid: bool = False,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    note: Callable[[str], None] = lambda _: None,
) -> Path:
    """Stylize one photograph; the format is that of `output`'s extension, else the photograph's.

    Args:
        output: by default `{name}_{style}` with the photograph's extension, beside it.
        style, strength, options, grid: as in `stylize_folder`.
        note: told what of the photograph did not come through, or not as it was.

    Returns:
        Where the result lies.

    Raises:
        StylebatchError: bad input, or an output that cannot be written.
    """
    source = Path(source)
    if output:
        options = replace(options, format=format_of(Path(output)))
    frames = _read(source, options)
    stylizer = Stylizer(style, strength=strength, device=device, precision=precision, backend=backend)
    written = Path(frames[0].info.extra.output)
    path = Path(output) if output else source.with_name(f"{written.stem}_{stylizer.name}{written.suffix}")
    if path.resolve() == source.resolve():
        raise StylebatchError(f"{path}: output and input are the same file; give another output")
    sink = ImageSink(path.parent, options=options, grid=grid)
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
        progress: called with pictures done and in all.

    Raises:
        StylebatchError: bad input, or an output that cannot be written.
    """
    if epochs:
        columns = [(f"epoch {epoch}", str(path), 1.0) for epoch, path in epoch_checkpoints(epochs)]
    else:
        columns = [
            (_column(style, strength), style, strength) for style in styles or shipped_styles() for strength in strengths
        ]
    frames = [_read(photo, ImageOptions())[0] for photo in photos]
    rows = [[_picture(frame.pixels)] for frame in frames]
    format = format_of(output)
    for done, (_, style, strength) in enumerate(columns):
        stylizer = Stylizer(style, strength=strength, device=device, precision=precision, backend=backend)
        for row, frame in enumerate(frames):
            rows[row].append(_picture(stylizer(frame.pixels[None])[0]))
            progress(done * len(frames) + row + 1, len(columns) * len(frames))
    sheet = contact_sheet(rows, ["original", *(title for title, _, _ in columns)], width=width)
    with atomic_write(output) as file:
        sheet.save(file, format=format)
    return output


def style_sheet(
    photo: Path,
    output: Path = Path("styles.jpg"),
    *,
    width: int = 400,
    columns: int = 5,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Write a picture of `photo` in every style that has a name here, the original first.

    Args:
        width: pixels of a column; the network sees the photograph at twice this size.

    Raises:
        StylebatchError: bad input, or an output that cannot be written.
    """
    format = format_of(output)
    frame = _read(photo, ImageOptions(size=2 * width, keep_work_size=True))[0]
    pictures = {"original": _picture(frame.pixels)}
    names = list(named_styles())
    for done, name in enumerate(names):
        pictures[name] = _picture(Stylizer(name)(frame.pixels[None])[0])
        progress(done + 1, len(names))
    titles = list(pictures)
    rows = [titles[first : first + columns] for first in range(0, len(titles), columns)]
    sheet = stacked([contact_sheet([[pictures[name] for name in row]], row, width=width) for row in rows])
    with atomic_write(output) as file:
        sheet.save(file, format=format)
    return output


def _column(style: str, strength: float) -> str:
    name = "+".join(part if ":" in part else Path(part).stem for part in style.split(","))
    return name if strength == 1 else f"{name} × {strength:g}"


def _check_folders(source: Path, output: Path) -> None:
    if not source.is_dir():
        raise StylebatchError(f"{source}: no such folder of photographs")
    real_source, real_output = source.resolve(), output.resolve()
    if real_source == real_output:
        raise StylebatchError(f"{output}: output and input are the same folder; give another output")
    if real_output.is_relative_to(real_source):
        raise StylebatchError(f"{output}: the output lies inside the input {source}; give one outside")
    if real_source.is_relative_to(real_output):
        raise StylebatchError(f"{output}: the input {source} lies inside the output; give another output")
    if output.exists() and not output.is_dir():
        raise StylebatchError(f"{output}: is a file; give a folder for the output")


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
