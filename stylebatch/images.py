"""Photographs: the folder that they come from, and the folder that they are written to."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from queue import Empty, Queue, SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

from PIL import ExifTags, Image, UnidentifiedImageError

from stylebatch.codec import (
    READABLE,
    ImageExtra,
    finished,
    open_image,
    read_frames,
    read_image,
    write_frames,
    write_image,
)
from stylebatch.colour import to_8_bits
from stylebatch.errors import OutputError, StylebatchError
from stylebatch.files import TEMP_PREFIX, atomic_write, identity, irregularity, is_within, replace
from stylebatch.formats import (
    EXTENSIONS,
    LARGEST,
    PICTURE_SUFFIXES,
    is_set_aside,
    renamed,
)
from stylebatch.frame import Failure, Frame, FrameInfo, Pixels
from stylebatch.grid import side_by_side
from stylebatch.options import DEFAULTS, ImageOptions

__all__ = [
    "ImageExtra", "ImageOptions", "ImageSink", "ImageSource", "Saved", "find_images", "grid_path",
    "read_image", "write_grid", "write_image",
]  # fmt: skip

IS_OUTPUT = "leads into the output, and is not taken"
_LEADS_OUT = "is a symbolic link out of the folder; --follow-links takes it"
#: How Pillow, and what it decodes with, put it that a file ends too early, and that its data make no sense.
_BREAKS_OFF = re.compile(r"^image file is truncated|^Truncated File Read|^unexpected end of")
_DAMAGED = re.compile(
    r"decoder error -?\d|broken data stream|unrecognized data stream|^decoding error|^Error -?\d|buffer overrun"
)

_AnyPath = TypeVar("_AnyPath", bound=PurePath)


class ImageSource:
    """The photographs of a folder, by index. Paths are relative to `root`, decoding happens on demand."""

    def __init__(self, root: Path, names: list[str], options: ImageOptions = DEFAULTS) -> None:
        self.root = root
        self.names = names
        self.options = options

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def size(self, index: int) -> tuple[int, int] | None:
        try:
            with open_image(self.root / self.names[index]) as image:
                # PNG may have its EXIF behind the pixels: asking for it would decode them.
                told = image.format != "PNG" or "exif" in image.info
                turned = told and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return self.options.work_size(*(image.size[::-1] if turned else image.size))
        except Exception:  # decoding tells why
            return None

    def __getitem__(self, index: int) -> Frame | Failure | list[Frame]:
        """A picture, or all frames of an animation."""
        name = self.names[index]
        try:
            frames = read_frames(self.root / name, index, name, self.options)
            return frames if len(frames) > 1 else frames[0]
        except StylebatchError as error:
            return Failure(name, str(error))
        except FileNotFoundError:
            return Failure(name, "vanished before it was read")
        except PermissionError:
            return Failure(name, "no permission to read it")
        except UnidentifiedImageError:
            needs_heif = "HEIF" not in READABLE and PurePosixPath(name).suffix.lower() in EXTENSIONS["HEIF"]
            return Failure(name, "needs pillow-heif to be read" if needs_heif else "not an image that can be read")
        except MemoryError:
            return Failure(name, "not enough memory to decode it")
        except Exception as error:  # Pillow's plug-ins fail in every way on broken files
            return Failure(name, _in_words(error))


def _in_words(error: Exception) -> str:
    """What a decoder says, for people; what is unknown stays as it is."""
    text = str(error)
    if _BREAKS_OFF.search(text):
        return "truncated: the file breaks off; --allow-truncated takes what there is"
    if _DAMAGED.search(text) or not text:
        return "damaged: what is in it cannot be decoded"
    return f"broken: {text}"


def find_images(
    root: Path, *, recursive: bool = True, follow_links: bool = False, output: Path | None = None
) -> tuple[list[str], list[str], list[Failure]]:
    """Names of the files under `root` that are pictures, and of the others, sorted; and what only looks like a picture,
    or cannot be looked at.

    A file is a picture by its extension, or by its first bytes if it has none. Nothing but regular files is opened. Folders
    that are hidden or hold trash, thumbnails or previews are among the others, with a slash after their names.
    Links to files in `root` are taken under their names. Links that lead out of it are followed if asked, to each folder
    once; what leads into `output`, where results go, never is.
    """
    pictures: list[str] = []
    others: list[str] = []
    failures: list[Failure] = []
    errors: list[OSError] = []
    found = dict(_walk(root, recursive, follow_links, output, errors.append))
    for error in errors:
        name = Path(error.filename).relative_to(root).as_posix()
        found.pop(name, None)
        denied = isinstance(error, PermissionError)
        failures.append(Failure(name, "no permission to read the folder" if denied else f"unreadable: {error.strerror}"))
    for name, trouble in sorted(found.items()):
        path = PurePosixPath(name)
        hidden = path.name.startswith(".")
        by_name = path.suffix.lower() in PICTURE_SUFFIXES and not hidden
        if trouble and (by_name or trouble == IS_OUTPUT):
            failures.append(Failure(name, trouble))
        elif not trouble and (by_name or (not (hidden or path.suffix) and _looks_like_image(root / name))):
            pictures.append(name)
        else:
            others.append(name)
    return pictures, others, sorted(failures, key=lambda failure: failure.source)


@dataclass(frozen=True)
class Saved:
    """A result that is safely on the disk; `pixels` counts all frames, `left_out` those that the format cannot hold,
    `notes` say what else did not come through."""

    source: str
    path: Path
    pixels: int
    left_out: int = 0
    notes: tuple[str, ...] = ()


@dataclass
class _Collected:
    """An animation on its way through the network: what has come, by frame number, and how many were heard of."""

    frames: dict[int, tuple[FrameInfo, Pixels, Pixels]] = field(default_factory=dict)
    heard: int = 0
    failed: bool = False


class ImageSink:
    """Encodes in background threads behind a bounded queue. `add` waits when `threads` + 2 results are on their way.

    Args:
        root: the output folder; the tree of the input is mirrored under it.
        options: those of the source.
        grid: also write original | stylized side by side, as `{name}_grid.jpg`; of an animation its first frame.
        put: gives a complete file, the result of a source's name, its own name.
    """

    def __init__(
        self,
        root: Path,
        *,
        options: ImageOptions = DEFAULTS,
        grid: bool = False,
        threads: int = 2,
        put: Callable[[str, Path, Path], None] = lambda _, temp, path: replace(temp, path),
    ) -> None:
        self.root = root
        self.options = options
        self.grid = grid
        self._put = put
        self._queue: Queue[list[tuple[FrameInfo, Pixels, Pixels]] | None] = Queue(2)
        self._outcomes: SimpleQueue[Saved | Failure | OutputError] = SimpleQueue()
        self._lock = Lock()
        self._collected: dict[str, _Collected] = {}
        # Daemons: the program ends also when a disk does not answer.
        self._threads = [Thread(target=self._encode, name="encode", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def add(self, info: FrameInfo, original: Pixels, stylized: Pixels) -> None:
        """Take one result, both H×W×3 uint8 or uint16; queue its file when all of its frames have come."""
        complete = self._collect(info, original, stylized)
        if complete:
            self._queue.put(complete)

    def fail(self, info: FrameInfo, reason: str) -> None:
        """A frame that could not be stylized: its file fails, once, and its other frames are dropped."""
        with self._lock:
            collected = self._collected.setdefault(info.source, _Collected())
            first = not collected.failed
            collected.failed = True
            collected.frames.clear()
            self._hear(info, collected)
        if first:
            self._outcomes.put(Failure(info.source, reason))

    def outcomes(self) -> Iterator[Saved | Failure | OutputError]:
        """What has been finished since the last call. An OutputError means that nothing after it could be written."""
        with suppress(Empty):
            while True:
                yield self._outcomes.get_nowait()

    def close(self) -> None:
        """Wait until everything complete is on the disk. Of an animation that is not, nothing is written."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _collect(self, info: FrameInfo, original: Pixels, stylized: Pixels) -> list[tuple[FrameInfo, Pixels, Pixels]]:
        """All frames of the file if this was the last one, else none."""
        with self._lock:
            collected = self._collected.setdefault(info.source, _Collected())
            if not collected.failed:
                collected.frames[info.extra.frame] = (info, original, stylized)
            done = self._hear(info, collected) and not collected.failed
            return [frame for _, frame in sorted(collected.frames.items())] if done else []

    def _hear(self, info: FrameInfo, collected: _Collected) -> bool:
        """Count a frame; True and forget the file when it was the last."""
        collected.heard += 1
        if collected.heard == info.extra.frames:
            del self._collected[info.source]
            return True
        return False

    def _encode(self) -> None:
        while (frames := self._queue.get()) is not None:
            self._save(frames)
            del frames  # before it waits for the next

    def _save(self, frames: list[tuple[FrameInfo, Pixels, Pixels]]) -> None:
        info, original, _ = frames[0]
        try:
            path = self.root / info.extra.output
            results = [finished(stylized, frame.extra) for frame, _, stylized in frames]
            put = partial(self._put, info.source)
            write_frames(results, [frame.extra for frame, _, _ in frames], path, self.options, put)
            if self.grid:
                write_grid(path, original, results[0], put)
            count = sum(pixels.shape[0] * pixels.shape[1] for pixels in results)
            notes = dict.fromkeys(note for frame, _, _ in frames for note in frame.extra.notes)
            self._outcomes.put(Saved(info.source, path, count, info.extra.left_out, tuple(notes)))
        except OutputError as error:
            self._outcomes.put(error if error.fatal else Failure(info.source, str(error)))
        except Exception as error:  # an encoder's refusal concerns this picture alone
            self._outcomes.put(Failure(info.source, f"cannot be encoded: {error or type(error).__name__}"))


