"""What can be asked for of a photograph."""

from __future__ import annotations

from dataclasses import dataclass, field

from stylebatch.errors import StylebatchError
from stylebatch.images.formats import CHOICES
from stylebatch.options import GPU_JPEG, KEPT_COLOUR, Options, option


@dataclass(frozen=True)
class ImageOptions(Options):
    """What can be asked for of a photograph. A wrong value raises `StylebatchError`."""

    # fmt: off
    format: str | None = option(
        None, "Write all in this format: jpg, png, webp, tiff, bmp or avif.", unset="the photograph's", metavar="NAME")
    quality: int | None = option(
        None, "1 to 100, for JPEG (always 4:4:4), WebP and AVIF.", unset="95, AVIF 90", least=1, most=100)
    strip_metadata: bool = option(False, "Drop EXIF, XMP, IPTC, texts, resolution and file times; the ICC profile stays.")
    preserve_color: float = option(
        0.0, "Brightness from the painting, colours from the photograph; 0.5 is halfway there.", **KEPT_COLOUR)
    size: int | None = option(
        None, "Long side to paint at: smaller is larger strokes, less time.", unset="the photograph's", least=16, unit="px")
    keep_work_size: bool = option(False, "Leave the result at `size` instead of the original size.")
    allow_truncated: bool = option(False, "Take what is there of a file that breaks off or is damaged.", result=False)
    max_megapixels: int = option(512, "Refuse pictures whose header promises more, over all frames.", least=1, result=False)
    gpu_jpeg: str = field(default="exact", metadata={"option": GPU_JPEG})
    # fmt: on

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format is not None:
            format = CHOICES.get(self.format.lower().lstrip("."))
            if format is None:
                raise StylebatchError(f"format {self.format}: cannot be written; choose from {', '.join(CHOICES)}")
            object.__setattr__(self, "format", format)

    def work_size(self, width: int, height: int) -> tuple[int, int]:
        """What the network sees of a picture of width × height."""
        scale = min(1.0, (self.size or width) / max(width, height)) if self.size else 1.0
        return max(1, round(width * scale)), max(1, round(height * scale))


DEFAULTS = ImageOptions()
