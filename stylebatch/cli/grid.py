"""`stylebatch grid`."""

from __future__ import annotations

import functools
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import click

from stylebatch.cli.inputs import expect
from stylebatch.console.arguments import PATH, number
from stylebatch.console.command import advance, command, progress_bar, until_stopped
from stylebatch.console.options import declared_options, take
from stylebatch.console.terminal import say
from stylebatch.images.formats import format_of
from stylebatch.options import Runtime


@click.command(short_help="Make a contact sheet of photographs and styles.")
@click.argument("photos", nargs=-1, required=True, type=PATH)
@click.option(
    "--style", "styles", multiple=True, metavar="NAME|PATH|MIX", help="A column; repeatable.  [default: all shipped]"
)
@click.option(
    "--strength",
    "strengths",
    multiple=True,
    type=number(float, "%"),
    metavar="X",
    help="A column of each; repeatable.",
)
@click.option("--epochs", type=PATH, metavar="PREFIX", help="Columns: a training's checkpoints, e.g. checkpoints/trial.")
@click.option("--output", "-o", default="grid.png", show_default=True, type=PATH, help="The picture to write.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option("--width", default=320, show_default=True, type=click.IntRange(32, 4096), help="Pixels of a column.")
@declared_options(Runtime)
@command
def grid(
    photos: tuple[Path, ...], styles: tuple[str, ...], strengths: tuple[float, ...], epochs: Path | None, **options: Any
) -> None:
    """Make a contact sheet: PHOTOS down, the original and styles across, or one style's epochs."""
    from stylebatch.paintings import with_styles_of_paintings
    from stylebatch.styles import check_style, epoch_checkpoints

    if (styles or strengths) and epochs:
        raise click.UsageError("--epochs excludes --style and --strength.")
    for photo in photos:
        expect("image", photo)
    format_of(options["output"])
    runtime = take(Runtime, options)
    for style, strength in product(styles or ("hosi",), strengths or (1.0,)):
        check_style(style, strength)
    if epochs:
        epoch_checkpoints(epochs)
    styles = tuple(with_styles_of_paintings(style, runtime.device) for style in styles)
    from stylebatch.jobs import stylize_grid

    with progress_bar("img") as bar:
        path = until_stopped(lambda: stylize_grid(
            list(photos), list(styles), strengths=strengths or (1.0,), epochs=epochs,
            progress=functools.partial(advance, bar), **asdict(runtime), **options,
        ))  # fmt: skip
    say(str(path))
