"""What can be asked for when a film is stylized."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from stylebatch.errors import StylebatchError
from stylebatch.options import GPU_JPEG, KEPT_COLOUR, STEADINESS, STEADY, Options, option

#: What films are encoded in; `encoding.CODECS` says how.
CODECS = ("h264", "h265", "av1", "vp9", "prores", "ffv1", "h264_nvenc", "h265_nvenc", "av1_nvenc")


def parse_time(text: str) -> float:
    """Seconds, [HH:]MM:SS or with decimals → seconds. Raises ValueError."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", text):
        raise ValueError(f"{text!r} is no time; give seconds, MM:SS or HH:MM:SS")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def parse_rate(text: str) -> Fraction:
    """Frames a second, such as 25 or 30000/1001. Raises ValueError."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is no rate; give frames a second, such as 25 or 30000/1001") from None


@dataclass(frozen=True)
class VideoOptions(Options):
    """What can be asked for of a film. Times are seconds. A wrong value raises `StylebatchError`."""

    # fmt: off
    codec: str | None = option(
        None, "h264, h265, av1, vp9, prores or ffv1; h264_nvenc, h265_nvenc or av1_nvenc with an NVIDIA GPU.",
        unset="h264; WebM vp9; with alpha MOV prores, MKV vp9", choices=(*CODECS, "gif"), metavar="NAME")
    crf: int | None = option(
        None, "Quality, lower is better and larger: to 51 for h264, h265, to 63 for av1, vp9.", unset="18", least=0, most=63)
    preset: str | None = option(
        None, "The encoder's own name for its speed.", unset="h264 faster, h265 medium, av1 8, vp9 4", metavar="NAME")
    pix_fmt: str | None = option(
        None, "Pixel format by FFmpeg's name, or the nearest that the codec has; yuv420p plays everywhere.",
        unset="the clip's depth and chroma", metavar="NAME")
    start: float | None = option(
        None, "From here: seconds or [HH:]MM:SS. The part begins at 0.", least=0, parse=parse_time, metavar="TIME")
    end: float | None = option(None, "Up to here.", parse=parse_time, metavar="TIME")
    preview: float | None = option(
        None, "Only so much, from the middle, into CLIP_STYLE_preview.", above=0, parse=parse_time, metavar="SECONDS")
    size: int | None = option(
        None, "Long side to paint at: smaller is larger strokes, less time.", unset="the clip's", least=16, unit="px")
    keep_work_size: bool = option(False, "Leave the result at `size` instead of the original size.")
    fps: Fraction | None = option(
        None, "Resample to so many frames a second: 25 or 30000/1001. The rate of numbered pictures.",
        unset="each frame at its own time; pictures 24", above=0, most=1000, parse=parse_rate, metavar="RATE")
    preserve_color: float = option(
        0.0, "Brightness from the painting, colours from the film; 0.5 is halfway there.", later=True, **KEPT_COLOUR)
    side_by_side: bool = option(False, "Original | stylized in one film.")
    steady: float = field(default=STEADY, metadata={"option": STEADINESS})
    every: int | None = option(
        None, "No film but each Nth picture of it, a PNG in CLIP_STYLE_frames or the folder OUT.", least=1)
    max_megapixels: int = option(60, "Refuse larger frames, which take about 75 MB a megapixel.", least=1, result=False)
    on_corrupt: str = option(
        "fail", "At a frame that cannot be decoded fail, or repeat the one before; of a film cut off, take what there is.",
        choices=("fail", "repeat"), result=False, recorded="fail")
    gpu_jpeg: str = field(default="exact", metadata={"option": GPU_JPEG})
    # fmt: on

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fps is not None:
            object.__setattr__(self, "fps", Fraction(self.fps).limit_denominator(1001))
        if self.preview is not None and (self.start is not None or self.end is not None):
            raise StylebatchError("preview: takes the middle; it excludes start and end")
        if self.end is not None and self.end <= (self.start or 0):
            raise StylebatchError(f"end {self.end:g}: must be after the start, {self.start or 0:g}")

    @property
    def max_pixels(self) -> int:
        """Of a frame."""
        return self.max_megapixels * 1_000_000

    @property
    def is_cut(self) -> bool:
        return self.start is not None or self.end is not None or self.preview is not None


def show_time(seconds: float) -> str:
    """H:MM:SS.mmm for people."""
    minutes, rest = divmod(max(seconds, 0.0), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:06.3f}"
