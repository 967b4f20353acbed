"""Photographs: where they come from and how they are written back, with everything that is not their pixels."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from stylebatch.errors import StylebatchError
from stylebatch.files import TEMP_PREFIX, atomic_write
from stylebatch.frame import Failure, Frame, FrameInfo
from stylebatch.grid import side_by_side

#: Pillow's formats that are read, and the one that each is written back as. The others would lose pixels: PNG.
FORMATS = {
    "JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP", "TIFF": "TIFF", "BMP": "BMP", "AVIF": "AVIF",
    "GIF": "PNG", "PPM": "PNG", "TGA": "PNG", "JPEG2000": "PNG", "ICO": "PNG", "SGI": "PNG", "PCX": "PNG", "DDS": "PNG",
}  # fmt: skip
#: The extensions under which a format is commonly found.
EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"), "AVIF": (".avif", ".avifs"), "GIF": (".gif",), "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "MPO": (".mpo",), "TGA": (".tga",), "JPEG2000": (".jp2", ".j2k"), "ICO": (".ico",), "HEIF": (".heic", ".heif"),
}  # fmt: skip
#: Files that a person would call a picture by their name: it is a failure when they cannot be read.
PICTURE_SUFFIXES = frozenset(suffix for suffixes in EXTENSIONS.values() for suffix in suffixes)
_READ_ONLY_SUFFIXES = frozenset(
    suffix
    for format, suffixes in EXTENSIONS.items()
    if FORMATS.get(format, "PNG") not in (format, "JPEG")
    for suffix in suffixes
)

JPEG_QUALITY = 95
#: A header that promises more is refused before decoding: it would take over 10 GB on its way.
MAX_PIXELS = 512_000_000

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": JPEG_QUALITY, "subsampling": "4:4:4", "optimize": True},
    "PNG": {"compress_level": 3},
    "WEBP": {"quality": JPEG_QUALITY, "method": 4, "exact": False},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
}

Image.init()
#: Those of `FORMATS` that this Pillow was built with; MPO comes in by JPEG's door.
_READABLE = [format for format in FORMATS if format in Image.OPEN]

_AnyPath = TypeVar("_AnyPath", bound=PurePath)

_SRGB = ImageCms.createProfile("sRGB")
_SRGB_BYTES = ImageCms.ImageCmsProfile(_SRGB).tobytes()


@dataclass(frozen=True)
class ImageExtra:
    """What a photograph has beside its colours.

    Attributes:
        output: where the result goes, relative to the output root.
        format: Pillow's name of the format to write.
        alpha: H×W uint8, or None if opaque.
        profile: the embedded ICC profile to convert back to (RGB profiles), or sRGB's for colours that came from another
            space, or None where the file had none.
        info: EXIF (upright), XMP and resolution, as Pillow's save takes them.
    """

    output: str
    format: str
    alpha: np.ndarray[Any, np.dtype[np.uint8]] | None = field(default=None, repr=False)
    profile: bytes | None = field(default=None, repr=False)
    info: dict[str, Any] = field(default_factory=dict, repr=False)


class ImageSource:
    """The photographs of a folder, by index. Paths are relative to `root`, decoding happens on demand."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root = root
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def size(self, index: int) -> tuple[int, int] | None:
        try:
            with _open(self.root / self.names[index]) as image:
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return image.size[::-1] if turned else image.size
        except Exception:  # decoding tells why
            return None

    def __getitem__(self, index: int) -> Frame | Failure:
        name = self.names[index]
        try:
            return read_image(self.root / name, index, name)
        except StylebatchError as error:
            return Failure(name, str(error))
        except FileNotFoundError:
            return Failure(name, "vanished before it was read")
        except UnidentifiedImageError:
            return Failure(name, "not an image that can be read")
        except MemoryError:
            return Failure(name, "not enough memory to decode it")
        except Exception as error:  # Pillow's plug-ins fail in every way on broken files
            return Failure(name, f"broken: {error or type(error).__name__}")


