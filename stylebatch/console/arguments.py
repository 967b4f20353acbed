"""What people type: paths, values with their units, and the right command where another was meant."""

from __future__ import annotations

import difflib
import itertools
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from stylebatch.console.terminal import as_typed, open_streams, printable

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class PathType(click.Path):
    """A path; an empty one, as a script gives whose variable is not set, is not taken for this folder.

    Args:
        path_type: `str` keeps a separator at the end.
    """

    def __init__(self, path_type: type[Path] | type[str] = Path) -> None:
        super().__init__(path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = PathType()
#: Of which a separator at the end says that it is a folder.
WORD = PathType(str)


class Typed(click.ParamType):  # type: ignore[type-arg]  # click before 8.5 has no such argument
    """What a function makes of what is typed; its ValueError says what is wrong with that."""

    name = "text"

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def number(kind: type[int] | type[float], unit: str = "") -> Typed:
    """A number, with its unit if people write it: 1024 or 1024px; 0.5 or 50%."""

    def parse(text: str) -> int | float:
        bare = text.strip().lower().removesuffix(unit).strip()
        try:
            return kind(bare) / 100 if unit == "%" in text else kind(bare)
        except ValueError:
            raise ValueError(f"{text!r} is no {'whole ' if kind is int else ''}number") from None

    return Typed(parse)


class Commands(click.Group):
    """A group that says, of what is no command of it, which one was meant.

    Args:
        command_for: the name of the command that takes a file or folder, None for neither.
    """

    def __init__(self, *args: Any, command_for: Callable[[Path], str | None] = lambda _: None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._command_for = command_for

    def main(self, *args: Any, **options: Any) -> Any:
        open_streams()
        return super().main(*args, **options)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        with _printable_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _printable_errors():
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption as error:
            holders = [name for name, command in self.commands.items() if _takes(command, error.option_name)]
            if not holders:
                raise
            meant = next(filter(None, map(self._command_for, map(Path, args))), holders[0])
            command = f"{ctx.command_path} {meant if meant in holders else holders[0]} {shlex.join(args)}"
            raise click.UsageError(f"{error.option_name} comes after a command: {command}", ctx) from None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            meant = self._command_for(Path(args[0]))
            if meant:
                ctx.fail(f"a command is missing before {args[0]!r}: {ctx.command_path} {meant} {shlex.join(args)}")
            near = difflib.get_close_matches(args[0].casefold(), self.commands, n=1)
            hint = f"Did you mean {ctx.command_path} {near[0]}?" if near else f"Choose from {', '.join(self.commands)}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, _with_amounts(command, rest) if command else rest


@contextmanager
def _printable_errors() -> Iterator[None]:
    """What was typed is repeated in errors, and may be names that a shell put there."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = printable(as_typed(error.message))
        raise


def _with_amounts(command: click.Command, args: list[str]) -> list[str]:
    """Options that may stand alone, before what is no number: `--preserve-color in out` is `--preserve-color=1 in out`."""
    alone = {
        word for each in command.params if isinstance(each, click.Option) and each.flag_value == "1" for word in each.opts
    }
    given: list[str] = []
    for place, (word, following) in enumerate(itertools.pairwise([*args, ""])):
        if word == "--":
            return [*given, *args[place:]]
        given.append(word if word not in alone or following.strip(" %").replace(".", "", 1).isdigit() else f"{word}=1")
    return given


def _takes(command: click.Command, option: str) -> bool:
    return any(option in (*parameter.opts, *parameter.secondary_opts) for parameter in command.params)
