"""A folder of photographs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from stylebatch.effects import effects_of
from stylebatch.images.jpeg import Decode
from stylebatch.images.nvjpeg import jpegs_on
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import ImageSink
from stylebatch.images.source import ImageSource
from stylebatch.jobs.inputs import FolderInputs, Inputs, check_folders
from stylebatch.jobs.job import FolderJob, list_in
from stylebatch.jobs.lists import open_list
from stylebatch.jobs.plan import planned
from stylebatch.manifest import Manifest
from stylebatch.pipeline import Summary, stylize
from stylebatch.storage import Content, Storage, storage_of
from stylebatch.stylizer import Stylizer
from stylebatch.workers import Pool


def stylize_folder(
    source: Path | str,
    output: Path | str,
    style: str | Path = "hosi",
    *,
    strength: float = 1.0,
    strokes: float | None = None,
    options: ImageOptions = ImageOptions(),  # noqa: B008 (frozen)
    grid: bool = False,
    recursive: bool = True,
    follow_links: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Stylize every photograph under `source` into the same tree under `output`. Both may be URLs, as text, that
    fsspec has a file system for, such as s3://bucket/folder. `source` may be a list, too, by an @ before its path: a text
    with a path or URL in each line, or a Parquet or Arrow file with a column `path` or `url`.

    What an earlier run has finished, from the same content with the same style and options, is not done again. What it has
    made of a photograph that has changed since is made anew. Nothing else that is there is replaced.

    Args:
        style: a name, a checkpoint's path, or a mix, "hosi:0.6,wave:0.4".
        strength: 0 (the photograph) to 1 (the style as trained) to 1.5.
        strokes: as in `Stylizer`.
        options: formats, sizes, colours, limits.
        grid: also write original | stylized, as `{name}_grid.jpg`.
        follow_links: follow symbolic links that lead out of `source`.
        overwrite: replace what is there and was not made from these photographs, or with other options.
        batch_size: photographs of one size that go through the network together; by default 1 on a CPU, on a GPU
            what fits.
        workers: processes that decode; by default half the cores on a CPU, up to 8, where the network needs them, else all,
            up to 16 for each GPU.
        progress: called after each batch with the summary so far, which goes on: what is to stay is its `snapshot()`.
        stop: asked after each batch, and while it waits for one; True ends the run when what is in flight has been written.

    Raises:
        StylebatchError: bad input, an output that another run is writing, that has results with other options or that
            cannot be written at all. A photograph that fails is a line in the summary, a disk that fills up on the way is
            its `aborted`.
    """
    job = FolderJob(
        source=os.fspath(source), output=os.fspath(output), style=str(style), strength=strength, strokes=strokes,
        options=options, grid=grid, recursive=recursive, follow_links=follow_links, overwrite=overwrite, device=device,
        precision=precision, backend=backend, batch_size=batch_size, workers=workers,
    )  # fmt: skip
    return run_folder(job, progress=progress, stop=stop)


def run_folder(
    job: FolderJob,
    stylizer: Stylizer | None = None,
    *,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """What `stylize_folder` does, of a job as data, by `stylizer` if there is one for it already."""
    with opened(job) as (source, output, inputs):
        stylizer = stylizer or Stylizer(**job.stylizer)
        summary = Summary()
        with open_manifest(job, settings_of(job, stylizer), source, output) as manifest:
            units = planned(job, manifest, inputs, summary=summary, progress=progress, stop=stop)
            return stylize_units(job, units, stylizer, manifest, summary=summary, progress=progress, stop=stop)


@contextmanager
def opened(job: FolderJob) -> Iterator[tuple[Storage, Storage, Inputs]]:
    """Where the photographs of a job lie, where results go, and which photographs they are.

    Raises:
        StylebatchError: there are none, or results cannot go there.
    """
    path = list_in(job.source)
    source, listed = open_list(path) if path else (storage_of(job.source), None)
    with closing(source), closing(storage_of(job.output)) as output:
        inputs = listed or FolderInputs(job, source, output)
        check_folders(source, output, by_folder=inputs.by_folder)
        inputs.check()
        inputs.identify(source, output)
        yield source, output, inputs


def settings_of(job: FolderJob, stylizer: Stylizer) -> dict[str, Any]:
    """What makes a photograph's result another one, beside the options, as JSON values."""
    return {**stylizer.settings, **jpegs_on(stylizer.device, job.options.gpu_jpeg).settings}


def open_manifest(job: FolderJob, settings: Mapping[str, Any], source: Storage, output: Storage, **options: Any) -> Manifest:
    """The record of what the job has done.

    Args:
        settings: of the job and its stylizer, as `settings_of`.
        options: of the `Manifest`.
    """
    settings = {**settings, "options": job.options.as_settings()}
    return Manifest(output, source, settings, overwrite=job.overwrite, **options)


def stylize_units(
    job: FolderJob,
    units: Iterable[tuple[str, Content]],
    stylizer: Stylizer,
    manifest: Manifest,
    *,
    summary: Summary,
    pool: Pool | None = None,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Photographs of a folder through the loop, as they come: whoever plans them, and however many do this at once, each
    with the manifest of a writer.

    Args:
        units: names in the source, with what they hold now.
        summary: what is done and what fails is added to it.
        pool: processes that decode for several such calls, with the job's `pictures_of`.
        progress: as in `stylize_folder`.
        stop: as in `stylize_folder`.
    """
    source, output = manifest.source, manifest.output
    contents: dict[str, Content] = {}

    def put(name: str, temp: Path, path: Path) -> None:
        manifest.put(contents[name], temp, path)

    def names() -> Iterator[str]:
        for name, content in units:
            contents[name] = content
            yield name

    effects = effects_of(tone=stylizer.tone, preserve_color=job.options.preserve_color)
    jpegs = jpegs_on(stylizer.device, job.options.gpu_jpeg)
    sink = ImageSink(output.root, options=job.options, grid=job.grid, effects=effects, jpeg=jpegs.encode, put=put)
    pictures = pictures_of(job, source, jpegs.decode)
    return stylize(
        pictures, source.staged(names(), summary.failures.append), stylizer, sink, summary=summary,
        batch_size=job.batch_size, workers=pool or job.workers, progress=progress, stop=stop,
        saved=lambda saved: contents.pop(saved.source, None),
    )  # fmt: skip


def pictures_of(job: FolderJob, source: Storage, jpeg: Decode | None) -> ImageSource:
    """The photographs of a job, by their names, when they lie under the storage's root."""
    return ImageSource(source.root, job.options, passing=source.real is None, jpeg=jpeg)
