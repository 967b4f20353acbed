from __future__ import annotations

import torch
from conftest import assert_close

from stylebatch.transnet import TransNet
from trainer.stability import BORDER, NOISE, Motion, stability_error, with_noise


def ramp(height: int = 96, width: int = 128) -> torch.Tensor:
    """A picture whose warp is known: red is the column, green the row."""
    x, y = torch.meshgrid(torch.arange(width) / width, torch.arange(height) / height, indexing="xy")
    return torch.stack([x, y, x * 0 + 0.5])[None]


def test_warp_takes_pixels_from_where_the_grid_says() -> None:
    motion = Motion.random(ramp().shape, torch.Generator().manual_seed(3))
    warped = motion.warp(ramp())
    columns, rows = ((motion.grid[..., i] + 1) * size / 2 - 0.5 for i, size in ((0, 128), (1, 96)))
    inside = motion.inside[:, 0].bool()
    assert_close(warped[:, 0][inside], (columns / 128)[inside])
    assert_close(warped[:, 1][inside], (rows / 96)[inside])
    moved = (columns - torch.arange(128)).abs()
    assert 0.5 < moved.mean() < 14  # pixels


def test_borders_are_left_out() -> None:
    inside = Motion.random(ramp().shape, torch.Generator().manual_seed(0)).inside[0, 0]
    assert inside.sum() > 0.3 * inside.numel()
    assert not inside[:BORDER].any()
    assert not inside[:, -BORDER:].any()


def test_difference_is_that_of_the_noise() -> None:
    """A picture against itself moved differs by the camera's noise alone; against the unmoved one by much more."""
    generator = torch.Generator().manual_seed(0)
    motion = Motion.random(ramp().shape, generator)
    noisy = motion.difference(ramp(), with_noise(motion.warp(ramp()), generator))
    assert 0.8 * NOISE**2 < noisy < 1.2 * NOISE**2
    assert motion.difference(ramp(), ramp()) > 2 * noisy


def test_some_frames_are_clean() -> None:
    generator = torch.Generator().manual_seed(0)
    images = ramp().expand(12, -1, -1, -1)
    for share, noisy in ((0.0, range(12, 13)), (0.5, range(3, 10)), (1.0, range(1))):
        frames = with_noise(images, generator, share)
        assert sum(not torch.equal(frame, still) for frame, still in zip(frames, images, strict=True)) in noisy


def test_error_is_the_same_each_time_and_falls_for_a_steadier_network() -> None:
    torch.manual_seed(0)
    network, photograph = TransNet(), ramp() + 0.2 * torch.rand(1, 3, 96, 128)
    error = stability_error(network, photograph, motions=2)
    assert error == stability_error(network, photograph, motions=2) > 0
    last = network.layer[22]
    with torch.no_grad():
        last.weight.mul_(0.1)
    assert stability_error(network, photograph, motions=2) < 0.1 * error
