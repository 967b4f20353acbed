"""How much memory a training needs, compared with what is free before it begins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stylebatch.device import Precision, shortage
from stylebatch.errors import StylebatchError
from stylebatch.system import address_space, free_memory
from trainer.config import FitConfig

#: Bytes for a pixel of the painting while it is measured, always in fp32; for one of a step's crops, by the loss network and
#: by each channel of the network's width. All measured.
_PAINTING, _STEP = 900, {"fp32": (4_400, 140), "bf16": (3_500, 90), "fp16": (3_500, 90)}


def check_memory(
    config: FitConfig, painting: torch.Size, device: torch.device, precision: Precision, photographs: int
) -> None:
    """Compare the memory that a training needs with what is free.

    Args:
        painting: 1×3×H×W.
        photographs: how many of a step the device has.

    Raises:
        StylebatchError: too little is free; the message says what would fit.
    """
    free = _free(device)
    if free is None:
        return
    height, width = painting[2:]
    need = _PAINTING * height * width
    if need > free:
        side = int(max(height, width) * math.sqrt(free / need) * 0.95)
        raise StylebatchError(
            f"{config.style}: to measure {width}×{height} px takes {_gb(need)}, {_gb(free)} are free; "
            f"a `style_size` of {side} fits"
        )
    fixed, by_width = _STEP[precision]
    bytes_per_pixel = fixed + by_width * config.width
    pixels = free / bytes_per_pixel
    if photographs * config.crop_size**2 > pixels:
        need = bytes_per_pixel * photographs * config.crop_size**2
        batch = int(pixels / config.crop_size**2) * config.batch_size // photographs
        fits = (
            f"a `batch_size` of {batch}" if batch else f"a `batch_size` of 1 with a `crop_size` of {int(math.sqrt(pixels))}"
        )
        raise StylebatchError(
            f"`batch_size` {config.batch_size} with `crop_size` {config.crop_size}: a step takes {_gb(need)}, {_gb(free)} "
            f"are free; {fits} fits"
        )


@contextmanager
def memory_errors_explained() -> Iterator[None]:
    """Within the block, an error of memory that runs out is a StylebatchError that says what to do."""
    try:
        yield
        return
    except (MemoryError, RuntimeError) as error:
        if not shortage(error):
            raise
    raise StylebatchError("out of memory; give a smaller `crop_size`, `batch_size` or `style_size`")


def _free(device: torch.device) -> int | None:
    """Bytes that are free on a device; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    return min((free for free in (free_memory(), address_space()) if free is not None), default=None)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
