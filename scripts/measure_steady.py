#!/usr/bin/env python3
"""How still paint holds, and how sharp it stays: on pans over the packaged photographs, whose motion is known exactly, and
on films.

    scripts/measure_steady.py hosi wave sketch --steady 0.95
    scripts/measure_steady.py hosi --photographs --films clip.mp4 'shot/%05d.jpg' --frames 40
    scripts/measure_steady.py hosi --strip strip.jpg      and one column of pixels over time: the film, alone, steadied

steadier: by how much less a painting changes along the motion than one of each frame alone, in mean squares. sharp: variance
of the luma's Laplacian, against each frame alone. ghosts: by how many levels pixels that were uncovered are off. drift: what
the last frame's colours are off, in levels. dots: the kurtosis of the last frame's Laplacian, against it alone; more than 1
where fine detail has gathered in dots.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np

from stylebatch import Steadier, Stylizer, VideoOptions
from stylebatch.frame import Pixels
from stylebatch.images.decoding import read_pixels
from stylebatch.options import STEADY
from stylebatch.video.sequence import open_source
from trainer.content import PACKAGED

#: Pixels that a frame is from the one before; the noise of a camera, in levels; a frame's long side.
STEP, NOISE, LONG_SIDE = (1.3, 0.5), 2.0, 480


def pan(photograph: Path, count: int) -> list[Pixels]:
    pixels, _ = read_pixels(photograph)
    scale = LONG_SIDE / 0.8 / max(pixels.shape[:2])
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    size = int(pixels.shape[1] * 0.8), int(pixels.shape[0] * 0.8)
    rng = np.random.default_rng(0)
    frames = []
    for number in range(count):
        matrix = np.array([[1, 0, STEP[0] * number], [0, 1, STEP[1] * number]], np.float32)
        frame = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        frames.append((frame + rng.normal(0.5, NOISE, frame.shape)).clip(0, 255).astype(np.uint8))
    return frames


def flow(frame: Pixels, other: Pixels) -> Pixels:
    """By Farneback's method, which nothing here uses: what steadies films is not judged by its own flow."""
    here, there = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (frame, other))
    empty = np.zeros((*here.shape, 2), np.float32)
    return cv2.calcOpticalFlowFarneback(here, there, empty, 0.5, 5, 15, 5, 7, 1.5, 0)


def moved(image: Pixels, motion: Pixels, interpolation: int = cv2.INTER_CUBIC) -> Pixels:
    height, width, _ = motion.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    places = x + motion[..., 0], y + motion[..., 1]
    return cv2.remap(image, *places, interpolation, borderMode=cv2.BORDER_REPLICATE)


def seen(there: Pixels, back: Pixels) -> Pixels:
    """Pixels that the other frame shows too: flows undo each other (Sundaram et al. 2010), and do not lead out of it."""
    height, width, _ = there.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x + there[..., 0], y + there[..., 1]
    inside = (x >= 2) & (y >= 2) & (x <= width - 3) & (y <= height - 3)
    miss = np.square(there + moved(back, there, cv2.INTER_LINEAR)).sum(-1)
    shown: Pixels = inside & (miss < 0.01 * (np.square(there).sum(-1) + np.square(back).sum(-1)) + 0.5)
    return shown


def motions(frames: list[Pixels], *, known: bool) -> list[tuple[Pixels, Pixels]]:
    """Of each frame but the first: where it is in the one before, and which of its pixels that shows."""
    if known:
        step = np.full((*frames[0].shape[:2], 2), STEP, np.float32)
        return [(step, seen(step, -step))] * (len(frames) - 1)
    pairs = [(flow(frame, before), flow(before, frame)) for before, frame in pairwise(frames)]
    return [(there, seen(there, back)) for there, back in pairs]


def unsteadiness(frames: list[Pixels], motion: list[tuple[Pixels, Pixels]]) -> float:
    """Mean square of what changes along the motion."""
    errors = []
    for before, frame, (there, shown) in zip(frames, frames[1:], motion, strict=False):
        errors.append(float(np.square(frame - moved(before.astype(np.float32), there)).mean(-1)[shown].mean()))
    return statistics.mean(errors)


