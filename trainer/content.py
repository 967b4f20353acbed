"""Content photographs: found, decoded, cropped and put in order, the same for the same seed whoever computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from stylebatch.errors import StylebatchError
from stylebatch.frame import Pixels
from stylebatch.images.decoding import open_image, read_pixels
from stylebatch.images.source import find_images
from stylebatch.pixels import resized
from stylebatch.workers import decoded
from trainer.config import MIN_STYLE_SIZE
from trainer.crops import Crops, endless_batches, open_rgb, why_broken
from trainer.report import is_ours

#: Freely licensed photographs that the package carries; LICENSES.md there names their authors.
PACKAGED = Path(__file__).parent / "photos"

#: Long side of the photograph in previews and fuse pictures.
PREVIEW_SIZE = 512
#: Photographs that are kept from training to see what it does to others: so many, and at most this share of them.
VALIDATION, VALIDATION_SHARE = 8, 1 / 4
#: Style pictures of more pixels than this, scans, are reduced while they are read, to this many times the wanted size.
_SCAN, _REDUCED_TO = 50_000_000, 4


@dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes:
        images: N×3×S×S, RGB, uint8.
        skipped: photographs that turned out broken, each with the reason; their places were taken by the next ones.
    """

    images: Tensor
    skipped: list[str]


@dataclass(frozen=True, repr=False)
class StylePicture:
    """What is to be learned.

    Attributes:
        image: 1×3×H×W RGB in [0,1]; where it is transparent, the colours around.
        opacity: 1×1×H×W in [0,1], or None if it is opaque everywhere.
    """

    image: Tensor
    opacity: Tensor | None = None

    def to(self, device: torch.device) -> StylePicture:
        return StylePicture(self.image.to(device), None if self.opacity is None else self.opacity.to(device))


def find_photographs(
    folder: Path, out: Path | None = None, check: Callable[[], None] = lambda: None
) -> tuple[list[Path], list[str]]:
    """Every picture under `folder`, sorted, and a line for each other file. Links are followed, to each folder once.

    Only headers are read: that a file is truncated is noticed when it is decoded.

    Args:
        out: where a training writes: what lies there is no photograph, nor is what trainings have left elsewhere.
        check: called before each file is opened.

    Raises:
        StylebatchError: no such folder, or no photograph in it.
    """
    if not folder.is_dir():
        raise StylebatchError(f"{folder}: no such folder of content photographs")
    names, others, failures = find_images(folder, follow_links=True)
    others = [name for name in others if not name.endswith((".md", "/")) and not Path(name).name.startswith(".")]
    skipped = [f"{folder / name}: not an image" for name in others]
    skipped += [f"{folder / failure.source}: {failure.reason}" for failure in failures]
    inner = out if out is not None and out.resolve().is_relative_to(folder.resolve()) else None
    if inner is not None and inner.resolve() != folder.resolve():
        names = [name for name in names if not (folder / name).resolve().is_relative_to(inner.resolve())]
    photographs = []
    for name in names:
        check()
        try:
            with open_image(folder / name) as image:
                if not is_ours(image):
                    photographs.append(folder / name)
        except Exception:  # Pillow's plug-ins fail in every way on broken files
            skipped.append(f"{folder / name}: {why_broken(folder / name)}")
    if not photographs:
        reason = f"; {skipped[0]}" if skipped else "; give a folder of JPEG, PNG or other images"
        raise StylebatchError(f"{folder}: no content photographs{reason}")
    return sorted(photographs), skipped


def load_style(path: Path, size: int) -> StylePicture:
    """The style picture, its long side `size` pixels, but no side under 64 where the file has them; 0 leaves it as it is.

    Raises:
        StylebatchError: missing, unreadable, or under 64 px.
    """
    if not path.exists():
        raise StylebatchError(f"{path}: no such style picture")
    try:
        with open_image(path) as image:
            whole = image.size
        at_least = None
        if size and whole[0] * whole[1] > _SCAN:
            scale = _REDUCED_TO * _scale_to(whole, size)
            at_least = (round(whole[0] * scale), round(whole[1] * scale))
        pixels, alpha = read_pixels(path, at_least)
    except Exception as error:  # as above
        reason = str(error) if isinstance(error, StylebatchError) else why_broken(path)
        raise StylebatchError(f"{path}: cannot be read as a style picture: {reason}") from None
    height, width, _ = pixels.shape
    if size:
        scale = _scale_to((width, height), size)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    if min(width, height) < MIN_STYLE_SIZE:
        raise StylebatchError(f"{path}: {width}×{height} px is too small for a style; it needs {MIN_STYLE_SIZE} px a side")
    image_ = _to_tensor(resized(pixels, (width, height))).unsqueeze(0) / 255
    if alpha is None or alpha.min() == 255:
        return StylePicture(image_)
    opacity = torch.from_numpy(resized(alpha, (width, height)))[None, None] / 255
    if opacity.sum() < MIN_STYLE_SIZE**2:
        raise StylebatchError(f"{path}: too much of it is transparent for a style")
    return StylePicture(image_, opacity)


