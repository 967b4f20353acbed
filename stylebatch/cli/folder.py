"""`stylebatch folder`."""

from __future__ import annotations

import functools
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylebatch.cli.inputs import expect
from stylebatch.cli.shared import ENGINE, JSON, followed, some, take_cluster, troubles, with_trained_styles
from stylebatch.console.arguments import WORD
from stylebatch.console.command import SOME_FAILED, command, exit_by
from stylebatch.console.options import declared_options, take
from stylebatch.console.terminal import put_json, say
from stylebatch.images.options import ImageOptions
from stylebatch.interrupt import catch_interrupts
from stylebatch.jobs.job import Cluster, FolderJob, list_in
from stylebatch.options import Runtime, options_of
from stylebatch.storage import is_url

if TYPE_CHECKING:
    from stylebatch.pipeline import Summary


@click.command()
@click.argument("source", metavar="IN", type=WORD)
@click.argument("output", metavar="OUT", type=WORD, required=False)
@declared_options(FolderJob, "style", "strength", "strokes", "grid", "recursive", "follow_links", "overwrite")
@declared_options(ImageOptions)
@declared_options(FolderJob, *options_of(Runtime), "batch_size", "workers")
@ENGINE
@declared_options(Cluster)
@JSON
@command
def folder(source: str, output: str | None, as_json: bool, **options: Any) -> None:
    """Stylize the photographs in folder IN into the same tree under OUT. Both may be URLs, such as s3://bucket/folder.
    IN may be @LIST, a text with a path or URL in each line, or a Parquet or Arrow file with a column path or url."""
    if not is_url(source) and list_in(source) is None:
        expect("folder", Path(source), output)
    if output is None:
        named = str(path.with_suffix("")) if (path := list_in(source)) else source.rstrip("/")
        proposed = f"{named}_{Path(options['style'] or 'hosi').stem}"
        words = shlex.join(["stylebatch", "folder", source, proposed])
        raise click.UsageError(f"Missing argument 'OUT', the folder for the results: {words}")
    options |= {"source": source, "output": output, "options": take(ImageOptions, options)}
    cluster = take_cluster(options)
    job = with_trained_styles(take(FolderJob, options))
    from stylebatch.jobs.folder import run_folder
    from stylebatch.pipeline import Summary

    run = functools.partial(run_folder, job)
    if cluster:
        from stylebatch.jobs.cluster import run_folder_on_ray

        run = functools.partial(run_folder_on_ray, job, cluster)
    with catch_interrupts() as interrupt:
        summary = followed(run, Summary(), "img", interrupt)
    if as_json:
        put_json(summary.as_dict())
    else:
        say(*as_lines(summary, output))
    if summary.interrupted:
        exit_by(interrupt)
    if summary.failures or summary.aborted:
        sys.exit(SOME_FAILED)


def as_lines(summary: Summary, output: str) -> list[str]:
    seconds = max(summary.seconds, 1e-9)
    lines = [f"failed: {failure.source}: {failure.reason}" for failure in summary.failures]
    if summary.renamed:
        lines.append(f"in another format: {some(f'{name} as {output}' for name, output in summary.renamed.items())}")
    if summary.partial:
        lines.append(f"first page or frame alone: {some(f'{name}, {more} more' for name, more in summary.partial.items())}")
    for note in dict.fromkeys(note for notes in summary.notes.values() for note in notes):
        lines.append(f"{note}: {some(name for name, notes in summary.notes.items() if note in notes)}")
    if summary.ignored:
        lines.append(f"not pictures: {some(summary.ignored)}")
    if summary.unread:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.unread.items())
        lines.append(f"not read: {kinds}; export as TIFF or JPEG")
    if summary.set_aside:
        lines.append(f"folders left alone: {some(summary.set_aside)}")
    lines += troubles(summary)
    if summary.interrupted or summary.aborted:
        rest = f"{'at least ' * summary.listing}{summary.total - summary.finished} not done"
        lines.append(f"{rest}; the same command goes on")
    if summary.skipped:
        lines.append(f"{summary.skipped} done before, unchanged")
    lines.append(
        f"{summary.done} of {summary.total} photographs in {output}: {summary.megapixels:.1f} MP in {seconds:.1f} s, "
        f"{summary.done / seconds:.2f} images/s, {len(summary.failures)} failed"
    )
    return lines
