"""What people hand to a Stylizer, and get back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ONE_LEVEL, picture
from PIL import Image

from stylebatch import Stylizer

BATCH = np.stack([np.asarray(picture(30, 22, seed=seed)) for seed in range(2)])


@pytest.fixture(scope="module")
def stylizer(checkpoint: Path) -> Stylizer:
    return Stylizer(checkpoint, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def painted(stylizer: Stylizer) -> np.ndarray[Any, Any]:
    return np.asarray(stylizer(torch.from_numpy(BATCH)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64, ">u2", ">f4"])
def test_arrays_keep_shape_and_dtype(stylizer: Stylizer, painted: np.ndarray[Any, Any], dtype: str | type) -> None:
    dtype = np.dtype(dtype)
    top = 1 if dtype.kind == "f" else np.iinfo(dtype).max
    given = (BATCH / 255 * top).astype(dtype) if dtype.kind == "f" else BATCH.astype(dtype) * (top // 255)
    for pictures, expected in ((given, painted), (given[1], painted[1])):
        result = stylizer(pictures)
        assert (type(result), result.shape, result.dtype.kind) == (np.ndarray, pictures.shape, dtype.kind)
        assert result.itemsize == dtype.itemsize
        assert np.abs(result / top * 255 - expected).max() <= (4 if dtype == np.float16 else ONE_LEVEL)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_keep_shape_and_dtype(stylizer: Stylizer, painted: np.ndarray[Any, Any], dtype: torch.dtype) -> None:
    given = torch.from_numpy(BATCH)
    given = (given / 255).to(dtype) if dtype.is_floating_point else given
    result = stylizer(given[0])
    assert (result.shape, result.dtype) == (given[0].shape, dtype)
    assert result.is_contiguous()
    levels = result.double() * (255 if dtype.is_floating_point else 1)
    assert np.abs(levels.numpy() - painted[0]).max() <= (4 if dtype.itemsize == 2 else ONE_LEVEL)


def test_floats_are_no_coarser_than_sixteen_bits(stylizer: Stylizer) -> None:
    levels = np.unique(stylizer(np.linspace(0.4, 0.6, 3 * 64 * 64, dtype=np.float32).reshape(64, 64, 3)))
    assert len(levels) > 1000


@pytest.mark.parametrize(
    "view",
    [
        lambda batch: np.ascontiguousarray(batch[:, ::-1])[:, ::-1],
        lambda batch: np.asfortranarray(batch),
        lambda batch: np.frombuffer(batch.tobytes(), np.uint8).reshape(batch.shape),  # may not be written to
        lambda batch: torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
        lambda batch: torch.from_numpy(batch).flip(2).flip(2),
    ],
)
def test_views_are_what_they_show(stylizer: Stylizer, painted: np.ndarray[Any, Any], view: Callable[..., Any]) -> None:
    assert (np.asarray(stylizer(view(BATCH))) == painted).all()


def test_images_of_pillow(stylizer: Stylizer) -> None:
    image = Image.fromarray(BATCH[0])
    alone = stylizer(BATCH[0])
    assert (np.asarray(stylizer(image)) == alone).all()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    cut_out = stylizer(image)
    assert cut_out.mode == "RGBA"
    assert (np.asarray(cut_out) == np.dstack([alone, np.asarray(image.getchannel("A"))])).all()
    grey = stylizer(image.convert("L"))
    assert (np.asarray(grey) == stylizer(np.asarray(image.convert("L").convert("RGB")))).all()
    with pytest.raises(ValueError, match="mode I;16 has more than 8 bits"):
        stylizer(Image.fromarray(np.zeros((4, 4), np.uint16)))


def test_no_pictures_are_none(stylizer: Stylizer, painted: np.ndarray[Any, Any]) -> None:
    assert stylizer(BATCH[:0]).shape == (0, *BATCH.shape[1:])
    assert (stylizer(BATCH) == painted).all()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (BATCH.transpose(0, 3, 1, 2), r"not \(2, 3, 22, 30\) of uint8; channels come last"),
        (BATCH[..., 0], r"not \(2, 22, 30\) of uint8$"),
        (BATCH[0, 0], r"not \(30, 3\) of uint8"),
        (BATCH[:, :0], r"not \(2, 0, 30, 3\) of uint8"),
        (BATCH.astype(np.int64), "of int64"),
        (BATCH > 99, "of bool"),
        (torch.from_numpy(BATCH).int(), "of int32"),
        (BATCH.astype(np.float32), r"floats are from 0 to 1, not from \d+ to \d+"),
        (np.full((4, 4, 3), np.nan), "floats are from 0 to 1, not from nan to nan"),
    ],
)
def test_what_is_no_picture_is_told(stylizer: Stylizer, pictures: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stylizer(pictures)
