"""The shipped styles, and the one place that turns a name or a path into weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from stylebatch.errors import StylebatchError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class StyleInfo:
    """A shipped style, as its file's header tells it."""

    name: str
    path: Path
    artwork: str
    artist: str
    year: str
    rights: str
    header: dict[str, str]


def shipped_styles() -> dict[str, StyleInfo]:
    """name → shipped style, sorted by name. Reads headers only."""
    styles = {}
    for path in sorted(FOLDER.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
        artwork, artist, year, rights = (header.get(key, "unknown") for key in ("artwork", "artist", "year", "rights"))
        styles[path.stem] = StyleInfo(path.stem, path, artwork, artist, year, rights, header)
    return styles


def find_style(name_or_path: str) -> Path:
    """The checkpoint file of a shipped style's name or of a path.

    Raises:
        StylebatchError: neither; the message lists the names.
    """
    path = Path(name_or_path)
    if path.suffix in (".pth", ".safetensors"):
        if path.is_file():
            return path
        raise StylebatchError(f"style {name_or_path}: no such checkpoint file")
    shipped = FOLDER / f"{name_or_path}.safetensors"
    if path.name == name_or_path and shipped.is_file():
        return shipped
    if path.is_file():
        raise StylebatchError(f"style {name_or_path}: not a checkpoint; give a .pth or .safetensors file")
    raise StylebatchError(
        f"style {name_or_path!r}: unknown; choose from {', '.join(shipped_styles())}, "
        "or give a .pth or .safetensors checkpoint"
    )


def epoch_checkpoints(prefix: Path) -> list[tuple[int, Path]]:
    """The checkpoints `{prefix}_trans_net_{epoch}.pth` of one training, by epoch.

    Raises:
        StylebatchError: there is none.
    """
    pattern = re.compile(re.escape(prefix.name) + r"_trans_net_(\d+)\.pth")
    found = [(match, path) for path in prefix.parent.glob("*.pth") if (match := pattern.fullmatch(path.name))]
    if not found:
        raise StylebatchError(f"no checkpoints {prefix}_trans_net_*.pth; give folder/style, such as checkpoints/trial")
    return sorted((int(match[1]), path) for match, path in found)
