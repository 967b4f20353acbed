"""How sinks of a film end, whatever they write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from queue import Queue
from types import TracebackType
from typing import Self

from stylebatch.errors import OutputError, StylebatchError
from stylebatch.frame import Failure, FrameInfo, Saved
from stylebatch.video.clip import FilmSource


class FilmSink(ABC):
    """A context manager: left without an exception, the film is finished; else what there is of it stays for the next sink
    with the same settings."""

    def __init__(self, source: FilmSource) -> None:
        self.source = source
        self._outcomes: Queue[Saved | Failure | OutputError] = Queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self.release()

    def fail(self, info: FrameInfo, reason: str) -> None:
        """A film has no gaps: raises StylebatchError."""
        raise StylebatchError(f"{self.source.path}: frame {info.index}: {reason}")

    def outcomes(self) -> Iterator[Saved | Failure | OutputError]:
        """Frames that have been written since the last call."""
        while not self._outcomes.empty():
            yield self._outcomes.get()

    def close(self) -> None:
        """Wait until what has come is written, as far as it can be before the end."""
        self._stop()
        self._check()

    @abstractmethod
    def finish(self) -> None:
        """All frames have come."""

    @abstractmethod
    def release(self) -> None:
        """Leave what is unfinished to the next sink."""

    @abstractmethod
    def _stop(self) -> None:
        """Wait for all threads."""

    @abstractmethod
    def _check(self) -> None:
        """Raise what went wrong in a thread."""
