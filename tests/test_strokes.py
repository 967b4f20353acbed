from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ONE_LEVEL, picture

from stylebatch import Stylizer
from stylebatch.errors import StylebatchError
from stylebatch.frame import Pixels
from stylebatch.strokes import LARGE, widening


def photograph(width: int = 256, height: int = 192, seed: int = 1) -> Pixels:
    return np.array(picture(width, height, seed=seed))


def fineness(pixels: Pixels) -> float:
    """The share of a picture's variance that goes when its sides are divided by four."""
    grey = pixels.mean(2)
    height, width = grey.shape
    blocks = grey.reshape(height // 4, 4, width // 4, 4).mean((1, 3))
    return float(1 - blocks.var() / grey.var())


def sharpness(pixels: Pixels) -> float:
    return float(np.abs(np.diff(pixels.astype(int), axis=1)).mean())


@pytest.mark.parametrize(
    ("strokes", "size", "expected"),
    [
        (None, (1500, 2000), 1),
        (None, (1, LARGE), 1),
        (None, (3000, 4000), 2),
        (None, (6000, 1000), 3),
        (1, (3000, 4000), 1),
        (2.5, (10, 10), 2.5),
    ],
)
def test_large_pictures_alone_get_wider_ones_by_themselves(
    strokes: float | None, size: tuple[int, int], expected: float
) -> None:
    assert widening(strokes, *size) == expected


def test_small_pictures_are_painted_as_ever() -> None:
    assert (Stylizer("hosi")(photograph()) == Stylizer("hosi", strokes=1)(photograph())).all()


def test_wider_strokes_are_coarser_and_sharp() -> None:
    even = np.random.default_rng(0).normal(150, 6, (256, 256, 3)).clip(0, 255).astype(np.uint8)
    own, wide = (Stylizer("hosi", strokes=strokes)(even) for strokes in (1, 4))
    assert fineness(wide) < 0.75 * fineness(own)
    assert sharpness(wide) > 0.8 * sharpness(own)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 1)])
def test_any_size(checkpoint: Path, size: tuple[int, int]) -> None:
    assert Stylizer(checkpoint, strokes=16)(photograph(*size)).shape == (size[1], size[0], 3)


def test_a_picture_is_the_same_alone_and_among_others(checkpoint: Path) -> None:
    stylizer = Stylizer(checkpoint, strokes=2, precision="fp32")
    batch = np.stack([photograph(seed=seed) for seed in (1, 2)])
    assert np.abs(stylizer(batch)[1].astype(int) - stylizer(batch[1])).max() <= ONE_LEVEL


def test_sixteen_bits_stay_sixteen() -> None:
    stylizer = Stylizer("hosi", strokes=2, precision="fp32")
    deep = stylizer(photograph().astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - stylizer(photograph())).mean() < 2


def test_strength_goes_on_from_the_photograph() -> None:
    painted = Stylizer("hosi", strength=0, strokes=2)(photograph())
    assert (
        np.abs(painted.astype(int) - photograph()).mean()
        < np.abs(Stylizer("hosi")(photograph()).astype(int) - photograph()).mean()
    )


def test_other_strokes_are_other_results(checkpoint: Path) -> None:
    assert Stylizer(checkpoint, strokes=2).settings != Stylizer(checkpoint).settings


@pytest.mark.parametrize("strokes", [0, 0.5, 17, float("nan")])
def test_impossible_strokes(checkpoint: Path, strokes: float) -> None:
    with pytest.raises(StylebatchError, match="strokes"):
        Stylizer(checkpoint, strokes=strokes)
