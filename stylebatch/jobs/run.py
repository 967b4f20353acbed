"""A job as data → its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stylebatch.jobs.folder import run_folder
from stylebatch.jobs.job import FolderJob, Job, VideoJob
from stylebatch.jobs.video import run_video
from stylebatch.pipeline import Summary
from stylebatch.stylizer import Stylizer


def run_job(
    job: Job,
    *,
    stylizer: Stylizer | None = None,
    progress: Callable[[Any], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Do what `stylize_folder` or `stylize_video` does with the arguments that the job holds. Run again after it was
    stopped, killed or interrupted, it goes on.

    Args:
        stylizer: one that was made of `job.stylizer` already, for several jobs with the same; by default it is made here.
        progress: called after each batch with the summary so far, which goes on: what is to stay is its `snapshot()`.
        stop: asked after each batch; True ends the run when what is in flight has been written.

    Returns:
        For a film a `VideoSummary`. `as_dict` makes JSON values of it.

    Raises:
        StylebatchError: as these functions.
    """
    if isinstance(job, FolderJob):
        return run_folder(job, stylizer, progress=progress, stop=stop)
    assert isinstance(job, VideoJob)
    return run_video(job, stylizer, progress=progress, stop=stop)
