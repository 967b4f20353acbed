"""Still pictures: their files, formats, metadata. Names load on first use: `options` alone is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stylebatch.lazy import lazy_names

if TYPE_CHECKING:
    from stylebatch.images.decoding import read_image as read_image
    from stylebatch.images.encoding import write_image as write_image
    from stylebatch.images.extra import ImageExtra as ImageExtra
    from stylebatch.images.options import ImageOptions as ImageOptions
    from stylebatch.images.sink import ImageSink as ImageSink
    from stylebatch.images.sink import grid_path as grid_path
    from stylebatch.images.source import ImageSource as ImageSource
    from stylebatch.images.source import find_images as find_images

_HOMES = {
    "ImageExtra": "extra",
    "ImageOptions": "options",
    "ImageSink": "sink",
    "ImageSource": "source",
    "find_images": "source",
    "grid_path": "sink",
    "read_image": "decoding",
    "write_image": "encoding",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
