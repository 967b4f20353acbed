#!/usr/bin/env python3
"""Time a film end to end against the network alone on the same frames, interleaved in one run.

    scripts/bench_video.py [CLIP] [--seconds 1] [--repeats 5] [--style hosi]

Without CLIP a moving picture of 640×360 is made. Medians are printed, and the median of the ratios; and the same by CPU
time, which other programs on the machine disturb less and which decides where the network takes all cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stylebatch import Stylizer, VideoOptions, VideoSource, stylize_video


def make_clip(path: Path, seconds: float, width: int = 640, height: int = 360) -> None:
    y, x = np.mgrid[0:height, 0:width]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(int(seconds * 25)):
            waves = [np.sin((x + 5 * index) / 37), np.cos((y - 3 * index) / 23), np.sin((x + y + 4 * index) / 51)]
            pixels = (np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--style", default="hosi")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = options.clip or Path(folder, "clip.mp4")
        if not options.clip:
            make_clip(clip, options.seconds)
        video_options = VideoOptions(end=options.seconds)
        frames = [frame.pixels[None] for frame in VideoSource(clip, video_options)]
        stylizer = Stylizer(options.style)
        stylizer(frames[0])
        alone, film, by_cpu = [], [], []
        for _ in range(options.repeats):
            start, cpu = time.perf_counter(), time.process_time()
            for pixels in frames:
                stylizer(pixels)
            alone.append(len(frames) / (time.perf_counter() - start))
            cpu_alone = time.process_time() - cpu
            start, cpu = time.perf_counter(), time.process_time()
            summary = stylize_video(clip, Path(folder, "out.mp4"), stylizer, options=video_options, overwrite=True)
            film.append(len(frames) / (time.perf_counter() - start))
            by_cpu.append(cpu_alone / (time.process_time() - cpu))
        waits = ", ".join(f"{stage} {waited / summary.seconds:.0%}" for stage, waited in summary.stage_waits.items())
        height, width = frames[0].shape[1:3]
        ratio = statistics.median(ours / theirs for ours, theirs in zip(film, alone, strict=True))
        print(f"{len(frames)} frames of {width}×{height}: network alone {statistics.median(alone):.2f} fps, ", end="")
        print(f"end to end {statistics.median(film):.2f} fps, {ratio:.1%}, ", end="")
        print(f"by CPU time {statistics.median(by_cpu):.1%}; waited: {waits}")


if __name__ == "__main__":
    main()
