"""What the commands do, one file a kind of job: each plans its work and hands it to the loop in `pipeline`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stylebatch.lazy import lazy_names

if TYPE_CHECKING:
    from stylebatch.jobs.folder import stylize_folder as stylize_folder
    from stylebatch.jobs.image import stylize_image as stylize_image
    from stylebatch.jobs.job import FolderJob as FolderJob
    from stylebatch.jobs.job import VideoJob as VideoJob
    from stylebatch.jobs.job import job_from_dict as job_from_dict
    from stylebatch.jobs.job import job_from_json as job_from_json
    from stylebatch.jobs.run import run_job as run_job
    from stylebatch.jobs.sheets import style_sheet as style_sheet
    from stylebatch.jobs.sheets import stylize_grid as stylize_grid
    from stylebatch.jobs.video import VideoSummary as VideoSummary
    from stylebatch.jobs.video import stylize_video as stylize_video

_HOMES = {
    "FolderJob": "job",
    "VideoJob": "job",
    "VideoSummary": "video",
    "job_from_dict": "job",
    "job_from_json": "job",
    "run_job": "run",
    "style_sheet": "sheets",
    "stylize_folder": "folder",
    "stylize_grid": "sheets",
    "stylize_image": "image",
    "stylize_video": "video",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
