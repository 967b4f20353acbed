from __future__ import annotations

import io
import os
import re
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import LEVEL, THERE_AND_BACK, picture
from PIL import ExifTags, Image, ImageCms, ImageDraw, ImageFile
from support.profiles import P3, SRGB_CURVE, curve, grey_profile, rgb_profile, table_profile
from support.tiffs import save_tiff

from stylebatch.colour.icc import SRGB
from stylebatch.errors import StylebatchError
from stylebatch.frame import Failure, Frame, Saved
from stylebatch.images.decoding import read_image
from stylebatch.images.encoding import write_image
from stylebatch.images.extra import ImageExtra
from stylebatch.images.metadata import Metadata
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import ImageSink, grid_path
from stylebatch.images.source import ImageSource, find_images
from stylebatch.jobs.plan import outputs_of
from stylebatch.stylizer import Stylizer


def roundtrip(path: Path, out: Path, options: ImageOptions = ImageOptions()) -> Image.Image:  # noqa: B008 (frozen)
    """Decode and encode with untouched pixels, as an identity network would."""
    frame = read_image(path, options=options)
    target = out / frame.info.extra.output
    write_image(frame.pixels, frame.info.extra, target, options)
    image = Image.open(target)
    image.load()
    return image


def paint(root: Path, names: list[str], out: Path, options: ImageOptions, *, grid: bool = False) -> list[Any]:
    """All frames from a source to a sink, unchanged."""
    sink = ImageSink(out, options=options, grid=grid)
    for loaded in map(ImageSource(root, options).__getitem__, names):
        assert not isinstance(loaded, Failure), loaded
        for frame in loaded if isinstance(loaded, list) else [loaded]:
            sink.add(frame.info, frame.pixels, frame.pixels)
    sink.close()
    return list(sink.outcomes())


def save_animation(path: Path, *, frames: int = 3, **options: Any) -> list[Image.Image]:
    pictures = [picture(seed=seed) for seed in range(frames)]
    durations = [100 * (number + 1) for number in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=4, **options)
    return pictures


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
    frame = read_image(tmp_path / "a.png")
    turned = orientation >= 5
    assert tuple(frame.pixels.shape) == ((48, 32, 3) if turned else (32, 48, 3))
    picture(48, 32).save(tmp_path / "hint.jpg", exif=exif)
    assert ImageSource(tmp_path).size("hint.jpg") == ((32, 48) if turned else (48, 32))
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
    if mode == "I;16":
        assert difference(frame.pixels, values[..., None].repeat(3, axis=2)) == 0
    else:
        assert difference(frame.pixels, original.convert("RGB")) < 1


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
    assert difference(pixels[..., ::-1], original) < 4
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


def test_broken_files_are_failures_with_reasons(tmp_path: Path) -> None:
    picture(200, 150).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    names = ["truncated.jpg", "text.jpg", "empty.png", "vanished.jpg"]
    failures = [ImageSource(tmp_path)[name] for name in names]
    assert all(
        isinstance(failure, Failure) and failure.source == name for failure, name in zip(failures, names, strict=True)
    )
    reasons = [failure.reason for failure in failures if isinstance(failure, Failure)]
    for reason, words in zip(reasons, ("truncated", "not an image", "not an image", "vanished"), strict=True):
        assert words in reason
    picture(1200, 900).save(tmp_path / "large.jpg")
    too_large = ImageSource(tmp_path, ImageOptions(max_megapixels=1))["large.jpg"]
    assert isinstance(too_large, Failure)
    assert too_large.reason == "1200×900 pixels: over the limit of 1 megapixels"
    half = ImageSource(tmp_path, ImageOptions(allow_truncated=True))["truncated.jpg"]
    assert isinstance(half, Frame)
    assert difference(half.pixels[:40], np.asarray(picture(200, 150))[:40]) < 5
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def damaged(whole: bytes, kind: str) -> bytes:
    """A JPEG, or a file with one in it, as cards and disks leave it."""
    start, end = len(whole) // 2, len(whole) // 2 + 400
    return {
        "end in the middle": whole[:start] + b"\xff\xd9" + whole[start + 2 :],
        "zeros": whole[:start] + bytes(400) + whole[end:],
        "missing piece": whole[:start] + whole[end:],
        "cut off": whole[:start],
    }[kind]


@pytest.mark.parametrize("kind", ["end in the middle", "zeros", "missing piece", "cut off"])
@pytest.mark.parametrize(
    "how", [{}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"restart_marker_rows": 1}], ids=str
)
def test_damaged_jpegs_fail_unless_they_may_be(how: dict[str, Any], kind: str, tmp_path: Path) -> None:
    """Of which libjpeg only warns, and Pillow not even that."""
    how = dict(how)
    original = picture(200, 150).convert(how.pop("mode", "RGB"))
    original.save(tmp_path / "a.jpg", quality=92, **how)
    (tmp_path / "b.jpg").write_bytes(damaged((tmp_path / "a.jpg").read_bytes(), kind))
    whole, failure = ImageSource(tmp_path)["a.jpg"], ImageSource(tmp_path)["b.jpg"]
    assert isinstance(whole, Frame)
    assert isinstance(failure, Failure)
    assert "damaged JPEG data" in failure.reason
    assert "`allow_truncated`" in failure.reason
    kept = ImageSource(tmp_path, ImageOptions(allow_truncated=True))["b.jpg"]
    assert isinstance(kept, Frame)
    assert kept.pixels.shape == whole.pixels.shape
    if "progressive" not in how:
        assert (kept.pixels[:40] == whole.pixels[:40]).all()


