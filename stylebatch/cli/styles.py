"""`stylebatch styles` and the commands in it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import click

from stylebatch.cli.inputs import expect
from stylebatch.console.arguments import PATH, Commands
from stylebatch.console.command import advance, command, progress_bar, until_stopped
from stylebatch.console.terminal import put, say
from stylebatch.images.formats import format_of


@click.group(
    cls=Commands,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND] [ARGS]...",
    short_help="List, add and remove styles.",
)
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
        say(f"{style.name:<18} {known if 'artwork' in style.header else style.path}")


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
    from stylebatch.styles.added import remove_style

    say(str(remove_style(name)))


@styles.command()
@click.argument("path", metavar="PATH", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace another style of that name.")
@command
def add(path: Path, overwrite: bool) -> None:
    """Give the style in PATH its name in every folder: it is copied to your application data."""
    from stylebatch.styles.added import add_style

    say(str(add_style(path, overwrite=overwrite)))
