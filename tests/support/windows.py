"""Imported first in a process, it makes Linux look like Windows, as far as this program can tell.

What POSIX alone has is missing; a file that is open here cannot be replaced or removed; folders cannot be opened, nor files
synced that are open for reading alone. Other libraries are loaded before: how they are on Windows is theirs to know.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
FUNCTIONS = (
    "chown", "fchmod", "fchown", "fork", "forkpty", "geteuid", "getpgid", "getuid", "getxattr", "killpg", "listxattr",
    "lockf", "mkfifo", "posix_fadvise", "pread", "preadv", "pwrite", "register_at_fork", "sched_getaffinity", "sendfile",
    "setsid", "setxattr", "statvfs", "sysconf", "uname", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK",
)  # fmt: skip
SIGNALS = ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGPIPE", "SIG_BLOCK", "SIG_SETMASK", "pthread_sigmask", "setitimer")

for _name in (
    "av", "asyncio", "click.testing", "concurrent.futures.process", "ctypes", "cv2", "filelock", "matplotlib.pyplot",
    "multiprocessing.pool", "PIL.Image", "platform", "platformdirs", "safetensors.torch", "shutil", "simplejpeg",
    "tempfile", "torch", "torchvision.ops", "tqdm",
):  # fmt: skip
    importlib.import_module(_name)
with suppress(ImportError):
    importlib.import_module("openvino")
_open, _os_open, _sync, _flags, _readlink = builtins.open, os.open, os.fsync, fcntl.fcntl, os.readlink


def is_open(path: Any) -> bool:
    """Whether this process has a file open."""
    real = os.path.realpath(path)
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            if _readlink(descriptor) == real:
                return True
        except OSError:  # that of the listing itself
            pass
    return False


def refusing_what_is_open(call: Callable[..., Any]) -> Callable[..., Any]:
    def replacement(*paths: Any, **options: Any) -> Any:
        if not options and any(map(is_open, paths)):
            raise PermissionError(errno.EACCES, "The process cannot access the file because it is being used", paths[0])
        return call(*paths, **options)

    return replacement


def open_no_folder(path: Any, *arguments: Any, **options: Any) -> int:
    if "dir_fd" not in options and Path(path).is_dir():
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return _os_open(path, *arguments, **options)


def sync_what_is_written(descriptor: int) -> None:
    if _flags(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    _sync(descriptor)


def open_nothing_of_linux(path: Any, *arguments: Any, **options: Any) -> Any:
    if isinstance(path, str) and path.startswith(("/proc/", "/sys/")):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
    return _open(path, *arguments, **options)


for _name in ("link", "remove", "rename", "replace", "unlink"):
    setattr(os, _name, refusing_what_is_open(getattr(os, _name)))
os.open, os.fsync, builtins.open = open_no_folder, sync_what_is_written, open_nothing_of_linux  # type: ignore[assignment]
for _module, _names in ((os, FUNCTIONS), (signal, SIGNALS)):
    for _name in _names:
        delattr(_module, _name)
for _name in MODULES:
    sys.modules[_name] = None  # type: ignore[assignment]
subprocess.CREATE_NEW_PROCESS_GROUP = 0  # type: ignore[attr-defined]
signal.SIGBREAK = 21  # type: ignore[attr-defined]
sys.platform = "win32"
