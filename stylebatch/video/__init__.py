"""Films. The one room that knows PyAV. Names load on first use: `options` alone is quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stylebatch.lazy import lazy_names

if TYPE_CHECKING:
    from stylebatch.video.check import check_film as check_film
    from stylebatch.video.options import VideoOptions as VideoOptions
    from stylebatch.video.outputs import output_paths as output_paths
    from stylebatch.video.sink import VideoSink as VideoSink
    from stylebatch.video.source import VideoSource as VideoSource

_HOMES = {
    "VideoOptions": "options",
    "VideoSink": "sink",
    "VideoSource": "source",
    "check_film": "check",
    "output_paths": "outputs",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
