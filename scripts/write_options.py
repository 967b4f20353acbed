#!/usr/bin/env python3
"""Write docs/options.md: the options of every command, as they are declared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

import stylebatch.cli
import trainer.cli

PAGE = Path(__file__).parent.parent / "docs" / "options.md"
HEAD = """# Options

What `--help` says of each command's options. `scripts/write_options.py` makes this page of their declarations. Every command
has `-h`, `--help`, and `--debug`, which shows the traceback of an error."""


def page() -> str:
    programs = {"stylebatch": stylebatch.cli.main, "trainer": trainer.cli.main}
    parts = [part for name, program in programs.items() for part in _parts(program, click.Context(program, info_name=name))]
    return "\n\n".join([HEAD, *parts]) + "\n"


def _parts(command: click.Command, context: click.Context) -> Iterator[str]:
    """The sections of a command and of those in it."""
    options = [each for each in command.params if isinstance(each, click.Option) and each.name not in ("version", "debug")]
    if options:
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        yield f"## {context.command_path}\n\n`{usage}`\n\n{' '.join((command.help or '').split())}"
        yield "\n".join(["| option | default | |", "|---|---|---|", *(_row(each, context) for each in options)])
    for name, each in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _parts(each, click.Context(each, parent=context, info_name=name))


def _row(option: click.Option, context: click.Context) -> str:
    words, told = option.get_help_record(context) or ("", "")
    default = re.search(r"\s*\[(?:default: )?([^\]]*)\]$", told)
    cells = (f"`{words}`", default[1] if default else "", told[: default.start()] if default else told)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
