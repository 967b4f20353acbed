"""Checkpoints: safe loading and saving, metadata, and the two formats that weights come in.

Trained `.pth`: a dict of `model`, `optimizer` and `info`, the format of the article that TransNet comes from, plus our
`metadata` and whatever a training needs to go on. Shipped `.safetensors`: fp16 weights with the metadata in the header.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stylebatch.errors import StylebatchError
from stylebatch.files import atomic_write
from stylebatch.transnet import TransNet

#: The metadata key that says how the network pads. Absent in the article's checkpoints, which pad with zeros.
PADDING = "padding_mode"


@dataclass(repr=False)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        model: TransNet's state dict, fp32, complete and finite.
        metadata: "style", "padding_mode", how it was trained; plain JSON values.
        training: a trained `.pth`'s other entries ("optimizer", …); empty for shipped weights.
        tone: how far each picture is to be brought back to its photograph's tone (`colour.with_tone_of`), 0 to 1. Instance
            normalisation removes brightness and contrast before the first activation, so no weights can give them back.
    """

    model: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    tone: float = 0.0

    def __repr__(self) -> str:
        return f"Checkpoint({self.metadata})"

    def network(self) -> TransNet:
        """The network in evaluation mode, fp32, on the CPU."""
        network = TransNet(self.metadata.get(PADDING, "zeros"))
        network.load_state_dict(self.model)
        return network.eval()

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the pictures: the weights and the padding, however and wherever they are stored."""
        digest = hashlib.sha256(f"{self.metadata.get(PADDING, 'zeros')} {self.tone}".encode())
        for key in sorted(self.model):
            digest.update(key.encode())
            digest.update(self.model[key].cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def blend(parts: Sequence[tuple[Checkpoint, float]]) -> dict[str, Tensor]:
    """The weighted sum of networks' weights, each with its share; shares may be negative or over 1.

    Between networks that were trained from the same one, sums of weights give sums of styles (deep network
    interpolation, Wang et al. 2019, arXiv 1811.10515).
    """
    (first, _), *_ = parts
    return {key: torch.stack([part.model[key] * share for part, share in parts]).sum(0) for key in first.model}


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a `.pth` or `.safetensors` checkpoint. Never runs code from the file.

    Raises:
        StylebatchError: no such file; truncated, malicious, of another network, or with NaN in its weights.
    """
    if not path.is_file():
        raise StylebatchError(f"{path}: no such checkpoint file")
    entries = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    model = entries.pop("model", None)
    metadata = entries.pop("metadata", {})
    if not isinstance(metadata, dict) or metadata.get(PADDING, "zeros") not in ("zeros", "reflect"):
        raise StylebatchError(f"{path}: its metadata are not stylebatch's")
    return Checkpoint(_checked(model, path), metadata, entries)


def save_pth(checkpoint: Checkpoint, path: Path) -> None:
    """Write a `.pth` that the article's own script loads too. Raises StylebatchError if it cannot be written."""
    entries = {"model": checkpoint.model, **checkpoint.training, "metadata": checkpoint.metadata}
    entries.setdefault("info", json.dumps(checkpoint.metadata))
    with atomic_write(path) as file:
        torch.save(entries, file)


def save_safetensors(checkpoint: Checkpoint, path: Path) -> None:
    """Write fp16 weights with the metadata in the header. Raises StylebatchError if it cannot be written."""
    model = {key: tensor.half().contiguous() for key, tensor in checkpoint.model.items()}
    header = {key: value if isinstance(value, str) else json.dumps(value) for key, value in checkpoint.metadata.items()}
    with atomic_write(path) as file:
        file.write(save(model, header))


def _read_pth(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            entries = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise StylebatchError(
            f"{path}: refused: it holds more than weights, or is no checkpoint; loading it could run code"
        ) from None
    except Exception as error:  # torch reports broken files by a dozen unrelated types
        raise StylebatchError(f"{path}: truncated or not a checkpoint ({type(error).__name__})") from None
    if not isinstance(entries, dict) or "model" not in entries:
        raise StylebatchError(f"{path}: not a style checkpoint: it has no 'model' entry")
    return entries


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            return {"model": {key: file.get_tensor(key) for key in file.keys()}, "metadata": file.metadata() or {}}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise StylebatchError(f"{path}: truncated or not a safetensors file ({type(error).__name__})") from None


def _checked(model: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in fp32, if it is TransNet's: keys, shapes, dtypes, dense layout, finite values."""
    other = f"{path}: weights of another network"
    expected = TransNet().state_dict()
    if not isinstance(model, dict) or not all(isinstance(tensor, Tensor) for tensor in model.values()):
        raise StylebatchError(f"{other}: 'model' is not a state dict")
    if set(model) != set(expected):
        odd = sorted(str(key) for key in set(model) ^ set(expected))
        raise StylebatchError(f"{other}: {len(odd)} keys differ from TransNet's, such as {odd[0]!r}")
    checked: dict[str, Tensor] = {}
    for key, tensor in model.items():
        if tensor.shape != expected[key].shape:
            raise StylebatchError(f"{other}: {key} is {tuple(tensor.shape)}, not {tuple(expected[key].shape)}")
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            raise StylebatchError(f"{other}: {key} is not a dense tensor of floats")
        checked[key] = tensor.float().contiguous()
        if not checked[key].isfinite().all():
            raise StylebatchError(f"{path}: {key} holds NaN or infinity: the training went wrong")
    return checked
