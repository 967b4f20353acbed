#!/usr/bin/env python3
"""How long a folder takes by the local engine and by Ray's workers on the cores of this machine, in turns; medians.

    scripts/bench_ray.py [--files 64] [--rounds 3] [--size 1152x864]

Without what is done once: the local run has its style loaded, and Ray's are timed from when their workers have.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

import stylebatch.jobs.cluster as on_ray
from stylebatch import FolderJob, Stylizer
from stylebatch.jobs.folder import run_folder
from stylebatch.jobs.job import Cluster
from stylebatch.pipeline import Summary
from stylebatch.system import cores

#: Engine, and whether each worker is to keep to its cores: by default processes beside it decode.
WAYS = {
    "local": (None, None),
    "Ray, a worker with all cores": (Cluster(ray_workers=1, cpus_per_worker=cores()), None),
    "Ray, a worker with a core": (Cluster(ray_workers=1, cpus_per_worker=1), 0),
    "Ray, a worker for each core": (Cluster(ray_workers=cores(), cpus_per_worker=1), 0),
}


def seconds(job: FolderJob, cluster: Cluster | None, stylizer: Stylizer) -> float:
    start = 0.0

    def begun(_summary: Summary) -> None:
        nonlocal start
        start = start or time.perf_counter()

    if cluster:
        summary = on_ray.run_folder_on_ray(job, cluster, progress=begun)
    else:
        summary = run_folder(job, stylizer, progress=begun)
    assert not summary.failures, summary.failures
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="1152x864")
    asked = parser.parse_args()
    width, height = map(int, asked.size.split("x"))
    taken = defaultdict[str, list[float]](list)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(asked.files):
            noise = np.random.default_rng(index).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
            path = Path(folder, "in", f"{index:03}.jpg")
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
        stylizer = Stylizer("hosi", device="cpu")
        for turn in range(asked.rounds):
            for name, (cluster, workers) in WAYS.items():
                output = Path(folder, f"{name}, {turn}")
                job = FolderJob(source=str(path.parent), output=str(output), device="cpu", workers=workers)
                taken[name].append(seconds(job, cluster, stylizer))
                print(f"{turn + 1} {name}: {taken[name][-1]:.1f} s", flush=True)
    median = {name: statistics.median(each) for name, each in taken.items()}
    local, whole, one, all_ = median.values()
    print(f"\n{asked.files} photographs of {asked.size}, {cores()} cores, medians of {asked.rounds}:")
    for name, value in median.items():
        print(f"  {name:<30} {value:6.1f} s, {asked.files / value:.2f} a second")
    print(f"  Ray costs {whole / local - 1:+.0%}; efficiency of {cores()} workers {one / all_ / cores():.0%}")


if __name__ == "__main__":
    main()
