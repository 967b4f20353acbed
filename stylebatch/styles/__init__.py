"""The styles by name, and the one place that turns what a user asks for into weights."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from stylebatch.errors import StylebatchError

if TYPE_CHECKING:
    from stylebatch.checkpoint import Checkpoint

FOLDER = Path(__file__).parent
#: The network that gives a photograph back, which styles are trained from. No style: it has no name for `find_style`.
BASE = FOLDER / "base.safetensors"
#: Where `trainer fit` leaves styles, seen from where it was called.
TRAINED = Path("checkpoints")
#: Over this, weights leave the region that training has seen.
MAX_STRENGTH = 1.5


@dataclass(frozen=True)
class StyleInfo:
    """A style that has a name, as its file's header tells it."""

    name: str
    path: Path
    artwork: str
    artist: str
    year: str
    rights: str
    header: dict[str, str]


def added_folder() -> Path:
    """Where `add_style` keeps styles: the user's folder for application data."""
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "stylebatch" / "styles"


def shipped_styles() -> dict[str, StyleInfo]:
    """name → shipped style, sorted by name. Reads headers only."""
    return {path.stem: _info(path) for path in sorted(FOLDER.glob("*.safetensors")) if path != BASE}


def named_styles() -> dict[str, StyleInfo]:
    """name → every style that can be called by name here: shipped ones, added ones, those trained here. As `find_style`
    does, later ones hide earlier ones of the same name."""
    styles = shipped_styles()
    for folder in (added_folder(), TRAINED):
        styles.update({path.stem: _info(path) for path in sorted(folder.glob("*.safetensors"))})
    return styles


def find_style(name_or_path: str) -> Path:
    """The checkpoint file of a path, or of a style's name: one that was trained here (./checkpoints), one that was added,
    one that is shipped, whichever comes first.

    Raises:
        StylebatchError: neither; the message lists the names.
    """
    path = Path(name_or_path)
    if path.suffix in (".pth", ".safetensors"):
        if path.is_file():
            return path
        raise StylebatchError(f"style {name_or_path}: no such checkpoint file")
    for folder in (TRAINED, added_folder(), FOLDER):
        named = folder / f"{name_or_path}.safetensors"
        if path.name == name_or_path and named.is_file() and named != BASE:
            return named
    if path.is_file():
        raise StylebatchError(f"style {name_or_path}: not a checkpoint; give a .pth or .safetensors file")
    raise StylebatchError(
        f"style {name_or_path!r}: unknown; choose from {', '.join(named_styles())}, "
        "or give a .pth or .safetensors checkpoint"
    )


def load_style(style: str, strength: float = 1.0) -> Checkpoint:
    """The weights of a style, or of a mix: "hosi", "checkpoints/trial.safetensors", "hosi:0.6,wave:0.4".

    Args:
        style: names or paths, in a mix each with its share; shares are divided by their sum.
        strength: 1 is the style as trained, 0 the photograph; between them and above, up to 1.5, weights lie on the line
            from the base network through the style's.

    Raises:
        StylebatchError: unknown style, unreadable checkpoint, impossible share or strength, or a style that has not been
            trained from the same base as what it is to be mixed with.
    """
    from stylebatch.checkpoint import PADDING, Checkpoint, blend, load_checkpoint

    if not 0 <= strength <= MAX_STRENGTH:
        raise StylebatchError(f"strength {strength}: must be between 0 and {MAX_STRENGTH}")
    shares = parse_mix(style)
    styles = {name: load_checkpoint(find_style(name)) for name in shares}
    for name, checkpoint in styles.items():
        checkpoint.metadata.setdefault("style", Path(name).stem)
    if strength == 1 and len(styles) == 1:
        return next(iter(styles.values()))
    parts = [(checkpoint, strength * shares[name]) for name, checkpoint in styles.items()]
    bases = {name: checkpoint.metadata.get("base") for name, checkpoint in styles.items()}
    if strength != 1:
        base = load_checkpoint(BASE)
        parts.append((base, 1 - strength))
        bases["the base"] = base.digest
    for name, digest in bases.items():
        if digest is None or digest != next(iter(bases.values())):
            others = " and ".join(other for other in bases if other != name)
            raise StylebatchError(
                f"style {name}: was not trained from the same base network as {others}, so there is nothing between them; "
                "train it with --init base"
            )
    names = [str(checkpoint.metadata["style"]) for checkpoint in styles.values()]
    mixed = "+".join(f"{name}{share:g}" for name, share in zip(names, shares.values(), strict=True))
    metadata = {"style": names[0] if len(names) == 1 else mixed, PADDING: parts[0][0].metadata.get(PADDING, "zeros")}
    return Checkpoint(blend(parts), metadata, tone=max(0.0, 1 - strength))


def parse_mix(style: str) -> dict[str, float]:
    """ "hosi:0.6,wave:0.2" → {"hosi": 0.75, "wave": 0.25}; a name or path alone has the share 1.

    Raises:
        StylebatchError: a share that is no positive number, or a name that comes twice.
    """
    shares: dict[str, float] = {}
    for part in style.split(","):
        name, _, number = part.strip().rpartition(":")
        try:
            share = float(number)
        except ValueError:
            name, share = part.strip(), 1.0
        if not name or name in shares or not 0 < share < math.inf:
            raise StylebatchError(f"style {style!r}: a mix is written name:share,name:share with shares over 0")
        shares[name] = share
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def add_style(path: Path) -> Path:
    """Copy a trained style to where it is found by name from any folder; an older one of that name is replaced.

    Args:
        path: a `.pth` or `.safetensors` checkpoint. Its name is that of the picture that it was trained with.

    Returns:
        The file in `added_folder()`.

    Raises:
        StylebatchError: not a checkpoint, or the folder cannot be written.
    """
    from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_safetensors

    checkpoint = load_checkpoint(path)
    name = str(checkpoint.metadata.get("style", path.stem))
    if not name or Path(name).name != name:
        raise StylebatchError(f"{path}: its style's name {name!r} is no file name")
    added = added_folder() / f"{name}.safetensors"
    save_safetensors(Checkpoint(checkpoint.model, checkpoint.metadata), added)
    return added


def _info(path: Path) -> StyleInfo:
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise StylebatchError(f"{path}: not a style ({error}); remove it, or train it again") from None
    artwork, artist, year, rights = (header.get(key, "unknown") for key in ("artwork", "artist", "year", "rights"))
    return StyleInfo(path.stem, path, artwork, artist, year, rights, header)


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
