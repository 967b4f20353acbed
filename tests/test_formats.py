"""The table of docs/formats.md, cell by cell: what of a file comes through an identity network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture
from PIL import ExifTags, Image, ImageCms

from stylebatch.frame import Frame, Saved
from stylebatch.images.decoding import read_image
from stylebatch.images.encoding import write_image
from stylebatch.images.sink import ImageSink
from stylebatch.images.source import ImageSource

pytest.importorskip("pillow_heif")

#: extension → Pillow's format in, format out, mean error of a pixel that the format's own compression may cause.
WRITTEN = {
    ".jpg": ("JPEG", "JPEG", 3), ".png": ("PNG", "PNG", 0), ".webp": ("WEBP", "WEBP", 5), ".tif": ("TIFF", "TIFF", 0),
    ".bmp": ("BMP", "BMP", 0), ".avif": ("AVIF", "AVIF", 5),
}  # fmt: skip
READ = {
    ".gif": ("GIF", "PNG", 8), ".heic": ("HEIF", "PNG", 5), ".ppm": ("PPM", "PNG", 0), ".tga": ("TGA", "PNG", 0),
    ".jp2": ("JPEG2000", "PNG", 3), ".ico": ("ICO", "PNG", 0), ".sgi": ("SGI", "PNG", 0), ".pcx": ("PCX", "PNG", 0),
    ".dds": ("DDS", "PNG", 0),
}  # fmt: skip
ALPHA = (".png", ".webp", ".tif", ".avif", ".heic", ".tga", ".jp2", ".ico", ".dds", ".gif")
PROFILE = (".jpg", ".png", ".webp", ".tif", ".avif", ".heic")
EXIF = (".jpg", ".png", ".webp", ".tif", ".avif", ".heic")
RESOLUTION = (".jpg", ".png", ".tif")


def through(path: Path) -> Image.Image:
    frame = read_image(path)
    out = path.parent / "out" / frame.info.extra.output
    write_image(frame.pixels, frame.info.extra, out)
    with Image.open(out) as image:
        image.load()
    return image


def error(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.mark.parametrize("suffix", [*WRITTEN, *READ])
def test_read_and_written(suffix: str, tmp_path: Path) -> None:
    format, written, tolerance = {**WRITTEN, **READ}[suffix]
    picture(64, 64).save(tmp_path / f"a{suffix}", **({"sizes": [(64, 64)]} if suffix == ".ico" else {}))
    with Image.open(tmp_path / f"a{suffix}") as original:
        assert original.format == format
    back = through(tmp_path / f"a{suffix}")
    assert back.format == written
    assert back.size == (64, 64)
    assert error(back.convert("RGB"), picture(64, 64)) <= tolerance


@pytest.mark.parametrize("suffix", ALPHA)
def test_alpha(suffix: str, tmp_path: Path) -> None:
    alpha = Image.new("L", (64, 64), 255)
    alpha.paste(0, (8, 8, 40, 30))
    original = picture(64, 64)
    original.putalpha(alpha)
    original.save(tmp_path / f"a{suffix}", **({"sizes": [(64, 64)]} if suffix == ".ico" else {}))
    back = through(tmp_path / f"a{suffix}")
    assert error(back.convert("RGBA").getchannel("A"), alpha) < 1


@pytest.mark.parametrize("suffix", PROFILE)
def test_profile(suffix: str, tmp_path: Path) -> None:
    """One whose red and blue are exchanged: taken for sRGB, the picture would have other colours."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, blue = srgb.index(b"rXYZ"), srgb.index(b"bXYZ")
    profile = bytearray(srgb)
    profile[red + 4 : red + 12], profile[blue + 4 : blue + 12] = srgb[blue + 4 : blue + 12], srgb[red + 4 : red + 12]
    path = tmp_path / f"a{suffix}"
    picture(64, 64).save(path, icc_profile=bytes(profile), **({} if suffix in (".png", ".tif") else {"quality": 95}))
    seen = Image.fromarray(read_image(path).pixels)
    assert error(Image.merge("RGB", seen.split()[::-1]), picture(64, 64)) < 6
    back = through(path)
    assert back.info["icc_profile"] == bytes(profile)
    assert error(back, picture(64, 64)) < 6


@pytest.mark.parametrize("suffix", EXIF)
def test_exif(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    exif[ExifTags.Base.Orientation] = 1
    picture(64, 64).save(tmp_path / f"a{suffix}", exif=exif)
    back = through(tmp_path / f"a{suffix}").getexif()
    assert back[ExifTags.Base.Artist] == "somebody"
    assert back.get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_xmp(suffix: str, tmp_path: Path) -> None:
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>somebody</x:xmpmeta>"
    options: dict[str, Any] = {"xmp": packet}
    if suffix == ".png":
        from PIL.PngImagePlugin import PngInfo

        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode())
    if suffix == ".tif":
        options = {"tiffinfo": {700: packet}}
    picture(64, 64).save(tmp_path / f"a{suffix}", **options)
    back = through(tmp_path / f"a{suffix}").info["xmp"]
    assert b"somebody" in (back.encode() if isinstance(back, str) else back)


@pytest.mark.parametrize("suffix", RESOLUTION)
def test_resolution(suffix: str, tmp_path: Path) -> None:
    picture(64, 64).save(tmp_path / f"a{suffix}", dpi=(300, 300))
    assert through(tmp_path / f"a{suffix}").info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize(("suffix", "left_out"), [(".tif", 2), (".avif", 0), (".gif", 0), (".webp", 0), (".png", 0)])
def test_what_is_left_out_is_told(suffix: str, left_out: int, tmp_path: Path) -> None:
    """Three pages or frames; a format that moves keeps them."""
    first, *others = [picture(64, 64, seed=seed) for seed in range(3)]
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=others)
    frames = ImageSource(tmp_path)[f"a{suffix}"]
    assert isinstance(frames, list) == (left_out == 0)
    sink = ImageSink(tmp_path / "out")
    for frame in frames if isinstance(frames, list) else [frames]:
        assert isinstance(frame, Frame)
        sink.add(frame.info, frame.pixels, frame.pixels)
    sink.close()
    (saved,) = sink.outcomes()
    assert isinstance(saved, Saved)
    assert saved.left_out == left_out
