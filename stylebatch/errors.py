"""The one error type that a user can meet: what is wrong, where, and what to do."""

from __future__ import annotations


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
