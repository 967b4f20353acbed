"""A Ray cluster of several machines, simulated on one, gives what this machine gives alone, whatever dies on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image
from soak_ray import POISONED, kill_who_opens
from support.clips import LOSSLESS, make_clip

from stylebatch import FolderJob, StylebatchError, VideoJob, VideoSummary, run_job
from stylebatch.jobs.job import Cluster
from stylebatch.manifest import NAME

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module")
def machines(s3_server: dict[str, str]) -> Iterator[Any]:
    """A head without cores, and two machines of a core each, which have a user's credentials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        for setting, value in s3_server.items():
            patch.setenv(setting, value)
        from ray.cluster_utils import Cluster as Machines

        machines = Machines(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            machines.add_node(num_cpus=1)
        machines.wait_for_nodes()
        yield machines
        machines.shutdown()


@pytest.fixture
def cluster(machines: Any) -> Cluster:
    return Cluster(ray_address=machines.address, cpus_per_worker=1)


def job_of(source: Path, output: Path, checkpoint: Path, **options: Any) -> FolderJob:
    return FolderJob(
        source=str(source), output=str(output), style=str(checkpoint), device="cpu", backend="torch", precision="fp32",
        workers=0, **options,
    )  # fmt: skip


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_cluster_gives_what_a_machine_gives(
    cluster: Cluster, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    from stylebatch.jobs.cluster import run_folder_on_ray

    source = photos(*(f"{number % 3}/{number}.png" for number in range(40)))
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    here = run_job(job_of(source, tmp_path / "here", checkpoint, grid=True))
    job = job_of(source, tmp_path / "there", checkpoint, grid=True)
    there = run_folder_on_ray(job, cluster)
    told = {name: value for name, value in there.as_dict().items() if name not in ("seconds", "waits", "images_per_second")}
    assert told == {name: here.as_dict()[name] for name in told}
    assert files_in(tmp_path / "there") == files_in(tmp_path / "here")
    again = run_folder_on_ray(job, cluster)
    assert (again.skipped, again.done) == (40, 0)
    assert run_job(job).skipped == 40
    (source / "list.txt").write_text("0/0.png\n1/1.png\n")  # workers need not read it
    listed = replace(job, source=f"@{source / 'list.txt'}", output=str(tmp_path / "listed"))
    assert run_folder_on_ray(listed, cluster).done == 2
    pictures = {name: data for name, data in files_in(tmp_path / "listed").items() if name != NAME}
    assert pictures.keys() == {"0/0.png", "0/0_grid.jpg", "1/1.png", "1/1_grid.jpg"}
    assert pictures.items() <= files_in(tmp_path / "here").items()


def test_from_a_store_to_a_store(cluster: Cluster, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    """Photographs and films, with the bytes of this machine, each in one manifest."""
    from stylebatch.jobs.cluster import run_folder_on_ray, run_videos_on_ray

    files = fsspec.filesystem("s3", use_listings_cache=False)
    files.mkdir("bucket")
    source = photos(*(f"{number % 3}/{number}.png" for number in range(40)))
    clips = [make_clip(tmp_path / "clips" / f"{number}.mp4", frames=4, options=LOSSLESS) for number in range(3)]
    for folder in (source, tmp_path / "clips"):
        files.put(f"{folder}/", f"bucket/{folder.name}/", recursive=True)
    run_job(job_of(source, tmp_path / "here", checkpoint))
    job = replace(job_of(source, tmp_path, checkpoint), source="s3://bucket/in", output="s3://bucket/out")
    assert run_folder_on_ray(job, cluster).done == 40
    assert held(files, "bucket/out") == {name: data for name, data in files_in(tmp_path / "here").items() if name != NAME}
    assert (run_folder_on_ray(job, cluster).skipped, run_job(job).skipped) == (40, 40)

    film = VideoJob(source="", style=str(checkpoint), device="cpu", backend="torch", precision="fp32")
    films = [replace(film, source=f"s3://bucket/clips/{clip.name}", output="s3://bucket/films/") for clip in clips]
    done: list[VideoSummary] = []
    run_videos_on_ray(films, cluster, done=done.append)
    assert [summary.done for summary in done] == [4, 4, 4]
    for clip in clips:
        run_job(replace(film, source=str(clip), output=f"{tmp_path}/films/"))
    assert held(files, "bucket/films") == {n: data for n, data in files_in(tmp_path / "films").items() if n != NAME}
    again = [run_job(each) for each in films]
    assert all(isinstance(summary, VideoSummary) and summary.unchanged for summary in again)


def held(files: Any, folder: str) -> dict[str, bytes]:
    """Without the manifest, which has its place alone, and each result once."""
    names = [json.loads(line)["output"] for line in files.cat_file(f"{folder}/{NAME}").splitlines()]
    there = {name.removeprefix(f"{folder}/"): files.cat_file(name) for name in files.find(folder)}
    del there[NAME]
    assert sorted(there) == names
    return there


def test_a_poisoned_photograph_fails_alone_and_is_named(
    cluster: Cluster, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    """Whoever opens it is killed, as who takes too much memory is."""
    from stylebatch.jobs.cluster import run_folder_on_ray

    source = photos(*(f"{number}.png" for number in range(20)))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), dtype=np.uint8)).save(source / POISONED)
    stop, killed = threading.Event(), Counter[str]()
    killer = threading.Thread(target=kill_who_opens, args=(source / POISONED, killed, stop))
    killer.start()
    summary = run_folder_on_ray(job_of(source, tmp_path / "out", checkpoint), cluster)
    stop.set()
    killer.join()
    assert summary.done == 20
    assert [failure.source for failure in summary.failures] == [POISONED]
    assert "its worker died 3 times" in summary.failures[0].reason
    assert killed.total() == 3


def test_machines_that_die_cost_a_retry(
    machines: Any,
    cluster: Cluster,
    photos: Callable[..., Path],
    checkpoint: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from stylebatch.jobs.cluster import run_folder_on_ray

    names = [f"{number}.png" for number in range(200)]
    source = photos(*names, size=(160, 120))
    left = [2]
    spare: list[Any] = []

    def kill(so_far: Any) -> None:
        if left[0] and so_far.done >= 30 * (3 - left[0]):
            left[0] -= 1
            node = next(iter(machines.worker_nodes))
            machines.remove_node(node, allow_graceful=False)
            spare.append(machines.add_node(num_cpus=1))

    summary = run_folder_on_ray(job_of(source, tmp_path / "out", checkpoint), cluster, progress=kill)
    assert not left[0]
    assert (summary.done, summary.failures) == (len(names), [])
    assert capfd.readouterr().out == ""  # Ray would print there what it thinks of that
    lines = [json.loads(line) for line in (tmp_path / "out" / NAME).read_bytes().splitlines()]
    assert [line["output"] for line in lines] == sorted(names)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_file()) == sorted([NAME, *names])
    assert all(len((tmp_path / "out" / line["output"]).read_bytes()) == line["size"] for line in lines)


def test_films_are_done_one_by_one(cluster: Cluster, checkpoint: Path, tmp_path: Path) -> None:
    from stylebatch.jobs.cluster import run_videos_on_ray

    jobs = [
        VideoJob(
            source=str(make_clip(tmp_path / f"{number}.mkv", frames=4, options=LOSSLESS)), style=str(checkpoint),
            device="cpu", backend="torch", precision="fp32",
        )
        for number in range(3)
    ]  # fmt: skip
    jobs.append(VideoJob(source=str(tmp_path / "missing.mp4"), style=str(checkpoint), device="cpu"))
    done: list[VideoSummary] = []
    lost: list[tuple[str, str]] = []
    run_videos_on_ray(jobs, cluster, done=done.append, lost=lambda job, reason: lost.append((job.source, reason)))
    assert sorted(summary.output.name for summary in done) == [f"{number}_plain.mkv" for number in range(3)]
    assert [summary.done for summary in done] == [4, 4, 4]
    assert [source for source, _ in lost] == [str(tmp_path / "missing.mp4")]
    assert "no such file" in lost[0][1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cpus_per_worker": 64.0}, "no machine of the cluster has room for a worker"),
        ({"ray_address": "127.0.0.1:1"}, "Ray cluster 127.0.0.1:1: cannot be reached"),
        ({"ray_address": "nonsense:x"}, "Ray cluster nonsense:x: cannot be reached"),
    ],
)
def test_a_cluster_that_cannot_be(
    change: dict[str, Any], message: str, machines: Any, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    from stylebatch.jobs.cluster import run_folder_on_ray

    with pytest.raises(StylebatchError, match=message):
        run_folder_on_ray(
            job_of(photos(), tmp_path / "out", checkpoint), Cluster(**{"ray_address": machines.address, **change})
        )


def test_the_command(machines: Any, photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    words = ["folder", str(photos()), str(tmp_path / "out"), "--style", str(checkpoint), "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "stylebatch", *words, "--engine", "ray", "--ray-address", machines.address]
    ran = subprocess.run([*command, "--cpus-per-worker", "1"], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["done"] == 3
    wrong = subprocess.run(
        [sys.executable, "-m", "stylebatch", *words, "--ray-workers", "2"], capture_output=True, text=True, timeout=120
    )
    assert (wrong.returncode, "are for --engine ray" in wrong.stderr) == (2, True)
