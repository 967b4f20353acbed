from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from conftest import assert_close
from torch import Tensor, nn

from trainer.grain import FOUR_SHIFTS, lattice_energy, mean_of_shifts, random_shift, shifted_pass
from trainer.losses import lattice_loss


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


class Grain(nn.Module):
    """Gives the picture back with one pixel of each cell of 4×4 brighter, wherever the picture lies."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[..., ::4, ::4] += 0.5
        return y


def test_a_shifted_pass_moves_the_grid_and_not_the_picture() -> None:
    photograph = noise(2, 3, 24, 20)
    for down, right in product(range(4), repeat=2):
        grain = shifted_pass(Grain(), photograph, down, right) - photograph
        expected = torch.zeros_like(grain)
        expected[..., (4 - down) % 4 :: 4, (4 - right) % 4 :: 4] = 0.5
        assert_close(grain, expected)


def test_the_mean_of_four_shifts_has_a_quarter_of_the_grain() -> None:
    assert len({down for down, _ in FOUR_SHIFTS}) == len({right for _, right in FOUR_SHIFTS}) == 4
    photograph = noise(1, 3, 24, 20)
    grain = mean_of_shifts(Grain(), photograph) - photograph
    assert_close(grain.max(), torch.tensor(0.125))
    assert_close(grain.mean(), torch.tensor(0.5 / 16))


def test_random_shifts_are_all_but_none() -> None:
    generator = torch.Generator().manual_seed(0)
    assert {random_shift(generator) for _ in range(300)} == {*product(range(4), repeat=2)} - {(0, 0)}


def test_lattice_loss_by_hand() -> None:
    """Of one pixel in sixteen, whose mean is a sixteenth; and of stripes, whose variance is a half, but for other widths."""
    image = torch.zeros(1, 3, 64, 130)
    image[..., 1::4, 2::4] = 1.0
    assert_close(lattice_loss(image), torch.tensor(1 / 16 - 1 / 256))
    assert_close(lattice_loss(image[..., :24, :20]), torch.tensor(1 / 16 - 1 / 256))
    four, five = (torch.sin(torch.arange(128) * 2 * torch.pi / width).expand(1, 3, 64, 128) for width in (4, 5))
    assert_close(lattice_loss(four), torch.tensor(0.5))
    assert lattice_loss(five) < 5e-3
    batch = torch.cat([image, torch.zeros_like(image)])
    assert_close(lattice_loss(batch), lattice_loss(image) / 2)


def test_lattice_energy_is_of_the_grid_alone() -> None:
    picture = noise(1, 3, 200, 256)
    assert lattice_energy([picture])[0] == pytest.approx(1, abs=0.4)
    mean, highest = lattice_energy([picture, Grain()(picture)])
    assert highest > mean > 10
    stripes = picture + 0.5 * torch.cos(torch.arange(256) * torch.pi / 2)
    mean, highest = lattice_energy([stripes])
    assert mean == pytest.approx(highest * 2 / 15, rel=0.1)  # at a quarter and at three, which are the same
    assert all(map(math.isnan, lattice_energy([picture[..., :100, :]])))
