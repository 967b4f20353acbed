"""Ctrl-C and SIGTERM: the first asks to finish what is in flight, the second stops at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Call it: has a signal asked to stop? `signal` is its number, 0 if none came."""

    signal = 0

    def __call__(self) -> bool:
        return bool(self.signal)

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that ended on this signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Within the block signals only raise the flag; a second one raises KeyboardInterrupt. For the main thread."""
    interrupt = Interrupt()

    def handle(number: int, _: FrameType | None) -> None:
        if interrupt.signal:
            raise KeyboardInterrupt
        interrupt.signal = number

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
