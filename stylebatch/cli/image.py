"""`stylebatch image`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stylebatch.cli.inputs import inputs_and_output
from stylebatch.cli.shared import OUTPUT, with_trained_styles
from stylebatch.console.arguments import WORD
from stylebatch.console.command import SOME_FAILED, command, until_stopped
from stylebatch.console.options import declared_options, take
from stylebatch.console.terminal import say, tell
from stylebatch.errors import StylebatchError
from stylebatch.files import is_folder
from stylebatch.images.formats import format_of
from stylebatch.images.options import ImageOptions
from stylebatch.jobs.job import StylizerOptions
from stylebatch.options import Runtime
from stylebatch.storage import is_url


@click.command(short_help="Stylize photographs.")
@click.argument("words", metavar="PHOTO... [OUT]", nargs=-1, required=True, type=WORD)
@declared_options(StylizerOptions, "style", "strength", "strokes")
@click.option("--grid", is_flag=True, help="Also write original | stylized, as NAME_grid.jpg.")
@OUTPUT
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@declared_options(ImageOptions)
@declared_options(Runtime)
@command
def image(words: tuple[str, ...], output: str | None, **options: Any) -> None:
    """Stylize a PHOTO into OUT, file or folder, by default into PHOTO_STYLE beside it, or several into the folder OUT. Both
    may be URLs; what comes from one goes to the current folder by default."""
    photos, output = inputs_and_output("image", words, output)
    if output and not is_folder(output):
        format_of(Path(output))
    options["options"] = take(ImageOptions, options)
    arguments = with_trained_styles(take(StylizerOptions, options)).stylizer
    from stylebatch.jobs import stylize_image
    from stylebatch.jobs.urls import stylize_photograph
    from stylebatch.stylizer import Stylizer

    stylizer = until_stopped(lambda: Stylizer(**arguments))
    done: list[Path] = []
    here = [photo for photo in photos if isinstance(photo, Path)]
    failed = 0
    for photo in photos:

        def note(text: str, photo: Path | str = photo) -> None:
            tell(f"{photo}: {text}")

        try:
            job: Callable[[], Path | str]
            if isinstance(photo, str) or is_url(output or ""):
                job = functools.partial(stylize_photograph, str(photo), output, stylizer, note=note, **options)
            else:
                job = functools.partial(stylize_image, photo, output, stylizer, keep=[*here, *done], note=note, **options)
            path = until_stopped(job)
        except StylebatchError as error:
            if len(photos) == 1:
                raise
            failed += 1
            tell(f"failed: {error}")
        else:
            done += [path] if isinstance(path, Path) else []
            say(str(path))
    if failed:
        sys.exit(SOME_FAILED)
