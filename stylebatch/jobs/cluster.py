"""Jobs spread over the machines of a Ray cluster, or over the GPUs of one.

The plan, the loop, the manifest and the summary are those of a local run. A worker is an actor that has loaded the style and
paints what it is told, each with a shard of the manifest. Here is only who does what, and what becomes of the work of a
worker that dies. Ray Data, which could hand out names, does a batch again for ever if one photograph kills its worker.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from stylebatch.errors import StylebatchError, first_line
from stylebatch.frame import Failure
from stylebatch.images.nvjpeg import jpegs_on
from stylebatch.jobs.folder import open_manifest, opened, pictures_of, settings_of, stylize_units
from stylebatch.jobs.job import Cluster, FolderJob, Job, VideoJob, job_from_json
from stylebatch.jobs.plan import planned
from stylebatch.jobs.urls import destination_of
from stylebatch.jobs.video import VideoSummary, run_video
from stylebatch.manifest import Manifest
from stylebatch.pipeline import Summary, decoders
from stylebatch.storage import is_url, storage_of
from stylebatch.stylizer import Stylizer
from stylebatch.system import share_cores
from stylebatch.workers import Pool

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError:
    raise StylebatchError("Ray is not installed; pip install 'stylebatch[ray]', here and on each machine") from None

#: Photographs that a worker is given at once: enough that it does not wait for the next, few enough to be done again.
_BATCH, _GPU_BATCH = 16, 128
#: How often a unit may have been in the hands of a worker that died while its machine lived on.
_TRIES = 3
#: Seconds that the cluster has to answer.
_CONNECT_WITHIN = 10.0
#: Seconds to wait for workers of an earlier run, which end when they notice that it has.
_PATIENCE = 60.0


def run_folder_on_ray(
    job: FolderJob,
    cluster: Cluster,
    *,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """What `stylize_folder` does, by workers on a Ray cluster. Source, output and the style's file have to be the same under
    their names on each machine: URLs, or files that all of them have.

    A worker or machine that dies costs what it had in work, which others do again. A photograph whose workers die three
    times fails.

    Raises:
        StylebatchError: as `stylize_folder`, or there is no such cluster, or workers that would not give the same pixels.
    """
    job = job.absolute()
    with opened(job) as (source, output, inputs):
        summary = Summary()
        start = time.perf_counter()
        with (
            _workers(replace(job, source=str(source)), cluster) as workers,  # they need no list
            open_manifest(job, workers.settings(), source, output, wait=_PATIENCE) as manifest,
        ):
            units = planned(job, manifest, inputs, summary=summary, progress=progress, stop=stop)
            size = _GPU_BATCH if cluster.gpus_per_worker else _BATCH
            batches = iter(lambda: [name for name, _ in islice(units, size)], [])

            def done(part: Summary) -> None:
                summary.add(part)
                summary.seconds = time.perf_counter() - start
                progress(summary)

            def lost(name: str, reason: str) -> None:
                summary.failures.append(Failure(name, reason))

            progress(summary)
            workers.spread(batches, done, lost, lambda: stop() or bool(summary.aborted))
            workers.close()  # so that the manifest can be merged
            output.clean()
            summary.interrupted = stop()
        summary.seconds = time.perf_counter() - start
        return summary


def run_videos_on_ray(
    jobs: Sequence[VideoJob],
    cluster: Cluster,
    *,
    done: Callable[[VideoSummary], None] = lambda _: None,
    lost: Callable[[VideoJob, str], None] = lambda _job, _reason: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """What `stylize_video` does, film by film on the workers of a Ray cluster, which all have the style of the first.

    Args:
        done: told of each film that is done.
        lost: told of each that is not, with the reason.
        stop: asked now and then; True ends the run when the films in work have come to a point where they can go on.
    """
    if not jobs:
        return
    with _workers(jobs[0].absolute(), cluster) as workers:
        workers.settings()
        films = [[job.absolute().as_json()] for job in jobs]

        def not_done(film: str, reason: str) -> None:
            job = job_from_json(film)
            assert isinstance(job, VideoJob)
            lost(job, reason)

        workers.spread(films, done, not_done, stop)
    for output in {job.output for job in jobs if is_url(job.output or "")}:
        assert output is not None
        storage, _ = destination_of(output)
        with closing(storage), Manifest(storage, storage, {}):
            pass  # which merges what each has on record


class _Worker:
    """An actor: a stylizer, loaded once, and what a local run has around it."""

    def __init__(self, job: str, name: str, cores: int) -> None:
        share_cores(cores)
        self._job = job_from_json(job)
        self._name = name
        self._stylizer = Stylizer(**self._job.stylizer)
        self._manifest: Manifest | None = None
        self._pool: Pool | None = None
        self._stopped = False

    def ready(self) -> tuple[dict[str, Any], str]:
        """What makes its results others than another worker's, and the machine."""
        job, stylizer = self._job, self._stylizer
        settings = settings_of(job, stylizer) if isinstance(job, FolderJob) else stylizer.settings
        return settings, ray.get_runtime_context().get_node_id()

    def work(self, units: list[str]) -> Summary:
        """Names of photographs, or a film's job."""
        if isinstance(self._job, VideoJob):
            film = job_from_json(units[0])
            assert isinstance(film, VideoJob)
            return run_video(film, self._stylizer, stop=lambda: self._stopped, writer=self._name)
        assert isinstance(self._job, FolderJob)
        if self._manifest is None:
            source, output = storage_of(self._job.source), storage_of(self._job.output)
            settings = settings_of(self._job, self._stylizer)
            self._manifest = open_manifest(self._job, settings, source, output, writer=self._name)
            count = decoders(self._stylizer.devices) if self._job.workers is None else self._job.workers
            jpegs = jpegs_on(self._stylizer.device, self._job.options.gpu_jpeg)
            self._pool = Pool(pictures_of(self._job, source, jpegs.decode), count) if count else None
        manifest = self._manifest
        return stylize_units(
            self._job, ((name, manifest.content(name)) for name in units), self._stylizer, manifest, summary=Summary(),
            pool=self._pool, stop=lambda: self._stopped,
        )  # fmt: skip

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self.stop()
        if self._pool is not None:
            self._pool.close()
        if self._manifest is not None:
            with self._manifest as manifest:
                manifest.source.close()
                manifest.output.close()


