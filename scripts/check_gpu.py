#!/usr/bin/env python3
"""Check a GPU in four minutes: whether it computes what it should, how fast, what it waits for, what it does out of memory.

    scripts/check_gpu [--device cuda:0] [--only right fast] [--json check_gpu.json]
    scripts/check_gpu --device cpu --quick      # without one: the same on small pictures; nothing is timed against a bar

It needs this checkout, PyTorch with CUDA, OpenCV and safetensors; what else is missing, such as PyAV for films, leaves out
what needs it, with the reason. Each line is printed as it is measured, with the bar that it has to pass, and is in the JSON
file beside it. Exit status: 0 if every bar was passed, 1 if not.
"""

from __future__ import annotations

import argparse
import json
import math
import operator
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from stylebatch.backends import load_backend  # noqa: E402
from stylebatch.benchmark import network_gflop, plain_picture, psnr  # noqa: E402
from stylebatch.checkpoint import Checkpoint, save_pth  # noqa: E402
from stylebatch.frame import Batch, FrameInfo, Saved  # noqa: E402
from stylebatch.loader import Load  # noqa: E402
from stylebatch.pipeline import Summary, run  # noqa: E402
from stylebatch.stages import as_stages, beyond_borders  # noqa: E402
from stylebatch.styles import load_style, shipped_styles  # noqa: E402
from stylebatch.stylizer import VALUES_PER_CHANNEL, Stylizer  # noqa: E402
from stylebatch.system import cores  # noqa: E402
from stylebatch.transnet import WIDTH, TransNet  # noqa: E402

#: After so many seconds no further section is begun, and its lines have failed.
SECONDS = 200
#: A folder and a film are stopped after so many: a rate is known by then.
AT_MOST = 25


@dataclass(frozen=True)
class Line:
    """One measurement. `most`: whether the bar is the most that it may be, else it is the least. Without one, it is told."""

    section: str
    name: str
    value: float
    unit: str = ""
    bar: float | None = None
    most: bool = False
    note: str = ""

    @property
    def passed(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value <= self.bar if self.most else self.value >= self.bar  # what is no number passes neither

    def __str__(self) -> str:
        verdict = {None: "", True: "ok", False: "FAILED"}[self.passed]
        bar = "" if self.bar is None else f"{'at most' if self.most else 'at least'} {self.bar:g}"
        measured = f"{self.name:44}  {self.value:>10.4g} {self.unit:8}"
        return f"{verdict:6}  {self.section:8}  {measured}  {bar:14}  {self.note}".rstrip()


@dataclass
class Check:
    """What is measured, and on what."""

    device: torch.device
    quick: bool
    lines: list[Line] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    section: str = ""
    matrix: float = math.nan

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def name(self) -> str:
        return str(self.device)

    def line(self, name: str, value: float, unit: str = "", *, least: float | None = None, most: float | None = None,
             note: str = "") -> None:  # fmt: skip
        bar = most if least is None else least
        self.lines.append(Line(self.section, name, float(value), unit, bar, most is not None, note))
        print(self.lines[-1], flush=True)

    def speed(self, name: str, value: float, unit: str, *, least: float | None = None, most: float | None = None,
              note: str = "") -> None:  # fmt: skip
        """A line whose bar is a GPU's."""
        self.line(name, value, unit, least=least if self.gpu else None, most=most if self.gpu else None, note=note)

    def pictures(self, count: int, width: int, height: int, top: int = 255) -> Tensor:
        """N×H×W×3, smooth with some noise, all different."""
        generator = torch.Generator().manual_seed(width + height)
        coarse = torch.rand(count, 3, 9, 12, generator=generator)
        smooth = F.interpolate(coarse, (height, width), mode="bicubic")
        noisy = (smooth + 0.02 * torch.randn(count, 3, height, width, generator=generator)).clamp(0, 1) * top
        pixels = noisy.round().to(torch.uint8 if top == 255 else torch.uint16).permute(0, 2, 3, 1).contiguous()
        return pixels.pin_memory() if self.gpu else pixels

    def wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], times: int) -> float:
        """Of one of so many, after one that warms up."""
        work()
        self.wait()
        start = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - start) / times


