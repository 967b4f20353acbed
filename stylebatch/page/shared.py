"""What the endpoints have in common."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from stylebatch.errors import StylebatchError
from stylebatch.page.browse import under
from stylebatch.page.fullsize import Painter
from stylebatch.page.lanes import Lane, Turns, Urgency
from stylebatch.page.photos import Photos
from stylebatch.page.previews import Previews
from stylebatch.page.queue import Queue
from stylebatch.styles import SUFFIXES, check_style, find_style, parse_mix


@dataclass
class Page:
    """One server.

    Attributes:
        root: the folder that may be seen, with all links followed.
        folder: where what is kept between requests lies; in `scratch`, what is kept for one.
        turns: who computes, of all that follow.
        drafts: for pictures that take a moment.
        looks: for larger ones.
        painter: for those in full size.
        queue: for jobs and trainings.
    """

    root: Path
    folder: Path
    scratch: Path = field(init=False)
    photos: Photos = field(init=False)
    previews: Previews = field(init=False)
    turns: Turns = field(default_factory=Turns)
    drafts: Lane = field(init=False)
    looks: Lane = field(init=False)
    painter: Painter = field(init=False)
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        self.scratch = self.folder / "scratch"
        shutil.rmtree(self.scratch, ignore_errors=True)  # what a server that was killed has left
        self.scratch.mkdir(parents=True)
        self.photos = Photos(self.folder / "photos")
        self.previews = Previews(self.photos)
        self.drafts, self.looks = Lane(self.turns, Urgency.DRAFT), Lane(self.turns, Urgency.LOOK)
        self.painter = Painter(self.turns)
        self.queue = Queue(self.folder / "jobs", self.turns)
        kept = {str(entry.job.get("source", "")) for entry in self.queue.list()}
        for folder in (self.folder / "uploads").glob("dropped-*"):
            if not any(Path(source).is_relative_to(folder) for source in kept):
                shutil.rmtree(folder, ignore_errors=True)

    def new_upload(self) -> Path:
        """A new folder for files that are dropped for a job."""
        (self.folder / "uploads").mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="dropped-", dir=self.folder / "uploads"))

    def style(self, asked: str) -> str:
        """A style or mix as it was asked for, with its files by their whole paths.

        Raises:
            StylebatchError: an unknown one, or a file outside the root.
        """
        shares = parse_mix(asked)
        names = {name: self._style(name) for name in shares}
        mix = (
            next(iter(names.values()))
            if len(names) == 1
            else ",".join(f"{names[name]}:{share!r}" for name, share in shares.items())
        )
        check_style(mix)
        return mix

    def _style(self, name: str) -> str:
        if Path(name).name == name and Path(name).suffix.lower() not in SUFFIXES:
            find_style(name)
            return name
        return str(under(self.root, name))


async def in_thread(function: Any, *arguments: Any) -> Any:
    """What a function returns that reads files or computes."""
    return await run_in_threadpool(function, *arguments)


def query_of(request: Request) -> Mapping[str, str]:
    """What stands in the address, without the token."""
    return {name: value for name, value in request.query_params.items() if name != "token"}


def number_in(query: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    """A whole number, None if it is not given. Raises StylebatchError if it is none or out of range."""
    text = query.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= most:
        raise StylebatchError(f"{name} {text!r}: must be a whole number from {least} to {most}")
    return int(text)
