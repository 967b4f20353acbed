"""What is done to a picture between the network and its file: one ordered list.

Two things are not in it. The tone that a photograph gets back below strength 1 is part of a `Stylizer`'s result, which is
also wanted where there is no file. What becomes of alpha depends on the format that is written, so the sinks see to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np

from stylebatch.frame import Pixels
from stylebatch.pixels import LUMA, resized
from stylebatch.steady import Steadier


class Effect(Protocol):
    """Original and painting in, painting out. Sinks call it in the threads that encode.

    Attributes:
        settings: what its result depends on beside the two, as JSON values. A film with other settings is begun anew.
    """

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def __call__(self, original: Pixels, stylized: Pixels, /) -> Pixels:
        """Both H×W×3 of one size, both uint8 or both uint16 → of that dtype and height."""


@runtime_checkable
class StatefulEffect(Effect, Protocol):
    """One that takes the frames of a film in order.

    Attributes:
        state: all that the next frame needs of those before it; empty before the first. To set it is to go on from there.
    """

    state: bytes


class Effects:
    """The list. It is called for each picture.

    Args:
        at_work_size: effects in the size that the network saw.
        at_output_size: effects after the painting was scaled to the size of the output.

    Attributes:
        settings: of all, in order.

    Raises:
        ValueError: more than one keeps a state.
    """

    def __init__(self, at_work_size: Sequence[Effect] = (), at_output_size: Sequence[Effect] = ()) -> None:
        self._at_work_size, self._at_output_size = at_work_size, at_output_size
        effects = [*at_work_size, *at_output_size]
        self.settings = [dict(effect.settings) for effect in effects]
        stateful = [effect for effect in effects if isinstance(effect, StatefulEffect)]
        if len(stateful) > 1:
            raise ValueError("more than one effect keeps a state")
        self._stateful = stateful[0] if stateful else None

    def __call__(
        self, original: Pixels, stylized: Pixels, size: tuple[int, int] | None = None, full: Pixels | None = None
    ) -> Pixels:
        """Both H×W×3, uint8 or uint16, as the network saw and painted it → the picture to write.

        Args:
            size: width and height of the output, or None if they are the painting's.
            full: the original, where there is a larger one.
        """
        for effect in self._at_work_size:
            stylized = effect(original, stylized)
        size = size or (stylized.shape[1], stylized.shape[0])
        stylized = resized(stylized, size)
        if self._at_output_size:
            original = resized(original if full is None else full, size)
        for effect in self._at_output_size:
            stylized = effect(original, stylized)
        return stylized

    @property
    def is_stateful(self) -> bool:
        """Whether pictures depend on those before them."""
        return self._stateful is not None

    @property
    def state(self) -> bytes:
        """That of the one effect that keeps any, else empty."""
        return self._stateful.state if self._stateful else b""

    @state.setter
    def state(self, state: bytes) -> None:
        if self._stateful:
            self._stateful.state = state


def effects_of(*, steady: float = 0, preserve_color: bool = False, side_by_side: bool = False) -> Effects:
    """Those that are asked for, in their order.

    Frames are steadied in the size that the network saw, where it costs least. The original's colours come after that, in
    full size: they hold still by themselves, and have detail that a painting which was scaled up does not.
    """
    return Effects(
        at_work_size=[Steadier(steady)] if steady else [],
        at_output_size=[*([OriginalColours()] if preserve_color else []), *([SideBySide()] if side_by_side else [])],
    )


class OriginalColours:
    """Brightness of the painting, YCbCr's chroma of the original."""

    settings: Mapping[str, Any] = {"preserve_color": True}

    def __call__(self, original: Pixels, stylized: Pixels) -> Pixels:
        # Equal chroma means equal distances of R, G and B from luma: to move luma alone is to add its difference to each.
        luma = cv2.transform(cv2.subtract(stylized, original, dtype=cv2.CV_32F), LUMA)
        return cv2.add(original, cv2.merge([luma] * 3), dtype=cv2.CV_8U if original.dtype == np.uint8 else cv2.CV_16U)


class SideBySide:
    """Original | painting."""

    settings: Mapping[str, Any] = {"side_by_side": True}

    def __call__(self, original: Pixels, stylized: Pixels) -> Pixels:
        return np.concatenate([original, stylized], axis=1)
