"""Every hyperparameter of a training, with its default, once. The command line derives its options from here."""

from __future__ import annotations

import os
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from stylebatch.errors import StylebatchError
from stylebatch.options import MAX_WIDTH

#: Johnson et al. 2016, section 4.1.
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
CONTENT_LAYER = "relu2_2"


def _option(default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What `fit` needs to know. Sizes are pixels, weights multiply mean losses on the loss network's features."""

    style: Path = _option(MISSING, "The picture to learn.")
    content: Path | None = _option(None, "Folder of photographs, flat or nested.  [default: those in the package]")
    out: Path = _option(Path("checkpoints"), "Where checkpoints, pictures and curves go.")
    steps: int = _option(500, "Length of the training at most.")
    epochs: int | None = _option(None, "Length in passes over the photographs, instead of --steps.")
    batch_size: int = _option(2, "Photographs a step.")
    crop_size: int = _option(256, "Side of the square training crops.")
    small_crops: float = _option(0.6, "Share of the steps, the first ones, whose crops have half the side.")
    augment: bool = _option(True, "Random crops, flips and order; otherwise whole photographs squashed to the crop size.")
    style_size: int = _option(512, "Long side of the style picture; sets the size of strokes. 0: as it is.")
    optimizer: str = _option("muon", "What takes the steps.", ("muon", "adamw"))
    learning_rate: float = _option(4e-2, "Peak learning rate. Muon's is relative to the weights; AdamW wants 0.002.")
    schedule: str = _option("polynomial", "Course of the learning rate.", ("polynomial", "constant"))
    patience: int = _option(100, "Stop after so many steps without a better validation loss. 0: no validation.")
    style_strength: float = _option(1.0, "More than 1 is more paint, less is more photograph; the same for any picture.")
    content_weight: float = _option(1.0, f"Weight of the content loss ({CONTENT_LAYER}).")
    style_weight: float | None = _option(
        None, f"Weight of the style loss ({', '.join(STYLE_LAYERS)}).  [default: by the picture, times --style-strength]"
    )
    palette_weight: float = _option(80.0, "Weight of the distance between the picture's colours and the painting's.")
    shading_weight: float = _option(40.0, "Weight of light and dark that the photograph does not have there.")
    spike_weight: float = _option(6.0, "Weight of what leaves blots: features that outshine all others, black pixels.")
    tv_weight: float = _option(1e-6, "Weight of the total variation.")
    lattice_weight: float = _option(2000.0, "Weight of what repeats with the network's grid of 4 px.")
    shift_every: int = _option(0, "In each such step judge the mean of two passes, one shifted on the grid. 0: in none.")
    stability_weight: float = _option(10.0, "Weight of the difference between two frames of a made-up motion.")
    vgg: str = _option("caffe", "Loss network: caffe (embedded), IMAGENET1K_V1, IMAGENET1K_FEATURES or a path.")
    vgg_input: str = _option("auto", "How the loss network is fed.", ("auto", "caffe", "imagenet", "raw"))
    padding_mode: str = _option("reflect", "How the network's convolutions pad.", ("reflect", "zeros"))
    width: int = _option(32, "Channels of the network at full size: 32, 16, or any other with --init none.")
    checkpoint_steps: int = _option(100, "Steps between checkpoints.")
    checkpoint_epochs: int | None = _option(None, "Epochs between checkpoints, instead of --checkpoint-steps.")
    init: str = _option(
        "nearest",
        "What to start from: the shipped network whose pictures are nearest to the painting's, base, none (random weights), "
        "a style or a checkpoint.",
    )
    resume: bool = _option(False, "Go on from the newest checkpoint of this style in the output folder.")
    overwrite: bool = _option(False, "Train anew in the place of a training of this name in the output folder.")
    seed: int = _option(0, "Fixes the initial weights, the order and the crops.")
    workers: int = _option(2, "Processes that decode photographs.")
    device: str = _option("auto", "auto, cpu, cuda, cuda:N or mps.")
    precision: str = _option("auto", "Half precision where the device has it.", ("auto", "fp32", "bf16", "fp16"))

    def __post_init__(self) -> None:
        at_least = {
            "steps": 1, "epochs": 1, "batch_size": 1, "crop_size": 32, "checkpoint_steps": 1, "checkpoint_epochs": 1,
            "content_weight": 0, "style_weight": 0, "style_strength": 0, "palette_weight": 0, "shading_weight": 0,
            "spike_weight": 0, "tv_weight": 0, "lattice_weight": 0, "shift_every": 0, "stability_weight": 0,
            "small_crops": 0, "patience": 0, "workers": 0, "seed": 0, "width": 1,
        }  # fmt: skip
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and not least <= value < float("inf"):
                raise StylebatchError(f"{option_name(name)} {value}: must be at least {least}")
        if self.small_crops > 1:
            raise StylebatchError(f"--small-crops {self.small_crops}: is a share, 1 at most")
        if self.width > MAX_WIDTH:
            raise StylebatchError(f"--width {self.width}: must be at most {MAX_WIDTH}")
        if not 0 < self.learning_rate < float("inf"):
            raise StylebatchError(f"--learning-rate {self.learning_rate}: must be over 0")
        if self.content_weight == 0 and self.style_weight == 0:
            raise StylebatchError("--content-weight and --style-weight are both 0: nothing to learn")
        if self.resume and self.overwrite:
            raise StylebatchError("--resume goes on with what --overwrite would replace: give one of them")
        if self.style_size and self.style_size < MIN_STYLE_SIZE:
            raise StylebatchError(f"--style-size {self.style_size}: must be at least {MIN_STYLE_SIZE}, or 0")
        for option in fields(self):
            choices, value = option.metadata["choices"], getattr(self, option.name)
            if choices and value not in choices:
                raise StylebatchError(f"{option_name(option.name)} {value!r}: use {', '.join(choices)}")

    def steps_per_epoch(self, photographs: int) -> int:
        """Steps of one pass over so many photographs; a last partial batch counts."""
        return -(-photographs // self.batch_size)

    def total_steps(self, photographs: int) -> int:
        return self.epochs * self.steps_per_epoch(photographs) if self.epochs else self.steps

    def checkpoint_interval(self, photographs: int) -> int:
        """Steps between checkpoints."""
        epochs = self.checkpoint_epochs
        return epochs * self.steps_per_epoch(photographs) if epochs else self.checkpoint_steps

    def as_metadata(self) -> dict[str, Any]:
        """Plain JSON values, for the checkpoint."""
        plain = {key: value for key, value in asdict(self).items() if key != "overwrite"}
        return {key: _as_text(value) if isinstance(value, Path) else value for key, value in plain.items()}


def _as_text(path: Path) -> str:
    """A name may hold bytes that are no text."""
    return os.fsencode(path).decode("utf-8", "replace")


#: Under this, a style picture has no texture for the loss network's deeper layers to measure.
MIN_STYLE_SIZE = 64

#: What a resumed training must have in common with the one that it goes on with. Its length may change.
IDENTITY = (
    "batch_size", "crop_size", "small_crops", "augment", "style_size", "optimizer", "learning_rate", "schedule", "patience",
    "style_strength", "content_weight", "style_weight", "palette_weight", "shading_weight", "spike_weight", "tv_weight",
    "lattice_weight", "shift_every", "stability_weight", "vgg", "vgg_input", "padding_mode", "width", "init", "seed",
)  # fmt: skip

#: Named sets of choices. "article" is the training script of the article that TransNet comes from (see docs/training.md), on
#: the embedded loss network; `vgg="IMAGENET1K_V1"` adds its own, a 528 MB download.
RECIPES: dict[str, dict[str, Any]] = {
    "article": {
        "epochs": 150,
        "batch_size": 3,
        "crop_size": 512,
        "small_crops": 0.0,
        "augment": False,
        "style_size": 0,
        "init": "none",
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "schedule": "constant",
        "patience": 0,
        "lattice_weight": 0.0,
        "shift_every": 0,
        "stability_weight": 0.0,
        "content_weight": 1.0,
        "style_weight": 1e5,
        "palette_weight": 0.0,
        "shading_weight": 0.0,
        "spike_weight": 0.0,
        "tv_weight": 0.0,
        "vgg_input": "raw",
        "padding_mode": "zeros",
        "checkpoint_epochs": 30,
    }
}


def option_name(field_name: str) -> str:
    """`style_size` → `--style-size`."""
    return "--" + field_name.replace("_", "-")
