"""JPEGs by a GPU's encoder: their pixels by torchvision's encoder on a CPU where there is none, and what is before them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import picture, requires_cuda
from PIL import Image
from support.profiles import P3, SRGB_CURVE, rgb_profile

from stylebatch import stylize_folder
from stylebatch.benchmark import psnr
from stylebatch.images.nvjpeg import NvJpeg, jpeg_encoder, with_headers

torchvision_io = pytest.importorskip("torchvision.io")


def everything() -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    profile = rgb_profile(P3, SRGB_CURVE)
    return {
        "quality": 91, "subsampling": "4:4:4", "icc_profile": profile * 200, "exif": exif.tobytes(), "dpi": (300, 300),
        "comment": b"a comment", "xmp": b"<x:xmpmeta/>",
    }  # fmt: skip


def test_what_is_before_the_pixels_is_pillows() -> None:
    """A profile of several segments among it."""
    pixels = torch.from_numpy(np.array(picture(61, 43))).permute(2, 0, 1)
    encoded = torchvision_io.encode_jpeg(pixels, 91).numpy().tobytes()
    expected = io.BytesIO()
    picture(61, 43).save(expected, format="JPEG", **everything())
    with (
        Image.open(io.BytesIO(with_headers(encoded, everything()))) as image,
        Image.open(expected) as like,
        Image.open(io.BytesIO(encoded)) as bare,
    ):
        assert np.array_equal(np.asarray(image), np.asarray(bare))
        assert image.getexif() == like.getexif()
        assert image.info == like.info
        assert len(image.info["icc_profile"]) > 1 << 16


def test_a_cpu_has_none() -> None:
    assert jpeg_encoder(torch.device("cpu")) is None
    assert NvJpeg(torch.device("cpu"))(picture().convert("L"), {"quality": 95, "subsampling": "4:4:4"}) is None
    assert NvJpeg(torch.device("cpu"))(picture(), {"quality": 95, "subsampling": "4:2:0"}) is None


@requires_cuda
def test_a_folder_by_nvjpeg(photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, device = photos("a.jpg", "b.jpg", size=(321, 243)), torch.device("cuda")
    encoder = jpeg_encoder(device)
    if encoder is None:
        pytest.skip("this torchvision has no nvJPEG")
    assert stylize_folder(source, tmp_path / "gpu", device="cuda").done == 2
    assert stylize_folder(source, tmp_path / "gpu", device="cuda").skipped == 2
    monkeypatch.setattr("stylebatch.jobs.folder.jpeg_encoder", lambda _: None)
    assert stylize_folder(source, tmp_path / "cpu", device="cuda").done == 2
    for name in ("a.jpg", "b.jpg"):
        with Image.open(tmp_path / "gpu" / name) as ours, Image.open(tmp_path / "cpu" / name) as theirs:
            assert psnr(*(torch.from_numpy(np.array(each)) for each in (ours, theirs))) > 40
