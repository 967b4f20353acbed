"""Checkpoints: safe loading and saving, metadata, and the two formats that weights come in.

Trained `.pth`: a dict of `model`, `optimizer` and `info`, the format of the article that TransNet comes from, plus our
`metadata` and whatever a training needs to go on. Shipped `.safetensors`: fp16 weights with the metadata in the header.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stylebatch.errors import StylebatchError
from stylebatch.files import atomic_write
from stylebatch.host import warnings_ignored
from stylebatch.options import MAX_WIDTH
from stylebatch.transnet import WIDTH, TransNet, width_of

#: The metadata key that says how the network pads. Absent in the article's checkpoints, which pad with zeros.
PADDING = "padding_mode"
#: More than any checkpoint of this network has: with an optimizer's state it is about 30 MB.
MAX_BYTES = 512 * 2**20
#: Where weights lie in what people save.
_MODEL_KEYS = ("model", "state_dict", "model_state_dict")
#: Metadata are a training's settings and a few numbers; references to one list make a small file a large value.
_MOST_VALUES = 10_000


@dataclass(repr=False)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        model: TransNet's state dict, fp32, complete and finite.
        metadata: "style", "padding_mode", "width", how it was trained; plain JSON values.
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
        network = TransNet(self.metadata.get(PADDING, "zeros"), self.width)
        network.load_state_dict(self.model)
        return network.eval()

    @property
    def width(self) -> int:
        """The network's, by its weights: checkpoints of before there were several widths do not name it."""
        return width_of(self.model)

    @property
    def base(self) -> str | None:
        """The digest of the base network that it was trained from, if that is known."""
        digest = self.metadata.get("base")
        return None if digest is None else str(digest)

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the pictures: the weights and the padding, however and wherever they are stored."""
        digest = hashlib.sha256(f"{self.metadata.get(PADDING, 'zeros')} {self.tone}".encode())
        for key in sorted(self.model):
            digest.update(key.encode())
            digest.update(self.model[key].cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def blend(parts: Sequence[tuple[Checkpoint, float]]) -> dict[str, Tensor]:
    """The weighted sum of the weights of networks of one width, each with its share; shares may be negative or over 1.

    Between networks that were trained from the same one, sums of weights give sums of styles (deep network
    interpolation, Wang et al. 2019, arXiv 1811.10515).
    """
    (first, _), *_ = parts
    return {key: torch.stack([part.model[key] * share for part, share in parts]).sum(0) for key in first.model}


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a `.safetensors` file, or one that torch.save made. Never runs code from the file.

    Of the latter, the weights may be the whole file, or lie under "model", "state_dict" or "model_state_dict"; what a
    wrapper such as DataParallel puts before each name is taken off.

    Raises:
        StylebatchError: no such file; truncated, malicious, too large, of another network, with NaN in its weights, or with
            a style's name that is no file name.
    """
    if not path.is_file():
        raise StylebatchError(f"{path}: no such checkpoint file")
    try:
        _check_size(path)
        entries = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    except OSError as error:
        raise StylebatchError(f"{path}: cannot be read: {error.strerror or error}") from None
    model = _checked(entries.pop("model"), path)
    metadata = _plain(entries.pop("metadata", {}), [_MOST_VALUES])
    if not isinstance(metadata, dict) or metadata.get(PADDING, "zeros") not in ("zeros", "reflect"):
        raise StylebatchError(f"{path}: its metadata are not stylebatch's")
    if not metadata.get("style"):
        metadata.pop("style", None)
    elif not is_plain_name(metadata["style"]):
        raise StylebatchError(f"{path}: refused: its style's name {metadata['style']!r} is no file name")
    return Checkpoint(model, metadata, entries)


def is_plain_name(name: object) -> bool:
    """Whether it can stand in a file's name and in a terminal: text without separators of folders or control characters."""
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\"):
        return False
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)


