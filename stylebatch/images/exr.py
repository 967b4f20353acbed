"""OpenEXR: scene-linear light for the network and back. Needs the extra `exr`, the wheels of the OpenEXR project.

The network sees display values: sRGB's curve (IEC 61966-2-1) over linear light from 0 to 1. A pixel that is brighter is
scaled down to 1 by its largest channel, so that its hue stays, and its painting is scaled up by the same factor: highlights
keep their range. Primaries are left as they are. Numbers below zero and what is no number are 0.
"""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from stylebatch.errors import StylebatchError
from stylebatch.files import check_regular
from stylebatch.frame import Pixels
from stylebatch.pixels import resized

#: What a header says of how its pixels lie in the file, rather than of the picture.
_LAYOUT = (
    "channels", "chunkCount", "dataWindow", "displayWindow", "lineOrder", "name", "preview", "tiles", "type", "version",
)  # fmt: skip
#: The largest number of half precision.
_MOST = 65504.0
#: Where sRGB's curve begins to bend, in linear light and in display values.
_BEND, _BEND_SHOWN = 0.0031308, 0.04045


@dataclass(frozen=True)
class ExrExtra:
    """What a picture of an OpenEXR file has beside its colours.

    Attributes:
        header: attributes that describe the picture, as OpenEXR's package takes them.
        half: numbers have 16 bits, else 32.
        highlights: by how much the light of each pixel exceeds 1, H×W float32, at least 1; None if no pixel's does.
        alpha: H×W float32, by which OpenEXR multiplies colours; None if opaque.
    """

    header: dict[str, Any] = field(default_factory=dict, repr=False)
    half: bool = True
    highlights: Pixels | None = field(default=None, repr=False)
    alpha: Pixels | None = field(default=None, repr=False)

    def fitted(self, size: tuple[int, int], across: int = 1) -> ExrExtra:
        """Of a picture of another width and height, and of so many of them side by side."""
        highlights, alpha = (
            None if plane is None else np.tile(resized(plane, size), (1, across)) for plane in (self.highlights, self.alpha)
        )
        return replace(
            self,
            highlights=None if highlights is None else np.maximum(highlights, 1),
            alpha=None if alpha is None else alpha.clip(0, 1),
        )


def read_exr(path: Path, max_pixels: int) -> tuple[Pixels, ExrExtra, list[str]]:
    """The display window of a file's first part.

    Returns:
        Display values, H×W×3 uint16, not multiplied by alpha; what the file has beside; what of it is left out, in words.

    Raises:
        StylebatchError: it is damaged, too large, has no colours, or the extra is not installed.
    """
    exr = _package()
    width, height = exr_size(path)
    if width * height > max_pixels:
        raise StylebatchError(f"{path}: {width}×{height} pixels, over the limit of {max_pixels // 1_000_000} megapixels")
    with _opened(exr, path) as file:
        header, channels = dict(file.header()), file.channels()  # the package empties its own when the file is closed
        notes = ["parts after the first"] * (len(file.parts) > 1)
        names = ["R", "G", "B"] if {"R", "G", "B"} <= set(channels) else ["Y"]
        if not set(names) <= set(channels):
            raise StylebatchError(
                f"{path}: no channels R, G and B, or Y, in it, but {', '.join(sorted(channels)) or 'none'}"
            )
        if any((channels[name].xSampling, channels[name].ySampling) != (1, 1) for name in names):
            raise StylebatchError(f"{path}: channels in several resolutions are not read; write R, G and B")
        others = sorted(set(channels) - {*names, "A"})
        notes += [f"channels {', '.join(others)}"] * bool(others)
        planes = [_shown(channels[name].pixels, header) for name in names]
        light = np.dstack(planes if len(planes) == 3 else planes * 3)
        alpha = _shown(channels["A"].pixels, header) if "A" in channels else None
        half = channels[names[0]].pixels.dtype == np.float16
    if alpha is not None:
        light = np.where(alpha[..., None] > 0, light / np.maximum(alpha, np.float32(1 / _MOST))[..., None], light)
    pixels, highlights = to_display(light)
    described = {name: value for name, value in header.items() if name not in _LAYOUT}
    return pixels, ExrExtra(described, half, highlights, alpha), notes


