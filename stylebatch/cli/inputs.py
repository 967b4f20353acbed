"""Which command a file or folder is for, and what the words after a command mean."""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from stylebatch.errors import StylebatchError
from stylebatch.files import identity, is_folder
from stylebatch.images.formats import PICTURE_SUFFIXES, is_set_aside
from stylebatch.manifest import is_result
from stylebatch.storage import is_url, storage_of
from stylebatch.video.numbered import pattern_of, sequence_of

#: Files that a person would call a film by their name; others are films as well.
_FILM_SUFFIXES = frozenset(
    (".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts",
     ".vob", ".webm", ".wmv")
)  # fmt: skip
#: Pictures that may move: films too, if asked.
_MOVING_SUFFIXES = frozenset((".gif", ".webp", ".png", ".apng", ".avif"))
_CALLED = {"folder": "folder", "image": "photograph", "video": "film"}


def command_for(path: Path) -> str | None:
    """Which command takes a file or folder, by what it is and what it is called; None where nothing is."""
    if path.is_dir():
        return "folder"
    if path.suffix.lower() in _FILM_SUFFIXES:
        return "video" if path.is_file() else None
    return "image" if path.is_file() else None


def expect(command: str, path: Path, *others: Path | str | None) -> None:
    """Whether a path that was given to a command of `stylebatch` is there, and not one for another command.

    Raises:
        StylebatchError: it is not; the message has the right command.
    """
    meant = "video" if pattern_of(path) else command_for(path)
    if meant == command or (meant is None and path.exists()):
        return
    if meant is None:
        raise StylebatchError(f"{path}: no such {'folder of photographs' if command == 'folder' else _CALLED[command]}")
    if (
        command == "video"
        and meant == "image"
        and (path.suffix.lower() not in PICTURE_SUFFIXES or path.suffix.lower() in _MOVING_SUFFIXES)
    ):
        return
    if command == "video" and next(_films_in(path), None):
        if any(others):
            return
        words = shlex.join(["stylebatch", "video", str(path), f"{path}_hosi"])
        raise StylebatchError(f"{path}: is a folder; give one for the results, too: {words}")
    outputs = [other for other in others if other is not None]
    if meant == "folder" and not outputs:
        outputs = [path.with_name(f"{path.name}_hosi")]
    words = shlex.join([meant, *map(str, (path, *outputs))])
    raise StylebatchError(f"{path}: is a {_CALLED[meant]}; the command for it is stylebatch {words}")


def inputs_and_output(command: str, words: Sequence[str], output: str | None) -> tuple[list[Path | str], str | None]:
    """What `INPUT... [OUT]` means for a command of `stylebatch`. As of `cp`, the last of several words is the output, and of
    more than two it is a folder; but a file that is there and no result of the input is none.

    Args:
        output: that of an option; the words are inputs then.

    Returns:
        The inputs, of which URLs are text, and the output.

    Raises:
        StylebatchError: there is no telling the output, or it is the input; or as `expect`, for a single input: of several,
            one that is wrong fails alone.
    """
    kind = {"image": "photographs", "video": "clips"}[command]
    inputs: list[Path | str] = []
    for word in words:
        inputs.append(word if is_url(word) else _sequence_in(Path(word)) if command == "video" else Path(word))
    by_option = output is not None
    if not by_option and len(words) > 1:
        *inputs, _ = inputs
        output = words[-1]
    (first, *others) = inputs
    if not others and isinstance(first, Path):
        expect(command, first, output)
    if output is None or is_folder(output):
        return inputs, output
    if others or (isinstance(first, Path) and first.is_dir()):
        raise StylebatchError(f"{output}: several {kind} need a folder as the {'output' if by_option else 'last argument'}")
    if isinstance(first, str) or is_url(output):
        return inputs, output
    path = Path(output)
    if path.exists() and identity(path) == identity(first):
        raise StylebatchError(f"{output}: output and input are the same file; give another output")
    if not by_option and path.is_file() and not is_result(path, first):
        raise StylebatchError(
            f"{output}: is there already; several {kind} need a folder as the last argument, and "
            f"--output {shlex.quote(output)} --overwrite replaces it"
        )
    return inputs, output


def _sequence_in(path: Path) -> Path:
    """The pattern of the numbered pictures in a folder that has no films; any other path as it is."""
    if path.is_dir() and next(_films_in(path), None) is None and (sequence := sequence_of(path)):
        return sequence.path
    return path


def films_of(inputs: Sequence[Path | str], output: str | None) -> list[tuple[Path | str, str | None]]:
    """The films that are meant, each with the output it gets: those in a folder, and in the folders in it, the same tree in
    `output`.

    Raises:
        StylebatchError: a URL cannot be reached, or is of a folder without films, or there is no output for them.
    """
    films: list[tuple[Path | str, str | None]] = []
    for each in inputs:
        found: list[tuple[Path | str, str]]
        if isinstance(each, str):
            found = [(f"{each.rstrip('/')}/{name}", posixpath.dirname(name)) for name in _films_at(each)]
            if found and output is None:
                raise StylebatchError(f"{each}: is a folder; give one for the results, too")
        else:
            found = [(film, film.parent.relative_to(each).as_posix()) for film in _films_in(each, output)]
        if output is not None:
            films += [(film, posixpath.join(output, "" if inner == "." else inner, "")) for film, inner in found]
        if not found:
            films.append((each, output or (None if isinstance(each, Path) else f".{os.sep}")))
    return films


def _films_at(url: str) -> Iterator[str]:
    """The films under a URL, by their names; none if it is of a film, or of a web server, which lists nothing."""
    if url.lower().startswith(("http://", "https://")):
        return
    with closing(storage_of(url)) as storage:
        if not storage.is_folder():
            return
        names = (name for folder in storage.walk() for name, trouble in folder.files() if not trouble)
        found = sorted(name for name in names if Path(name).suffix.lower() in _FILM_SUFFIXES)
        if not found:
            raise StylebatchError(f"{url}: no films in it")
        yield from found


def _films_in(root: Path, output: str | None = None) -> Iterator[Path]:
    """Films anywhere in a folder, by their names; none of those in `output`."""
    out = None if output is None else identity(Path(output))
    for folder, folders, names in os.walk(root):
        kept = [name for name in sorted(folders) if not is_set_aside(name)]
        folders[:] = [name for name in kept if out is None or identity(Path(folder, name)) != out]
        for name in sorted(names):
            if Path(name).suffix.lower() in _FILM_SUFFIXES and not name.startswith("."):
                yield Path(folder, name)
