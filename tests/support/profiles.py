"""ICC profiles as files have them, made by their specification (ICC.1:2022) rather than by what reads them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

#: D50, in which profiles connect.
WHITE = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def _fixed(values: Any) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def primaries(red: Any, green: Any, blue: Any, white: Any = (0.3127, 0.3290)) -> Any:
    """The matrix to D50 XYZ, from chromaticities; `white` is D65's."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (red, green, blue)]).T
    own = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    adapted = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ WHITE / (_BRADFORD @ own)) @ _BRADFORD)
    return adapted @ columns * np.linalg.solve(columns, own)


P3 = primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
ADOBE = primaries((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO = primaries((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585))


def curve(*entries: int) -> bytes:
    """curveType: nothing for a straight line, 256 times a gamma, or a table."""
    return struct.pack(f">4s4xI{len(entries)}H", b"curv", len(entries), *entries)


def parametric(kind: int, *values: float) -> bytes:
    return struct.pack(">4s4xHxx", b"para", kind) + _fixed(values)


SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def rgb_profile(matrix: Any, *curves: bytes) -> bytes:
    """Display-like: one curve for all, or three."""
    colours = {name + b"XYZ": b"XYZ " + bytes(4) + _fixed(matrix[:, at]) for at, name in enumerate((b"r", b"g", b"b"))}
    three = curves * 3 if len(curves) == 1 else curves
    return _profile(b"RGB ", b"XYZ ", colours | dict(zip((b"rTRC", b"gTRC", b"bTRC"), three, strict=True)))


def grey_profile(tone: bytes, connection: bytes = b"XYZ ") -> bytes:
    return _profile(b"GRAY", connection, {b"kTRC": tone})


def table_profile(matrix: Any, gamma: float, *, back: bool = True) -> bytes:
    """Tables between RGB and Lab; without the way back as scanners have it."""
    levels = np.stack(np.meshgrid(*[np.linspace(0, 1, 17)] * 3, indexing="ij"), axis=-1)
    scaled = levels**gamma @ np.transpose(matrix) / WHITE
    root = np.where(scaled > 216 / 24389, np.cbrt(scaled), (24389 / 27 * scaled + 16) / 116)
    lab = np.stack([116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])], -1)
    tags = {b"A2B0": _table((lab + np.array([0, 128, 128])) * [652.8, 256, 256])}
    if back:
        steps = np.stack(np.meshgrid(*[np.linspace(0, 65535, 33)] * 3, indexing="ij"), axis=-1)
        light, a, b = np.moveaxis(steps / [652.8, 256, 256] - np.array([0, 128, 128]), -1, 0)
        root = np.stack([(light + 16) / 116 + a / 500, (light + 16) / 116, (light + 16) / 116 - b / 200], axis=-1)
        scaled = np.where(root > 6 / 29, root**3, (116 * root - 16) * 27 / 24389)
        tags[b"B2A0"] = _table(np.clip(scaled * WHITE @ np.linalg.inv(matrix).T, 0, 1) ** (1 / gamma) * 65535)
    return _profile(b"RGB ", b"Lab ", tags, kind=b"mntr" if back else b"scnr")


def _table(values: Any) -> bytes:
    """lut16Type with straight curves."""
    straight = struct.pack(">6H", *(0, 65535) * 3)
    head = struct.pack(">4s4x3Bx", b"mft2", 3, 3, len(values)) + _fixed(np.eye(3).ravel()) + struct.pack(">2H", 2, 2)
    return head + straight + np.rint(values).clip(0, 65535).astype(">u2").tobytes() + straight


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    tags = {b"wtpt": b"XYZ " + bytes(4) + _fixed(WHITE)} | tags
    at = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s", at + len(body), 0x02400000, kind, space, connection, b"acsp").ljust(68, b"\0")
    return (head + _fixed(WHITE)).ljust(128, b"\0") + table + body
