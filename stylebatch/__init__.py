"""Neural style transfer for folders of photographs and for films: streamed, batched, nothing lost.

Names load on first use, so that `import stylebatch` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stylebatch.lazy import lazy_names

if TYPE_CHECKING:
    from stylebatch.errors import StylebatchError as StylebatchError
    from stylebatch.images.options import ImageOptions as ImageOptions
    from stylebatch.jobs import FolderJob as FolderJob
    from stylebatch.jobs import VideoJob as VideoJob
    from stylebatch.jobs import VideoSummary as VideoSummary
    from stylebatch.jobs import job_from_dict as job_from_dict
    from stylebatch.jobs import job_from_json as job_from_json
    from stylebatch.jobs import run_job as run_job
    from stylebatch.jobs import stylize_folder as stylize_folder
    from stylebatch.jobs import stylize_image as stylize_image
    from stylebatch.jobs import stylize_video as stylize_video
    from stylebatch.pipeline import Summary as Summary
    from stylebatch.steady import Steadier as Steadier
    from stylebatch.styles import shipped_styles as shipped_styles
    from stylebatch.stylizer import Stylizer as Stylizer
    from stylebatch.transnet import TransNet as TransNet
    from stylebatch.video import VideoOptions as VideoOptions
    from stylebatch.video import VideoSink as VideoSink
    from stylebatch.video import VideoSource as VideoSource

__version__ = "0.1.0"

_HOMES = {
    "FolderJob": "jobs",
    "StylebatchError": "errors",
    "Steadier": "steady",
    "Stylizer": "stylizer",
    "Summary": "pipeline",
    "ImageOptions": "images.options",
    "TransNet": "transnet",
    "job_from_dict": "jobs",
    "job_from_json": "jobs",
    "run_job": "jobs",
    "shipped_styles": "styles",
    "stylize_folder": "jobs",
    "stylize_image": "jobs",
    "stylize_video": "jobs",
    "VideoJob": "jobs",
    "VideoOptions": "video",
    "VideoSink": "video",
    "VideoSource": "video",
    "VideoSummary": "jobs",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
