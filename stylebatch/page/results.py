"""What a job has written so far, and what it was made of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylebatch.frame import Pixels
from stylebatch.images.decoding import read_pixels
from stylebatch.images.exr import read_exr
from stylebatch.images.formats import PICTURE_SUFFIXES
from stylebatch.images.sink import grid_path
from stylebatch.manifest import NAME, written_in
from stylebatch.page.browse import is_sendable
from stylebatch.page.photos import MAX_MEGAPIXELS, fitted
from stylebatch.page.queue import Entry
from stylebatch.pixels import over_white, to_8_bits
from stylebatch.video.numbered import pattern_of


@dataclass(frozen=True)
class Result:
    """A file: its name is its path under the output; `original` is None if that is gone."""

    name: str
    path: Path
    original: Path | None
    film: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "original": self.original is not None,
            "film": self.film,
            "bytes": self.path.stat().st_size,
        }


def results_of(entry: Entry) -> list[Result]:
    """Newest first. What lies in the output and was not written by this program is not among them."""
    if entry.kind == "video":
        return _of_film(entry)
    if entry.kind != "folder":
        return []
    source, output = Path(entry.job["source"]), Path(entry.job["output"])
    originals: dict[str, dict[str, Path]] = {}
    found: list[tuple[float, Result]] = []
    for name in written_in(output) - {NAME}:
        path = output / name
        if not is_sendable(name) or path.suffix.lower() not in PICTURE_SUFFIXES or not _is_in(output, path):
            continue
        folder = source / Path(name).parent
        if str(folder) not in originals:
            originals[str(folder)] = _pictures_in(folder)
        inputs = originals[str(folder)]
        original = inputs.get(Path(name).name) or inputs.get(Path(name).stem)
        original = original if original and _is_in(source, original) else None
        if original is None and grid_path(path.with_name(path.name.replace("_grid", ""))) == path:
            continue
        found.append((path.stat().st_mtime, Result(name, path, original)))
    return [result for _, result in sorted(found, key=lambda each: (-each[0], each[1].name))]


def _of_film(entry: Entry) -> list[Result]:
    path, original = Path(entry.told.get("output") or entry.job["output"]), Path(entry.job["source"])
    if path.is_dir():
        pictures = sorted(path / name for name in written_in(path) - {NAME} if _is_in(path, path / name))
        originals = original.parent if pattern_of(original) else None
        return [
            Result(each.name, each, originals / each.name if originals and (originals / each.name).is_file() else None)
            for each in pictures
            if is_sendable(each.name)
        ]
    return [Result(path.name, path, original if original.is_file() else None, film=True)] if path.is_file() else []


def _is_in(folder: Path, path: Path) -> bool:
    """Whether it is a file that lies there: a manifest may have been given with the folder, and links lead anywhere."""
    real = Path(os.path.realpath(path))
    return real.is_relative_to(os.path.realpath(folder)) and real.is_file()


def _pictures_in(folder: Path) -> dict[str, Path]:
    """By name and, for those whose format had to change, by stem."""
    try:
        paths = [Path(entry.path) for entry in os.scandir(folder) if Path(entry.name).suffix.lower() in PICTURE_SUFFIXES]
    except OSError:
        return {}
    return {**{path.stem: path for path in paths}, **{path.name: path for path in paths}}


def picture(path: Path, size: int) -> Pixels:
    """H×W×3 uint8, its long side at most `size`."""
    if path.suffix.lower() == ".exr":
        return to_8_bits(fitted(read_exr(path, MAX_MEGAPIXELS * 1_000_000)[0], size))
    pixels, alpha = read_pixels(path, (size, size) if path.suffix.lower() in (".jpg", ".jpeg") else None)
    return fitted(pixels if alpha is None else over_white(pixels, alpha), size)
