#!/usr/bin/env python3
"""How still paint holds, and how sharp it stays: on pans over the packaged photographs, whose motion is known exactly.

    scripts/measure_steady.py hosi wave sketch --steady 0.9
    scripts/measure_steady.py hosi --strip strip.jpg      and one column of pixels over time: the film, alone, steadied

steadier: by how much less a painting changes along the motion than one of each frame alone, in mean squares. sharp: variance
of the luma's Laplacian, against each frame alone. drift: what the last frame's colours are off, in levels.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from stylebatch import Steadier, Stylizer
from stylebatch.frame import Pixels
from stylebatch.images.decoding import read_pixels
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


def unsteadiness(frames: list[Pixels]) -> float:
    """Mean square of what changes along the motion."""
    height, width, _ = frames[0].shape
    matrix = np.array([[1, 0, -STEP[0]], [0, 1, -STEP[1]]], np.float32)
    errors = []
    for before, frame in pairwise(frames):
        moved = cv2.warpAffine(before.astype(np.float32), matrix, (width, height), flags=cv2.INTER_CUBIC)
        errors.append(float(np.square(frame - moved)[8:-8, 8:-8].mean()))
    return statistics.mean(errors)


def sharpness(frames: list[Pixels]) -> float:
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return statistics.mean(float(cv2.Laplacian(luma, cv2.CV_32F).var()) for luma in lumas)


def drift(frame: Pixels, alone: Pixels) -> float:
    one, two = (cv2.GaussianBlur(each.astype(np.float32), (0, 0), 32) for each in (frame, alone))
    return float(np.abs(one - two).mean())


def strip(films: list[list[Pixels]]) -> Pixels:
    """The middle column of each film, from its first frame to its last."""
    columns = [np.hstack([frame[:, frame.shape[1] // 2][:, None] for frame in frames]).repeat(8, 1) for frames in films]
    gap = np.full((columns[0].shape[0], 8, 3), 255, np.uint8)
    return np.hstack([columns[0], gap, columns[1], gap, columns[2]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("styles", nargs="+")
    parser.add_argument("--steady", type=float, default=0.9)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--photographs", nargs="+", default=["palace.jpg", "cat.jpg"], help="of the package")
    parser.add_argument("--strip", type=Path, help="save a picture of the first photograph's columns in the first style")
    options = parser.parse_args()
    print(f"{'style':12}{'photograph':14}{'steadier':>9}{'sharp':>7}{'drift':>7}")
    for style in options.styles:
        stylizer = Stylizer(style)
        for name in options.photographs:
            frames = pan(PACKAGED / name, options.frames)
            alone = [np.asarray(stylizer(frame)) for frame in frames]
            steadier = Steadier(options.steady)
            steadied = [steadier(*pair) for pair in zip(frames, alone, strict=True)]
            times = unsteadiness(alone) / unsteadiness(steadied)
            kept = sharpness(steadied) / sharpness(alone)
            print(f"{style:12}{name:14}{times:9.1f}{kept:7.2f}{drift(steadied[-1], alone[-1]):7.2f}", flush=True)
            if options.strip:
                cv2.imwrite(str(options.strip), strip([frames, alone, steadied])[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
                options.strip = None


if __name__ == "__main__":
    main()
