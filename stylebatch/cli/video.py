"""`stylebatch video`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylebatch.cli.inputs import films_of, inputs_and_output
from stylebatch.cli.shared import ENGINE, JSON, OUTPUT, followed, take_cluster, troubles, with_trained_styles
from stylebatch.console.arguments import WORD
from stylebatch.console.command import SOME_FAILED, advance, command, exit_by, progress_bar
from stylebatch.console.options import declared_options, take
from stylebatch.console.terminal import put_json, say
from stylebatch.errors import StylebatchError
from stylebatch.interrupt import Interrupt, catch_interrupts
from stylebatch.jobs.job import Cluster, VideoJob
from stylebatch.options import Runtime, options_of
from stylebatch.video.options import VideoOptions, show_time

if TYPE_CHECKING:
    from stylebatch.jobs import VideoSummary
    from stylebatch.video.check import Checked


@click.command(short_help="Stylize films.")
@click.argument("words", metavar="CLIP... [OUT]", nargs=-1, required=True, type=WORD)
@declared_options(VideoJob, "style", "strength", "strokes")
@OUTPUT
@click.option("--check", is_flag=True, help="Paint nothing: tell what will be kept, converted and left out.")
@declared_options(VideoJob, "overwrite")
@declared_options(VideoOptions)
@declared_options(VideoJob, *options_of(Runtime), "batch_size")
@ENGINE
@declared_options(Cluster)
@JSON
@command
def video(words: tuple[str, ...], output: str | None, as_json: bool, check: bool, **options: Any) -> None:
    """Stylize a CLIP into OUT, film or folder, by default into CLIP_STYLE beside it; several, or a folder of them with its
    tree, into the folder OUT. Numbered pictures are a film too: 'shot/%05d.png', as CLIP and as OUT. Both may be URLs."""
    clips = films_of(*inputs_and_output("video", words, output))
    options["options"] = take(VideoOptions, options)
    if check:
        _check_films(clips, options["options"], as_json)
        return
    cluster = take_cluster(options)
    job = with_trained_styles(take(VideoJob, {**options, "source": ""}))
    from stylebatch.jobs.video import VideoSummary, run_video
    from stylebatch.stylizer import Stylizer
    from stylebatch.video import output_paths

    done: list[VideoSummary] = []
    failures: list[tuple[Path | str, StylebatchError]] = []
    with catch_interrupts() as interrupt:
        stylizer = interrupt.wait_for(lambda: Stylizer(**job.stylizer))
        if stylizer is not None:
            output_paths([(clip, to) for clip, to in clips if isinstance(clip, Path)], stylizer.name, job.options)
        films = [replace(job, source=str(clip), output=folder) for clip, folder in clips]
        if cluster and stylizer:
            _spread(films, cluster, done, failures, interrupt)
        for (clip, _), film in zip(clips, films, strict=True) if not cluster else ():
            if stylizer is None or interrupt():
                break
            try:
                done.append(followed(functools.partial(run_video, film, stylizer), VideoSummary(), "frame", interrupt))
            except StylebatchError as error:
                if len(clips) == 1:
                    raise
                failures.append((clip, error))
    if as_json:
        told = [summary.as_dict() for summary in done]
        failed = [{"path": str(clip), "reason": str(error)} for clip, error in failures]
        put_json({"films": told, "failed": failed, "interrupted": interrupt()})
    else:
        lines = [line for summary in done for line in as_lines(summary)]
        say(*(f"failed: {error}" for _, error in failures), *lines)
    if interrupt():
        exit_by(interrupt)
    if failures or any(summary.failures or summary.aborted for summary in done):
        sys.exit(SOME_FAILED)


def _spread(
    films: Sequence[VideoJob],
    cluster: Cluster,
    done: list[VideoSummary],
    failures: list[tuple[Path | str, StylebatchError]],
    interrupt: Interrupt,
) -> None:
    from stylebatch.jobs.cluster import run_videos_on_ray

    with progress_bar("film") as bar:

        def count() -> None:
            advance(bar, len(done) + len(failures), len(films))

        def finished(summary: VideoSummary) -> None:
            done.append(summary)
            count()

        def lost(film: VideoJob, reason: str) -> None:
            failures.append((film.source, StylebatchError(reason)))
            count()

        interrupt.wait_for(lambda: run_videos_on_ray(films, cluster, done=finished, lost=lost, stop=interrupt))


def _check_films(clips: Sequence[tuple[Path | str, str | None]], options: VideoOptions, as_json: bool) -> None:
    from stylebatch.jobs.urls import brought_here
    from stylebatch.video import check_film

    checked: list[tuple[Path | str, Checked]] = []
    failures: list[tuple[Path | str, StylebatchError]] = []
    for clip, output in clips:
        try:
            with nullcontext(clip) if isinstance(clip, Path) else brought_here(clip) as path:
                checked.append((clip, check_film(path, output, options=options)))
        except StylebatchError as error:
            if len(clips) == 1:
                raise
            failures.append((clip, error))
    if as_json:
        films = [_checked_as_dict(clip, film) for clip, film in checked]
        failed = [{"path": str(clip), "reason": str(error)} for clip, error in failures]
        put_json({"films": films, "failed": failed})
    else:
        lines = [line for clip, film in checked for line in _checked_as_lines(clip, film)]
        say(*lines, *(f"cannot be made: {error}" for _, error in failures))
    if failures:
        sys.exit(SOME_FAILED)


def _checked_as_dict(path: Path | str, film: Checked) -> dict[str, Any]:
    clip, encoding = film.clip, film.encoding
    return {
        "path": str(path),
        "width": clip.size[0],
        "height": clip.size[1],
        "rate": float(clip.rate),
        "seconds": clip.duration,
        "container": encoding and encoding.container,
        "codec": encoding and encoding.codec,
        "pix_fmt": encoding and encoding.pix_fmt,
        "streams": [{"stream": each.name, "fate": each.fate, "reason": each.reason} for each in film.streams],
        "warnings": film.warnings,
    }


def _checked_as_lines(path: Path | str, film: Checked) -> list[str]:
    clip, encoding = film.clip, film.encoding
    length = "" if clip.duration is None else f"{show_time(clip.duration)}, "
    written = f"to {encoding.container}, {encoding.codec} {encoding.pix_fmt}" if encoding else "to pictures"
    lines = [f"{path}: {length}{clip.size[0]}×{clip.size[1]}, {float(clip.rate):g} fps, {written}"]
    reasons = {f"{each.name} {each.reason}" for each in film.streams}
    lines += [
        f"  {each.name}: {each.reason if each.reason and each.fate != 'stylized' else each.fate}" for each in film.streams
    ]
    return lines + [f"  warning: {warning}" for warning in film.warnings if warning not in reasons]


def as_lines(summary: VideoSummary) -> list[str]:
    if summary.unchanged:
        return [f"{summary.output}: done before, unchanged"]
    lines = [f"warning: {warning}" for warning in summary.warnings]
    lines += [f"failed: {failure.source}: {failure.reason}" for failure in summary.failures]
    lines += troubles(summary)
    if summary.interrupted or summary.aborted:
        lines.append(f"{summary.finished} of about {summary.total} frames are kept; the same command goes on")
    if summary.skipped:
        lines.append(f"{summary.skipped} frames done before")
    seconds = max(summary.seconds, 1e-9)
    frames = f"{summary.done} frames in {seconds:.1f} s, {summary.done / seconds:.2f} fps"
    lines.append(f"{summary.output}: {frames}; {_busy(summary, seconds)}")
    return lines


def _busy(summary: VideoSummary, seconds: float) -> str:
    """How much of the time each part of the work took: the busiest one is what the others wait for."""
    parts = {"decoder": "reading", "network": "painting", "encoder": "writing"}
    busy = (f"{part} {max(0.0, 1 - summary.stage_waits[stage] / seconds):.0%}" for stage, part in parts.items())
    return f"busy with {', '.join(busy)} of the time"
