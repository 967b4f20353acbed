from __future__ import annotations

import pytest
import torch
from conftest import assert_close
from torch import Tensor
from torch.nn import functional as F

from stylebatch.transnet import TransNet, pad_to_multiple, width_of

KEYS = [
    "layer.0.weight", "layer.3.weight", "layer.6.weight",
    *(f"layer.{block}.layer.{index}.weight" for block in range(9, 14) for index in (0, 3)),
    "layer.15.weight", "layer.19.weight", "layer.22.weight", "layer.22.bias",
]  # fmt: skip


def reference(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The article's network written a second time, from its table: zero padding, functional, any dtype."""

    def conv(x: Tensor, key: str, stride: int = 1) -> Tensor:
        w = weights[f"{key}.weight"]
        return F.conv2d(x, w, weights.get(f"{key}.bias"), stride, w.shape[-1] // 2)

    def norm(x: Tensor) -> Tensor:
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt()

    for key, stride in (("layer.0", 1), ("layer.3", 2), ("layer.6", 2)):
        x = norm(conv(x, key, stride)).relu()
    for block in range(9, 14):
        y = norm(conv(x, f"layer.{block}.layer.0")).relu()
        x = (norm(conv(y, f"layer.{block}.layer.3")) + x).relu()
    for key in ("layer.15", "layer.19"):
        x = norm(conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), key)).relu()
    return conv(x, "layer.22").sigmoid()


def test_keys_are_the_articles() -> None:
    assert list(TransNet().state_dict()) == KEYS


@pytest.mark.parametrize("width", [32, 16, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_padding_is_the_articles_network(dtype: torch.dtype, width: int) -> None:
    torch.manual_seed(0)
    network = TransNet("zeros", width).to(dtype).eval()
    x = torch.rand(2, 3, 40, 24, dtype=dtype)
    with torch.inference_mode():
        assert_close(network(x), reference(network.state_dict(), x), dtype)
    assert width_of(network.state_dict()) == network.width == width


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 30), (2, 3), (4, 4), (5, 7), (8, 8), (9, 64), (33, 31), (1, 3000), (64, 64)]
)
def test_size_is_kept(padding_mode: str, height: int, width: int) -> None:
    network = TransNet(padding_mode).eval()  # type: ignore[arg-type]
    with torch.inference_mode():
        y = network(torch.rand(1, 3, height, width))
    assert y.shape == (1, 3, height, width)
    assert y.isfinite().all()
    assert 0 <= y.min() <= y.max() <= 1


def test_padding_reflects_or_replicates() -> None:
    x = torch.arange(10.0).view(1, 1, 1, 10).expand(1, 3, 12, 10)
    assert pad_to_multiple(x)[0, 0, 0].tolist() == [*range(10), 8, 7]
    assert pad_to_multiple(x[..., :1])[0, 0, 0].tolist() == [0] * 8
    around = pad_to_multiple(x, beyond=5)[0, 0]
    assert around[0].tolist() == [5, 4, 3, 2, 1, *range(10), 8, 7, 6, 5, 4]
    assert around.shape == (24, 20)
    assert pad_to_multiple(x[..., :3], beyond=5)[0, 0, 0].tolist() == [0] * 5 + [0, 1, 2] + [2] * 8
    aligned = x[..., :8]
    assert pad_to_multiple(aligned) is aligned
