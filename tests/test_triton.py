"""The kernels of the fused stages: on a GPU, or in Triton's interpreter on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MIN_PSNR, ONE_LEVEL, STEPS_OF_65535, picture, requires_cuda, requires_triton
from torch import Tensor

from stylebatch import Stylizer
from stylebatch.backends import RefusedError, load_backend
from stylebatch.backends.pytorch import PyTorchBackend
from stylebatch.benchmark import plain_picture, psnr
from stylebatch.stages import Stage, as_stages, beyond_borders
from stylebatch.styles import load_style
from stylebatch.transnet import TransNet

triton_backend = pytest.importorskip("stylebatch.backends.triton")
if not torch.cuda.is_available():
    pytest.importorskip("triton", minversion="3.8", reason="the interpreter of older ones fails with new versions of NumPy")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def network(padding_mode: str = "reflect", width: int = 8) -> TransNet:
    """With one of the five residual blocks, which are alike: half of what the interpreter takes seconds for."""
    torch.manual_seed(1)
    net = TransNet(padding_mode, width).eval()  # type: ignore[arg-type]
    del net.layer[10:14]
    return net


def by_triton(stages: list[Stage], pixels: Tensor, precision: str = "fp32") -> tuple[Tensor, bool]:
    stylized, finite = triton_backend.TritonBackend(stages, DEVICE, precision).start(pixels)()
    assert stylized.shape == pixels.shape
    assert stylized.dtype == pixels.dtype
    return stylized, finite


def photographs(count: int, width: int, height: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    pixels = torch.stack([torch.from_numpy(np.array(picture(width, height, seed))) for seed in range(count)]).int()
    if dtype == torch.uint8:
        return pixels.to(dtype)
    return (pixels * 257 + torch.randint(-99, 99, pixels.shape)).clamp(0, 65535).to(dtype)


@pytest.mark.parametrize(
    ("padding_mode", "width", "size", "dtype"),
    [
        pytest.param("reflect", 32, (18, 13), torch.uint8, marks=pytest.mark.slow),
        pytest.param("zeros", 32, (16, 24), torch.uint16, marks=pytest.mark.slow),
        pytest.param("zeros", 16, (1, 1), torch.uint8, marks=pytest.mark.slow),
        ("reflect", 8, (5, 3), torch.uint16),
        pytest.param("zeros", 5, (2, 9), torch.uint8, marks=pytest.mark.slow),
        pytest.param("reflect", 16, (22, 27), torch.uint8, marks=pytest.mark.slow),
        pytest.param("reflect", 12, (31, 16), torch.uint16, marks=pytest.mark.slow),
    ],
)
def test_fused_stages_are_the_plain_network(
    padding_mode: str, width: int, size: tuple[int, int], dtype: torch.dtype
) -> None:
    """Of sizes that tiles, blocks and strides divide or do not, and widths that are powers of two or not."""
    net, pixels = network(padding_mode, width), photographs(2 if width < 10 else 1, *size, dtype)
    stylized, finite = by_triton(as_stages(net), pixels)
    assert finite
    tolerance = ONE_LEVEL if dtype == torch.uint8 else STEPS_OF_65535
    assert (stylized.double() - plain_picture(net, pixels, beyond=0)).abs().max() <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize("size", [(9, 2), (21, 15)])
def test_pictures_go_on_beyond_their_borders(size: tuple[int, int]) -> None:
    net, pixels = network(), photographs(1, *size)
    stylized, _ = by_triton(beyond_borders(as_stages(net)), pixels)
    assert (stylized.double() - plain_picture(net, pixels)).abs().max() <= ONE_LEVEL


@pytest.mark.slow
def test_in_small_parts_and_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a large picture is: many tiles in a row, many parts that are measured, several turns in each."""
    net, pixels = network(), photographs(1, 30, 21)
    monkeypatch.setattr("stylebatch.backends.triton.TILE", 256)
    monkeypatch.setattr("stylebatch.backends.triton.PARTS", 5)
    assert (by_triton(as_stages(net), pixels)[0].double() - plain_picture(net, pixels, beyond=0)).abs().max() <= ONE_LEVEL


