"""A single film or photograph from a URL, or to one. It passes through a folder here: decoders and encoders go back and
forth in their files, and what a store gets is complete."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stylebatch.errors import StylebatchError, first_line
from stylebatch.files import atomic_write, create, is_folder, replace, taken
from stylebatch.storage import Storage, is_url, storage_of
from stylebatch.system import data_folder

if TYPE_CHECKING:
    from stylebatch.stylizer import Stylizer


def place_of(file: str) -> tuple[Storage, str]:
    """The storage of the folder that a file lies in, and its name there."""
    if not is_url(file):
        return storage_of(Path(file).parent), Path(file).name
    folder, _, name = file.rpartition("/")
    return storage_of(folder), name


def destination_of(output: str) -> tuple[Storage, str]:
    """The storage of the folder that an output means or lies in, and its name there; "" if it is the folder."""
    return (storage_of(output), "") if is_folder(output) else place_of(output)


@contextmanager
def brought_here(source: str) -> Iterator[Path]:
    """The file that a URL names, for as long as the context lasts, under its `plain_name`; a file here as it is.

    Raises:
        StylebatchError: it cannot be had.
    """
    storage, name = place_of(source)
    with closing(storage), ExitStack() as fetched:
        try:
            path = fetched.enter_context(storage.fetched(name))
        except Exception as error:  # every store has errors of its own
            reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be fetched: {first_line(error)}"
            raise StylebatchError(f"{source}: {reason}") from None
        yield path if storage.real else path.rename(path.with_name(plain_name(storage, name)))


def as_path(place: str) -> str:
    """The path that a file URL means; anything else as it is."""
    if not place.lower().startswith("file:"):
        return place
    return f"{storage_of(place).root}{os.sep * place.endswith('/')}"


def plain_name(storage: Storage, name: str) -> str:
    """A file's name; of one in a store without a query, which a web server's may have."""
    return name if storage.real else name.partition("?")[0] or name


def passing_folder(name: str, output: str) -> Path:
    """Where the result of a file of that name lies until it is at the output: the same in each run, so a film goes on."""
    key = hashlib.sha256(f"{name}\0{output}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
    folder = data_folder() / "passing" / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def stylize_photograph(source: str, output: str | None, stylizer: Stylizer, *, overwrite: bool, **options: Any) -> str:
    """What `stylize_image` does, from or to a URL. By default the result of a URL goes to the current folder, as
    `{name}_{style}`.

    Args:
        options: of `stylize_image`.

    Returns:
        Where the result lies.

    Raises:
        StylebatchError: as `stylize_image`.
    """
    from stylebatch.images.sink import grid_path  # here: films are checked without PyTorch
    from stylebatch.jobs.image import stylize_image

    target, name = destination_of(output or ".")
    with closing(target), TemporaryDirectory() as folder, brought_here(source) as photo:
        here = stylize_image(photo, f"{folder}/{name}" if output else None, stylizer, **options)
        for each in filter(Path.exists, (here, grid_path(here))):
            if target.size(each.name) is not None and not overwrite:
                raise taken(target.shown(each.name))
            if target.real:
                with (
                    each.open("rb") as made,
                    atomic_write(target.root / each.name, replace if overwrite else create) as file,
                ):
                    shutil.copyfileobj(made, file)
            else:
                target.publish(each, each.name, new=not overwrite)
        return target.shown(here.name)
