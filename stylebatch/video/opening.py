"""The one place where films are opened for reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from stylebatch.errors import StylebatchError
from stylebatch.files import irregularity
from stylebatch.video.pyav import open_input, plain


@contextmanager
def open_film(path: Path, probe_size: int | None = None) -> Iterator[InputContainer]:
    """A file as FFmpeg sees it; its refusals as one line.

    Args:
        probe_size: look for its streams in so many bytes; by default in FFmpeg's number.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StylebatchError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    if trouble := irregularity(mode):
        raise StylebatchError(f"{path}: {trouble}; give a film")
    try:
        container = open_input(str(path), probe_size)
    except PermissionError:
        raise StylebatchError(f"{path}: no permission to read it") from None
    except (av.FFmpegError, ValueError, OSError) as error:
        raise StylebatchError(f"{path}: no film that can be read, or cut off before its index ({plain(error)})") from error
    with container:
        yield container
