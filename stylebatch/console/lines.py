"""A program that another one drives, by lines of JSON: what is asked comes on standard input, what is done goes to standard
output. A further line, or the end of the input, asks to stop."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from stylebatch.errors import BusyError, StylebatchError
from stylebatch.system import go_on_without_parent, keep_freed_memory, let_go_on

#: Seconds between two lines of progress.
_EVERY = 0.2


class Driven:
    """The streams of such a program.

    Attributes:
        asked: the first line.
    """

    def __init__(self) -> None:
        go_on_without_parent()
        self.asked = sys.stdin.readline()
        self._stop = threading.Event()
        self._told_at = 0.0
        threading.Thread(target=self._listen, daemon=True).start()

    def stop(self) -> bool:
        """Whether it is to stop."""
        return self._stop.is_set()

    def tell(self, **told: Any) -> None:
        """One line."""
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    def tell_now_and_then(self, told: Callable[[], dict[str, Any]]) -> None:
        """A line, but no more than five a second."""
        if time.monotonic() - self._told_at >= _EVERY:
            self._told_at = time.monotonic()
            self.tell(**told())

    def _listen(self) -> None:
        sys.stdin.readline()
        self._stop.set()
        let_go_on(os.getpid())  # its own processes, held with it, where whoever held them has ended


def driven(job: Callable[[Driven], dict[str, Any]]) -> None:
    """Do a job, in the time that nobody at a screen needs. The last line has its `summary`, or an `error`, and whether that
    was a `busy` output."""
    keep_freed_memory()
    if hasattr(os, "nice"):
        os.nice(10)
    streams = Driven()
    try:
        streams.tell(summary=job(streams))
    except (StylebatchError, MemoryError) as error:
        streams.tell(error=str(error) or "not enough memory", busy=isinstance(error, BusyError))
