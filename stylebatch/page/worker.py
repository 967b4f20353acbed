"""What does a job of the queue: a process of its own, so that the page stays responsive and memory is free afterwards."""

from __future__ import annotations

from typing import Any

from stylebatch.console.lines import Driven, driven
from stylebatch.jobs.job import job_from_json

#: Failures and warnings that a line carries by name.
_MOST = 200


def _run(streams: Driven) -> dict[str, Any]:
    from stylebatch.jobs.run import run_job

    job = job_from_json(streams.asked)
    summary = run_job(
        job, progress=lambda so_far: streams.tell_now_and_then(lambda: {"progress": _plain(so_far)}), stop=streams.stop
    )
    return _plain(summary)


def _plain(summary: Any) -> dict[str, Any]:
    """As JSON values of bounded length."""
    told = {}
    for name, value in summary.as_dict().items():
        if isinstance(value, dict):
            value = dict(list(value.items())[:_MOST])
        told[name] = value[:_MOST] if isinstance(value, list) else value
    return {**told, "failures": len(summary.failures)}


if __name__ == "__main__":
    driven(_run)
