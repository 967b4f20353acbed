"""JPEGs by a GPU's encoder and decoder: by torchvision's on a CPU where there is none, and what is before the pixels."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from conftest import picture, requires_cuda
from PIL import Image, ImageCms
from support.profiles import P3, SRGB_CURVE, rgb_profile

from stylebatch import StylebatchError, Summary, VideoOptions, VideoSummary, stylize_folder, stylize_image, stylize_video
from stylebatch.benchmark import psnr
from stylebatch.frame import Failure, Frame, Pixels
from stylebatch.images.jpeg import CodedJpeg
from stylebatch.images.nvjpeg import Jpegs, NvJpeg, decodes, encodes, jpegs_on, with_headers
from stylebatch.images.options import ImageOptions
from stylebatch.images.source import ImageSource

pytestmark = pytest.mark.skipif(not find_spec("torchvision"), reason="torchvision is not installed")


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
    from torchvision.io import encode_jpeg

    pixels = torch.from_numpy(np.array(picture(61, 43))).permute(2, 0, 1)
    encoded = encode_jpeg(pixels, 91).numpy().tobytes()
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


CPU = NvJpeg(torch.device("cpu"))


def by_pillow(pixels: Pixels, save: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", **save)
    return file.getvalue()


def by_nearest(data: bytes) -> Pixels:
    """As nvJPEG: colours of half the resolution are repeated, where libjpeg interpolates."""
    return np.asarray(simplejpeg.decode_jpeg(data, "RGB", fastupsample=True))


def test_a_cpu_has_none(caplog: pytest.LogCaptureFixture) -> None:
    assert jpegs_on(torch.device("cpu"), "exact") == Jpegs()
    assert not caplog.records
    assert jpegs_on(torch.device("cpu"), "all") == Jpegs()
    assert "the processor decodes JPEGs" in caplog.text


def test_an_encoder_has_to_make_what_pillow_makes() -> None:
    """torchvision's own on a CPU halves the resolution of colours."""
    pixels = np.asarray(picture())
    assert CPU.encode(pixels, {"quality": 95, "subsampling": "4:2:0"}) is None
    assert CPU.encode(pixels, {"quality": 95, "subsampling": "4:4:4"}) is not None
    assert not encodes(CPU.encode)
    assert encodes(by_pillow)
    assert not encodes(lambda pixels, save: by_pillow(pixels, {**save, "quality": 10}))


def handed_over(source: ImageSource, name: str) -> Any:
    """What a process that decodes gives."""
    return pickle.loads(pickle.dumps(source))[name]


def test_plain_jpegs_are_decoded_where_the_gpu_is(tmp_path: Path) -> None:
    """To the pixels, and with all else, that another decoder's would have; the file is handed over as it is."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save = {"quality": 92, "subsampling": "4:4:4", "comment": b"a comment", "icc_profile": profile}
    picture(61, 43).save(tmp_path / "a.jpg", **save)
    source = ImageSource(tmp_path, jpeg=CPU.decode)
    coded = handed_over(source, "a.jpg")
    assert isinstance(coded, CodedJpeg)
    assert coded.data == (tmp_path / "a.jpg").read_bytes()
    expected = ImageSource(tmp_path)["a.jpg"]
    assert isinstance(expected, Frame)
    for jpeg in (CPU.decode, lambda _: None):  # which refuses it
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
        ({"progressive": True, "subsampling": "4:2:0"}, {"gpu_jpeg": "all"}),
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
    source = ImageSource(tmp_path, ImageOptions(**options), jpeg=CPU.decode)
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
    assert handed_over(ImageSource(tmp_path, jpeg=CPU.decode), "a.jpg") == expected


@pytest.mark.parametrize("sampling", ["4:2:0", "4:2:2"])
def test_others_are_if_asked(sampling: str, tmp_path: Path) -> None:
    """By another process, and where there is none; what is refused has libjpeg's levels."""
    picture(61, 43).save(tmp_path / "a.jpg", subsampling=sampling, quality=92)
    data, asked = (tmp_path / "a.jpg").read_bytes(), ImageOptions(gpu_jpeg="all")
    expected = ImageSource(tmp_path)["a.jpg"]
    assert isinstance(expected, Frame)
    coded = handed_over(ImageSource(tmp_path, asked, jpeg=by_nearest), "a.jpg")
    assert isinstance(coded, CodedJpeg)
    for source, pixels in (
        (ImageSource(tmp_path, asked, jpeg=by_nearest), by_nearest(data)),
        (ImageSource(tmp_path, asked, jpeg=lambda _: None), expected.pixels),
    ):
        for frame in (source.finish(coded), source["a.jpg"]):
            assert isinstance(frame, Frame)
            assert np.array_equal(frame.pixels, pixels)
            assert frame.info == expected.info
    assert not np.array_equal(by_nearest(data), expected.pixels)


