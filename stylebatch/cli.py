"""The `stylebatch` command: its options, and what it says."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylebatch import __version__
from stylebatch.console.arguments import CONTEXT, PATH, WORD, Commands, Number, expect, films_of, inputs_and_output
from stylebatch.console.command import SOME_FAILED, advance, command, exit_by, progress_bar, until_stopped
from stylebatch.console.terminal import put, say, tell
from stylebatch.errors import StylebatchError
from stylebatch.files import is_folder
from stylebatch.images.formats import format_of
from stylebatch.interrupt import Interrupt, catch_interrupts

if TYPE_CHECKING:
    from stylebatch.images.options import ImageOptions
    from stylebatch.jobs import VideoSummary
    from stylebatch.pipeline import Summary
    from stylebatch.video import VideoOptions
    from stylebatch.video.check import Checked

SIZE = Number(int, "px")
COUNT, COUNT_OR_NONE = Number(int, "", least=1), Number(int, "", least=0)
SHARE = Number(float, "%")


def _checked(style: str, strength: float, device: str) -> str:
    """The style to load, whose painting may have to be trained first. Wrong values are refused before PyTorch is loaded."""
    from stylebatch.options import check_device
    from stylebatch.paintings import with_styles_of_paintings
    from stylebatch.styles import check_style

    check_device(device)
    check_style(style, strength)
    return with_styles_of_paintings(style, device)


def _device_options(function: Callable[..., None]) -> Callable[..., None]:
    function = click.option(
        "--precision",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        help="Of the computation: auto is half where the device is faster in it.",
    )(function)
    function = click.option(
        "--backend",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "torch", "openvino"]),
        help="With what: auto is OpenVINO on CPUs, PyTorch elsewhere.",
    )(function)
    return click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="What computes: auto, cpu, cuda, cuda:N, cuda:0,cuda:1, all GPUs or mps.",
    )(function)


def _style_options(function: Callable[..., None]) -> Callable[..., None]:
    function = click.option(
        "--strength",
        default=1.0,
        show_default=True,
        metavar="X",
        type=SHARE,
        help="How much paint: 0, none, to 1.5.",
    )(function)
    return click.option(
        "--style", default="hosi", show_default=True, metavar="NAME|PATH|MIX",
        help="A style's name, a painting (trained first), a checkpoint, or a mix: hosi:0.6,wave:0.4.",
    )(function)  # fmt: skip


def _output_option(function: Callable[..., None]) -> Callable[..., None]:
    return click.option("--output", "-o", metavar="OUT", type=WORD, help="The file or folder to write, instead of OUT.")(
        function
    )


def _image_options(function: Callable[..., None]) -> Callable[..., None]:
    """The fields of `ImageOptions`, which owns their defaults: what is not given arrives as None or False."""
    options = [
        click.option("--format", metavar="NAME", help="jpg, png, webp, tiff, bmp or avif.  [default: the photograph's]"),
        click.option("--quality", type=int, metavar="N", help="1 to 100, for JPEG, WebP and AVIF.  [default: 95, AVIF 90]"),
        click.option(
            "--size",
            type=SIZE,
            metavar="PX",
            help="Long side to paint at: smaller is larger strokes, less time.",
        ),
        click.option("--keep-work-size", is_flag=True, help="Leave the result at --size instead of the original size."),
        click.option("--preserve-color", is_flag=True, help="Brightness from the painting, colours from the photograph."),
        click.option("--strip-metadata", is_flag=True, help="Drop EXIF, XMP, resolution and file times."),
        click.option("--allow-truncated", is_flag=True, help="Take what is there of a file that breaks off or is damaged."),
        click.option("--max-megapixels", type=int, metavar="N", help="Refuse larger pictures by header.  [default: 512]"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _as_image_options(options: dict[str, Any]) -> ImageOptions:
    """Take the fields of `ImageOptions` out of a command's options."""
    from dataclasses import fields

    from stylebatch.images.options import ImageOptions

    given = {field.name: options.pop(field.name) for field in fields(ImageOptions)}
    return ImageOptions(**{name: value for name, value in given.items() if value is not None})


