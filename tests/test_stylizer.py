from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MIN_PSNR, ONE_LEVEL, STEPS_OF_65535, picture, requires_cuda
from torch import Tensor

from stylebatch import Stylizer
from stylebatch.benchmark import plain_picture, psnr
from stylebatch.checkpoint import load_checkpoint
from stylebatch.device import pick_device, pick_devices, pick_precision
from stylebatch.errors import StylebatchError
from stylebatch.pixels import with_tone_of
from stylebatch.styles import shipped_styles
from trainer.content import PACKAGED, load_photograph


def batch(*seeds: int, size: tuple[int, int] = (60, 44)) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(picture(*size, seed=seed))) for seed in seeds])


@pytest.fixture(scope="module")
def stylizer(checkpoint: Path) -> Stylizer:
    return Stylizer(checkpoint, device="cpu", precision="fp32")


def test_it_is_the_network_on_0_to_1(stylizer: Stylizer, checkpoint: Path) -> None:
    pixels = batch(1, 2)
    expected = plain_picture(load_checkpoint(checkpoint).network(), pixels)
    actual = stylizer(pixels)
    assert actual.dtype == torch.uint8
    assert actual.is_contiguous()
    assert (actual.int() - expected.int()).abs().max() <= ONE_LEVEL
    assert stylizer.name == "plain"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_sixteen_bits_stay_sixteen(checkpoint: Path, precision: str) -> None:
    """Whatever the precision: the network's own fp32 result, to a step of 65535."""
    pixels = (batch(1, 2).int() * 257 + torch.randint(-99, 99, (2, 44, 60, 3))).clamp(0, 65535).to(torch.uint16)
    expected = plain_picture(load_checkpoint(checkpoint).network(), pixels)
    actual = Stylizer(checkpoint, device="cpu", precision=precision)(pixels)
    assert actual.dtype == torch.uint16
    assert (actual.float() - expected).abs().max() <= STEPS_OF_65535
    eight = Stylizer(checkpoint, device="cpu", precision="fp32")((pixels.int() // 257).to(torch.uint8))
    assert (actual.float() / 257 - eight.float()).abs().mean() < 2


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (13, 9), (64, 48), (500, 1)])
def test_any_size(stylizer: Stylizer, size: tuple[int, int]) -> None:
    assert stylizer(batch(1, size=size)).shape == (1, size[1], size[0], 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (9, 1), (13, 500)])
def test_tone_comes_back_as_far_as_it_is_asked_to(dtype: type, size: tuple[int, int]) -> None:
    """A flat, dark photograph, of which an instance normalisation made a contrasted, bright picture."""
    top = np.iinfo(dtype).max
    noise = np.random.default_rng(0).normal(size=(*size, 3))
    photograph, stylized = ((at + spread * noise) * top for at, spread in ((0.3, 0.005), (0.6, 0.1)))
    photograph, stylized = photograph.astype(dtype), stylized.clip(0, top).astype(dtype)
    assert np.array_equal(with_tone_of(stylized, photograph, 0), stylized)
    far = [np.abs(with_tone_of(stylized, photograph, share) - photograph.astype(float)).mean() for share in (0, 0.5, 1)]
    assert far[1] < far[0] / 3
    assert far[2] < 0.003 * top


@pytest.mark.slow
@pytest.mark.parametrize("style", shipped_styles())
def test_half_precision_stays_close(style: str) -> None:
    """On a bright, even sky, where the network makes much of little."""
    photograph = load_photograph(PACKAGED / "palace.jpg", 384)
    pixels = (photograph * 255).round().byte().permute(0, 2, 3, 1).contiguous()
    full = Stylizer(style, device="cpu", precision="fp32")(pixels)
    for precision in ("bf16", "fp16"):
        assert psnr(Stylizer(style, device="cpu", precision=precision)(pixels), full) >= MIN_PSNR


def test_several_devices_take_turns(stylizer: Stylizer, checkpoint: Path) -> None:
    """In their order, whatever order the results are asked for in."""
    several = Stylizer(checkpoint, device="cpu", precision="fp32", backend="torch")
    several.devices = [torch.device("cpu"), torch.device("cpu", 0)]
    pictures = [batch(seed) for seed in range(4)]
    pending = [several.start(pixels) for pixels in pictures]
    for pixels, started in reversed(list(zip(pictures, pending, strict=True))):
        assert (started.result().int() - stylizer(pixels).int()).abs().max() <= ONE_LEVEL


@requires_cuda
def test_all_gpus() -> None:
    """More batches on their way than there are streams: none overwrites another's memory."""
    gpus, cpu = Stylizer("hosi", device="all"), Stylizer("hosi", device="cpu", precision="fp32")
    assert gpus.in_flight == 2 * torch.cuda.device_count()
    pictures = [batch(seed, size=(256, 192)) for seed in range(3 * gpus.in_flight)]
    pending = [gpus.start(pixels.pin_memory()) for pixels in pictures]
    for pixels, started in zip(pictures, pending, strict=True):
        assert psnr(started.result(), cpu(pixels)) >= MIN_PSNR


@requires_cuda
def test_cuda_fp16() -> None:
    gpu, cpu = Stylizer("hosi", device="cuda"), Stylizer("hosi", device="cpu", precision="fp32")
    assert gpu.precision == "fp16"
    pixels = batch(1, 2, size=(256, 192))
    assert psnr(gpu(pixels.pin_memory()), cpu(pixels)) >= MIN_PSNR


def test_bad_batches(stylizer: Stylizer) -> None:
    for pixels in (batch(1)[0], batch(1).float(), batch(1).permute(0, 3, 1, 2)):
        with pytest.raises(ValueError, match="N×H×W×3 uint8"):
            stylizer.start(pixels)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "no such device"),
        ("cuda:99", "no CUDA GPU here|this machine has"),
        ("meta", "no such device"),
        ("all", "one alone"),
    ],
)
def test_bad_devices(device: str, message: str) -> None:
    with pytest.raises(StylebatchError, match=message):
        pick_device(device)


def test_device_lists() -> None:
    assert pick_devices("cpu") == [torch.device("cpu")]
    for name in ("cpu,cpu", "cuda:0,cuda:0", "cuda,cuda:0", "cpu,"):
        with pytest.raises(StylebatchError, match=r"different GPUs|no CUDA GPU here|no such device"):
            pick_devices(name)
    if not torch.cuda.is_available():
        with pytest.raises(StylebatchError, match="no CUDA GPU here"):
            pick_devices("all")


def test_precision_follows_the_device() -> None:
    assert pick_precision("auto", torch.device("cuda")) == "fp16"
    assert pick_precision("auto", torch.device("cpu")) in ("fp32", "bf16")
    assert pick_precision("auto", torch.device("mps")) == "fp32"
    assert pick_precision("bf16", torch.device("cpu")) == "bf16"
    with pytest.raises(StylebatchError, match="use auto, fp32, bf16, fp16"):
        pick_precision("int8", torch.device("cpu"))
