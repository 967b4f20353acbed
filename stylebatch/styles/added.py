"""Trained styles kept where they are found by name from any folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from stylebatch.errors import StylebatchError
from stylebatch.files import create, replace
from stylebatch.styles import added_folder, find_style, is_shipped


def add_style(path: Path, *, overwrite: bool = False) -> Path:
    """Copy a trained style to where it is found by name from any folder.

    Args:
        path: a `.pth` or `.safetensors` checkpoint. Its name is that of the picture that it was trained with.
        overwrite: replace another style of that name.

    Returns:
        The file in `added_folder()`.

    Raises:
        StylebatchError: not a checkpoint, the name is taken, or the folder cannot be written.
    """
    from stylebatch.checkpoint import Checkpoint, is_plain_name, load_checkpoint, save_safetensors

    checkpoint = load_checkpoint(path)
    name = str(checkpoint.metadata.get("style", path.stem))
    if not is_plain_name(name):
        raise StylebatchError(f"{path}: its style's name {name!r} is no file name")
    added = added_folder() / f"{name}.safetensors"
    kept = Checkpoint({key: tensor.half().float() for key, tensor in checkpoint.model.items()}, checkpoint.metadata)
    with suppress(StylebatchError):
        overwrite = overwrite or load_checkpoint(added).digest == kept.digest
    save_safetensors(kept, added, replace if overwrite else create)
    return added


def remove_style(name: str) -> Path:
    """Take back what `add_style` did.

    Returns:
        The file that was in `added_folder()`.

    Raises:
        StylebatchError: no style of that name was added, or the file cannot be removed.
    """
    added = added_folder() / f"{name}.safetensors"
    try:
        if Path(name).name != name or not name:
            raise FileNotFoundError
        added.unlink()
    except FileNotFoundError:
        found = find_style(name)
        if is_shipped(found):
            raise StylebatchError(f"style {name}: is shipped with stylebatch, which cannot be without it") from None
        if found.parent == added_folder():
            return remove_style(found.stem)
        raise StylebatchError(f"style {name}: was not added, it lies in {found}; delete that file") from None
    except OSError as error:
        raise StylebatchError(f"{added}: cannot be removed: {error.strerror or error}") from None
    return added
