#!/usr/bin/env python3
"""Train the network that gives a photograph back, from which styles start.

    scripts/train_base.py photos/

Instance normalisation takes each channel's mean and contrast away before the first activation, so the network is asked for
all but these: its picture is compared after it has got them back, as at `--strength 0`. Two losses: L1 on pixels, and the
content loss of the trainings that follow, so that its features are of use to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
import torch
from torch import Tensor

from stylebatch.checkpoint import Checkpoint, save_safetensors
from stylebatch.console.command import command
from stylebatch.device import DTYPES, pick_device, pick_precision
from stylebatch.styles import FOLDER
from stylebatch.transnet import WIDTH, TransNet
from trainer.config import CONTENT_LAYER
from trainer.content import Batch, content_loader, find_photographs
from trainer.losses import content_loss
from trainer.vgg import VGG16

#: Weights of the L1 on [0,1] with the photograph's tone given back, and of that without.
PIXELS, RAW_PIXELS = 1e6, 1e5


def with_tone_of(x: Tensor, y: Tensor) -> Tensor:
    """N×3×H×W y with the mean and contrast by channel of x: what no weights can give back."""
    (x_std, x_mean), (y_std, y_mean) = (torch.std_mean(z, (2, 3), correction=0, keepdim=True) for z in (x, y))
    return (y - y_mean) * x_std / y_std.clamp_min(1e-3) + x_mean


def batches(photos: Path, steps: int, batch_size: int, crop_size: int) -> Iterator[Batch]:
    """The first half of the steps with crops of half the side, which cost a quarter."""
    photographs, _ = find_photographs(photos)
    for size, start, end in ((crop_size // 2, 0, steps // 2), (crop_size, steps // 2, steps)):
        loader = content_loader(
            photographs, size=size, augment=True, batch_size=batch_size, seed=0, start=start, workers=1, pin=False
        )
        yield from islice(loader, end - start)


@click.command(help=__doc__)
@click.argument("photos", type=click.Path(path_type=Path))
@click.option("--steps", default=800, show_default=True)
@click.option("--batch-size", default=2, show_default=True)
@click.option("--crop-size", default=256, show_default=True)
@click.option("--learning-rate", default=2e-3, show_default=True)
@click.option("--photographs", default="BSDS500 train and test (research use), 400 photographs", show_default=True)
@click.option("--width", default=WIDTH, show_default=True, help="Channels of the network at full size.")
@click.option("--output", type=click.Path(path_type=Path), help="[default: where styles of that width start from]")
@command
def main(
    photos: Path,
    steps: int,
    batch_size: int,
    crop_size: int,
    learning_rate: float,
    photographs: str,
    width: int,
    output: Path | None,
) -> None:
    torch.manual_seed(0)
    device = pick_device()
    precision = pick_precision("auto", device, training=True)
    network = TransNet("reflect", width).to(memory_format=torch.channels_last)
    vgg = VGG16().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, cycle_momentum=False)
    with click.progressbar(batches(photos, steps, batch_size, crop_size), length=steps) as bar:
        for batch in bar:
            x = batch.images.to(memory_format=torch.channels_last).float() / 255
            with torch.autocast("cpu", DTYPES[precision], enabled=precision != "fp32"):
                y = network(x).float()
                toned = with_tone_of(x, y).clamp(0, 1)
                with torch.no_grad():
                    target = vgg(x, [CONTENT_LAYER])[CONTENT_LAYER]
                content = content_loss(vgg(toned, [CONTENT_LAYER])[CONTENT_LAYER], target)
            loss = content + PIXELS * (toned - x).abs().mean() + RAW_PIXELS * (y - x).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    metadata = {"style": "base", "padding_mode": "reflect", "width": width, "step": steps, "photographs": photographs}
    save_safetensors(Checkpoint(network.state_dict(), metadata), output or FOLDER / "bases" / f"{width}.safetensors")


if __name__ == "__main__":
    main()
