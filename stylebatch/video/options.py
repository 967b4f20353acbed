"""What can be asked for when a film is stylized."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from stylebatch.errors import StylebatchError
from stylebatch.options import LATER, LIMIT, STEADY, settings_of

#: What films are encoded in; `encoding.CODECS` says how.
CODECS = ("h264", "h265", "av1", "vp9", "prores", "ffv1", "h264_nvenc", "h265_nvenc", "av1_nvenc")
#: The largest constant quality of any of them; each has its own.
_LARGEST_CRF = 63
#: What to do about frames that cannot be decoded.
ON_CORRUPT = ("fail", "repeat")


@dataclass(frozen=True)
class VideoOptions:
    """What can be asked for of a film.

    Attributes:
        codec: one of `CODECS`, "gif" for GIF; by default what is usual in the container.
        crf: constant quality, less is better; by default 18.
        preset: the encoder's own name for its speed.
        pix_fmt: FFmpeg's name of the pixel format to write; by default the film's own depth and chroma, as near as the codec
            has it.
        start, end: in seconds of the film; what lies outside is left out, and the output starts at 0.
        preview: only so many seconds from the middle.
        size: long side in pixels that the network sees; larger films are scaled down for it, and back after it.
        keep_work_size: do not scale back.
        fps: frames a second to resample to; by default every frame keeps its own time.
        preserve_color: brightness from the style, colours from the film.
        side_by_side: original | stylized in one film.
        steady: how much of a pixel is taken over from the frame before, where that shows the same: from 0 to 1.
        every: no film but pictures of each so many frames.
        max_megapixels: refuse films with larger frames.
        on_corrupt: "fail", or "repeat" the frame before for each that cannot be decoded.

    Raises:
        StylebatchError: a value out of range.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    start: float | None = None
    end: float | None = None
    preview: float | None = None
    size: int | None = None
    keep_work_size: bool = False
    fps: Fraction | None = None
    preserve_color: bool = field(default=False, metadata=LATER)
    side_by_side: bool = False
    steady: float = STEADY
    every: int | None = None
    max_megapixels: int = field(default=60, metadata=LIMIT)
    on_corrupt: str = "fail"

    def __post_init__(self) -> None:
        if self.codec not in (None, "gif", *CODECS):
            raise StylebatchError(f"codec {self.codec}: unknown; choose from {', '.join(CODECS)}")
        if self.crf is not None and not 0 <= self.crf <= _LARGEST_CRF:
            raise StylebatchError(f"crf {self.crf}: must be from 0 to {_LARGEST_CRF}")
        if self.size is not None and self.size < 16:
            raise StylebatchError(f"size {self.size}: must be at least 16 pixels")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise StylebatchError(f"fps {self.fps}: must be above 0 and at most 1000")
        if not 0 <= self.steady <= 1:
            raise StylebatchError(f"steady {self.steady:g}: must be from 0, each frame alone, to 1")
        if self.every is not None and self.every < 1:
            raise StylebatchError(f"every {self.every}: must be at least 1")
        if self.preview is not None and self.preview <= 0:
            raise StylebatchError(f"preview {self.preview:g}: must be above 0 seconds")
        if self.preview is not None and (self.start is not None or self.end is not None):
            raise StylebatchError("preview: takes the middle; it excludes start and end")
        if self.start is not None and self.start < 0:
            raise StylebatchError(f"start {self.start:g}: must be at least 0 seconds")
        if self.end is not None and self.end <= (self.start or 0):
            raise StylebatchError(f"end {self.end:g}: must be after the start, {self.start or 0:g}")
        if self.max_megapixels < 1:
            raise StylebatchError(f"max megapixels {self.max_megapixels}: must be at least 1")
        if self.on_corrupt not in ON_CORRUPT:
            raise StylebatchError(f"on corrupt {self.on_corrupt}: choose from {', '.join(ON_CORRUPT)}")

    @property
    def max_pixels(self) -> int:
        """Of a frame."""
        return self.max_megapixels * 1_000_000

    @property
    def is_cut(self) -> bool:
        return self.start is not None or self.end is not None or self.preview is not None

    def as_settings(self) -> dict[str, Any]:
        """What changes the frames of an output, as JSON values."""
        return settings_of(self)


def parse_time(text: str) -> float:
    """Seconds, [HH:]MM:SS or with decimals → seconds. Raises ValueError."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?", text):
        raise ValueError(f"{text!r} is no time; give seconds, MM:SS or HH:MM:SS")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def show_time(seconds: float) -> str:
    """H:MM:SS.mmm for people."""
    minutes, rest = divmod(max(seconds, 0.0), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:06.3f}"
