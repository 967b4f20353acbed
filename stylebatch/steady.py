"""Steady films: a point of the scene is painted alike in one frame and the next.

Each frame takes over the frame before, moved along the motion of the film itself: dense optical flow (DIS, Kroeger et al.
2016, arXiv 1603.03590), there and back. Where both agree, the motion is the mean of the two, whose errors are smaller. The
more they disagree (Sundaram et al. 2010), the less is taken over, and the more of the frame's own painting stands; likewise
where the moved frame of the film does not look like this one. In even places noise alone makes flows disagree, and counts
for less.

A mean of paintings is dull, and a moved picture is soft. So the finest bands of a Laplacian pyramid are brought back to the
energy that they have in the frame's own painting, in every frame a little: what is carried along keeps its edges. The
coarsest band is drawn towards the frame's own, so that colours do not drift, and all the way while a film fades.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from stylebatch.errors import StylebatchError
from stylebatch.frame import Pixels
from stylebatch.options import STEADINESS, STEADY

#: Of the grey pictures whose motion is found: the standard deviation of their blur, against noise, in pixels.
_DENOISED = 0.7
#: Pixels² by which flows there and back miss each other: up to here they measure the same motion; where half is believed.
_AGREED, _MISS = 0.5, 0.22
#: Levels a pixel by which brightness changes where disagreement of flows counts half.
_EVEN = 2.0
#: Pixels from the edge of the frame before, up to which what moves is not believed: the flow has nothing to go by there.
_EDGE = 2.0
#: Levels of 255 by which the moved frame of the film may differ from this one; twice that is not believed at all.
_UNLIKE = 24.0
#: Standard deviations of the Gaussians between bands, in pixels; by how much a frame may amplify one; the side of the square
#: over which energies are compared. With 1.25, amplified strokes bead into dashes over some twenty frames.
_BANDS, _MOST, _WINDOW = (0.7, 1.4), 1.1, 17
#: What the coarsest band takes from the frame's own painting, and its standard deviation, in pixels; by how many levels the
#: film's brightness changes where it takes all.
_OWN_COLOURS, _COARSE, _REDUCED, _FADE = 0.3, 16, 8, 3.0
#: Less of the frame before than this is a cut: nothing is taken over.
_CUT = 0.1
#: Frames of shorter sides are left alone: the flow has nothing to go by.
_LEAST = 32
_HEADER = struct.Struct("<4sIII")
_MAGIC = b"stdy"


class Steadier:
    """Takes a film's frames with their paintings, in order, and gives paintings that hold still. Deterministic.

    Args:
        share: how much of a pixel comes from the frame before, from 0, each frame alone, to 1.

    Attributes:
        state: all that the next frame needs, as bytes; empty before the first frame. It can be given to another one.

    Raises:
        StylebatchError: the share is out of range.
    """

    def __init__(self, share: float = STEADY) -> None:
        if refusal := STEADINESS.refusal(share):
            raise StylebatchError(f"steady {share:g}: {refusal}")
        self.share = share
        self._frame: Pixels | None = None
        self._painted: Pixels | None = None  # in steps of 1/256 level: what is kept between runs is all that there is

    def __call__(self, frame: Pixels, painted: Pixels) -> Pixels:
        """The next frame of the film and its painting, both H×W×3, uint8 or uint16 → the painting that holds still, in the
        painting's depth. A frame of another size begins anew."""
        before, moved = self._frame, self._painted
        now = _levels(frame).astype(np.uint8)
        exact = _levels(painted)
        if before is None or moved is None or before.shape != now.shape or min(now.shape[:2]) < _LEAST:
            steadied = exact
        elif np.array_equal(before, now):
            steadied = moved.astype(np.float32) / 256
        else:
            steadied = self._steadied(before, now, moved, exact)
        self._frame = now
        self._painted = np.rint(steadied.clip(0, 255) * 256).astype(np.uint16)
        if painted.dtype == np.uint16:
            return np.rint(self._painted * (65535 / (255 * 256))).astype(np.uint16)
        return np.rint(self._painted / np.float32(256)).astype(np.uint8)

    @property
    def settings(self) -> dict[str, float]:
        return {"steady": self.share}

    @property
    def state(self) -> bytes:
        if self._frame is None or self._painted is None:
            return b""
        height, width, channels = self._frame.shape
        return _HEADER.pack(_MAGIC, height, width, channels) + self._frame.tobytes() + self._painted.tobytes()

    @state.setter
    def state(self, state: bytes) -> None:
        if not state:
            self._frame = self._painted = None
            return
        magic, *shape = _HEADER.unpack_from(state)
        pixels = int(np.prod(shape))
        if magic != _MAGIC or len(state) != _HEADER.size + 3 * pixels:
            raise ValueError("no state of a Steadier")
        self._frame = np.frombuffer(state, np.uint8, pixels, _HEADER.size).reshape(shape)
        self._painted = np.frombuffer(state, np.uint16, pixels, _HEADER.size + pixels).reshape(shape)

    def _steadied(self, before: Pixels, now: Pixels, moved: Pixels, painted: Pixels) -> Pixels:
        places, share, change = _motion(before, now)
        if share.mean() < _CUT:
            return painted
        carried = _moved(moved.astype(np.float32) / 256, places, cv2.INTER_LANCZOS4)
        steadied = painted + (self.share * share)[..., None] * (carried - painted)
        height, width, _ = painted.shape
        small = max(1, width // _REDUCED), max(1, height // _REDUCED)
        drift = _blurred(cv2.resize(painted - steadied, small, interpolation=cv2.INTER_AREA), _COARSE / _REDUCED)
        tie = min(1.0, _OWN_COLOURS + (1 - _OWN_COLOURS) * change / _FADE)
        steadied += tie * cv2.resize(drift, (width, height), interpolation=cv2.INTER_LINEAR)
        sharp: Pixels = steadied
        coarse, own = steadied, painted
        for deviation in _BANDS:
            (coarser, band), (own, own_band) = _split(coarse, deviation), _split(own, deviation)
            gain = np.sqrt((_energy(own_band) + 0.5) / (_energy(band) + 0.5)).clip(1 / _MOST, _MOST)
            sharp = sharp + (gain - 1)[..., None] * band
            coarse = coarser
        return sharp


def _motion(before: Pixels, now: Pixels) -> tuple[tuple[Pixels, Pixels], Pixels, float]:
    """Where in the frame before each pixel comes from, x and y, each H×W in pixels; how far that is to be believed, H×W in
    [0,1]; by how many levels the film's brightness has changed."""
    luma, luma_before = (_blurred(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), _DENOISED) for image in (now, before))
    height, width = luma.shape
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    flow, back = _flow(luma, luma_before), _flow(luma_before, luma)
    missed = flow + _moved(back, (x + flow[..., 0], y + flow[..., 1]), cv2.INTER_LINEAR)
    miss = np.square(missed).sum(-1)
    flow = flow - missed * (1 - miss / (2 * _AGREED)).clip(0, 0.5)[..., None]
    x, y = x + flow[..., 0], y + flow[..., 1]
    edge = np.minimum(2 * np.abs(flow).max(-1), _EDGE)
    inside = (x >= edge) & (y >= edge) & (x <= width - 1 - edge) & (y <= height - 1 - edge)
    slopes = cv2.spatialGradient(luma)
    texture = np.square(cv2.blur(np.hypot(*(slope.astype(np.float32) for slope in slopes)) / 8, (7, 7)))
    doubt = cv2.dilate(miss * texture / (texture + _EVEN**2), np.ones((3, 3), np.uint8))
    expected = _moved(before, (x, y), cv2.INTER_LINEAR)
    unlike = cv2.blur(cv2.absdiff(_blurred(now, 1), _blurred(expected, 1)).max(-1), (3, 3))
    believed = inside * (2 - unlike / np.float32(_UNLIKE)).clip(0, 1) / (1 + doubt / np.float32(_MISS))
    change = np.abs(np.subtract(cv2.mean(now), cv2.mean(expected))).max()
    return (x, y), _blurred(believed.astype(np.float32), 1) * inside, float(change)


