"""The options of a command, made from the dataclasses that declare them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

import click

from stylebatch.console.arguments import PATH, Typed, number
from stylebatch.console.terminal import as_typed
from stylebatch.options import Option, Options, options_of

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Options = TypeVar("_Options", bound=Options)


def declared_options(kind: type[Options], *names: str) -> Callable[[_Function], _Function]:
    """One option for each field of `kind`, or for those named. Where it is not given it is None, as `take` knows."""

    def decorate(function: _Function) -> _Function:
        hints, declared = get_type_hints(kind), options_of(kind)
        for name in reversed(names or tuple(declared)):
            function = _option(name, declared[name], hints[name], getattr(kind, name, None))(function)
        return function

    return decorate


def take(kind: type[_Options], values: dict[str, Any]) -> _Options:
    """Take the fields of `kind` out of what a command was given.

    Raises:
        StylebatchError: a value is refused.
    """
    given = {name: values.pop(name, None) for name in options_of(kind)}
    return kind(**{name: value for name, value in given.items() if value is not None})


def option_name(field_name: str) -> str:
    """`style_size` → `--style-size`."""
    return as_typed(f"`{field_name}`")


def _option(name: str, declared: Option, hint: Any, default: Any) -> Callable[[_Function], _Function]:
    words = option_name(name)
    shown = declared.unset if default is None else f"{default:g}" if isinstance(default, float) else str(default)
    if isinstance(default, bool):
        words += f"/--no-{words[2:]}" if default else ""
        shown = "on" if default else ""
    text = as_typed(declared.help) + (f"  [default: {shown}]" if shown else "")
    kind, metavar = _type(declared, next((each for each in get_args(hint) if each is not NoneType), hint))
    settings: dict[str, Any] = {"is_flag": True} if kind is bool else {"type": kind, "metavar": declared.metavar or metavar}
    if declared.switch:  # click takes what stands alone or before another option for `flag_value`
        settings |= {"is_flag": False, "flag_value": "1", "metavar": f"[{settings['metavar']}]"}
    return click.option(*filter(None, (declared.short, words)), default=None, help=text, **settings)


def _type(declared: Option, kind: Any) -> tuple[Any, str | None]:
    """What reads the value of an option, and what stands for it in the usage."""
    if declared.parse:
        return Typed(declared.parse), None
    if declared.choices and not declared.metavar:
        return click.Choice(declared.choices), None
    if kind in (int, float):
        return number(kind, declared.unit), "PX" if declared.unit == "px" else "N" if kind is int else "X"
    return (PATH if kind is Path else kind), None
