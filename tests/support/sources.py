"""Sources that processes can import in no time."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import numpy as np

from stylebatch.frame import Failure, Frame, FrameInfo


class Deadly:
    """At its third picture the process is killed, as a system out of memory does."""

    def size(self, _: int) -> tuple[int, int]:
        return 8, 8

    def __getitem__(self, index: int) -> Frame | Failure:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return Frame(FrameInfo(index, str(index)), np.full((8, 8, 3), index, np.uint8))


class Arrays:
    """Arrays of every kind, by number."""

    MADE = (
        np.arange(12, dtype=np.uint16).reshape(2, 2, 3), np.zeros((0, 3)), np.arange(24).reshape(4, 6)[:, ::-2],
        np.full((300, 400, 3), 7, np.uint8),
    )  # fmt: skip

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return os.getpid(), self.MADE[index]


class Talking:
    """What it prints, and what a library in C would, goes nowhere."""

    def __getitem__(self, key: str) -> str:
        for stream in (sys.stdout, sys.stderr):
            stream.write(key)
            os.write(stream.fileno(), key.encode())
        return key


class Raising:
    def __getitem__(self, key: int) -> int:
        raise ZeroDivisionError(f"at {key}")


class Stuck:
    """Its first answer is the process's number, the second never comes."""

    def __getitem__(self, key: int) -> int:
        if key:
            time.sleep(3600)
        return os.getpid()
