"""What a run over a folder has to do: where each result goes, what is there already, and what may not be written.

It is found out while the run lasts, a little ahead of it. Of a group of photographs, which is one folder or one list, eight
bytes each are in memory, to tell which names could meet in one output, and sixteen of each file in the output's folder. The
names of all folders are there too, to tell those that the output takes for one.
"""

from __future__ import annotations

import os
import posixpath
import time
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from stylebatch.ahead import in_order
from stylebatch.errors import StylebatchError
from stylebatch.files import identities_above, identity, name_folding
from stylebatch.frame import Failure
from stylebatch.images.decoding import written_as
from stylebatch.images.formats import PICTURE_SUFFIXES, output_name, written_by_name
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import grid_path
from stylebatch.jobs.inputs import Inputs, Names
from stylebatch.jobs.job import FolderJob
from stylebatch.manifest import Manifest, Standing
from stylebatch.pipeline import Summary
from stylebatch.storage import Content, Storage
from stylebatch.system import cores

#: Photographs that are listed ahead of their turn, so that a run can say how many there are, and seconds that a turn may
#: take for it.
_LISTED_AHEAD, _LISTING = 100_000, 0.005
#: Photographs whose results are asked for ahead of their turn.
_ASKED_AHEAD = 32
#: Seconds between two reports of a run that has only found finished photographs so far.
_REPORTED_EVERY = 0.2


def planned(
    job: FolderJob,
    manifest: Manifest,
    inputs: Inputs,
    *,
    summary: Summary,
    progress: Callable[[Summary], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, Content]]:
    """The photographs that are to be done, with what they hold now. Those that have a result are read: is it theirs?

    Args:
        summary: what is found, what is done already and what may not be written is added to it.
        progress: told of it while nothing is to be done.
        stop: asked after each photograph; True leaves the rest out.

    Raises:
        StylebatchError: there are results of theirs that were made with other settings.
    """
    places = _Places(job, manifest, inputs)
    source, output = manifest.source, manifest.output
    if inputs.by_folder:
        source, output = source.as_listed(), output.as_listed()
        if not manifest.overwrite:
            places.check_settings()

    def clear() -> Iterator[tuple[str, list[Path]]]:
        for names in _listed_ahead(_alike(inputs, summary), summary):
            paths, failures = places.of(names)
            summary.failures += failures
            yield from paths.items()

    def asked(each: tuple[str, list[Path]]) -> tuple[Content, Standing, Path]:
        name, paths = each
        content = source.content(name)
        standing, path = max((manifest.standing(content, path, output), path) for path in paths)
        return content, standing, path

    summary.listing = True
    reported = time.monotonic()
    with closing(in_order(asked, clear(), threads=min(4, cores()), ahead=_ASKED_AHEAD)) as answers:
        for (name, _), answer in answers:
            content, standing, path = answer.result()
            if standing is Standing.DONE:
                summary.skipped += 1
                if time.monotonic() > reported + _REPORTED_EVERY:
                    progress(summary)
                    reported = time.monotonic()
            elif standing < Standing.OTHERWISE or manifest.overwrite:
                yield name, content
            elif standing is Standing.OTHERWISE:
                raise _made_otherwise(manifest, path)
            else:
                summary.failures.append(Failure(name, str(manifest.refusal(standing, content, path))))
            if stop():
                return


def _made_otherwise(manifest: Manifest, path: Path) -> StylebatchError:
    return StylebatchError(
        f"{manifest.output}: has results of {manifest.source} that were made with other options, or another style or "
        f"precision, such as {path.name}; `overwrite` makes them anew in their place, another output keeps both"
    )


