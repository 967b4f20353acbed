"""Content photographs: found, decoded, cropped and put in order, the same for the same seed whoever computes it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from stylebatch.errors import StylebatchError
from stylebatch.interrupt import ignore_interrupts
from trainer.config import MIN_STYLE_SIZE

#: Freely licensed photographs that the package carries; LICENSES.md there names their authors.
PACKAGED = Path(__file__).parent / "photos"

#: The smallest random crop, as a share of the photograph's short side.
_SMALLEST_CROP = 0.5


@dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes:
        images: N×3×S×S, RGB, uint8.
        skipped: photographs that turned out broken, each with the reason; their places were taken by the next ones.
    """

    images: Tensor
    skipped: list[str]

    def pin_memory(self) -> Batch:
        return Batch(self.images.pin_memory(), self.skipped)


def find_photographs(folder: Path) -> tuple[list[Path], list[str]]:
    """Every image file under `folder`, sorted, and a line for each other file.

    Only headers are read: a file that breaks off later shows when it is decoded.

    Raises:
        StylebatchError: no such folder, or no photograph in it.
    """
    if not folder.is_dir():
        raise StylebatchError(f"{folder}: no such folder of content photographs")
    photographs, skipped = [], []
    for path in sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names):
        if path.suffix == ".md" or path.name.startswith("."):
            continue
        try:
            with Image.open(path):
                photographs.append(path)
        except Exception as error:  # Pillow's plug-ins fail in every way on broken files
            skipped.append(f"{path}: {_reason(error)}")
    if not photographs:
        raise StylebatchError(f"{folder}: no content photographs; give a folder of JPEG, PNG or other images")
    return photographs, skipped


def load_style(path: Path, size: int) -> Tensor:
    """The style picture as 1×3×H×W RGB in [0,1], its long side `size` pixels; 0 leaves it as it is.

    Raises:
        StylebatchError: missing, unreadable, or under 64 px.
    """
    try:
        image = _open_rgb(path)
    except FileNotFoundError:
        raise StylebatchError(f"{path}: no such style picture") from None
    except Exception as error:  # as above
        raise StylebatchError(f"{path}: cannot be read as a style picture: {_reason(error)}") from None
    if size:
        scale = size / max(image.size)
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
        )
    if min(image.size) < MIN_STYLE_SIZE:
        raise StylebatchError(
            f"{path}: {image.width}×{image.height} px is too small for a style; it needs {MIN_STYLE_SIZE} px a side"
        )
    return _to_tensor(image).unsqueeze(0) / 255


def load_photograph(path: Path, long_side: int) -> Tensor:
    """A whole photograph as 1×3×H×W RGB in [0,1], no larger than `long_side`."""
    image = _open_rgb(path)
    image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    return _to_tensor(image).unsqueeze(0) / 255


def spread(photographs: list[Path], count: int) -> list[Path]:
    """So many of them, evenly from first to last; all where there are fewer."""
    count = min(count, len(photographs))
    return [photographs[(2 * i + 1) * len(photographs) // (2 * count)] for i in range(count)]


def load_middles(paths: list[Path], size: int) -> Tensor:
    """The middle squares of photographs, N×3×S×S RGB in [0,1]. Broken ones are left out: training names them.

    Raises:
        StylebatchError: all of them are broken.
    """
    squares = []
    for path in paths:
        try:
            squares.append(_to_tensor(ImageOps.fit(_open_rgb(path), (size, size), Image.Resampling.LANCZOS)))
        except Exception:  # as above
            continue
    if not squares:
        raise StylebatchError(f"{paths[0].parent}: every content photograph is broken")
    return torch.stack(squares) / 255


class Crops(Dataset[tuple[Tensor | None, list[str]]]):
    """(epoch, index) → a 3×S×S uint8 crop. Randomness comes from (seed, epoch, index) alone, not from any worker."""

    def __init__(self, photographs: list[Path], size: int, augment: bool, seed: int) -> None:
        self.photographs = photographs
        self.size = size
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor | None, list[str]]:
        epoch, index = key
        rng = random.Random(f"{self.seed}/{epoch}/{index}")
        skipped: list[str] = []
        for offset in range(len(self)):
            path = self.photographs[(index + offset) % len(self)]
            try:
                return self._crop(path, rng), skipped
            except Exception as error:  # as above
                skipped.append(f"{path}: {_reason(error)}")
        return None, skipped

    def _crop(self, path: Path, rng: random.Random) -> Tensor:
        if not self.augment:
            return _to_tensor(_open_rgb(path).resize((self.size, self.size), Image.Resampling.BICUBIC))
        image = _open_rgb(path, at_least=int(self.size / _SMALLEST_CROP))
        side = rng.uniform(_SMALLEST_CROP, 1) * min(image.size)
        left, top = rng.uniform(0, image.width - side), rng.uniform(0, image.height - side)
        box = (left, top, left + side, top + side)
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box, reducing_gap=3)
        return _to_tensor(ImageOps.mirror(image) if rng.random() < 0.5 else image)


class EndlessBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) from `start` steps on: each epoch has every photograph once, a last batch may be partial."""

    def __init__(self, length: int, batch_size: int, shuffle: bool, seed: int, start: int) -> None:
        self.length = length
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, skip = divmod(self.start, -(-self.length // self.batch_size))
        while True:
            order = list(range(self.length))
            if self.shuffle:
                random.Random(f"{self.seed}/{epoch}").shuffle(order)
            for first in range(skip * self.batch_size, self.length, self.batch_size):
                yield [(epoch, index) for index in order[first : first + self.batch_size]]
            epoch, skip = epoch + 1, 0


def content_loader(
    photographs: list[Path], *, size: int, augment: bool, batch_size: int, seed: int, start: int, workers: int, pin: bool
) -> DataLoader[Batch]:
    """An endless stream of `Batch`, as if `start` steps had been taken already."""
    return DataLoader(
        Crops(photographs, size, augment, seed),  # type: ignore[arg-type]
        batch_sampler=EndlessBatches(len(photographs), batch_size, augment, seed, start),
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=ignore_interrupts,
    )


def _collate(samples: list[tuple[Tensor | None, list[str]]]) -> Batch:
    images = [image for image, _ in samples if image is not None]
    skipped = [line for _, lines in samples for line in lines]
    return Batch(torch.stack(images) if images else torch.empty(0), skipped)


def _open_rgb(path: Path, at_least: int = 0) -> Image.Image:
    """Decode upright RGB; a JPEG may come at a fraction of its size, no side under `at_least`."""
    with Image.open(path) as image:
        if at_least:
            image.draft("RGB", (at_least, at_least))
        return ImageOps.exif_transpose(image).convert("RGB")


def _to_tensor(image: Image.Image) -> Tensor:
    """H×W RGB image → 3×H×W uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _reason(error: Exception) -> str:
    return "not an image" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
