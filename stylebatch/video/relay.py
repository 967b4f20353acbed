"""Work that goes on in many threads, whose results come in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue
from threading import Thread
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Relay(Generic[_Item]):
    """A thread that takes what it is promised, one after the other, in the order of the promises.

    Args:
        take: is given each result.
        ahead: how many promises may wait; `put` waits while there are as many.

    Attributes:
        error: what `take` or what was promised has raised; nothing after that is taken.
        waited: seconds that the thread had nothing to do.
    """

    def __init__(self, take: Callable[[_Item], None], ahead: int) -> None:
        self.error: Exception | None = None
        self.waited = 0.0
        self._take = take
        self._queue: Queue[Future[_Item] | None] = Queue(ahead)
        self._thread = Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def put(self, promise: Future[_Item]) -> None:
        self._queue.put(promise)

    def close(self) -> None:
        """Wait until everything that was promised has been taken."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while True:
            start = time.perf_counter()
            promise = self._queue.get()
            if promise is None:
                return
            if self.error:
                continue
            try:
                item = promise.result()
                self.waited += time.perf_counter() - start
                self._take(item)
                del item, promise  # before it waits for the next
            except Exception as error:  # raised again where frames are added
                self.error = error


def in_order(function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int) -> Iterator[_Result]:
    """The function of each item, computed by so many threads, which are as many items ahead."""
    waiting: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads, "convert")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
