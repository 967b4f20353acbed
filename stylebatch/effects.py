"""What is done to a picture between the network and its file: one ordered list.

What becomes of alpha is not in it: that depends on the format that is written, so the sinks see to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np

from stylebatch.frame import Pixels
from stylebatch.pixels import LUMA, resized, with_tone_of
from stylebatch.steady import Steadier


class Effect(Protocol):
    """Original and painting in, painting out. Several threads call it at once.

    Attributes:
        settings: what its result depends on beside the two, as JSON values. A film with other settings is begun anew.
    """

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def __call__(self, original: Pixels, stylized: Pixels, /) -> Pixels:
        """Both H×W×3 of one size, both uint8 or both uint16 → of that dtype and height."""


@runtime_checkable
class StatefulEffect(Effect, Protocol):
    """One that takes the frames of a film in order, one at a time.

    Attributes:
        state: all that the next frame needs of those before it; empty before the first. To set it is to go on from there.
    """

    state: bytes


class Effects:
    """The list. It is called for each picture, or its three parts are, one after the other: `before` and `after` for many
    pictures at once, and between them `steadied` for the frames of a film in order.

    Args:
        at_work_size: effects in the size that the network saw; the last of them may keep a state.
        at_output_size: effects after the painting was scaled to the size of the output.

    Attributes:
        settings: of all, in order.

    Raises:
        ValueError: another one keeps a state.
    """

    def __init__(self, at_work_size: Sequence[Effect] = (), at_output_size: Sequence[Effect] = ()) -> None:
        self._at_work_size, self._at_output_size = list(at_work_size), at_output_size
        self._stateful: StatefulEffect | None = None
        self.settings = [dict(effect.settings) for effect in (*at_work_size, *at_output_size)]
        if self._at_work_size and isinstance(last := self._at_work_size[-1], StatefulEffect):
            self._stateful = last
            self._at_work_size.pop()
        if any(isinstance(effect, StatefulEffect) for effect in (*self._at_work_size, *at_output_size)):
            raise ValueError("the last effect at work size alone may keep a state")

    def __call__(
        self, original: Pixels, stylized: Pixels, size: tuple[int, int] | None = None, full: Pixels | None = None
    ) -> Pixels:
        """Both H×W×3, uint8 or uint16, as the network saw and painted it → the picture to write.

        Args:
            size: width and height of the output, or None if they are the painting's.
            full: the original, where there is a larger one.
        """
        return self.after(original, self.steadied(original, self.before(original, stylized)), size, full)

    def before(self, original: Pixels, stylized: Pixels) -> Pixels:
        """What comes before the effect that keeps a state."""
        for effect in self._at_work_size:
            stylized = effect(original, stylized)
        return stylized

    def steadied(self, original: Pixels, stylized: Pixels) -> Pixels:
        """That effect, if there is one: frames in order, one at a time."""
        return self._stateful(original, stylized) if self._stateful else stylized

    def after(
        self, original: Pixels, stylized: Pixels, size: tuple[int, int] | None = None, full: Pixels | None = None
    ) -> Pixels:
        """What comes after it, with arguments as in a call."""
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


def effects_of(*, tone: float = 0, steady: float = 0, preserve_color: float = 0, side_by_side: bool = False) -> Effects:
    """Those that are asked for, in their order.

    Frames are steadied in the size that the network saw, where it costs least. The original's colours come after that, in
    full size: they hold still by themselves, and have detail that a painting which was scaled up does not.
    """
    return Effects(
        at_work_size=[*([Tone(tone)] if tone else []), *([Steadier(steady)] if steady else [])],
        at_output_size=[
            *([OriginalColours(preserve_color)] if preserve_color else []),
            *([SideBySide()] if side_by_side else []),
        ],
    )


class Tone:
    """The painting on the way to the original's tone, by a share from 0 to 1: what `Stylizer.start` leaves to be done."""

    def __init__(self, share: float) -> None:
        self.share = share

    @property
    def settings(self) -> dict[str, float]:
        return {"tone": self.share}

    def __call__(self, original: Pixels, stylized: Pixels) -> Pixels:
        return with_tone_of(stylized, original, self.share)


class OriginalColours:
    """Brightness of the painting, YCbCr's chroma of the original, by a share from 0 to 1."""

    def __init__(self, share: float = 1) -> None:
        self.share = share

    @property
    def settings(self) -> dict[str, Any]:
        return {"preserve_color": True if self.share == 1 else self.share}

    def __call__(self, original: Pixels, stylized: Pixels) -> Pixels:
        # Equal chroma means equal distances of R, G and B from luma: to move luma alone is to add its difference to each.
        luma = cv2.transform(cv2.subtract(stylized, original, dtype=cv2.CV_32F), LUMA)
        depth = cv2.CV_8U if original.dtype == np.uint8 else cv2.CV_16U
        luma = cv2.merge([luma] * 3)
        if self.share == 1:
            return cv2.add(original, luma, dtype=depth)
        coloured = cv2.add(original, luma, dtype=cv2.CV_32F)
        return cv2.addWeighted(coloured, self.share, stylized, 1 - self.share, 0, dtype=depth)


class SideBySide:
    """Original | painting."""

    settings: Mapping[str, Any] = {"side_by_side": True}

    def __call__(self, original: Pixels, stylized: Pixels) -> Pixels:
        return np.concatenate([original, stylized], axis=1)