def test_damaged_jpeg_in_tiff_fails_too(tmp_path: Path) -> None:
    picture(200, 150).save(tmp_path / "a.tif", compression="jpeg")
    whole = (tmp_path / "a.tif").read_bytes()
    with Image.open(tmp_path / "a.tif") as image:
        offset, length = image.tag_v2[273][-1], image.tag_v2[279][-1]  # type: ignore[attr-defined]
    middle = offset + length // 2
    (tmp_path / "b.tif").write_bytes(whole[:middle] + b"\xff\xd9" + whole[middle + 2 :])
    assert isinstance(ImageSource(tmp_path)["a.tif"], Frame)
    failure = ImageSource(tmp_path)["b.tif"]
    assert isinstance(failure, Failure)
    assert "damaged JPEG data" in failure.reason
    assert isinstance(ImageSource(tmp_path, ImageOptions(allow_truncated=True))["b.tif"], Frame)


def test_sound_jpegs_with_more_than_they_need(tmp_path: Path) -> None:
    """Cameras pad the end, and put films and second pictures behind it."""
    picture().save(tmp_path / "whole.jpg", quality=92)
    whole = (tmp_path / "whole.jpg").read_bytes()
    for number, data in enumerate(
        [whole[:-2] + bytes(300) + whole[-2:], whole + bytes(500), whole + b"\0\0ftypmp42" + whole]
    ):
        (tmp_path / f"{number}.jpg").write_bytes(data)
        assert difference(read_image(tmp_path / f"{number}.jpg").pixels, read_image(tmp_path / "whole.jpg").pixels) == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("size", [None, 20])
def test_jpeg_has_the_pixels_that_pillow_gives(mode: str, size: int | None, tmp_path: Path) -> None:
    picture(200, 150).convert(mode).save(tmp_path / "a.jpg")
    frame = read_image(tmp_path / "a.jpg", options=ImageOptions(size=size))
    with Image.open(tmp_path / "a.jpg") as image:
        if size:
            image.draft(None, (20, 15))
        assert (
            difference(frame.pixels, image.convert("RGB").resize(frame.pixels.shape[1::-1], Image.Resampling.LANCZOS)) == 0
        )


def test_finding(photos: Callable[..., Path]) -> None:
    root = photos("B.JPG", "a b/ü.png", "nested/c.webp", ".hidden.jpg")
    picture().save(root / "no_extension", format="PNG")
    (root / "notes.txt").write_text("text")
    (root / "loop").symlink_to(root)
    (root / "link.jpg").symlink_to(root / "B.JPG")
    pictures, others, failures = find_images(root)
    assert pictures == ["B.JPG", "a b/ü.png", "link.jpg", "nested/c.webp", "no_extension"]
    assert others == [".hidden.jpg", "notes.txt"]
    assert failures == []
    assert find_images(root, recursive=False)[0] == ["B.JPG", "link.jpg", "no_extension"]


