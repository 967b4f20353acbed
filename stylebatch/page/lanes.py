"""Heavy work, one piece at a time, by its urgency: a slider that moves, a picture to look at, one in full size, a job.

Who computes has the turn. What is more urgent takes it at once from a process, which is held where it is, and from a thread
at its next `Check`, between layers or bands of rows. So nobody waits for a job, and a job has all that is left.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from threading import Condition
from typing import TypeAlias, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from stylebatch.system import hold, let_go_on

_HOME = Path(__file__).parent.parent.parent
_Result = TypeVar("_Result")
#: Lets more urgent work go first. Raises `GivenUp` if nobody waits for this one any more.
Check: TypeAlias = Callable[[], None]


class GivenUp(Exception):  # noqa: N818 (no fault)
    """Nobody waits for it any more."""


class Urgency(IntEnum):
    """From the most urgent on."""

    DRAFT = 0
    LOOK = 1
    SAVE = 2
    JOB = 3


@dataclass(eq=False)
class _Turn:
    """`process`: None for a thread's."""

    urgency: Urgency
    process: Process | None = None


class Turns:
    """Who computes now. Threads and the event loop share it."""

    def __init__(self) -> None:
        self._change = Condition()
        self._wanted: list[_Turn] = []
        self._now: _Turn | None = None

    @contextmanager
    def of_thread(self, urgency: Urgency) -> Iterator[Callable[[], None]]:
        """Waits until it is this thread's turn. Gives a function that lets more urgent work go first."""
        turn = _Turn(urgency)

        def give_way() -> None:
            with self._change:
                if self._now is turn and self._first() is not turn:
                    self._now = None
                self._pass_on()
                self._change.wait_for(lambda: self._now is turn)

        with self._change:
            self._wanted.append(turn)
        try:
            give_way()
            yield give_way
        finally:
            self._end(turn)

    @contextmanager
    def of_process(self, urgency: Urgency, process: Process) -> Iterator[Callable[[], None]]:
        """Within the block a process, the leader of a group, is held whenever it is not its turn. Gives a function that ends
        that: it goes on beside the others."""
        turn = _Turn(urgency, process)
        with self._change:
            self._wanted.append(turn)
            self._pass_on()
            if self._now is not turn:
                _signal(hold, process)
        try:
            yield lambda: self._end(turn)
        finally:
            self._end(turn)

    def ahead_of(self, process: Process) -> Urgency | None:
        """What a process is held for; None if it is not held."""
        with self._change:
            held = any(turn.process is process and turn is not self._now for turn in self._wanted)
            return self._now.urgency if held and self._now else None

    def _first(self) -> _Turn | None:
        return min(self._wanted, key=lambda turn: turn.urgency, default=None)

    def _pass_on(self) -> None:
        first = self._first()
        if self._now and self._now is not first and self._now.process:
            _signal(hold, self._now.process)
            self._now = None
        if first and not self._now:
            self._now = first
            if first.process:
                _signal(let_go_on, first.process)
            self._change.notify_all()

    def _end(self, turn: _Turn) -> None:
        with self._change:
            if turn not in self._wanted:
                return
            self._wanted.remove(turn)
            if turn.process and self._now is not turn:
                _signal(let_go_on, turn.process)
            if self._now is turn:
                self._now = None
            self._pass_on()


async def started(module: str) -> Process:
    """A process of a module that is driven by lines, the leader of a group."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-X", "utf8", "-m", module, cwd=_HOME, process_group=0, limit=2**24,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "OMP_WAIT_POLICY": "ACTIVE"},
    )  # fmt: skip


def _signal(how: Callable[[int], None], process: Process) -> None:
    if process.returncode is None:
        how(process.pid)


class Lane:
    """One thread, in which work of one urgency is done in the order in which it was asked for.

    Args:
        most: how much may wait; more is refused.
    """

    def __init__(self, turns: Turns, urgency: Urgency, most: int = 64) -> None:
        self._turns = turns
        self._urgency = urgency
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"stylebatch-{urgency.name.lower()}")
        self._newest: dict[str, asyncio.Event] = {}
        self._most = most
        self.waiting = 0

    async def do(self, request: Request, work: Callable[[Check], _Result], key: str = "") -> _Result:
        """What `work` returns.

        Args:
            request: whose connection is watched: when it is closed, the work is given up. Its body has been read.
            key: whose work it is and for what: newer work of the same key takes the place of older. A draft that has begun
                is shown all the same, or newer and newer ones would leave nothing to see. Empty: of none.

        Raises:
            HTTPException: 409 if newer work took its place, 429 if too much waits, 499 if the client has gone.
        """
        if self.waiting >= self._most:
            raise HTTPException(429, "too many pictures are waited for at once; ask again later")
        replaced = asyncio.Event()
        if key:
            if older := self._newest.get(key):
                older.set()
            self._newest[key] = replaced
        gone = asyncio.create_task(until_gone(request))
        self.waiting += 1

        def in_turn() -> _Result:
            with self._turns.of_thread(self._urgency) as give_way:

                def check() -> None:
                    give_way()
                    if gone.done() or (replaced.is_set() and self._urgency > Urgency.DRAFT):
                        raise GivenUp

                if replaced.is_set():
                    raise GivenUp
                check()
                return work(check)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, in_turn)
        except GivenUp:
            if gone.done():
                raise HTTPException(499, "the client has gone") from None
            raise HTTPException(409, "a newer request took the place of this one") from None
        finally:
            self.waiting -= 1
            gone.cancel()
            if key and self._newest.get(key) is replaced:
                del self._newest[key]

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def until_gone(request: Request) -> None:
    """Ends when a connection is closed whose request has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
