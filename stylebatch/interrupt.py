"""Ctrl-C, SIGTERM and a closed terminal: the first asks to finish what is in flight, a second one stops at once."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

#: Those that mean more when they come twice, and the one of a closed terminal, which often comes twice by itself.
_URGENT = (signal.SIGINT, signal.SIGTERM)
_HANGUP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()


class Interrupt:
    """Call it: has a signal asked to stop? `signal` is its number, 0 if none came."""

    signal = 0

    def __call__(self) -> bool:
        return bool(self.signal)

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that ended on this signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Within the block signals only raise the flag; a second one raises KeyboardInterrupt. For the main thread."""
    interrupt = Interrupt()
    # Two signals during one long computation call Python's handler once. The wake-up socket has a byte for each.
    arrived, wake_up = socket.socketpair()
    arrived.setblocking(False)
    wake_up.setblocking(False)
    count = 0

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal count
        interrupt.signal = interrupt.signal or number
        with suppress(BlockingIOError):
            count += sum(byte in _URGENT for byte in arrived.recv(4096))
        if count > 1:
            raise KeyboardInterrupt

    numbers = [*_URGENT, *(number for number in _HANGUP if signal.getsignal(number) != signal.SIG_IGN)]  # nohup ignores it
    previous = {number: signal.signal(number, handle) for number in numbers}
    descriptor = signal.set_wakeup_fd(wake_up.fileno(), warn_on_full_buffer=False)
    try:
        yield interrupt
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in previous.items():
            signal.signal(number, handler)
        arrived.close()
        wake_up.close()