def _scale_to(size: tuple[int, int], long_side: int) -> float:
    """The factor to a long side; for a long, narrow picture, the one that leaves its short side as long as it must be."""
    scale = long_side / max(size)
    return max(scale, min(1.0, MIN_STYLE_SIZE / min(size)))


def load_photograph(path: Path, long_side: int) -> Tensor:
    """A whole photograph as 1×3×H×W RGB in [0,1], no larger than `long_side`."""
    image = open_rgb(path)
    image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    return _to_tensor(np.array(image)).unsqueeze(0) / 255


def first_readable(photographs: list[Path]) -> Tensor | None:
    """The first photograph that is whole, as previews show it: 1×3×H×W RGB in [0,1]."""
    for path in photographs:
        try:
            return load_photograph(path, PREVIEW_SIZE)
        except Exception:  # as above; reported when its turn comes
            continue
    return None


def load_middles(
    photographs: list[Path], count: int, size: int, report: Callable[[str], None] = lambda _: None
) -> tuple[Tensor, list[Path]]:
    """The middle squares of so many photographs, evenly from first to last. A broken one gives its place to the next.

    Args:
        report: told of each broken photograph, with the reason.

    Returns:
        N×3×S×S RGB in [0,1], and the photographs; N is less than `count` if no more are whole.

    Raises:
        StylebatchError: all of them are broken.
    """
    count = min(count, len(photographs))
    squares: dict[Path, Tensor] = {}
    tried: set[Path] = set()
    for place in range(count):
        first = (2 * place + 1) * len(photographs) // (2 * count)
        for path in photographs[first:] + photographs[:first]:
            if path in tried:
                continue
            tried.add(path)
            try:
                square = ImageOps.fit(open_rgb(path), (size, size), Image.Resampling.LANCZOS)
            except Exception:  # as above
                report(f"{path}: {why_broken(path)}")
                continue
            squares[path] = _to_tensor(np.array(square))
            break
    if not squares:
        raise StylebatchError(f"{photographs[0].parent}: every content photograph is broken")
    return torch.stack(list(squares.values())) / 255, list(squares)


@dataclass(frozen=True, repr=False)
class Photographs:
    """What a training does with its photographs.

    Attributes:
        training: those that it learns from.
        sample: N×3×S×S RGB in [0,1], from all of them, for the weights of the losses.
        held_out: M×3×S×S, what validations judge: photographs kept from training, or the sample where none are.
        shown: 1×3×H×W, the one that previews show.
    """

    training: list[Path]
    sample: Tensor
    held_out: Tensor
    shown: Tensor


def share_out(paths: list[Path], size: int, validate: bool, report: Callable[[str], None]) -> Photographs:
    """Sample photographs as squares of `size` pixels, and keep some from training if there are to be validations.

    Args:
        report: told of each broken photograph, with the reason.

    Raises:
        StylebatchError: all of those that were tried are broken.
    """
    sample, _ = load_middles(paths, VALIDATION, size, report)
    training, held_out = paths, sample
    if count := min(VALIDATION, int(len(paths) * VALIDATION_SHARE)) if validate else 0:
        held_out, kept = load_middles(paths, count, size, report)
        training = [path for path in paths if path not in kept]
        if first_readable(training) is None:
            training = kept
    shown = first_readable(training)
    assert shown is not None  # of the sample, one was
    return Photographs(training, sample, held_out, shown)


def content_loader(
    photographs: list[Path],
    *,
    size: int,
    augment: bool,
    batch_size: int,
    seed: int,
    start: int,
    workers: int,
    pin: bool,
    number: int = 0,
    count: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Batch]:
    """An endless stream of `Batch`, as if `start` steps had been taken already, part `number` of `count` of each; it ends
    where `stop`, asked while it waits, is True."""
    groups = decoded(
        Crops(photographs, size, augment, seed),
        endless_batches(len(photographs), batch_size, augment, seed, start, number, count),
        workers=workers, ahead=batch_size + 2 * workers,
        lost=lambda key, reason: (None, [f"{photographs[key[1]]}: {reason}"]), stop=stop,
    )  # fmt: skip
    with closing(groups):
        for samples in groups:
            crops = [_to_tensor(crop) for crop, _ in samples if crop is not None]
            images = torch.stack(crops) if crops else torch.empty(0)
            yield Batch(images.pin_memory() if pin else images, [line for _, lines in samples for line in lines])


def _to_tensor(pixels: Pixels) -> Tensor:
    """H×W×3 → 3×H×W, uint8."""
    return torch.from_numpy(pixels).permute(2, 0, 1)
