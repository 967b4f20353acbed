"""What several commands of `stylebatch` have in common: their options, and lines of their summaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stylebatch.console.arguments import WORD
from stylebatch.console.command import advance, progress_bar
from stylebatch.console.options import option_name, take
from stylebatch.jobs.job import Cluster, StylizerOptions
from stylebatch.options import options_of

if TYPE_CHECKING:
    from stylebatch.interrupt import Interrupt
    from stylebatch.pipeline import Summary

_Stylizing = TypeVar("_Stylizing", bound=StylizerOptions)
_Summary = TypeVar("_Summary", bound="Summary")
OUTPUT = click.option("--output", "-o", metavar="OUT", type=WORD, help="The file or folder to write, instead of OUT.")
ENGINE = click.option(
    "--engine", type=click.Choice(("local", "ray")), default="local", show_default=True,
    help="What does the work: this machine, or a Ray cluster.",
)  # fmt: skip
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print the summary as JSON: done, failed with reasons, seconds by stage."
)


def take_cluster(options: dict[str, Any]) -> Cluster | None:
    """The cluster that is asked for; None for this machine alone.

    Raises:
        StylebatchError: a value is refused.
    """
    engine, cluster = options.pop("engine"), take(Cluster, options)
    if engine == "local" and cluster != Cluster():
        raise click.UsageError(f"{', '.join(map(option_name, options_of(Cluster)))} are for --engine ray.")
    return cluster if engine == "ray" else None


def with_trained_styles(options: _Stylizing) -> _Stylizing:
    """The same with styles for paintings, which may have to be trained first. PyTorch is not loaded.

    Raises:
        StylebatchError: unknown style, impossible share or strength.
    """
    from stylebatch.paintings import with_styles_of_paintings
    from stylebatch.styles import check_style

    check_style(options.style, options.strength)
    return replace(options, style=with_styles_of_paintings(options.style, options.device))


def followed(job: Callable[..., _Summary], shown: _Summary, unit: str, interrupt: Interrupt) -> _Summary:
    """Do a job with a progress bar. Of one that has to be left, the summary is what it had done by then."""
    with progress_bar(unit) as bar:

        def show(summary: _Summary) -> None:
            nonlocal shown
            shown = summary
            found = f"{summary.total:,} found so far, " * summary.listing
            bar.set_postfix_str(f"{found}{summary.megapixels:.1f} MP, {len(summary.failures)} failed", refresh=False)
            total = None if summary.listing else max(summary.total, summary.finished)
            advance(bar, summary.finished, total, summary.skipped)

        return interrupt.wait_for(lambda: job(progress=show, stop=interrupt)) or replace(shown.snapshot(), interrupted=True)


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
