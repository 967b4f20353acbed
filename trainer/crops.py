"""Crops of photographs, the same for the same seed whatever process makes them. PyTorch, slow to load, is not needed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from stylebatch.frame import Failure, Pixels
from stylebatch.images.decoding import read_pixels
from stylebatch.images.jpeg import ADVICE
from stylebatch.images.source import ImageSource

#: The smallest random crop, as a share of the photograph's short side.
_SMALLEST_CROP = 0.5


class Crops:
    """(epoch, index) → an S×S×3 uint8 crop, or None if all photographs are broken, and a line for each broken one that was
    tried. Randomness comes from (seed, epoch, index) alone, not from any process."""

    def __init__(self, photographs: list[Path], size: int, augment: bool, seed: int) -> None:
        self.photographs = photographs
        self.size = size
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Pixels | None, list[str]]:
        epoch, index = key
        rng = random.Random(f"{self.seed}/{epoch}/{index}")
        skipped: list[str] = []
        for offset in range(len(self)):
            path = self.photographs[(index + offset) % len(self)]
            try:
                return self._crop(path, rng), skipped
            except Exception:  # Pillow's plug-ins fail in every way on broken files
                skipped.append(f"{path}: {why_broken(path)}")
        return None, skipped

    def _crop(self, path: Path, rng: random.Random) -> Pixels:
        if not self.augment:
            return np.array(open_rgb(path).resize((self.size, self.size), Image.Resampling.BICUBIC))
        image = open_rgb(path, at_least=int(self.size / _SMALLEST_CROP))
        side = rng.uniform(_SMALLEST_CROP, 1) * min(image.size)
        left, top = rng.uniform(0, image.width - side), rng.uniform(0, image.height - side)
        box = (left, top, left + side, top + side)
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box, reducing_gap=3)
        return np.array(ImageOps.mirror(image) if rng.random() < 0.5 else image)


def endless_batches(
    length: int, batch_size: int, shuffle: bool, seed: int, start: int, number: int = 0, count: int = 1
) -> Iterator[list[tuple[int, int]]]:
    """Batches of (epoch, index) from `start` steps on: each epoch has every photograph once, a last batch may be partial. Of
    each batch, part `number`, from 0, of `count` that differ by one photograph at most."""
    epoch, skip = divmod(start, -(-length // batch_size))
    while True:
        order = list(range(length))
        if shuffle:
            random.Random(f"{seed}/{epoch}").shuffle(order)
        for first in range(skip * batch_size, length, batch_size):
            batch = order[first : first + batch_size]
            part = slice(len(batch) * number // count, len(batch) * (number + 1) // count)
            yield [(epoch, index) for index in batch[part]]
        epoch, skip = epoch + 1, 0


def open_rgb(path: Path, at_least: int = 0) -> Image.Image:
    """Decode upright RGB; a JPEG may come at a fraction of its size, no side under `at_least`."""
    pixels, _ = read_pixels(path, (at_least, at_least) if at_least else None)
    return Image.fromarray(pixels)


def why_broken(path: Path) -> str:
    """Why a photograph cannot be read, as `stylebatch` words it, without advice that only it can follow."""
    outcome = ImageSource(path.parent)[path.name]
    return outcome.reason.removesuffix(ADVICE) if isinstance(outcome, Failure) else "cannot be read"