@dataclass
class _Batch:
    """Units that one worker gets, and how often they were with one that died."""

    units: list[str]
    tries: int = 0


class _Workers:
    """As many actors as were asked for, those in the place of dead ones included."""

    def __init__(self, job: Job, cluster: Cluster) -> None:
        self._job = job.as_json()
        self._cluster = cluster
        self._count = cluster.ray_workers or _room(cluster)
        self._started = self._failed_starts = 0
        self._settings: dict[str, Any] | None = None
        self._machines: dict[Any, str] = {}
        #: What actors are at; of those that have just been started, None.
        self._running: dict[Any, tuple[Any, _Batch | None]] = {}
        self._idle: list[Any] = []

    def settings(self) -> dict[str, Any]:
        """Of the stylizers that the workers have, when the first has it. Raises StylebatchError."""
        while self._settings is None:
            self._start_missing()
            self._wait(lambda _: None, lambda *_: None)
        return self._settings

    def spread(
        self,
        batches: Iterable[list[str]],
        done: Callable[[Any], None],
        lost: Callable[[str, str], None],
        stop: Callable[[], bool],
    ) -> None:
        """Have each batch done by a worker, again if that dies. Batches are taken when a worker has nothing to do."""
        fresh = map(_Batch, batches)
        pending = deque(islice(fresh, 1))

        def again(batch: _Batch, reason: str, counts: bool) -> None:
            if not counts:
                pending.appendleft(batch)
            elif batch.tries + 1 >= _TRIES:
                for unit in batch.units:
                    lost(unit, reason)
            else:
                pending.extend(_Batch([unit], batch.tries + 1) for unit in batch.units)

        stopped = False
        while (pending and not stopped) or any(batch for _, batch in self._running.values()):
            if not stopped:
                self._start_missing()
                while pending and self._idle:
                    actor, batch = self._idle.pop(), pending.popleft()
                    self._running[actor.work.remote(batch.units)] = actor, batch
                    pending.extend(islice(fresh, 0 if pending else 1))
            self._wait(done, again)
            if not stopped and stop():
                stopped = True
                for actor in self._machines:
                    actor.stop.remote()

    def close(self) -> None:
        """Let the workers end what they have open, and end them."""
        closing = [actor.close.remote() for actor in self._machines]
        with suppress(RayError):
            ray.wait(closing, num_returns=len(closing), timeout=_PATIENCE) if closing else None
        for actor in {*self._machines, *(actor for actor, _ in self._running.values())}:
            ray.kill(actor)
        self._machines, self._running, self._idle = {}, {}, []

    def _start_missing(self) -> None:
        there = len(self._idle) + len(self._running)
        for _ in range(there, self._count):
            self._started += 1
            name = f"worker-{self._started}"
            actor = self._actor.remote(self._job, name, max(1, int(self._cluster.cpus_per_worker)))
            self._running[actor.ready.remote()] = actor, None

    @cached_property
    def _actor(self) -> Any:
        return ray.remote(_Worker).options(
            num_cpus=self._cluster.cpus_per_worker, num_gpus=self._cluster.gpus_per_worker, max_concurrency=2,
            scheduling_strategy="SPREAD",
        )  # fmt: skip

    def _wait(self, done: Callable[[Any], None], again: Callable[[_Batch, str, bool], None]) -> None:
        """Take what has ended within a moment."""
        for ended in ray.wait([*self._running], timeout=0.5)[0]:
            actor, batch = self._running.pop(ended)
            try:
                result = ray.get(ended)
            except RayTaskError as error:  # of the worker's own, which lives
                if batch is None or not isinstance(error.cause, StylebatchError):
                    raise StylebatchError(f"a worker failed: {first_line(error.cause)}") from error
                self._idle.append(actor)
                again(replace(batch, tries=_TRIES), str(error.cause), True)
            except RayError as error:
                machine = self._machines.pop(actor, None)
                if batch is not None:
                    lives = machine in {node["NodeID"] for node in _machines()}
                    again(batch, f"its worker died {_TRIES} times: {first_line(error)}", lives)
                    continue
                self._failed_starts += 1
                if "creation task" in str(error) or self._failed_starts >= _TRIES * self._count:
                    raise StylebatchError(f"a worker could not be started: {str(error).splitlines()[-1]}") from error
            else:
                self._idle.append(actor)
                if batch is not None:
                    done(result)
                else:
                    self._greet(actor, *result)

    def _greet(self, actor: Any, settings: dict[str, Any], machine: str) -> None:
        self._machines[actor] = machine
        self._failed_starts = 0
        self._settings = self._settings or settings
        if settings != self._settings:
            both = [(name, self._settings.get(name), settings.get(name)) for name in {**self._settings, **settings}]
            differ = " and ".join(f"`{name}` {first} or {other}" for name, first, other in both if first != other)
            raise StylebatchError(f"workers would not give the same pixels, with {differ}; choose one")


