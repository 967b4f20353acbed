"""What a training leaves to look at: loss curves, the numbers behind them, side-by-side pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from stylebatch.files import atomic_write
from stylebatch.grid import side_by_side

LOSSES = ("content", "style", "palette", "shading", "tv", "spikes", "stability", "total")
COLUMNS = ("step", "epoch", *LOSSES, "validation", "learning_rate")


def save_losses(history: Sequence[Sequence[float]], path: Path) -> None:
    """Write one CSV row a step, in the order of `COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([int(row[0]), int(row[1]), *(f"{value:.6g}" for value in row[2:])] for row in history)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def save_curves(history: Sequence[Sequence[float]], folder: Path, name: str) -> None:
    """Write `{name}_{content,style,total}_loss.png`."""
    from matplotlib.figure import Figure

    steps = [row[0] for row in history]
    for loss in ("content", "style", "total"):
        values = [row[COLUMNS.index(loss)] for row in history]
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(steps, values, linewidth=0.8)
        axes.set(title=f"{name}: {loss} loss", xlabel="step", ylabel=loss, yscale="log")
        axes.grid(alpha=0.3)
        with atomic_write(folder / f"{name}_{loss}_loss.png") as file:
            figure.savefig(file, format="png", dpi=120)


def save_fuse(images: Sequence[Tensor], path: Path) -> None:
    """Write style, content and result side by side, at the height of the result.

    Args:
        images: 1×3×H×W RGB in [0,1] each.
    """
    pictures = [to_image(image) for image in images]
    sheet = side_by_side(pictures, pictures[-1].height)
    with atomic_write(path) as file:
        sheet.save(file, format="JPEG", quality=92)


def to_image(image: Tensor) -> Image.Image:
    """1×3×H×W in [0,1] → RGB picture."""
    pixels = image[0].float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().cpu().numpy())
