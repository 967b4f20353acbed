"""One film."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stylebatch.effects import Effects, effects_of
from stylebatch.errors import BusyError, OutputError, StylebatchError
from stylebatch.files import create, remove_temporaries
from stylebatch.frame import Frame
from stylebatch.images.nvjpeg import Jpegs, jpegs_on
from stylebatch.jobs.job import VideoJob
from stylebatch.jobs.urls import as_path, brought_here, destination_of, passing_folder, place_of, plain_name
from stylebatch.loader import FilmBatches
from stylebatch.manifest import Manifest, Standing
from stylebatch.pipeline import Summary, run
from stylebatch.storage import Content, is_url
from stylebatch.stylizer import Stylizer
from stylebatch.video.clip import FilmSource
from stylebatch.video.numbered import Numbered
from stylebatch.video.options import VideoOptions
from stylebatch.video.outputs import output_paths
from stylebatch.video.pictures import PictureSink
from stylebatch.video.sequence import SequenceSource, open_source
from stylebatch.video.sink import VideoSink

#: Seconds to wait for another run, which reads a film that is complete, or writes there for hours.
_PATIENCE = 10.0


@dataclass
class VideoSummary(Summary):
    """What a run did with a film. Its pictures are the frames: `total` is an estimate until the end.

    Attributes:
        output: the film, or the folder of its pictures; a URL is text.
        unchanged: an earlier run had made it.
        warnings: what a person should know: streams left out or converted, damage bridged, range lost.
        decoder_waited, encoder_waited: seconds that these stages had nothing to do; the network's are in `waits`.
    """

    output: Path | str = Path()
    unchanged: bool = False
    warnings: list[str] = field(default_factory=list)
    decoder_waited: float = 0.0
    encoder_waited: float = 0.0

    @property
    def stage_waits(self) -> dict[str, float]:
        """Seconds in which each of the three stages waited for the others."""
        network = self.waits["load"] + self.waits["save"]
        return {"decoder": self.decoder_waited, "network": network, "encoder": self.encoder_waited}

    def as_dict(self) -> dict[str, Any]:
        told = super().as_dict()
        shared = ("total", "skipped", "done", "halved", "failed", "megapixels", "seconds", "interrupted", "aborted")
        return {
            "output": str(self.output),
            "unchanged": self.unchanged,
            **{name: told[name] for name in shared},
            "frames_per_second": told["images_per_second"],
            "warnings": self.warnings,
            "waits": {stage: round(waited, 3) for stage, waited in self.stage_waits.items()},
        }


def stylize_video(
    source: Path | str,
    output: Path | str | None = None,
    style: str | Path | Stylizer = "hosi",
    *,
    strength: float = 1.0,
    strokes: float | None = None,
    options: VideoOptions = VideoOptions(),  # noqa: B008 (frozen)
    overwrite: bool = False,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    batch_size: int | None = None,
    progress: Callable[[VideoSummary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> VideoSummary:
    """Stylize a film: its pictures change, everything else stays.

    What an earlier run has finished, whole or in part, from the same content with the same style and options, is not done
    again. What it has made of a film that has changed since is made anew. Nothing else that is there is replaced.

    Args:
        source: a film, or a pattern of numbered pictures. It and the output may also be URLs, as text, as of
            `stylize_folder`: a film from there is fetched first, and one that goes there is stored when it is complete.
        output: a film, whose extension chooses the container, or a folder for it; by default `{name}_{style}`, of a preview
            `{name}_{style}_preview`, beside the source, in its container, or in MP4 if that one is not written. Numbered
            pictures go to a pattern such as `out/%05d.png`, or under their names into a folder.
        style: a name, a checkpoint's path, a mix, or a `Stylizer`, which then has strength, strokes, device, precision and
            backend.
        strength, strokes: as in `stylize_folder`.
        overwrite: replace what is there and was not made from this film, or with other options.
        batch_size: frames that go through the network together; by default 1 on a CPU, on a GPU what fits.
        progress: called after each batch with the summary so far, which goes on: what is to stay is its `snapshot()`.
        stop: asked after each batch; True ends the run when what is in flight has been encoded. The same call goes on.

    Raises:
        StylebatchError: bad input, a setting that cannot be, or an output that may not be replaced.
        OutputError: it cannot be written; the same call goes on.
    """
    stylizer = style if isinstance(style, Stylizer) else None
    arguments = {
        "style": str(style), "strength": strength, "strokes": strokes, "device": device, "precision": precision,
        "backend": backend,
    }  # fmt: skip
    job = VideoJob(
        source=os.fspath(source), output=output if output is None else os.fspath(output), options=options,
        overwrite=overwrite, batch_size=batch_size, **(stylizer.arguments if stylizer else arguments),
    )  # fmt: skip
    return run_video(job, stylizer, progress=progress, stop=stop)


def run_video(
    job: VideoJob,
    stylizer: Stylizer | None = None,
    *,
    progress: Callable[[VideoSummary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    writer: str | None = None,
) -> VideoSummary:
    """What `stylize_video` does, of a job as data, by `stylizer` if there is one for it already.

    Args:
        writer: the name of one of several that write to one URL at once, as a `Manifest` takes it.
    """
    job = replace(job, source=as_path(job.source), output=job.output and as_path(job.output))
    if is_url(job.output or ""):
        return _to_url(job, stylizer or Stylizer(**job.stylizer), writer, progress, stop)
    if is_url(job.source):
        with brought_here(job.source) as path:
            here = replace(job, source=str(path), output=job.output or f".{os.sep}")
            return run_video(here, stylizer, progress=progress, stop=stop)
    options = job.options
    film = open_source(job.source, options)
    stylizer = stylizer or Stylizer(**job.stylizer)
    (output,) = output_paths([(film.path, job.output)], stylizer.name, options)
    path = output.folder if isinstance(output, Numbered) else output
    summary = VideoSummary(total=film.clip.expected_frames(options) or 0, output=path)
    settings = {**stylizer.settings, "options": options.as_settings()}
    jpegs = jpegs_on(stylizer.device, options.gpu_jpeg)
    numbered = [output] if isinstance(output, Numbered) else []
    if isinstance(film, SequenceSource):
        film.jpeg = jpegs.decode
        numbered.append(film.pictures)
    if any(pictures.format == "JPEG" for pictures in numbered):
        settings |= jpegs.settings
    effects = effects_of(
        tone=stylizer.tone, steady=options.steady, preserve_color=options.preserve_color, side_by_side=options.side_by_side
    )
    if isinstance(output, Numbered):
        return _write_pictures(job, film, output, stylizer, effects, summary, settings, jpegs, progress, stop)
    with Manifest(path.parent, film.path, settings, overwrite=job.overwrite, wait=_PATIENCE) as manifest:
        standing = manifest.standing(film.content, path)
        if standing is Standing.DONE:
            summary.unchanged = True
            return summary
        if standing >= Standing.OTHERWISE and not manifest.overwrite:
            raise StylebatchError(str(manifest.refusal(standing, film.content, path)))

    def put(temp: Path, path: Path) -> None:
        try:
            with Manifest(path.parent, film.path, settings, overwrite=job.overwrite, wait=_PATIENCE) as manifest:
                manifest.put(film.content, temp, path)
        except BusyError:
            create(temp, path)
            film.warnings.append("another run writes there: it is not on record that this is the film of this clip")

    sink = VideoSink(path, film, {**settings, "input": film.content.digest}, put=put, effects=effects)
    try:
        summary.skipped = first = sink.next
        batches = _batches(film.frames(lambda index: index >= first), stylizer, job.batch_size)
        with closing(batches):
            run(batches, stylizer, sink, summary=summary, progress=progress, stop=stop)
        summary.decoder_waited, summary.encoder_waited = batches.waited, sink.waited
        if summary.interrupted:
            summary.done = sink.done - first
            return summary
        sink.finish()
    except OutputError as error:
        if error.fatal:
            raise OutputError(f"{error}; what is done stays: make room, and the same command goes on", fatal=True) from error
        raise
    finally:
        sink.release()
    summary.total = summary.finished
    summary.warnings = film.warnings + sink.warnings
    return summary


def _to_url(
    job: VideoJob,
    stylizer: Stylizer,
    writer: str | None,
    progress: Callable[[VideoSummary], None],
    stop: Callable[[], bool],
) -> VideoSummary:
    """The film is made here, where it also goes on, and stored when it is complete."""
    assert job.output is not None
    source, clip = place_of(job.source)
    target, name = destination_of(job.output)
    passing = passing_folder(clip, job.output)
    (path,) = output_paths([(Path(plain_name(source, clip)), str(passing / name))], stylizer.name, job.options)
    if isinstance(path, Numbered):
        raise StylebatchError(f"{job.output}: numbered pictures go to folders here")
    settings = {**stylizer.settings, "options": job.options.as_settings()}

    def recorded() -> Manifest:
        return Manifest(target, source, settings, overwrite=job.overwrite, writer=writer)

    with closing(source), closing(target):
        output, content = target.root / path.name, source.content(clip)
        with recorded() as manifest:
            standing = manifest.standing(content, output)
            if standing is Standing.DONE:
                return VideoSummary(output=target.shown(path.name), unchanged=True)
            if standing >= Standing.OTHERWISE and not manifest.overwrite:
                raise StylebatchError(str(manifest.refusal(standing, content, output)))
        with brought_here(job.source) as film:
            here = replace(job, source=str(film), output=str(path))
            summary = run_video(here, stylizer, progress=progress, stop=stop)
        summary.output = target.shown(path.name)
        if not (summary.interrupted or summary.aborted):
            with recorded() as manifest:
                manifest.put(content, path, output)
            shutil.rmtree(passing)
    return summary


def _write_pictures(
    job: VideoJob,
    film: FilmSource,
    pictures: Numbered,
    stylizer: Stylizer,
    effects: Effects,
    summary: VideoSummary,
    settings: dict[str, Any],
    jpegs: Jpegs,
    progress: Callable[[VideoSummary], None],
    stop: Callable[[], bool],
) -> VideoSummary:
    """Each picture is an output of its own, of a picture of the sequence or of the whole film."""
    number: Callable[[int], int] = int
    contents = defaultdict[int, Content](lambda: film.content)
    if isinstance(film, SequenceSource):
        number = film.numbers.__getitem__
        # Which pictures are taken changes none of them, but for those before it, which `contents` tells.
        of_each = replace(job.options, fps=None, start=None, end=None, preview=None, every=None)
        settings = {**settings, "options": of_each.as_settings()}
        contents.update(enumerate(film.contents(chained=effects.is_stateful)))
    with Manifest(pictures.folder, film.path, settings, overwrite=job.overwrite) as manifest:
        remove_temporaries(pictures.folder)
        sink = PictureSink(
            pictures, film, manifest=manifest, effects=effects, number=number, content=contents.__getitem__,
            jpeg=jpegs.encode,
        )  # fmt: skip
        try:
            summary.skipped = sink.done
            batches = _batches(film.frames(sink.wanted), stylizer, job.batch_size)
            with closing(batches):
                run(batches, stylizer, sink, summary=summary, progress=progress, stop=stop)
            if not summary.interrupted:
                sink.finish()
        finally:
            sink.release()
    summary.decoder_waited, summary.encoder_waited = batches.waited, sink.waited
    summary.warnings = film.warnings + sink.warnings
    if not summary.interrupted:
        summary.total = summary.finished
        summary.unchanged = summary.finished == summary.skipped > 0
    return summary


def _batches(frames: Iterator[Frame], stylizer: Stylizer, batch_size: int | None) -> FilmBatches:
    return FilmBatches(
        frames,
        batch_size=batch_size or stylizer.batch_size,
        batch_pixels=stylizer.batch_pixels,
        pin=stylizer.device.type == "cuda",
    )
