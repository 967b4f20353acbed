"""The `stylebatch` command: a file for each of its commands."""

from __future__ import annotations

import click

from stylebatch import __version__
from stylebatch.cli.bench import bench
from stylebatch.cli.folder import folder
from stylebatch.cli.grid import grid
from stylebatch.cli.image import image
from stylebatch.cli.inputs import command_for
from stylebatch.cli.page import page
from stylebatch.cli.styles import styles
from stylebatch.cli.video import video
from stylebatch.console.arguments import CONTEXT, Commands


@click.group(
    cls=Commands,
    context_settings=CONTEXT,
    command_for=command_for,
    commands=[folder, image, video, grid, styles, page, bench],
)
@click.version_option(__version__)
def main() -> None:
    """Put the style of a painting on photographs and films."""
