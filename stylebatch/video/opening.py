"""The one place where films are opened for reading."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from stylebatch.errors import StylebatchError
from stylebatch.files import check_regular
from stylebatch.video.pyav import open_input, plain

#: So many bytes tell whether a file is a list.
_HEAD = 1024
#: How AVIF and HEIC call themselves, still and moving.
_PICTURES = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")


@contextmanager
def open_film(path: Path, **looking: Any) -> Iterator[InputContainer]:
    """A file as FFmpeg sees it, and nothing that lies outside of it; its refusals as one line.

    Args:
        looking: how to look for its streams, as of `open_input`.
    """
    check_regular(path, "; give a film")
    try:
        if refusal := _refusal(path):
            raise StylebatchError(f"{path}: {refusal}")
        container = open_input(path, **looking)
    except PermissionError:
        raise StylebatchError(f"{path}: no permission to read it") from None
    except (av.FFmpegError, ValueError, OSError) as error:
        raise StylebatchError(f"{path}: no film that can be read, or cut off before its index ({plain(error)})") from error
    with container:
        yield container


def _refusal(path: Path) -> str:
    """Of what is no film, but may be taken for one, what to do with it; empty for anything else."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    text, name = head.removeprefix(b"\xef\xbb\xbf").lstrip(), shlex.quote(str(path))
    if text.startswith(b"ffconcat"):
        return f"a list of other files, no film; make one of it: ffmpeg -f concat -i {name} -c copy film.mkv"
    if text.startswith(b"#EXTM3U") or (text.startswith(b"<") and (b"<MPD" in text or b"<SmoothStreamingMedia" in text)):
        return f"a list of other files, no film; make one of it: ffmpeg -i {name} -c copy film.mkv"
    if (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or (head[4:8] == b"ftyp" and head[8:12] in _PICTURES):
        return "a picture, moving or not; the command for it is stylebatch image"
    return ""
