"""The one error type that a user can meet: what is wrong, where, and what to do."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """What an error of anybody's says, in one line; its kind, if it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class StylebatchError(Exception):
    """Bad input, told in one line without a traceback."""


class OutputError(StylebatchError):
    """The output cannot be written.

    Attributes:
        fatal: nor can anything else: the disk is full, broken or read-only.
    """

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


class BusyError(OutputError):
    """Another run is writing there."""


class TrainingError(StylebatchError):
    """A training that ended without a style; it has said why itself.

    Attributes:
        exit_code: the program's.
    """

    def __init__(self, painting: str, exit_code: int) -> None:
        super().__init__(f"style {painting}: the training ended without a style")
        self.exit_code = exit_code
