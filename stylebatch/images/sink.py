"""Results into files: encoded in threads, in the tree of the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from queue import Empty, SimpleQueue
from threading import Condition, Lock, Thread
from typing import TypeAlias, TypeVar

from PIL import Image

from stylebatch.effects import Effects, effects_of
from stylebatch.errors import OutputError
from stylebatch.files import atomic_write, replace
from stylebatch.frame import Failure, FrameInfo, Pixels, Saved
from stylebatch.grid import side_by_side
from stylebatch.images.encoding import save_picture, write_frames
from stylebatch.images.formats import LARGEST, renamed
from stylebatch.images.jpeg import Encode
from stylebatch.images.options import DEFAULTS, ImageOptions
from stylebatch.pixels import to_8_bits
from stylebatch.system import cores, free_memory

_AnyPath = TypeVar("_AnyPath", bound=PurePath)
#: What came of one frame: the picture as the network saw it, and as it painted it.
_Result: TypeAlias = tuple[FrameInfo, Pixels, Pixels]
#: While it is encoded, a result takes about so many times the memory of its pixels. All that wait or are encoded may take
#: this share of the memory that is free at first, or so many bytes where that is not known.
_TIMES, _SHARE, _ROOM = 10, 4, 3_000_000_000


@dataclass
class _Collected:
    """What has come of an animation: its frames by number, and how many arrived, failed ones too."""

    frames: dict[int, _Result] = field(default_factory=dict)
    arrived: int = 0
    failed: bool = False


class ImageSink:
    """Encodes in background threads behind a bounded queue. `add` waits when `threads` + 2 results are on their way, or so
    many that they take a quarter of the memory that is free.

    Args:
        root: the output folder; the tree of the input is mirrored under it.
        options: those of the source.
        grid: also write original | stylized side by side, as `{name}_grid.jpg`; of an animation its first frame.
        effects: what is done to the stylized pictures; by default what the options say.
        threads: that encode; by default as many as there are cores, and two at least: one of them may wait for the disk.
        jpeg: encodes JPEGs, if it takes them, as `Jpegs.encode`.
        put: gives a complete file, the result of a source's name, its own name.
    """

    def __init__(
        self,
        root: Path,
        *,
        options: ImageOptions = DEFAULTS,
        grid: bool = False,
        effects: Effects | None = None,
        threads: int | None = None,
        jpeg: Encode | None = None,
        put: Callable[[str, Path, Path], None] = lambda _, temp, path: replace(temp, path),
    ) -> None:
        self.root = root
        self.options = options
        self.grid = grid
        self._effects = effects or effects_of(preserve_color=options.preserve_color)
        self._put = put
        self._jpeg = jpeg
        threads = threads or max(2, cores())
        self._room = _Room(threads + 2, (free_memory() or _SHARE * _ROOM) // _SHARE)
        self._queue: SimpleQueue[list[_Result] | None] = SimpleQueue()
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
            self._room.take(_memory(complete))
            self._queue.put(complete)

    def fail(self, info: FrameInfo, reason: str) -> None:
        """A frame that could not be stylized: its file fails, once, and its other frames are dropped."""
        with self._lock:
            collected = self._collected.setdefault(info.source, _Collected())
            first = not collected.failed
            collected.failed = True
            collected.frames.clear()
            self._count(info, collected)
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

    def _collect(self, info: FrameInfo, original: Pixels, stylized: Pixels) -> list[_Result]:
        """All frames of the file if this was the last one, else none."""
        with self._lock:
            collected = self._collected.setdefault(info.source, _Collected())
            if not collected.failed:
                collected.frames[info.extra.frame] = (info, original, stylized)
            done = self._count(info, collected) and not collected.failed
            return [frame for _, frame in sorted(collected.frames.items())] if done else []

    def _count(self, info: FrameInfo, collected: _Collected) -> bool:
        """Count a frame; True and forget the file when it was the last."""
        collected.arrived += 1
        if collected.arrived == info.extra.frames:
            del self._collected[info.source]
            return True
        return False

    def _encode(self) -> None:
        while (frames := self._queue.get()) is not None:
            self._save(frames)
            self._room.give_back(_memory(frames))
            del frames  # before it waits for the next

    def _save(self, frames: list[_Result]) -> None:
        info, original, _ = frames[0]
        try:
            path = self.root / info.extra.output
            results = [
                self._effects(seen, stylized, frame.extra.size, frame.extra.original) for frame, seen, stylized in frames
            ]
            put = partial(self._put, info.source)
            write_frames(results, [frame.extra for frame, _, _ in frames], path, self.options, put, self._jpeg)
            if self.grid:
                write_grid(path, original, results[0], put)
            count = sum(pixels.shape[0] * pixels.shape[1] for pixels in results)
            notes = dict.fromkeys(note for frame, _, _ in frames for note in frame.extra.notes)
            self._outcomes.put(Saved(info.source, path, count, info.extra.left_out, tuple(notes)))
        except OutputError as error:
            self._outcomes.put(error if error.fatal else Failure(info.source, str(error)))
        except Exception as error:  # an encoder's refusal concerns this picture alone
            self._outcomes.put(Failure(info.source, f"cannot be encoded: {error or type(error).__name__}"))


class _Room:
    """Bounds what is on its way, by number and by memory; what is larger than all of that goes alone."""

    def __init__(self, most: int, memory: int) -> None:
        self._most, self._memory = most, memory
        self._count = self._taken = 0
        self._changed = Condition()

    def take(self, memory: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: not self._count or (self._count < self._most and self._taken + memory <= self._memory)
            )
            self._count += 1
            self._taken += memory

    def give_back(self, memory: int) -> None:
        with self._changed:
            self._count -= 1
            self._taken -= memory
            self._changed.notify_all()


def _memory(frames: list[_Result]) -> int:
    """Bytes that it takes to encode a file."""
    largest = (
        max(stylized.size, 3 * info.extra.size[0] * info.extra.size[1] if info.extra.size else 0) * stylized.itemsize
        for info, _, stylized in frames
    )
    return _TIMES * sum(largest)


def grid_path(output: _AnyPath) -> _AnyPath:
    """Where the side-by-side picture of an output goes."""
    return renamed(output, "_grid.jpg")


def write_grid(output: Path, original: Pixels, stylized: Pixels, put: Callable[[Path, Path], None] | None = None) -> None:
    """Write original | stylized beside `output`, smaller where a JPEG could not hold it."""
    pictures = [Image.fromarray(to_8_bits(pixels)) for pixels in (original, stylized)]
    width, height = pictures[0].width + pictures[1].width, pictures[0].height
    sheet = side_by_side(pictures, min(height, max(1, height * LARGEST["JPEG"] // width)))
    with atomic_write(grid_path(output), put) as file:
        save_picture(sheet, file, "JPEG", quality=90)
