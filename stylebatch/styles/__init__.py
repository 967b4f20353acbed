"""The styles by name, and the one place that turns what a user asks for into weights."""

from __future__ import annotations

import difflib
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from safetensors import SafetensorError, safe_open

from stylebatch.errors import StylebatchError
from stylebatch.images.formats import PICTURE_SUFFIXES
from stylebatch.system import data_folder

if TYPE_CHECKING:
    from stylebatch.checkpoint import Checkpoint

FOLDER = Path(__file__).parent
#: Where `trainer fit` leaves styles, seen from where it was called.
TRAINED = Path("checkpoints")
#: Files that are taken for checkpoints by their names.
SUFFIXES = (".pth", ".safetensors", ".pt", ".ckpt")
#: Over this, weights leave the region that training has seen.
MAX_STRENGTH = 1.5

_Network = TypeVar("_Network", bound="Mixable")
_log = logging.getLogger("stylebatch")
_log.addHandler(logging.NullHandler())  # whoever wants these messages adds a handler


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
    return data_folder() / "styles"


def base_of(width: int) -> Path:
    """The network of that width that gives a photograph back, which styles are trained from. No style: it has no name for
    `find_style`.

    Raises:
        StylebatchError: there is none of that width.
    """
    path = FOLDER / "bases" / f"{width}.safetensors"
    if not path.is_file():
        widths = ", ".join(sorted((base.stem for base in path.parent.glob("*.safetensors")), key=int))
        raise StylebatchError(f"there is no base network of width {width}, but of {widths}")
    return path


def shipped_styles() -> dict[str, StyleInfo]:
    """name → shipped style, sorted by name. Reads headers only."""
    return {path.stem: _info(path) for path in sorted(FOLDER.glob("*.safetensors"))}


def is_shipped(path: Path) -> bool:
    """Whether a style's file came with the package."""
    return path.parent == FOLDER


def named_styles() -> dict[str, StyleInfo]:
    """name → every style that can be called by name here: shipped ones, added ones, those trained here. As `find_style`
    does, later ones hide earlier ones of the same name, and what is no style is passed over with a line in the log."""
    styles = shipped_styles()
    for folder in (added_folder(), TRAINED):
        for path in sorted(folder.glob("*.safetensors")):
            try:
                styles[path.stem] = _info(path)
            except StylebatchError as error:
                note(f"passed over: {error}")
    return styles


def find_style(name_or_path: str) -> Path:
    """The checkpoint file of a path, or of a style's name: one that was trained here (./checkpoints), one that was added,
    one that is shipped, whichever comes first. The log says where one takes the place of a shipped one.

    Raises:
        StylebatchError: neither; the message lists the names.
    """
    path = Path(name_or_path)
    if path.suffix in SUFFIXES and _is_file(path):
        return path
    broken: StylebatchError | None = None
    for named in _named(name_or_path):
        try:
            _info(named)
        except StylebatchError as error:
            broken = broken or error
            continue
        if broken:
            note(f"passed over: {broken}")
        if not is_shipped(named) and (FOLDER / named.name).is_file():
            note(f"style {name_or_path}: taken from {named}, not the shipped one of that name")
        return named
    if broken:
        raise broken
    if path.suffix in SUFFIXES:
        raise StylebatchError(f"style {name_or_path}: no such checkpoint file")
    if is_painting(name_or_path):
        raise StylebatchError(f"style {name_or_path}: a picture, no style yet; trainer fit --style {name_or_path} makes one")
    if _is_file(path):
        raise StylebatchError(f"style {name_or_path}: not a checkpoint; give a .pth or .safetensors file")
    if not name_or_path.strip():
        raise StylebatchError("style: none is given; give a name, such as hosi")
    names = list(named_styles())
    spelled = {_spelling(name): name for name in names}
    if meant := spelled.get(_spelling(name_or_path)):
        return find_style(meant)
    near = difflib.get_close_matches(_spelling(name_or_path), spelled, n=1)
    hint = f"did you mean {spelled[near[0]]}? There are" if near else "choose from"
    raise StylebatchError(
        f"style {name_or_path!r}: unknown; {hint} {', '.join(names)}, or give a painting, or a .pth or .safetensors file"
    )