class _Places:
    """Where results go."""

    def __init__(self, job: FolderJob, manifest: Manifest, inputs: Inputs) -> None:
        self._job = job
        self._manifest = manifest
        self._real = manifest.source.real
        self._by_folder = inputs.by_folder
        self._output = manifest.output.as_listed()
        self._folds = name_folding(manifest.output.root)
        self._inputs = inputs.identities
        self._leads_back = lru_cache(1024)(self._leads_back_into_inputs)
        self._held = lru_cache(4)(lambda folder: _Held(self._output, folder))
        self._spellings: dict[str, list[str]] = {}
        self._taken_in = lru_cache(4)(self._taken_by_photographs_in)

    def of(self, names: Sequence[str]) -> tuple[dict[str, list[Path]], list[Failure]]:
        """The outputs of photographs that could meet in one, and those that get none."""
        root = self._manifest.output.root
        outputs, failures = self._outputs_of(names, self._met)
        for name, paths in list(outputs.items()):
            if reason := self._refusal(name, paths):
                failures.append(Failure(name, reason))
                del outputs[name]
        return {name: [root / path for path in paths] for name, paths in outputs.items()}, failures

    def _refusal(self, name: str, paths: list[str]) -> str:
        """Why a photograph is not written where it would go; empty if it is."""
        for folder in self._earlier_spellings(posixpath.dirname(name)):
            if lost := next((path for path in paths if self._folds(path) in self._taken_in(folder)), None):
                return f"would be written to {lost}, as one in {folder} is; rename one"
        if self._inputs and any(self._leads_back(posixpath.dirname(path)) for path in paths):
            source, output = self._manifest.source, self._manifest.output
            return f"{output.root / paths[0]} leads into {source.root}, where the photographs are"
        return ""

    def _outputs_of(
        self, names: Sequence[str], met: Callable[[str], bool] = lambda _: False
    ) -> tuple[dict[str, list[str]], list[Failure]]:
        return outputs_of(
            names, grid=self._job.grid, format=self._job.options.format, root=self._real, folds=self._folds, met=met
        )

    def _earlier_spellings(self, folder: str) -> list[str]:
        """Folders that came before this one, and are the same in an output that ignores letter case."""
        if not self._by_folder:  # a list is one group, whose photographs have been compared
            return []
        spellings = self._spellings.setdefault(self._folds(folder), [])
        if folder not in spellings:
            spellings.append(folder)
        return spellings[: spellings.index(folder)]

    def _taken_by_photographs_in(self, folder: str) -> set[str]:
        listed = (posixpath.join(folder, name) for name in self._manifest.source.listed(folder))
        pictures = [name for name in listed if posixpath.splitext(name)[1].lower() in PICTURE_SUFFIXES]
        return {self._folds(path) for paths in self._outputs_of(pictures)[0].values() for path in paths}

    def check_settings(self) -> None:
        """Before anything is done: raises StylebatchError if results were made with other settings."""
        source = self._manifest.source
        for path in self._manifest.of_other_settings():
            name = _name_in(source, path, self._manifest.output.real)
            if name is None or source.size(name) is None or not (self._job.recursive or "/" not in name):
                continue
            content = source.content(name)
            for output in self.of([name])[0].get(name, ()):
                if self._manifest.standing(content, output) is Standing.OTHERWISE:
                    raise _made_otherwise(self._manifest, output)

    def _met(self, name: str) -> bool:
        """Whether a file of another name is there that a photograph of this name could be written to, or could be."""
        if not self._by_folder and not self._output.real:  # to list the whole folder of each would take long
            return True
        return self._held(posixpath.dirname(name)).has_other_like(name)

    def _leads_back_into_inputs(self, folder: str) -> bool:
        place = self._manifest.output.root / folder
        return bool(self._inputs & (identities_above(place) if self._by_folder else {identity(place)}))


def _name_in(source: Storage, path: str, output: Path | None) -> str | None:
    """The name of an input that is on record."""
    if source.real is None:
        top = source.shown("")
        return path.removeprefix(top) if path.startswith(top) else None
    try:
        return Path(os.path.normpath((output or Path()) / path)).relative_to(source.real).as_posix()
    except ValueError:
        return None


def _listed_ahead(groups: Iterator[list[str]], summary: Summary) -> Iterator[list[str]]:
    waiting: deque[list[str]] = deque()
    while True:
        until = time.monotonic() + _LISTING
        while summary.listing and len(waiting) < _LISTED_AHEAD:
            if (names := next(groups, None)) is None:
                summary.listing = False
                summary.ignored.sort()
                summary.set_aside.sort()
            else:
                summary.total += len(names)
                waiting.append(names)
            if time.monotonic() > until:
                break
        if waiting:
            yield waiting.popleft()
        elif not summary.listing:
            return


