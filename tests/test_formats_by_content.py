"""Name against content, what is not read, what is set aside, and which of a file's pictures is taken."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from stylebatch.frame import Failure, Frame
from stylebatch.images.decoding import read_image
from stylebatch.images.encoding import write_image
from stylebatch.images.formats import EXTENSIONS, FORMATS
from stylebatch.images.options import ImageOptions
from stylebatch.images.source import ImageSource, find_images
from stylebatch.jobs import stylize_image
from stylebatch.jobs.inputs import FolderInputs
from stylebatch.jobs.job import FolderJob
from stylebatch.jobs.plan import outputs_of
from stylebatch.pipeline import Summary
from stylebatch.storage import storage_of


def output_of(path: Path, **options: Any) -> str:
    return str(read_image(path, options=ImageOptions(**options)).info.extra.output)


@pytest.mark.parametrize(
    ("name", "content", "output"),
    [
        ("a.heic", "JPEG", "a.jpg"), ("a.jpg", "PNG", "a.png"), ("a.png", "WEBP", "a.webp"), ("a.jpg", "PCX", "a.png"),
        ("a.JPEG", "JPEG", "a.JPEG"), ("a.jfif", "JPEG", "a.jfif"), ("a.apng", "PNG", "a.apng"), ("a.tif", "BMP", "a.bmp"),
        ("a.mpo", "MPO", "a.jpg"), ("a.jpg", "MPO", "a.jpg"), ("a.jpg", "GIF", "a.png"), ("a", "JPEG", "a"),
        ("a.xyz", "JPEG", "a.jpg"),
    ],
)  # fmt: skip
def test_the_extension_is_that_of_what_is_written(name: str, content: str, output: str, tmp_path: Path) -> None:
    picture().save(tmp_path / name, format=content)
    frame = read_image(tmp_path / name)
    assert frame.info.extra.output == output
    write_image(frame.pixels, frame.info.extra, tmp_path / "out" / output)
    with Image.open(tmp_path / "out" / output) as back:
        assert back.format == FORMATS[content]
    assert output_of(tmp_path / name, format="webp") == (Path(name).with_suffix(".webp").name if "." in name else name)


def test_heic_named_as_a_jpeg(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    picture().save(tmp_path / "a.jpg", format="HEIF")
    assert output_of(tmp_path / "a.jpg") == "a.png"


def test_a_moving_gif_by_another_name(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png", format="GIF", save_all=True, append_images=[picture(seed=1)])
    frames = ImageSource(tmp_path)["a.png"]
    assert isinstance(frames, list)
    assert (frames[0].info.extra.output, frames[0].info.extra.format) == ("a.gif", "GIF")


def test_outputs_do_not_clash_by_content(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", format="PNG")
    picture().save(tmp_path / "a.png")
    picture().save(tmp_path / "b.jpg", format="PNG")
    picture().save(tmp_path / "b.png", format="JPEG")
    picture().save(tmp_path / "c.jpg")
    picture().save(tmp_path / "c.png")
    clear, failures = outputs_of(sorted(path.name for path in tmp_path.iterdir()), grid=False, root=tmp_path)
    assert list(clear) == ["a.png", "b.jpg", "b.png", "c.jpg", "c.png"]
    assert failures == [Failure("a.jpg", "would be written to a.png, as a.png is; rename one")]


def test_the_image_command_names_what_it_writes(checkpoint: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.pcx")
    picture().save(tmp_path / "b.heic", format="JPEG")
    assert stylize_image(tmp_path / "a.pcx", style=checkpoint, device="cpu").name == "a_plain.png"
    assert stylize_image(tmp_path / "b.heic", style=checkpoint, device="cpu").name == "b_plain.jpg"


def test_every_extension_that_is_read_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    savable = {
        "JPEG",
        "PNG",
        "WEBP",
        "TIFF",
        "BMP",
        "AVIF",
        "GIF",
        "MPO",
        "TGA",
        "JPEG2000",
        "ICO",
        "HEIF",
        "SGI",
        "PCX",
        "DDS",
    }
    names = [f"{format}{suffix}" for format in savable for suffix in EXTENSIONS[format]]
    for name in names:
        picture().save(tmp_path / name, format=name.partition(".")[0])
        picture().save(tmp_path / name.upper(), format=name.partition(".")[0])
    pictures, others, failures = find_images(tmp_path)
    assert (sorted(pictures), others, failures) == (sorted({*names, *map(str.upper, names)}), [], [])
    source = ImageSource(tmp_path)
    assert all(isinstance(source[name], Frame) for name in names)


def save_sensor(path: Path, *, thumbnail: bool, order: str = "<") -> None:
    """A TIFF of a camera: a thumbnail of 8×4 in RGB whose nested directory, or as first page itself, has a sensor's data."""

    def directory(tags: dict[int, int]) -> bytes:
        table = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
        return struct.pack(order + "H", len(tags)) + table + bytes(4)

    size = {256: 8, 257: 4, 258: 8, 259: 1, 273: 8, 278: 4, 279: 96}
    first = 8 + 96
    rgb = {**size, 254: 1, 262: 2, 277: 3, 330: first + 2 + 12 * 11 + 4}
    sensor = {**size, 254: 0, 262: 32803, 277: 1, 279: 32}
    body = directory(rgb) + directory(sensor) if thumbnail else directory(sensor)
    magic = b"II" if order == "<" else b"MM"
    path.write_bytes(struct.pack(order + "2sHI", magic, 42, first) + bytes(96) + body)


