"""What a training leaves to look at: loss curves, the numbers behind them, side-by-side pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from stylebatch.files import atomic_write
from stylebatch.grid import side_by_side
from trainer.terms import LOSSES, SHOWN

COLUMNS = ("step", "epoch", *LOSSES, "validation", "learning_rate")
#: Written into every picture, to recognise it by.
MARK = "stylebatch trainer"
#: matplotlib's own font, which it always has; characters of a curve's title.
_FONT, _LONGEST_TITLE = "DejaVu Sans", 40


def save_losses(history: Sequence[Sequence[float]], path: Path) -> None:
    """Write one CSV row a step, in the order of `COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([int(row[0]), int(row[1]), *(f"{value:.6g}" for value in row[2:])] for row in history)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def save_curves(history: Sequence[Sequence[float]], folder: Path, name: str) -> None:
    """Write `{name}_{loss}_loss.png` of each loss in `SHOWN`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    class Formatter(LogFormatter):
        """Plain text: powers of ten in mathematical type take half of the time. As many digits as neighbours differ by."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:.3g}" if super().__call__(x, pos) else ""

    steps = [row[0] for row in history]
    title, fonts = _title(name)
    figure = Figure(figsize=(6, 4))
    axes = figure.add_axes((0.15, 0.12, 0.82, 0.79))  # a layout that is computed takes as long again as the drawing
    (line,) = axes.plot(steps, steps, linewidth=0.8)
    axes.set(xlabel="step", yscale="log")
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(Formatter())
    axes.grid(alpha=0.3)
    for loss in SHOWN:
        line.set_ydata([row[COLUMNS.index(loss)] for row in history])
        axes.relim()
        axes.autoscale_view()
        axes.set_ylabel(loss)
        # Between two dollar signs in a name there is no mathematics.
        axes.set_title(f"{title}: {loss} loss", family=fonts, parse_math=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120, metadata={"Software": MARK})
        with atomic_write(folder / f"{name}_{loss}_loss.png") as file:
            file.write(buffer.getbuffer())


def _title(name: str) -> tuple[str, list[str]]:
    """A name as it can be drawn, and the fonts for it: what no installed font has is written as its code."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    shown = name if len(name) <= _LONGEST_TITLE else name[:_LONGEST_TITLE] + "…"
    missing = {character for character in shown if character.isprintable() and not character.isascii()}
    never = {character for character in shown if not character.isprintable()}
    families = [_FONT]
    for font in sorted(
        fontManager.ttflist, key=lambda font: (font.name != _FONT, font.style != "normal", font.weight != 400)
    ):
        if not missing:
            break
        if font.name.startswith("Last Resort"):  # boxes for everything
            continue
        try:
            found = {character for character in missing if FT2Font(font.fname).get_char_index(ord(character))}
        except (RuntimeError, OSError):  # a font of pictures, or one that is gone
            continue
        missing -= found
        if found and font.name not in families:
            families.append(font.name)
    missing |= never
    codes = {character: character.encode("ascii", "backslashreplace").decode() for character in missing}
    return "".join(codes.get(character, character) for character in shown), families


def save_side_by_side(images: Sequence[Tensor], path: Path) -> None:
    """Write style, content and result side by side, at the height of the result.

    Args:
        images: 1×3×H×W RGB in [0,1] each.
    """
    pictures = [to_image(image) for image in images]
    save_sheet(side_by_side(pictures, pictures[-1].height), path)


def save_sheet(sheet: Image.Image, path: Path, put: Callable[[Path, Path], None] | None = None) -> None:
    """Write a JPEG with our mark, as `atomic_write`."""
    buffer = io.BytesIO()
    sheet.save(buffer, format="JPEG", quality=92, comment=MARK)
    with atomic_write(path, put) as file:
        file.write(buffer.getbuffer())


def is_ours(image: Image.Image) -> bool:
    """Whether an opened picture is one of these, and so no photograph to learn from."""
    comment = image.info.get("comment", b"")
    return MARK in (image.info.get("Software"), comment.decode("latin-1") if isinstance(comment, bytes) else comment)


def to_image(image: Tensor) -> Image.Image:
    """1×3×H×W in [0,1] → RGB picture."""
    pixels = image[0].float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().cpu().numpy())
