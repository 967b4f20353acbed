"""Settings of the whole process, which belong to the program that uses this library: one thread at a time changes them, and
puts them back."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile, PngImagePlugin

from stylebatch.system import after_fork

_alone = threading.RLock()
#: Bytes. Intact PNGs have megabytes of text or profile (editing histories, workflows, printers), which Pillow refuses.
_PNG_TEXT = 1 << 26


def _renew() -> None:
    global _alone
    _alone = threading.RLock()


after_fork(_renew)  # a fork lacks the thread that would release the lock


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, no other thread of this library changes settings: it would put back what this one has set."""
    with _alone:
        yield


@contextmanager
def warnings_ignored() -> Iterator[None]:
    """Within the block, Python's warnings are ignored."""
    with alone(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def pillow_guards(most_pixels: int | None, *, allow_truncated: bool = False) -> Iterator[None]:
    """Within the block, Pillow has limits that suit photographs, and gives no warnings: results and failures say the same.

    Args:
        most_pixels: larger pictures and frames raise `Image.DecompressionBombError`; None for no limit.
        allow_truncated: whether files that end too early are read, in this thread, as far as they go.
    """
    with warnings_ignored():
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        truncated = ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS = None if most_pixels is None else most_pixels // 2  # it raises at twice as many
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _PNG_TEXT
        if bool(truncated) != allow_truncated:
            ImageFile.LOAD_TRUNCATED_IMAGES = _ForThisThread(allow_truncated, truncated)  # type: ignore[assignment]
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before
            ImageFile.LOAD_TRUNCATED_IMAGES = truncated


class _ForThisThread:
    """One truth value in the thread that makes it, another in all others."""

    def __init__(self, here: bool, others: bool) -> None:
        self._thread = threading.get_ident()
        self._here, self._others = here, others

    def __bool__(self) -> bool:
        return self._here if threading.get_ident() == self._thread else bool(self._others)
