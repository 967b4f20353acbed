"""The loss network: VGG-16 features by layer name, and the one place that knows how its input is normalised."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from stylebatch.errors import StylebatchError
from stylebatch.host import warnings_ignored

Input = Literal["auto", "caffe", "imagenet", "raw"]

EMBEDDED = Path(__file__).parent / "weights" / "vgg16_relu4_3.safetensors"
TORCHVISION = ("IMAGENET1K_V1", "IMAGENET1K_FEATURES")

#: VGG-16 configuration D (Simonyan & Zisserman 2014, table 1): convolutions a block, and their width.
_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def _layer_plan() -> dict[str, int]:
    """relu name → index of its convolution in torchvision's `features`, in order of computation."""
    plan, index = {}, 0
    for block, (convolutions, _) in enumerate(_BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            plan[f"relu{block}_{number}"] = index
            index += 2
        index += 1
    return plan


LAYERS = _layer_plan()


class VGG16(nn.Module):
    """VGG-16's convolutional part, frozen.

    Args:
        weights: "caffe" (embedded: the original release, up to relu4_3), a name in `TORCHVISION` (torchvision downloads
            it on first use), or the path of a state dict with torchvision's key names (.safetensors, .pth).
        input: how [0,1] RGB is fed. "caffe" is 255·x minus the mean pixel of ImageNet, "imagenet" torchvision's mean and
            standard deviation, "raw" neither; "auto" is what the weights were trained with ("imagenet" for a path).

    Raises:
        StylebatchError: the weights cannot be found, fetched or read.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str = "caffe", input: Input = "auto") -> None:
        super().__init__()
        if input not in get_args(Input):
            raise StylebatchError(f"loss network input {input!r}: use {', '.join(get_args(Input))}")
        state = _load_weights(weights)
        original = weights in ("caffe", "IMAGENET1K_FEATURES")
        if input == "auto":
            input = "caffe" if original else "imagenet"
        if input == "caffe":
            mean, std = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)
        elif input == "imagenet":
            mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        else:
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        # Fed with [0,1], weights made for 0-255 would be ruled by their biases. Scaled biases give exactly 1/255 of the
        # features of 255·x, since ReLU and max pooling commute with a positive factor.
        bias_scale = 1 / 255 if original and input == "raw" else 1.0
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.convolutions = nn.ModuleDict()
        channels = 3
        for name, index in LAYERS.items():
            if f"features.{index}.weight" not in state:
                break
            width = _BLOCKS[int(name[4]) - 1][1]
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            try:
                convolution.weight.data.copy_(_shaped(state[f"features.{index}.weight"], (width, channels, 3, 3)))
                convolution.bias.data.copy_(_shaped(state[f"features.{index}.bias"], (width,)) * bias_scale)  # type: ignore[union-attr]
            except (KeyError, ValueError) as error:
                raise StylebatchError(f"{weights}: not VGG-16 weights: {error} at {name}") from None
            self.convolutions[name] = convolution
            channels = width
        if not self.convolutions:
            raise StylebatchError(f"{weights}: not VGG-16 weights: no features.0.weight; use torchvision's key names")
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Features at the named layers, computed no deeper than the deepest of them.

        Args:
            x: N×3×H×W, RGB in [0,1].
            layers: names such as "relu2_2".

        Returns:
            name → N×C×H'×W', H' = H / 2^(block - 1) rounded down; non-negative.

        Raises:
            StylebatchError: a name is unknown, lies deeper than the weights, or the image is too small for it.
        """
        wanted = set(layers)
        for name in wanted - set(self.convolutions):
            raise StylebatchError(f"layer {name!r}: these weights have {', '.join(self.convolutions)}")
        features: dict[str, Tensor] = {}
        x = (x - self.mean) / self.std
        block = "1"
        for name, convolution in self.convolutions.items():
            if len(features) == len(wanted):
                break
            if name[4] != block:
                block = name[4]
                if min(x.shape[-2:]) < 2:
                    raise StylebatchError(f"an image is too small for the loss network's {name}; use larger crops")
                x = F.max_pool2d(x, 2)
            x = F.relu(convolution(x))
            if name in wanted:
                features[name] = x
        return features


def _load_weights(weights: str) -> dict[str, Tensor]:
    if weights in TORCHVISION:
        from torchvision.models import VGG16_Weights

        try:
            return dict(VGG16_Weights[weights].get_state_dict(progress=False, check_hash=True))
        except OSError as error:
            raise StylebatchError(
                f"loss network {weights}: torchvision could not download it ({error}); go online once, "
                "or leave the choice out to use the embedded weights"
            ) from None
    path = EMBEDDED if weights == "caffe" else Path(weights)
    if not path.is_file():
        raise StylebatchError(
            f"loss network {weights!r}: no such file; use caffe, {', '.join(TORCHVISION)} or the path of a state dict"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings_ignored():
            state = torch.load(path, map_location="cpu", weights_only=True)
        return {key: tensor for key, tensor in state.items() if isinstance(tensor, Tensor)}
    except (SafetensorError, OSError, EOFError, ValueError, RuntimeError, AttributeError) as error:
        raise StylebatchError(f"{path}: cannot be read as VGG-16 weights ({type(error).__name__})") from None
    except Exception as error:  # pickle's own errors share no narrower base
        raise StylebatchError(f"{path}: refused: not a plain state dict ({type(error).__name__})") from None


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"shape {tuple(tensor.shape)}, expected {shape}")
    return tensor