def save_pth(checkpoint: Checkpoint, path: Path) -> None:
    """Write a `.pth` that the article's own script loads too. Raises StylebatchError if it cannot be written."""
    entries = {"model": checkpoint.model, **checkpoint.training, "metadata": checkpoint.metadata}
    entries.setdefault("info", json.dumps(checkpoint.metadata))
    buffer = io.BytesIO()  # written by PyTorch, a full disk would be an internal error of its zip
    torch.save(entries, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def save_safetensors(checkpoint: Checkpoint, path: Path, put: Callable[[Path, Path], None] | None = None) -> None:
    """Write fp16 weights with the metadata in the header, as `atomic_write`. Raises OutputError if it cannot be written."""
    model = {key: tensor.half().contiguous() for key, tensor in checkpoint.model.items()}
    header = {key: value if isinstance(value, str) else json.dumps(value) for key, value in checkpoint.metadata.items()}
    with atomic_write(path, put) as file:
        file.write(save(model, header))


def _check_size(path: Path) -> None:
    """Before anything is allocated: compressed zeros and a count in a pickle take a few bytes in the file."""
    size = path.stat().st_size
    pickles = []
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(record.file_size for record in archive.infolist()))
                if size <= MAX_BYTES:
                    pickles = [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
        except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
            raise StylebatchError(f"{path}: truncated or not a checkpoint ({type(error).__name__})") from None
    elif size <= MAX_BYTES and path.suffix != ".safetensors":
        pickles = [path.read_bytes()]
    if size > MAX_BYTES:
        raise StylebatchError(
            f"{path}: refused: {size / 1e9:.1f} GB; a style's checkpoint has about 30 MB, so this is another network's"
        )
    if any(b"bytearray" in pickled for pickled in pickles):  # the one type that PyTorch allows whose size is a number
        raise StylebatchError(f"{path}: refused: it holds more than weights")


def _read_pth(path: Path) -> dict[str, Any]:
    try:
        with warnings_ignored():
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise StylebatchError(
            f"{path}: refused: it holds more than weights, or is no checkpoint; loading it could run code"
        ) from None
    except Exception as error:  # torch reports broken files by a dozen unrelated types
        raise StylebatchError(f"{path}: truncated or not a checkpoint ({type(error).__name__})") from None
    if isinstance(loaded, dict):
        for key in _MODEL_KEYS:
            if isinstance(loaded.get(key), dict):
                return {**{name: value for name, value in loaded.items() if name != key}, "model": loaded[key]}
        if loaded and all(isinstance(value, Tensor) for value in loaded.values()):
            return {"model": loaded}
    keys = " or ".join(map(repr, _MODEL_KEYS))
    raise StylebatchError(f"{path}: not a style checkpoint: it is not a state dict, and has none as {keys}")


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            return {"model": {key: file.get_tensor(key) for key in file.keys()}, "metadata": file.metadata() or {}}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise StylebatchError(f"{path}: truncated or not a safetensors file ({type(error).__name__})") from None


def _checked(model: dict[Any, Any], path: Path) -> dict[str, Tensor]:
    """The state dict in fp32, if it is TransNet's: keys, shapes, dtypes, dense layout, finite values."""
    other = f"{path}: weights of another network"
    model = _without_prefix(model, "layer.0.weight")
    with torch.device("meta"):  # shapes alone
        expected = TransNet(width=_stated_width(model)).state_dict()
    if set(model) != set(expected):
        odd = sorted(str(key) for key in set(model) ^ set(expected))
        raise StylebatchError(f"{other}: {len(odd)} keys differ from TransNet's, such as {odd[0]!r}")
    checked: dict[str, Tensor] = {}
    for key, usual in expected.items():
        tensor = model[key]
        if not isinstance(tensor, Tensor):
            raise StylebatchError(f"{other}: {key} is no tensor")
        if tensor.shape != usual.shape:
            raise StylebatchError(f"{other}: {key} is {tuple(tensor.shape)}, not {tuple(usual.shape)}")
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            raise StylebatchError(f"{other}: {key} is not a dense tensor of floats")
        if tensor.is_meta:
            raise StylebatchError(f"{path}: {key} has a shape but no values: it was saved from PyTorch's meta device")
        checked[key] = tensor.detach().float().contiguous()
        if not checked[key].isfinite().all():
            raise StylebatchError(f"{path}: {key} holds NaN or infinity: the training went wrong")
    return checked


def _stated_width(model: dict[Any, Any]) -> int:
    """The article's where the first kernel is none, or wider than any: what is wrong with it is then told. Expanded tensors
    make a small file a large network."""
    first = model.get("layer.0.weight")
    return len(first) if isinstance(first, Tensor) and first.ndim == 4 and 0 < len(first) <= MAX_WIDTH else WIDTH


def _without_prefix(model: dict[Any, Any], known: str) -> dict[Any, Any]:
    """The entries under the name of a wrapped network ("module.", "net."), by a key that it is known to have; a wrapper's
    other parts, such as a loss network, stay behind."""
    ends = [key for key in model if isinstance(key, str) and key.endswith(f".{known}")]
    if known in model or not ends:
        return model
    prefix = min(ends, key=len).removesuffix(known)
    return {key[len(prefix) :]: model[key] for key in model if isinstance(key, str) and key.startswith(prefix)}


def _plain(value: Any, left: list[int]) -> Any:
    """Metadata as JSON values: small tensors as numbers, what is neither as its text. `left` counts down the values."""
    left[0] -= 1
    if left[0] < 0:
        return None
    if isinstance(value, dict):
        return {str(key): _plain(each, left) for key, each in value.items()} if left[0] > len(value) else None
    if isinstance(value, list | tuple):
        return [_plain(each, left) for each in value] if left[0] > len(value) else None
    if isinstance(value, Tensor) and not value.is_meta and value.layout == torch.strided and value.numel() <= 16:
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str) else str(type(value).__name__)
