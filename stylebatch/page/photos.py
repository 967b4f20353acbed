"""Photographs that were dropped on the page: kept by their content, a bounded number, checked before anything is decoded."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from starlette.exceptions import HTTPException

from stylebatch.errors import StylebatchError, first_line
from stylebatch.frame import Pixels
from stylebatch.images.decoding import open_image, read_pixels
from stylebatch.images.formats import EXTENSIONS
from stylebatch.pixels import over_white, resized

#: Of a photograph; the commands take larger ones.
MAX_BYTES, MAX_MEGAPIXELS = 250_000_000, 120
#: Long side of what previews are painted from without decoding the photograph again.
REDUCED = 1600
#: The photographs that come with the package, beside the trainer's other data.
SAMPLES = Path(__file__).parent.parent.parent / "trainer" / "photos"
_ID = re.compile(r"[0-9a-f]{32}")
_LONGEST_NAME = 120


def plain_name(name: str) -> str:
    """The last part of a path that a browser or program gave, as the name of a file in any folder."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(each if each.isprintable() and each not in '<>:"|?*' else "_" for each in last).strip(" .")
    while len(kept.encode("utf-8", "replace")) > _LONGEST_NAME:
        stem, dot, ending = kept.rpartition(".")
        kept = f"{stem[:-1]}{dot}{ending}" if dot and len(ending) < 10 and stem else kept[:-1]
    return kept or "unnamed"


@dataclass(frozen=True)
class Photo:
    """One that is kept. `width` and `height` are the file's, before it is turned upright."""

    id: str
    path: Path
    width: int
    height: int

    def as_dict(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.path.name, "width": self.width, "height": self.height}


class Photos:
    """The folder in which they lie, each in a folder that its content names. The ones used longest ago go first.

    Args:
        folder: made if it is missing.
        most, most_bytes: how many are kept, and of what size together.
    """

    def __init__(self, folder: Path, most: int = 50, most_bytes: int = 2_000_000_000) -> None:
        self.folder = folder
        self._most, self._most_bytes = most, most_bytes
        self._reduced: OrderedDict[str, Pixels] = OrderedDict()
        self._lock = Lock()
        shutil.rmtree(folder / "new", ignore_errors=True)  # what uploads that broke off have left
        (folder / "new").mkdir(parents=True)

    def arriving(self, name: str) -> Path:
        """Where a new one is to be written, under this name, before `add`."""
        folder = self.folder / "new" / os.urandom(16).hex()
        folder.mkdir(parents=True)
        return folder / plain_name(name)

    def add(self, arrived: Path) -> Photo:
        """Take a file of `arriving`.

        Raises:
            HTTPException: 415 if it is no picture that can be read, 413 if it has too many pixels.
        """
        try:
            checked = _checked("", arrived)
            if not arrived.suffix:  # of a program that gives no name
                with open_image(arrived) as image:
                    arrived = arrived.rename(arrived.with_suffix(EXTENSIONS[str(image.format)][0]))
            with arrived.open("rb") as file:
                id = hashlib.file_digest(file, "sha256").hexdigest()[:32]
            target = self.folder / id
            with self._lock:
                shutil.rmtree(target, ignore_errors=True)
                arrived.parent.rename(target)
                self._reduced.pop(id, None)
        finally:
            shutil.rmtree(arrived.parent, ignore_errors=True)
        self._remove_oldest(id)
        return Photo(id, target / arrived.name, checked.width, checked.height)

    def find(self, id: str) -> Photo:
        """Raises HTTPException, 404, if it is not kept."""
        path = next((self.folder / id).iterdir(), None) if _ID.fullmatch(id) and (self.folder / id).is_dir() else None
        if path is None:
            raise HTTPException(404, "no such photograph; it may have been dropped for newer ones: add it again")
        os.utime(path.parent)
        return _checked(id, path)

    def pixels(self, photo: Photo, size: int) -> Pixels:
        """H×W×3 uint8, upright, in sRGB, over white where it is transparent, its long side `size` or its own if shorter."""
        if size > REDUCED:
            return _reduced(photo, size)
        with self._lock:
            kept = self._reduced.pop(photo.id, None)
        if kept is None:
            kept = _reduced(photo, REDUCED)
        with self._lock:
            self._reduced[photo.id] = kept
            while len(self._reduced) > 6:
                self._reduced.popitem(last=False)
        return fitted(kept, size)

    def _remove_oldest(self, newest: str) -> None:
        kept = sorted(
            (each for each in self.folder.iterdir() if _ID.fullmatch(each.name)), key=lambda each: -each.stat().st_mtime
        )
        total = 0
        for number, each in enumerate(kept):
            total += sum(file.stat().st_size for file in each.iterdir())
            if each.name != newest and (number >= self._most or total > self._most_bytes):
                shutil.rmtree(each, ignore_errors=True)


def fitted(pixels: Pixels, size: int) -> Pixels:
    """Scaled down to a long side of `size`, if it is longer."""
    height, width = pixels.shape[:2]
    scale = size / max(width, height)
    return pixels if scale >= 1 else resized(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))


def _reduced(photo: Photo, size: int) -> Pixels:
    scale = min(1.0, size / max(photo.width, photo.height))
    at_least = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    try:
        pixels, alpha = read_pixels(photo.path, at_least)
    except (OSError, ValueError, SyntaxError) as error:
        raise StylebatchError(f"{photo.path.name}: cannot be read: {first_line(error)}") from None
    return fitted(pixels if alpha is None else over_white(pixels, alpha), size)


def _checked(id: str, path: Path) -> Photo:
    """By its header, whatever its name says."""
    try:
        with open_image(path) as image:
            width, height = image.size
    except Exception as error:  # Pillow's plugins fail in every way on what is no picture
        told = str(error) if isinstance(error, StylebatchError) else "no picture that can be read"
        raise HTTPException(415, f"{path.name}: {told}") from None
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise HTTPException(413, f"{path.name}: {width}×{height} pixels, over the limit of {MAX_MEGAPIXELS} megapixels")
    return Photo(id, path, width, height)
