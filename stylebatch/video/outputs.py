"""Where the results of films go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stylebatch.errors import StylebatchError
from stylebatch.files import check_name, identity, is_folder, name_folding
from stylebatch.video.encoding import CONTAINERS
from stylebatch.video.numbered import Numbered, pattern_of
from stylebatch.video.options import VideoOptions


def output_paths(
    clips: Sequence[tuple[Path, Path | str | None]], style: str, options: VideoOptions
) -> list[Path | Numbered]:
    """Where the result of each clip goes, which comes with the output that was given for it.

    Raises:
        StylebatchError: one would replace a clip, or the result of another.
    """
    outputs = [output_of(clip, output, style, options) for clip, output in clips]
    inputs = {identity(clip) for clip, _ in clips}
    makers: dict[object, Path] = {}
    for (clip, _), output in zip(clips, outputs, strict=True):
        written = output.path if isinstance(output, Numbered) else output
        key = identity(written.parent) or written.parent, name_folding(written.parent)(written.name)
        if key in makers:
            raise StylebatchError(f"{clip}: would be written to {written}, as {makers[key]} is; give them a folder each")
        if written.exists() and identity(written) in inputs:
            raise StylebatchError(f"{written}: output and input are the same file; give another output")
        makers[key] = clip
    return outputs


def output_of(source: Path, output: Path | str | None, style: str, options: VideoOptions) -> Path | Numbered:
    """Where the film goes, or its numbered pictures: to a pattern, each Nth frame, and a sequence into a folder, which keeps
    its names.

    Raises:
        OutputError: the file system takes no such name.
    """
    pictures = None if output is None else pattern_of(output)
    sequence = pattern_of(source)
    if pictures is None and (options.every or (sequence and (output is None or is_folder(output)))):
        folder = Path(output) if output is not None else _beside(source, sequence, style, options)
        pictures = replace(sequence, folder=folder) if sequence else Numbered(folder, f"{source.stem}_", 6, ".png")
    if pictures is not None:
        check_name(pictures.picture(0))
        return pictures
    suffix = source.suffix if source.suffix.lower() in CONTAINERS else ".mp4"
    name = f"{source.stem}_{style}{'_preview' if options.preview else ''}{suffix}"
    path = source.with_name(name) if output is None else Path(output)
    if output is not None and is_folder(output):
        path /= name
    check_name(path)
    return path


def _beside(source: Path, sequence: Numbered | None, style: str, options: VideoOptions) -> Path:
    """The folder of pictures for which none was given: beside the film, or the sequence's own folder."""
    if sequence is None:
        return source.with_name(f"{source.stem}_{style}_frames")
    kind = "_preview" if options.preview else "_frames" if options.every else ""
    folder = sequence.folder.resolve()
    return folder.with_name(f"{folder.name}_{style}{kind}")
