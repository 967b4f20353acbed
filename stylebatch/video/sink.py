"""Frames to a film: in threads through the effects and into its colours, into closed segments, which are joined at the end.

What frames need of those before them is done in order, in one thread; everything else for several frames at once.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import ArrayLike

from stylebatch.effects import Effects, effects_of
from stylebatch.errors import OutputError, StylebatchError
from stylebatch.frame import FrameInfo, Pixels, Saved
from stylebatch.manifest import digest_of
from stylebatch.pixels import over_white, resized, to_8_bits
from stylebatch.system import cores
from stylebatch.video.beat import Beat
from stylebatch.video.clip import FilmSource, Timing
from stylebatch.video.encoding import plan
from stylebatch.video.ending import FilmSink
from stylebatch.video.mux import join
from stylebatch.video.rehearsal import rehearse
from stylebatch.video.relay import Relay
from stylebatch.video.segments import Segments
from stylebatch.video.work import Work
from stylebatch.video.yuv import FromRGB

#: Raised when the same film, style and options give other frames than before.
_FORMAT = 6
#: Frames that may be on their way between any two of the threads, at least; with more cores half as many as these.
_WAITING = 4


@dataclass(frozen=True)
class _Painted:
    """A frame before its effects, or amid them."""

    info: FrameInfo
    original: Pixels
    pixels: Pixels


@dataclass(frozen=True)
class _Coded:
    """A frame in the film's colours; the effects' state after it, if it is a segment's last."""

    info: FrameInfo
    frame: av.VideoFrame
    state: bytes
    flattened: bool


class VideoSink(FilmSink):
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
        next: the number of the next frame to add; at first after those that another sink has left.
        done: frames that the next sink need not be given.
        warnings: what the output cannot hold.
        waited: seconds that the encoders had nothing to do.

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
        super().__init__(source)
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
        self._work = Work(
            self.output, key, self.encoding.segment, anew=overwrite or not self._stays, stateful=self._effects.is_stateful
        )
        self._effects.state = self._work.state
        self._from_rgb = FromRGB(self.encoding.colour, self.encoding.pix_fmt, self.encoding.coded)
        self._beat = Beat(self.encoding, source)
        try:
            self._segments = Segments(self.encoding, self._work, self.output, keeps=self._stays, tag=self._from_rgb.tag)
        except BaseException:
            self._work.close()
            raise
        self.next = self._segments.number
        ahead = max(_WAITING, cores() // 2)
        self._pool = ThreadPoolExecutor(cores(), "effects")
        self._coded = Relay(self._encode, ahead)
        self._steadied = Relay(self._steady, ahead) if self._effects.is_stateful else None

    @property
    def done(self) -> int:
        return self._work.done

    def add(self, info: FrameInfo, original: ArrayLike, stylized: ArrayLike) -> None:
        """Take the next frame, both H×W×3, uint8 or uint16, arrays or tensors on the CPU. Waits while the encoder is busy
        with the ones before."""
        if info.index != self.next:
            raise ValueError(f"frame {info.index} after {self.next - 1}")
        self.next += 1
        self._check()
        painted = _Painted(info, np.asarray(original), np.asarray(stylized))
        if self._steadied:
            self._steadied.put(self._pool.submit(self._begun, painted))
        else:
            self._coded.put(self._pool.submit(lambda: self._finished(self._begun(painted), b"")))

    @property
    def waited(self) -> float:
        return self._coded.waited

    def finish(self) -> None:
        """All frames have come: close the last segment, join them all, check, and give the film its name.

        Raises:
            OutputError: it cannot be written, or does not have each frame once at its time.
        """
        self.close()
        self._segments.close(self._effects.state)
        if not self._work.frames:
            raise StylebatchError(f"{self.source.path}: no frames in it")
        self.warnings += join(self._work, self.encoding, self.source, self._planned, self.output, self._put)
        self._work.remove()

    def release(self) -> None:
        """Leave an unfinished film to the next sink with the same settings."""
        self._stop()
        self._segments.stop()
        if not self._stays:
            self._work.remove()
            return
        state = self._effects.state
        if state and self._work.kept and self.done == self.next:
            with suppress(OutputError):  # no room: the open segments are made again
                self._work.keep_state(*divmod(self.next, self.encoding.segment), state)
        self._work.close()

    def _stop(self) -> None:
        for relay in (self._steadied, self._coded):
            if relay:
                relay.close()
        self._pool.shutdown()

    def _check(self) -> None:
        for source in (self._segments, self._coded, self._steadied):
            if source and source.error:
                raise source.error

    def _begun(self, painted: _Painted) -> _Painted:
        return _Painted(painted.info, painted.original, self._effects.before(painted.original, painted.pixels))

    def _steady(self, painted: _Painted) -> None:
        pixels = self._effects.steadied(painted.original, painted.pixels)
        last = (painted.info.index + 1) % self.encoding.segment == 0
        state = self._effects.state if last else b""
        self._coded.put(self._pool.submit(self._finished, _Painted(painted.info, painted.original, pixels), state))

    def _finished(self, painted: _Painted, state: bytes) -> _Coded:
        info, timing = painted.info, painted.info.extra
        assert isinstance(timing, Timing)
        try:
            pixels = self._effects.after(painted.original, painted.pixels, self._size, timing.original)
            pixels, flattened = self._shown(pixels, timing.alpha)
            frame = self._from_rgb(pixels)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise OutputError(f"{self.output}: frame {info.index} cannot be encoded: {error}") from error
        frame.pts, frame.duration = self._beat.ticks(timing.pts), self._beat.duration(timing.duration)
        frame.time_base = self.encoding.time_base
        return _Coded(info, frame, state, flattened)

    def _encode(self, coded: _Coded) -> None:
        self._segments.add(coded.frame, coded.state)
        note = self.encoding.flattened()
        if coded.flattened and note not in self.warnings:
            self.warnings.append(note)
        width, height = self.encoding.picture
        self._outcomes.put(Saved(coded.info.source, self.output, width * height, 0))

    def _shown(self, pixels: Pixels, alpha: Pixels | None) -> tuple[Pixels, bool]:
        """With its alpha, H×W in full size, or on white; in the depth to write. And whether white shows."""
        flattened = False
        if alpha is not None:
            alpha = resized(alpha, self._size)
            alpha = np.tile(alpha, (1, pixels.shape[1] // alpha.shape[1]))  # for each of two pictures side by side
            flattened = not self.encoding.alpha and bool(alpha.min() < np.iinfo(alpha.dtype).max)
            if self.encoding.alpha:
                pixels = np.dstack([pixels, alpha])
            elif flattened:
                pixels = over_white(pixels, alpha)
        return (pixels if self.encoding.deep else to_8_bits(pixels)), flattened
