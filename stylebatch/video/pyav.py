"""Where PyAV's versions differ: opening a file, and its rational numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

#: Tags that are not UTF-8 must not keep a film from opening. PyAV 18 takes the way of decoding them as an argument; from 19
#: on they always come as surrogates, and there is no such argument.
_LENIENT: dict[str, Any] = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}


def open_input(path: str) -> InputContainer:
    """Open a file for reading, whatever the encoding of its tags. Raises what `av.open` raises."""
    container: InputContainer = av.open(path, **_LENIENT)
    return container


def readable(tags: dict[str, str]) -> dict[str, str]:
    """Tags as text, with U+FFFD for what is not UTF-8: containers are written in UTF-8."""
    return {_text(key): _text(value) for key, value in tags.items()}


def _text(tag: str) -> str:
    return tag.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def fraction(value: Any) -> Fraction | None:
    """A rate, ratio or time base as a `Fraction`; None if it is not set or no number.

    PyAV 18 has `Fraction` or None; 19 has an `AVRational`, which is false when unset and whose arithmetic rounds to 32 bits.
    """
    return Fraction(value.numerator, value.denominator) if value else None
