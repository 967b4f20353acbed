"""Paint that is tied to the grid of the network's strides, not to the scene: passes that show it, and a measure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylebatch.pixels import LUMA
from stylebatch.transnet import SIZE_MULTIPLE

#: Four of the sixteen places on the grid, each row and each column once.
FOUR_SHIFTS = ((0, 0), (1, 2), (2, 3), (3, 1))


class _Scale(NamedTuple):
    """How spectra are looked at: the side of the squares, in pixels, and how far from a frequency of the grid its own
    energy, its line and the surroundings that it is compared with reach, in steps of 1/side."""

    side: int
    own: int
    line: int
    around: int


#: Trainings look at smaller squares, of which a crop has more. Both compare with the same frequencies, to 6/128.
_MEASURED, _TRAINED = _Scale(128, 1, 2, 6), _Scale(64, 1, 1, 3)


def shifted_pass(network: nn.Module, images: Tensor, down: int, right: int) -> Tensor:
    """What a network makes of N×3×H×W images that lie `down` and `right` by 0 to 3 pixels from where they are on its grid,
    moved back: the same shape. What is tied to the scene is the same for each shift, what is tied to the grid is not."""
    height, width = images.shape[2:]
    sides = (right, SIZE_MULTIPLE - right, down, SIZE_MULTIPLE - down)
    moved: Tensor = network(F.pad(images, sides, mode="reflect"))
    return moved[..., down : down + height, right : right + width]


def random_shifts(generator: torch.Generator) -> list[tuple[int, int]]:
    """Three of the fifteen that are another place on the grid."""
    others = torch.randperm(SIZE_MULTIPLE**2 - 1, generator=generator)[:3] + 1
    return [divmod(int(shift), SIZE_MULTIPLE) for shift in others]


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
    lumas = (torch.einsum("nchw,c->nhw", picture.double(), torch.from_numpy(LUMA[0]).double()) for picture in pictures)
    spectra = [_spectrum(luma[:, None], _MEASURED.side) for luma in lumas if min(luma.shape[1:]) >= _MEASURED.side]
    if not spectra:
        return float("nan"), float("nan")
    ratios = _over_surroundings(torch.stack(spectra).mean(0), _MEASURED)
    return float(ratios.mean()), float(ratios.max())


def lattice_loss(images: Tensor) -> Tensor:
    """What `lattice_energy` measures, of each image and with all of its colours, as far as it is more than 1. The
    frequencies around have no gradient, so that it is the grid's that go down. Relative to these, grain of little contrast
    counts as much as any.

    Args:
        images: N×C×H×W in [0,1]. Smaller than 64 px a side, they have none.

    Returns:
        A scalar, averaged over frequencies and the batch.
    """
    if min(images.shape[2:]) < _TRAINED.side:
        return images.new_zeros(())
    with torch.autocast(images.device.type, enabled=False):
        power = _spectrum(images if images.dtype == torch.float64 else images.float(), _TRAINED.side)
        return F.relu(_over_surroundings(power, _TRAINED) - 1).mean()


def _spectrum(images: Tensor, side: int) -> Tensor:
    """The mean power spectrum of half-overlapping tiles of N×C×H×W, N×S×S."""
    tiles = images.unfold(2, side, side // 2).unfold(3, side, side // 2).flatten(1, 3)
    hann = torch.hann_window(side, periodic=False, dtype=images.dtype, device=images.device)
    tiles = (tiles - tiles.mean((2, 3), keepdim=True)) * hann * hann[:, None]
    spectrum = torch.fft.fft2(tiles)
    power: Tensor = (spectrum.real.square() + spectrum.imag.square()).mean(1)
    return power


def _over_surroundings(power: Tensor, scale: _Scale) -> Tensor:
    """Of N×S×S spectra, N×15 ratios. What they are relative to has no gradient."""
    quarters = [scale.side * quarter // SIZE_MULTIPLE for quarter in range(SIZE_MULTIPLE)]
    around, rim = scale.around, scale.around - scale.line
    own = slice(around - scale.own, around + scale.own + 1)

    def ratio(fy: int, fx: int) -> Tensor:
        square = power.roll((around - fy, around - fx), (1, 2))[:, : 2 * around + 1, : 2 * around + 1]
        between = square[:, rim:-rim]
        parts = (square[:, :rim], square[:, -rim:], between[..., :rim], between[..., -rim:])
        level = torch.cat([part.flatten(1) for part in parts], dim=1).detach().median(1).values
        return square[:, own, own].mean((1, 2)) / level.clamp_min(1e-12)

    return torch.stack([ratio(fy, fx) for fy in quarters for fx in quarters if fy or fx], dim=1)