def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A machine with another decoder and encoder. Lists what it decodes, and what it encodes."""
    asked: list[bytes] = []

    def decode(data: bytes) -> Pixels:
        asked.append(data)
        return by_nearest(data)

    def encode(pixels: Pixels, save: dict[str, Any]) -> bytes:
        asked.append(by_pillow(pixels, save))
        return asked[-1]

    def jpegs(_device: torch.device, how: str) -> Jpegs:
        if how == "off":
            return Jpegs()
        return Jpegs(encode, decode, {"jpeg": "other", **({"decoder": "other"} if how == "all" else {})})

    for module in ("folder", "image", "video"):
        monkeypatch.setattr(f"stylebatch.jobs.{module}.jpegs_on", jpegs)
    return asked


@pytest.mark.slow
def test_a_folder_whose_jpegs_another_decoder_decodes(
    photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the processes and threads that a folder has, to the same bytes."""
    source = photos("a.jpg", "b.jpg", size=(48, 32))
    picture(48, 32, 3).save(source / "c.jpg", subsampling="4:4:4", quality=92)
    times = {name: (source / name).stat().st_mtime_ns for name in ("a.jpg", "b.jpg", "c.jpg")}
    assert stylize_folder(source, tmp_path / "one", device="cpu", workers=1).done == 3
    asked = on_a_gpu(monkeypatch)
    assert stylize_folder(source, tmp_path / "two", device="cpu", workers=1).done == 3
    assert (source / "a.jpg").read_bytes() not in asked
    assert (source / "c.jpg").read_bytes() in asked
    for name, time in times.items():
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        assert (tmp_path / "two" / name).read_bytes() in asked
        assert (tmp_path / "two" / name).stat().st_mtime_ns == time


