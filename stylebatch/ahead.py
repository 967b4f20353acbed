"""Work that threads do ahead of whoever takes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int, ahead: int
) -> Generator[tuple[_Item, Future[_Result]], None, None]:
    """Each item with what `work` makes of it, in their order. At most `ahead` are in work or wait."""
    waiting: deque[tuple[_Item, Future[_Result]]] = deque()
    remaining = iter(items)
    pool = ThreadPoolExecutor(threads, "ahead")
    try:
        while True:
            while len(waiting) < ahead and (item := next(remaining, None)) is not None:
                waiting.append((item, pool.submit(work, item)))
            if not waiting:
                return
            yield waiting.popleft()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