def machine(check: Check) -> None:
    """What everything else is compared with, the matrix product and the copy, by PyTorch; and the wait before all else."""
    side, times = (256, 2) if check.quick else (8192, 20)
    dtype = torch.float16 if check.gpu else torch.float32
    a = torch.randn(side, side, device=check.device).to(dtype)
    check.matrix = 2 * side**3 / check.seconds(lambda: a @ a, times) / 1e12
    check.line("matrix product, fp16 on a GPU", check.matrix, "TFLOP/s")
    source = torch.empty(1 << (20 if check.quick else 30), dtype=torch.uint8, device=check.device)
    to = torch.empty_like(source)
    check.line(
        "copy, bytes read and written", 2 * len(source) / check.seconds(lambda: to.copy_(source), times) / 1e12, "TB/s"
    )
    check.line("cores", cores())
    start = time.perf_counter()
    Stylizer("hosi", device=check.name)(check.pictures(1, 40, 32))
    check.speed("first picture, kernels compiled or found", time.perf_counter() - start, "s", most=40)


def right(check: Check) -> None:
    """Every style against plain fp32, sizes and depths, alone and in a batch, again and again, too loud, in bands."""
    side = (48, 40) if check.quick else (640, 480)
    pixels = check.pictures(1, *side)
    styles = list(shipped_styles())[: 1 if check.quick else None]
    for style in styles:
        exact = Stylizer(style, device=check.name, precision="fp32", backend="torch")(pixels)
        for precision in ("fp16", "bf16") if check.gpu else ("bf16",):
            stylized = Stylizer(style, device=check.name, precision=precision)(pixels)
            check.line(f"{style} in {precision}, against fp32", psnr(stylized, exact), "dB", least=40)
    network = load_style("hosi").network()
    full = Stylizer("hosi", device=check.name, precision="fp32")
    for width, height in ((1, 1), (5, 3), (48, 32), (131, 97)):
        for top, most in ((255, 1), (65535, 4)):
            small = check.pictures(1, width, height, top)
            if width == height == 1:  # no contrast: what float64 makes of its rounding is noise
                expected = Stylizer("hosi", device="cpu", precision="fp32", backend="torch")(small).double()
            else:
                expected = plain_picture(network, small)
            far = (full(small).double() - expected.round()).abs().max()
            check.line(f"{width}×{height} in {top.bit_length()} bits, against the plain one", int(far), "levels", most=most)
    stylizer = Stylizer("hosi", device=check.name)
    batch = check.pictures(3, *side)
    together = stylizer(batch)
    apart = torch.cat([stylizer(each[None].contiguous()) for each in batch])
    check.line("a picture alone and in a batch", int((together.int() - apart.int()).abs().max()), "levels", most=1)
    times = 3 if check.quick else 100
    same = sum(torch.equal(stylizer(batch), together) for _ in range(times))
    check.line(f"{times} runs with the same bytes", same, "runs", least=times)
    stages = beyond_borders(as_stages(load_style("hosi").network()))
    loud = [replace(stages[0], kernel=stages[0].kernel * 1e6), *stages[1:]]
    _, finite = load_backend(stylizer.backend, loud, check.device, "fp16").start(pixels)()
    check.line("what overflows in fp16 is noticed", not finite, least=1)
    banded, _ = load_backend("torch", stages, check.device, "fp32", in_bands=True).start(pixels)()
    check.line("in bands, against whole", int((banded.int() - full(pixels).int()).abs().max()), "levels", most=1)


