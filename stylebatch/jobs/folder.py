"""A folder of photographs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from stylebatch.effects import effects_of
from stylebatch.errors import StylebatchError
from stylebatch.files import identity, is_within
from stylebatch.images.formats import EXPORT, told_apart
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import ImageSink
from stylebatch.images.source import IS_OUTPUT, ImageSource, find_images
from stylebatch.jobs.job import FolderJob
from stylebatch.jobs.plan import planned
from stylebatch.manifest import Manifest, written_in
from stylebatch.pipeline import Summary, stylize
from stylebatch.stylizer import Stylizer


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
    """Stylize every photograph under `source` into the same tree under `output`.

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
        workers: processes that decode; by default half the cores on a CPU, where the network needs them, else all.
        progress: called after each batch with the summary so far.
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
    source, output = Path(job.source), Path(job.output)
    _check_folders(source, output)
    names, others, failures = find_images(source, recursive=job.recursive, follow_links=job.follow_links, output=output)
    real = os.path.realpath(source)
    for failure in failures:
        if failure.reason == IS_OUTPUT and Path(os.path.realpath(source / failure.source)).is_relative_to(real):
            raise StylebatchError(f"{output}: the output is the folder {source / failure.source} of the input; give another")
    own = {folder / name for folder in {(source / each).parent for each in others} for name in written_in(folder)}
    ignored, unread, set_aside = told_apart([name for name in others if source / name not in own])
    if not names and not failures:
        there = "".join(f"; {count} {kind} files, which are not read: {EXPORT}" for kind, count in unread.items())
        raise StylebatchError(f"{source}: no photographs in it; give a folder of JPEG, PNG or other images{there}")
    stylizer = stylizer or Stylizer(**job.stylizer)
    settings = {**stylizer.settings, "options": job.options.as_settings()}
    with Manifest(output, source, settings, overwrite=job.overwrite) as manifest:
        plan = planned(manifest, names, grid=job.grid, format=job.options.format, stop=stop)
        summary = Summary(
            total=len(names) + len(failures), skipped=plan.done, failures=failures + plan.failures, ignored=ignored,
            unread=unread, set_aside=set_aside, interrupted=stop(),
        )  # fmt: skip
        if summary.interrupted:
            return summary

        def put(name: str, temp: Path, path: Path) -> None:
            manifest.put(plan.todo[name], temp, path)

        effects = effects_of(tone=stylizer.tone, preserve_color=job.options.preserve_color)
        sink = ImageSink(output, options=job.options, grid=job.grid, effects=effects, put=put)
        return stylize(
            ImageSource(source, job.options), plan.todo, stylizer, sink, summary=summary, batch_size=job.batch_size,
            workers=job.workers, progress=progress, stop=stop,
        )  # fmt: skip


def _check_folders(source: Path, output: Path) -> None:
    if not source.is_dir():
        raise StylebatchError(f"{source}: no such folder of photographs")
    if identity(source) == identity(output):
        raise StylebatchError(f"{output}: output and input are the same folder; give another output")
    if is_within(output, source):
        raise StylebatchError(f"{output}: the output lies inside the input {source}; give one outside")
    if is_within(source, output):
        raise StylebatchError(f"{output}: the input {source} lies inside the output; give another output")
    if output.exists() and not output.is_dir():
        raise StylebatchError(f"{output}: is a file; give a folder for the output")
