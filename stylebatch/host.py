"""What belongs to a whole process, and so to the program that uses this library: changed by one thread at a time and put
back."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile, PngImagePlugin

#: Threads that took turns in the middle would put back what another had found.
_alone = threading.RLock()
#: Text and profiles of sound PNGs reach megabytes: editing histories, workflows, printers. Pillow would call them broken.
_PNG_TEXT = 1 << 26


def _renew() -> None:
    global _alone
    _alone = threading.RLock()


if hasattr(os, "register_at_fork"):  # a fork lacks the thread that would release it
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def warnings_ignored() -> Iterator[None]:
    with _alone, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def pillow_guards(most_pixels: int | None, *, allow_truncated: bool = False) -> Iterator[None]:
    """Pillow with guards that suit photographs, and without its warnings: results and failures tell the same.

    Args:
        most_pixels: larger pictures and frames raise `Image.DecompressionBombError`; None for none.
        allow_truncated: whether, in this thread, to take what there is of files that break off.
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
    """True or false in the thread that makes it; in others, what it was for them."""

    def __init__(self, here: bool, others: bool) -> None:
        self._thread = threading.get_ident()
        self._here, self._others = here, others

    def __bool__(self) -> bool:
        return self._here if threading.get_ident() == self._thread else bool(self._others)
