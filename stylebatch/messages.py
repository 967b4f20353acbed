"""Python values through pipes, arrays as they lie in memory."""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any

import numpy as np

#: Before each message: the length of its pickle, and how many arrays lie behind it, each with its length.
_HEAD, _LENGTH = struct.Struct("<QI"), struct.Struct("<Q")


def packed(value: Any) -> list[Any]:
    """A value as the parts of a message, its arrays as they lie in memory."""
    arrays: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(value, protocol=5, buffer_callback=arrays.append)
    parts = [array.raw() for array in arrays]
    lengths = b"".join(_LENGTH.pack(len(part)) for part in parts)
    return [_HEAD.pack(len(pickled), len(parts)) + lengths + pickled, *parts]


def write_message(file: IO[bytes], message: list[Any]) -> None:
    for part in message:
        file.write(part)
    file.flush()


def receive_message(file: IO[bytes]) -> Any:
    size, count = _HEAD.unpack(_read(file, _HEAD.size))
    lengths = [_LENGTH.unpack(_read(file, _LENGTH.size))[0] for _ in range(count)]
    pickled = _read(file, size)
    return pickle.loads(pickled, buffers=[_read(file, length) for length in lengths])


def _read(file: IO[bytes], size: int) -> memoryview:
    data = np.empty(size, np.uint8).data  # a bytearray would be filled with zeros first
    if file.readinto(data) < size:  # type: ignore[attr-defined]
        raise EOFError
    return data