def _spelling(name: str) -> str:
    """What names are compared by: "La Muse" and "la-muse" are la_muse."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def _is_file(path: Path | str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # longer than any name, or no name at all
        return False


def _is_one(style: str) -> bool:
    return _is_file(style) or bool(_named(style))


def _named(name: str) -> list[Path]:
    """The files that a name may stand for, first choice first."""
    if Path(name).name != name:
        return []
    paths = [folder / f"{name}.safetensors" for folder in (TRAINED, added_folder(), FOLDER)]
    return [path for path in paths if _is_file(path)]


def load_style(style: str, strength: float = 1.0) -> Checkpoint:
    """The weights of a style, or of a mix: "hosi", "checkpoints/trial.safetensors", "hosi:0.6,wave:0.4".

    Args:
        style: names or paths, in a mix each with its share; shares are divided by their sum.
        strength: 1 is the style as trained, 0 the photograph; between them and above, up to 1.5, weights lie on the line
            from the base network through the style's.

    Raises:
        StylebatchError: unknown style, unreadable checkpoint, impossible share or strength, or a style of another width, or
            from another base, than what it is to be mixed with.
    """
    from stylebatch.checkpoint import PADDING, Checkpoint, blend, load_checkpoint

    shares = check_style(style, strength)
    parts = parts_of(style, strength, load_checkpoint)
    for name, (checkpoint, _) in zip(shares, parts, strict=False):
        checkpoint.metadata.setdefault("style", Path(name).stem)
    if len(parts) == 1:
        return parts[0][0]
    names = [str(checkpoint.metadata["style"]) for checkpoint, _ in parts[: len(shares)]]
    mixed = "+".join(f"{name}{share:g}" for name, share in zip(names, shares.values(), strict=True))
    metadata = {"style": names[0] if len(names) == 1 else mixed, PADDING: parts[0][0].metadata.get(PADDING, "zeros")}
    return Checkpoint(blend(parts), metadata, tone=max(0.0, 1 - strength))


class Mixable(Protocol):
    """What is known of a network before it is mixed, as of a `Checkpoint`."""

    @property
    def width(self) -> int: ...

    @property
    def base(self) -> str | None: ...

    @property
    def digest(self) -> str: ...


def parts_of(style: str, strength: float, load: Callable[[Path], _Network]) -> list[tuple[_Network, float]]:
    """The networks that `load_style` mixes, each with its share; the last is the base, if the strength is not 1.

    Args:
        load: makes a network of a checkpoint's file.

    Raises:
        StylebatchError: as `load_style`.
    """
    shares = check_style(style, strength)
    styles = {name: load(find_style(name)) for name in shares}
    parts = [(network, strength * shares[name]) for name, network in styles.items()]
    if strength == 1 and len(parts) == 1:
        return parts
    widths = {name: network.width for name, network in styles.items()}
    if len({*widths.values()}) > 1:
        each = " and ".join(f"{name} of {width}" for name, width in widths.items())
        raise StylebatchError(f"style {style}: {each} channels: only networks of one width can be mixed")
    bases = {name: network.base for name, network in styles.items()}
    if strength != 1:
        try:
            base = load(base_of(next(iter(widths.values()))))
        except StylebatchError as error:
            raise StylebatchError(f"style {style}: has no strength but 1: {error}") from None
        parts.append((base, 1 - strength))
        bases["the base"] = base.digest
    for name, digest in bases.items():
        if digest is None or digest != next(iter(bases.values())):
            others = " and ".join(other for other in bases if other != name)
            raise StylebatchError(
                f"style {name}: was not trained from the same base network as {others}, so there is nothing between them; "
                "train it with `init` base"
            )
    return parts


def check_style(style: str, strength: float = 1.0) -> dict[str, float]:
    """What can be said of `load_style`'s arguments without loading PyTorch. Paintings, as files, are taken for styles to be.

    Returns:
        As `parse_mix`.

    Raises:
        StylebatchError: unknown style, impossible share or strength.
    """
    if not 0 <= strength <= MAX_STRENGTH:
        raise StylebatchError(f"strength {strength:g}: must be between 0, the photograph, and {MAX_STRENGTH}")
    shares = parse_mix(style)
    for name in shares:
        if not is_painting(name):
            find_style(name)
    return shares


def from_anywhere(style: str) -> str:
    """The same style or mix for other working folders: files by their whole paths, shipped ones by their names."""
    shares = parse_mix(style)
    paths = {name: find_style(name) for name in shares}
    if all(map(is_shipped, paths.values())):
        return style
    if len(paths) == 1:
        return str(paths[style].absolute())
    return ",".join(f"{paths[name].absolute()}:{share!r}" for name, share in shares.items())


def is_painting(name_or_path: str) -> bool:
    """Whether it is a picture by its name, and there: no style yet, but one can be trained from it."""
    return Path(name_or_path).suffix.lower() in PICTURE_SUFFIXES and _is_file(name_or_path)


def parse_mix(style: str) -> dict[str, float]:
    """ "hosi:0.6,wave:0.2" → {"hosi": 0.75, "wave": 0.25}; a name or path alone has the share 1, several without
    shares have equal ones, and what is one is no mix, whatever commas and colons are in it.

    Raises:
        StylebatchError: a share that is no positive number, or a name that comes twice.
    """
    if _is_one(style) or not style.strip():
        return {style: 1.0}
    shares: dict[str, float] = {}
    for part in map(str.strip, style.split(",")):
        name, _, number = part.rpartition(":")
        try:
            share = float(number.removesuffix("%"))
        except ValueError:
            name, share = part, 1.0
        if _is_one(part):
            name, share = part, 1.0
        if not name or name in shares or not 0 < share < math.inf:
            raise StylebatchError(f"style {style!r}: a mix is written name:share,name:share with shares over 0")
        shares[name] = share
    return {name: share / sum(shares.values()) for name, share in shares.items()}


def _info(path: Path) -> StyleInfo:
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
        fits = _is_of_ours(_shapes(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise StylebatchError(f"{path}: not a style ({error}); remove it, or train it again") from None
    if not fits:
        raise StylebatchError(f"{path}: not a style, but another network")
    artwork, artist, year, rights = (header.get(key, "unknown") for key in ("artwork", "artist", "year", "rights"))
    return StyleInfo(path.stem, path, artwork, artist, year, rights, header)


def _is_of_ours(shapes: dict[str, list[int]]) -> bool:
    """Whether tensors are the network's at some width: those of a base, but for the numbers of channels."""
    own = _shapes(next((FOLDER / "bases").glob("*.safetensors")))
    wide, width = (each.get("layer.0.weight", [0])[0] for each in (own, shapes))
    scaled = {key: [side * width // wide if side % wide == 0 else side for side in shape] for key, shape in own.items()}
    return shapes == scaled


def _shapes(path: Path) -> dict[str, list[int]]:
    """What tensors a file holds, by its header."""
    with safe_open(path, framework="np") as file:
        return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118


@lru_cache
def note(line: str) -> None:
    """Tell the log, of each line once in a process."""
    _log.warning(line)


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
