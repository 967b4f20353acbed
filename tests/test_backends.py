from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from conftest import ONE_LEVEL, STEPS_OF_65535, assert_close, picture, requires_openvino
from torch import Tensor

from stylebatch import Stylizer
from stylebatch.backends import bands, load_backend, pick_backend
from stylebatch.backends.pytorch import convolve, instance_norm
from stylebatch.benchmark import plain_picture
from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_pth
from stylebatch.device import shortage
from stylebatch.errors import StylebatchError
from stylebatch.stages import PIXEL_SCALE, as_stages
from stylebatch.system import cores, free_memory
from stylebatch.transnet import TransNet

CPU = torch.device("cpu")
BACKENDS = ["torch", pytest.param("openvino", marks=requires_openvino), "bands"]


def on(backend: str, style: Path, monkeypatch: pytest.MonkeyPatch, precision: str = "fp32") -> Stylizer:
    """The style on a backend; in bands, the smallest bands that there are."""
    if backend == "bands":
        monkeypatch.setattr("stylebatch.stylizer.WHOLE_PIXELS", 0)
        monkeypatch.setattr("stylebatch.backends.bands.BAND_VALUES", 1)
        backend = "torch"
    return Stylizer(style, device="cpu", precision=precision, backend=backend)


def photographs(*sizes: tuple[int, int], dtype: torch.dtype = torch.uint8) -> list[Tensor]:
    pictures = [torch.from_numpy(np.array(picture(*size, seed=str(size))))[None] for size in sizes]
    if dtype == torch.uint8:
        return pictures
    return [(pixels.int() * 257 + torch.randint(-99, 99, pixels.shape)).clamp(0, 65535).to(dtype) for pixels in pictures]