def _as_video_options(options: dict[str, Any]) -> VideoOptions:
    """Take the fields of `VideoOptions` out of a command's options."""
    from dataclasses import fields

    from stylebatch.video.options import VideoOptions

    given = {field.name: options.pop(field.name) for field in fields(VideoOptions)}
    return VideoOptions(**{name: value for name, value in given.items() if value is not None})


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__)
def main() -> None:
    """Put the style of a painting on photographs and films."""


@main.command()
@click.argument("source", metavar="IN", type=PATH)
@click.argument("output", metavar="OUT", type=PATH, required=False)
@_style_options
@click.option("--grid", is_flag=True, help="Also write original | stylized for each, as NAME_grid.jpg.")
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Take the folders in IN too.")
@click.option("--follow-links", is_flag=True, help="Follow symbolic links that lead out of IN.")
@click.option("--overwrite", is_flag=True, help="Replace what is there and no result of IN with these options.")
@_image_options
@_device_options
@click.option(
    "--batch-size", type=COUNT, metavar="N", help="Photographs of one size at once.  [default: 1 on CPU, else what fits]"
)
@click.option("--workers", type=COUNT_OR_NONE, metavar="N", help="Decoding processes.  [default: by the number of cores]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@command
def folder(source: Path, output: Path | None, style: str, as_json: bool, **options: Any) -> None:
    """Stylize the photographs in folder IN into the same tree under OUT."""
    from dataclasses import replace

    expect("folder", source, output)
    if output is None:
        words = shlex.join(["stylebatch", "folder", str(source), f"{source}_{Path(style).stem}"])
        raise click.UsageError(f"Missing argument 'OUT', the folder for the results: {words}")
    image_options = _as_image_options(options)
    style = _checked(style, options["strength"], options["device"])
    from stylebatch.jobs import stylize_folder
    from stylebatch.pipeline import Summary

    shown = Summary()
    with catch_interrupts() as interrupt, progress_bar("img") as bar:

        def show(summary: Summary) -> None:
            nonlocal shown
            shown = summary
            bar.set_postfix_str(f"{summary.megapixels:.1f} MP, {len(summary.failures)} failed", refresh=False)
            advance(bar, summary.finished, summary.total, summary.skipped)

        job = functools.partial(stylize_folder, source, output, style, options=image_options, progress=show, **options)
        summary = interrupt.wait_for(lambda: job(stop=interrupt)) or replace(shown, interrupted=True)
    if as_json:
        put(json.dumps(summary.as_dict(), indent=2))
    else:
        say(*_as_lines(summary, output))
    if summary.interrupted:
        exit_by(interrupt)
    if summary.failures or summary.aborted:
        sys.exit(SOME_FAILED)


@main.command(short_help="Stylize photographs.")
@click.argument("words", metavar="PHOTO... [OUT]", nargs=-1, required=True, type=WORD)
@_style_options
@click.option("--grid", is_flag=True, help="Also write original | stylized, as NAME_grid.jpg.")
@_output_option
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@_image_options
@_device_options
@command
def image(words: tuple[str, ...], output: str | None, style: str, **options: Any) -> None:
    """Stylize a PHOTO into OUT, file or folder, by default into PHOTO_STYLE beside it, or several into the folder OUT."""
    photos, output = inputs_and_output("image", words, output)
    if output and not is_folder(output):
        format_of(Path(output))
    image_options = _as_image_options(options)
    style = _checked(style, options["strength"], options["device"])
    from stylebatch.jobs import stylize_image
    from stylebatch.stylizer import Stylizer

    settings = {name: options.pop(name) for name in ("strength", "device", "precision", "backend")}
    stylizer = until_stopped(lambda: Stylizer(style, **settings))
    done: list[Path] = []
    failed = 0
    for photo in photos:

        def note(text: str, photo: Path = photo) -> None:
            tell(f"{photo}: {text}")

        try:
            job = functools.partial(stylize_image, photo, output, stylizer, keep=[*photos, *done], note=note)
            path = until_stopped(functools.partial(job, options=image_options, **options))
        except StylebatchError as error:
            if len(photos) == 1:
                raise
            failed += 1
            tell(f"failed: {error}")
        else:
            done.append(path)
            say(str(path))
    if failed:
        sys.exit(SOME_FAILED)


def _as_time(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    from stylebatch.video.options import parse_time

    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _as_rate(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Fraction | None:
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(f"{text!r} is no rate; give frames a second, such as 25 or 30000/1001") from None


def _video_options(function: Callable[..., None]) -> Callable[..., None]:
    """The fields of `VideoOptions`, which owns their defaults."""
    options = [
        click.option("--codec", metavar="NAME", help="h264, h265, av1, vp9, prores, ffv1 or {h264,h265,av1}_nvenc."),
        click.option("--crf", type=int, metavar="N", help="Quality: lower is better, and larger.  [default: 18]"),
        click.option("--preset", metavar="NAME", help="The encoder's own name for its speed, such as slow."),
        click.option("--pix-fmt", metavar="NAME", help="Pixel format.  [default: the clip's depth and chroma]"),
        click.option("--start", callback=_as_time, metavar="TIME", help="From here: seconds or [HH:]MM:SS."),
        click.option("--end", callback=_as_time, metavar="TIME", help="Up to here."),
        click.option("--preview", callback=_as_time, metavar="SECONDS", help="Only so much, from the middle."),
        click.option(
            "--size",
            type=SIZE,
            metavar="PX",
            help="Long side to paint at: smaller is larger strokes, less time.",
        ),
        click.option("--keep-work-size", is_flag=True, help="Leave the result at --size instead of the original size."),
        click.option("--steady", type=float, metavar="X", help="How still paint holds: 0, flickers, to 1.  [default: 0.9]"),
        click.option("--fps", callback=_as_rate, metavar="RATE", help="Resample.  [default: each frame at its own time]"),
        click.option("--preserve-color", is_flag=True, help="Brightness from the painting, colours from the film."),
        click.option("--side-by-side", is_flag=True, help="Original | stylized in one film."),
        click.option("--every", type=int, metavar="N", help="No film but a picture of each Nth frame."),
        click.option("--max-megapixels", type=int, metavar="N", help="Refuse larger frames.  [default: 60]"),
        click.option(
            "--on-corrupt",
            type=click.Choice(["fail", "repeat"]),
            help="At damaged frames, or repeat the one before.  [default: fail]",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@main.command(short_help="Stylize films.")
@click.argument("words", metavar="CLIP... [OUT]", nargs=-1, required=True, type=WORD)
@_style_options
@_output_option
@click.option("--check", is_flag=True, help="Paint nothing: tell what will be kept, converted and left out.")
@click.option("--overwrite", is_flag=True, help="Replace what is there and no result of CLIP with these options.")
@_video_options
@_device_options
@click.option("--batch-size", type=COUNT, metavar="N", help="Frames at once.  [default: 1 on CPU, else what fits]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@command
def video(
    words: tuple[str, ...],
    output: str | None,
    style: str,
    strength: float,
    device: str,
    precision: str,
    backend: str,
    as_json: bool,
    check: bool,
    **options: Any,
) -> None:
    """Stylize a CLIP into OUT, film or folder, by default into CLIP_STYLE beside it; several, or a folder of them with its
    tree, into the folder OUT."""
    clips = films_of(*inputs_and_output("video", words, output))
    video_options = _as_video_options(options)
    if check:
        _check_films(clips, video_options, as_json)
        return
    style = _checked(style, strength, device)
    from stylebatch.jobs import stylize_video
    from stylebatch.stylizer import Stylizer
    from stylebatch.video import output_paths

    done: list[VideoSummary] = []
    failures: list[tuple[Path, StylebatchError]] = []
    with catch_interrupts() as interrupt:
        stylizer = interrupt.wait_for(
            lambda: Stylizer(style, strength=strength, device=device, precision=precision, backend=backend)
        )
        if stylizer is not None:
            output_paths(clips, stylizer.name, video_options)
        for clip, folder in clips:
            if stylizer is None or interrupt():
                break
            try:
                done.append(_stylize_film(interrupt, functools.partial(
                    stylize_video, clip, folder, stylizer, options=video_options, **options
                )))  # fmt: skip
            except StylebatchError as error:
                if len(clips) == 1:
                    raise
                failures.append((clip, error))
    if as_json:
        films = [summary.as_dict() for summary in done]
        failed = [{"path": str(clip), "reason": str(error)} for clip, error in failures]
        put(json.dumps({"films": films, "failed": failed, "interrupted": interrupt()}, indent=2))
    else:
        lines = [line for summary in done for line in _film_as_lines(summary)]
        say(*(f"failed: {error}" for _, error in failures), *lines)
    if interrupt():
        exit_by(interrupt)
    if failures or any(summary.failures or summary.aborted for summary in done):
        sys.exit(SOME_FAILED)


def _check_films(clips: Sequence[tuple[Path, str | None]], options: VideoOptions, as_json: bool) -> None:
    from stylebatch.video import check_film

    checked: list[tuple[Path, Checked]] = []
    failures: list[tuple[Path, StylebatchError]] = []
    for clip, output in clips:
        try:
            checked.append((clip, check_film(clip, output, options=options)))
        except StylebatchError as error:
            if len(clips) == 1:
                raise
            failures.append((clip, error))
    if as_json:
        films = [_checked_as_dict(clip, film) for clip, film in checked]
        failed = [{"path": str(clip), "reason": str(error)} for clip, error in failures]
        put(json.dumps({"films": films, "failed": failed}, indent=2))
    else:
        lines = [line for clip, film in checked for line in _checked_as_lines(clip, film)]
        say(*lines, *(f"cannot be made: {error}" for _, error in failures))
    if failures:
        sys.exit(SOME_FAILED)


def _stylize_film(interrupt: Interrupt, job: Callable[..., VideoSummary]) -> VideoSummary:
    from dataclasses import replace

    from stylebatch.jobs import VideoSummary

    shown = VideoSummary()
    with progress_bar("frame") as bar:

        def show(summary: VideoSummary) -> None:
            nonlocal shown
            shown = summary
            advance(bar, summary.finished, max(summary.total, summary.finished), summary.skipped)

        return interrupt.wait_for(lambda: job(progress=show, stop=interrupt)) or replace(shown, interrupted=True)


@main.command(short_help="Make a contact sheet of photographs and styles.")
@click.argument("photos", nargs=-1, required=True, type=PATH)
@click.option(
    "--style", "styles", multiple=True, metavar="NAME|PATH|MIX", help="A column; repeatable.  [default: all shipped]"
)
@click.option(
    "--strength",
    "strengths",
    multiple=True,
    type=SHARE,
    metavar="X",
    help="A column of each style; repeatable.",
)
@click.option("--epochs", type=PATH, metavar="PREFIX", help="Columns: a training's checkpoints, e.g. checkpoints/trial.")
@click.option("--output", "-o", default="grid.png", show_default=True, type=PATH, help="The picture to write.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--width", default=320, show_default=True, type=click.IntRange(32, 4096), help="Pixels of a column.")
@_device_options
@command
def grid(
    photos: tuple[Path, ...], styles: tuple[str, ...], strengths: tuple[float, ...], epochs: Path | None, **options: Any
) -> None:
    """Make a contact sheet: PHOTOS down, the original and styles across, or one style's epochs."""
    from stylebatch.options import check_device
    from stylebatch.styles import check_style, epoch_checkpoints

    if (styles or strengths) and epochs:
        raise click.UsageError("--epochs excludes --style and --strength.")
    for photo in photos:
        expect("image", photo)
    format_of(options["output"])
    check_device(options["device"])
    for strength in strengths:
        check_style(next(iter(styles), "hosi"), strength)
    if epochs:
        epoch_checkpoints(epochs)
    styles = tuple(_checked(style, 1.0, options["device"]) for style in styles)
    from stylebatch.jobs import stylize_grid

    with progress_bar("img") as bar:
        path = until_stopped(lambda: stylize_grid(
            list(photos), list(styles), strengths=strengths or (1.0,), epochs=epochs,
            progress=functools.partial(advance, bar), **options,
        ))  # fmt: skip
    say(str(path))


@main.group(cls=Commands, invoke_without_command=True, short_help="List, add and remove styles.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with what each style's file says of its training.")
@click.option("--sheet", type=PATH, metavar="PHOTO", help="Show every style on PHOTO instead, as one picture.")
@click.option("--output", "-o", default="styles.jpg", show_default=True, type=PATH, help="Where the sheet goes.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.pass_context
@command
def styles(context: click.Context, as_json: bool, sheet: Path | None, output: Path, overwrite: bool) -> None:
    """List the styles that have a name here, with their artworks and rights."""
    if context.invoked_subcommand:
        return
    if sheet:
        expect("image", sheet)
        format_of(output)
        from stylebatch.jobs import style_sheet

        with progress_bar("style") as bar:
            path = until_stopped(
                lambda: style_sheet(sheet, output, overwrite=overwrite, progress=functools.partial(advance, bar))
            )
        say(str(path))
        return
    _list_styles(as_json)


def _list_styles(as_json: bool) -> None:
    from stylebatch.styles import named_styles

    named = named_styles().values()
    if as_json:
        listing = [{"name": style.name, "path": str(style.path), **style.header} for style in named]
        put(json.dumps(listing, indent=2))
        return
    for style in named:
        known = f"{style.artist}, {style.artwork}, {style.year} ({style.rights})"
        line = f"{style.name:<18} {known if 'artwork' in style.header else style.path}"
        say(line)


@styles.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with what each style's file says of its training.")
@command
def list_(as_json: bool) -> None:
    """The same as `stylebatch styles`."""
    _list_styles(as_json)


@styles.command()
@click.argument("name", metavar="NAME")
@command
def remove(name: str) -> None:
    """Take the style NAME, which was added, out of your application data again."""
    from stylebatch.styles import remove_style

    say(str(remove_style(name)))


@styles.command()
@click.argument("path", metavar="PATH", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace another style of that name.")
@command
def add(path: Path, overwrite: bool) -> None:
    """Give the style in PATH its name in every folder: it is copied to your application data."""
    from stylebatch.styles import add_style

    say(str(add_style(path, overwrite=overwrite)))


@main.command(short_help="Measure how fast this machine is.")
@click.option("--style", default="hosi", show_default=True, metavar="NAME|PATH", help="A shipped style or a checkpoint.")
@click.option(
    "--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:N, cuda:0,cuda:1, all or mps."
)
@click.option("--json", "as_json", is_flag=True, help="Print the measurements as JSON.")
@command
def bench(style: str, device: str, as_json: bool) -> None:
    """Measure how fast this machine is, on each backend and in each precision, in a minute or two."""
    from dataclasses import asdict

    style = _checked(style, 1.0, device)
    from stylebatch.benchmark import benchmark

    with progress_bar("run") as bar:
        measurements = until_stopped(lambda: benchmark(style, device=device, progress=functools.partial(advance, bar)))
    if as_json:
        put(json.dumps([asdict(measurement) for measurement in measurements], indent=2))
        return
    say("    picture  backend   precision  seconds    MP/s  GFLOP/s  matmul's     PSNR")
    for m in measurements:
        say(
            f"{f'{m.side}×{m.side}':>11}  {m.backend:8}  {m.precision:9}  {m.seconds:7.3f}  {m.megapixels_per_second:6.2f}  "
            f"{m.gflops:7.0f}  {m.matmul_gflops:8.0f}  {m.psnr:4.1f} dB"
        )
    say("matmul's: GFLOP/s of PyTorch's matrix product. PSNR: against its fp32, on noise with a photograph's spectrum.")


def _as_lines(summary: Summary, output: Path) -> list[str]:
    seconds = max(summary.seconds, 1e-9)
    lines = [f"failed: {failure.source}: {failure.reason}" for failure in summary.failures]
    if summary.renamed:
        lines.append(f"in another format: {_some(f'{name} as {output}' for name, output in summary.renamed.items())}")
    if summary.partial:
        lines.append(f"first page or frame alone: {_some(f'{name}, {more} more' for name, more in summary.partial.items())}")
    for note in dict.fromkeys(note for notes in summary.notes.values() for note in notes):
        lines.append(f"{note}: {_some(name for name, notes in summary.notes.items() if note in notes)}")
    if summary.ignored:
        lines.append(f"not pictures: {_some(summary.ignored)}")
    if summary.unread:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.unread.items())
        lines.append(f"not read: {kinds}; export as TIFF or JPEG")
    if summary.set_aside:
        lines.append(f"folders left alone: {_some(summary.set_aside)}")
    lines += _halved(summary)
    if summary.aborted:
        lines.append(f"stopped: {summary.aborted}")
    if summary.interrupted or summary.aborted:
        rest = f"{summary.total - summary.finished} not done" if summary.total else "nothing done yet"
        lines.append(f"{rest}; the same command goes on")
    if summary.skipped:
        lines.append(f"{summary.skipped} done before, unchanged")
    lines.append(
        f"{summary.done} of {summary.total} photographs in {output}: {summary.megapixels:.1f} MP in {seconds:.1f} s, "
        f"{summary.done / seconds:.2f} images/s, {len(summary.failures)} failed"
    )
    return lines


def _checked_as_dict(path: Path, film: Checked) -> dict[str, Any]:
    clip, encoding = film.clip, film.encoding
    return {
        "path": str(path),
        "width": clip.size[0],
        "height": clip.size[1],
        "rate": float(clip.rate),
        "seconds": clip.duration,
        "container": encoding and encoding.container,
        "codec": encoding and encoding.codec,
        "pix_fmt": encoding and encoding.pix_fmt,
        "streams": [{"stream": each.name, "fate": each.fate, "reason": each.reason} for each in film.streams],
        "warnings": film.warnings,
    }


def _checked_as_lines(path: Path, film: Checked) -> list[str]:
    from stylebatch.video.options import show_time

    clip, encoding = film.clip, film.encoding
    length = "" if clip.duration is None else f"{show_time(clip.duration)}, "
    written = f"to {encoding.container}, {encoding.codec} {encoding.pix_fmt}" if encoding else "to pictures"
    lines = [f"{path}: {length}{clip.size[0]}×{clip.size[1]}, {float(clip.rate):g} fps, {written}"]
    reasons = {f"{each.name} {each.reason}" for each in film.streams}
    lines += [
        f"  {each.name}: {each.reason if each.reason and each.fate != 'stylized' else each.fate}" for each in film.streams
    ]
    return lines + [f"  warning: {warning}" for warning in film.warnings if warning not in reasons]


def _film_as_lines(summary: VideoSummary) -> list[str]:
    if summary.unchanged:
        return [f"{summary.output}: done before, unchanged"]
    lines = [f"warning: {warning}" for warning in summary.warnings]
    lines += [f"failed: {failure.source}: {failure.reason}" for failure in summary.failures]
    lines += _halved(summary)
    if summary.aborted:
        lines.append(f"stopped: {summary.aborted}")
    if summary.interrupted or summary.aborted:
        lines.append(f"{summary.finished} of about {summary.total} frames are kept; the same command goes on")
    if summary.skipped:
        lines.append(f"{summary.skipped} frames done before")
    seconds = max(summary.seconds, 1e-9)
    frames = f"{summary.done} frames in {seconds:.1f} s, {summary.done / seconds:.2f} fps"
    lines.append(f"{summary.output}: {frames}; {_busy(summary, seconds)}")
    return lines


def _busy(summary: VideoSummary, seconds: float) -> str:
    """How much of the time each part of the work took: the busiest one is what the others wait for."""
    parts = {"decoder": "reading", "network": "painting", "encoder": "writing"}
    busy = (f"{part} {max(0.0, 1 - summary.stage_waits[stage] / seconds):.0%}" for stage, part in parts.items())
    return f"busy with {', '.join(busy)} of the time"


def _halved(summary: Summary) -> list[str]:
    if not summary.halved:
        return []
    return [f"{summary.halved} batches did not fit into memory and went in halves; --batch-size makes them smaller"]


def _some(names: Iterable[str]) -> str:
    """How many, and the first of them."""
    names = list(names)
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
