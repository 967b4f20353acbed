"""TIFF of 16 bits in the layouts that files have, by the specification (TIFF 6.0): the libraries here write few of them."""

from __future__ import annotations

import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

_COMPRESS = {1: bytes, 8: zlib.compress, 34925: lzma.compress}


def save_tiff(
    path: Path,
    pixels: Any,
    *,
    photometric: int = 2,
    planar: bool = False,
    tile: int = 0,
    compression: int = 1,
    predictor: bool = False,
    order: str = "<",
    extra: int = 2,
    orientation: int = 1,
) -> None:
    """H×W×S uint16: channels in planes, tiles of `tile`², differences, either byte order; `extra` is the fourth channel."""
    height, width, samples = pixels.shape
    offsets: list[int] = []
    lengths: list[int] = []
    body = b""
    side_y, side_x = (tile, tile) if tile else (height, width)
    for plane in np.moveaxis(pixels, 2, 0)[..., None] if planar else [pixels]:
        for top in range(0, height, side_y):
            for left in range(0, width, side_x):
                part = plane[top : top + side_y, left : left + side_x]
                part = np.pad(part, ((0, side_y - part.shape[0]), (0, side_x - part.shape[1]), (0, 0)))
                if predictor:
                    part = np.diff(part, axis=1, prepend=np.uint16(0))
                data = _COMPRESS[compression](part.astype(order + "u2").tobytes())
                offsets.append(8 + len(body))
                lengths.append(len(data))
                body += data + bytes(len(data) % 2)
    usual = 4 if photometric == 5 else 3 if photometric == 2 else 1
    tags = {
        256: [width], 257: [height], 258: [16] * samples, 259: [compression], 262: [photometric], 274: [orientation],
        277: [samples], 284: [2 if planar else 1], 317: [2 if predictor else 1],
        **({322: [tile], 323: [tile], 324: offsets, 325: lengths} if tile else {273: offsets, 278: [height], 279: lengths}),
        **({338: [extra]} if samples > usual else {}),
    }  # fmt: skip
    at = 8 + len(body)
    arrays_at = at + 2 + 12 * len(tags) + 4
    directory, arrays = struct.pack(order + "H", len(tags)), b""
    for tag, values in sorted(tags.items()):
        kind = "I" if tag in (273, 279, 324, 325) else "H"
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        directory += struct.pack(order + "HHI", tag, {"I": 4, "H": 3}[kind], len(values))
        if len(packed) <= 4:
            directory += packed.ljust(4, b"\0")
        else:
            directory += struct.pack(order + "I", arrays_at + len(arrays))
            arrays += packed
    magic = b"II" if order == "<" else b"MM"
    path.write_bytes(struct.pack(order + "2sHI", magic, 42, at) + body + directory + bytes(4) + arrays)