@pytest.mark.parametrize(("padding_mode", "width"), [("zeros", 32), ("reflect", 32), ("reflect", 8)])
@pytest.mark.parametrize("size", [(8, 8), (8, 40), (44, 60)])
def test_the_stages_are_the_network(padding_mode: str, width: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = TransNet(padding_mode, width).double().eval()  # type: ignore[arg-type]
    pixels = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        stages = as_stages(network)
        centre = pixels.mean((2, 3), keepdim=True) if stages[0].centred else 0
        x = before = (pixels - centre) * PIXEL_SCALE
        for stage in stages:
            y = convolve(stage, x, top=stage.padding, bottom=stage.padding)
            y = y[:, :, stage.crop : y.shape[2] - stage.crop]
            assert y.shape[1:] == (stage.channels, stage.output_size(x.shape[2]), stage.output_size(x.shape[3]))
            if not stage.last:
                y = instance_norm(y)
                y = (y + before if stage.residual else y).relu()
            x, before = y, x
        assert_close(x.sigmoid(), network(pixels), torch.float64)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize(("padding_mode", "width"), [("zeros", 32), ("reflect", 32), ("reflect", 8)])
def test_every_backend_is_the_plain_network(
    backend: str, dtype: torch.dtype, padding_mode: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    save_pth(Checkpoint(TransNet(width=width).state_dict(), {"padding_mode": padding_mode}), tmp_path / "style.pth")
    stylizer = on(backend, tmp_path / "style.pth", monkeypatch)
    for pixels in photographs((3, 50), (37, 45), dtype=dtype):
        actual, expected = stylizer(pixels), plain_picture(load_checkpoint(tmp_path / "style.pth").network(), pixels)
        assert actual.shape == pixels.shape
        assert actual.dtype == dtype
        assert actual.is_contiguous()
        tolerance = ONE_LEVEL if dtype == torch.uint8 else STEPS_OF_65535
        assert (actual.double() - expected).abs().max() <= tolerance


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_picture_does_not_depend_on_its_neighbours(
    backend: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylizer = on(backend, checkpoint, monkeypatch)
    together = torch.cat([torch.from_numpy(np.array(picture(60, 44, seed=seed)))[None] for seed in range(3)])
    apart = torch.cat([stylizer(pixels[None]) for pixels in together])
    assert (stylizer(together).int() - apart.int()).abs().max() <= ONE_LEVEL


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_picture_does_not_depend_on_threads(backend: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pixels,) = photographs((60, 44))
    by_all, threads = on(backend, checkpoint, monkeypatch)(pixels), torch.get_num_threads()
    if backend == "openvino":
        monkeypatch.setattr("stylebatch.backends.openvino.cores", lambda: 1)
    torch.set_num_threads(1)
    try:
        by_one = on(backend, checkpoint, monkeypatch)(pixels)
    finally:
        torch.set_num_threads(threads)
    assert (by_one.int() - by_all.int()).abs().max() <= ONE_LEVEL


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_overflows_in_half_is_run_again_in_fp32(
    backend: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first layer that leaves fp16's range. The normalisation behind it takes the scale out again: fp32 is fine."""
    loud = load_checkpoint(checkpoint)
    loud.model["layer.0.weight"] *= 1e6
    save_pth(loud, tmp_path / "loud.pth")
    (pixels,) = photographs((60, 44))
    half = on(backend, tmp_path / "loud.pth", monkeypatch, "fp16")(pixels)
    full = on(backend, tmp_path / "loud.pth", monkeypatch)(pixels)
    assert torch.equal(half, full)
    assert half.float().std() > 1


def test_bands_depend_on_the_size_alone(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one band or in many: the same statistics, and no seams."""
    (pixels,) = photographs((200, 150))
    many = on("bands", checkpoint, monkeypatch)(pixels)
    monkeypatch.setattr("stylebatch.backends.bands.BAND_VALUES", 1 << 40)
    monkeypatch.setattr("stylebatch.stylizer.WHOLE_PIXELS", 0)
    one = Stylizer(checkpoint, device="cpu", precision="fp32", backend="torch")(pixels)
    assert (many.int() - one.int()).abs().max() <= ONE_LEVEL


def test_a_device_out_of_memory_takes_a_single_picture_in_bands(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several are the pipeline's to part."""
    stylizer = Stylizer(checkpoint, device="cpu", precision="fp32", backend="torch")
    (pixels,) = photographs((60, 44))
    expected = stylizer(pixels)

    def too_much(*_: object) -> Callable[[], tuple[Tensor, bool]]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("stylebatch.backends.pytorch.PyTorchBackend.start", too_much)
    assert (stylizer(pixels).int() - expected.int()).abs().max() <= ONE_LEVEL
    with pytest.raises(MemoryError, match="not enough memory"):
        stylizer(pixels.expand(2, -1, -1, -1))


@pytest.mark.slow
@pytest.mark.skipif(free_memory() is None, reason="this system does not tell its memory")
def test_what_does_not_fit_into_memory_is_refused_before_the_system_kills(tmp_path: Path) -> None:
    """A wide network, for which a picture need not be so large."""
    free, network = free_memory(), TransNet(width=64)
    assert free is not None
    assert 10**8 < free < 10**14
    save_pth(Checkpoint(network.state_dict(), {"padding_mode": "reflect"}), tmp_path / "wide.pth")
    side = int((free / (4 * bands.values_per_pixel(as_stages(network)))) ** 0.5) + 2000
    huge = torch.zeros(1, 1, 1, 3, dtype=torch.uint8).expand(1, side // 8 * 8, side // 8 * 8, 3)
    with pytest.raises(MemoryError, match=r"needs [\d.]+ GB of memory and [\d.]+ GB are free; use `size`"):
        Stylizer(tmp_path / "wide.pth", device="cpu", precision="fp32", strokes=1)(huge)


@requires_openvino
def test_cpus_compute_by_openvino() -> None:
    assert pick_backend("auto", CPU) == "openvino"


def test_the_backend_follows_the_device() -> None:
    assert pick_backend("auto", torch.device("cuda")) == "triton"
    assert pick_backend("auto", torch.device("mps")) == "torch"
    assert pick_backend("torch", CPU) == "torch"
    with pytest.raises(StylebatchError, match="'tensorrt': use auto, torch, openvino, triton"):
        pick_backend("tensorrt", CPU)
    with pytest.raises(StylebatchError, match="computes on the CPU, not on cuda; use `backend` torch"):
        pick_backend("openvino", torch.device("cuda"))
    with pytest.raises(StylebatchError, match="computes on CUDA, not on cpu; use `backend` torch"):
        pick_backend("triton", CPU)


def test_without_openvino_pytorch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylebatch.backends.find_spec", lambda _: None)
    assert pick_backend("auto", CPU) == "torch"
    with pytest.raises(StylebatchError, match="not installed; pip install openvino"):
        pick_backend("openvino", CPU)


@requires_openvino
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or cores() < 2, reason="needs cores to be tied to")
def test_processes_that_share_the_cores_are_not_tied_to_the_same(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylebatch.backends.openvino.cores", lambda: 1)
    backend = load_backend("openvino", as_stages(load_checkpoint(checkpoint).network()), CPU, "fp32")
    (pixels,) = photographs((256, 256))
    backend.start(pixels)  # compiling ties its thread to single cores for moments
    painting = Thread(target=lambda: [backend.start(pixels) for _ in range(5)])
    painting.start()
    allowed = set()
    while painting.is_alive():
        with suppress(ProcessLookupError):
            allowed.add(frozenset(os.sched_getaffinity(painting.native_id or 0)))
    assert allowed == {frozenset(os.sched_getaffinity(0))}


@requires_openvino
def test_an_error_of_openvino_stays_with_its_batch(checkpoint: Path) -> None:
    backend = load_backend("openvino", as_stages(load_checkpoint(checkpoint).network()), CPU, "fp32")
    (pixels,) = photographs((44, 60))
    before, _ = backend.start(pixels)()
    with pytest.raises(RuntimeError):
        backend.start(pixels[..., :2])
    assert (backend.start(pixels)()[0] == before).all()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 753894912 bytes."),
        RuntimeError("Exception from infer_request.cpp:224:\n[CPU] Check 'ptr' failed:\nFailed to allocate 752640000 bytes"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_memory_that_is_short_is_said_alike(error: Exception) -> None:
    assert shortage(error) == "not enough memory; use `size`"
    assert shortage(MemoryError("12 GB are needed")) == "12 GB are needed"
    assert shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == ""