@pytest.mark.parametrize("thumbnail", [True, False])
@pytest.mark.parametrize("order", "<>")
def test_raw_files_are_refused_by_content(thumbnail: bool, order: str, tmp_path: Path) -> None:
    """Whatever their name: what could be opened would be a thumbnail."""
    save_sensor(tmp_path / "a.tif", thumbnail=thumbnail, order=order)
    assert ImageSource(tmp_path)["a.tif"] == Failure("a.tif", "camera raw is not read; export as TIFF or JPEG")


@pytest.mark.parametrize(
    ("name", "start", "kind"),
    [
        ("a.NEF", b"II*\0", "camera raw"), ("a.psd", b"", "Photoshop"), ("a.jxl", b"", "JPEG XL"),
        ("a.jpg", b"FUJIFILMCCD-RAW 0201", "camera raw"), ("a.png", b"8BPS\0\1", "Photoshop"),
        ("a.jpg", b"\0\0\0\x18ftypcrx \0\0\0\1", "camera raw"), ("a.png", b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        ("a.jpg", b"\xff\x0a\0\0", "JPEG XL"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_called_by_its_name(name: str, start: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(start + bytes(64))
    assert ImageSource(tmp_path)[name] == Failure(name, f"{kind} is not read; export as TIFF or JPEG")


def test_a_plain_tiff_named_as_raw_is_refused_too(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.dng", format="TIFF")
    assert ImageSource(tmp_path)["a.dng"] == Failure("a.dng", "camera raw is not read; export as TIFF or JPEG")


def listed(root: Path) -> tuple[list[str], Summary]:
    """The photographs that a job finds, and what else it meets."""
    met = Summary()
    job = FolderJob(source=str(root), output=str(root.parent / "out"))
    groups = FolderInputs(job, storage_of(job.source), storage_of(job.output)).groups(met)
    return [name for group in groups for name in group.photographs()], met


def test_raw_files_beside_photographs_are_counted(photos: Callable[..., Path]) -> None:
    root = photos("DSC_1.jpg", "DSC_2.jpg")
    for name in ("DSC_1.NEF", "DSC_2.nef", "c.jxl", "d.psd", "notes.txt"):
        (root / name).touch()
    names, met = listed(root)
    assert (names, met.failures) == (["DSC_1.jpg", "DSC_2.jpg"], [])
    assert (met.ignored, met.unread) == (["notes.txt"], {"camera raw": 2, "JPEG XL": 1, "Photoshop": 1})


def test_trash_and_thumbnails_are_set_aside(photos: Callable[..., Path]) -> None:
    aside = [
        ".dtrash", ".Trash-1000", "b/@eaDir", ".thumbnails", "__MACOSX", "#recycle", "$RECYCLE.BIN", "Previews.lrdata",
        "b/.picasaoriginals", ".hidden.jpg",
    ]  # fmt: skip
    root = photos("a.jpg", "b/c.jpg", "recycle/d.jpg", *(f"{folder}/deep/e.jpg" for folder in aside))
    names, met = listed(root)
    assert (names, met.failures) == (["a.jpg", "b/c.jpg", "recycle/d.jpg"], [])
    assert (met.ignored, sorted(met.set_aside)) == ([], sorted(f"{folder}/" for folder in aside))
    assert find_images(root / ".dtrash")[0] == ["deep/e.jpg"]  # who names it wants it


def save_pages(path: Path, *pages: tuple[Image.Image, int], **options: Any) -> None:
    """Pages of a TIFF, each with its NewSubfileType."""
    pictures = [page for page, _ in pages]
    for page, kind in pages:
        page.encoderinfo = {"tiffinfo": {254: kind}}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], tiffinfo={254: pages[0][1]}, **options)


@pytest.mark.parametrize("big", [False, True])
def test_the_full_page_of_a_tiff_is_taken(big: bool, tmp_path: Path) -> None:
    """A thumbnail before it and overviews and masks behind it are no pages."""
    full, second = picture(64, 48), picture(40, 30, seed=1)
    small, smaller, mask = full.resize((32, 24)), full.resize((16, 12)), full.convert("L")
    save_pages(tmp_path / "a.tif", (smaller, 1), (full, 0), (small, 1), (mask, 4), (second, 2), big_tiff=big)
    frame = read_image(tmp_path / "a.tif")
    assert (frame.pixels == np.asarray(full)).all()
    loaded = ImageSource(tmp_path)["a.tif"]
    assert isinstance(loaded, Frame)
    assert loaded.info.extra.left_out == 1
    assert ImageSource(tmp_path).size("a.tif") == (64, 48)


def test_sixteen_bits_of_a_later_page(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    save_pages(tmp_path / "a.tif", (picture(16, 12), 1), (Image.fromarray(deep), 0), compression="tiff_lzw")
    assert (read_image(tmp_path / "a.tif").pixels == deep[..., None]).all()


def test_further_pictures_of_mpo_and_heic_are_told(tmp_path: Path) -> None:
    def left_out(name: str) -> int:
        loaded = ImageSource(tmp_path)[name]
        assert isinstance(loaded, Frame)
        return int(loaded.info.extra.left_out)

    picture().save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[picture(seed=1)])
    picture().save(tmp_path / "b.jpg", format="MPO", save_all=True, append_images=[picture(24, 16)])
    packet = b"http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/'/>"
    whole = (tmp_path / "b.jpg").read_bytes()
    at = whole.rindex(b"\xff\xd8") + 2
    segment = b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet
    (tmp_path / "b.jpg").write_bytes(whole[:at] + segment + whole[at:])
    assert (left_out("a.jpg"), left_out("b.jpg")) == (1, 0)
    pytest.importorskip("pillow_heif")
    picture().save(tmp_path / "a.heic", save_all=True, append_images=[picture(seed=1), picture(seed=2)])
    assert left_out("a.heic") == 2