def _alike(inputs: Inputs, summary: Summary) -> Iterator[list[str]]:
    """All photographs, those that could meet in one output together."""
    for candidates, photographs in inputs.groups(summary):
        expected = _doubled(candidates)
        waiting: dict[int, list[str]] = {}
        for name in photographs():
            mark = hash(_stem(name))
            if mark not in expected:
                yield [name]
                continue
            alike = waiting.setdefault(mark, [])
            alike.append(name)
            if len(alike) == expected[mark]:
                yield list(dict.fromkeys(waiting.pop(mark)))  # a list may name one twice
        yield from waiting.values()


def _doubled(names: Names) -> dict[int, int]:
    """How many names have a stem, by its hash, where it is more than one."""
    stems = np.fromiter((hash(_stem(name)) for name in names()), np.int64)
    stems.sort()
    stems = stems[1:][stems[1:] == stems[:-1]]
    return {stem: count + 1 for stem, count in Counter(stems.tolist()).items()}


class _Held:
    """What lies in a folder of the output: of each file the hashes of its name and stem."""

    def __init__(self, output: Storage, folder: str) -> None:
        hashes = [(hash(name), hash(_stem(name))) for name in output.listed(folder)]
        self._names, self._stems = np.sort(np.array(hashes, np.int64).reshape(-1, 2), axis=0).T

    def has_other_like(self, name: str) -> bool:
        """Whether there is a file of another name that a photograph of this name could be written to."""
        name = posixpath.basename(name)
        return len(self._names) > 0 and _count(self._stems, _stem(name)) > _count(self._names, name)


def _count(hashes: np.ndarray[tuple[int], np.dtype[np.int64]], text: str) -> int:
    first, last = (int(hashes.searchsorted(hash(text), side)) for side in ("left", "right"))
    return last - first


def outputs_of(
    names: Sequence[str],
    *,
    grid: bool,
    format: str | None = None,
    root: Path | None = None,
    folds: Callable[[str], str] = str,
    met: Callable[[str], bool] = lambda _: False,
) -> tuple[dict[str, list[str]], list[Failure]]:
    """Where results go, and the names that get none. Of several that would write one output it goes to the one that has its
    name, else to the first; so no other file takes an output from a photograph that keeps its name.

    Args:
        format: as in `ImageOptions`.
        root: the folder of the names; those that differ by their extensions alone, or are `met`, are asked what they hold.
            Without it the names have to tell.
        folds: makes one of names that lead to one file.
        met: whether a photograph of this name could be written to something that is there already.
    """
    format = ImageOptions(format).format
    stems = Counter(map(_stem, names)) if len(names) > 1 else {}
    outputs: dict[str, list[str]] = {}
    owners: dict[str, str] = {}
    for name in names:
        written = format
        if format is None and (stems.get(_stem(name), 1) > 1 or met(name)):  # else it can meet no other, whatever it holds
            written = written_by_name(name) if root is None else written_as(root / name)
        path = PurePosixPath(output_name(name, written) if written else name)
        outputs[name] = [str(path), str(grid_path(path))] if grid else [str(path)]
        for key in map(folds, outputs[name]):
            if key not in owners or (folds(name) == key != folds(owners[key])):
                owners[key] = name
    failures: list[Failure] = []
    for name, paths in list(outputs.items()):
        lost = next((path for path in paths if owners[folds(path)] != name), None)
        if lost is not None:
            failures.append(Failure(name, f"would be written to {lost}, as {owners[folds(lost)]} is; rename one"))
            del outputs[name]
    return outputs, failures


def _stem(name: str) -> str:
    """What two names have in common if they, or what is written beside them, could meet in one output."""
    stem = posixpath.splitext(name)[0].removesuffix("_grid")
    return stem.lower() if stem.isascii() else unicodedata.normalize("NFC", stem).casefold()
