"""What a picture has beside its colours: it goes around the network, from decoding to encoding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stylebatch.frame import Pixels
from stylebatch.images.metadata import Metadata


@dataclass(frozen=True)
class ImageExtra:
    """What a photograph has beside its colours.

    Attributes:
        output: where the result goes, relative to the output root.
        format: Pillow's name of the format to write.
        size: width and height to scale the result to, or None if it is the frame's.
        alpha: H×W in the frame's dtype and the output's size, or None if opaque.
        original: the photograph in the output's size, H×W×3, where the network sees a smaller one and both are wanted.
        profile: the ICC profile to embed, or None.
        convert_back: whether the result has to be converted from sRGB into `profile`.
        metadata: what describes the photograph, true for the result.
        loop: how often an animation plays, 0 for ever; None if its format does not say.
        keep: by format, how the input was compressed, as Pillow's save takes it.
        times: access and modification in nanoseconds, or None to leave the output its own.
        frame: number in an animation of `frames`, shown for `duration` milliseconds.
        left_out: how many further pages or frames the file has, which do not come through.
        notes: what else of the file does not come through, or not as it was; each in a few words.
    """

    output: str
    format: str
    size: tuple[int, int] | None = None
    alpha: Pixels | None = field(default=None, repr=False)
    original: Pixels | None = field(default=None, repr=False)
    profile: bytes | None = field(default=None, repr=False)
    convert_back: bool = False
    metadata: Metadata = field(default=Metadata(), repr=False)
    loop: int | None = None
    keep: dict[str, dict[str, Any]] = field(default_factory=dict)
    times: tuple[int, int] | None = None
    frame: int = 0
    frames: int = 1
    duration: float = 0
    left_out: int = 0
    notes: tuple[str, ...] = ()