@pytest.mark.slow
def test_an_even_picture_stays_even() -> None:
    """No contrast, which a normalisation would make much of: exactly none comes of it."""
    stages, pixels = as_stages(network()), torch.tensor([7, 200, 31], dtype=torch.uint8).expand(1, 1, 1, 3).contiguous()
    expected, _ = PyTorchBackend(stages, torch.device("cpu"), "fp32").start(pixels)()
    assert torch.equal(by_triton(stages, pixels)[0], expected)
    even = by_triton(stages, pixels.expand(1, 5, 14, 3).contiguous())[0]
    assert torch.equal(even, expected.expand_as(even))


def test_a_little_contrast_far_from_zero() -> None:
    """The variance of a channel whose mean is a thousand times its deviation: the mean square less the squared mean would
    be off by a tenth."""
    kernels = triton_backend
    y = (torch.randn(1, 16, 12, 8) * 0.1 + 100).to(DEVICE)
    sums = torch.empty(1, 3, 2, 8, device=DEVICE)
    moments, finite = torch.empty(1, 2, 8, device=DEVICE), torch.ones(1, dtype=torch.int32, device=DEVICE)
    kernels.measure[3, 1](y, sums, 16, 12, 64, CHANNELS=8, SHUFFLE=False, CROP=0, COLUMNS=8, ROWS=16)
    kernels.conclude[1, 1](y, sums, moments, finite, 16, 12, 3, 192, 1e-12, CHANNELS=8, QUARTERS=1, COLUMNS=32)
    expected = y.double().flatten(1, 2).var(1, correction=0).rsqrt()
    torch.testing.assert_close(moments[:, 1].double(), expected, rtol=1e-4, atol=0)
    assert finite


@pytest.mark.slow
def test_a_frame_has_the_same_bytes_alone_and_in_a_batch() -> None:
    stages, pixels = as_stages(network()), photographs(2, 10, 3)
    together = by_triton(stages, pixels)[0]
    apart = torch.cat([by_triton(stages, each[None])[0] for each in pixels])
    assert (together.int() - apart.int()).abs().max() <= (0 if DEVICE.type == "cpu" else ONE_LEVEL)


@pytest.mark.slow
def test_a_batch_of_too_many_values_is_computed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    net, pixels = network(), photographs(3, 10, 3)
    stages = as_stages(net)
    one = (12 + 8) * (4 + 8) * 8
    monkeypatch.setattr("stylebatch.backends.triton.MOST_VALUES", 2 * one)
    assert (by_triton(stages, pixels)[0].double() - plain_picture(net, pixels, beyond=0)).abs().max() <= ONE_LEVEL
    monkeypatch.setattr("stylebatch.backends.triton.MOST_VALUES", one - 1)
    with pytest.raises(MemoryError, match=r"10×3 pixels are too many to be computed at once; use `size`"):
        triton_backend.TritonBackend(stages, torch.device("cpu"), "fp32").start(pixels)


@pytest.mark.slow
def test_half_precision_stays_close() -> None:
    net, pixels = load_style("hosi").network(), photographs(1, 32, 12)
    stages, full = as_stages(net), plain_picture(net, pixels, beyond=0).to(torch.uint8)
    for precision in ("fp16", "bf16"):
        assert psnr(by_triton(stages, pixels, precision)[0], full) >= MIN_PSNR


@pytest.mark.slow
@pytest.mark.parametrize(("style", "strength"), [("hosi:0.6,wave:0.4", 1.0), ("wave", 0.5)])
def test_mixes_and_strengths(style: str, strength: float) -> None:
    net, pixels = load_style(style, strength).network(), photographs(1, 24, 12)
    assert (by_triton(as_stages(net), pixels)[0].double() - plain_picture(net, pixels, beyond=0)).abs().max() <= ONE_LEVEL


