"""What a film will be, told without painting it: by the same steps as before its first frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stylebatch.video.clip import Clip
from stylebatch.video.encoding import Encoding, plan
from stylebatch.video.numbered import Numbered
from stylebatch.video.options import VideoOptions
from stylebatch.video.outputs import output_of
from stylebatch.video.rehearsal import rehearse
from stylebatch.video.sequence import open_source
from stylebatch.video.streams import Planned


@dataclass(frozen=True)
class Checked:
    """What becomes of a film.

    Attributes:
        clip: what it is.
        encoding: how its pictures are written; None if each becomes one of its own.
        streams: what becomes of each of its streams.
        warnings: what will not come along or be otherwise, in words, as far as can be told without reading all of it.
    """

    clip: Clip
    encoding: Encoding | None
    streams: list[Planned]
    warnings: list[str]


def check_film(
    source: Path | str,
    output: Path | str | None = None,
    *,
    options: VideoOptions = VideoOptions(),  # noqa: B008 (frozen)
) -> Checked:
    """Look at a film as `stylize_video` does before it paints, which takes no network and no PyTorch.

    Args:
        output: as of `stylize_video`; its extension chooses the container.

    Raises:
        StylebatchError: bad input, or a setting that cannot be.
    """
    film = open_source(source, options)
    path = output_of(film.path, output, "style", options)
    if isinstance(path, Numbered):
        return Checked(film.clip, None, [], film.warnings)
    encoding = plan(film.clip, options, path)
    rehearsal = rehearse(encoding, film)
    flattened = [encoding.flattened()] if film.clip.alpha and not encoding.alpha else []
    return Checked(film.clip, encoding, rehearsal.planned, film.warnings + rehearsal.warnings + flattened)
