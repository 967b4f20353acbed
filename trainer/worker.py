"""A training that another program drives, by lines of JSON: `python -m trainer.worker`. The first line is a `FitConfig`, as
its `as_dict`; what a stopped one has done is gone on with."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from stylebatch.console.lines import Driven, driven
from trainer.config import FitConfig


def _run(streams: Driven) -> dict[str, Any]:
    from trainer.fit import Progress, fit
    from trainer.terms import TOTAL

    config = FitConfig.from_dict(json.loads(streams.asked))
    begun = any(config.out.glob(f"{config.style.stem}_trans_net_*.pth"))
    notes: list[str] = []

    def show(progress: Progress) -> None:
        if progress.stage:
            streams.tell(progress={"stage": progress.stage, "notes": notes})
        else:
            losses = {name: float(value) for name, value in progress.losses.items()}
            told = {"done": progress.step, "total": progress.steps, "losses": losses, "notes": notes}
            streams.tell(progress=told, losses=[progress.step, losses[TOTAL]])

    result = fit(replace(config, resume=begun), progress=show, message=notes.append, stop=streams.stop)
    return {
        "done": result.step,
        "total": result.steps,
        "style": result.style and str(result.style),
        "checkpoint": result.checkpoint and str(result.checkpoint),
        "interrupted": result.interrupted,
        "notes": notes,
    }


if __name__ == "__main__":
    driven(_run)
