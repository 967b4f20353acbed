"""The segments of a film that are being encoded: several at once, each by an encoder and in a thread of its own.

They are closed: what one holds does not depend on the others, so that their number changes no byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread
from typing import Any, Literal

import av
from av import VideoFrame
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.format import VideoFormat
from av.video.frame import PictureType

from stylebatch.errors import OutputError
from stylebatch.system import cores, free_memory
from stylebatch.video.encoding import Encoding
from stylebatch.video.work import Segment, Work

#: Frames that may wait for an encoder, beside those that keep the other ones busy.
_WAITING = 4
#: No more encoders than this; about so many frames each of them holds; the share of the free memory that they may take.
_MOST, _HELD, _SHARE = 8, 60, 2


class Segments:
    """Takes a film's frames in order and puts finished segments into its work folder, in order.

    No encoder can be stopped and gone on with. So frames are kept in the work folder, if another run may go on, until their
    segment is there: encoded anew, they make the same packets.

    Args:
        keeps: another run may go on.
        tag: writes the film's colours on a frame.

    Attributes:
        error: why no more can be encoded.
        number: of the next frame to be added.
    """

    def __init__(
        self, encoding: Encoding, work: Work, output: Path, *, keeps: bool, tag: Callable[[VideoFrame], None]
    ) -> None:
        self.error: Exception | None = None
        self.encoding, self.output = encoding, output
        self._work = work
        self._lock = Lock()
        self._stopped = False
        at_once = _at_once(encoding)
        self._encoders = Semaphore(at_once)
        self._room = Semaphore(_WAITING + (at_once - 1) * encoding.segment // 2)
        self._open: deque[_Encoder] = deque()
        self._filled: _Encoder | None = None  # that takes frames
        self.number = work.frames
        self._keeps = False
        self._packed = self._raw("w")
        try:
            self._take_left(tag)
        except BaseException:
            self.stop()
            raise
        self._keeps = keeps

    def add(self, frame: VideoFrame, state: bytes = b"") -> None:
        """Take the next frame, and the state of the effects after it, if it is the last of a segment.

        Raises:
            StylebatchError: it, or one before it, cannot be encoded or written.
        """
        self._check()
        assert frame.pts is not None
        if self._keeps:
            for packet in self._packed.encode(frame):
                self._work.keep(self.number, frame.pts, frame.duration, bytes(packet))
        if self._filled is None:
            self._encoders.acquire()
            self._check()
            self._filled = _Encoder(self, self.number)
            with self._lock:
                self._open.append(self._filled)
        self.number += 1
        self._room.acquire()
        self._filled.put(frame)
        if len(self._filled.times) == self.encoding.segment:
            self._end(state)

    def close(self, state: bytes = b"") -> None:
        """No more come: end the last segment, with the state after it, and wait for all.

        Raises:
            StylebatchError: one cannot be encoded or written.
        """
        if self._filled:
            self._end(state)
        for encoder in list(self._open):
            encoder.join()
        self._check()

    def stop(self) -> None:
        """Leave what is not finished."""
        self._stopped = True
        for encoder in list(self._open):
            encoder.put(None)
            encoder.join()

    @property
    def are_over(self) -> bool:
        """Nothing is encoded any more."""
        return self._stopped or self.error is not None

    def encoded(self) -> None:
        """A frame does not wait any more."""
        self._room.release()

    def failed(self, error: Exception) -> None:
        self.error = self.error or error
        self._encoders.release()  # nobody waits any more

    def finished(self) -> None:
        """An encoder is through: whatever has all segments before it in the work folder goes there, too."""
        with self._lock:
            try:
                while self._open and self._open[0].segment and not self.are_over:
                    self._work.add(self._open[0].segment, self._open[0].packets)
                    self._open.popleft()
                    self._encoders.release()
            except Exception as error:
                self.failed(error)

    def _take_left(self, tag: Callable[[VideoFrame], None]) -> None:
        """What another run has kept."""
        unpacked = self._raw("r")
        for pts, duration, data in self._work.left_frames():
            (frame,) = unpacked.decode(Packet(data))
            frame.pts, frame.duration, frame.time_base = pts, duration, self.encoding.time_base
            frame.pict_type = PictureType.NONE
            tag(frame)
            self.add(frame)

    def _end(self, state: bytes) -> None:
        """The segment that takes frames has all of them."""
        assert self._filled
        if state:  # before the segment is there: without it, none could be gone on from
            self._work.keep_state(-(-self.number // self.encoding.segment), 0, state)
        self._filled.put(None)
        self._filled = None

    def _check(self) -> None:
        if self.error:
            raise self.error

    def _raw(self, mode: Literal["r", "w"]) -> Any:
        """Frames to bytes, or back."""
        context: Any = CodecContext.create("rawvideo", mode)
        context.width, context.height = self.encoding.coded
        context.pix_fmt = self.encoding.pix_fmt
        if mode == "w":
            context.time_base = self.encoding.time_base
        return context


class _Encoder:
    """One segment's.

    Attributes:
        times: when its frames are shown.
        segment: what it is, once it is finished; and its packets.
    """

    def __init__(self, segments: Segments, first: int) -> None:
        self.times: list[int] = []
        self.segment: Segment | None = None
        self.packets: list[Packet[Any]] = []
        self._segments, self._first = segments, first
        self._context = segments.encoding.context()
        self._duration = 0
        self._frames: SimpleQueue[VideoFrame | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="encode", daemon=True)
        self._thread.start()

    def put(self, frame: VideoFrame | None) -> None:
        """The next frame, or that there are no more."""
        if frame is not None:
            self.times.append(frame.pts or 0)
            self._duration = frame.duration
        self._frames.put(frame)

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        number = self._first
        while (frame := self._frames.get()) is not None:
            self._try(partial(self._encode, frame), number)
            number += 1
            del frame  # before it waits for the next
            self._segments.encoded()
        self._try(self._finish, number - 1)
        self._segments.finished()

    def _try(self, step: Callable[[], None], number: int) -> None:
        if self._segments.are_over:
            return
        try:
            step()
        except (av.FFmpegError, ValueError, MemoryError) as error:
            self._segments.failed(OutputError(f"{self._segments.output}: frame {number} cannot be encoded: {error}"))
        except Exception as error:
            self._segments.failed(error)

    def _encode(self, frame: VideoFrame) -> None:
        self.packets += self._context.encode(frame)

    def _finish(self) -> None:
        self.packets += self._context.encode(None)
        order = sorted(packet.pts or 0 for packet in self.packets)
        if order != self.times:
            made = f"{self._segments.encoding.codec} made {len(order)} of {len(self.times)} frames at their times"
            raise OutputError(f"{self._segments.output}: {made}")
        places = {pts: place for place, pts in enumerate(order)}
        delay = max(index - places[packet.pts or 0] for index, packet in enumerate(self.packets))
        extradata = (self._context.extradata or b"").hex()
        self.segment = Segment(len(order), order[0], order[-1], self._duration, delay, 0, extradata)


def _at_once(encoding: Encoding) -> int:
    """How many segments are encoded at once: by cores, of which each encoder keeps two to four busy, and by memory."""
    if encoding.codec.endswith("nvenc"):
        return 1  # cards differ in how many they take
    width, height = encoding.coded
    frame = width * height * VideoFormat(encoding.pix_fmt).padded_bits_per_pixel // 8
    free = free_memory()
    room = _MOST if free is None else free // _SHARE // (frame * (_HELD + encoding.segment // 2))
    return max(1, min(_MOST, cores() // 2, room))
