from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import ExifTags, Image, ImageCms

from stylebatch.errors import StylebatchError
from stylebatch.frame import Failure
from stylebatch.images import ImageExtra, ImageSource, find_images, output_names, read_image, write_image


def roundtrip(path: Path, out: Path) -> Image.Image:
    """Decode and encode with untouched pixels, as an identity network would."""
    frame = read_image(path)
    target = out / frame.info.extra.output
    write_image(frame.pixels, frame.info.extra, target)
    image = Image.open(target)
    image.load()
    return image


def difference(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".avif"])
def test_formats_are_kept(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    picture().save(path)
    with Image.open(path) as original:
        back = roundtrip(path, tmp_path / "out")
        assert back.format == original.format
        assert back.size == original.size
        assert difference(back.convert("RGB"), original.convert("RGB")) < (5 if suffix == ".webp" else 2)  # always 4:2:0


@pytest.mark.parametrize("suffix", [".gif", ".ppm", ".tga"])
def test_read_only_formats_become_png(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    picture().save(path)
    back = roundtrip(path, tmp_path / "out")
    assert back.format == "PNG"
    assert Path(str(back.filename)).name == "a.png"  # type: ignore[attr-defined]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_cleared(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Artist] = "somebody"
    picture(48, 32).save(tmp_path / "a.png", exif=exif)
    source = ImageSource(tmp_path, ["a.png"])
    frame = read_image(tmp_path / "a.png")
    turned = orientation >= 5
    assert tuple(frame.pixels.shape) == ((48, 32, 3) if turned else (32, 48, 3))
    assert source.size(0) == ((32, 48) if turned else (48, 32))
    back = roundtrip(tmp_path / "a.png", tmp_path / "out")
    assert back.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert back.getexif()[ExifTags.Base.Artist] == "somebody"
    if orientation == 6:  # the camera lay on its side: the top left corner was at the top right
        assert difference(frame.pixels[0, -1], np.asarray(picture(48, 32))[0, 0]) == 0


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGB", "RGBA", "CMYK", "I;16"])
def test_modes(mode: str, tmp_path: Path) -> None:
    suffix = ".tif" if mode == "CMYK" else ".png"
    if mode == "I;16":
        values = (np.asarray(picture().convert("L")).astype(np.uint16)) * 257
        original = Image.fromarray(values)
    else:
        original = picture().convert(mode)
    original.save(tmp_path / f"a{suffix}")
    frame = read_image(tmp_path / f"a{suffix}")
    assert frame.pixels.shape == (32, 48, 3)
    expected = picture().convert("L") if mode == "I;16" else original
    assert difference(frame.pixels, expected.convert("RGB")) < 1


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_carried_over(suffix: str, tmp_path: Path) -> None:
    alpha = picture(seed="alpha").convert("L")
    original = picture()
    original.putalpha(alpha)
    original.save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    back = roundtrip(tmp_path / f"a{suffix}", tmp_path / "out")
    assert difference(back.getchannel("A"), alpha) == 0


def test_palette_transparency_becomes_alpha(tmp_path: Path) -> None:
    original = picture().convert("P")
    original.save(tmp_path / "a.png", transparency=original.getpixel((0, 0)))
    back = roundtrip(tmp_path / "a.png", tmp_path / "out")
    assert back.mode == "RGBA"
    assert back.getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_profile_is_converted_for_the_network_and_back(tmp_path: Path) -> None:
    """A profile with its primaries turned round: as plain numbers its pictures would look wrong."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, blue = srgb.index(b"rXYZ"), srgb.index(b"bXYZ")
    swapped = bytearray(srgb)
    swapped[red + 4 : red + 12], swapped[blue + 4 : blue + 12] = srgb[blue + 4 : blue + 12], srgb[red + 4 : red + 12]
    original = picture()
    original.save(tmp_path / "a.png", icc_profile=bytes(swapped))
    pixels = read_image(tmp_path / "a.png").pixels
    assert difference(pixels.flip(-1), original) < 4
    assert difference(pixels, original) > 10
    back = roundtrip(tmp_path / "a.png", tmp_path / "out")
    assert back.info["icc_profile"] == bytes(swapped)
    assert difference(back, original) < 4


def test_resolution_is_kept(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", dpi=(300, 300))
    assert roundtrip(tmp_path / "a.jpg", tmp_path / "out").info["dpi"] == (300, 300)


def test_jpeg_is_written_without_chroma_subsampling(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg")
    back = roundtrip(tmp_path / "a.jpg", tmp_path / "out")
    assert all(layer[1:3] == (1, 1) for layer in back.layer)  # type: ignore[attr-defined]


def test_broken_files_are_failures_with_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(200, 150).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    names = ["truncated.jpg", "text.jpg", "empty.png", "vanished.jpg"]
    source = ImageSource(tmp_path, names)
    failures = [source[index] for index in range(4)]
    assert all(
        isinstance(failure, Failure) and failure.source == name for failure, name in zip(failures, names, strict=True)
    )
    reasons = [failure.reason for failure in failures if isinstance(failure, Failure)]
    for reason, words in zip(reasons, ("truncated", "not an image", "not an image", "vanished"), strict=True):
        assert words in reason
    monkeypatch.setattr("stylebatch.images.MAX_PIXELS", 10_000)
    too_large = ImageSource(tmp_path, ["whole.jpg"])[0]
    assert isinstance(too_large, Failure)
    assert "200×150 pixels: over the limit" in too_large.reason


def test_finding(photos: Callable[..., Path]) -> None:
    root = photos("B.JPG", "a b/ü.png", "nested/c.webp", ".hidden.jpg")
    picture().save(root / "no_extension", format="PNG")
    (root / "notes.txt").write_text("text")
    (root / "loop").symlink_to(root)
    (root / "link.jpg").symlink_to(root / "B.JPG")
    (root / "out_of_it.jpg").symlink_to("/etc/hostname")
    pictures, others = find_images(root)
    assert pictures == ["B.JPG", "a b/ü.png", "link.jpg", "nested/c.webp", "no_extension"]
    assert others == [".hidden.jpg", "notes.txt"]
    assert find_images(root, recursive=False)[0] == ["B.JPG", "link.jpg", "no_extension"]


def test_outputs_never_clash() -> None:
    assert output_names(["a.jpg", "b/a.jpg", "c.gif"], grid=False) == ["a.jpg", "b/a.jpg", "c.png"]
    with pytest.raises(StylebatchError, match=r"c\.gif and c\.png would both be written to c\.png"):
        output_names(["c.gif", "c.png"], grid=False)
    with pytest.raises(StylebatchError, match=r"a_grid\.jpg"):
        output_names(["a.png", "a_grid.jpg"], grid=True)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(KeyError):
        write_image(torch.zeros(4, 4, 3, dtype=torch.uint8), ImageExtra("a.png", "NONE"), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
