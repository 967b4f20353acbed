"""Where the results of films go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stylebatch.errors import StylebatchError
from stylebatch.files import check_name, identity, is_folder, name_folding
from stylebatch.video.encoding import CONTAINERS
from stylebatch.video.options import VideoOptions


def output_paths(clips: Sequence[tuple[Path, Path | str | None]], style: str, options: VideoOptions) -> list[Path]:
    """Where the result of each clip goes, which comes with the output that was given for it.

    Raises:
        StylebatchError: one would replace a clip, or the result of another.
    """
    paths = [output_path(clip, output, style, options) for clip, output in clips]
    inputs = {identity(clip) for clip, _ in clips}
    makers: dict[object, Path] = {}
    for (clip, _), path in zip(clips, paths, strict=True):
        written = path / clip.stem if options.every else path
        key = identity(written.parent) or written.parent, name_folding(written.parent)(written.name)
        if key in makers:
            raise StylebatchError(f"{clip}: would be written to {path}, as {makers[key]} is; give them a folder each")
        if path.exists() and identity(path) in inputs:
            raise StylebatchError(f"{path}: output and input are the same file; give another output")
        makers[key] = clip
    return paths


def output_path(source: Path, output: Path | str | None, style: str, options: VideoOptions) -> Path:
    """Where the film goes, or the folder of its pictures.

    Raises:
        OutputError: the file system takes no such name.
    """
    if options.every:
        path = source.with_name(f"{source.stem}_{style}_frames") if output is None else Path(output)
        check_name(path / picture_name(source, 0))
        return path
    suffix = source.suffix if source.suffix.lower() in CONTAINERS else ".mp4"
    name = f"{source.stem}_{style}{'_preview' if options.preview else ''}{suffix}"
    path = source.with_name(name) if output is None else Path(output)
    if output is not None and is_folder(output):
        path /= name
    check_name(path)
    return path


def picture_name(source: Path, index: int) -> str:
    """What the picture of a film's frame is called."""
    return f"{source.stem}_{index:06}.png"
