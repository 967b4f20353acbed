"""Forked processes. A fork lacks the threads that runtimes have started, and would wait for them for ever."""

from __future__ import annotations

import os
from threading import Lock
from typing import Any

from stylebatch.errors import StylebatchError
from stylebatch.workers import Decodes, Process

_home: int | None = None


def can_compute() -> bool:
    """Whether runtimes can compute in this process: it is the first that asked, and not a fork of it."""
    global _home
    if _home is None:
        _home = os.getpid()
    return _home == os.getpid()


class HelperProcess:
    """For each fork, a new process that computes for it.

    Args:
        source: what answers questions in that process.
    """

    def __init__(self, source: Decodes[Any, Any]) -> None:
        self._source = source
        self._process: Process | None = None
        self._owner = 0
        self._lock = Lock()

    def __call__(self, question: Any) -> Any:
        """The answer. Raises what the source raises; StylebatchError if there is none."""
        try:
            with self._lock:
                if self._process is None or self._owner != os.getpid():
                    self._process, self._owner = Process(self._source), os.getpid()
                answer, error = self._process.ask(question)
        except (EOFError, OSError) as lost:
            self._process = None
            raise StylebatchError(
                f"the process that computes for this fork has ended ({lost or 'killed'}): it may take more memory than "
                "there is. Processes that are spawned compute by themselves"
            ) from None
        if error is not None:
            raise error
        return answer
