"""Every hyperparameter of a training, declared once. `trainer fit` and docs/options.md have their options from here."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from stylebatch.errors import StylebatchError
from stylebatch.options import MAX_WIDTH, Options, check_device, option, options_of, plain

#: Johnson et al. 2016, section 4.1.
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
CONTENT_LAYER = "relu2_2"
#: Under this, a style picture has no texture for the loss network's deeper layers to measure.
MIN_STYLE_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class FitConfig(Options):
    """What `fit` needs to know. Sizes are pixels, weights multiply mean losses on the loss network's features. A wrong value
    raises `StylebatchError`."""

    # fmt: off
    style: Path = option(MISSING, "The picture to learn, 64 px a side or more.", short="-s", result=False)
    content: Path | None = option(
        None, "Folder of photographs, flat or nested; broken ones are skipped and named.", unset="those in the package",
        short="-c", resumable=True)
    out: Path = option(Path("checkpoints"), "Where checkpoints, pictures and curves go.", short="-o", result=False)
    steps: int = option(400, "Length of the training at most.", least=1, resumable=True)
    epochs: int | None = option(None, "Length in passes over the photographs, instead of `steps`.", least=1, resumable=True)
    batch_size: int = option(2, "Photographs a step.", least=1)
    crop_size: int = option(256, "Side of the square training crops.", least=32, unit="px")
    small_crops: float = option(
        0.8, "Share of the steps, the first ones, whose crops have half the side.", least=0, most=1, unit="%")
    augment: bool = option(True, "Random crops, flips and order; otherwise whole photographs squashed to the crop size.")
    style_size: int = option(512, "Long side of the style picture; sets the size of strokes. 0: as it is.", unit="px")
    optimizer: str = option("muon", "What takes the steps.", choices=("muon", "adamw"))
    learning_rate: float = option(4e-2, "Peak learning rate. Muon's is relative to the weights; AdamW wants 0.002.", above=0)
    schedule: str = option("polynomial", "Course of the learning rate.", choices=("polynomial", "constant"))
    patience: int = option(
        100, "Cool down and stop after so many steps without a better loss on photographs held out. 0: hold none.", least=0)
    style_strength: float = option(
        1.0, "More than 1 is more paint, less is more photograph; the same for any picture.", least=0)
    content_weight: float = option(1.0, f"Weight of the content loss ({CONTENT_LAYER}).", least=0)
    style_weight: float | None = option(
        None, f"Weight of the style loss ({', '.join(STYLE_LAYERS)}), instead of `style_strength`.", unset="by the picture",
        least=0)
    palette_weight: float = option(
        80.0, "Weight of how far the picture's colours are from the painting's. 0: the style loss alone counts.", least=0)
    shading_weight: float = option(
        40.0, "Weight of light and dark that the photograph does not have there. 0: patches in even places.", least=0)
    spike_weight: float = option(
        6.0, "Weight of what leaves blots in even places: features that outshine all others, black pixels.", least=0)
    tv_weight: float = option(1e-6, "Weight of the total variation.", least=0)
    lattice_weight: float = option(0.1, "Weight of what repeats with the network's grid of 4 px.", least=0)
    shift_share: float = option(
        0.5, "Share of the steps that judge the mean of four passes, three shifted on the grid.", least=0, most=1, unit="%")
    stability_weight: float = option(
        10.0, "Weight of what differs in two frames of a made-up motion: steadies films. 0 saves 1/7 of the time.", least=0)
    vgg: str = option(
        "caffe", "Loss network: caffe (embedded), IMAGENET1K_V1, IMAGENET1K_FEATURES (downloaded, 528 MB) or a path.",
        metavar="NAME|PATH")
    vgg_input: str = option("auto", "How the loss network is fed.", choices=("auto", "caffe", "imagenet", "raw"))
    padding_mode: str = option(
        "reflect", "How the network's convolutions pad; zeros is the article's.", choices=("reflect", "zeros"))
    width: int = option(
        16, "Channels of the network at full size: 8, 16, 32 (the article's, a third as fast); with `init` none any.",
        least=1, most=MAX_WIDTH)
    checkpoint_steps: int = option(100, "Steps between checkpoints.", least=1, result=False)
    checkpoint_epochs: int | None = option(
        None, "Epochs between checkpoints, instead of `checkpoint_steps`.", least=1, result=False)
    init: str = option(
        "nearest",
        "What to start from: the shipped network whose pictures are nearest to the painting's, base, none (random weights), "
        "a style or a checkpoint.",
        metavar="NAME|PATH")
    resume: bool = option(
        False, "Go on from the output folder's checkpoint of most steps; one of another training is refused.", result=False)
    overwrite: bool = option(
        False, "Train anew in the place of the output folder's training of this name, else refused.", result=False)
    seed: int = option(0, "Fixes the initial weights, the order and the crops: same seed, same weights.", least=0)
    workers: int | None = option(
        None, "Processes that decode photographs.", unset="2; on a GPU up to 8", least=0, result=False)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.", metavar="NAME", result=False)
    precision: str = option(
        "auto", "auto is half where the device is faster in it; fp16 scales the loss, on CUDA.",
        choices=("auto", "fp32", "bf16", "fp16"), result=False)
    # fmt: on

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)
        if self.content_weight == 0 and self.style_weight == 0:
            raise StylebatchError("content weight and style weight are both 0: nothing to learn")
        if self.resume and self.overwrite:
            raise StylebatchError("resume goes on with what overwrite would replace: choose one of them")
        if self.style_size and self.style_size < MIN_STYLE_SIZE:
            raise StylebatchError(f"style size {self.style_size}: must be at least {MIN_STYLE_SIZE}, or 0")

    def as_metadata(self) -> dict[str, Any]:
        """Plain JSON values, for the checkpoint."""
        return {name: plain(getattr(self, name)) for name in options_of(self) if name != "overwrite"}


#: What a resumed training must have in common with the one that it goes on with, beside the painting's pixels. Its length
#: may change.
IDENTITY = tuple(name for name, each in options_of(FitConfig).items() if each.result and not each.resumable)

#: Named sets of choices. "article" is the training script of the article that TransNet comes from (see docs/training.md), on
#: the embedded loss network; `vgg="IMAGENET1K_V1"` adds its own, a 528 MB download.
RECIPES: dict[str, dict[str, Any]] = {
    "article": {
        "epochs": 150, "batch_size": 3, "crop_size": 512, "small_crops": 0.0, "augment": False, "style_size": 0,
        "init": "none", "optimizer": "adamw", "learning_rate": 1e-3, "schedule": "constant", "patience": 0,
        "content_weight": 1.0, "style_weight": 1e5, "palette_weight": 0.0, "shading_weight": 0.0, "spike_weight": 0.0,
        "tv_weight": 0.0, "lattice_weight": 0.0, "shift_share": 0.0, "stability_weight": 0.0, "vgg_input": "raw",
        "padding_mode": "zeros", "width": 32, "checkpoint_epochs": 30,
    }
}  # fmt: skip