def fast(check: Check) -> None:
    """The network by itself, as frames of 1080p, with the copies to the GPU and back: a shipped style, and one of the
    article's width, whose convolutions are large enough to be measured against the matrix product."""
    count, (width, height), times = (2, (64, 48), 2) if check.quick else (8, (1920, 1080), 12)
    pixels = check.pictures(count, width, height)
    shipped = Stylizer("hosi", device=check.name)
    fused = {"triton": 1} if check.gpu else {"torch": 1, "openvino": 1}
    check.line(
        "computes by its own backend", fused.get(shipped.backend, 0), least=1, note=f"{shipped.backend}, {shipped.precision}"
    )
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder, "wide.pth")
        torch.manual_seed(0)
        save_pth(Checkpoint(TransNet(width=WIDTH).state_dict(), {"style": "wide", "padding_mode": "reflect"}), wide)
        for style, least_rate, least_share in (("hosi", 800, None), (str(wide), None, 45)):
            for backend in ("auto", "torch"):
                stylizer = Stylizer(style, device=check.name, backend=backend)
                seconds = _in_flight(stylizer, pixels, times)
                name = f"width {stylizer.width}, {stylizer.backend}"
                bars = (least_rate, least_share) if backend == "auto" else (None, None)
                check.speed(f"frames of 1080p, {name}", count / seconds, "a second", least=bars[0])
                gflop = network_gflop(256, stylizer.width) / 256**2 * width * height * count
                share = gflop / seconds / 1e3 / check.matrix * 100
                check.speed(f"of the matrix rate, {name}", share, "%", least=bars[1])
    small = check.pictures(1, 320, 240)
    check.speed("single pictures of 320×240", 1 / _in_flight(shipped, small, 4 * times), "a second", least=800)


def _in_flight(stylizer: Stylizer, pixels: Tensor, times: int) -> float:
    """Seconds a batch, one computed while the next waits, as in the loop."""
    for _ in range(3):
        stylizer.start(pixels).result()
    start, waiting = time.perf_counter(), [stylizer.start(pixels)]
    for _ in range(times - 1):
        waiting.append(stylizer.start(pixels))
        waiting.pop(0).result()
    waiting.pop().result()
    return (time.perf_counter() - start) / times


@contextmanager
def _busy(check: Check) -> Iterator[list[float]]:
    """The share of the block's time, in %, in which the GPU computes or copies."""
    share: list[float] = []
    if not check.gpu:
        yield share
        share.append(math.nan)
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        start = time.perf_counter()
        yield share
        check.wait()
        elapsed = time.perf_counter() - start
    events = [event for event in profile.events() if event.device_type == DeviceType.CUDA]
    busy, end = 0.0, -math.inf
    for first, last in sorted((event.time_range.start, event.time_range.end) for event in events):
        busy += max(0.0, last - max(first, end))
        end = max(end, last)
    share.append(busy / 1e6 / elapsed * 100)


def jpeg(check: Check) -> None:
    """nvJPEG against Pillow, the levels that it decodes to, and whether it waits for what it is given."""
    import io

    import numpy as np
    from PIL import Image

    from stylebatch.images.nvjpeg import NvJpeg, jpegs_on

    if not check.gpu:
        check.left_out["jpeg"] = "a GPU's own"
        return
    pictures = list(check.pictures(8, 1920, 1080).numpy())
    own, exact = NvJpeg(check.device), jpegs_on(check.device, "exact")
    check.line("encodes as Pillow does", exact.encode is not None, least=1)
    check.line("decodes 4:4:4 to libjpeg's levels", exact.decode is not None, least=1)
    check.line("decodes 4:2:0 near them", jpegs_on(check.device, "all").decode is not None, least=1)
    if exact.encode:
        encode = partial(own.encode, save={"quality": 95, "subsampling": "4:4:4"})
        check.speed("encoded", 1e3 * check.seconds(lambda: encode(pictures[0]), 20), "ms", most=5)
        alone, matrix = [encode(each) for each in pictures], torch.rand(4096, 4096, device=check.device)
        with ThreadPoolExecutor(8) as threads:
            same = 0
            for _ in range(4):
                for _ in range(20):
                    matrix = matrix @ matrix / 4096
                same += sum(map(operator.eq, threads.map(encode, pictures), alone))
        check.line("encoded by 8 threads on a busy GPU, same bytes", same, "of 32", least=32)
    for sampling in ("4:4:4", "4:2:0"):
        file = io.BytesIO()
        Image.fromarray(pictures[0]).save(file, format="JPEG", quality=92, subsampling=sampling)
        decode = partial(own.decode, file.getvalue())
        pixels = decode()
        with Image.open(file) as image:
            far = np.array([math.nan]) if pixels is None else np.abs(pixels.astype(int) - np.asarray(image))
        most = 0 if sampling == "4:4:4" else None
        check.line(f"{sampling} decoded, against libjpeg", far.max(), "levels", most=most, note=f"mean {far.mean():.2f}")
        check.speed(f"{sampling} decoded", 1e3 * check.seconds(decode, 20), "ms")