LOUD = [0, 3, 5, 7]


def with_loud(*which: int) -> tuple[list[Stage], Tensor]:
    """A network of which some stages overflow in half precision, and a picture for it."""
    stages = [replace(each, kernel=each.kernel * (1e6 if i in which else 1)) for i, each in enumerate(as_stages(network()))]
    return stages, photographs(1, 9, 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter
@pytest.mark.parametrize("stage", LOUD)
def test_what_overflows_in_half_is_noticed(stage: int) -> None:
    """In whichever layer: a ReLU would make zeros of what is no number, and the picture would look like one."""
    assert not by_triton(*with_loud(stage), "fp16")[1]


@pytest.mark.slow
def test_what_overflows_in_half_does_not_in_fp32() -> None:
    assert by_triton(*with_loud(*LOUD), "fp32")[1]


def test_where_it_cannot_compute_it_says_so() -> None:
    stages = as_stages(network())
    with pytest.raises(RefusedError, match=r"backend triton: it does not compute here: .+"):
        load_backend("triton", stages, torch.device("cuda", 99), "fp16")


@requires_cuda
def test_the_kernels_of_another_picture_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylebatch.backends.triton.PIXEL_SCALE", 0.5)
    with pytest.raises(RefusedError, match=r"its pictures are others than PyTorch's, by [\d.]+ levels of 255"):
        load_backend("triton", as_stages(load_style("hosi").network()), DEVICE, "fp16")


@requires_cuda
def test_graphs_give_what_kernels_give() -> None:
    """The first batch of a shape is computed kernel by kernel, the second captured, the third replayed."""
    backend = triton_backend.TritonBackend(as_stages(load_style("hosi").network()), DEVICE, "fp16")
    shapes = [(count, 64 + 4 * side, 48 + side) for count in (1, 2) for side in range(6)]
    batches = {shape: photographs(shape[0], shape[2], shape[1]) for shape in shapes}
    first = {shape: backend.start(batches[shape])()[0] for shape in shapes}
    for _ in range(3):
        started = [(shape, backend.start(batches[shape].pin_memory())) for shape in shapes]
        for shape, result in started:
            stylized, finite = result()
            assert finite
            assert torch.equal(stylized, first[shape])
    assert len(backend._graphs) == triton_backend.MOST_GRAPHS


@requires_cuda
def test_threads_share_a_stylizer_on_a_gpu() -> None:
    stylizer = Stylizer("hosi", device="cuda")
    pictures = [photographs(2, 96, 64), photographs(1, 64, 96)]
    expected = [stylizer(pixels) for pixels in pictures]
    wrong: list[int] = []

    def work(which: int) -> None:
        wrong.extend(which for _ in range(30) if not torch.equal(stylizer(pictures[which]), expected[which]))

    threads = [threading.Thread(target=work, args=(index % 2,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@requires_cuda
def test_sixteen_bits_are_computed_in_fp32_not_in_tf32() -> None:
    pixels = photographs(1, 96, 64, torch.uint16)
    expected = plain_picture(load_style("hosi").network(), pixels)
    for backend in ("triton", "torch"):
        stylized = Stylizer("hosi", device="cuda", backend=backend)(pixels)
        assert (stylized.double() - expected).abs().max() <= STEPS_OF_65535


@pytest.mark.slow
@requires_triton
def test_kernels_compile_for_each_generation_of_gpus() -> None:
    """Without one: what a width and a padding need is what running them here asks for."""
    script = Path(__file__).parent / "support" / "compile_kernels.py"
    without = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    networks = {"fp16 16 reflect 75 80 90": 3, "fp32 32 zeros 90": 1, "bf16 12 reflect 120": 1}
    run = subprocess.run([sys.executable, script, *networks], env=without, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert all(int(count) >= 15 * gpus for count, gpus in zip(run.stdout.split(), networks.values(), strict=True))
