"""What a run over a folder has to do: where each result goes, what is there already, and what may not be written."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from stylebatch.errors import StylebatchError
from stylebatch.files import identities_above, identity, name_folding
from stylebatch.frame import Failure
from stylebatch.images.decoding import written_as
from stylebatch.images.formats import output_name, written_by_name
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import grid_path
from stylebatch.manifest import Manifest, Standing
from stylebatch.storage import Content, Storage
from stylebatch.system import cores


@dataclass
class Plan:
    """The photographs of a folder, by name.

    Attributes:
        todo: those to do, with what they hold now.
        done: how many are done.
        failures: those that may not be written.
    """

    todo: dict[str, Content] = field(default_factory=dict)
    done: int = 0
    failures: list[Failure] = field(default_factory=list)


def planned(
    manifest: Manifest,
    names: Sequence[str],
    *,
    grid: bool,
    format: str | None,
    stop: Callable[[], bool] = lambda: False,
) -> Plan:
    """What is to be done of the photographs `names` of a manifest's source. Those that have a result are read: is it theirs?

    Args:
        format: as in `ImageOptions`.
        stop: asked after each photograph; True leaves the rest out.

    Raises:
        StylebatchError: there are results of theirs that were made with other settings.
    """
    folder, root = manifest.output.root, manifest.source.root
    folds = name_folding(folder)
    outputs, failures = outputs_of(
        names, grid=grid, format=format, root=manifest.source.real, output=manifest.output, folds=folds
    )
    plan = Plan(failures=failures)
    parents = {PurePosixPath(), *(PurePosixPath(name).parent for name in names)} if manifest.output.real else ()
    inputs = {identity(root / parent) for parent in parents if manifest.source.real}
    overlapping = {
        parent: bool(inputs & identities_above(folder / parent))
        for parent in {PurePosixPath(path).parent for paths in outputs.values() for path in paths}
    }

    def asked(name: str) -> tuple[str, Content, Standing, Path]:
        content = manifest.content(name)
        paths = [folder / path for path in outputs[name]]
        standing, path = max((manifest.standing(content, path), path) for path in paths)
        return name, content, standing, path

    clear = []
    for name, paths in outputs.items():
        if any(overlapping[PurePosixPath(path).parent] for path in paths):
            failures.append(Failure(name, f"{folder / paths[0]} leads into {root}, where the photographs are"))
        else:
            clear.append(name)
    with manifest.source.planning(), manifest.output.planning(), ThreadPoolExecutor(min(4, cores())) as pool:
        for name, content, standing, path in pool.map(asked, clear):
            if standing is Standing.DONE:
                plan.done += 1
            elif standing < Standing.OTHERWISE or manifest.overwrite:
                plan.todo[name] = content
            elif standing is Standing.OTHERWISE:
                pool.shutdown(wait=False, cancel_futures=True)
                raise StylebatchError(
                    f"{manifest.output}: has results of {manifest.source} that were made with other options, or another "
                    f"style or precision, such as {path.name}; `overwrite` makes them anew in their place, another output "
                    "keeps both"
                )
            else:
                failures.append(Failure(name, str(manifest.refusal(standing, content, path))))
            if stop():
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return plan


def outputs_of(
    names: Sequence[str],
    *,
    grid: bool,
    format: str | None = None,
    root: Path | None = None,
    output: Storage | None = None,
    folds: Callable[[str], str] = str,
) -> tuple[dict[str, list[str]], list[Failure]]:
    """Where results go, and the names that get none. Of several that would write one output it goes to the one that has its
    name, else to the first; so no other file takes an output from a photograph that keeps its name.

    Args:
        format: as in `ImageOptions`.
        root: the folder of the names; those that differ by their extensions alone, or that could meet a file in `output`,
            are asked what they hold. Without it the names have to tell.
        folds: makes one of names that lead to one file.
    """
    format = ImageOptions(format).format
    alike = Counter(map(_stem, names))
    if output:
        for folder in {PurePosixPath(name).parent for name in names}:
            alike.update(_stem(str(folder / there)) for there in output.listed(str(folder)))
    outputs: dict[str, list[str]] = {}
    owners: dict[str, str] = {}
    for name in names:
        written = format
        if format is None and alike[_stem(name)] > 1:  # else its extension, whatever it will be, can meet no other
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
    stem = str(PurePosixPath(name).with_suffix("")).removesuffix("_grid")
    return unicodedata.normalize("NFC", stem).casefold()
