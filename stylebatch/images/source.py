"""The photographs of a folder: what is one, and its pixels."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import ExifTags, UnidentifiedImageError

from stylebatch.errors import StylebatchError
from stylebatch.frame import Failure, Frame
from stylebatch.images.decoding import READABLE, open_image, read_coded, read_frames
from stylebatch.images.formats import EXTENSIONS, PICTURE_SUFFIXES
from stylebatch.images.jpeg import ADVICE, CodedJpeg, Decode
from stylebatch.images.options import DEFAULTS, ImageOptions
from stylebatch.storage import IS_OUTPUT, LEADS_OUT, Folder, Storage, storage_of

#: Bytes that have a picture's header.
_HEADER = 1 << 16
_NO_MEMORY = "not enough memory to decode it"
#: Files of a folder that are listed at once, and put in order.
_IN_ORDER = 10_000
#: How Pillow, and what it decodes with, put it that a file ends too early, and that its data make no sense.
_BREAKS_OFF = re.compile(r"^image file is truncated|^Truncated File Read|^unexpected end of")
_DAMAGED = re.compile(
    r"decoder error -?\d|broken data stream|unrecognized data stream|^decoding error|^Error -?\d|buffer overrun"
)


class ImageSource:
    """The photographs of a folder by their names, paths relative to it, decoded on demand.

    Args:
        root: the folder.
        outputs: where the results of some names go, relative to the folder of all results; of others, by default, to their
            own names with the extension of the format that is written.
        passing: the files are there for this alone: each is removed when it has been read.
        jpeg: decodes the JPEGs that it may and can, as `Jpegs.decode`. Processes that decode hand it what it may take.
    """

    def __init__(
        self,
        root: Path,
        options: ImageOptions = DEFAULTS,
        outputs: Mapping[str, str] | None = None,
        *,
        passing: bool = False,
        jpeg: Decode | None = None,
    ) -> None:
        self.root = root
        self.passing = passing
        self.options = options
        self.outputs = outputs or {}
        self._jpeg = jpeg
        self._hands_over = False

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which loads no decoder."""
        return {**vars(self), "_jpeg": None, "_hands_over": self._jpeg is not None}

    def size(self, name: str) -> tuple[int, int] | None:
        try:
            with open_image(self.root / name) as image:
                # PNG may have its EXIF behind the pixels: asking for it would decode them.
                told = image.format != "PNG" or "exif" in image.info
                turned = told and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return self.options.work_size(*(image.size[::-1] if turned else image.size))
        except Exception:  # decoding tells why
            return None

    def finish(self, sample: Frame | Failure | list[Frame] | CodedJpeg) -> Frame | Failure | list[Frame]:
        """What another process has handed over, decoded."""
        if not isinstance(sample, CodedJpeg):
            return sample
        try:
            pixels = self._jpeg(sample.data) if self._jpeg else None
            return Frame(sample.info, sample.decoded() if pixels is None else pixels)
        except MemoryError:
            return Failure(sample.info.source, _NO_MEMORY)
        except Exception as error:
            return Failure(sample.info.source, _in_words(error))

    def __getitem__(self, name: str) -> Frame | Failure | list[Frame]:
        """A picture, or all frames of an animation. In another process it may be what `finish` makes one of."""
        try:
            other = self._jpeg or self._hands_over
            if other and (coded := read_coded(self.root / name, name, self.options, self.outputs.get(name))):
                return coded if self._hands_over else self.finish(coded)  # type: ignore[return-value]
            frames = read_frames(self.root / name, name, self.options, self.outputs.get(name))
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
            return Failure(name, _NO_MEMORY)
        except Exception as error:  # Pillow's plug-ins fail in every way on broken files
            return Failure(name, _in_words(error))
        finally:
            if self.passing:
                (self.root / name).unlink(missing_ok=True)


def _in_words(error: Exception) -> str:
    """What a decoder says, for people; what is unknown stays as it is."""
    text = str(error)
    if _BREAKS_OFF.search(text):
        return f"truncated: the file breaks off{ADVICE}"
    if _DAMAGED.search(text) or not text:
        return "damaged: what is in it cannot be decoded"
    return f"broken: {text}"


def find_images(
    root: Storage | Path, *, recursive: bool = True, follow_links: bool = False
) -> tuple[list[str], list[str], list[Failure]]:
    """Names of the files under `root` that are pictures, and of the others, sorted; and what only looks like a picture,
    or cannot be looked at. `pictures_in` says what is what."""
    source = storage_of(root)
    others: list[str] = []
    failures: list[Failure] = []
    folders = source.walk(recursive=recursive, follow_links=follow_links, left=left_folder(others.append, failures.append))
    pictures = [name for folder in folders for name in pictures_in(source, folder, others.append, failures.append)]
    return sorted(pictures), sorted(others), sorted(failures, key=lambda failure: failure.source)


def pictures_in(
    source: Storage,
    folder: Folder,
    other: Callable[[str], None] = lambda _: None,
    failed: Callable[[Failure], None] = lambda _: None,
) -> Iterator[str]:
    """Names of the files in a folder that are pictures, in order within ten thousand.

    A file is a picture by its extension, or by its first bytes if it has none. Nothing but regular files is opened. Links to
    files in `source` are taken under their names.

    Args:
        other: told of files that are none.
        failed: told of what only looks like a picture.
    """
    files = folder.files()
    while chunk := sorted(islice(files, _IN_ORDER)):
        for name, trouble in chunk:
            base = posixpath.basename(name)
            suffix, hidden = posixpath.splitext(base)[1].lower(), base.startswith(".")
            by_name = suffix in PICTURE_SUFFIXES and not hidden
            if trouble and (by_name or trouble == IS_OUTPUT):
                failed(Failure(name, trouble))
            elif not trouble and (by_name or (not (hidden or suffix) and _looks_like_image(source, name))):
                yield name
            else:
                other(name)


def candidates_in(folder: Folder) -> Iterator[str]:
    """Names of the files in a folder that are pictures or could be one, without opening any; in any order."""
    for name, trouble in folder.files():
        suffix = posixpath.splitext(name)[1].lower()
        if not trouble and (suffix in PICTURE_SUFFIXES or not suffix):
            yield name


def left_folder(other: Callable[[str], None], failed: Callable[[Failure], None]) -> Callable[[str, str], None]:
    """What `Storage.walk` tells of a folder that it does not look into, to those that `pictures_in` tells of files.

    Folders that are hidden or hold trash, thumbnails or previews are among the others, with a slash after their names. Links
    that lead out are followed if asked, to each folder once; what leads into the output never is.
    """

    def left(name: str, reason: str) -> None:
        looks_like_one = posixpath.splitext(name)[1].lower() in PICTURE_SUFFIXES
        if name.endswith("/") or (reason == LEADS_OUT and not looks_like_one):
            other(name)
        else:
            failed(Failure(name, reason))

    return left


def _looks_like_image(source: Storage, name: str) -> bool:
    try:
        with source.fetched(name, first=_HEADER) as path, open_image(path):
            return True
    except Exception:
        return False
