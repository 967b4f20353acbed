#!/usr/bin/env python3
"""Kill -9 the video job at random moments, start it again, and compare the film with an uninterrupted run's.

    scripts/soak_kill_video.py [--frames 1000] [--kills 20] [--seed 0] [--output film.mp4] [--style hosi]

Exits 1 if a byte differs, a film stood under its name before its time, or anything of the work stayed.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

#: Of a frame, in pixels: smaller ones are not steadied.
SIDE = 48


def make_clip(path: Path, frames: int, rng: random.Random) -> None:
    """Small pictures at a variable rate, so that there are many segments and the network does not take all the time; a scene
    that moves on, so that each frame takes over paint from the one before."""
    coarse = np.random.default_rng(0).uniform(0, 255, (12, 40, 3)).astype(np.float32)
    scene = cv2.resize(coarse, (40 * 8, SIDE), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        time_base = stream.codec_context.time_base = Fraction(1, 100)
        pts = 0
        for index in range(frames):
            pixels = np.ascontiguousarray(np.roll(scene, -index, axis=1)[:, :SIDE])
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts, time_base
            pts += rng.randrange(1, 4)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def command(source: Path, output: Path, style: str) -> list[str]:
    program = "from stylebatch.cli import main; main()"
    return [sys.executable, "-c", program, "video", str(source), str(output), "--style", style, "--device", "cpu"]


def held(folder: Path) -> int:
    """Bytes under a folder, where a run that has started to paint writes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="film.mp4", help="its extension chooses the container")
    parser.add_argument("--style", default="hosi")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "clip.mp4")
        whole, killed = (Path(folder, name, options.output) for name in ("whole", "killed"))
        whole.parent.mkdir()
        killed.parent.mkdir()
        make_clip(source, options.frames, rng)
        start = time.monotonic()
        subprocess.run(command(source, whole, options.style), check=True, capture_output=True)
        seconds = time.monotonic() - start
        print(f"uninterrupted: {seconds:.1f} s", flush=True)
        ended = early = 0
        for _ in range(options.kills):
            arguments = command(source, killed, options.style)
            process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = held(killed.parent)
            while process.poll() is None and held(killed.parent) == before:
                time.sleep(0.01)
            try:
                process.wait(rng.uniform(0, seconds / options.kills))
                ended += 1
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                early += killed.exists() and killed.read_bytes() != whole.read_bytes()
        code = subprocess.run(command(source, killed, options.style), capture_output=True).returncode
        same = killed.read_bytes() == whole.read_bytes()
        left = {path.name for path in killed.parent.iterdir()} - {killed.name, ".stylebatch.jsonl"}
        verdict = "the same bytes" if same else "DIFFERENT"
        print(f"{options.kills - ended} kills, then exit {code}: {verdict}, left over: {sorted(left)}")
        sys.exit(bool(code or not same or left or early))


if __name__ == "__main__":
    main()
