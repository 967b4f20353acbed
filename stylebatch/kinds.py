"""What people hold pictures in, and the batch of it that a network takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylebatch.frame import Pixels

Pictures: TypeAlias = Tensor | Pixels | Image.Image

#: How far beyond [0, 1] floats are clipped, as resizing leaves them; further out they mean something else.
_OVERSHOOT = 0.5
_DTYPES = ("uint8", "uint16", "float16", "bfloat16", "float32", "float64")


def as_batch(pictures: Pictures) -> tuple[Tensor, bool, Callable[[Tensor], Any]]:
    """N×H×W×3 uint8 or uint16 on the CPU; whether it has been floats; and what makes the kind, shape and dtype of `pictures`
    of another such batch.

    Raises:
        ValueError: it is no picture in RGB, nor several, in the numbers that `Stylizer` takes.
    """
    if isinstance(pictures, Image.Image):
        return _of_image(pictures)
    if isinstance(pictures, np.ndarray):
        dtype = pictures.dtype.newbyteorder("=")
        _check(pictures.shape, dtype.name)
        batch, floating, back = _of_tensor(torch.from_numpy(np.require(pictures, dtype, ["C", "W"])))
        return batch, floating, lambda result: back(result).numpy()
    _check(pictures.shape, str(pictures.dtype).removeprefix("torch."))
    return _of_tensor(pictures)


def _check(shape: Sequence[int], dtype: str) -> None:
    if len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape[-3:] or dtype not in _DTYPES:
        hint = "; channels come last" if len(shape) in (3, 4) and shape[-3] == 3 != shape[-1] else ""
        raise ValueError(f"pictures are H×W×3 or N×H×W×3 of {', '.join(_DTYPES)}, not {tuple(shape)} of {dtype}{hint}")


def _of_image(image: Image.Image) -> tuple[Tensor, bool, Callable[[Tensor], Image.Image]]:
    """Of any mode of 8 bits; its alpha stays."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"an image of mode {image.mode} has more than 8 bits; give its pixels as an array, H×W×3 uint16")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    batch = torch.from_numpy(np.array(image.convert("RGB")))[None]

    def back(result: Tensor) -> Image.Image:
        stylized = Image.fromarray(result[0].numpy())
        if alpha is not None:
            stylized.putalpha(alpha)
        return stylized

    return batch, False, back


def _of_tensor(pixels: Tensor) -> tuple[Tensor, bool, Callable[[Tensor], Tensor]]:
    shape, dtype, device = pixels.shape, pixels.dtype, pixels.device
    batch = pixels.detach().reshape(-1, *shape[-3:]).cpu()
    if dtype.is_floating_point:
        batch = _as_16_bits(batch)

    def back(result: Tensor) -> Tensor:
        if dtype.is_floating_point:
            result = (result.to(torch.promote_types(dtype, torch.float32)) / 65535).to(dtype)
        return result.reshape(shape).to(device)

    return batch.contiguous(), dtype.is_floating_point, back


def _as_16_bits(pixels: Tensor) -> Tensor:
    values = pixels.to(torch.promote_types(pixels.dtype, torch.float32))
    if values.numel() and not (values.min() >= -_OVERSHOOT and values.max() <= 1 + _OVERSHOOT):
        raise ValueError(f"floats are from 0 to 1, not from {values.min():g} to {values.max():g}")
    return (values.clamp(0, 1) * 65535).round().to(torch.uint16)
