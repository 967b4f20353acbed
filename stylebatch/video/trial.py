"""What a container takes: tried in one that holds a stream alone."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from stylebatch.video.tags import describe


class Trial:
    """A stream alone in a container, by default written nowhere. What is refused there would cost a film its other packets,
    which wait in the container beside it.

    Raises:
        av.FFmpegError, ValueError: there can be no such stream.
    """

    def __init__(self, format: str, stream: Stream, file: Any = os.devnull) -> None:
        self._out = av.open(file, "w", format=format)
        self._stream = copy_of(self._out, stream)
        self._out.start_encoding()

    def takes(self, packet: Packet[Any]) -> bool:
        packet.stream = self._stream
        try:
            self._out.mux(packet)
        except (av.FFmpegError, ValueError):
            return False
        return True

    def close(self) -> None:
        with suppress(av.FFmpegError, ValueError):
            self._out.close()


def copy_of(out: OutputContainer, stream: Stream) -> Stream:
    """A stream of `out` for the packets of another as they are. Raises what PyAV raises where there can be none."""
    copy = out.add_stream_from_template(stream, opaque=True)
    describe(copy, stream, out.format.name)
    return copy
