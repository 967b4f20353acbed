"""Pictures decoded ahead of the network, by processes that hand them over through pipes.

Pipes work everywhere; shared memory is small in containers, read-only in sandboxes, and does not tell that it is full. Each
process is a fresh interpreter, without the locks, the threads and the `__main__` of the program that starts it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from stylebatch.interrupt import POLL
from stylebatch.messages import packed, receive_message, write_message
from stylebatch.system import start_apart

_PROGRAM = "import sys; sys.path[:] = {path}; from stylebatch.workers import main; main()"
#: Seconds that a process has to start.
_START_WITHIN = 60

_Key = TypeVar("_Key")
_KeyIn = TypeVar("_KeyIn", contravariant=True)
_Sample = TypeVar("_Sample")
_SampleOut = TypeVar("_SampleOut", covariant=True)


class Decodes(Protocol[_KeyIn, _SampleOut]):
    """Gives samples by key. It, its keys and its samples can be pickled: other processes ask it. If it has a method
    `finish`, that makes samples, in this process, of what it gives in another one."""

    def __getitem__(self, key: _KeyIn, /) -> _SampleOut: ...


def decoded(
    source: Decodes[_Key, _Sample],
    groups: Iterable[list[_Key]],
    *,
    workers: int | Pool,
    ahead: int,
    lost: Callable[[_Key, str], _Sample],
    stop: Callable[[], bool] = lambda: False,
) -> Generator[list[_Sample], None, None]:
    """The samples of each group of keys, in order.

    A process that takes too much memory may be killed by the system. Then another takes its place, and its picture is tried
    once more, alone.

    Args:
        workers: processes, started when they are needed; 0 decodes in this process. Or a pool of them with this source.
        ahead: how many samples may be in the making or wait; at least one group is.
        lost: makes what takes the place of a sample that cannot be had, from its key and the reason.
        stop: asked while it waits; True ends the samples there.

    Raises:
        What `source` raises.
    """
    if not workers:
        yield from ([source[key] for key in group] for group in groups)
        return
    pool = workers if isinstance(workers, Pool) else Pool(source, workers)
    waiting: deque[list[tuple[_Key, Future[_Sample]]]] = deque()
    remaining = iter(groups)
    try:
        while True:
            while sum(map(len, waiting)) < ahead and (group := next(remaining, None)) is not None:
                waiting.append([(key, pool.submit(key)) for key in group])
            if not waiting:
                return
            samples = []
            for key, future in waiting[0]:
                _until_done([future], stop)
                if isinstance(future.exception(), _LostError):
                    _until_done([other for each in waiting for _, other in each], stop)
                    future = pool.submit(key)
                    _until_done([future], stop)
                failed = future.exception()
                samples.append(lost(key, str(failed)) if isinstance(failed, _LostError) else future.result())
            waiting.popleft()
            yield samples
    except _StoppedError:
        return
    finally:
        if pool is not workers:
            pool.close()


def _until_done(futures: list[Future[Any]], stop: Callable[[], bool]) -> None:
    while wait(futures, POLL).not_done:
        if stop():
            raise _StoppedError


def end_all() -> None:
    """Kill every process at once."""
    for pool in list(_pools):
        pool.close()


class _StoppedError(Exception):
    """It was asked to stop while it waited."""


class _LostError(Exception):
    """A process ended before it had answered."""


class Pool:
    """Threads, each with a process that it asks. Where no process can be started, the threads decode."""

    def __init__(self, source: Decodes[Any, Any], workers: int) -> None:
        self.size = workers
        self._source = source
        self._finish: Callable[[Any], Any] = getattr(source, "finish", lambda sample: sample)
        self._tasks: SimpleQueue[tuple[Any, Future[Any]] | None] = SimpleQueue()
        self._processes: set[Process] = set()
        self._lock = threading.Lock()
        self._alone = False
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name="decode", daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()
        _pools.add(self)

    def submit(self, key: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._tasks.put((key, future))
        return future

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.kill()
        for _ in self._threads:
            self._tasks.put(None)

    def _work(self) -> None:
        process: Process | None = None
        while (task := self._tasks.get()) is not None and not self._closed:
            key, future = task
            try:
                process = process or self._start()
                sample, error = process.ask(key) if process else _asked(self._source, key)
            except (EOFError, OSError, MemoryError) as failed:
                self._end(process)
                process, sample, error = None, None, _LostError(_why(failed))
            if error is None:
                future.set_result(self._finish(sample))
            else:
                future.set_exception(error)
            del sample, future, task
        self._end(process)

    def _start(self) -> Process | None:
        if self._alone:
            return None
        try:
            process = Process(self._source)
        except Exception as error:
            with self._lock:
                if not (self._alone or self._closed):
                    logging.getLogger("stylebatch").warning(
                        "no process can be started to decode pictures (%s): they are decoded one after the other",
                        error or type(error).__name__,
                    )
                self._alone = True
            return None
        with self._lock:
            self._processes.add(process)
            if self._closed:
                process.kill()
        return process

    def _end(self, process: Process | None) -> None:
        if process is not None:
            with self._lock:
                self._processes.discard(process)
            process.end()


_pools: WeakSet[Pool] = WeakSet()


def _why(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    return "the process that decoded it was killed; it may take more memory than there is"


class Process:
    """A process that answers keys with the samples of a source.

    Raises:
        Exception: it cannot be started.
    """

    def __init__(self, source: Decodes[Any, Any]) -> None:
        message = packed(source)
        if not sys.executable or getattr(sys, "frozen", False):
            raise OSError("the program is no Python interpreter")
        program = _PROGRAM.format(path=ascii([str(path) for path in sys.path]))
        utf8 = ["-X", "utf8"] if sys.flags.utf8_mode else []
        self._popen = start_apart([sys.executable, "-P", *utf8, "-c", program])
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._requests, self._replies = self._popen.stdin, self._popen.stdout
        try:
            # Where `sys.executable` is another program, as in web servers, it may do anything.
            limit = threading.Timer(_START_WITHIN, self.kill)
            limit.daemon = True
            limit.start()
            write_message(self._requests, message)
            receive_message(self._replies)
            limit.cancel()
        except BaseException:
            self.end()
            raise

    def ask(self, key: Any) -> tuple[Any, Exception | None]:
        """The sample, or what the source raised.

        Raises:
            EOFError, OSError: the process has ended.
            MemoryError: there is no room here for the sample.
        """
        write_message(self._requests, packed(key))
        answer: tuple[Any, Exception | None] = receive_message(self._replies)
        return answer

    def kill(self) -> None:
        self._popen.kill()

    def end(self) -> None:
        """Kill it, wait for its end and close its pipes."""
        self.kill()
        self._popen.wait()
        for pipe in (self._requests, self._replies):
            with suppress(OSError):
                pipe.close()


def main() -> None:
    """What the process does: it answers what comes on stdin. When that is closed it ends at once."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get into the replies
    source = receive_message(requests)
    write_message(replies, packed(None))
    keys: SimpleQueue[Any] = SimpleQueue()

    def listen() -> None:
        with suppress(EOFError):
            while True:
                keys.put(receive_message(requests))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        write_message(replies, packed(_asked(source, keys.get())))


def _asked(source: Decodes[Any, Any], key: Any) -> tuple[Any, Exception | None]:
    try:
        return source[key], None
    except Exception as error:
        return None, error
