"""Jobs as data: what is to be done, before anything is loaded or opened. JSON carries them to another process, a queue or
another machine. Nothing here loads PyTorch."""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from stylebatch.errors import StylebatchError
from stylebatch.images.options import ImageOptions
from stylebatch.options import STROKES, Options, Runtime, option, options_of
from stylebatch.storage import is_url
from stylebatch.styles import MAX_STRENGTH, from_anywhere
from stylebatch.video.options import VideoOptions

_AnyJob = TypeVar("_AnyJob", bound="Job")


@dataclass(frozen=True, kw_only=True)
class StylizerOptions(Runtime):
    """The arguments of a `Stylizer`. A value out of its range raises `StylebatchError`; whether there is such a style is
    found out when it is loaded."""

    style: str = option(
        "hosi",
        "A style, a painting (trained first), a checkpoint or a mix: hosi:0.6,wave:0.4.",
        metavar="NAME|PATH|MIX",
    )
    strength: float = option(1.0, "How much paint: 0, none, to 1.5.", least=0, most=MAX_STRENGTH, unit="%")
    strokes: float | None = field(default=None, metadata={"option": STROKES})

    @property
    def stylizer(self) -> dict[str, Any]:
        """By name."""
        return {name: getattr(self, name) for name in options_of(StylizerOptions)}


@dataclass(frozen=True, kw_only=True)
class Job(StylizerOptions):
    """What all jobs have."""

    source: str = option(MISSING, "What is read, a path; for photographs also a URL, or @ and a list's path.")
    batch_size: int | None = option(None, "Pictures of one size at once.", unset="1 on CPU, else what fits", least=1)
    overwrite: bool = option(False, "Replace what is there and no result of IN with these options.")

    def absolute(self: _AnyJob) -> _AnyJob:
        """The same job for processes that run in other folders.

        Raises:
            StylebatchError: there is no such style here.
        """
        whole: Any = {name: getattr(self, name) and _absolute(getattr(self, name)) for name in ("source", "output")}
        return replace(self, style=from_anywhere(self.style), **whole)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values: every field, so that no later version's defaults change it, and its `kind`."""
        return {"kind": _KINDS[type(self)], **super().as_dict()}

    def as_json(self) -> str:
        """A line of ASCII. Names of files that are no text come through."""
        return json.dumps(self.as_dict())


@dataclass(frozen=True, kw_only=True)
class FolderJob(Job):
    """The photographs of a folder, as `stylize_folder` takes them."""

    # fmt: off
    output: str = option(MISSING, "The folder of the results, a path or a URL.")
    options: ImageOptions = option(ImageOptions(), "What is asked for of each photograph.")
    grid: bool = option(False, "Also write original | stylized for each, as NAME_grid.jpg.")
    recursive: bool = option(True, "Take the folders in IN too.")
    follow_links: bool = option(False, "Follow symbolic links that lead out of IN.")
    workers: int | None = option(None, "Decoding processes.", unset="by the number of cores", least=0)
    # fmt: on

    def absolute(self) -> FolderJob:
        path, job = list_in(self.source), super().absolute()
        return replace(job, source=f"@{path.absolute()}") if path else job


@dataclass(frozen=True, kw_only=True)
class VideoJob(Job):
    """A film, as `stylize_video` takes it."""

    overwrite: bool = option(False, "Replace what is there and no result of CLIP with these options.")
    output: str | None = option(
        None, "The film, or a folder for it, which is there or ends with a slash.", unset="beside it"
    )
    options: VideoOptions = option(VideoOptions(), "What is asked for of the film.")


@dataclass(frozen=True, kw_only=True)
class Cluster(Options):
    """Which workers of a Ray cluster do a job."""

    # fmt: off
    ray_address: str | None = option(
        None, "The cluster: HOST:PORT, ray://HOST:PORT, or auto, the one that this machine is in.",
        unset="RAY_ADDRESS, else this machine alone", metavar="ADDRESS")
    ray_workers: int | None = option(None, "Workers in the cluster.", unset="as many as it has room for", least=1)
    cpus_per_worker: float = option(2.0, "Cores that each has.", above=0)
    gpus_per_worker: float = option(0.0, "GPUs that each has; 0.5: two share one.", least=0)
    # fmt: on


def list_in(source: str) -> Path | None:
    """The list of photographs that `source` names by an @ before its path; None if it is a folder."""
    return Path(source[1:]) if source.startswith("@") and not Path(source).is_dir() else None


def _absolute(path: str) -> str:
    if is_url(path):
        return path
    return str(Path(path).absolute()) + os.sep * path.endswith(("/", os.sep))  # which says that it is a folder


_KINDS: dict[type[Job], str] = {FolderJob: "folder", VideoJob: "video"}


def job_from_dict(told: object) -> Job:
    """The job of which `told` is the `as_dict`. Fields that it lacks have their defaults.

    Raises:
        StylebatchError: it is no job: of an unknown kind, with an unknown field, a missing one, or a wrong value.
    """
    if not isinstance(told, dict):
        raise StylebatchError(f"job: must be an object with fields, not {told!r:.80}")
    kind = next((kind for kind, name in _KINDS.items() if name == told.get("kind")), None)
    if kind is None:
        raise StylebatchError(f"job: `kind` must be {' or '.join(_KINDS.values())}, not {told.get('kind')!r:.80}")
    return kind.from_dict({name: value for name, value in told.items() if name != "kind"}, "job: ")


def job_from_json(text: str | bytes) -> Job:
    """The job of which `text` is the `as_json`.

    Raises:
        StylebatchError: as `job_from_dict`, or it is no JSON.
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StylebatchError(f"job: is no JSON: {error}") from None
    return job_from_dict(told)
