"""A folder of photographs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from stylebatch.effects import effects_of
from stylebatch.errors import StylebatchError
from stylebatch.files import is_within
from stylebatch.images.formats import EXPORT, told_apart
from stylebatch.images.nvjpeg import NvJpeg, NvJpegDecoder, jpeg_decoder, jpeg_encoder
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import ImageSink
from stylebatch.images.source import ImageSource, find_images
from stylebatch.jobs.job import FolderJob
from stylebatch.jobs.plan import planned
from stylebatch.manifest import Manifest, written_in
from stylebatch.pipeline import Summary, stylize
from stylebatch.storage import IS_OUTPUT, Content, Storage, storage_of
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
    fsspec has a file system for, such as s3://bucket/folder.

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
    with closing(storage_of(job.source)) as source, closing(storage_of(job.output)) as output:
        summary, names = found(job, source, output)
        stylizer = stylizer or Stylizer(**job.stylizer)
        jpeg = jpeg_encoder(stylizer.device)
        settings = {**stylizer.settings, "jpeg": jpeg.name} if jpeg else stylizer.settings
        with open_manifest(job, settings, source, output) as manifest:
            plan = planned(manifest, names, grid=job.grid, format=job.options.format, stop=stop)
            summary.skipped = plan.done
            summary.failures += plan.failures
            summary.interrupted = stop()
            if summary.interrupted:
                return summary
            return stylize_units(
                job, plan.todo.items(), stylizer, manifest, summary=summary, jpeg=jpeg, progress=progress, stop=stop
            )


def open_manifest(job: FolderJob, stylizer: Mapping[str, str], source: Storage, output: Storage, **options: Any) -> Manifest:
    """The record of what the job has done.

    Args:
        stylizer: the settings of its stylizer, and of its encoder if that is not the cores'.
        options: of the `Manifest`.
    """
    settings = {**stylizer, "options": job.options.as_settings()}
    return Manifest(output, source, settings, overwrite=job.overwrite, **options)


def stylize_units(
    job: FolderJob,
    units: Iterable[tuple[str, Content]],
    stylizer: Stylizer,
    manifest: Manifest,
    *,
    summary: Summary,
    pool: Pool | None = None,
    jpeg: NvJpeg | None = None,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Photographs of a folder through the loop, as they come: whoever plans them, and however many do this at once, each
    with the manifest of a writer.

    Args:
        units: names in the source, with what they hold now.
        summary: what is done and what fails is added to it.
        pool: processes that decode for several such calls, with the job's `pictures_of`.
        jpeg: encodes JPEGs, if it takes them; the manifest's settings name it.
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
    sink = ImageSink(output.root, options=job.options, grid=job.grid, effects=effects, jpeg=jpeg, put=put)
    pictures = pictures_of(job, source, jpeg_decoder(stylizer.device))
    return stylize(
        pictures, source.staged(names(), summary.failures.append), stylizer, sink, summary=summary,
        batch_size=job.batch_size, workers=pool or job.workers, progress=progress, stop=stop,
    )  # fmt: skip


def pictures_of(job: FolderJob, source: Storage, jpeg: NvJpegDecoder | None = None) -> ImageSource:
    """The photographs of a job, by their names, when they lie under the storage's root."""
    return ImageSource(source.root, job.options, passing=source.real is None, jpeg=jpeg)


def found(job: FolderJob, source: Storage, output: Storage) -> tuple[Summary, list[str]]:
    """The photographs of the source, and a summary of what else is there.

    Raises:
        StylebatchError: there are none, or the output cannot be there.
    """
    _check_folders(source, output)
    names, others, failures = find_images(source, recursive=job.recursive, follow_links=job.follow_links, output=output)
    for failure in failures:
        if (
            failure.reason == IS_OUTPUT
            and source.real
            and (source.real / failure.source).resolve().is_relative_to(source.real)
        ):
            raise StylebatchError(
                f"{output}: the output is the folder {source.shown(failure.source)} of the input; give another"
            )
    folders = {(source.root / each).parent for each in others}
    own = {folder / name for folder in folders for name in written_in(folder)}
    ignored, unread, set_aside = told_apart([name for name in others if source.root / name not in own])
    if not names and not failures:
        there = "".join(f"; {count} {kind} files, which are not read: {EXPORT}" for kind, count in unread.items())
        raise StylebatchError(f"{source}: no photographs in it; give a folder of JPEG, PNG or other images{there}")
    summary = Summary(
        total=len(names) + len(failures), failures=failures, ignored=ignored, unread=unread, set_aside=set_aside
    )
    return summary, names


def _check_folders(source: Storage, output: Storage) -> None:
    if not source.is_folder():
        raise StylebatchError(f"{source}: no such folder of photographs")
    if output.real and output.root.exists() and not output.root.is_dir():
        raise StylebatchError(f"{output}: is a file; give a folder for the output")
    if bool(source.real) != bool(output.real):
        return
    here, there = str(source), str(output)
    inside, around = f"{there}/".startswith(f"{here}/"), f"{here}/".startswith(f"{there}/")
    if source.real:
        inside, around = is_within(output.root, source.root), is_within(source.root, output.root)
    if inside and around:
        raise StylebatchError(f"{output}: output and input are the same folder; give another output")
    if inside:
        raise StylebatchError(f"{output}: the output lies inside the input {source}; give one outside")
    if around:
        raise StylebatchError(f"{output}: the input {source} lies inside the output; give another output")
