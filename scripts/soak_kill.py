#!/usr/bin/env python3
"""Kill -9 the folder job at random moments, start it again, and compare the tree with an uninterrupted run's.

    scripts/soak_kill.py [--files 300] [--kills 50] [--seed 0]

Exits 1 if a byte differs, a file is missing or a temporary file stayed.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp", ".gif")


def make_files(root: Path, count: int, rng: random.Random) -> None:
    """Small photographs of every format and of many sizes, some broken."""
    for index in range(count):
        path = root / f"{index % 7}" / f"{index:04}{SUFFIXES[index % len(SUFFIXES)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = rng.randrange(40, 160), rng.randrange(40, 160)
        noise = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)
        if index % 25 == 24:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def command(source: Path, output: Path) -> list[str]:
    program = "from stylebatch.cli import main; main()"
    return [sys.executable, "-c", program, "folder", str(source), str(output), "--grid", "--device", "cpu"]


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        source, whole, killed = (Path(folder, name) for name in ("in", "whole", "killed"))
        make_files(source, options.files, rng)
        start = time.monotonic()
        code = subprocess.run(command(source, whole), capture_output=True).returncode
        seconds = time.monotonic() - start
        start = time.monotonic()
        subprocess.run(command(source, whole), capture_output=True)
        idle = time.monotonic() - start
        print(f"uninterrupted: exit {code}, {len(tree(whole))} files in {seconds:.1f} s, a rerun {idle:.1f} s", flush=True)
        kills, starts, wrong = 0, 0, False
        while kills < options.kills:
            starts += 1
            process = subprocess.Popen(command(source, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                # One kill in five falls into the start, the others into the work, so little that it lasts for all of them.
                started = idle + rng.uniform(-0.5, 2 * (seconds - idle) / options.kills)
                process.wait(rng.uniform(0.2, idle) if rng.random() < 0.2 else started)
                wrong |= differ(whole, killed)
                shutil.rmtree(killed)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                if kills % 10 == 0:
                    print(f"{kills} kills, {len(tree(killed))} files there", flush=True)
        rest = subprocess.run(command(source, killed), capture_output=True).returncode
        wrong |= differ(whole, killed)
        print(f"{kills} kills in {starts} starts, the last one's exit {rest}")
        sys.exit(wrong or rest != code)


def differ(whole: Path, killed: Path) -> bool:
    """Whether the finished tree is not the uninterrupted one, with the first differences."""
    expected, actual = tree(whole), tree(killed)
    differing = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    print(f"finished: {len(differing)} of {len(expected)} files differ", flush=True)
    for name in differing[:20]:
        print(f"  {name}: {'differs' if name in expected and name in actual else 'only in one'}")
    return bool(differing)


if __name__ == "__main__":
    main()
