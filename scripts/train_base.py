#!/usr/bin/env python3
"""Train the network that gives a photograph back, from which styles start.

    scripts/train_base.py photos/ --steps 820

Instance normalisation takes each channel's mean and contrast away before the first activation, so the network is asked for
all but these: its picture is compared after it has got them back, as at `--strength 0`.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_safetensors
from stylebatch.device import keep_freed_memory
from stylebatch.styles import BASE, find_style
from stylebatch.transnet import TransNet
from trainer.content import content_loader, find_photographs
from trainer.muon import Muon

#: Steps of linear warm-up, and the share of the training in which the rate is constant.
WARM_UP, CONSTANT = 40, 0.3


@click.command(help=__doc__)
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--init", default="hosi", show_default=True, help="A style: its features are a head start. Or none.")
@click.option("--steps", default=820, show_default=True)
@click.option("--crop-size", default=192, show_default=True)
@click.option("--learning-rate", default=0.02, show_default=True)
@click.option("--photographs", default="BSDS500 train and test (research use), 400 photographs", show_default=True)
@click.option("--output", default=BASE, show_default=True, type=click.Path(path_type=Path))
def with_tone_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """N×3×H×W y with the mean and contrast by channel of x, as pictures get them at strength 0."""
    (x_std, x_mean), (y_std, y_mean) = (torch.std_mean(z, (2, 3), correction=0, keepdim=True) for z in (x, y))
    return (y - y_mean) * x_std / y_std.clamp_min(1e-3) + x_mean


def main(photos: Path, init: str, steps: int, crop_size: int, learning_rate: float, photographs: str, output: Path) -> None:
    torch.manual_seed(0)
    keep_freed_memory()
    network = TransNet("reflect")
    if init != "none":
        network.load_state_dict(load_checkpoint(find_style(init)).model)
    optimizer = Muon(network, learning_rate)
    loader = content_loader(
        find_photographs(photos)[0], size=crop_size, augment=True, batch_size=1, seed=0, start=0, workers=0, pin=False
    )
    with click.progressbar(zip(range(steps), loader, strict=False), length=steps) as bar:
        for step, batch in bar:
            x = batch.images.float() / 255
            y = network(x)
            loss = 10 * (with_tone_of(x, y) - x).abs().mean() + (y - x).square().mean()
            rate = min(1.0, (step + 1) / WARM_UP, (steps - step) / (steps * (1 - CONSTANT)))
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * rate
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    metadata = {"style": "base", "padding_mode": "reflect", "step": steps, "photographs": photographs}
    save_safetensors(Checkpoint(network.state_dict(), metadata), output)


if __name__ == "__main__":
    main()
