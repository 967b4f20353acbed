"""The thing that flows: pixels, where they come from, and what travels around the network beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

#: Pixels beside the network: H×W or H×W×C, uint8 or uint16.
Pixels = np.ndarray[Any, np.dtype[Any]]

#: Frames share a batch up to so many pixels, unless asked otherwise; larger ones go alone.
BATCH_PIXELS = 4_000_000


@dataclass(frozen=True)
class FrameInfo:
    """Everything about a picture but its pixels.

    Attributes:
        index: of a film's frame, its place in the film, from 0.
        source: its name for people, a path relative to the input.
        extra: what the medium's sink needs back from its source; nobody between looks inside.
    """

    index: int
    source: str
    extra: Any = field(default=None, repr=False)


@dataclass(frozen=True, repr=False)
class Frame:
    """One picture: H×W×3, RGB, uint8 or uint16."""

    info: FrameInfo
    pixels: Pixels

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(f"a frame is H×W×3, not {tuple(self.pixels.shape)}")

    def __repr__(self) -> str:
        height, width, _ = self.pixels.shape
        return f"Frame({self.info.source!r}, {width}×{height}, {self.pixels.dtype})"


@dataclass(frozen=True, repr=False)
class Batch:
    """Frames of one size and depth: `pixels` is N×H×W×3, RGB, uint8 or uint16, contiguous; `infos` has N entries."""

    infos: list[FrameInfo]
    pixels: Tensor

    def __repr__(self) -> str:
        n, height, width, _ = self.pixels.shape
        return f"Batch({n} × {width}×{height}, {self.pixels.dtype})"


@dataclass(frozen=True)
class Failure:
    """A file that does not come through, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Saved:
    """A result that is safely on the disk; `pixels` counts all frames, `left_out` those that the format cannot hold,
    `notes` say what else did not come through."""

    source: str
    path: Path
    pixels: int
    left_out: int = 0
    notes: tuple[str, ...] = ()
