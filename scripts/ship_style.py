#!/usr/bin/env python3
"""Turn a trained style or checkpoint into a shipped style: fp16 safetensors with artwork and training in the header.

It replaces a shipped style of its name, and tells how many steps the one that it started from had in all.

    scripts/ship_style.py checkpoints/hosi.safetensors --artwork "The Starry Night" --artist "Vincent van Gogh" \
        --year 1889 --rights "public domain" --photographs "BSDS500 (research use), 400 photographs"
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_safetensors
from stylebatch.console.command import command
from stylebatch.errors import StylebatchError
from stylebatch.styles import FOLDER, shipped_styles

#: Where a training lay on a disk says nothing about the style.
_PRIVATE = ("style", "content", "out", "init", "resume", "workers", "device")


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--artwork", required=True)
@click.option("--artist", required=True)
@click.option("--year", required=True)
@click.option("--rights", required=True)
@click.option("--photographs", required=True, help="What the network was trained with.")
@click.option("--steps-before", default=0, help="Steps that its start had, if that is not shipped.")
@command
def main(checkpoint: Path, steps_before: int, **artwork: str) -> None:
    trained = load_checkpoint(checkpoint)
    config = {key: value for key, value in _training(checkpoint, trained).items() if key not in _PRIVATE}
    before = shipped_styles().get(trained.metadata["init"])
    if before and before.header.get("width") == str(trained.metadata["width"]):
        steps_before = sum(int(before.header.get(key, 0)) for key in ("step", "steps_before"))
    metadata = {
        **trained.metadata,
        **({"steps_before": steps_before} if steps_before else {}),
        **artwork,
        "config": config,
        "loss_network": "VGG-16, original Caffe release (CC BY 4.0)",
    }
    path = FOLDER / f"{trained.metadata['style']}.safetensors"
    save_safetensors(Checkpoint(trained.model, metadata), path)
    click.echo(path)


def _training(path: Path, trained: Checkpoint) -> dict[str, Any]:
    """The configuration of the training that made it: of a `.pth` an object, of a `.safetensors` JSON."""
    config = trained.metadata.get("config")
    try:
        config = json.loads(config) if isinstance(config, str) else config
    except ValueError:
        config = None
    if not isinstance(config, dict) or not {"style", "init", "width"} <= set(trained.metadata):
        raise StylebatchError(
            f"{path}: does not say how it was trained; give what `trainer fit` has written, .safetensors or .pth"
        )
    return config


if __name__ == "__main__":
    main()