def test_who_decodes_and_encodes_makes_another_result(
    photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    """What is asked for does not, where there is none that could."""
    source, out = photos("a.jpg"), tmp_path / "out"

    def run(how: str, **more: Any) -> Summary:
        options = ImageOptions(gpu_jpeg=how)
        return stylize_folder(source, out, checkpoint, device="cpu", workers=0, options=options, **more)

    assert run("all").done == 1
    assert run("exact").skipped == 1
    asked = on_a_gpu(monkeypatch)
    for how in ("exact", "all", "off"):
        asked.clear()
        with pytest.raises(StylebatchError, match="made with other options"):
            run(how)
        assert run(how, overwrite=True).done == 1
        assert run(how).skipped == 1
        assert ((source / "a.jpg").read_bytes() in asked) == (how == "all")
        assert ((out / "a.jpg").read_bytes() in asked) == (how != "off")


def test_a_single_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    asked = on_a_gpu(monkeypatch)
    picture().save(tmp_path / "a.jpg", subsampling="4:2:0", quality=92)
    result = stylize_image(tmp_path / "a.jpg", None, checkpoint, device="cpu", options=ImageOptions(gpu_jpeg="all"))
    assert asked == [(tmp_path / "a.jpg").read_bytes(), result.read_bytes()]


@pytest.mark.slow
def test_numbered_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    """Who decodes them, and who encodes them, makes another result."""
    shot = tmp_path / "shot"
    shot.mkdir()
    for number in range(3):
        picture(48, 32, number).save(shot / f"{number}.jpg", subsampling="4:2:0", quality=92)
    read = [(shot / f"{number}.jpg").read_bytes() for number in range(3)]

    def run(output: str, how: str = "exact") -> VideoSummary:
        options = VideoOptions(gpu_jpeg=how, steady=0)
        return stylize_video(shot / "%d.jpg", tmp_path / output, checkpoint, device="cpu", options=options, overwrite=True)

    outputs = ("pngs/%d.png", "jpegs/%d.jpg", "film.mkv")
    for output in outputs:
        assert run(output).done == 3
    asked = on_a_gpu(monkeypatch)
    for output in outputs:
        assert run(output, "all").done == 3
        assert {*read} <= {*asked}
        assert run(output, "all").unchanged
        asked.clear()
    assert run("jpegs/%d.jpg").done == 3
    assert sorted(asked) == sorted((tmp_path / "jpegs" / f"{number}.jpg").read_bytes() for number in range(3))


def test_a_decoder_of_other_levels_is_not_used() -> None:
    def missing(_data: bytes) -> Pixels:
        raise ImportError("no torchvision")

    def far(data: bytes) -> Pixels:
        return np.clip(by_nearest(data), 5, 255) - np.uint8(5)

    for sampling in ("4:4:4", "4:2:0"):
        assert decodes(CPU.decode, sampling)
        assert decodes(by_nearest, sampling)
        for decode in (missing, far, lambda _: None):
            assert not decodes(decode, sampling)
    assert not decodes(lambda data: by_nearest(data) ^ 1, "4:4:4")
    assert decodes(lambda data: by_nearest(data) ^ 1, "4:2:0")
    assert CPU.decode(b"no jpeg") is None


@requires_cuda
def test_nvjpeg_decodes_to_the_same_levels(tmp_path: Path) -> None:
    decode = jpegs_on(torch.device("cuda"), "exact").decode
    if decode is None:
        pytest.skip("this torchvision has no nvJPEG, or one of other levels")
    for seed, quality in ((0, 50), (1, 92), (2, 100)):
        picture(321, 243, seed).save(tmp_path / "a.jpg", subsampling="4:4:4", quality=quality)
        pixels, expected = decode((tmp_path / "a.jpg").read_bytes()), ImageSource(tmp_path)["a.jpg"]
        assert isinstance(expected, Frame)
        assert pixels is not None
        assert np.array_equal(pixels, expected.pixels)


@requires_cuda
def test_a_folder_by_nvjpeg(photos: Callable[..., Path], tmp_path: Path) -> None:
    source, device = photos("a.jpg", "b.jpg", size=(321, 243)), torch.device("cuda")
    if jpegs_on(device, "exact").encode is None:
        pytest.skip("this torchvision has no nvJPEG")
    assert stylize_folder(source, tmp_path / "gpu", device="cuda").done == 2
    assert stylize_folder(source, tmp_path / "gpu", device="cuda").skipped == 2
    assert stylize_folder(source, tmp_path / "cpu", device="cuda", options=ImageOptions(gpu_jpeg="off")).done == 2
    for name in ("a.jpg", "b.jpg"):
        with Image.open(tmp_path / "gpu" / name) as ours, Image.open(tmp_path / "cpu" / name) as theirs:
            assert psnr(*(torch.from_numpy(np.array(each)) for each in (ours, theirs))) > 40


@requires_cuda
def test_nvjpeg_encodes_while_the_gpu_is_busy() -> None:
    """Many at once, to the bytes of each alone: it waits for what it is given, and for what it has made."""
    encode = jpegs_on(torch.device("cuda"), "exact").encode
    if encode is None:
        pytest.skip("this torchvision has no nvJPEG")
    pictures = [np.asarray(picture(640, 480, seed)) for seed in range(16)]
    save = {"quality": 95, "subsampling": "4:4:4"}
    alone = [encode(each, save) for each in pictures]
    matrix = torch.rand(4096, 4096, device="cuda")
    with ThreadPoolExecutor(8) as threads:
        for _ in range(4):
            for _ in range(20):
                matrix = matrix @ matrix / 4096
            assert list(threads.map(lambda each: encode(each, save), pictures)) == alone


@requires_cuda
def test_nvjpeg_decodes_what_cameras_write(tmp_path: Path) -> None:
    decode = jpegs_on(torch.device("cuda"), "all").decode
    if decode is None:
        pytest.skip("this torchvision has no nvJPEG")
    picture(320, 240).save(tmp_path / "a.jpg", subsampling="4:2:0", quality=92)
    pixels, expected = decode((tmp_path / "a.jpg").read_bytes()), ImageSource(tmp_path)["a.jpg"]
    assert isinstance(expected, Frame)
    assert pixels is not None
    assert np.abs(pixels.astype(int) - expected.pixels.astype(int)).mean() < 4
