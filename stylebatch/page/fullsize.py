"""Pictures in full size, one after another, in a process of its own: it can be held while something more urgent is painted,
it ends where nobody waits any more, and its memory is free afterwards. For programs that bring many it stays for a while."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from stylebatch.images.options import ImageOptions
from stylebatch.jobs.job import StylizerOptions
from stylebatch.page.lanes import Turns, Urgency, started, until_gone

#: Seconds without a picture until the process ends.
_STAYS = 20.0
#: Pictures that may wait.
_MOST = 16


class Painter:
    """Of one server.

    Args:
        turns: of whom it is one.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._one = asyncio.Lock()
        self._process: Process | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._waiting = 0

    async def do(self, request: Request, source: Path, folder: Path, paint: StylizerOptions, options: ImageOptions) -> Path:
        """Paint a photograph into a folder, as `stylize_image` does. Gives the result.

        Args:
            request: whose connection is watched: when it is closed, the work ends. Its body has been read.

        Raises:
            HTTPException: 400 for bad input, 429 if too many wait, 499 if the client has gone, 507 without memory or disk.
        """
        if self._waiting >= _MOST:
            raise HTTPException(429, "too many pictures are waited for at once; ask again later")
        asked = {"source": str(source), "folder": str(folder), "paint": paint.as_dict(), "options": options.as_dict()}
        self._waiting += 1
        painting = asyncio.create_task(self._paint(json.dumps(asked).encode()))
        watching = asyncio.create_task(until_gone(request))
        try:
            await asyncio.wait((painting, watching), return_when=asyncio.FIRST_COMPLETED)
            if not painting.done():
                raise HTTPException(499, "the client has gone")
            return painting.result()
        finally:
            self._waiting -= 1
            watching.cancel()
            painting.cancel()
            with suppress(asyncio.CancelledError, HTTPException):
                await painting

    async def _paint(self, asked: bytes) -> Path:
        async with self._one:
            process = self._process = await self._started()
            assert process.stdin
            assert process.stdout
            try:
                with self._turns.of_process(Urgency.SAVE, process):
                    with suppress(OSError):
                        process.stdin.write(asked + b"\n")
                        await process.stdin.drain()
                    line = await process.stdout.readline()
            except asyncio.CancelledError:
                self.close()
                await process.wait()
                raise
            self._ending = asyncio.get_running_loop().call_later(_STAYS, self.close)
        told = json.loads(line or b"{}")
        if "fault" in told:
            raise RuntimeError(told["fault"])
        if "result" in told:
            return Path(told["result"])
        raise HTTPException(told.get("status", 507), told.get("error", "the painting took more memory than there is"))

    async def _started(self) -> Process:
        if self._ending:
            self._ending.cancel()
        if self._process and self._process.returncode is None:
            return self._process
        return await started("stylebatch.page.painting")

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process and self._process.returncode is None:
            self._process.kill()
        self._process = None

    async def end(self) -> None:
        """`close`, and wait until it has ended and its pipes are closed: once the loop is, they could not be."""
        process = self._process
        self.close()
        async with self._one:
            if process:
                await process.communicate()
