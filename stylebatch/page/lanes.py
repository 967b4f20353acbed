"""Work for pictures that somebody waits for: one after another, and only while somebody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

_Result = TypeVar("_Result")


class GivenUp(Exception):  # noqa: N818 (no fault)
    """Nobody waits for it any more."""


class Lane:
    """One thread, in which work is done in the order in which it was asked for.

    Args:
        most: how much may wait; more is refused.
    """

    def __init__(self, most: int = 64) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stylebatch-lane")
        self._newest: dict[str, asyncio.Event] = {}
        self._most = most
        self.waiting = 0

    async def do(self, request: Request, work: Callable[[Callable[[], bool]], _Result], key: str = "") -> _Result:
        """What `work` returns. It gets a function that tells whether it may give up, by raising `GivenUp`.

        Args:
            request: whose connection is watched: when it is closed, the work is given up. Its body has been read.
            key: whose work it is and for what: newer work of the same key takes the place of older. Empty: of none.

        Raises:
            HTTPException: 409 if newer work took its place, 429 if too much waits, 499 if the client has gone.
        """
        if self.waiting >= self._most:
            raise HTTPException(429, "too many pictures are waited for at once; ask again later")
        given_up = asyncio.Event()
        if key:
            if older := self._newest.get(key):
                older.set()
            self._newest[key] = given_up
        gone = asyncio.create_task(_until_gone(request, given_up))
        self.waiting += 1

        def unless_given_up() -> _Result:
            if given_up.is_set():
                raise GivenUp
            return work(given_up.is_set)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, unless_given_up)
        except GivenUp:
            if gone.done():
                raise HTTPException(499, "the client has gone") from None
            raise HTTPException(409, "a newer request took the place of this one") from None
        finally:
            self.waiting -= 1
            gone.cancel()
            if key and self._newest.get(key) is given_up:
                del self._newest[key]

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def _until_gone(request: Request, given_up: asyncio.Event) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    given_up.set()