def test_what_only_looks_like_a_picture_is_told_without_opening_it(photos: Callable[..., Path]) -> None:
    root = photos("a.jpg")
    os.mkfifo(root / "fifo.jpg")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket.png"))
    (root / "folder.tif").mkdir()
    picture().save(root / "folder.tif" / "b.png")
    (root / "round.gif").symlink_to(root / "round.gif")
    (root / "broken.webp").symlink_to(root / "nothing")
    outside = photos("c.jpg", "deep/d.jpg", folder="outside")
    (outside / "back").symlink_to(root)
    (root / "out.jpg").symlink_to(outside / "c.jpg")
    (root / "album").symlink_to(outside)
    (root / "same album").symlink_to(outside)
    pictures, others, failures = find_images(root)
    assert pictures == ["a.jpg", "folder.tif/b.png"]
    assert others == ["album", "fifo", "same album"]
    assert [(failure.source, failure.reason) for failure in failures] == [
        ("broken.webp", "broken symbolic link"),
        ("fifo.jpg", "is a FIFO, not a file"),
        ("out.jpg", "is a symbolic link out of the folder; `follow_links` takes it"),
        ("round.gif", "symbolic links in a circle"),
        ("socket.png", "is a socket, not a file"),
    ]
    for name in ("fifo.jpg", "folder.tif", "socket.png"):
        failure = ImageSource(root)[name]
        assert isinstance(failure, Failure)
        assert failure.reason.startswith("is a ")
    assert find_images(root, follow_links=True)[0] == [
        "a.jpg", "album/c.jpg", "album/deep/d.jpg", "folder.tif/b.png", "out.jpg",
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_what_may_not_be_read(photos: Callable[..., Path]) -> None:
    root = photos("a.jpg", "closed/b.jpg")
    (root / "a.jpg").chmod(0)
    (root / "closed").chmod(0)
    assert find_images(root)[2] == [Failure("closed", "no permission to read the folder")]
    assert ImageSource(root)["a.jpg"] == Failure("a.jpg", "no permission to read it")
    (root / "closed").chmod(0o700)


@pytest.mark.parametrize(
    "name", [os.fsdecode(b"caf\xe9.png"), "a'b\"c.png", "line\nbreak.png", "😀.png", "ü" * 125 + "x.png", "n" * 251 + ".png"]
)
def test_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture().save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(tmp_path / "in" / name)
    assert find_images(tmp_path / "in") == ([name], [], [])
    assert list(outputs_of([name], grid=True)[0]) == [name]
    for format in (None, "avif"):
        saved = paint(tmp_path / "in", [name], tmp_path / "out", ImageOptions(format=format), grid=True)
        assert isinstance(saved[0], Saved)
        assert saved[0].path.exists()
        assert grid_path(saved[0].path).exists()


def test_outputs_never_clash(tmp_path: Path) -> None:
    def lost(names: list[str], *, grid: bool = False, **options: Any) -> dict[str, str]:
        clear, failures = outputs_of(names, grid=grid, **options)
        assert sorted([*clear, *(failure.source for failure in failures)]) == sorted(names)
        return {failure.source: failure.reason for failure in failures}

    assert lost(["a.jpg", "b/a.jpg", "c.gif", "d"]) == {}
    assert lost(["a.jpg", "b.JPEG", "c.gif", "d", "e.png"], format="jpg") == {}
    assert lost(["c.gif", "c.png"]) == {"c.gif": "would be written to c.png, as c.png is; rename one"}
    assert lost(["c.gif", "c.tga", "c.ppm"]).keys() == {"c.tga", "c.ppm"}
    assert lost(["a.jpg", "a.png"], format="png").keys() == {"a.jpg"}
    assert lost(["a.png", "a_grid.jpg"], grid=True).keys() == {"a.png"}
    save_animation(tmp_path / "c.gif")
    assert lost(["c.gif", "c.png"], root=tmp_path) == {}  # it moves, and so stays a GIF
    assert lost(["a.jpg", "A.jpg", "B.JPG", "b.jpg"]) == {}
    told = {
        "A.jpg": "would be written to A.jpg, as a.jpg is; rename one",
        "b.gif": "would be written to b.png, as B.PNG is; rename one",
    }
    assert lost(["a.jpg", "A.jpg", "b.gif", "B.PNG"], folds=str.casefold) == told


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(KeyError):
        write_image(np.zeros((4, 4, 3), np.uint8), ImageExtra("a.png", "NONE"), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" dc:title="Cat"/></x:xmpmeta>'


def deep_pixels(channels: int = 3) -> Any:
    """16 bits whose low bytes matter."""
    rng = np.random.default_rng(0)
    return np.linspace(0, 65535, 32 * 48).reshape(32, 48, 1).astype(np.uint16) ^ rng.integers(
        0, 256, (32, 48, channels), dtype=np.uint16
    )


def save_deep(path: Path, pixels: Any, **keywords: Any) -> None:
    order = [2, 1, 0, 3][: pixels.shape[2]]
    assert cv2.imwrite(str(path), pixels[..., order], **keywords)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_pass_whole(suffix: str, channels: int, tmp_path: Path) -> None:
    pixels = deep_pixels(channels)
    if channels == 4:
        pixels[8:24, 8:40, 3] = 65535
    save_deep(tmp_path / f"a{suffix}", pixels)
    frame = read_image(tmp_path / f"a{suffix}")
    assert frame.pixels.dtype == np.uint16
    assert frame.info.extra.format == {".png": "PNG", ".tif": "TIFF"}[suffix]
    shown = frame.pixels if channels == 3 else np.dstack([frame.pixels, frame.info.extra.alpha])
    inside = (slice(12, 20), slice(12, 36))
    assert (shown[inside] == pixels[inside]).all()
    if channels == 3:
        assert (shown == pixels).all()
    back = roundtrip(tmp_path / f"a{suffix}", tmp_path / "out")
    assert back.mode == {3: "RGB", 4: "RGBA"}[channels]
    written = cv2.imread(str(tmp_path / "out" / f"a{suffix}"), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3][:channels]]
    assert written.dtype == np.uint16
    assert (written == shown).all()
    assert difference(np.asarray(back), written >> 8) < 1  # another decoder agrees


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_their_metadata(suffix: str, tmp_path: Path) -> None:
    """Written by the 16-bit encoder, read by Pillow."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    metadata = Metadata(exif.tobytes()[6:], XMP.replace(b"6", b"1"), dpi=(300, 300))
    extra = ImageExtra("a", {".png": "PNG", ".tif": "TIFF"}[suffix], profile=profile, metadata=metadata)
    write_image(deep_pixels(), extra, tmp_path / f"a{suffix}")
    for path in (tmp_path / f"a{suffix}", tmp_path / "out" / f"a{suffix}"):
        roundtrip(tmp_path / f"a{suffix}", tmp_path / "out")
        with Image.open(path) as back:
            back.load()
            assert back.info["icc_profile"] == profile
            assert back.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            assert b"Cat" in back.info["xmp"]
            assert back.getexif()[ExifTags.Base.Artist] == "somebody"
            assert back.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
        assert read_image(path).pixels.tolist() == deep_pixels().tolist()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bits_are_turned(suffix: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    extra = ImageExtra("a", {".png": "PNG", ".tif": "TIFF"}[suffix], metadata=Metadata(exif.tobytes()[6:]))
    write_image(deep_pixels(), extra, tmp_path / f"a{suffix}")
    pixels = read_image(tmp_path / f"a{suffix}").pixels
    assert pixels.dtype == np.uint16
    expected = np.rot90(deep_pixels(), {3: 2, 4: 2, 5: -1, 6: -1, 7: 1, 8: 1}.get(orientation, 0))
    mirrored = orientation in (2, 4, 5, 7)
    assert (pixels == (expected[:, ::-1] if mirrored else expected)).all()
    back = roundtrip(tmp_path / f"a{suffix}", tmp_path / "out")
    assert back.size == pixels.shape[1::-1]
    assert back.getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_sixteen_bits_become_eight_where_the_format_has_no_more(tmp_path: Path) -> None:
    save_deep(tmp_path / "a.png", deep_pixels())
    back = roundtrip(tmp_path / "a.png", tmp_path / "out", ImageOptions(format="webp", quality=100))
    assert (back.format, back.mode) == ("WEBP", "RGB")
    assert difference(back.convert("L"), np.dot(deep_pixels() / 257, [0.299, 0.587, 0.114])) < 5


def disc(behind: int) -> Image.Image:
    """A red disc on transparent black or white."""
    image = Image.new("RGBA", (96, 64), (behind, behind, behind, 0))
    ImageDraw.Draw(image).ellipse((20, 8, 68, 56), (220, 30, 20, 255))
    return image


def test_what_is_transparent_does_not_leak(tmp_path: Path, checkpoint: Path) -> None:
    stylizer = Stylizer(checkpoint, device="cpu", precision="fp32")
    results = []
    for behind in (0, 255):
        disc(behind).save(tmp_path / f"{behind}.png")
        frame = read_image(tmp_path / f"{behind}.png")
        assert difference(frame.pixels, np.broadcast_to([220, 30, 20], (64, 96, 3))) == 0
        write_image(stylizer(frame.pixels[None])[0], frame.info.extra, tmp_path / "out.png")
        results.append(np.asarray(Image.open(tmp_path / "out.png")))
        assert difference(results[-1][..., 3], disc(0).getchannel("A")) == 0
    assert difference(*results) == 0


def test_glass_keeps_its_own_colours(tmp_path: Path) -> None:
    original = picture()
    original.putalpha(90)
    original.save(tmp_path / "a.png")
    assert difference(read_image(tmp_path / "a.png").pixels, picture()) == 0


def test_without_alpha_paper_is_white(tmp_path: Path) -> None:
    disc(0).save(tmp_path / "a.png")
    back = roundtrip(tmp_path / "a.png", tmp_path / "out", ImageOptions(format="jpg"))
    assert (back.format, back.mode, Path(back.filename).name) == ("JPEG", "RGB", "a.jpg")  # type: ignore[attr-defined]
    assert difference(back, Image.alpha_composite(Image.new("RGBA", (96, 64), "white"), disc(0)).convert("RGB")) < 2


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_metadata_is_kept_and_does_not_turn_the_picture_again(suffix: str, tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    picture(16, 12).save(thumbnail, "JPEG")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "somebody"
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    camera[ExifTags.Base.ExifImageWidth], camera[ExifTags.Base.ExifImageHeight] = 48, 32
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAltitude] = 12.5
    raw = exif.tobytes()
    # A second directory with the thumbnail, as cameras append it; the first one's link to it is its last 4 bytes.
    body = bytearray(raw[6:])
    ifd0 = struct.unpack(">I" if body[:2] == b"MM" else "<I", body[4:8])[0]
    order = ">" if body[:2] == b"MM" else "<"
    entries = struct.unpack_from(order + "H", body, ifd0)[0]
    struct.pack_into(order + "I", body, ifd0 + 2 + 12 * entries, len(body))
    at = len(body) + 2 + 12 * 2 + 4
    body += struct.pack(order + "HHHIIHHIII", 2, 513, 4, 1, at, 514, 4, 1, len(thumbnail.getvalue()), 0)
    raw = b"Exif\0\0" + bytes(body) + thumbnail.getvalue()
    path = tmp_path / "a.jpg"
    picture(48, 32).save(path, exif=raw, xmp=XMP, dpi=(300, 300))
    with Image.open(path) as original:
        assert original.getexif().get_ifd(ExifTags.IFD.IFD1)[513]
    os.utime(path, ns=(10**18, 10**18 + 123_456_789))
    back = roundtrip(path, tmp_path / "out", ImageOptions(format=suffix[1:]))
    assert back.size == (32, 48)
    assert back.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert back.getexif()[ExifTags.Base.Artist] == "somebody"
    assert back.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] == 32
    assert back.getexif().get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAltitude] == 12.5
    assert b'tiff:Orientation="1" dc:title="Cat"' in back.info["xmp"]
    if suffix not in (".webp", ".avif"):
        assert back.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    written = tmp_path / "out" / f"a{suffix}"
    assert thumbnail.getvalue()[20:] not in written.read_bytes()
    assert written.stat().st_mtime_ns == 10**18 + 123_456_789


def test_strip_metadata_leaves_the_profile(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    picture().save(tmp_path / "a.jpg", exif=exif, xmp=XMP, dpi=(300, 300), icc_profile=profile)
    os.utime(tmp_path / "a.jpg", (10**9, 10**9))
    back = roundtrip(tmp_path / "a.jpg", tmp_path / "out", ImageOptions(strip_metadata=True))
    assert back.info["icc_profile"] == profile
    assert not {"exif", "xmp", "dpi"} & set(back.info)
    assert (tmp_path / "out" / "a.jpg").stat().st_mtime > 10**9 + 10**8


def test_lossless_stays_lossless(tmp_path: Path) -> None:
    for name, keywords in (("a.webp", {"lossless": True}), ("b.tif", {"compression": "tiff_lzw"}), ("c.tif", {})):
        picture().save(tmp_path / name, **keywords)
        back = roundtrip(tmp_path / name, tmp_path / "out")
        assert difference(back, picture()) == 0
        if name != "a.webp":
            assert back.info["compression"] == keywords.get("compression", "raw")
    picture().save(tmp_path / "d.tif", compression="jpeg")
    assert roundtrip(tmp_path / "d.tif", tmp_path / "out").info["compression"] == "tiff_adobe_deflate"


def test_a_damaged_exif_is_no_reason_to_fail(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert roundtrip(tmp_path / "a.jpg", tmp_path / "out").size == (48, 32)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_work_size(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture(641, 400).save(tmp_path / f"a{suffix}", exif=exif)
    for options, size in (
        (ImageOptions(size=64), (400, 641)),
        (ImageOptions(size=64, keep_work_size=True), (40, 64)),
        (ImageOptions(size=64, preserve_color=True), (400, 641)),
        (ImageOptions(size=5000), (400, 641)),
    ):
        frame = read_image(tmp_path / f"a{suffix}", options=options)
        assert max(frame.pixels.shape) == min(641, options.size or 0)
        back = roundtrip(tmp_path / f"a{suffix}", tmp_path / "out", options)
        assert back.size == size
    assert difference(back, read_image(tmp_path / f"a{suffix}").pixels) < 2


def test_work_size_keeps_alpha_and_depth(tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(deep_pixels(4), 8, axis=0), 8, axis=1)
    save_deep(tmp_path / "a.png", pixels)
    options = ImageOptions(size=96)
    assert read_image(tmp_path / "a.png", options=options).pixels.shape == (64, 96, 3)
    roundtrip(tmp_path / "a.png", tmp_path / "out", options)
    written = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16
    assert (written[..., 3] == pixels[..., 3]).all()


@pytest.mark.parametrize(
    "values",
    [{"format": "gif"}, {"format": "docx"}, {"quality": 0}, {"quality": 101}, {"size": 3}, {"max_megapixels": 0}],
)
def test_bad_options(values: dict[str, Any]) -> None:
    with pytest.raises(StylebatchError, match=r"choose from jpg|must be"):
        ImageOptions(**values)
    assert ImageOptions(format=".JPG").format == ImageOptions(format="jpeg").format == "JPEG"


def test_quality_counts(tmp_path: Path) -> None:
    picture(200, 150).save(tmp_path / "a.jpg")
    sizes = []
    for quality in (30, None):
        roundtrip(tmp_path / "a.jpg", tmp_path / "out", ImageOptions(quality=quality))
        sizes.append((tmp_path / "out" / "a.jpg").stat().st_size)
    assert sizes[0] < sizes[1] / 2


@pytest.mark.parametrize(
    ("suffix", "format"), [(".gif", None), (".png", None), (".webp", None), (".avif", None), (".gif", "png")]
)
def test_animations_keep_their_frames_and_timing(suffix: str, format: str | None, tmp_path: Path) -> None:
    pictures = save_animation(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    options = ImageOptions(format=format)
    (saved,) = paint(tmp_path, [f"a{suffix}"], tmp_path / "out", options, grid=True)
    assert isinstance(saved, Saved)
    assert saved.path.suffix == (f".{format}" if format else suffix)
    assert saved.pixels == 3 * 48 * 32
    with Image.open(saved.path) as back:
        assert back.n_frames == 3  # type: ignore[attr-defined]
        assert suffix == ".avif" or back.info["loop"] == 4
        for number, original in enumerate(pictures):
            back.seek(number)
            back.load()
            assert back.info["duration"] == 100 * (number + 1)
            assert difference(back.convert("RGB"), original) < {".gif": 12, ".avif": 5}.get(suffix, 0.5)
    with Image.open(grid_path(saved.path)) as sheet:
        assert sheet.size == (96, 32)


def test_animations_keep_their_transparency(tmp_path: Path) -> None:
    frames = [disc(0), disc(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    for suffix in (".gif", ".png", ".webp", ".avif"):
        frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=100, disposal=2)
        (saved,) = paint(tmp_path, [f"a{suffix}"], tmp_path / "out", ImageOptions())
        with Image.open(saved.path) as back:
            for number, frame in enumerate(frames):
                back.seek(number)
                alpha = back.convert("RGBA").getchannel("A")
                assert difference(alpha, frame.getchannel("A")) < 1, (suffix, number)


def test_animations_become_their_first_frame_where_nothing_moves(tmp_path: Path) -> None:
    pictures = save_animation(tmp_path / "a.png")
    (saved,) = paint(tmp_path, ["a.png"], tmp_path / "out", ImageOptions(format="bmp"))
    assert difference(Image.open(saved.path), pictures[0]) == 0
    assert difference(read_image(tmp_path / "a.png").pixels, pictures[0]) == 0
    assert "loop" not in roundtrip(tmp_path / "a.png", tmp_path / "out").info


def test_all_frames_count_against_the_limit(tmp_path: Path) -> None:
    pictures = [picture(800, 500, seed=seed) for seed in range(3)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:])
    failure = ImageSource(tmp_path, ImageOptions(max_megapixels=1))["a.webp"]
    assert failure == Failure("a.webp", "800×500 pixels in 3 frames: over the limit of 1 megapixels")


def test_a_failed_frame_fails_its_file_once(tmp_path: Path) -> None:
    save_animation(tmp_path / "a.webp")
    frames = ImageSource(tmp_path)["a.webp"]
    assert isinstance(frames, list)
    sink = ImageSink(tmp_path / "out")
    sink.add(frames[0].info, frames[0].pixels, frames[0].pixels)
    sink.fail(frames[1].info, "too large")
    sink.fail(frames[2].info, "too large")
    still = read_image(tmp_path / "a.webp", name="b.webp")
    sink.add(still.info, still.pixels, still.pixels)
    sink.close()
    first, second = sink.outcomes()
    assert first == Failure("a.webp", "too large")
    assert isinstance(second, Saved)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.webp"]


def test_heic(tmp_path: Path) -> None:
    """With pillow-heif it is read and written as PNG, without it the reason says what is missing."""
    try:
        picture().save(tmp_path / "a.heic", quality=95)
    except (KeyError, ValueError):
        (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        assert ImageSource(tmp_path)["a.heic"] == Failure("a.heic", "needs pillow-heif to be read")
    else:
        back = roundtrip(tmp_path / "a.heic", tmp_path / "out")
        assert (back.format, Path(back.filename).name) == ("PNG", "a.png")  # type: ignore[attr-defined]
        assert difference(back, picture()) < 8


def test_a_profile_without_a_way_back_stays_with_its_pixels(tmp_path: Path) -> None:
    profile = table_profile(P3, 2.2, back=False)
    for pixels in (deep_pixels(), np.asarray(picture())):
        extra = ImageExtra("a.png", "PNG", profile=profile)
        write_image(pixels, extra, tmp_path / "a.png")
        frame = read_image(tmp_path / "a.png")
        assert (frame.pixels == pixels).all()
        assert not frame.info.extra.convert_back
        assert roundtrip(tmp_path / "a.png", tmp_path / "out").info["icc_profile"] == profile


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_converted_and_come_back(suffix: str, tmp_path: Path) -> None:
    """As eight bits are; the alpha beside them is not touched. A grey ramp with the same curve stays what it is."""
    profile = rgb_profile(P3, SRGB_CURVE)
    muted = deep_pixels(4) // 2 + np.array([16000, 12000, 18000, 30000], np.uint16)
    extra = ImageExtra("a", {".png": "PNG", ".tif": "TIFF"}[suffix], alpha=muted[..., 3].copy(), profile=profile)
    write_image(np.ascontiguousarray(muted[..., :3]), extra, tmp_path / f"a{suffix}")
    Image.fromarray((muted[..., :3] >> 8).astype(np.uint8)).save(tmp_path / "b.png", icc_profile=profile)
    seen = read_image(tmp_path / f"a{suffix}")
    assert seen.pixels.dtype == np.uint16
    assert difference(seen.pixels / 257, read_image(tmp_path / "b.png").pixels) < 1
    assert difference(seen.pixels, muted[..., :3]) > 300
    back = roundtrip(tmp_path / f"a{suffix}", tmp_path / "out")
    assert back.info["icc_profile"] == profile
    written = cv2.imread(str(tmp_path / "out" / f"a{suffix}"), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]].astype(int)
    assert np.abs(written[..., :3] - muted[..., :3]).max() <= THERE_AND_BACK
    assert (written[..., 3] == muted[..., 3]).all()
    shallow = roundtrip(tmp_path / f"a{suffix}", tmp_path / "out", ImageOptions(format="webp", quality=100))
    assert shallow.info["icc_profile"] == profile
    assert difference(shallow.convert("L"), Image.fromarray((muted[..., :3] >> 8).astype(np.uint8)).convert("L")) < 3


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_is_converted_and_tagged_in_either_depth(suffix: str, tmp_path: Path) -> None:
    profile = grey_profile(curve(461))
    levels = np.linspace(16, 255, 32 * 48).reshape(32, 48).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / f"b{suffix}", icc_profile=profile)
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / f"a{suffix}", icc_profile=profile)
    shallow, deep = (read_image(tmp_path / f"{name}{suffix}") for name in "ba")
    assert (shallow.pixels.dtype, deep.pixels.dtype) == (np.uint8, np.uint16)
    assert np.abs(deep.pixels / 257 - shallow.pixels).max() < LEVEL
    assert difference(deep.pixels[..., 0] / 257, levels) > 5
    assert deep.info.extra.profile == shallow.info.extra.profile == SRGB
    assert roundtrip(tmp_path / f"a{suffix}", tmp_path / "out").info["icc_profile"] == SRGB
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / f"a{suffix}", icc_profile=rgb_profile(P3, SRGB_CURVE))
    assert read_image(tmp_path / f"a{suffix}").info.extra.convert_back  # grey may have the profile of a display


def test_grey_whose_white_is_zero(tmp_path: Path) -> None:
    grey = deep_pixels(1)
    save_tiff(tmp_path / "a.tif", grey, photometric=0)
    assert (read_image(tmp_path / "a.tif").pixels == 65535 - grey).all()


LAYOUTS: list[dict[str, Any]] = [
    {}, {"order": ">"}, {"planar": True}, {"planar": True, "order": ">", "compression": 8, "predictor": True},
    {"tile": 16}, {"tile": 16, "planar": True, "compression": 8}, {"tile": 16, "compression": 8, "predictor": True},
    {"compression": 8}, {"compression": 8, "predictor": True, "order": ">"}, {"compression": 34925},
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("channels", [3, 4])
def test_every_layout_of_tiff(layout: dict[str, Any], channels: int, tmp_path: Path) -> None:
    pixels = deep_pixels(channels)[:30, :43]
    if channels == 4:
        pixels[..., 3] |= 0xF000  # nothing so clear that its colours would be taken from beside it
    save_tiff(tmp_path / "a.tif", pixels, orientation=6, **layout)
    frame = read_image(tmp_path / "a.tif")
    assert frame.pixels.dtype == np.uint16
    turned = np.rot90(pixels, -1)
    assert (frame.pixels == turned[..., :3]).all()
    assert channels == 3 or (frame.info.extra.alpha == turned[..., 3]).all()
    back = roundtrip(tmp_path / "a.tif", tmp_path / "out")
    assert back.getexif().get(ExifTags.Base.Orientation, 1) == 1
    assert back.info["compression"] == ("tiff_adobe_deflate" if layout.get("compression", 1) != 1 else "raw")


def test_tiff_whose_colours_are_multiplied_by_alpha(tmp_path: Path) -> None:
    pixels = deep_pixels(4)
    pixels[..., 3] |= 0xF000
    multiplied = pixels.copy()
    multiplied[..., :3] = np.rint(pixels[..., :3] * (pixels[..., 3:] / 65535))
    save_tiff(tmp_path / "a.tif", multiplied, extra=1)
    frame = read_image(tmp_path / "a.tif")
    assert np.abs(frame.pixels.astype(int) - pixels[..., :3]).max() <= 1
    assert (frame.info.extra.alpha == pixels[..., 3]).all()


def test_a_channel_of_tiff_that_is_no_alpha(tmp_path: Path) -> None:
    save_tiff(tmp_path / "a.tif", deep_pixels(4), extra=0)
    frame = read_image(tmp_path / "a.tif")
    assert (frame.pixels == deep_pixels(4)[..., :3]).all()
    assert frame.info.extra.alpha is None


@pytest.mark.parametrize("planar", [False, True])
def test_inks_in_sixteen_bits(planar: bool, tmp_path: Path) -> None:
    """They become eight, as other CMYK does."""
    save_tiff(tmp_path / "a.tif", deep_pixels(4), photometric=5, planar=planar)
    inks = Image.merge(
        "CMYK", [Image.fromarray(np.rint(ink / 257).astype(np.uint8)) for ink in deep_pixels(4).transpose(2, 0, 1)]
    )
    frame = read_image(tmp_path / "a.tif")
    assert frame.pixels.dtype == np.uint8
    assert difference(frame.pixels, inks.convert("RGB")) == 0


@pytest.mark.parametrize("layout", [{}, {"planar": True, "compression": 8}, {"tile": 16}], ids=str)
def test_damaged_tiff_of_sixteen_bits(layout: dict[str, Any], tmp_path: Path) -> None:
    """What is cut off fails, unless it may be missing; wrong bytes do no more than fail."""
    save_tiff(tmp_path / "whole.tif", deep_pixels(), **layout)
    whole = (tmp_path / "whole.tif").read_bytes()
    directory = int.from_bytes(whole[4:8], "little")
    rng = np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(directory, len(whole), 1 + number % 3):
            damaged[at] = rng.integers(256)
        (tmp_path / "a.tif").write_bytes(damaged)
        loaded = ImageSource(tmp_path, ImageOptions(allow_truncated=number % 2 == 0, max_megapixels=2))["a.tif"]
        assert isinstance(loaded, Frame | list) or loaded.reason
    # Our own have the directory first, and so pixels that can be cut off.
    raw = ImageExtra("a", "TIFF", keep={"TIFF": {"compression": "raw"}})
    write_image(deep_pixels(), raw, tmp_path / "b.tif")
    (tmp_path / "b.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:-500])
    failure = ImageSource(tmp_path)["b.tif"]
    assert isinstance(failure, Failure)
    assert "truncated" in failure.reason
    kept = ImageSource(tmp_path, ImageOptions(allow_truncated=True))["b.tif"]
    assert isinstance(kept, Frame)
    assert (kept.pixels[:30] == deep_pixels()[:30]).all()


def test_a_transparent_colour_of_sixteen_bits(tmp_path: Path) -> None:
    """A PNG's tRNS: two bytes a channel."""
    pixels = np.full((8, 8, 3), (1000, 20000, 50000), np.uint16)
    pixels[2:4] = (1, 2, 3)
    save_deep(tmp_path / "a.png", pixels)
    data = (tmp_path / "a.png").read_bytes()
    body = b"tRNS" + struct.pack(">3H", 1, 2, 3)
    chunk = struct.pack(">I", 6) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    frame = read_image(tmp_path / "a.png")
    assert (frame.pixels == (1000, 20000, 50000)).all()
    assert ((frame.info.extra.alpha == 0) == (pixels[..., 0] == 1)).all()


def test_grey_with_alpha(tmp_path: Path) -> None:
    picture().convert("LA").save(tmp_path / "a.png")
    back = roundtrip(tmp_path / "a.png", tmp_path / "out")
    assert difference(back.convert("RGB"), picture().convert("L").convert("RGB")) == 0


def test_deep_grey_with_a_transparent_level(tmp_path: Path) -> None:
    grey = np.full((8, 8), 1234, np.uint16)
    grey[2:4] = 777
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=777)
    frame = read_image(tmp_path / "a.png")
    assert (frame.pixels == 1234).all()
    assert ((frame.info.extra.alpha == 0) == (grey == 777)).all()
    roundtrip(tmp_path / "a.png", tmp_path / "out")
    written = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert (written.dtype, written.shape) == (np.uint16, (8, 8, 4))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".gif", ".bmp", ".avif", ".ppm"])
