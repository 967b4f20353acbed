"""The journey of a frame, top to bottom: loader → stylizer → sink."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from stylebatch.errors import StylebatchError
from stylebatch.files import atomic_write
from stylebatch.frame import Batch, Failure, Frame
from stylebatch.grid import contact_sheet
from stylebatch.images import (
    ImageSink,
    ImageSource,
    Saved,
    find_images,
    format_of,
    output_names,
    write_grid,
    write_image,
)
from stylebatch.loader import Source, load_batches
from stylebatch.styles import epoch_checkpoints, shipped_styles
from stylebatch.stylizer import Pending, Stylizer


@dataclass
class Summary:
    """What a run did. While it runs, the state of its progress.

    Attributes:
        total: files to do.
        done: files finished, `megapixels` in all.
        failures: files that did not come through, each with the reason.
        ignored: files that are no pictures.
        seconds: wall time; `waits` says how much of it the main loop spent on each stage.
    """

    total: int = 0
    done: int = 0
    megapixels: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    seconds: float = 0.0
    waits: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("load", "stylize", "save"), 0.0))
    interrupted: bool = False

    @property
    def finished(self) -> int:
        return self.done + len(self.failures)


def stylize_folder(
    source: Path | str,
    output: Path | str,
    style: str | Path = "hosi",
    *,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    recursive: bool = True,
    grid: bool = False,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Stylize every photograph under `source` into the same tree under `output`.

    Args:
        batch_size: photographs of one size that go through the network together; by default 1 on a CPU, 8 elsewhere.
        workers: processes that decode; by default half the cores on a CPU, where the network needs them, else all.
        grid: also write original | stylized, as `{name}_grid.jpg`.
        progress: called after each batch with the summary so far.
        stop: asked after each batch; True ends the run when what is in flight has been written.

    Raises:
        StylebatchError: bad input, or an output that cannot be written. A bad photograph is a line in the summary.
    """
    source, output = Path(source), Path(output)
    _check_folders(source, output)
    names, ignored = find_images(source, recursive=recursive)
    if not names:
        raise StylebatchError(f"{source}: no photographs in it; give a folder of JPEG, PNG or other images")
    output_names(names, grid=grid)
    stylizer = Stylizer(style, device=device, precision=precision)
    return stylize(
        ImageSource(source, names), stylizer, ImageSink(output, grid=grid, threads=max(2, _cores() // 2)),
        summary=Summary(len(names), ignored=ignored), batch_size=batch_size, workers=workers, progress=progress, stop=stop,
    )  # fmt: skip


def stylize_image(
    source: Path | str,
    output: Path | str | None = None,
    style: str | Path = "hosi",
    *,
    device: str = "auto",
    precision: str = "auto",
    grid: bool = False,
) -> Path:
    """Stylize one photograph; the format is that of `output`'s extension, else the photograph's.

    Args:
        output: by default `{name}_{style}` with the photograph's extension, beside it.

    Returns:
        Where the result lies.

    Raises:
        StylebatchError: bad input, or an output that cannot be written.
    """
    source = Path(source)
    frame = _read(source)
    stylizer = Stylizer(style, device=device, precision=precision)
    extra = frame.info.extra
    default = Path(extra.output)
    path = Path(output) if output else source.with_name(f"{default.stem}_{stylizer.name}{default.suffix}")
    if path.resolve() == source.resolve():
        raise StylebatchError(f"{path}: output and input are the same file; give another output")
    if output:
        extra = replace(extra, format=format_of(path))
    stylized = stylizer(frame.pixels[None])[0]
    write_image(stylized, extra, path)
    if grid:
        write_grid(path, frame.pixels, stylized)
    return path


def stylize_grid(
    photos: list[Path],
    styles: list[str],
    *,
    epochs: Path | None = None,
    output: Path = Path("grid.png"),
    width: int = 320,
    device: str = "auto",
    precision: str = "auto",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Write a contact sheet: a row for each photograph, the original first, then a column for each style.

    Args:
        styles: names or paths; empty for all that are shipped.
        epochs: instead of styles, the checkpoints `{epochs}_trans_net_*.pth` of one training, in order.
        progress: called with pictures done and in all.

    Raises:
        StylebatchError: bad input, or an output that cannot be written.
    """
    if epochs:
        columns = {f"epoch {epoch}": str(path) for epoch, path in epoch_checkpoints(epochs)}
    else:
        columns = {Path(style).stem: style for style in styles or shipped_styles()}
    frames = [_read(photo) for photo in photos]
    rows = [[Image.fromarray(frame.pixels.numpy())] for frame in frames]
    format = format_of(output)
    for done, style in enumerate(columns.values()):
        stylizer = Stylizer(style, device=device, precision=precision)
        for row, frame in enumerate(frames):
            rows[row].append(Image.fromarray(stylizer(frame.pixels[None])[0].numpy()))
            progress(done * len(frames) + row + 1, len(columns) * len(frames))
    sheet = contact_sheet(rows, ["original", *columns], width=width)
    with atomic_write(output) as file:
        sheet.save(file, format=format)
    return output


def stylize(
    source: Source,
    stylizer: Stylizer,
    sink: ImageSink,
    *,
    summary: Summary,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """The loop. Three stages keep going at once: worker processes decode ahead, the device computes one batch while the
    next is fetched, threads encode. Arguments as in `stylize_folder`."""
    on_cpu = stylizer.device.type == "cpu"
    loader = load_batches(
        source,
        batch_size=_count("batch size", batch_size, 1, default=1 if on_cpu else 8),
        workers=_count("workers", workers, 0, default=max(1, min(8, _cores() // 2 if on_cpu else _cores()))),
        pin=stylizer.device.type == "cuda",
    )
    clock = _Clock(summary)
    in_flight: list[_InFlight] = []
    try:
        for load in loader:
            clock.lap("load")
            summary.failures += load.failures
            for batch in load.batches:
                in_flight += _start(batch, stylizer)
                clock.lap("stylize")
                # One batch stays with the device while the next is fetched; a CPU has finished already.
                while len(in_flight) > (0 if on_cpu else 1):
                    _finish(in_flight.pop(0), sink, summary, clock)
            _count_saved(sink, summary)
            progress(summary)
            if stop():
                summary.interrupted = True
                break
        for remaining in in_flight:
            _finish(remaining, sink, summary, clock)
    finally:
        sink.close()
        clock.lap("save")
    _count_saved(sink, summary)
    progress(summary)
    return summary


@dataclass(frozen=True)
class _InFlight:
    batch: Batch
    pending: Pending | Failure


def _start(batch: Batch, stylizer: Stylizer) -> list[_InFlight]:
    """Hand a batch to the device. One that does not fit goes picture by picture."""
    try:
        return [_InFlight(batch, stylizer.start(batch.pixels))]
    except (RuntimeError, MemoryError) as error:  # torch has no narrower type for a CPU out of memory
        if len(batch.infos) > 1:
            singles = [Batch([info], batch.pixels[i : i + 1]) for i, info in enumerate(batch.infos)]
            return [started for single in singles for started in _start(single, stylizer)]
        _, height, width, _ = batch.pixels.shape
        first_line = str(error).partition("\n")[0]
        return [_InFlight(batch, Failure(batch.infos[0].source, f"{width}×{height} could not be stylized: {first_line}"))]


def _finish(started: _InFlight, sink: ImageSink, summary: Summary, clock: _Clock) -> None:
    """Wait for the device, hand its results to the encoders."""
    if isinstance(started.pending, Failure):
        summary.failures.append(started.pending)
        return
    stylized = started.pending.result()
    clock.lap("stylize")
    for info, original, result in zip(started.batch.infos, started.batch.pixels, stylized, strict=True):
        sink.add(info, original, result)
    clock.lap("save")


def _count_saved(sink: ImageSink, summary: Summary) -> None:
    for outcome in sink.outcomes():
        if isinstance(outcome, Saved):
            summary.done += 1
            summary.megapixels += outcome.pixels / 1e6
        else:
            summary.failures.append(outcome)


class _Clock:
    """Gives each stretch of the main loop's time to the stage that it waited for."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self._start = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._summary.waits[stage] += now - self._last
        self._summary.seconds = now - self._start
        self._last = now


def _check_folders(source: Path, output: Path) -> None:
    if not source.is_dir():
        raise StylebatchError(f"{source}: no such folder of photographs")
    real_source, real_output = source.resolve(), output.resolve()
    if real_source == real_output:
        raise StylebatchError(f"{output}: output and input are the same folder; give another output")
    if real_output.is_relative_to(real_source):
        raise StylebatchError(f"{output}: the output lies inside the input {source}; give one outside")
    if real_source.is_relative_to(real_output):
        raise StylebatchError(f"{output}: the input {source} lies inside the output; give another output")
    if output.exists() and not output.is_dir():
        raise StylebatchError(f"{output}: is a file; give a folder for the output")


def _read(photo: Path) -> Frame:
    if not photo.is_file():
        raise StylebatchError(f"{photo}: no such photograph")
    frame = ImageSource(photo.parent, [photo.name])[0]
    if isinstance(frame, Failure):
        raise StylebatchError(f"{photo}: {frame.reason}")
    return frame


def _count(name: str, value: int | None, least: int, *, default: int) -> int:
    if value is not None and value < least:
        raise StylebatchError(f"{name} {value}: must be at least {least}")
    return default if value is None else value


def _cores() -> int:
    """Cores that this process may use, which containers and schedulers limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
