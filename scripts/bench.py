#!/usr/bin/env python3
"""Time the network alone, the folder job end to end, and the article's own way, interleaved in one run.

    scripts/bench.py [--images 12] [--repeats 3] [--json bench.json]

Each measurement is a process of its own, so that none warms the caches or the memory of another; medians are printed, and
ratios to the article's way: eager fp32, one photograph after another, everything in one thread of control. (Its script
also kept the autograd graph. That is left out here: it would only run out of memory.)
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Sizes of the folder's photographs, 0.2 to 1.5 megapixels.
SIZES = ((640, 427), (512, 512), (800, 600), (1024, 683), (1200, 800), (427, 640), (1500, 1000), (600, 400))
PHOTOS = Path(__file__).parent.parent / "trainer" / "photos"


def make_folder(folder: Path, count: int) -> None:
    from PIL import Image

    photos = sorted(PHOTOS.glob("*.jpg"))
    for index in range(count):
        with Image.open(photos[index % len(photos)]) as image:
            size = SIZES[index % len(SIZES)]
            image.resize(size, Image.Resampling.LANCZOS).save(folder / f"{index:03}.jpg", quality=92)


def network(style: str, precision: str, side: int) -> dict[str, float]:
    """The network alone on one picture, without decoding or encoding."""
    import torch

    from stylebatch.stylizer import Stylizer

    stylizer = Stylizer(style, precision=precision)
    pixels = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8)
    stylizer(pixels)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        stylizer(pixels)
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds), "megapixels": side * side / 1e6}


def article_network(style: str, side: int) -> dict[str, float]:
    """The plain network, as the article runs it."""
    import torch

    from stylebatch.checkpoint import load_checkpoint
    from stylebatch.styles import find_style

    net = load_checkpoint(find_style(style)).network()
    x = torch.rand(1, 3, side, side)
    seconds = []
    with torch.no_grad():
        net(x)
        for _ in range(3):
            start = time.perf_counter()
            net(x)
            seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds), "megapixels": side * side / 1e6}


def folder(style: str, precision: str, source: Path) -> dict[str, float]:
    from stylebatch.jobs import stylize_folder

    with tempfile.TemporaryDirectory() as output:
        summary = stylize_folder(source, output, style, precision=precision)
    return {"seconds": summary.seconds, "megapixels": summary.megapixels, **summary.waits}


def article_folder(style: str, source: Path) -> dict[str, float]:
    import torch
    from PIL import Image
    from torchvision.transforms.functional import to_tensor
    from torchvision.utils import save_image

    from stylebatch.checkpoint import load_checkpoint
    from stylebatch.styles import find_style

    net = load_checkpoint(find_style(style)).network()
    megapixels = 0.0
    with tempfile.TemporaryDirectory() as output, torch.no_grad():
        start = time.perf_counter()
        for path in sorted(source.iterdir()):
            x = to_tensor(Image.open(path)).unsqueeze(0)
            save_image(net(x)[0], Path(output, path.name))
            megapixels += x.shape[2] * x.shape[3] / 1e6
        return {"seconds": time.perf_counter() - start, "megapixels": megapixels}


def matmul(dtype_name: str) -> float:
    """GFLOP/s of a large matrix product: the machine's ceiling."""
    import torch

    a = torch.rand(2048, 2048).to(getattr(torch, dtype_name))
    a @ a
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        rates.append(2 * 2048**3 / (time.perf_counter() - start) / 1e9)
    return statistics.median(rates)


def measure(way: str, style: str, source: Path) -> dict[str, float]:
    kind, _, detail = way.partition(" ")
    precision, _, side = detail.partition(" ")
    if kind == "matmul":
        result = {"gflops": matmul(detail)}
    elif kind == "network":
        result = article_network(style, int(side)) if precision == "article" else network(style, precision, int(side))
    else:
        result = article_folder(style, source) if detail == "article" else folder(style, detail, source)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**result, "peak_gb": peak / (1e6 if sys.platform == "linux" else 1e9)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--style", default="hosi")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--json", type=Path, help="also write every measurement")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.style, options.source)))
        return

    jobs = {job: ["article", *options.precisions] for job in ("network 512", "network 1024", f"folder of {options.images}")}
    results: dict[str, dict[str, list[dict[str, float]]]] = {job: {way: [] for way in ways} for job, ways in jobs.items()}
    results["matmul"] = {"float32": [], "bfloat16": []}
    with tempfile.TemporaryDirectory() as source:
        make_folder(Path(source), options.images)
        for _ in range(options.repeats):
            for job, ways in results.items():
                kind, _, side = job.partition(" ")
                for way, runs in ways.items():
                    name = f"{kind} {way}" + (f" {side}" if kind == "network" else "")
                    command = [sys.executable, __file__, "--way", name, "--style", options.style, "--source", source]
                    runs.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    print("matmul GFLOP/s: " + ", ".join(
        f"{dtype} {statistics.median(run['gflops'] for run in runs):.0f}" for dtype, runs in results["matmul"].items()
    ))  # fmt: skip
    print(f"{'':18} {'':8} {'seconds':>8} {'MP/s':>7} {'ratio':>6} {'peak GB':>8}  load/stylize/save")
    for job in jobs:
        baseline = [run["seconds"] for run in results[job]["article"]]
        for way, runs in results[job].items():
            middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            ratio = statistics.median(theirs / run["seconds"] for theirs, run in zip(baseline, runs, strict=True))
            stages = "/".join(f"{middle[s] / middle['seconds']:.0%}" for s in ("load", "stylize", "save") if s in middle)
            rate = middle["megapixels"] / middle["seconds"]
            print(f"{job:18} {way:8} {middle['seconds']:8.2f} {rate:7.2f} {ratio:6.2f} {middle['peak_gb']:8.2f}  {stages}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