def find_images(root: Path, *, recursive: bool = True) -> tuple[list[str], list[str]]:
    """Names of the files under `root` that are pictures, and of the others, sorted.

    A file is a picture by its extension, or by its first bytes if it has none. Symbolic links to folders are not
    followed, nor are links that lead out of `root`.
    """
    pictures: list[str] = []
    others: list[str] = []
    for name in sorted(_walk(root, recursive)):
        suffix = PurePosixPath(name).suffix.lower()
        hidden = PurePosixPath(name).name.startswith(".")
        is_picture = not hidden and (suffix in PICTURE_SUFFIXES or (not suffix and _looks_like_image(root / name)))
        (pictures if is_picture else others).append(name)
    return pictures, others


def format_of(path: Path) -> str:
    """The format to write under a name. Raises StylebatchError if its extension names none that is written."""
    for format, suffixes in EXTENSIONS.items():
        if path.suffix.lower() in suffixes and format in _SAVE_OPTIONS:
            return format
    known = ", ".join(EXTENSIONS[format][0] for format in _SAVE_OPTIONS)
    raise StylebatchError(f"{path}: no format to write by that extension; use {known}")


def read_image(path: Path, index: int = 0, name: str | None = None) -> Frame:
    """Decode a photograph: upright, RGB, in sRGB where it carries a profile; the rest in `ImageExtra`.

    Raises:
        StylebatchError: too large. Pillow's and the system's errors: missing, broken, not an image.
    """
    name = name or path.name
    with _open(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise StylebatchError(f"{width}×{height} pixels: over the limit of {MAX_PIXELS // 1_000_000} megapixels")
        source_format = str(image.format)
        image.load()
        image = ImageOps.exif_transpose(image)
        info = _metadata(image)
    colours, alpha, profile = _to_srgb(image)
    extra = ImageExtra(_output_name(name), FORMATS.get(source_format, "PNG"), alpha, profile, info)
    return Frame(FrameInfo(index, name, extra), torch.from_numpy(np.array(colours)))


def write_image(pixels: Tensor, extra: ImageExtra, path: Path) -> None:
    """Encode H×W×3 uint8 sRGB with the alpha, profile and metadata of its source; atomic.

    Raises:
        StylebatchError: the file cannot be written.
    """
    image = Image.fromarray(pixels.numpy())
    if extra.profile is not None and extra.profile != _SRGB_BYTES:
        image = _convert(image, ImageCms.ImageCmsProfile(_SRGB), _profile(extra.profile), "RGB")
    if extra.alpha is not None and extra.format != "JPEG":
        image.putalpha(Image.fromarray(extra.alpha))
    options = {**_SAVE_OPTIONS[extra.format], **extra.info, "icc_profile": extra.profile}
    buffer = io.BytesIO()
    image.save(buffer, format=extra.format, **{key: value for key, value in options.items() if value is not None})
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


@dataclass(frozen=True)
class Saved:
    """A result that is safely on the disk."""

    source: str
    path: Path
    pixels: int


class ImageSink:
    """Encodes in background threads behind a bounded queue. `add` waits when `threads` + 2 results are on their way.

    Args:
        root: the output folder; the tree of the input is mirrored under it.
        grid: also write original | stylized side by side, as `{name}_grid.jpg`.
    """

    def __init__(self, root: Path, *, grid: bool = False, threads: int = 2) -> None:
        self.root = root
        self.grid = grid
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")
        self._room = BoundedSemaphore(threads + 2)
        self._outcomes: SimpleQueue[Saved | Failure | BaseException] = SimpleQueue()

    def add(self, info: FrameInfo, original: Tensor, stylized: Tensor) -> None:
        """Queue one result; both are H×W×3 uint8."""
        self._room.acquire()
        self._pool.submit(self._save, info, original, stylized)

    def outcomes(self) -> Iterator[Saved | Failure]:
        """What has been finished since the last call.

        Raises:
            StylebatchError: the output cannot be written at all; nothing after it would be either.
        """
        while True:
            try:
                outcome = self._outcomes.get_nowait()
            except Empty:
                return
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome

    def close(self) -> None:
        """Wait until everything added is on the disk."""
        self._pool.shutdown(wait=True)

    def _save(self, info: FrameInfo, original: Tensor, stylized: Tensor) -> None:
        try:
            extra: ImageExtra = info.extra
            path = self.root / extra.output
            write_image(stylized, extra, path)
            if self.grid:
                write_grid(path, original, stylized)
            self._outcomes.put(Saved(info.source, path, stylized.shape[0] * stylized.shape[1]))
        except StylebatchError as error:
            self._outcomes.put(error)
        except Exception as error:  # an encoder's refusal concerns this picture alone
            self._outcomes.put(Failure(info.source, f"cannot be encoded: {error or type(error).__name__}"))
        finally:
            self._room.release()


def grid_path(output: _AnyPath) -> _AnyPath:
    """Where the side-by-side picture of an output goes."""
    return output.with_name(f"{output.stem}_grid.jpg")


def write_grid(output: Path, original: Tensor, stylized: Tensor) -> None:
    """Write original | stylized beside `output`."""
    pictures = [Image.fromarray(pixels.numpy()) for pixels in (original, stylized)]
    sheet = side_by_side(pictures, pictures[0].height)
    with atomic_write(grid_path(output)) as file:
        sheet.save(file, format="JPEG", quality=90)


def output_names(names: list[str], *, grid: bool) -> list[str]:
    """Every name that a run over `names` writes.

    Raises:
        StylebatchError: two inputs would write one output.
    """
    owners: dict[str, str] = {}
    for name in names:
        output = PurePosixPath(_output_name(name))
        for path in (output, grid_path(output)) if grid else (output,):
            other = owners.setdefault(str(path), name)
            if other != name:
                raise StylebatchError(f"{other} and {name} would both be written to {path}; rename one")
    return list(owners)


def _walk(root: Path, recursive: bool) -> Iterator[str]:
    """Relative POSIX paths of the regular files under `root`, and of links to files inside it."""
    real_root = root.resolve()
    for folder, folders, names in os.walk(root):
        if not recursive:
            folders.clear()
        for name in names:
            path = Path(folder, name)
            if name.startswith(TEMP_PREFIX) or not path.is_file():
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(real_root):
                continue
            yield path.relative_to(root).as_posix()


def _open(path: Path) -> Image.Image:
    """Read the header. Pillow's own guard against large pictures is replaced by ours."""
    Image.MAX_IMAGE_PIXELS = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(path, formats=_READABLE)


def _looks_like_image(path: Path) -> bool:
    try:
        with _open(path):
            return True
    except Exception:
        return False


def _metadata(image: Image.Image) -> dict[str, Any]:
    """EXIF with the orientation cleared, XMP and resolution, under the names that Pillow's save takes."""
    exif = image.getexif()
    exif.pop(ExifTags.Base.Orientation, None)
    info = {key: image.info[key] for key in ("dpi", "xmp") if image.info.get(key)}
    if len(exif):
        info["exif"] = exif.tobytes()
    return info


def _to_srgb(image: Image.Image) -> tuple[Image.Image, np.ndarray[Any, Any] | None, bytes | None]:
    """Any mode → RGB in sRGB, alpha if there is any, and the profile to write."""
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L", "LA"):
        embedded = _profile(profile)
        if embedded is not None:
            space = embedded.profile.xcolor_space.strip()
            mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space)
            if mode is not None and (image.mode == mode or (alpha is not None and mode == "RGB")):
                colours = image if image.mode == mode else image.convert(mode)
                converted = _convert(colours, embedded, ImageCms.ImageCmsProfile(_SRGB), "RGB")
                return converted, alpha, profile if mode == "RGB" else _SRGB_BYTES
    return _flat_rgb(image), alpha, None


def _flat_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I", "F"):
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if image.mode != "F" or values.max(initial=0) > 1 else 1.0
        return Image.fromarray((values / top * 255).clip(0, 255).round().astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _profile(data: bytes) -> ImageCms.ImageCmsProfile | None:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(data))
    except (OSError, ImageCms.PyCMSError):
        return None


def _convert(image: Image.Image, source: Any, target: Any, mode: str) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, source, target, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode=mode,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip
    assert converted is not None
    return converted


def _output_name(name: str) -> str:
    """The name is kept, unless its extension names a format that is read but not written."""
    path = PurePosixPath(name)
    lossless = path.suffix.lower() in _READ_ONLY_SUFFIXES
    return str(path.with_name(path.stem + ".png")) if lossless else name
