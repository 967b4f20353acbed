"""What frames carry beside their pixels: how they are turned, and what a film that is painted anew does not have."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import Type

from stylebatch.frame import Pixels

#: What cannot be written: PyAV takes nothing beside pixels.
_NOT_KEPT = {
    Type.A53_CC: "closed captions (CEA-608, CEA-708)",
    Type.SPHERICAL: "the mark of a 360° film",
    Type.STEREO3D: "the mark of a stereoscopic film",
    Type.ICC_PROFILE: "the ICC profile",
    Type.AFD: "the active format description",
    Type.S12M_TIMECODE: "timecodes in the pictures",
    Type.DOVI_METADATA: "Dolby Vision",
    Type.MASTERING_DISPLAY_METADATA: "the mastering display",
    Type.CONTENT_LIGHT_LEVEL: "the content light level",
    Type.DYNAMIC_HDR_PLUS: "HDR10+",
}


#: The same for so many quarter turns.
_QUARTERS = [(False, False, False), (True, True, False), (False, True, True), (True, False, True)]


def not_kept(frame: VideoFrame) -> list[str]:
    """What a frame has that its painting will not, in words."""
    return [_NOT_KEPT[kind] for kind in _side_data(frame) if kind in _NOT_KEPT]


def _side_data(frame: VideoFrame) -> dict[Type, Any]:
    """What is asked for, by its kind; empty if PyAV does not know one of a frame's kinds."""
    found: Any = {}
    with suppress(ValueError):
        found = frame.side_data
    return {kind: found[kind] for kind in (*_NOT_KEPT, Type.DISPLAYMATRIX) if kind in found}


def turn_of(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Swap axes, flip vertically, flip horizontally: what the display matrix asks, in quarter turns and mirrors."""
    matrix = _side_data(frame).get(Type.DISPLAYMATRIX)
    if matrix is None:  # PyAV may know the angle where it cannot give the matrix
        return _QUARTERS[round(frame.rotation / 90) % 4]
    a, b, _, c, d = struct.unpack("<9i", bytes(matrix)[:36])[:5]
    if abs(b) > abs(a):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def turned(pixels: Pixels, turn: tuple[bool, bool, bool]) -> Pixels:
    swap, vertical, horizontal = turn
    if swap:
        pixels = pixels.swapaxes(0, 1)
    if vertical:
        pixels = pixels[::-1]
    if horizontal:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
