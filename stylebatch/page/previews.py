"""Previews: a photograph, reduced, in any style, mix and strength, within the blink of an eye.

A `Stylizer` for each place of a slider would load, check and compile a network each time. Here each style's kernels stay
in memory; those of a mix or a strength are their weighted sum, and PyTorch runs them as they are. The pictures are a
stylizer's.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from stylebatch.backends.bands import InBands
from stylebatch.backends.pytorch import PyTorchBackend
from stylebatch.checkpoint import load_checkpoint
from stylebatch.device import Precision, pick_devices, pick_precision
from stylebatch.effects import effects_of
from stylebatch.errors import StylebatchError
from stylebatch.frame import Pixels
from stylebatch.images.jpeg import to_jpeg
from stylebatch.page.lanes import Check
from stylebatch.page.photos import Photo, Photos
from stylebatch.pixels import with_tone_of
from stylebatch.stages import Stage, as_stages, beyond_borders
from stylebatch.strokes import underpainted, widening
from stylebatch.styles import check_style, find_style, parts_of

#: Seconds that the network of a draft may take: twenty are to be painted a second, and the bar is 150 ms from the slider to
#: the picture, of which the browser and the way there and back take about 45 on two cores.
_DRAFT_SECONDS = 0.04
_DRAFT_SIZES = (128, 160, 192, 224, 256, 288, 320, 352, 384, 448, 512, 576, 640)
#: Larger pictures are computed in bands, in little memory.
_WHOLE_PIXELS = 1_500_000
#: Long side of the smaller pictures of a gallery.
_CARD = 320
#: Long side of the largest preview.
LARGEST = 3200
_QUALITY = 88


@dataclass(frozen=True)
class Look:
    """What a preview shows.

    Attributes:
        style: a name, a path or a mix.
        strength: 0 to 1.5.
        strokes: as of a `Stylizer`, on the whole photograph.
        preserve_color: as of `ImageOptions`.
    """

    style: str
    strength: float = 1.0
    strokes: float | None = None
    preserve_color: float = 0.0


@dataclass(frozen=True)
class _Network:
    stages: list[Stage]
    width: int
    base: str | None
    digest: str


class Networks:
    """Networks of styles and of what lies between them, ready to run. Threads may share it.

    Args:
        most: styles whose kernels stay in memory, 7 MB each at a width of 32.
    """

    def __init__(self, most: int = 24) -> None:
        self.device = pick_devices("auto")[0]
        self.precision = pick_precision("auto", self.device)
        self._most = most
        self._kept: OrderedDict[tuple[Path, int], _Network] = OrderedDict()
        self._ready: OrderedDict[tuple[object, ...], PyTorchBackend | InBands] = OrderedDict()
        self._lock = Lock()

    def width(self, style: str) -> int:
        """Channels of a style's network; of a mix, of its first."""
        return self._network(find_style(next(iter(check_style(style))))).width

    def __call__(
        self, pixels: Pixels, style: str, strength: float, widening: float = 1.0, check: Check = lambda: None
    ) -> Pixels:
        """H×W×3 uint8 → painted, as `Stylizer` does.

        Args:
            widening: how many times as wide as the network's own strokes are to be.
            check: called between layers, or bands of rows.

        Raises:
            StylebatchError: as `load_style`.
        """
        batch = torch.from_numpy(pixels)[None]
        seen = underpainted(batch, widening, lambda small: self._run(small, style, strength, check))
        painted: Pixels = self._run(seen, style, strength, check)[0].numpy()
        return painted if strength >= 1 else with_tone_of(painted, pixels, 1 - strength)

    def _run(self, batch: Tensor, style: str, strength: float, check: Check) -> Tensor:
        in_bands = self.device.type == "cpu" and batch.shape[1] * batch.shape[2] > _WHOLE_PIXELS
        for precision in (self.precision, "fp32"):
            stylized, finite = self._backend(style, strength, precision, in_bands).start(batch, check)()
            if finite:
                return stylized
        raise StylebatchError(f"style {style}: its weights make no numbers of this picture")

    def _backend(self, style: str, strength: float, precision: Precision, in_bands: bool) -> PyTorchBackend | InBands:
        parts = parts_of(style, strength, self._network)
        key = tuple((network.digest, share) for network, share in parts), precision, in_bands
        with self._lock:
            ready = self._ready.pop(key, None)
        if ready is None:
            ready = (InBands if in_bands else PyTorchBackend)(_blended(parts), self.device, precision)
        with self._lock:
            self._ready[key] = ready
            while len(self._ready) > 4:
                self._ready.popitem(last=False)
        return ready

    def _network(self, path: Path) -> _Network:
        key = path.absolute(), path.stat().st_mtime_ns
        with self._lock:
            kept = self._kept.pop(key, None)
        if kept is None:
            checkpoint = load_checkpoint(path)
            stages = beyond_borders(as_stages(checkpoint.network()))
            kept = _Network(stages, checkpoint.width, checkpoint.base, checkpoint.digest)
        with self._lock:
            self._kept[key] = kept
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return kept


