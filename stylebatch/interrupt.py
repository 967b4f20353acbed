"""Ctrl-C, SIGTERM and a closed terminal. The first signal asks the program to finish what is in flight, for which it has a
moment; the second one stops it at once."""

from __future__ import annotations

import math
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeVar

from stylebatch.system import HANGUP

#: Signals that stop the program at once when they come twice. A closed terminal's often comes twice by itself.
_URGENT = (signal.SIGINT, signal.SIGTERM)
#: Seconds that what is in flight has to finish.
GRACE = 1.5
#: Seconds after which a waiting program looks again whether it is to stop.
POLL = 0.1

_Result = TypeVar("_Result")


class Interrupt:
    """Call it: has a signal asked to stop?

    Attributes:
        signal: its number, 0 if none came.
        left_behind: a job did not end in time, and still runs: it waits for a disk, a device or a decoder, or computes.
    """

    signal = 0
    left_behind = False

    def __call__(self) -> bool:
        return bool(self.signal)

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that ended on this signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal

    def wait_for(self, job: Callable[[], _Result]) -> _Result | None:
        """Do a job in a thread of its own, so that it delays no signal. None if it is left behind, `GRACE` seconds after the
        first signal or at the second."""
        outcome: Future[_Result] = Future()

        def work() -> None:
            try:
                outcome.set_result(job())
            except BaseException as error:
                outcome.set_exception(error)

        deadline = math.inf
        with suppress(KeyboardInterrupt):
            threading.Thread(target=work, name="job", daemon=True).start()
            while not outcome.done() and time.monotonic() < deadline:
                wait([outcome], POLL)
                if self():
                    deadline = min(deadline, time.monotonic() + GRACE)
        self.left_behind = not outcome.done()
        return None if self.left_behind else outcome.result()


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Within the block the first signal is only noted, and the second one raises KeyboardInterrupt. For the main thread."""
    interrupt = Interrupt()
    # Python's handler is called once for two signals during one long computation. The wake-up socket gets a byte for each.
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

    numbers = [*_URGENT, *(number for number in HANGUP if signal.getsignal(number) != signal.SIG_IGN)]  # nohup ignores it
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