def test_no_damage_does_more_than_fail(suffix: str, tmp_path: Path) -> None:
    """Cut short, or with wrong bytes: a frame or a reason, never an exception, a hang or an open switch."""
    picture().save(tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    rng = np.random.default_rng(0)
    for number in range(30):
        damaged = bytearray(whole[: rng.integers(len(whole))] if number % 2 else whole)
        for at in rng.integers(0, max(1, min(len(damaged), 300)), 3 if damaged else 0):
            damaged[at] = rng.integers(256)
        (tmp_path / f"a{suffix}").write_bytes(damaged)
        options = ImageOptions(allow_truncated=number % 3 == 0, max_megapixels=2)
        loaded = ImageSource(tmp_path, options)[f"a{suffix}"]
        assert isinstance(loaded, Frame | list) or loaded.reason
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_decoders_numbers_become_words(tmp_path: Path) -> None:
    """Files that Pillow's decoders fail on in the middle, in several formats."""
    reasons = {}
    for suffix in (".png", ".webp", ".tif", ".gif", ".jp2", ".bmp", ".tga"):
        path = tmp_path / f"a{suffix}"
        picture(200, 160, seed=suffix).save(path, **({"compression": "tiff_lzw"} if suffix == ".tif" else {}))
        whole = path.read_bytes()
        middle = len(whole) // 2
        for name, data in (
            (f"cut{suffix}", whole[:middle]),
            (f"noise{suffix}", whole[:middle] + bytes(range(255, 155, -1)) + whole[middle + 100 :]),
        ):
            (tmp_path / name).write_bytes(data)
            loaded = ImageSource(tmp_path)[name]
            if isinstance(loaded, Failure):
                reasons[name] = loaded.reason
    assert len(reasons) >= 5
    for name, reason in reasons.items():
        assert not re.search(r"error -?\d|not processed|data stream|Error -", reason), f"{name}: {reason}"
