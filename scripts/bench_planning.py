#!/usr/bin/env python
"""How long a folder of many photographs takes to plan, and how much memory: `scripts/bench_planning.py [NUMBER] [--done]`.

The names are those of empty files; with --done all have a result already. Nothing is painted."""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

from stylebatch import FolderJob, Summary
from stylebatch.jobs.folder import open_manifest, opened
from stylebatch.jobs.plan import planned
from stylebatch.manifest import NAME, Record


def make(job: FolderJob, count: int, done: bool) -> None:
    """Photographs, and results with their records."""
    names = [f"{number // 1000}/IMG_{number:07}.jpg" for number in range(count)]
    for root in (job.source, job.output) if done else (job.source,):
        for name in names:
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    if done:
        with opened(job) as (source, output, _), open_manifest(job, {}, source, output) as manifest:
            key, nothing = manifest.key, hashlib.sha256(b"").hexdigest()
        lines = (Record(name, f"../in/{name}", nothing, key, 0, nothing).line() for name in names)
        Path(job.output, NAME).write_bytes(b"".join(lines))


def resident() -> float:
    """The most memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(count: int, *, done: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = FolderJob(source=f"{folder}/in", output=f"{folder}/out")
        # Another process: what it takes of memory would count.
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(job, count, done))
        maker.start()
        maker.join()
        memory, start = resident(), time.perf_counter()
        summary, first, units = Summary(), 0.0, 0
        with opened(job) as (source, output, inputs), open_manifest(job, {}, source, output) as manifest:
            for _ in planned(job, manifest, inputs, summary=summary):
                units += 1
                first = first or time.perf_counter() - start
            seconds = time.perf_counter() - start
        print(
            f"{units} to do, {summary.skipped} done: the first after {first or seconds:.2f} s, all after {seconds:.1f} s, "
            f"{resident() - memory:.0f} MB"
        )


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    main(*(numbers or [200_000]), done="--done" in sys.argv)
