"""How fast this machine is: the network alone, on each backend and in each precision that it has."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from stylebatch.device import DTYPES, Precision, half_in_hardware, pick_device
from stylebatch.stages import as_stages, beyond_borders
from stylebatch.stylizer import Stylizer
from stylebatch.transnet import WIDTH, TransNet, pad_to_multiple


@dataclass(frozen=True)
class Measurement:
    """One way to compute, on pictures of `side`×`side` pixels.

    Attributes:
        seconds: a picture, the median.
        megapixels_per_second: likewise.
        gflops: 10⁹ operations a second, by the count of the plain network.
        matmul_gflops: for comparison, the rate of PyTorch's matrix product in the same precision. No limit: other libraries
            have better kernels, and Winograd's convolutions need fewer operations than are counted.
        psnr: against fp32 by PyTorch on the same picture, noise with the spectrum of photographs, in dB; infinite where
            nothing differs.
    """

    backend: str
    precision: Precision
    side: int
    seconds: float
    megapixels_per_second: float
    gflops: float
    matmul_gflops: float
    psnr: float


def benchmark(
    style: str = "hosi",
    *,
    device: str = "auto",
    sides: tuple[int, ...] = (512, 1024),
    repeats: int = 3,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Measurement]:
    """Time every way, taking turns, so that what else the machine does slows all of them alike.

    Args:
        sides: sizes of the square pictures.
        repeats: turns, after one that warms up.
        progress: called with turns done and in all.

    Raises:
        StylebatchError: unknown style, missing device.
    """
    picked = pick_device(device)
    backends = dict.fromkeys([Stylizer(style, device=device).backend, "torch"])
    half = half_in_hardware(picked)
    precisions: list[Precision] = ["fp32", half] if half else ["fp32"]
    stylizers = {
        (backend, precision): Stylizer(style, device=device, precision=precision, backend=backend)
        for backend in backends
        for precision in precisions
    }
    pictures = {side: _picture(side) for side in sides}
    reference = {side: stylizers["torch", "fp32"](picture) for side, picture in pictures.items()}
    width = stylizers["torch", "fp32"].width
    products = {precision: matmul_gflops(picked, precision, repeats) for precision in precisions}
    seconds: dict[tuple[str, Precision, int], list[float]] = {}
    psnrs: dict[tuple[str, Precision, int], float] = {}
    turns = [(backend, precision, side) for side in sides for backend, precision in stylizers]
    for turn in range(repeats + 1):
        for number, (backend, precision, side) in enumerate(turns):
            start = time.perf_counter()
            stylized = stylizers[backend, precision](pictures[side])
            elapsed = time.perf_counter() - start
            if turn == 0:
                psnrs[backend, precision, side] = psnr(stylized, reference[side])
            else:
                seconds.setdefault((backend, precision, side), []).append(elapsed)
            progress(turn * len(turns) + number + 1, (repeats + 1) * len(turns))
    return [
        Measurement(
            backend,
            precision,
            side,
            seconds=(median := statistics.median(seconds[backend, precision, side])),
            megapixels_per_second=side * side / 1e6 / median,
            gflops=network_gflop(side, width) / median,
            matmul_gflops=products[precision],
            psnr=psnrs[backend, precision, side],
        )
        for backend, precision, side in turns
    ]


def network_gflop(side: int, width: int = WIDTH) -> float:
    """10⁹ multiplications and additions of the plain network of that width on a `side`×`side` picture."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        TransNet("zeros", width)(torch.empty(1, 3, side, side))
    return float(counter.get_total_flops()) / 1e9


def plain_picture(
    network: TransNet, pixels: Tensor, beyond: int | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:
    """What a stylizer is compared with: the picture that the fp32 network as it is written makes of N×H×W×3 uint8 or uint16,
    in that dtype. A network that reflects sees its photograph go on by `beyond` pixels, by default as a stylizer's does."""
    if beyond is None:
        beyond = beyond_borders(as_stages(network))[0].beyond
    _, height, width, _ = pixels.shape
    top = torch.iinfo(pixels.dtype).max
    x = pad_to_multiple(pixels.permute(0, 3, 1, 2).to(dtype) / top, beyond=beyond)
    with torch.inference_mode():
        y: Tensor = network.to(dtype)(x)[..., beyond : beyond + height, beyond : beyond + width]
    network.float()
    return (y * top).round().permute(0, 2, 3, 1)


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of two uint8 batches, in dB."""
    error = (a.double() - b.double()).square().mean()
    return float(10 * torch.log10(255**2 / error))


def _picture(side: int) -> Tensor:
    """1×side×side×3 uint8: noise whose amplitude falls with its frequency, as it does in photographs (Field 1987). Where a
    picture has no detail, normalisation divides by next to nothing, and half precision would look worse than it is."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.zeros(1, 3, side, side)
    cells = 4
    while cells <= side:
        coarse = torch.rand(1, 3, cells, cells, generator=generator) - 0.5
        noise += F.interpolate(coarse, size=(side, side), mode="bicubic") / cells
        cells *= 2
    noise = noise - noise.amin()
    return (noise / noise.amax() * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def matmul_gflops(device: torch.device, precision: Precision, repeats: int) -> float:
    """10⁹ operations a second of PyTorch's product of two large matrices."""
    side = 2048
    a = torch.rand(side, side).to(device, DTYPES[precision])
    rates = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        rates.append(2 * side**3 / (time.perf_counter() - start) / 1e9)
    return statistics.median(rates[1:])
