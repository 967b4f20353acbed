"""How wide strokes are. A network paints them as many pixels wide as it has learned: on 12 megapixels, as fine as hair.

Wider ones take two passes: one over the reduced photograph, and one at full size over its enlarged painting, for sharpness.
Half of what the second pass sees is the photograph itself, so that windows and faces stay.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from stylebatch.errors import StylebatchError
from stylebatch.options import MAX_STROKES

#: The long side, in pixels, from which strokes are widened by themselves; to the share that they have of this long side.
LARGE, MODEL = 3000, 2000


def check_strokes(strokes: float | None) -> None:
    """Raises StylebatchError for a width that strokes cannot have."""
    if strokes is not None and not 1 <= strokes <= MAX_STROKES:
        raise StylebatchError(f"strokes {strokes:g}: must be from 1, as wide as the style has learned, to {MAX_STROKES}")


def widening(strokes: float | None, height: int, width: int) -> float:
    """How many times as wide as the network's own the strokes on a picture of `height` × `width` are to be.

    Args:
        strokes: that number, from 1; None: by the picture.
    """
    if strokes is not None:
        return strokes
    longest = max(height, width)
    return longest / MODEL if longest > LARGE else 1.0


def reduced(photographs: Tensor, times: float) -> Tensor:
    """N×H×W×3 photographs, uint8 or uint16, with sides divided by `times`."""
    size = tuple(max(1, round(side / times)) for side in (photographs.shape[2], photographs.shape[1]))
    return torch.from_numpy(np.stack([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in photographs.numpy()]))


def underpainted(photographs: Tensor, paintings: Tensor) -> Tensor:
    """What the second pass sees: N×H×W×3 photographs and their smaller paintings, enlarged, a half each."""
    size = photographs.shape[2], photographs.shape[1]
    mixed = [
        cv2.addWeighted(photograph, 0.5, cv2.resize(painting, size, interpolation=cv2.INTER_CUBIC), 0.5, 0)
        for photograph, painting in zip(photographs.numpy(), paintings.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(mixed))
