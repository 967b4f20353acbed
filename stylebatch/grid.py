"""Side-by-side pictures and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_BACKGROUND, _INK = (255, 255, 255), (40, 40, 40)


def side_by_side(pictures: Sequence[Image.Image], height: int) -> Image.Image:
    """Pictures in a row without a gap, all at one height; none is squashed."""
    scaled = [_scaled(picture, height=height) for picture in pictures]
    sheet = Image.new("RGB", (sum(picture.width for picture in scaled), height))
    left = 0
    for picture in scaled:
        sheet.paste(picture, (left, 0))
        left += picture.width
    return sheet


def contact_sheet(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str], *, width: int = 320) -> Image.Image:
    """A table of pictures under column titles.

    Args:
        rows: each as long as `titles`; the pictures of a row should have one shape.
        width: pixels of a column.
    """
    import matplotlib  # late: it takes longer than the rest of this module

    gap, header = max(4, width // 80), max(20, width // 9)
    # Pillow's own font is ASCII; this one has Latin, Greek and Cyrillic.
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), header * 0.55)
    scaled = [[_scaled(picture, width=width) for picture in row] for row in rows]
    heights = [max(picture.height for picture in row) for row in scaled]
    sheet = Image.new(
        "RGB", (gap + len(titles) * (width + gap), header + gap + sum(height + gap for height in heights)), _BACKGROUND
    )
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        while len(title) > 1 and draw.textlength(title, font=font) > width:
            title = "…" + title.lstrip("…")[1:]
        draw.text((gap + column * (width + gap) + width / 2, header / 2 + gap), title, _INK, font, anchor="mm")
    top = header + gap
    for row, height in zip(scaled, heights, strict=True):
        for column, picture in enumerate(row):
            sheet.paste(picture, (gap + column * (width + gap), top))
        top += height + gap
    return sheet


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Sheets one under the other."""
    stack = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), _BACKGROUND)
    top = 0
    for sheet in sheets:
        stack.paste(sheet, (0, top))
        top += sheet.height
    return stack


def _scaled(picture: Image.Image, *, width: int | None = None, height: int | None = None) -> Image.Image:
    scale = width / picture.width if width else (height or picture.height) / picture.height
    size = (width or max(1, round(picture.width * scale)), height or max(1, round(picture.height * scale)))
    return picture.convert("RGB") if size == picture.size else picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
