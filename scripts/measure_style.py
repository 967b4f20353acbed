#!/usr/bin/env python3
"""Style, content and shading loss of a network on photographs, in the units of training, and its stability: lower is better.

    scripts/measure_style.py hosi paintings/starry_night.jpg photos/ --size 384

Style: four layers of VGG-16 on 0-255 pixels, Gram matrices over C·H·W, summed. Content: relu2_2. Total: content + 5·style.
Shading: squared difference in luma, on [0,1], of picture and photograph shrunk to a sixteenth, less their means.
Stability: mean squared change, on [0,1], that made-up motions leave after they are undone, borders excluded.
Of four: style loss of the mean of four passes over the photograph shifted on the network's grid, moved back. At the end, the
energy at the frequencies of that grid over that around them, over all photographs: mean and highest of fifteen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import torch

from stylebatch.console.command import command
from stylebatch.styles import load_style as load_network
from trainer.config import FitConfig
from trainer.content import find_photographs, load_photograph, load_style
from trainer.grain import lattice_energy, mean_of_shifts
from trainer.objective import Objective
from trainer.stability import stability_error
from trainer.terms import TOTAL
from trainer.vgg import VGG16

COLUMNS = ("photograph", "style", "content", "total", "shading", "of four", "stability")


@click.command(help=__doc__)
@click.argument("style")
@click.argument("painting", type=click.Path(path_type=Path))
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--size", default=384, show_default=True, help="Long side of the photographs.")
@click.option("--style-size", default=FitConfig.style_size, show_default=True, help="Long side of the painting.")
@click.option("--strength", default=1.0, show_default=True, help="Of the style.")
@command
@torch.inference_mode()
def main(style: str, painting: Path, photos: Path, size: int, style_size: int, strength: float) -> None:
    network, paths = load_network(style, strength).network(), find_photographs(photos)[0]
    config = FitConfig(style=painting, style_weight=5.0, palette_weight=0.0, shading_weight=0.0, tv_weight=0.0)
    objective = Objective(config, VGG16(), load_style(painting, style_size), load_photograph(paths[0], size))
    rows, pictures = [], []
    for path in paths:
        photograph = load_photograph(path, size)
        target = objective.target(photograph)
        pictures.append(network(photograph))
        before, after, of_four = (
            objective(each, target) for each in (photograph, pictures[-1], mean_of_shifts(network, photograph))
        )
        losses = (before["style"], *(after[name] for name in ("style", "content", TOTAL, "shading")), of_four["style"])
        rows.append([*map(float, losses), stability_error(network, photograph)])
        show(path.name, rows[-1])
    show("mean", [sum(column) / len(rows) for column in zip(*rows, strict=True)])
    click.echo("lattice energy {:.3g}, highest {:.3g}".format(*lattice_energy(pictures)))


def show(name: str, row: Sequence[float]) -> None:
    click.echo(f"{name:24} " + ", ".join(f"{column} {value:.3g}" for column, value in zip(COLUMNS, row, strict=True)))


if __name__ == "__main__":
    main()
