"""Options for a form or a program: described and read by their declarations, as the commands' are."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from stylebatch.errors import StylebatchError
from stylebatch.options import Option, Options, options_of, plain

_Options = TypeVar("_Options", bound=Options)
_TYPES = {bool: "boolean", int: "integer", float: "number"}
_SAID = {bool: "true or false", int: "a whole number", float: "a number"}


def described(kind: type[Options], *left_out: str) -> list[dict[str, Any]]:
    """The options of `kind`, but for those left out, as JSON values: name, type, default, help, range, choices, unit."""
    hints = get_type_hints(kind)
    described = []
    for name, declared in options_of(kind).items():
        if name not in left_out:
            default = getattr(kind, name, None)
            described.append(
                {
                    "name": name,
                    "type": "string" if declared.parse else _TYPES.get(_held(hints[name]), "string"),
                    "default": plain(default),
                    "help": declared.help.replace("`", ""),
                    "unset": declared.unset.replace("`", ""),
                    "choices": [] if declared.parse else list(declared.choices),
                    "least": declared.least,
                    "above": declared.above,
                    "most": declared.most,
                    "unit": declared.unit,
                }
            )
    return described


def read(kind: type[_Options], given: Mapping[str, Any], **further: Any) -> _Options:
    """The options of `kind` that are among what is given: JSON values, or text as it stands in an address. None and empty
    text are the default.

    Args:
        further: fields whose values are known.

    Raises:
        StylebatchError: a value that is of another type, or refused.
    """
    hints = get_type_hints(kind)
    values = {
        name: _value(name, declared, _held(hints[name]), given[name])
        for name, declared in options_of(kind).items()
        if name not in further and given.get(name) not in (None, "")
    }
    return kind(**values, **further)


def check_names(given: Mapping[str, Any], *kinds: type[Options], further: tuple[str, ...] = ()) -> None:
    """Raises StylebatchError if something is given that is no option of these kinds and none of the `further` names."""
    known = {*further, *(name for kind in kinds for name in options_of(kind))}
    if unknown := sorted(set(given) - known):
        raise StylebatchError(f"{unknown[0]}: no such option; there are {', '.join(sorted(known))}")


def _held(hint: Any) -> Any:
    return next((each for each in get_args(hint) if each is not NoneType), hint)


def _value(name: str, declared: Option, kind: type[Any], given: Any) -> Any:
    try:
        if declared.parse:
            return declared.parse(str(given))
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[str(given).lower()]
        if declared.switch and str(given).lower() in ("true", "false"):
            return float(str(given).lower() == "true")
        if kind in (int, float):
            if isinstance(given, bool):
                raise ValueError
            text = str(given).strip().lower()
            bare = text.removesuffix(declared.unit).strip() if declared.unit else text
            return kind(bare) / 100 if declared.unit == "%" and text.endswith("%") else kind(bare)
        if kind in (str, Path, Fraction) and isinstance(given, str):
            return kind(given)
        raise ValueError
    except (ValueError, KeyError) as error:
        told = str(error) if declared.parse else f"{given!r} is not {_SAID.get(kind, 'text')}"
        raise StylebatchError(f"{name.replace('_', ' ')}: {told}") from None
