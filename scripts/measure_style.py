#!/usr/bin/env python3
"""Style and content loss of a network on photographs, in the units of training: lower is closer.

    scripts/measure_style.py hosi paintings/starry_night.jpg photos/ --size 384

Style: four layers of VGG-16 on 0-255 pixels, Gram matrices over C·H·W, summed. Content: relu2_2.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from stylebatch.checkpoint import load_checkpoint
from stylebatch.styles import find_style
from trainer.config import CONTENT_LAYER, STYLE_LAYERS, FitConfig
from trainer.content import find_photographs, load_photograph, load_style
from trainer.losses import content_loss, gram, style_loss
from trainer.vgg import VGG16


@click.command(help=__doc__)
@click.argument("style")
@click.argument("painting", type=click.Path(path_type=Path))
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--size", default=384, show_default=True, help="Long side of the photographs.")
@click.option("--style-size", default=FitConfig.style_size, show_default=True, help="Long side of the painting.")
@torch.inference_mode()
def main(style: str, painting: Path, photos: Path, size: int, style_size: int) -> None:
    network, vgg = load_checkpoint(find_style(style)).network(), VGG16()
    targets = {layer: gram(features) for layer, features in vgg(load_style(painting, style_size), STYLE_LAYERS).items()}
    rows = []
    for path in find_photographs(photos)[0]:
        photograph = load_photograph(path, size)
        before, after = vgg(photograph, STYLE_LAYERS), vgg(network(photograph), STYLE_LAYERS)
        rows.append((
            style_loss(before, targets).item(),
            style_loss(after, targets).item(),
            content_loss(after[CONTENT_LAYER], before[CONTENT_LAYER]).item(),
        ))  # fmt: skip
        click.echo("{:24} photograph {:.3g}, style {:.3g}, content {:.3g}".format(path.name, *rows[-1]))
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    click.echo("{:24} photograph {:.3g}, style {:.3g}, content {:.3g}".format("mean", *means))


if __name__ == "__main__":
    main()
