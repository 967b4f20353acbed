"""What can be asked for of a photograph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stylebatch.errors import StylebatchError
from stylebatch.images.formats import CHOICES
from stylebatch.options import LIMIT, settings_of


@dataclass(frozen=True)
class ImageOptions:
    """What can be asked for of a photograph.

    Attributes:
        format: write every picture in this one: an extension or Pillow's name, kept as Pillow's name.
        quality: of JPEG, WebP and AVIF, 1 to 100; by default 95, AVIF 90. JPEG is always 4:4:4.
        strip_metadata: leave out EXIF, XMP, resolution and times, but never the ICC profile.
        preserve_color: brightness from the style, colours from the photograph.
        size: long side in pixels that the network sees; larger photographs are scaled down for it, and back after it.
        keep_work_size: do not scale back.
        allow_truncated: take what there is of a file that ends too early or is damaged.
        max_megapixels: refuse files whose header promises more, over all frames.

    Raises:
        StylebatchError: a value out of range.
    """

    format: str | None = None
    quality: int | None = None
    strip_metadata: bool = False
    preserve_color: bool = False
    size: int | None = None
    keep_work_size: bool = False
    allow_truncated: bool = field(default=False, metadata=LIMIT)
    max_megapixels: int = field(default=512, metadata=LIMIT)

    def __post_init__(self) -> None:
        if self.format is not None:
            format = CHOICES.get(self.format.lower().lstrip("."))
            if format is None:
                raise StylebatchError(f"format {self.format}: none that is written; choose from {', '.join(CHOICES)}")
            object.__setattr__(self, "format", format)
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise StylebatchError(f"quality {self.quality}: must be from 1 to 100")
        if self.size is not None and self.size < 16:
            raise StylebatchError(f"size {self.size}: must be at least 16 pixels")
        if self.max_megapixels < 1:
            raise StylebatchError(f"max megapixels {self.max_megapixels}: must be at least 1")

    def as_settings(self) -> dict[str, Any]:
        """What changes the bytes of an output, as JSON values."""
        return settings_of(self)

    def work_size(self, width: int, height: int) -> tuple[int, int]:
        """What the network sees of a picture of width × height."""
        scale = min(1.0, (self.size or width) / max(width, height)) if self.size else 1.0
        return max(1, round(width * scale)), max(1, round(height * scale))


DEFAULTS = ImageOptions()