def grid_path(output: _AnyPath) -> _AnyPath:
    """Where the side-by-side picture of an output goes."""
    return renamed(output, "_grid.jpg")


def write_grid(output: Path, original: Pixels, stylized: Pixels, put: Callable[[Path, Path], None] | None = None) -> None:
    """Write original | stylized beside `output`, smaller where a JPEG could not hold it."""
    pictures = [Image.fromarray(to_8_bits(pixels)) for pixels in (original, stylized)]
    width, height = pictures[0].width + pictures[1].width, pictures[0].height
    sheet = side_by_side(pictures, min(height, max(1, height * LARGEST["JPEG"] // width)))
    with atomic_write(grid_path(output), put) as file:
        sheet.save(file, format="JPEG", quality=90)


def _walk(
    root: Path, recursive: bool, follow_links: bool, output: Path | None, on_error: Callable[[OSError], None]
) -> Iterator[tuple[str, str]]:
    """Relative POSIX paths under `root`, each with the reason why it cannot be read, empty for regular files; of folders
    only the links that are not followed."""
    real_root = root.resolve()
    seen = {real_root}
    for folder, folders, names in os.walk(root, followlinks=follow_links, onerror=on_error):
        walked = []
        for name in sorted(folders):
            path = Path(folder, name)
            if is_set_aside(name):
                yield f"{path.relative_to(root).as_posix()}/", "set aside"
                continue
            outside = path.is_symlink() and not path.resolve().is_relative_to(real_root)
            if output and (outside or identity(path) == identity(output)) and is_within(path, output):
                yield path.relative_to(root).as_posix(), IS_OUTPUT
                continue
            if outside and not follow_links:
                yield path.relative_to(root).as_posix(), _LEADS_OUT
            # What a link within `root` leads to is met under its own name.
            if recursive and (outside or not path.is_symlink()) and path.resolve() not in seen:
                seen.add(path.resolve())
                walked.append(name)
        folders[:] = walked
        for name in names:
            path = Path(folder, name)
            if not name.startswith(TEMP_PREFIX):
                trouble = _trouble(path, real_root, follow_links)
                if output and not trouble and path.is_symlink() and is_within(path, output):
                    trouble = IS_OUTPUT
                yield path.relative_to(root).as_posix(), trouble


def _trouble(path: Path, real_root: Path, follow_links: bool) -> str:
    """Why a file cannot be read, as far as can be told without opening it."""
    try:
        mode = path.stat().st_mode
        if path.is_symlink() and not follow_links and not path.resolve().is_relative_to(real_root):
            return _LEADS_OUT
    except PermissionError:
        return "no permission to read it"
    except OSError as error:
        return "symbolic links in a circle" if error.errno == errno.ELOOP else "broken symbolic link"
    return irregularity(mode)


def _looks_like_image(path: Path) -> bool:
    try:
        with open_image(path):
            return True
    except Exception:
        return False
