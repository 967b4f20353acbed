"""Which photographs a job is about: those of a folder, found while it runs, or those in a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple, Protocol, TypeAlias

from stylebatch.errors import StylebatchError
from stylebatch.files import identity, is_within
from stylebatch.frame import Failure
from stylebatch.images.formats import EXPORT, unread_kind
from stylebatch.images.source import candidates_in, left_folder, pictures_in
from stylebatch.jobs.job import FolderJob
from stylebatch.manifest import NAME, written_in
from stylebatch.pipeline import Summary
from stylebatch.storage import IS_OUTPUT, Storage

#: Lists names, as often as it is called.
Names: TypeAlias = Callable[[], Iterator[str]]


class Group(NamedTuple):
    """Photographs of which none is written to the output of one in another group.

    Attributes:
        candidates: they, and perhaps other files.
        photographs: they; what else is met is noted.
    """

    candidates: Names
    photographs: Names


class Inputs(Protocol):
    """Photographs by their names in a storage, more than fit into memory.

    Attributes:
        by_folder: they are whole folders, and those of one come together.
        identities: what identifies the folders that they lie in, where results could get into one: both are here, and the
            output holds something already.
    """

    by_folder: bool
    identities: frozenset[tuple[int, int | str]] = frozenset()

    def check(self) -> None:
        """Raises StylebatchError where there are none."""

    def folders(self) -> Iterator[str]:
        """The one that all lie in, and those in it that they may lie in."""

    def groups(self, summary: Summary) -> Iterator[Group]:
        """All of them; what else is met goes into the summary."""

    def identify(self, source: Storage, output: Storage) -> None:
        """Set `identities`. Raises StylebatchError where a folder of theirs is the output."""
        if source.real and output.real and any(name != NAME for name in output.listed("")):
            self.identities = frozenset(filter(None, (identity(source.root / folder) for folder in self.folders())))


class FolderInputs(Inputs):
    """The photographs of the folder that a job names."""

    by_folder = True

    def __init__(self, job: FolderJob, source: Storage, output: Storage) -> None:
        self._source, self._output = source, output
        self._walk = partial(source.walk, recursive=job.recursive, follow_links=job.follow_links, output=output)

    def check(self) -> None:
        failures: list[Failure] = []
        for folder in self._walk(left=left_folder(lambda _: None, failures.append)):
            if next(pictures_in(self._source, folder, failed=failures.append), None) or failures:
                return
        summary = Summary()
        for group in self.groups(summary):
            list(group.photographs())
        if not summary.failures:
            unread = summary.unread.items()
            there = "".join(f"; {count} {kind} files, which are not read: {EXPORT}" for kind, count in unread)
            raise StylebatchError(f"{self._source}: no photographs in it; give a folder of JPEG, PNG or other images{there}")

    def folders(self) -> Iterator[str]:
        yield ""
        for folder in self._walk(left=left_folder(lambda _: None, self._check_output)):
            if next(candidates_in(folder), None):
                yield folder.name

    def groups(self, summary: Summary) -> Iterator[Group]:
        root = self._source.root
        own = lru_cache(1)(written_in)

        def other(name: str) -> None:
            if name.endswith("/"):
                summary.set_aside.append(name)
            elif kind := unread_kind(name):
                summary.unread[kind] = summary.unread.get(kind, 0) + 1
            elif (root / name).name not in own((root / name).parent):
                summary.ignored.append(name)

        def failed(failure: Failure) -> None:
            self._check_output(failure)
            summary.total += 1
            summary.failures.append(failure)

        for folder in self._walk(left=left_folder(other, failed)):
            yield Group(partial(candidates_in, folder), partial(pictures_in, self._source, folder, other, failed))

    def _check_output(self, failure: Failure) -> None:
        real = self._source.real
        if failure.reason == IS_OUTPUT and real and (real / failure.source).resolve().is_relative_to(real):
            shown = self._source.shown(failure.source)
            raise StylebatchError(f"{self._output}: the output is the folder {shown} of the input; give another")


def check_folders(source: Storage, output: Storage, *, by_folder: bool) -> None:
    """Whether one may be the output of the other. Of a list, not all of a folder is input. Raises StylebatchError."""
    if by_folder and not source.is_folder():
        raise StylebatchError(f"{source}: no such folder of photographs")
    if output.real and output.root.exists() and not output.root.is_dir():
        raise StylebatchError(f"{output}: is a file; give a folder for the output")
    if bool(source.real) != bool(output.real) or (source.real and not by_folder):
        return
    here, there = str(source), str(output)
    inside, around = f"{there}/".startswith(f"{here}/"), f"{here}/".startswith(f"{there}/")
    if source.real:
        inside, around = is_within(output.root, source.root), is_within(source.root, output.root)
    if inside and around:
        raise StylebatchError(f"{output}: output and input are the same folder; give another output")
    if inside:
        raise StylebatchError(f"{output}: the output lies inside the input {source}; give one outside")
    if around:
        raise StylebatchError(f"{output}: the input {source} lies inside the output; give another output")
