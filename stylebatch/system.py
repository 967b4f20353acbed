"""What one operating system has and another lacks. No other module asks which one this is.

What the program does on Windows is simulated by the tests, and was never tried there.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

#: For `os.open`: bytes are kept as they are, links are not followed, and nobody is waited for at the other end of a FIFO.
PLAIN_FILE = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
#: Whether a file can be replaced and removed while it is open.
REPLACES_OPEN_FILES = sys.platform != "win32"
#: What Linux grants a pipe of any user; by default it is a sixteenth.
_PIPE_BYTES = 1 << 20

if sys.platform == "win32":
    #: The signals that a closed terminal sends.
    HANGUP: tuple[signal.Signals, ...] = ()

    def start_apart(command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
        )  # fmt: skip

    def pass_on(process: subprocess.Popen[str], number: int) -> None:
        """The console has sent it to all of its processes."""

    def hold(leader: int) -> None:
        """Nothing holds a process here: it goes on, at its low priority."""

    def let_go_on(leader: int) -> None:
        """None was held."""

    def go_on_without_parent() -> None:
        """None was held."""

    def sync_folder(folder: Path) -> None:
        """A rename needs no such call."""

    def after_fork(function: Callable[[], None]) -> None:
        """There are no forks."""

    def address_space() -> int | None:
        return None

else:
    import fcntl
    import resource

    HANGUP = (signal.SIGHUP,)

    def start_apart(command: list[str]) -> subprocess.Popen[bytes]:
        """Start a program with pipes to its input and from its output. What a terminal or a scheduler sends to all processes
        does not reach it: that is for this process to decide on."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, *HANGUP})
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )  # which inherits the mask
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if sys.platform == "linux" and process.stdout:
            with suppress(OSError):
                fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return process

    def pass_on(process: subprocess.Popen[str], number: int) -> None:
        """Send a signal to a process that was started in a session of its own."""
        process.send_signal(number)

    def hold(leader: int) -> None:
        """Hold a group of processes where they are, until `let_go_on`. Should this process end meanwhile, a leader that has
        called `go_on_without_parent` goes on."""
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGSTOP)

    def let_go_on(leader: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGCONT)

    def go_on_without_parent() -> None:
        """Let this process go on when its parent ends while it holds it. Kernels do so by themselves, with SIGHUP, where
        nobody is left who could; but the first process of a container counts as somebody."""
        if sys.platform == "linux":
            import ctypes

            set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl.h
            ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGCONT)

    def sync_folder(folder: Path) -> None:
        """Have a folder's names on the disk. Raises OSError."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def after_fork(function: Callable[[], None]) -> None:
        """Have a function called in every process that is forked from this one."""
        os.register_at_fork(after_in_child=function)

    def address_space() -> int | None:
        """Bytes that this process may still reserve (`ulimit -v`); None if there is no limit."""
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return None
        try:
            return limit - _pages("/proc/self/statm", 0)
        except (OSError, StopIteration):
            return limit


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file for as long as it is open, in this process or a fork of it.

    Returns:
        Whether it is locked now; False if it is by another descriptor.

    Raises:
        OSError: the file system has no locks.
    """
    from filelock import lock_descriptor  # imported when it is needed: it takes 25 ms

    return lock_descriptor(descriptor, blocking=wait)


def data_folder() -> Path:
    """Where this program keeps a user's own styles."""
    from platformdirs import user_data_path

    return user_data_path("stylebatch", appauthor=False)


def umask() -> int:
    """The process's umask, read without changing it where the system tells."""
    try:
        return next(int(line.split()[1], 8) for line in _lines("/proc/self/status") if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return 0o022


#: At most so many cores are used, where others have work for the rest.
_share: int | None = None


def cores() -> int:
    """Cores that this process may use, which containers and schedulers limit."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, _share or there)


def share_cores(count: int) -> None:
    """Use no more than so many cores from now on."""
    global _share
    _share = count


def free_memory() -> int | None:
    """Bytes of main memory that this process could still fill, what it keeps for itself included; None where the system is
    not Linux."""
    try:
        status = {line.split()[0]: int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo")}
        free = status["MemAvailable:"] + _pages("/proc/self/statm", 1)
    except (OSError, StopIteration):
        return None
    with suppress(OSError, ValueError, StopIteration):  # a container's own limit
        free = min(free, int(next(_lines("/sys/fs/cgroup/memory.max"))))
    return free


def keep_freed_memory(keep: bool = True) -> None:
    """Let the C library keep what the network frees, for all of this process, instead of giving it back; or no longer, from
    now on.

    A network's activations are large: by default glibc maps and unmaps each, and the kernel clears every page anew. Kept,
    a 1024×1024 picture takes 1.9 s instead of 3.6 s on two cores, a training step 6% less, for up to 1.7 times the peak
    memory. What is computed in bands gains nothing: 24 megapixels take as long, and 3.3 GB instead of 2.5. Other C libraries
    are left alone.
    """
    import ctypes

    mmap_max, trim_threshold = -4, -1  # M_MMAP_MAX, M_TRIM_THRESHOLD of malloc.h
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(mmap_max, 0 if keep else 1 << 16)
        libc.mallopt(trim_threshold, -1 if keep else 1 << 17)


def _pages(path: str, field: int) -> int:
    """A number of pages, in bytes."""
    return int(next(_lines(path)).split()[field]) * mmap.PAGESIZE


def _lines(path: str) -> Iterator[str]:
    with open(path) as file:
        yield from file