class _Rate:
    """Of what a job has done, once its processes have started; and ends it in time.

    Attributes:
        rate: a second, from the first results on.
    """

    def __init__(self) -> None:
        self._end = time.monotonic() + AT_MOST
        self._first: tuple[float, int] | None = None
        self.rate = math.nan

    def progress(self, summary: Summary) -> None:
        now = time.monotonic()
        if self._first is None and summary.done:
            self._first = now, summary.done
        elif self._first and now > self._first[0]:
            self.rate = (summary.done - self._first[1]) / (now - self._first[0])

    def stop(self) -> bool:
        return time.monotonic() > self._end


def _in_memory(bytes_needed: int) -> str | None:
    """A folder that is no disk's, if there is one with so much room."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > bytes_needed else None


def folder(check: Check) -> None:
    """JPEGs of 1080p, as cameras write them, into JPEGs: decoded by the cores, and by the GPU."""
    import io

    from PIL import Image

    from stylebatch import ImageOptions, stylize_folder

    count, size = (3, (64, 48)) if check.quick else (2000, (1920, 1080))
    coded = []
    for pixels in check.pictures(min(count, 16), *size).numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="JPEG", quality=92)
        coded.append(file.getvalue())
    with tempfile.TemporaryDirectory(dir=_in_memory(6 * count * max(map(len, coded)))) as temp:
        photos = Path(temp, "photos")
        photos.mkdir()
        for index in range(count):
            (photos / f"{index:04}.jpg").write_bytes(coded[index % len(coded)])
        for name, asked in (("", "exact"), (", decoded there", "all")) if check.gpu else (("", "exact"),):
            before, rate, options = os.times(), _Rate(), ImageOptions(gpu_jpeg=asked)
            with _busy(check) as share:
                out = Path(temp, asked)
                summary = stylize_folder(
                    photos, out, device=check.name, options=options, progress=rate.progress, stop=rate.stop
                )
                own = os.times()
            of_all = os.times()  # those that decode are counted once they have ended
            shutil.rmtree(out)
            check.line(f"photographs that failed{name}", len(summary.failures), most=0)
            check.line(f"photographs done{name}", summary.done, least=min(count, 50))
            check.speed(f"photographs of 1080p{name}", rate.rate, "a second", least=300)
            check.line(f"the same, from the first moment on{name}", summary.done / summary.seconds, "a second")
            worked = sum(own[:2]) - sum(before[:2]) + sum(of_all[2:4]) - sum(before[2:4])
            cores_busy = 100 * worked / summary.seconds / cores()
            busiest = max(cores_busy, share[0] if check.gpu else 0)
            note = f"GPU {share[0]:.0f}%, {cores()} cores {cores_busy:.0f}%"
            check.speed(f"the GPU busy, or all cores{name}", busiest, "%", least=None if name else 85, note=note)
            for stage, seconds in summary.waits.items():
                check.line(f"the loop waited for {stage}{name}", 100 * seconds / summary.seconds, "%")


def film(check: Check) -> None:
    """H.264 of 1080p into the same: painted alone, which the GPU and the encoders can keep up with, and steadied, which one
    core does."""
    import av

    from stylebatch import VideoOptions, stylize_video

    count, (width, height) = (4, (64, 48)) if check.quick else (480, (1920, 1080))
    with tempfile.TemporaryDirectory() as temp:
        clip = Path(temp, "clip.mp4")
        frames = check.pictures(8, width, height).numpy()
        with av.open(str(clip), "w") as out:
            stream = out.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for index in range(count):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frames[index % 8], format="rgb24")))
            out.mux(stream.encode(None))
        for name, options, least in (("", VideoOptions(steady=0), 60), (", steadied", VideoOptions(), None)):
            rate = _Rate()
            with _busy(check) as share:
                summary = stylize_video(
                    clip, Path(temp, f"out{bool(name)}.mp4"), options=options, device=check.name, progress=rate.progress,
                    stop=rate.stop,
                )  # fmt: skip
            check.line(f"frames done{name}", summary.done, least=min(count, 50))
            check.speed(f"frames of 1080p{name}", rate.rate, "a second", least=least)
            check.line(f"the GPU busy{name}", share[0], "%")
            for stage, seconds in summary.waits.items():
                check.line(f"the loop waited for {stage}{name}", 100 * seconds / summary.seconds, "%")


class _Kept:
    """A sink that keeps what comes."""

    def __init__(self) -> None:
        self.results: list[Tensor] = []
        self.reasons: list[str] = []

    def add(self, _info: FrameInfo, _original: Any, stylized: Any) -> None:
        self.results.append(torch.from_numpy(stylized.copy()))

    def fail(self, _info: FrameInfo, reason: str) -> None:
        self.reasons.append(reason)

    def outcomes(self) -> Iterator[Saved]:
        return iter(())

    def close(self) -> None: ...


def memory(check: Check) -> None:
    """What a pixel takes, and a card that is nearly full: batches in halves, pictures in bands."""
    if not check.gpu:
        check.left_out["memory"] = "a GPU's own"
        return
    pixels = check.pictures(8, 1920, 1080)
    for backend in ("torch", "triton"):
        stylizer = Stylizer("hosi", device=check.name, backend=backend)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(check.device)
        before = torch.cuda.memory_allocated(check.device)
        stylizer.start(pixels).result()
        taken = (torch.cuda.max_memory_allocated(check.device) - before) / (pixels.numel() / 3)
        counted = VALUES_PER_CHANNEL[stylizer.backend] * stylizer.width * 2
        check.line(f"bytes a pixel, {backend} in fp16", taken, "bytes", most=counted)
        del stylizer
    stages = beyond_borders(as_stages(load_style("hosi").network()))
    for count, (width, height) in ((8, (1920, 1080)), (1, (6000, 4500))):
        spare = int(0.6 * taken * count * width * height)
        batch = pixels if count > 1 else check.pictures(1, width, height)
        stylizer = Stylizer("hosi", device=check.name)
        whole = want = stylizer(batch)
        if count == 1:
            want, _ = load_backend("torch", stages, check.device, stylizer.precision, in_bands=True).start(batch)()
        del stylizer
        narrow, sink = Stylizer("hosi", device=check.name), _Kept()
        torch.cuda.empty_cache()
        ballast = torch.empty(
            max(0, torch.cuda.mem_get_info(check.device)[0] - spare), dtype=torch.uint8, device=check.device
        )
        infos = [FrameInfo(index, str(index), None) for index in range(count)]
        summary = run([Load([Batch(infos, batch)], [])], narrow, sink, summary=Summary())
        banded = any(in_bands for _, _, in_bands in narrow._backends)
        del ballast, narrow
        torch.cuda.empty_cache()
        got = torch.stack(sink.results) if len(sink.results) == count else torch.zeros_like(want)
        far = int((got.int() - want.int()).abs().max())
        note = sink.reasons[0] if sink.reasons else "the same bytes" * (not far)
        check.line(f"{count} of {width}×{height} on a full card, against a free one", far, "levels", most=1, note=note)
        if count > 1:
            check.line("batches halved on a full card", summary.halved, least=1)
        else:
            check.line("pictures in bands on a full card", banded, least=1)
            check.line("in bands, against whole", psnr(got, whole), "dB", least=40)


def training(check: Check) -> None:
    """Steps of two crops of 256², and what the precisions come to."""
    from trainer.config import FitConfig
    from trainer.fit import Progress, fit

    steps, side = (3, 64) if check.quick else (60, 256)
    totals: dict[str, float] = {}
    for precision in ("fp32", "bf16", "fp16") if check.gpu else ("fp32", "bf16"):
        told: list[tuple[float, Progress]] = []

        def note(progress: Progress, told: list[tuple[float, Progress]] = told) -> None:
            if progress.step:
                told.append((time.perf_counter(), progress))

        with tempfile.TemporaryDirectory() as temp, suppress(ImportError):  # curves are drawn at the end, by matplotlib
            fit(
                FitConfig(
                    style=ROOT / "trainer/paintings/great_wave.jpg", out=Path(temp), steps=steps, crop_size=side, patience=0,
                    style_size=max(64, side), small_crops=0.0, checkpoint_steps=10**6, init="base", device=check.name,
                    precision=precision,
                ),
                progress=note,
            )  # fmt: skip
        if not told:
            raise ImportError("what `trainer fit` needs beside PyTorch is missing; it tells what")
        half = len(told) // 2 - 1  # the last of those that were told together, as a GPU's are
        milliseconds = 1e3 * (told[-1][0] - told[half][0]) / max(1, told[-1][1].step - told[half][1].step)
        check.speed(f"a step in {precision}", milliseconds, "ms", most=15 if precision == "bf16" else None)
        totals[precision] = statistics.fmean(progress.losses["total"] for _, progress in told[-10:])
        check.line(f"steps taken in {precision}", told[-1][1].step, "steps", least=steps)
    for precision, total in totals.items():
        check.line(f"total in {precision}, against fp32", abs(total / totals["fp32"] - 1) * 100, "%", most=5)


def tests(check: Check) -> None:
    """The suite's tests that need a GPU."""
    if not check.gpu:
        check.left_out["tests"] = "they need a GPU"
        return
    import pytest

    files = [path for path in sorted(ROOT.glob("tests/test_*.py")) if "requires_cuda" in path.read_text()]
    try:
        import trainer.content  # noqa: F401
    except ImportError as error:
        files = [ROOT / "tests/test_triton.py"]
        print(f"        tests of all but the kernels: left out: {error}")
    packages = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "cuda", "-p", "no:cacheprovider", "-q", *map(str, files)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, "STYLEBATCH_REQUIRE_CUDA": "1", "PYTHONPATH": packages},
    )  # fmt: skip
    last = (result.stdout.strip().splitlines() or [result.stderr])[-1]
    check.line(f"pytest {pytest.__version__} -m cuda: exit status", result.returncode, most=0, note=last)
    if result.returncode:
        print(result.stdout[-3000:], result.stderr[-1000:])


