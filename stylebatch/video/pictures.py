"""Frames to numbered pictures: each a file of its own, written and proven like a photograph."""

from __future__ import annotations

import math
import os
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Thread

import numpy as np
from numpy.typing import ArrayLike

from stylebatch.effects import Effects
from stylebatch.errors import OutputError, StylebatchError
from stylebatch.files import TEMP_PREFIX, atomic_write, identity, open_own
from stylebatch.frame import FrameInfo, Pixels, Saved
from stylebatch.images.encoding import write_frames
from stylebatch.images.exr import ExrExtra, encode_exr
from stylebatch.images.extra import ImageExtra
from stylebatch.images.jpeg import Encode
from stylebatch.images.options import DEFAULTS
from stylebatch.manifest import Manifest, Standing, digest_of
from stylebatch.pixels import resized
from stylebatch.storage import Content
from stylebatch.system import cores
from stylebatch.video.clip import FilmSource, Timing
from stylebatch.video.ending import FilmSink
from stylebatch.video.numbered import Numbered
from stylebatch.video.sequence import SequenceSource

#: Frames between two states that are kept: what a killed run paints again.
_KEPT_EVERY = 24
#: Stylized frames that may wait for the encoders.
_WAITING = 4
#: Before a state: the frame that it is for, and the checksum of what follows.
_HEAD = struct.Struct("<QI")


