"""JPEGs on an NVIDIA GPU, by nvJPEG, where torchvision has it: 0.2 ms to encode one and 0.4 to decode one, where a core
takes 15. From 0.29 on torchvision says that these functions will go, for those of torchcodec: then the processor does it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image

from stylebatch.frame import Pixels
from stylebatch.images.jpeg import Decode, Encode
from stylebatch.styles import note

#: How far an encoder's pixels may be from those of Pillow's JPEG of the same quality, where it is tried: a mean of squares.
_MOST_ERROR = 4.0
#: How far a decoder's may be from libjpeg's, by sampling: a mean of levels.
_MOST_LEVELS = {"4:4:4": 0.0, "4:2:0": 2.0}
_SAVE: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4"}
#: torchvision has one encoder in a process, which it lets go of before its result has been copied.
_encoding = Lock()


@dataclass(frozen=True)
class Jpegs:
    """What a GPU does of JPEGs; what is None, and what that refuses, the processor does.

    Attributes:
        settings: what of it makes other results.
    """

    encode: Encode | None = None
    decode: Decode | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


class NvJpeg:
    """The encoder and the decoder of one GPU. Threads may share it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def encode(self, pixels: Pixels, save: dict[str, Any]) -> bytes | None:
        """With what Pillow's `save` would put before the pixels. It makes no other sampling than 4:4:4."""
        from torchvision.io import encode_jpeg

        if save.get("subsampling") != "4:4:4" or not isinstance(save.get("quality"), int):
            return None
        try:
            with torch.inference_mode():
                on_device = torch.from_numpy(np.require(pixels, requirements=("C", "W"))).to(self._device)
                planes = on_device.permute(2, 0, 1).contiguous()
                if planes.is_cuda:  # it encodes on a stream of its own, which does not wait for this one
                    torch.cuda.current_stream(self._device).synchronize()
                with _encoding:
                    encoded: bytes = encode_jpeg(planes, save["quality"]).cpu().numpy().tobytes()
        except RuntimeError:  # too large, or the GPU's memory is full
            return None
        return with_headers(encoded, save)

    def decode(self, data: bytes) -> Pixels | None:
        from torchvision.io import ImageReadMode, decode_jpeg

        try:
            with torch.inference_mode():
                coded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
                planes = decode_jpeg(coded, ImageReadMode.RGB, self._device)
                pixels: Pixels = planes.permute(1, 2, 0).contiguous().cpu().numpy()
        except RuntimeError:  # nvJPEG refuses it, or the GPU's memory is full
            return None
        return pixels


def with_headers(encoded: bytes, save: dict[str, Any]) -> bytes:
    """A JPEG with what Pillow writes before the tables: JFIF with the resolution, Exif, XMP, profile, comment."""
    small = io.BytesIO()
    Image.new("RGB", (8, 8)).save(small, format="JPEG", **save)
    own = small.getvalue()
    return own[: _end_of_headers(own)] + encoded[_end_of_headers(encoded) :]


def _end_of_headers(data: bytes) -> int:
    """Where, after the start of the image, no application's segment and no comment follows any more."""
    at = 2
    while data[at] == 0xFF and (0xE0 <= data[at + 1] <= 0xEF or data[at + 1] == 0xFE):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


@cache
def jpegs_on(device: torch.device, asked: str) -> Jpegs:
    """What the device does of JPEGs, if it does what Pillow and libjpeg do of a sample.

    Args:
        asked: as `gpu_jpeg` of `ImageOptions`.
    """
    own = NvJpeg(device) if device.type == "cuda" and asked != "off" else None
    encode = own.encode if own and encodes(own.encode) else None
    decode = own.decode if own and all(decodes(own.decode, each) for each in _samplings(asked)) else None
    settings = {"jpeg": "nvjpeg"} if encode else {}
    if asked == "all" and decode:
        settings["decoder"] = "nvjpeg"
    elif asked == "all":
        why = "torchvision has no nvJPEG that decodes as it should" if own else f"{device} has none of its own"
        note(f"`gpu_jpeg` all: {why}; the processor decodes JPEGs")
    return Jpegs(encode, decode, settings)


def _samplings(asked: str) -> tuple[str, ...]:
    return ("4:4:4", "4:2:0") if asked == "all" else ("4:4:4",)


def encodes(encode: Encode) -> bool:
    """Whether it makes of a sample what Pillow makes of it."""
    sample, data = _sample("4:4:4")
    with suppress(Exception):  # torchvision without it, or without its library, says so in many ways
        encoded = encode(np.asarray(sample), _SAVE)
        with Image.open(io.BytesIO(encoded or b"")) as image, Image.open(io.BytesIO(data)) as like:
            ours, theirs = (np.asarray(each, dtype=np.float32) for each in (image, like))
            sampled = {each[1:3] for each in image.layer}  # type: ignore[attr-defined]
        return sampled == {(1, 1)} and float(np.square(ours - theirs).mean()) <= _MOST_ERROR
    return False


def decodes(decode: Decode, sampling: str) -> bool:
    """Whether it makes of a sample the levels that libjpeg makes of it: the same of 4:4:4, near ones of 4:2:0."""
    _, data = _sample(sampling)
    with suppress(Exception):  # as above
        pixels = decode(data)
        with Image.open(io.BytesIO(data)) as image:
            off = np.abs(np.asarray(pixels, np.float32) - np.asarray(image, np.float32))
        return float(off.mean()) <= _MOST_LEVELS[sampling]
    return False


def _sample(sampling: str) -> tuple[Image.Image, bytes]:
    """A picture, and Pillow's JPEG of it."""
    gradient = Image.merge(
        "RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90)]
    )
    file = io.BytesIO()
    gradient.save(file, format="JPEG", **{**_SAVE, "subsampling": sampling})
    return gradient, file.getvalue()