SECTIONS = {each.__name__: each for each in (machine, right, fast, jpeg, training, memory, folder, film, tests)}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--quick", action="store_true", help="small pictures, few of them")
    parser.add_argument(
        "--only", nargs="+", choices=[*SECTIONS], default=[*SECTIONS], metavar="SECTION", help=", ".join(SECTIONS)
    )
    parser.add_argument("--json", type=Path, default=Path("check_gpu.json"), help="default: check_gpu.json")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA GPU here; --device cpu --quick tries what can be tried without one")
    check = Check(torch.device(arguments.device), arguments.quick)
    name = torch.cuda.get_device_name(check.device) if check.gpu else "CPU"
    versions = f"PyTorch {torch.__version__}, Python {sys.version.split()[0]}"
    print(f"{name}, {versions}", flush=True)
    began = time.monotonic()
    for section in dict.fromkeys(["machine", *arguments.only]):
        check.section, start = section, time.monotonic()
        if start - began > SECONDS:
            check.line("begun in time", 0, least=1, note=f"{SECONDS} s were over")
            continue
        try:
            SECTIONS[section](check)
        except ImportError as error:
            check.left_out[section] = str(error)
        except Exception as error:  # the other sections tell something nevertheless
            check.line("ended", 0, least=1, note=f"{type(error).__name__}: {error}".splitlines()[0])
        if section in check.left_out:
            print(f"        {section}: left out: {check.left_out[section]}")
        print(f"        {section}: {time.monotonic() - start:.1f} s", flush=True)
    failed = [line for line in check.lines if line.passed is False]
    lines = [{**asdict(line), "value": line.value if math.isfinite(line.value) else str(line.value), "passed": line.passed}
             for line in check.lines]  # fmt: skip
    report = {"device": name, "versions": versions, "quick": arguments.quick, "seconds": round(time.monotonic() - began, 1),
              "failed": len(failed), "left_out": check.left_out, "lines": lines}  # fmt: skip
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{len(failed)} of {sum(line.passed is not None for line in check.lines)} bars failed; {arguments.json}")
    if check.left_out:
        print(f"left out: {', '.join(check.left_out)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