def _blended(parts: list[tuple[_Network, float]]) -> list[Stage]:
    """The weighted sum of networks, kernel by kernel: stages are linear in them."""
    (first, _), *others = parts
    if not others:
        return first.stages
    stages = []
    with torch.inference_mode():
        for number, stage in enumerate(first.stages):
            kernel = sum(share * part.stages[number].kernel for part, share in parts)
            biases = [part.stages[number].bias for part, _ in parts]
            bias = sum(share * each for each, (_, share) in zip(biases, parts, strict=True) if each is not None)
            assert isinstance(kernel, torch.Tensor)
            stages.append(replace(stage, kernel=kernel, bias=bias if isinstance(bias, torch.Tensor) else None))
    return stages


class Previews:
    """Paints them, one at a time or from several threads.

    Args:
        photos: of what.
    """

    def __init__(self, photos: Photos) -> None:
        self.networks = Networks()
        self._photos = photos
        #: Seconds a pixel by the network's width, as last measured; at first those of an old machine.
        self._pace: dict[int, float] = {}

    def draft_size(self, photo: Photo, style: str) -> int:
        """The long side that this machine paints in time, now."""
        width = self.networks.width(style)
        pace = self._pace.get(width, 1.5e-6 * width / 32)
        shape = min(photo.width, photo.height) / max(photo.width, photo.height)
        in_time = [size for size in _DRAFT_SIZES if size * size * shape * pace <= _DRAFT_SECONDS]
        return in_time[-1] if in_time else _DRAFT_SIZES[0]

    def __call__(
        self, photo: Photo, look: Look, size: int | None = None, check: Check = lambda: None
    ) -> tuple[bytes, tuple[int, int]]:
        """A JPEG, and width and height that it was painted at.

        Args:
            size: long side; None for a draft's.
            check: called before the network begins, and between its layers or bands of rows. What it raises ends the work.

        Raises:
            StylebatchError: an unknown style, or one that cannot be mixed with the other, or that has no such strength.
        """
        asked = min(size or self.draft_size(photo, look.style), LARGEST)
        original = self._photos.pixels(photo, asked)
        check()
        # As wide, in proportion to the picture, as they will be on the whole photograph.
        times = widening(look.strokes, photo.height, photo.width) * max(original.shape) / max(photo.width, photo.height)
        start = time.perf_counter()
        painted = self.networks(original, look.style, look.strength, times, check)
        if is_draft(size):  # others may have gone first
            self._note_pace(look.style, original, time.perf_counter() - start)
        if look.preserve_color:
            painted = effects_of(preserve_color=look.preserve_color)(original, painted)
        return jpeg(painted), (original.shape[1], original.shape[0])

    def _note_pace(self, style: str, painted: Pixels, seconds: float) -> None:
        """The first pictures of a size take longer: the pace follows slowly upwards, and at once downwards."""
        width, now = self.networks.width(style), seconds / (painted.shape[0] * painted.shape[1])
        last = self._pace.get(width, now)
        self._pace[width] = 0.7 * last + 0.3 * min(now, 3 * last) if now > last else 0.4 * last + 0.6 * now


def is_draft(size: int | None) -> bool:
    """Whether a preview of this long side is painted in time for somebody who moves a slider."""
    return size is None or size <= _CARD


def jpeg(pixels: Pixels) -> bytes:
    """H×W×3 uint8 as a file."""
    return to_jpeg(pixels, _QUALITY)
