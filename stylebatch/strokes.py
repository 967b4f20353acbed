"""How wide strokes are. A network paints them as many pixels wide as it has learned: on 12 megapixels, as fine as hair.

Wider ones take two passes: one over the reduced photograph, and one at full size over its enlarged painting, for sharpness.
Half of what the second pass sees is the photograph itself, so that windows and faces stay.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from stylebatch.errors import StylebatchError
from stylebatch.options import STROKES

#: The long side, in pixels, from which strokes are widened by themselves; to the share that they have of this long side.
LARGE, MODEL = 3000, 2000


def check_strokes(strokes: float | None) -> None:
    """Raises StylebatchError for a width that strokes cannot have."""
    if strokes is not None and (refusal := STROKES.refusal(strokes)):
        raise StylebatchError(f"strokes {strokes:g}: {refusal}")


def widening(strokes: float | None, height: int, width: int) -> float:
    """How many times as wide as the network's own the strokes on a picture of `height` × `width` are to be.

    Args:
        strokes: that number, from 1; None: by the picture.
    """
    if strokes is not None:
        return strokes
    longest = max(height, width)
    return longest / MODEL if longest > LARGE else 1.0


def underpainted(photographs: Tensor, times: float, paint: Callable[[Tensor], Tensor]) -> Tensor:
    """What the last pass sees, for strokes `times` as wide: N×H×W×3 photographs, uint8 or uint16, and their paintings at a
    size that many times smaller, enlarged, a half each. For 1, the photographs.

    Args:
        paint: N×H×W×3 → painted. Called with one picture at a time: the last pass would make more than one level of what
            differs in the last bit in a batch.
    """
    if times <= 1:
        return photographs
    height, width = photographs.shape[1:3]
    small = max(1, round(width / times)), max(1, round(height / times))
    mixed = []
    for photograph in photographs.numpy():
        reduced = torch.from_numpy(cv2.resize(photograph, small, interpolation=cv2.INTER_AREA))
        painting = cv2.resize(paint(reduced[None])[0].numpy(), (width, height), interpolation=cv2.INTER_CUBIC)
        mixed.append(cv2.addWeighted(photograph, 0.5, painting, 0.5, 0))
    return torch.from_numpy(np.stack(mixed))
