from __future__ import annotations

import pytest
import torch
from conftest import requires_openvino

from stylebatch.benchmark import _picture, benchmark, network_gflop
from stylebatch.errors import StylebatchError
from stylebatch.styles import load_style


@pytest.mark.slow
@requires_openvino
def test_every_way_is_measured_and_agrees_with_plain_fp32() -> None:
    turns: list[tuple[int, int]] = []
    measurements = benchmark(device="cpu", sides=(64,), repeats=1, progress=lambda *turn: turns.append(turn))
    assert {(m.backend, m.precision) for m in measurements} >= {("openvino", "fp32"), ("torch", "fp32")}
    for m in measurements:
        assert m.megapixels_per_second == pytest.approx(64 * 64 / 1e6 / m.seconds)
        assert m.gflops == pytest.approx(network_gflop(64, load_style("hosi").width) / m.seconds)
        assert m.matmul_gflops > 0
        assert m.psnr > (60 if m.precision == "fp32" else 40)
    assert turns[-1] == (2 * len(measurements), 2 * len(measurements))


@pytest.mark.slow
def test_the_network_costs_what_its_table_says() -> None:
    """154,000 multiplications with addition for a pixel (Johnson's table at these widths), whatever the size."""
    assert network_gflop(512) == pytest.approx(512 * 512 * 2 * 154e3 / 1e9, rel=0.01)
    assert network_gflop(512, width=16) == pytest.approx(512 * 512 * 2 * 42e3 / 1e9, rel=0.02)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(StylebatchError, match="no such device"):
        benchmark(device="gpu")


@pytest.mark.parametrize("side", [64, 300])
def test_the_picture_has_detail_at_every_scale(side: int) -> None:
    """Amplitude falls with frequency, by about one power of it, as in photographs."""
    grey = _picture(side)[0].double().mean(dim=-1)
    power = torch.fft.fft2(grey - grey.mean()).abs()
    frequency = torch.hypot(*torch.meshgrid(torch.fft.fftfreq(side), torch.fft.fftfreq(side), indexing="ij")) * side
    low, high = (power[(frequency >= f) & (frequency < 2 * f)].mean() for f in (2, side // 8))
    assert 0.5 < torch.log(low / high) / torch.log(torch.tensor(side // 8 / 2)) < 2
    assert (_picture(side).min(), _picture(side).max()) == (0, 255)
