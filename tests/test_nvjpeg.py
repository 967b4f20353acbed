"""JPEGs by a GPU's encoder and decoder: by torchvision's on a CPU where there is none, and what is before the pixels."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import picture, requires_cuda
from PIL import Image, ImageCms
from support.profiles import P3, SRGB_CURVE, rgb_profile

from stylebatch import stylize_folder
from stylebatch.benchmark import psnr
from stylebatch.frame import Failure, Frame, Pixels
from stylebatch.images.jpeg import CodedJpeg
from stylebatch.images.nvjpeg import NvJpeg, NvJpegDecoder, jpeg_decoder, jpeg_encoder, matching, with_headers
from stylebatch.images.options import ImageOptions
from stylebatch.images.source import ImageSource

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


def handed_over(source: ImageSource, name: str) -> Any:
    """What a process that decodes gives."""
    return pickle.loads(pickle.dumps(source))[name]


def test_plain_jpegs_are_decoded_where_the_gpu_is(tmp_path: Path) -> None:
    """To the pixels, and with all else, that another decoder's would have; the file is handed over as it is."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save = {"quality": 92, "subsampling": "4:4:4", "comment": b"a comment", "icc_profile": profile}
    picture(61, 43).save(tmp_path / "a.jpg", **save)
    decoder = NvJpegDecoder(torch.device("cpu"))
    source = ImageSource(tmp_path, jpeg=decoder)
    coded = handed_over(source, "a.jpg")
    assert isinstance(coded, CodedJpeg)
    assert coded.data == (tmp_path / "a.jpg").read_bytes()
    expected = ImageSource(tmp_path)["a.jpg"]
    assert isinstance(expected, Frame)
    for jpeg in (decoder, lambda _: None):  # which refuses it
        frame = ImageSource(tmp_path, jpeg=jpeg).finish(coded)
        assert isinstance(frame, Frame)
        assert np.array_equal(frame.pixels, expected.pixels)
        assert frame.info == expected.info
    assert isinstance(source["a.jpg"], Frame)
    assert isinstance(handed_over(ImageSource(tmp_path), "a.jpg"), Frame)


@pytest.mark.parametrize(
    ("save", "options"),
    [
        ({"subsampling": "4:2:0"}, {}),
        ({"subsampling": "4:2:2"}, {}),
        ({"progressive": True}, {}),
        ({"exif": 6}, {}),
        ({"icc_profile": rgb_profile(P3, SRGB_CURVE)}, {}),
        ({"mode": "L"}, {}),
        ({"mode": "CMYK"}, {}),
        ({"format": "PNG"}, {}),
        ({}, {"size": 32}),
        ({}, {"allow_truncated": True}),
    ],
)
def test_what_has_other_levels_or_has_to_be_changed_is_not(
    save: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    """Neither is what fidelity asks more of than a decoder's pixels."""
    save = {"subsampling": "4:4:4", "quality": 92, "format": "JPEG", **save}
    image = picture(61, 43).convert(save.pop("mode", "RGB"))
    if "exif" in save:
        exif = Image.Exif()
        exif[0x0112] = save["exif"]
        save["exif"] = exif
    image.save(tmp_path / "a.jpg", **save)
    source = ImageSource(tmp_path, ImageOptions(**options), jpeg=NvJpegDecoder(torch.device("cpu")))
    sample = handed_over(source, "a.jpg")
    expected = ImageSource(tmp_path, ImageOptions(**options))["a.jpg"]
    assert isinstance(sample, Frame)
    assert isinstance(expected, Frame)
    assert np.array_equal(sample.pixels, expected.pixels)
    assert source.finish(sample) is sample


@pytest.mark.parametrize("damage", ["cut", "short"])
def test_damage_is_noticed_as_without_a_gpu(damage: str, tmp_path: Path) -> None:
    """Whatever its decoder makes of it."""
    picture(640, 480).save(tmp_path / "a.jpg", subsampling="4:4:4", quality=92)
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        del data[len(data) // 2 : len(data) // 2 + 200]
    (tmp_path / "a.jpg").write_bytes(data)
    expected = ImageSource(tmp_path)["a.jpg"]
    assert isinstance(expected, Failure)
    assert handed_over(ImageSource(tmp_path, jpeg=NvJpegDecoder(torch.device("cpu"))), "a.jpg") == expected


def test_a_folder_whose_jpegs_another_decoder_decodes(
    photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the processes and threads that a folder has, to the same bytes."""
    source = photos("a.jpg", "b.jpg", size=(48, 32))
    picture(48, 32, 3).save(source / "c.jpg", subsampling="4:4:4", quality=92)
    times = {name: (source / name).stat().st_mtime_ns for name in ("a.jpg", "b.jpg", "c.jpg")}
    assert stylize_folder(source, tmp_path / "one", device="cpu", workers=1).done == 3
    asked = []

    def noted(data: bytes) -> Pixels | None:
        asked.append(data)
        return NvJpegDecoder(torch.device("cpu"))(data)

    monkeypatch.setattr("stylebatch.jobs.folder.jpeg_decoder", lambda _: noted)
    assert stylize_folder(source, tmp_path / "two", device="cpu", workers=1).done == 3
    assert (source / "c.jpg").read_bytes() in asked
    for name, time in times.items():
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert (tmp_path / "two" / name).stat().st_mtime_ns == time


def test_a_decoder_of_other_levels_is_not_used() -> None:
    class Off(NvJpegDecoder):
        def __call__(self, data: bytes) -> Pixels | None:
            pixels = super().__call__(data)
            return None if pixels is None else pixels ^ 1

    class Missing(NvJpegDecoder):
        def __call__(self, _data: bytes) -> Pixels | None:
            raise ImportError("no torchvision")

    cpu = torch.device("cpu")
    assert matching(NvJpegDecoder(cpu)) is not None
    assert matching(Off(cpu)) is None
    assert matching(Missing(cpu)) is None
    assert NvJpegDecoder(cpu)(b"no jpeg") is None
    assert jpeg_decoder(cpu) is None


@requires_cuda
def test_nvjpeg_decodes_to_the_same_levels(tmp_path: Path) -> None:
    decoder = jpeg_decoder(torch.device("cuda"))
    if decoder is None:
        pytest.skip("this torchvision has no nvJPEG, or one of other levels")
    for seed, quality in ((0, 50), (1, 92), (2, 100)):
        picture(321, 243, seed).save(tmp_path / "a.jpg", subsampling="4:4:4", quality=quality)
        pixels, expected = decoder((tmp_path / "a.jpg").read_bytes()), ImageSource(tmp_path)["a.jpg"]
        assert isinstance(expected, Frame)
        assert pixels is not None
        assert np.array_equal(pixels, expected.pixels)


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
