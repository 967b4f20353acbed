"""What several commands of `stylebatch` have in common: their options, and lines of their summaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stylebatch.console.arguments import WORD
from stylebatch.console.command import advance, progress_bar
from stylebatch.options import Options, Runtime, option

if TYPE_CHECKING:
    from stylebatch.interrupt import Interrupt
    from stylebatch.pipeline import Summary

_Summary = TypeVar("_Summary", bound="Summary")
OUTPUT = click.option("--output", "-o", metavar="OUT", type=WORD, help="The file or folder to write, instead of OUT.")
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON: done, failed with reasons, seconds by stage."
)


@dataclass(frozen=True)
class Painter(Runtime):
    """The arguments of a `Stylizer`. Wrong ones are refused before PyTorch is loaded."""

    style: str = option(
        "hosi",
        "A style, a painting (trained first), a checkpoint or a mix: hosi:0.6,wave:0.4.",
        metavar="NAME|PATH|MIX",
    )
    strength: float = option(1.0, "How much paint: 0, none, to 1.5.", unit="%")

    def __post_init__(self) -> None:
        from stylebatch.styles import check_style

        super().__post_init__()
        check_style(self.style, self.strength)

    def arguments(self) -> dict[str, Any]:
        """By name, with styles for paintings, which may have to be trained first."""
        from stylebatch.paintings import with_styles_of_paintings

        return {**asdict(self), "style": with_styles_of_paintings(self.style, self.device)}


@dataclass(frozen=True)
class Batching(Options):
    """How many pictures are in work at once."""

    batch_size: int | None = option(None, "Pictures of one size at once.", unset="1 on CPU, else what fits", least=1)
    workers: int | None = option(None, "Decoding processes.", unset="by the number of cores", least=0)


def followed(job: Callable[..., _Summary], shown: _Summary, unit: str, interrupt: Interrupt) -> _Summary:
    """Do a job with a progress bar. Of one that has to be left, the summary is the last one that it has shown."""
    with progress_bar(unit) as bar:

        def show(summary: _Summary) -> None:
            nonlocal shown
            shown = summary
            bar.set_postfix_str(f"{summary.megapixels:.1f} MP, {len(summary.failures)} failed", refresh=False)
            advance(bar, summary.finished, max(summary.total, summary.finished), summary.skipped)

        return interrupt.wait_for(lambda: job(progress=show, stop=interrupt)) or replace(shown, interrupted=True)


def troubles(summary: Summary) -> list[str]:
    """What a run met beside failures, a line each."""
    lines = []
    if summary.halved:
        lines.append(f"{summary.halved} batches did not fit into memory and went in halves; --batch-size makes them smaller")
    if summary.aborted:
        lines.append(f"stopped: {summary.aborted}")
    return lines


def some(names: Iterable[str]) -> str:
    """How many, and the first of them."""
    names = list(names)
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