class PictureSink(FilmSink):
    """Writes the frames of a film as pictures, where the results are not there already. If frames depend on those before
    them, that state is kept from time to time, hidden beside the pictures, until all are there: the next sink with the same
    settings goes on from it.

    Args:
        pictures: where they go.
        source: where the frames come from.
        manifest: of the folder of the pictures.
        effects: what is done to the stylized frames.
        number: of the picture of a frame, by its index.
        content: what a picture is made from, by the index of its frame.
        jpeg: encodes JPEGs, if it takes them, as of `ImageSink`.

    Attributes:
        done: pictures that are there already.
        warnings: what the pictures cannot hold.
        waited: seconds that the encoders had nothing to do.

    Raises:
        StylebatchError: there is something that may not be replaced.
    """

    def __init__(
        self,
        pictures: Numbered,
        source: FilmSource,
        *,
        manifest: Manifest,
        effects: Effects,
        number: Callable[[int], int],
        content: Callable[[int], Content],
        jpeg: Encode | None = None,
    ) -> None:
        self.pictures = pictures
        super().__init__(source)
        self.warnings: list[str] = []
        self.waited = 0.0
        self._inputs = {identity(file) for file in source.files} - {None}
        self._manifest, self._effects = manifest, effects
        self._number, self._content, self._jpeg = number, content, jpeg
        options = source.options
        self._every = options.every or 1
        if pictures.format in ("JPEG", "EXR"):
            source.deep = pictures.format == "EXR"
        if isinstance(source, SequenceSource) and pictures.format != "EXR":
            source.format = pictures.format
        self._size = source.clip.work_size(options) if options.keep_work_size else source.clip.size
        self._state_path = pictures.folder / f"{TEMP_PREFIX}{digest_of(pictures.path.name)[:16]}.state"
        #: Frames whose pictures are to be written, if some pictures are there already.
        self._missing: frozenset[int] | None = None
        self._begin, self._end, self.done = self._plan()
        self._next = self._reached = self._begin
        self._since = 0  # frames since a state was kept
        self._error: Exception | None = None
        self._queue: Queue[tuple[FrameInfo, Pixels, Pixels] | None] = Queue(_WAITING)
        self._threads = max(2, cores())
        self._pool = ThreadPoolExecutor(self._threads, "encode")
        self._writing: deque[Future[None]] = deque()
        self._thread: Thread | None = Thread(target=self._take, name="effects", daemon=True)
        self._thread.start()

    def wanted(self, index: int) -> bool:
        """Whether a frame has to be painted: for its picture, or for those after it."""
        if not self._begin <= index < self._end:
            return False
        return self._effects.is_stateful or self._is_missing(index)

    def add(self, info: FrameInfo, original: ArrayLike, stylized: ArrayLike) -> None:
        """Take the next frame, as `VideoSink.add` does."""
        if info.index < self._next or (self._effects.is_stateful and info.index > self._next):
            raise ValueError(f"frame {info.index} after {self._next - 1}")
        self._next = info.index + 1
        self._check()
        self._queue.put((info, np.asarray(original), np.asarray(stylized)))

    def finish(self) -> None:
        """All frames have come."""
        self.close()
        self._state_path.unlink(missing_ok=True)
        self._since = 0

    def release(self) -> None:
        """Leave what is unfinished to the next sink."""
        self._stop()
        if self._since and not self._error:
            with suppress(OutputError):  # no room: more is painted again
                self._keep_state()

    def _plan(self) -> tuple[int, float, int]:
        """The first frame that has to be painted, the one after the last, and how many pictures are there."""
        if not self.pictures.numbers():
            return 0, math.inf, 0
        count = self.source.count()
        kept = range(0, count, self._every)
        todo = [index for index in kept if self._is_to_be_done(index)]
        self._missing = frozenset(todo)
        done = len(kept) - len(todo)
        if not todo:
            return count, count, done
        begin = todo[0]
        if self._effects.is_stateful:
            begin = self._read_state(begin)
        return begin, todo[-1] + 1, done

    def _is_missing(self, index: int) -> bool:
        """Whether the picture of a frame was not there at the beginning."""
        return index % self._every == 0 if self._missing is None else index in self._missing

    def _is_to_be_done(self, index: int) -> bool:
        """Whether the picture of a frame is not there. Raises StylebatchError if it may not be written."""
        path, content = self._path(index), self._content(index)
        if identity(path) in self._inputs:
            raise StylebatchError(f"{path}: output and input are the same file; give another output")
        standing = self._manifest.standing(content, path)
        if standing >= Standing.OTHERWISE and not self._manifest.overwrite:
            raise StylebatchError(str(self._manifest.refusal(standing, content, path)))
        return standing is not Standing.DONE

    def _path(self, index: int) -> Path:
        return self.pictures.picture(self._number(index))

    def _stop(self) -> None:
        if self._thread:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
            self._pool.shutdown()

    def _check(self) -> None:
        if self._error:
            raise self._error

    def _take(self) -> None:
        while True:
            start = time.perf_counter()
            item = self._queue.get()
            self.waited += time.perf_counter() - start
            try:
                if item is None:
                    self._wait_for_writing()
                elif not self._error:  # else it is raised when the next frame is added
                    self._take_one(*item)
            except (StylebatchError, OSError) as error:
                self._error = self._error or error
            except Exception as error:
                self._error = self._error or StylebatchError(f"{self.pictures.path}: cannot be encoded: {error}")
            if item is None:
                return

    def _take_one(self, info: FrameInfo, original: Pixels, stylized: Pixels) -> None:
        pixels = self._effects(original, stylized, self._size, info.extra.original)
        if self._is_missing(info.index):
            while len(self._writing) >= self._threads + 1:
                self._writing.popleft().result()
            self._writing.append(self._pool.submit(self._write, info, pixels))
        if self._effects.is_stateful:
            self._since, self._reached = self._since + 1, info.index + 1
            if self._since == _KEPT_EVERY:
                self._wait_for_writing()
                self._keep_state()

    def _wait_for_writing(self) -> None:
        while self._writing:
            self._writing.popleft().result()

    def _write(self, info: FrameInfo, pixels: Pixels) -> None:
        timing: Timing = info.extra
        path = self._path(info.index)
        put = partial(self._manifest.put, self._content(info.index))
        across = pixels.shape[1] // self._size[0]  # two pictures side by side have twice what lies beside their colours
        alpha = None if timing.alpha is None else np.tile(resized(timing.alpha, self._size), (1, across))
        if self.pictures.format == "EXR":
            if isinstance(timing.beside, ExrExtra):
                extra = timing.beside.fitted(self._size, across)
            else:
                extra = ExrExtra(alpha=None if alpha is None else alpha / np.float32(np.iinfo(alpha.dtype).max))
            data = encode_exr(pixels, extra)
            with atomic_write(path, put) as file:
                file.write(data)
        else:
            if alpha is not None and self.pictures.format == "JPEG" and alpha.min() < np.iinfo(alpha.dtype).max:
                self.source.warn("JPEG holds no alpha: shown on white")
            own = timing.beside if isinstance(timing.beside, ImageExtra) else ImageExtra(path.name, self.pictures.format)
            own = replace(own, format=self.pictures.format, alpha=alpha)
            write_frames([pixels], [own], path, DEFAULTS, put, self._jpeg)
        self._outcomes.put(Saved(info.source, path, pixels.shape[0] * pixels.shape[1]))

    def _keep_state(self) -> None:
        state = self._key(self._reached) + self._effects.state
        with atomic_write(self._state_path) as file:
            file.write(_HEAD.pack(self._reached, zlib.crc32(state)) + state)
        self._since = 0

    def _read_state(self, first: int) -> int:
        """Go on from the state that was left, if none of the pictures before it is wanted: the frame it is for, else 0."""
        with suppress(OSError, OutputError), os.fdopen(open_own(self._state_path, os.O_RDONLY), "rb") as file:
            head, state = file.read(_HEAD.size), file.read()
            if len(head) == _HEAD.size:
                index: int
                index, total = _HEAD.unpack(head)
                key = self._key(index) if 0 < index <= first else b""
                if key and zlib.crc32(state) == total and state.startswith(key):
                    self._effects.state = state.removeprefix(key)
                    return index
        return 0

    def _key(self, index: int) -> bytes:
        """Of everything that the state before a frame depends on."""
        return digest_of([self._manifest.key, self._every, self._content(index - 1).digest]).encode()
