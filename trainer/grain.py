"""Paint that is tied to the grid of the network's strides, not to the scene: passes that show it, and a measure."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebatch.pixels import LUMA
from stylebatch.transnet import SIZE_MULTIPLE

#: Four of the sixteen places on the grid, each row and each column once.
FOUR_SHIFTS = ((0, 0), (1, 2), (2, 3), (3, 1))
#: Side of the squares whose spectra are taken, in pixels; and how far from a frequency of the grid its own energy, its line
#: and the surroundings that it is compared with reach.
_TILE, _OWN, _LINE, _AROUND = 128, 1, 2, 6


def shifted_pass(network: nn.Module, images: Tensor, down: int, right: int) -> Tensor:
    """What a network makes of N×3×H×W images that lie `down` and `right` by 0 to 3 pixels from where they are on its grid,
    moved back: the same shape. What is tied to the scene is the same for each shift, what is tied to the grid is not."""
    height, width = images.shape[2:]
    sides = (right, SIZE_MULTIPLE - right, down, SIZE_MULTIPLE - down)
    moved: Tensor = network(F.pad(images, sides, mode="reflect"))
    return moved[..., down : down + height, right : right + width]


def random_shift(generator: torch.Generator) -> tuple[int, int]:
    """One of the fifteen that are another place on the grid."""
    shift = int(torch.randint(1, SIZE_MULTIPLE**2, (), generator=generator))
    return shift // SIZE_MULTIPLE, shift % SIZE_MULTIPLE


@torch.inference_mode()
def mean_of_shifts(network: nn.Module, photograph: Tensor) -> Tensor:
    """The mean of four shifted passes over a 1×3×H×W photograph: a picture without what is tied to the grid."""
    return torch.stack([shifted_pass(network, photograph, *shift) for shift in FOUR_SHIFTS]).mean(0)


def lattice_energy(pictures: Iterable[Tensor]) -> tuple[float, float]:
    """The energy of pictures' luma at the fifteen frequencies of the grid, multiples of 1/4 either way, over that of the
    frequencies around: 1 for paintings and photographs.

    Args:
        pictures: 1×3×H×W in [0,1]. From 128 px a side; smaller ones are passed over.

    Returns:
        The mean over the fifteen, and the highest; not a number if every picture was too small.
    """
    spectra = [spectrum for picture in pictures if (spectrum := _spectrum(picture)) is not None]
    if not spectra:
        return float("nan"), float("nan")
    power = torch.stack(spectra).mean(0)
    quarters = [_TILE * quarter // SIZE_MULTIPLE for quarter in range(SIZE_MULTIPLE)]
    ratios = torch.stack([_over_neighbourhood(power, fy, fx) for fy in quarters for fx in quarters if fy or fx])
    return float(ratios.mean()), float(ratios.max())


def _spectrum(picture: Tensor) -> Tensor | None:
    """The mean power spectrum of half-overlapping tiles, S×S float64; None if the picture is smaller than one."""
    if min(picture.shape[2:]) < _TILE:
        return None
    luma = torch.einsum("chw,c->hw", picture[0].double(), torch.from_numpy(LUMA[0]).double())
    tiles = luma.unfold(0, _TILE, _TILE // 2).unfold(1, _TILE, _TILE // 2).flatten(0, 1)
    hann = torch.hann_window(_TILE, periodic=False, dtype=torch.float64)
    tiles = (tiles - tiles.mean((1, 2), keepdim=True)) * hann * hann[:, None]
    power: Tensor = torch.fft.fft2(tiles).abs().square().mean(0)
    return power


def _over_neighbourhood(power: Tensor, fy: int, fx: int) -> Tensor:
    side = 2 * _AROUND + 1
    square = power.roll((_AROUND - fy, _AROUND - fx), (0, 1))[:side, :side]
    far = torch.arange(side).sub(_AROUND).abs()
    distance = torch.maximum(far, far[:, None])
    ratio: Tensor = square[distance <= _OWN].mean() / square[distance > _LINE].median()
    return ratio