def ghosts(frames: list[Pixels], alone: list[Pixels], motion: list[tuple[Pixels, Pixels]]) -> float:
    """Levels that what the frame before does not show is off."""
    off = [np.abs(one.astype(np.float32) - two).mean(-1) for one, two in zip(frames[1:], alone[1:], strict=True)]
    return statistics.mean(
        float(each[~shown].mean()) for each, (_, shown) in zip(off, motion, strict=True) if not shown.all()
    )


def sharpness(frames: list[Pixels]) -> float:
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return statistics.mean(float(cv2.Laplacian(luma, cv2.CV_32F).var()) for luma in lumas)


def drift(frame: Pixels, alone: Pixels) -> float:
    one, two = (cv2.GaussianBlur(each.astype(np.float32), (0, 0), 32) for each in (frame, alone))
    return float(np.abs(one - two).mean())


def kurtosis(frame: Pixels) -> float:
    """Of fine detail: the more, the fewer pixels hold most of it."""
    detail = cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return float(np.mean(detail**4) / np.mean(detail**2) ** 2)


def strip(films: list[list[Pixels]]) -> Pixels:
    """The middle column of each film, from its first frame to its last."""
    columns = [np.hstack([frame[:, frame.shape[1] // 2][:, None] for frame in frames]).repeat(8, 1) for frames in films]
    gap = np.full((columns[0].shape[0], 8, 3), 255, np.uint8)
    return np.hstack([columns[0], gap, columns[1], gap, columns[2]])


def sheet(alone: list[Pixels], steadied: list[Pixels]) -> Pixels:
    """Four frames in full size, each alone over steadied."""
    last = len(alone) - 1
    places = [round(last * part / 3) for part in range(4)]
    return np.vstack(
        [np.hstack([film[place][:, : film[place].shape[1] // 2] for place in places]) for film in (alone, steadied)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("styles", nargs="+")
    parser.add_argument("--steady", type=float, default=STEADY)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--photographs", nargs="*", default=["palace.jpg", "cat.jpg"], help="of the package")
    parser.add_argument("--films", nargs="*", default=[], help="films or patterns of numbered pictures, 480 px wide")
    parser.add_argument("--strip", type=Path, help="save a picture of the columns of the first of these in the first style")
    parser.add_argument("--sheet", type=Path, help="save four of its frames, alone over steadied, their left halves")
    options = parser.parse_args()
    films = {name: (pan(PACKAGED / name, options.frames), True) for name in options.photographs}
    for name in options.films:
        source = open_source(name, VideoOptions(size=LONG_SIDE))
        films[name] = [np.ascontiguousarray(frame.pixels) for frame in islice(source, options.frames)], False
    print(f"{'style':12}{'film':24}{'steadier':>9}{'sharp':>7}{'ghosts':>8}{'drift':>7}{'dots':>6}")
    for style in options.styles:
        stylizer = Stylizer(style)
        for name, (frames, known) in films.items():
            alone = [np.asarray(stylizer(frame)) for frame in frames]
            steadier = Steadier(options.steady)
            steadied = [steadier(*pair) for pair in zip(frames, alone, strict=True)]
            motion = motions(frames, known=known)
            times = unsteadiness(alone, motion) / unsteadiness(steadied, motion)
            kept = sharpness(steadied) / sharpness(alone)
            figures = f"{times:9.1f}{kept:7.2f}{ghosts(steadied, alone, motion):8.1f}{drift(steadied[-1], alone[-1]):7.2f}"
            dots = kurtosis(steadied[-1]) / kurtosis(alone[-1])
            print(f"{style:12}{Path(name).name[-22:]:24}{figures}{dots:6.2f}", flush=True)
            for path, picture in (
                (options.strip, strip([frames, alone, steadied])),
                (options.sheet, sheet(alone, steadied)),
            ):
                if path:
                    cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
            options.strip = options.sheet = None


if __name__ == "__main__":
    main()
