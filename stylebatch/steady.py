"""Steady films: a point of the scene is painted alike in one frame and the next.

Each frame takes over the frame before, moved along the motion of the film itself: dense optical flow (DIS, Kroeger et al.
2016, arXiv 1603.03590) in half the size, there and back. Where both agree, the motion is the mean of the two, whose errors
are smaller. Where the camera's motion, which most of the picture has in common, explains the film as well, that one is
taken: it is exact, and known in even places, too. The more the flows disagree (Sundaram et al. 2010), the less is taken
over, and the more of the frame's own painting stands; likewise where the moved frame of the film does not look like this.
In even places noise alone makes flows disagree, and counts for less.

The coarsest band of that mean is drawn towards the frame's own, so that colours do not drift, and all the way while a film
fades. A mean of paintings is dull, and a moved picture is soft. So the finest bands of a Laplacian pyramid of its luma are
brought to the energy that they have in the frame's own painting, before it is shown. The next frame takes it over as it was
before that: sharpened again and again, the wavelengths that gain most would outgrow all others, until strokes are rows of
dots.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from stylebatch.errors import StylebatchError
from stylebatch.frame import Pixels
from stylebatch.options import STEADINESS, STEADY

#: The motion is found in half the size where the shorter side has this much; in smaller frames there is too little for that.
_HALVED = 128
#: Of the grey pictures whose motion is found: the standard deviation of their blur, against noise, in pixels.
_DENOISED = 0.5
#: Pixels² by which flows there and back miss each other: up to here they measure the same motion; where half is believed.
_AGREED, _MISS = 0.5, 0.065
#: Levels a pixel by which brightness changes where disagreement of flows counts half.
_EVEN = 2.0
#: The camera's motion is fitted to each eighth pixel across and down, in so many rounds; by how many pixels flow may miss
#: it in the last, there to count a quarter.
_SPARSE, _ROUNDS, _OFF = 8, 8, 0.5
#: Of the camera's motion against the flow: the noise, in levels², that makes neither of two predictions the better one; what
#: speaks for it from the start; by how many pixels it may differ before that is gone; the deviation of the window.
_NOISE, _FAVOUR, _NEAR, _AROUND = 2.0, 1.5, 1.0, 2.5
#: Pixels from the edge of the frame before, up to which what moves is not believed: the flow has nothing to go by there.
_EDGE = 2.0
#: Levels of 255 by which the moved frame of the film may differ from this one; twice that is not believed at all.
_UNLIKE = 24.0
#: Standard deviations of the Gaussians between bands, in pixels; by how much one may be amplified; the side of the square
#: over which energies are compared, in cells; a cell's side; what is too faint to be amplified, in levels².
_BANDS, _MOST, _WINDOW, _CELL, _FAINT = (0.7, 1.4), 1.5, 5, 4, np.float32(0.2)
#: What the coarsest band takes from the frame's own painting, and its standard deviation, in pixels; by how many levels the
#: film's brightness changes where it takes all.
_OWN_COLOURS, _COARSE, _REDUCED, _FADE = 0.5, 16, 8, 3.0
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
        shown = self._painted.astype(np.float32) / 256
        if steadied is not exact:
            shown = cv2.add(shown, cv2.merge([_sharpening(shown, exact)] * 3)).clip(0, 255)
        return np.rint(shown * 257).astype(np.uint16) if painted.dtype == np.uint16 else np.rint(shown).astype(np.uint8)

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
        height, width, _ = painted.shape
        carried = _moved(moved.astype(np.float32) * np.float32(1 / 256), places, cv2.INTER_CUBIC)
        share *= np.float32(self.share)
        steadied = cv2.blendLinear(carried, painted, share, 1 - share)
        small = max(1, width // _REDUCED), max(1, height // _REDUCED)
        drift = cv2.resize(cv2.subtract(painted, steadied), small, interpolation=cv2.INTER_AREA)
        drift = _blurred(drift, _COARSE / _REDUCED)
        tie = min(1.0, _OWN_COLOURS + (1 - _OWN_COLOURS) * change / _FADE)
        return cv2.scaleAdd(cv2.resize(drift, (width, height), interpolation=cv2.INTER_LINEAR), tie, steadied)


def _sharpening(steadied: Pixels, painted: Pixels) -> Pixels:
    """What brings the finest bands of a steadied painting's luma towards their energy in the frame's own, H×W in levels."""
    coarse, own = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (steadied, painted))
    height, width = coarse.shape
    added = np.zeros_like(coarse)
    for deviation in _BANDS:
        (coarse, band), (own, own_band) = _split(coarse, deviation), _split(own, deviation)
        gain = cv2.sqrt((_energy(own_band) + _FAINT) / (_energy(band) + _FAINT)).clip(1 / _MOST, _MOST)
        gain = cv2.resize(gain - 1, (width, height), interpolation=cv2.INTER_LINEAR)
        added = cv2.add(added, cv2.multiply(band, gain))
    return added


def _motion(before: Pixels, now: Pixels) -> tuple[tuple[Pixels, Pixels], Pixels, float]:
    """Where in the frame before each pixel comes from, x and y, each H×W in pixels; how far that is to be believed, H×W in
    [0,1]; by how many levels the film's brightness has changed."""
    height, width, _ = now.shape
    if min(height, width) >= _HALVED:
        before, now = (cv2.resize(each, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for each in (before, now))
    scale = width / now.shape[1], height / now.shape[0]
    flow, believed, change = _small_motion(before, now)
    flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    share = cv2.resize(believed, (width, height), interpolation=cv2.INTER_LINEAR)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    flow *= np.array(scale, np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    edge = np.minimum(2 * cv2.max(*map(np.abs, cv2.split(flow))), np.float32(_EDGE))
    share *= (x >= edge) & (y >= edge) & (x <= width - 1 - edge) & (y <= height - 1 - edge)
    return (x, y), share, change


def _small_motion(before: Pixels, now: Pixels) -> tuple[Pixels, Pixels, float]:
    """The flow from this frame to the one before, H×W×2, and as in `_motion`."""
    luma, luma_before = (_blurred(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), _DENOISED) for image in (now, before))
    flow, back = _flow(luma, luma_before), _flow(luma_before, luma)
    missed = flow + _moved(back, _places(flow), cv2.INTER_LINEAR)
    miss = np.square(missed[..., 0]) + np.square(missed[..., 1])
    flow -= missed * (1 - miss / (2 * _AGREED)).clip(0, 0.5)[..., None]
    slopes = [slope.astype(np.float32) / 8 for slope in cv2.spatialGradient(luma)]
    texture = cv2.blur(np.square(slopes[0]) + np.square(slopes[1]), (7, 7))
    even = texture / (texture + np.float32(_EVEN**2))
    camera = _camera(flow, even)
    own, its = (_missing(luma, luma_before, each) for each in (flow, camera))
    apart = np.square(flow[..., 0] - camera[..., 0]) + np.square(flow[..., 1] - camera[..., 1])
    evidence = 4 * (own - its) / (np.minimum(own, its) + np.float32(_NOISE)) + _FAVOUR * (1 - apart / np.float32(_NEAR**2))
    share = _blurred(1 / (1 + np.exp(-evidence.clip(-20, 20))), 1)
    flow += share[..., None] * (camera - flow)
    doubt = cv2.dilate(miss * even, np.ones((3, 3), np.uint8)) * (1 - share)
    expected = _moved(before, _places(flow), cv2.INTER_LINEAR)
    unlike = cv2.absdiff(_blurred(now, 0.5), _blurred(expected, 0.5))
    red, green, blue = cv2.split(unlike)
    unlike = cv2.blur(cv2.max(cv2.max(red, green), blue), (3, 3))
    believed = (2 - unlike / np.float32(_UNLIKE)).clip(0, 1) / (1 + doubt / np.float32(_MISS))
    change = np.abs(np.subtract(cv2.mean(now), cv2.mean(expected))).max()
    return flow, _blurred(believed.astype(np.float32), 0.7), float(change)


def _camera(flow: Pixels, weight: Pixels) -> Pixels:
    """The motion that most of a flow has in common: of a plane before a camera that moves and turns. Its eight numbers are
    fitted by weighted squares, in rounds, in which what they miss counts less and less."""
    across, along = _planes(*flow.shape[:2])
    sparse = np.s_[..., _SPARSE // 2 :: _SPARSE, _SPARSE // 2 :: _SPARSE]
    rows = np.stack([each[sparse].reshape(8, -1) for each in (across, along)]).astype(np.float64)
    values = np.stack([part[sparse].ravel() for part in cv2.split(flow)]).astype(np.float64)
    trusted = weight[sparse].ravel() + 1e-3
    missed = np.square(values - np.median(values, axis=1, keepdims=True)).sum(0)
    spread = 8 * _OFF
    numbers = np.zeros(8)
    for _ in range(_ROUNDS):
        weights = trusted / np.square(1 + missed / spread**2)
        # No matrix products: the order of their sums, and so the last bits, might depend on how many threads there are.
        weighted = rows * weights
        left = np.einsum("axn,ayn->xy", weighted, rows) + np.eye(8) * 1e-6 * weights.sum()
        numbers = np.linalg.solve(left, (weighted * values[:, None]).sum((0, 2)))
        missed = np.square(values - (numbers[:, None] * rows).sum(1)).sum(0)
        spread = max(_OFF, spread / 2)
    parts = numbers.astype(np.float32)
    motion: Pixels = cv2.merge([np.einsum("a,ayx->yx", parts, each) for each in (across, along)])
    return motion


@lru_cache(maxsize=1)
def _planes(height: int, width: int) -> tuple[Pixels, Pixels]:
    """What each of a camera's eight numbers moves the pixels of a frame by, across and along, each 8×H×W."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width - np.float32(0.5), y / width - np.float32(0.5 * height / width)
    one, none = np.ones_like(x), np.zeros_like(x)
    return np.stack([one, x, y, none, none, none, x * x, x * y]), np.stack([none, none, none, one, x, y, x * y, y * y])


def _flow(image: Pixels, other: Pixels) -> Pixels:
    """Where each pixel of one grey picture is in another, H×W×2 in pixels. Each time by a new object: it changes its own
    settings by the sizes that it has met."""
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    dis.setPatchStride(5)
    dis.setGradientDescentIterations(4)
    dis.setVariationalRefinementIterations(2)
    flow: Pixels = dis.calc(image, other, None)
    return flow


def _missing(luma: Pixels, before: Pixels, flow: Pixels) -> Pixels:
    """By how much, around each pixel, a frame is not the one before moved along a flow, in levels²."""
    missing = cv2.subtract(luma, _moved(before, _places(flow), cv2.INTER_LINEAR), dtype=cv2.CV_32F)
    return _blurred(cv2.multiply(missing, missing), _AROUND)


def _places(flow: Pixels) -> tuple[Pixels, Pixels]:
    """Where a flow leads each pixel, x and y."""
    height, width, _ = flow.shape
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    return x + flow[..., 0], y + flow[..., 1]


def _levels(pixels: Pixels) -> Pixels:
    """In levels of 255, float32."""
    levels = pixels.astype(np.float32)
    return levels / np.float32(257) if pixels.dtype == np.uint16 else levels


def _moved(image: Pixels, places: tuple[Pixels, Pixels], interpolation: int) -> Pixels:
    return cv2.remap(image, *places, interpolation, borderMode=cv2.BORDER_REFLECT_101)


def _blurred(image: Pixels, deviation: float) -> Pixels:
    return cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REFLECT_101)


def _split(image: Pixels, deviation: float) -> tuple[Pixels, Pixels]:
    """A picture's coarse part, and what is finer. The Gaussian ends at three deviations, where OpenCV takes four."""
    side = 2 * round(3 * deviation) + 1
    coarse = cv2.GaussianBlur(image, (side, side), deviation, borderType=cv2.BORDER_REFLECT_101)
    return coarse, cv2.subtract(image, coarse)


def _energy(band: Pixels) -> Pixels:
    """In levels², around each cell."""
    height, width = band.shape
    total = cv2.resize(cv2.multiply(band, band), (-(-width // _CELL), -(-height // _CELL)), interpolation=cv2.INTER_AREA)
    energy: Pixels = cv2.blur(total, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REFLECT_101)
    return energy
