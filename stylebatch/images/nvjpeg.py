"""JPEGs on an NVIDIA GPU, by nvJPEG, where torchvision has it: 0.2 ms to encode one and 0.4 to decode one, where a core
takes 15."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from stylebatch.frame import Pixels

#: How far its pixels may be from those of Pillow's JPEG of the same quality, where it is tried: a mean of squares.
_MOST_ERROR = 4.0
_SAVE: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4"}


class NvJpeg:
    """An encoder on one GPU. Threads may share it."""

    name = "nvjpeg"

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, picture: Image.Image, save: dict[str, Any]) -> bytes | None:
        """The file, with what Pillow's `save` would put before the pixels; None if the encoder does not take the picture. It
        makes no other sampling than 4:4:4."""
        from torchvision.io import encode_jpeg

        if picture.mode != "RGB" or save.get("subsampling") != "4:4:4" or not isinstance(save.get("quality"), int):
            return None
        try:
            with torch.inference_mode(), torch.cuda.device(self._device):
                pixels = torch.from_numpy(np.array(picture)).to(self._device).permute(2, 0, 1).contiguous()
                encoded: bytes = encode_jpeg(pixels, save["quality"]).cpu().numpy().tobytes()
        except RuntimeError:  # too large, or the GPU's memory is full
            return None
        return with_headers(encoded, save)


class NvJpegDecoder:
    """A decoder on one GPU. Threads may share it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, data: bytes) -> Pixels | None:
        """H×W×3 uint8, RGB; None if the decoder does not take the file."""
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
def jpeg_encoder(device: torch.device) -> NvJpeg | None:
    """The GPU's, if it is one that makes what Pillow makes of a sample."""
    if device.type != "cuda":
        return None
    encoder = NvJpeg(device)
    gradient, expected = _sample()
    try:
        encoded = encoder(gradient, _SAVE)
        with Image.open(io.BytesIO(encoded or b"")) as image, Image.open(io.BytesIO(expected)) as like:
            ours, theirs = (np.asarray(each, dtype=np.float32) for each in (image, like))
            sampled = {each[1:3] for each in image.layer}  # type: ignore[attr-defined]
        good = sampled == {(1, 1)} and float(np.square(ours - theirs).mean()) <= _MOST_ERROR
    except Exception:  # torchvision without it, or without its library, says so in many ways
        good = False
    return encoder if good else None


@cache
def jpeg_decoder(device: torch.device) -> NvJpegDecoder | None:
    """The GPU's, if it is one that makes the very levels of a sample that libjpeg makes of it."""
    return matching(NvJpegDecoder(device)) if device.type == "cuda" else None


def matching(decoder: NvJpegDecoder) -> NvJpegDecoder | None:
    """A decoder that decodes to libjpeg's levels; None of any other."""
    _, data = _sample()
    try:
        pixels = decoder(data)
    except Exception:  # as above
        return None
    with Image.open(io.BytesIO(data)) as image:
        return decoder if pixels is not None and np.array_equal(pixels, np.asarray(image)) else None


def _sample() -> tuple[Image.Image, bytes]:
    """A picture, and Pillow's JPEG of it."""
    gradient = Image.merge(
        "RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90)]
    )
    file = io.BytesIO()
    gradient.save(file, format="JPEG", **_SAVE)
    return gradient, file.getvalue()
