"""`stylebatch bench`."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from typing import Any

import click

from stylebatch.cli.shared import with_trained_styles
from stylebatch.console.command import advance, command, progress_bar, until_stopped
from stylebatch.console.options import declared_options, take
from stylebatch.console.terminal import put, say
from stylebatch.jobs.job import StylizerOptions


@click.command(short_help="Measure how fast this machine is.")
@declared_options(StylizerOptions, "style", "device")
@click.option("--json", "as_json", is_flag=True, help="Print the measurements as JSON.")
@command
def bench(as_json: bool, **options: Any) -> None:
    """Measure how fast this machine is, on each backend and in each precision, in a minute or two."""
    job = with_trained_styles(take(StylizerOptions, options))
    from stylebatch.benchmark import benchmark

    with progress_bar("run") as bar:
        measurements = until_stopped(
            lambda: benchmark(job.style, device=job.device, progress=functools.partial(advance, bar))
        )
    if as_json:
        put(json.dumps([asdict(measurement) for measurement in measurements], indent=2))
        return
    say("    picture  backend   precision  seconds    MP/s  GFLOP/s  matmul's     PSNR")
    for m in measurements:
        say(
            f"{f'{m.side}×{m.side}':>11}  {m.backend:8}  {m.precision:9}  {m.seconds:7.3f}  {m.megapixels_per_second:6.2f}  "
            f"{m.gflops:7.0f}  {m.matmul_gflops:8.0f}  {m.psnr:4.1f} dB"
        )
    say("matmul's: GFLOP/s of PyTorch's matrix product. PSNR: against its fp32, on noise with a photograph's spectrum.")