def _flow(image: Pixels, other: Pixels) -> Pixels:
    """Where each pixel of one grey picture is in another, H×W×2 in pixels. Each time by a new object: it changes its own
    settings by the sizes that it has met."""
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setPatchSize(10)
    dis.setPatchStride(5)
    dis.setVariationalRefinementIterations(10)
    flow: Pixels = dis.calc(image, other, None)
    return flow


def _levels(pixels: Pixels) -> Pixels:
    """In levels of 255, float32."""
    levels = pixels.astype(np.float32)
    return levels / np.float32(257) if pixels.dtype == np.uint16 else levels


def _moved(image: Pixels, places: tuple[Pixels, Pixels], interpolation: int) -> Pixels:
    return cv2.remap(image, *places, interpolation, borderMode=cv2.BORDER_REFLECT_101)


def _blurred(image: Pixels, deviation: float) -> Pixels:
    return cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REFLECT_101)


def _split(image: Pixels, deviation: float) -> tuple[Pixels, Pixels]:
    """A picture's coarse part, and what is finer."""
    coarse = _blurred(image, deviation)
    return coarse, image - coarse


def _energy(band: Pixels) -> Pixels:
    """Of all channels, in levels², around each pixel."""
    energy: Pixels = cv2.blur(np.square(band).sum(-1), (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT_101)
    return energy
