"""What reaches a terminal: lines that command nothing, on streams that may be missing, closed, or of another encoding."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import traceback
import unicodedata
from contextlib import suppress
from types import TracebackType
from typing import Any

from stylebatch.errors import OutputError
from stylebatch.options import OPTION_NAMES

#: Of Unicode's categories: characters that command a terminal, end a line, or are no text.
_COMMANDING = ("Cc", "Cs", "Zl", "Zp")
_OPTION = re.compile(r"`([a-z_]+)`")
#: What shows text in another order than it has.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def as_typed(text: str) -> str:
    """Messages name an option as Python does, `keep_work_size`; a person types --keep-work-size. Other words in backticks,
    which may be names of files, stay."""
    return _OPTION.sub(lambda said: f"--{said[1].replace('_', '-')}" if said[1] in OPTION_NAMES else said[0], text)


def printable(text: str) -> str:
    """Text as one line that can be shown: names of files may hold line breaks, escape sequences, bytes that are no text."""
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in _COMMANDING or character in _TURNING:
        return character.encode("unicode_escape").decode()
    return character


def say(*lines: str) -> None:
    """Each as one line on standard output."""
    if lines:
        put("\n".join(printable(as_typed(line)) for line in lines))


def put(text: str) -> None:
    """Text of our own on standard output. That its reader has left is no failure.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's end would try once more
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"standard output: cannot be written: {error.strerror}") from None


def put_json(told: Any) -> None:
    """JSON values on standard output. Reasons name options as they are typed; paths stay as they are."""
    typed = json.loads(json.dumps(told), object_hook=lambda held: {**held, **_typed_reason(held)})
    put(json.dumps(typed, indent=2))


def _typed_reason(held: dict[str, Any]) -> dict[str, str]:
    return {"reason": as_typed(held["reason"])} if isinstance(held.get("reason"), str) else {}


def tell(line: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{printable(as_typed(line))}\n")


def open_streams() -> None:
    """Have all three streams, here and in programs that are started: what is opened next would get a closed one's number,
    and with it what libraries print. Text that the encoding does not have is escaped."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is sys.__stderr__:  # and no test's
        sys.stderr = _Lasting(sys.stderr)
        sys.excepthook = _tell_traceback
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), "utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def silence_libraries() -> None:
    """What libraries in C print of damaged files names none. Python's own messages still come."""
    if isinstance(sys.stderr, _Lasting):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)


def _tell_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        tell(line)


def stderr_descriptor() -> int | None:
    """The descriptor of standard error, for a program that is started; None if it is the usual one."""
    return sys.stderr.fileno() if isinstance(sys.stderr, _Lasting) else None


class _Lasting(io.TextIOWrapper):
    """Standard error on a descriptor of its own. Its reader may leave, or its disk be full: the work goes on."""

    def __init__(self, stream: io.TextIOWrapper | None) -> None:
        encoding = "utf-8" if stream is None else stream.encoding
        super().__init__(
            io.BufferedWriter(io.FileIO(os.dup(2), "w")), encoding, errors="backslashreplace", line_buffering=True
        )

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()
