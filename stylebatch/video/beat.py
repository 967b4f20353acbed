"""When frames are shown, in the ticks of what they are encoded in: AVI holds one frame rate."""

from __future__ import annotations

from fractions import Fraction

from stylebatch.errors import StylebatchError
from stylebatch.video.clip import FilmSource
from stylebatch.video.encoding import Encoding
from stylebatch.video.options import show_time
from stylebatch.video.pyav import is_end
from stylebatch.video.times import TIMED_BY_DECODING

#: By how much of a frame's time AVI's beat may be missed: other containers round to milliseconds.
_OFF_BEAT = Fraction(1, 10)


class Beat:
    """A frame's time in its source → in an encoding's ticks."""

    def __init__(self, encoding: Encoding, source: FilmSource) -> None:
        clip, options = source.clip, source.options
        self._name, self._time_base = source.path, encoding.time_base
        self._ratio = clip.ticks(options) / encoding.time_base
        self._phase = Fraction(0)
        self._is_steady = encoding.container == "avi" and not options.fps
        if self._is_steady:  # its beat is that of the first frame
            start = Fraction(clip.start) / encoding.time_base
            self._phase = start - round(start)

    def ticks(self, pts: int) -> int:
        """Raises StylebatchError if AVI cannot show it then."""
        exact = pts * self._ratio - self._phase
        if abs(exact - round(exact)) > _OFF_BEAT:
            time = show_time(float(exact * self._time_base))
            raise StylebatchError(
                f"{self._name}: AVI holds one frame rate, and the frame at {time} is off it; give `fps`, or write .mp4"
            )
        return round(exact)

    def duration(self, ticks: int) -> int:
        """A duration, likewise."""
        return round(ticks * self._ratio)

    def check(self, source: FilmSource) -> None:
        """Read all times of a film, if one rate has to hold them. Raises StylebatchError if it does not."""
        if not self._is_steady:
            return
        first, last = source.clip.window(source.options)
        with source.opened() as container:
            by_decoding = container.format.name in TIMED_BY_DECODING
            for packet in source.times.packets(container, container.streams[source.clip.stream]):
                ticks = packet.dts if by_decoding or packet.pts is None else packet.pts
                if ticks is not None and not is_end(packet) and first <= ticks * source.clip.time_base < last:
                    self.ticks(ticks)