def exr_size(path: Path) -> tuple[int, int]:
    """Width and height by the header. Raises StylebatchError."""
    with _opened(_package(), path, header_only=True) as file:
        (left, top), (right, bottom) = file.header()["displayWindow"]
    return int(right) - int(left) + 1, int(bottom) - int(top) + 1


def encode_exr(pixels: Pixels, extra: ExrExtra) -> bytes:
    """Display values, H×W×3 uint8 or uint16, to a file of one part, whose other planes are of the same size."""
    exr = _package()
    light = to_linear(pixels, extra.highlights)
    planes = dict(zip("RGB", np.moveaxis(light, 2, 0), strict=True))
    if extra.alpha is not None:
        planes = {name: plane * extra.alpha for name, plane in planes.items()} | {"A": extra.alpha}
    if extra.half:
        planes = {name: plane.clip(0, _MOST).astype(np.float16) for name, plane in planes.items()}
    channels = {name: np.ascontiguousarray(plane) for name, plane in planes.items()}
    header = {"compression": exr.ZIP_COMPRESSION, **extra.header, "type": exr.scanlineimage}
    file = io.BytesIO()
    with exr.File(header, channels) as picture:
        picture.write(file)
    return file.getvalue()


def to_display(light: Pixels) -> tuple[Pixels, Pixels | None]:
    """Scene-linear light, H×W×3 floats → display values, H×W×3 uint16, and the `highlights` of `ExrExtra`."""
    light = np.nan_to_num(light.astype(np.float32), nan=0.0, posinf=_MOST, neginf=0.0).clip(0, None)
    highlights = np.maximum(light.max(axis=2), np.float32(1))
    light = light / highlights[..., None]
    bent = np.float32(1.055) * np.maximum(light, np.float32(_BEND)) ** np.float32(1 / 2.4) - np.float32(0.055)
    shown = np.where(light <= _BEND, light * np.float32(12.92), bent)
    return np.rint(shown * 65535).astype(np.uint16), highlights if highlights.max() > 1 else None


def to_linear(pixels: Pixels, highlights: Pixels | None = None) -> Pixels:
    """The inverse of `to_display`, of uint8 or uint16: H×W×3 float32."""
    shown = np.arange(np.iinfo(pixels.dtype).max + 1, dtype=np.float64) / np.iinfo(pixels.dtype).max
    curve = np.where(shown <= _BEND_SHOWN, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4).astype(np.float32)
    light: Pixels = curve[pixels]
    return light if highlights is None else light * highlights[..., None]


def _package() -> ModuleType:
    try:
        return importlib.import_module("OpenEXR")
    except ImportError:
        raise StylebatchError('OpenEXR files need its package: pip install "stylebatch[exr]"') from None


def _opened(exr: ModuleType, path: Path, *, header_only: bool = False) -> Any:
    """A file that is there, and whole as far as its package can tell."""
    check_regular(path)
    try:
        file = exr.File(io.BytesIO(path.read_bytes()), separate_channels=True, header_only=header_only)
    except OSError as error:
        raise StylebatchError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    except (RuntimeError, ValueError) as error:
        raise StylebatchError(f"{path}: no OpenEXR file that can be read: {error}") from None
    if not file.parts:
        raise StylebatchError(f"{path}: damaged: what is in it cannot be decoded")
    return file


def _shown(plane: Pixels, header: dict[str, Any]) -> Pixels:
    """What a channel, which lies in the data window, has in the display window, float32; 0 where it has nothing."""
    (left, top), (right, bottom) = header["displayWindow"]
    (data_left, data_top), _ = header["dataWindow"]
    whole = np.zeros((bottom - top + 1, right - left + 1), np.float32)
    x, y = data_left - left, data_top - top
    from_x, from_y = max(0, -x), max(0, -y)
    part = plane[from_y : whole.shape[0] - y, from_x : whole.shape[1] - x]
    if part.size:
        whole[max(0, y) :, max(0, x) :][: part.shape[0], : part.shape[1]] = part
    return whole