def _room(cluster: Cluster) -> int:
    """How many workers the machines that are there have room for."""
    count = 0
    for held in (node["Resources"] for node in _machines()):
        per_gpu = held.get("GPU", 0) / cluster.gpus_per_worker if cluster.gpus_per_worker else math.inf
        count += int(min(held.get("CPU", 0) / cluster.cpus_per_worker, per_gpu))
    if not count:
        raise StylebatchError(
            "no machine of the cluster has room for a worker; ask for less with `cpus_per_worker` and `gpus_per_worker`, or "
            "give `ray_workers` if machines are to come"
        )
    return count


def _machines() -> list[dict[str, Any]]:
    """Those of the cluster that are alive."""
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
    return [node for node in nodes() if node["Alive"]]


@contextmanager
def _workers(job: Job, cluster: Cluster) -> Iterator[_Workers]:
    ours = not ray.is_initialized()
    if ours:
        address = cluster.ray_address or os.environ.get("RAY_ADDRESS")
        host, _, port = (address or "").removeprefix("ray://").rpartition(":")
        try:
            if host:  # Ray itself would try for minutes
                socket.create_connection((host, int(port)), _CONNECT_WITHIN).close()
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (RuntimeError, ValueError, OSError) as error:
            raise StylebatchError(f"Ray cluster {address or 'here'}: cannot be reached: {first_line(error)}") from None
        _let_ray_print(False)
    try:
        with closing(_Workers(job, cluster)) as workers:
            yield workers
    finally:
        if ours:
            ray.shutdown()
            _let_ray_print(True)


def _let_ray_print(allowed: bool) -> None:
    """What becomes of machines: on standard output, whatever it is told of logs, where the summary goes."""
    ray._private.worker._worker_logs_enabled = allowed
