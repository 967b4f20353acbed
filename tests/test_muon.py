from __future__ import annotations

import copy

import pytest
import torch
from conftest import assert_close

from stylebatch.transnet import TransNet
from trainer.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(32, 576), (64, 32), (16, 16)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    """Against the exact answer: the matrix U Vᵀ of the singular value decomposition, and its scale does not matter."""
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    result = orthogonalised(matrix)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    cosine = (result * (u @ vh)).sum() / result.norm() / (u @ vh).norm()
    assert cosine > 0.95
    assert_close(orthogonalised(1e4 * matrix), result)
    if shape[0] != shape[1]:
        values = torch.linalg.svdvals(result)
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_kernels_of_one_shape_step_together_as_they_do_alone() -> None:
    torch.manual_seed(0)
    alone, together = TransNet(width=8), TransNet(width=8)
    together.load_state_dict(alone.state_dict())
    optimizers = [Muon(network, 1e-2) for network in (alone, together)]
    for step in range(3):
        for network in (alone, together):
            generator = torch.Generator().manual_seed(step)
            for p in network.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
        optimizers[0].step()
        (hidden,) = (group for group in optimizers[1].param_groups if group["hidden"])
        for shape in {p.shape for p in hidden["params"]}:
            optimizers[1]._kernel_steps([p for p in hidden["params"] if p.shape == shape], hidden)
    for p, q in zip(optimizers[0].param_groups[0]["params"], hidden["params"], strict=True):
        assert_close(p, q)
        assert_close(optimizers[0].state[p]["mean"], optimizers[1].state[q]["mean"])


def test_pixel_layers_step_as_adamw_does() -> None:
    """Biases and the layers from and to pixels, against PyTorch's AdamW; the other kernels move by another rule."""
    torch.manual_seed(0)
    ours, theirs = TransNet(), TransNet()
    theirs.load_state_dict(ours.state_dict())
    muon = Muon(ours, 1e-2, pixel_rate=0.2)
    adamw = torch.optim.AdamW(theirs.parameters(), 2e-3, weight_decay=0)
    for step in range(3):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
            q.grad = p.grad.clone()
        muon.step()
        adamw.step()
    equal = {name for name, p in ours.named_parameters() if torch.allclose(p, theirs.get_parameter(name), atol=1e-6)}
    assert equal == {"layer.0.weight", "layer.22.weight", "layer.22.bias"}


def test_a_step_turns_a_kernel_by_its_rate_and_leaves_its_length() -> None:
    network = TransNet()
    before = copy.deepcopy(network)
    torch.manual_seed(0)
    for p in network.parameters():
        p.grad = torch.randn(p.shape) * 1e3
    Muon(network, 0.05).step()
    for name in ("layer.3.weight", "layer.9.layer.0.weight", "layer.19.weight"):
        now, then = network.get_parameter(name), before.get_parameter(name)
        assert_close(now.norm(), then.norm())
        assert 0.045 < (now - then).norm() / then.norm() < 0.055
