from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from conftest import assert_close
from torch import Tensor, nn

from trainer.grain import FOUR_SHIFTS, lattice_energy, lattice_loss, mean_of_shifts, random_shifts, shifted_pass


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
    draws = [random_shifts(generator) for _ in range(100)]
    assert {shift for draw in draws for shift in draw} == {*product(range(4), repeat=2)} - {(0, 0)}
    assert all(len({*draw}) == 3 for draw in draws)


def test_lattice_loss_is_of_what_stands_out_at_the_grid_s_frequencies() -> None:
    """Whatever its contrast; of each picture of a batch by itself; none where a picture has no such grain."""
    picture = noise(1, 3, 128, 192)
    grainy = Grain()(picture)
    loss = lattice_loss(grainy)
    assert loss > 10 * lattice_loss(picture)
    assert_close(lattice_loss(grainy / 8), loss)
    assert_close(lattice_loss(torch.cat([grainy, picture])), (loss + lattice_loss(picture)) / 2)
    # Grain whose phase turns about slowly is as visible, though its mean over 64 px is nothing.
    turned = picture + 0.5 * torch.cos(torch.arange(192) * 2 * torch.pi * (1 / 4 + 1 / 64))
    assert lattice_loss(turned) > 10 * lattice_loss(picture)
    assert lattice_loss(picture + 0.5 * torch.cos(torch.arange(192) * 2 * torch.pi / 5)) < 2 * lattice_loss(picture)
    even = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    lattice_loss(even).backward()
    assert even.grad is not None
    assert even.grad.isfinite().all()
    assert lattice_loss(grainy[..., :60]) == 0


def test_lattice_loss_learns_from_the_grid_s_frequencies_alone() -> None:
    picture = Grain()(noise(1, 3, 128, 128)).requires_grad_()
    lattice_loss(picture).backward()
    assert picture.grad is not None
    spectrum = torch.fft.fft2(picture.grad[0].sum(0)).abs().square()
    near = torch.zeros(128, 128, dtype=torch.bool)
    for fy, fx in product(range(0, 128, 32), repeat=2):
        rows, columns = (torch.arange(f - 8, f + 9) % 128 for f in (fy, fx))
        near[rows[:, None], columns] = True
    assert spectrum[near].sum() > 0.9 * spectrum.sum()


def test_lattice_energy_is_of_the_grid_alone() -> None:
    picture = noise(1, 3, 200, 256)
    assert lattice_energy([picture])[0] == pytest.approx(1, abs=0.4)
    mean, highest = lattice_energy([picture, Grain()(picture)])
    assert highest > mean > 10
    stripes = picture + 0.5 * torch.cos(torch.arange(256) * torch.pi / 2)
    mean, highest = lattice_energy([stripes])
    assert mean == pytest.approx(highest * 2 / 15, rel=0.1)  # at a quarter and at three, which are the same
    assert all(map(math.isnan, lattice_energy([picture[..., :100, :]])))
