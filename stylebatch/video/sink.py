"""Frames to a film: encoded by a thread in closed segments, which are joined at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Any, Literal

import av
import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.frame import PictureType
from numpy.typing import ArrayLike

from stylebatch.effects import Effects, effects_of
from stylebatch.errors import OutputError, StylebatchError
from stylebatch.frame import Failure, FrameInfo, Pixels, Saved
from stylebatch.manifest import digest_of
from stylebatch.pixels import over_white, resized, to_8_bits
from stylebatch.video.beat import Beat
from stylebatch.video.clip import FilmSource, Timing
from stylebatch.video.encoding import plan
from stylebatch.video.mux import join
from stylebatch.video.rehearsal import rehearse
from stylebatch.video.work import Segment, Work
from stylebatch.video.yuv import FromRGB

#: Raised when the same film, style and options give other frames than before.
_FORMAT = 3
#: Stylized frames that may wait for the encoder.
_WAITING = 4


class VideoSink:
    """Writes the frames of a film, and what else its source has, to `output`. A context manager: leaving it without an
    exception finishes the film.

    Args:
        output: the film to write; its extension chooses the container.
        source: where the frames come from: it has their times, and everything that is copied.
        settings: whatever else changes the frames; JSON values. With them what is done stays, hidden beside `output`, when
            the film is not finished, and the next sink with the same goes on there; without them nothing stays.
        overwrite: do not go on with what another sink has left.
        put: gives the complete film its name, as in `atomic_write`.
        effects: what is done to the stylized frames; by default what the source's options say, but no steadying.

    Attributes:
        done: frames that the next sink need not be given; at first those that another one has left. The next to come has
            this number.
        warnings: what the output cannot hold.
        waited: seconds that the encoder had nothing to do.

    Raises:
        StylebatchError: a container, codec or setting that cannot be.
        OutputError: it cannot be written.
    """

    def __init__(
        self,
        output: Path | str,
        source: FilmSource,
        settings: dict[str, Any] | None = None,
        *,
        overwrite: bool = False,
        put: Callable[[Path, Path], None] | None = None,
        effects: Effects | None = None,
    ) -> None:
        self._put = put
        self.output = Path(output)
        self.source = source
        options = source.options
        self._effects = effects or effects_of(preserve_color=options.preserve_color, side_by_side=options.side_by_side)
        self.encoding = plan(source.clip, options, self.output)
        width, height = self.encoding.picture
        self._size = (width // 2, height) if options.side_by_side else (width, height)
        rehearsal = rehearse(self.encoding, source)
        self._planned, self.warnings = rehearsal.planned, rehearsal.warnings
        source.deep = source.clip.depth > 8 and self.encoding.deep
        key = digest_of(
            [_FORMAT, av.__version__, self.encoding.as_settings(), options.as_settings(), self._effects.settings, settings]
        )
        self._stays = settings is not None
        self._work = Work(self.output, key, anew=overwrite or not self._stays, stateful=self._effects.is_stateful)
        self._effects.state = self._work.state
        self.waited = 0.0
        self._from_rgb = FromRGB(self.encoding.colour, self.encoding.pix_fmt, self.encoding.coded)
        self._beat = Beat(self.encoding, source)
        self._open = _OpenSegment(self)
        self._next = self.done
        self._error: Exception | None = None
        self._outcomes: Queue[Saved | Failure | OutputError] = Queue()
        self._queue: Queue[tuple[FrameInfo, Pixels, Pixels] | None] = Queue(_WAITING)
        self._thread: Thread | None = Thread(target=self._encode, name="encode", daemon=True)
        self._thread.start()

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self.release()

    @property
    def done(self) -> int:
        return self._work.frames + self._work.kept

    def add(self, info: FrameInfo, original: ArrayLike, stylized: ArrayLike) -> None:
        """Take the next frame, both H×W×3, uint8 or uint16, arrays or tensors on the CPU. Waits while the encoder is busy
        with the ones before."""
        if info.index != self._next:
            raise ValueError(f"frame {info.index} after {self._next - 1}")
        self._next += 1
        self._check()
        self._queue.put((info, np.asarray(original), np.asarray(stylized)))

    def fail(self, info: FrameInfo, reason: str) -> None:
        raise StylebatchError(f"{self.source.path}: frame {info.index}: {reason}")

    def outcomes(self) -> Iterator[Saved | Failure | OutputError]:
        """Frames that have been encoded since the last call."""
        while not self._outcomes.empty():
            yield self._outcomes.get()

    def close(self) -> None:
        """Encode what has come."""
        self._stop()
        self._check()

    def finish(self) -> None:
        """All frames have come: close the last segment, join them all, check, and give the film its name.

        Raises:
            OutputError: it cannot be written, or does not have each frame once at its time.
        """
        self.close()
        self._open.close()
        if not self._work.frames:
            raise StylebatchError(f"{self.source.path}: no frames in it")
        self.warnings += join(self._work, self.encoding, self.source, self._planned, self.output, self._put)
        self._work.remove()

    def release(self) -> None:
        """Leave an unfinished film to the next sink with the same settings."""
        self._stop()
        if self._stays:
            if not self._error:
                self._work.keep_state(self._effects.state)
            self._work.close()
        else:
            self._work.remove()

    def _stop(self) -> None:
        if self._thread:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _check(self) -> None:
        if self._error:
            raise self._error

    def _encode(self) -> None:
        while True:
            start = time.perf_counter()
            item = self._queue.get()
            self.waited += time.perf_counter() - start
            if item is None:
                return
            if self._error:
                continue  # it is raised when the next frame is added
            try:
                self._encode_one(*item)
            except StylebatchError as error:
                self._error = error
            except (av.FFmpegError, ValueError, MemoryError) as error:
                self._error = OutputError(f"{self.output}: frame {item[0].index} cannot be encoded: {error}")
            except Exception as error:
                self._error = error

    def _encode_one(self, info: FrameInfo, original: Pixels, stylized: Pixels) -> None:
        timing: Timing = info.extra
        pixels = self._shown(self._effects(original, stylized, self._size, timing.original), timing.alpha)
        frame = self._from_rgb(pixels)
        frame.pts, frame.duration = self._beat.ticks(timing.pts), self._beat.duration(timing.duration)
        frame.time_base = self.encoding.time_base
        self._open.add(frame)
        self._outcomes.put(Saved(info.source, self.output, pixels.shape[0] * pixels.shape[1], 0))

    def _shown(self, pixels: Pixels, alpha: Pixels | None) -> Pixels:
        """With its alpha, H×W in full size, or on white; in the depth to write."""
        if alpha is not None:
            alpha = resized(alpha, self._size)
            alpha = np.tile(alpha, (1, pixels.shape[1] // alpha.shape[1]))  # for each of two pictures side by side
            if self.encoding.alpha:
                pixels = np.dstack([pixels, alpha])
            elif alpha.min() < np.iinfo(alpha.dtype).max:
                flattened = self.encoding.flattened()
                self.warnings += [flattened] * (flattened not in self.warnings)
                pixels = over_white(pixels, alpha)
        return pixels if self.encoding.deep else to_8_bits(pixels)


class _OpenSegment:
    """The segment that is being encoded: its packets so far, in memory.

    No encoder can be stopped and gone on with. So the frames are kept in the work folder, if another run may go on: encoded
    anew, they make the same packets.
    """

    def __init__(self, sink: VideoSink) -> None:
        self._encoding, self._work = sink.encoding, sink._work
        self._output, self._effects = sink.output, sink._effects
        self._keeps = False
        self._start()
        unpacked = self._raw("r")
        for pts, duration, data in self._work.left_frames():
            (frame,) = unpacked.decode(Packet(data))
            frame.pts, frame.duration, frame.time_base = pts, duration, self._encoding.time_base
            frame.pict_type = PictureType.NONE
            sink._from_rgb.tag(frame)
            self.add(frame)
        self._keeps = sink._stays

    def _start(self) -> None:
        self._context = self._encoding.context()
        self._packed = self._raw("w")
        self._packets: list[Packet[Any]] = []
        self._times: list[int] = []
        self._duration = 0

    def _raw(self, mode: Literal["r", "w"]) -> Any:
        """Frames to bytes, or back."""
        context: Any = CodecContext.create("rawvideo", mode)
        context.width, context.height = self._encoding.coded
        context.pix_fmt = self._encoding.pix_fmt
        if mode == "w":
            context.time_base = self._encoding.time_base
        return context

    def add(self, frame: av.VideoFrame) -> None:
        assert frame.pts is not None
        if self._keeps:
            for packet in self._packed.encode(frame):
                self._work.keep(frame.pts, frame.duration, bytes(packet))
        self._times.append(frame.pts)
        self._duration = frame.duration
        self._packets += self._context.encode(frame)
        if len(self._times) == self._encoding.segment:
            self.close()

    def close(self) -> None:
        if not self._times:
            return
        self._packets += self._context.encode(None)
        order = sorted(packet.pts or 0 for packet in self._packets)
        if order != self._times:
            raise OutputError(f"{self._output}: {self._encoding.codec} made {len(order)} of {len(self._times)} frames")
        places = {pts: place for place, pts in enumerate(order)}
        delay = max(index - places[packet.pts or 0] for index, packet in enumerate(self._packets))
        extradata = (self._context.extradata or b"").hex()
        segment = Segment(len(order), order[0], order[-1], self._duration, delay, 0, extradata)
        self._work.add(segment, self._packets, self._effects.state)
        self._start()
