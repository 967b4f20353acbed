"""The one error type that a user can meet: what is wrong, where, and what to do."""

from __future__ import annotations


class StylebatchError(Exception):
    """Bad input, told in one line without a traceback."""


class OutputError(StylebatchError):
    """The output cannot be written: a full disk, a read-only folder."""
