"""Folders and files under the root, which nothing here leaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stylebatch.cli.inputs import command_for
from stylebatch.errors import StylebatchError
from stylebatch.files import TEMP_PREFIX
from stylebatch.images.formats import PICTURE_SUFFIXES, is_set_aside

#: Entries of a folder that are listed.
_MOST = 2000


def under(root: Path, path: str) -> Path:
    """A path as it is called under the root, or whole, with all links followed. Nothing has to be there.

    Args:
        root: with all links followed.

    Raises:
        StylebatchError: it lies outside the root, or a link leads out of it.
    """
    try:
        real = Path(os.path.realpath(root / path))
        real.exists()
    except (OSError, ValueError):  # a name that no file can have
        raise StylebatchError(f"{path!r:.80}: not a path") from None
    if not real.is_relative_to(root):
        raise StylebatchError(f"{path}: outside of {root}; `stylebatch page --root DIR` opens another folder")
    return real


def shown(root: Path, path: Path) -> str:
    """A path under the root as people see it: relative to it, with slashes, empty for the root."""
    relative = path.relative_to(root).as_posix()
    return "" if relative == "." else os.fsencode(relative).decode("utf-8", "replace")


def is_sendable(name: str) -> bool:
    """Whether JSON can carry a file's name."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def listing(root: Path, path: str) -> dict[str, Any]:
    """What is in a folder under the root: its folders, films by name, and how many photographs.

    Raises:
        StylebatchError: it is outside the root, no folder, or cannot be read.
    """
    folder = under(root, path)
    if not folder.is_dir():
        raise StylebatchError(f"{path or root}: no such folder")
    folders: list[str] = []
    films: list[str] = []
    photos: list[str] = []
    left_out = 0
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name.casefold())
    except OSError as error:
        raise StylebatchError(f"{path or folder}: cannot be read: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith((".", TEMP_PREFIX)) or not is_sendable(entry.name):
            continue
        full = len(folders) + len(films) + len(photos) >= _MOST
        if full or not Path(os.path.realpath(entry.path)).is_relative_to(root):
            left_out += 1
        elif entry.is_dir():
            if not is_set_aside(entry.name):
                folders.append(entry.name)
        elif command_for(Path(entry.path)) == "video":
            films.append(entry.name)
        elif Path(entry.name).suffix.lower() in PICTURE_SUFFIXES:
            photos.append(entry.name)
    return {
        "path": shown(root, folder),
        "parent": None if folder == root else shown(root, folder.parent),
        "root": str(root),
        "folders": folders,
        "films": films,
        "photos": photos,
        "left_out": left_out,
    }
