#!/usr/bin/env python3
"""How the encoders and decoders of pictures, and what else is done to each picture beside the network, keep cores busy.

    scripts/bench_encoders.py [--threads 1 2 4] [--size 1920x1080] [--seconds 2] [--only JPEG tone …] [--json rates.json]

Printed are pictures a second by so many threads, in turns, medians of three; the ratio of the last to the first; and for
how much of the time another thread has to wait for Python. Where something holds Python's lock the ratio stays at 1 and that
share is near 100%. Encoders write files into a folder in the working directory. Decoders take
turns in threads, for Pillow's limits are settings of the whole process; a folder's photographs are decoded by processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from stylebatch.effects import OriginalColours, Tone
from stylebatch.frame import Pixels
from stylebatch.images.decoding import read_image
from stylebatch.images.encoding import write_frames
from stylebatch.images.extra import ImageExtra
from stylebatch.images.formats import EXTENSIONS
from stylebatch.images.options import DEFAULTS
from stylebatch.images.sink import write_grid
from stylebatch.system import cores
from stylebatch.video.yuv import BT709, Colour, FromRGB, ToRGB

PHOTO = Path(__file__).parent.parent / "trainer" / "photos" / "flower.jpg"
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP")
REPEATS = 3


def painted(size: tuple[int, int], seed: int = 0) -> Pixels:
    """A photograph with as much detail as paint has."""
    with Image.open(PHOTO) as image:
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS)).astype(np.int16)
    grain = np.random.default_rng(seed).integers(-6, 7, pixels.shape, dtype=np.int16)
    return (pixels + grain).clip(0, 255).astype(np.uint8)


def jobs(size: tuple[int, int], folder: Path) -> dict[str, tuple[Callable[[], object], int]]:
    """By name: what one thread does again and again, and how many pictures that is."""
    pixels, other = painted(size), painted(size, 1)
    deep = pixels.astype(np.uint16) * 257

    def writing(format: str, frames: list[Pixels]) -> Callable[[], Path]:
        extras = [ImageExtra("", format, frames=len(frames), frame=index, duration=40) for index in range(len(frames))]

        def write() -> Path:
            path = folder / f"{threading.get_ident()}{EXTENSIONS[format][0]}"
            write_frames(frames, extras, path, DEFAULTS)
            return path

        return write

    every: dict[str, tuple[Callable[[], object], int]] = {}
    for format in FORMATS:
        every[f"{format} write"] = writing(format, [pixels]), 1
    for format in ("PNG", "TIFF"):
        every[f"{format} write, 16 bits"] = writing(format, [deep]), 1
    for format in ("PNG", "WEBP", "AVIF", "GIF"):
        every[f"{format} write, moving"] = writing(format, [pixels, other]), 2
    for name, (write, count) in list(every.items()):
        if count == 1:
            path = Path(str(write())).rename(folder / f"read {name.partition(' ')[0]}{'16' * name.endswith('bits')}")
            every[name.replace("write", "read")] = partial(read_image, path), 1
    colour = Colour(BT709, 1, 1, False)
    frame = FromRGB(colour, "yuv420p", size)(pixels)
    every |= {
        "tone": (lambda: Tone(0.5)(pixels, other), 1),
        "colours": (lambda: OriginalColours()(pixels, other), 1),
        "grid": (lambda: write_grid(folder / f"{threading.get_ident()}.png", pixels, other), 1),
        "film to RGB": (lambda: ToRGB(deep=False)(frame), 1),
        "film from RGB": (lambda: FromRGB(colour, "yuv420p", size)(pixels), 1),
    }
    return every


def rate(work: Callable[[], object], threads: int, seconds: float) -> float:
    """How often it is done in a second by so many threads."""
    done = [0] * threads
    end = time.perf_counter() + seconds

    def repeat(index: int) -> None:
        while time.perf_counter() < end:
            work()
            done[index] += 1

    start = time.perf_counter()
    each = [threading.Thread(target=repeat, args=(index,)) for index in range(threads)]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def waiting(work: Callable[[], object]) -> float:
    """Of the time that it takes, how much another thread waits for its turn, for more than two milliseconds each time. That
    it waits for a core does not count."""
    thread = threading.Thread(target=work)
    waited, start, starved = 0.0, time.perf_counter(), without_core()
    last, last_starved = start, starved
    thread.start()
    while thread.is_alive():
        time.sleep(0.0002)
        now, now_starved = time.perf_counter(), without_core()
        turn = now - last - (now_starved - last_starved)
        waited += turn if turn > 0.002 else 0
        last, last_starved = now, now_starved
    return waited / (last - start - (last_starved - starved))


def without_core() -> float:
    """Seconds for which this thread could have run, but others did; 0 where no Linux says so."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    powers = [2**power for power in range(8) if 2**power <= max(2, cores())]
    parser.add_argument("--threads", type=int, nargs="+", default=powers, help="default: 1, 2, 4 … up to the cores")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement; longer where a picture takes longer")
    parser.add_argument("--only", nargs="+", default=[""], help="what has one of these words in its name")
    parser.add_argument("--json", type=Path, help="write every rate")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # what is measured are threads of Python
    width, height = map(int, options.size.split("x"))
    rates: dict[str, dict[int, float]] = {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        columns = "".join(f"{count:>9}" for count in options.threads) + f"{'ratio':>9}{'waiting':>9}"
        print(f"{options.size + ', pictures a second':32}" + columns)
        for name, (work, count) in jobs((width, height), Path(folder)).items():
            if not any(word in name for word in options.only):
                continue
            work()
            runs = [[count * rate(work, threads, options.seconds) for threads in options.threads] for _ in range(REPEATS)]
            medians = [statistics.median(each) for each in zip(*runs, strict=True)]
            ratio = statistics.median(run[-1] / run[0] for run in runs)
            rates[name] = dict(zip(options.threads, medians, strict=True))
            waits = statistics.median(waiting(work) for _ in range(REPEATS))
            print(f"{name:32}" + "".join(f"{each:9.2f}" for each in medians) + f"{ratio:9.2f}{waits:9.0%}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rates, indent=2))


if __name__ == "__main__":
    main()
