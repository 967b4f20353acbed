"""What a photograph says beside its pixels stays as its camera or editor wrote it, and is true for the result."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin
from support.tiffs import save_tiff

from stylebatch.frame import Failure
from stylebatch.images.decoding import read_image
from stylebatch.images.encoding import write_image
from stylebatch.images.metadata import Metadata
from stylebatch.images.options import ImageOptions
from stylebatch.images.source import ImageSource

SIZE = (48, 32)
CAMERA, GPS = 0x8769, 0x8825
THUMBNAIL = b"\xff\xd8 the photograph, small \xff\xd9"
NOTE = b"MAKER\0 with offsets of its own"


def picture(width: int = SIZE[0], height: int = SIZE[1]) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def directory(order: str, at: int, lines: list[tuple[int, int, int, bytes]], following: int = 0) -> bytes:
    """Lines of tag, type, count and values, as a directory that lies at `at`."""
    table, values = struct.pack(order + "H", len(lines)), b""
    values_at = at + 2 + 12 * len(lines) + 4
    for tag, kind, count, data in lines:
        table += struct.pack(order + "HHI", tag, kind, count)
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", values_at + len(values))
            values += data + bytes(len(data) % 2)
    return table + struct.pack(order + "I", following) + values


def block(order: str = "<", orientation: int | None = 6, padding: int = 0) -> bytes:
    """EXIF that Pillow could not write again: a negative altitude, text in UTF-8, a maker's note, a thumbnail behind all."""

    def short(value: int) -> bytes:
        return struct.pack(order + "H", value)

    def long(value: int) -> bytes:
        return struct.pack(order + "I", value)

    first = [
        (0x10F, 2, 6, b"Canon\0"),
        *([] if orientation is None else [(0x112, 3, 1, short(orientation))]),
        (0x13B, 2, 9, "Zoë Ødé".encode()[:9]),
        (CAMERA, 4, 1, bytes(4)),
        (GPS, 4, 1, bytes(4)),
    ]
    camera = [
        (0x927C, 7, len(NOTE), NOTE),
        (0xA002, 4, 1, long(SIZE[0])),
        (0xA003, 3, 1, short(SIZE[1])),
        (0xEA1C, 7, padding, bytes(padding)),
    ]
    gps = [(0, 2, 8, b"2.2.0.0\0"), (6, 10, 1, struct.pack(order + "ii", -12, 1))]
    camera_at = 8 + len(directory(order, 8, first))
    gps_at = camera_at + len(directory(order, camera_at, camera))
    second_at = gps_at + len(directory(order, gps_at, gps))
    first[-2:] = [(CAMERA, 4, 1, long(camera_at)), (GPS, 4, 1, long(gps_at))]
    second = [(0x103, 3, 1, short(6)), (0x201, 4, 1, long(0)), (0x202, 4, 1, long(len(THUMBNAIL)))]
    second[1] = (0x201, 4, 1, long(second_at + len(directory(order, second_at, second))))
    start = (b"II*\0" if order == "<" else b"MM\0*") + long(8)
    return (
        start + directory(order, 8, first, second_at) + directory(order, camera_at, camera)
        + directory(order, gps_at, gps) + directory(order, second_at, second) + THUMBNAIL
    )  # fmt: skip


def expected(order: str) -> bytes:
    """The same, upright, in its new size, without the thumbnail."""
    data = bytearray(block(order, orientation=1))
    data[8 + 2 + 12 * 5 : 8 + 2 + 12 * 5 + 4] = bytes(4)  # no second directory
    width = data.index(struct.pack(order + "HHI", 0xA002, 4, 1)) + 8
    data[width : width + 4] = struct.pack(order + "I", SIZE[1])
    height = data.index(struct.pack(order + "HHI", 0xA003, 3, 1)) + 8
    data[height : height + 2] = struct.pack(order + "H", SIZE[0])
    return bytes(data[: -len(THUMBNAIL)])


def painted(path: Path, options: ImageOptions | None = None) -> tuple[Path, tuple[str, ...]]:
    """Through the reader and the writer, the network left out; the result, and what was said."""
    options = options or ImageOptions()
    frame = read_image(path, options=options)
    output = path.parent / "out" / frame.info.extra.output
    output.parent.mkdir(exist_ok=True)
    write_image(frame.pixels, frame.info.extra, output, options)
    return output, frame.info.extra.notes


def saved(path: Path, exif: bytes, **options: Any) -> Path:
    """A picture with the very bytes of EXIF, which Pillow would rebuild in TIFF and AVIF."""
    if path.suffix == ".tif":
        picture().save(path)
        data = path.read_bytes()
        order = "<" if exif[:2] == b"II" else ">"
        assert order == "<", "Pillow writes little-endian TIFFs"
        path.write_bytes(_grafted(data, exif))
    else:
        picture().save(path, exif=b"Exif\0\0" + exif if path.suffix == ".jpg" else exif, **options)
    return path


def _grafted(tiff: bytes, exif: bytes) -> bytes:
    """A little-endian TIFF that begins with EXIF and ends with a directory of both."""

    def lines(data: bytes) -> list[bytes]:
        (at,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, at)
        return [data[at + 2 + 12 * index :][:12] for index in range(count)]

    def moved(line: bytes) -> bytes:
        tag, kind, count, value = struct.unpack("<HHII", line)
        size = count * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}[kind]
        return struct.pack("<HHII", tag, kind, count, value + len(exif) if tag == 273 or size > 4 else value)

    merged = sorted([*map(moved, lines(tiff)), *lines(exif)], key=lambda line: struct.unpack_from("<H", line))
    body = exif + tiff
    return body[:4] + struct.pack("<I", len(body)) + body[8:] + struct.pack("<H", len(merged)) + b"".join(merged) + bytes(4)


def exif_of(path: Path) -> bytes:
    """A file's EXIF from TIFF's header on; of a TIFF, all of it."""
    if path.suffix == ".tif":
        return path.read_bytes()
    with Image.open(path) as image:
        return bytes(image.info["exif"]).removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_keeps_its_bytes(suffix: str, order: str, tmp_path: Path) -> None:
    output, notes = painted(saved(tmp_path / f"a{suffix}", block(order)))
    assert exif_of(output) == expected(order)
    assert notes == ()
    with Image.open(output) as image:
        assert image.size == SIZE[::-1]


def test_exif_of_avif_keeps_its_bytes_but_for_the_orientation(tmp_path: Path) -> None:
    """Which Pillow puts into the container: the picture is turned by it, and may be so once only."""
    output, notes = painted(saved(tmp_path / "a.avif", block(orientation=None)))
    with Image.open(output) as image:
        assert image.size == SIZE
        assert NOTE in image.info["exif"]
        assert image.info["exif"].index(NOTE) == block(orientation=None).index(NOTE)
    assert notes == ()


def test_exif_of_tiff(tmp_path: Path) -> None:
    output, notes = painted(saved(tmp_path / "a.tif", block()))
    data = output.read_bytes()
    assert THUMBNAIL not in data
    assert "Zoë Ødé".encode()[:9] in data
    assert NOTE in data
    assert struct.pack("<ii", -12, 1) in data
    with Image.open(output) as image:
        assert image.size == SIZE[::-1]
        assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert image.getexif()[ExifTags.Base.Make] == "Canon"
        assert image.getexif().get_ifd(CAMERA)[ExifTags.Base.ExifImageWidth] == SIZE[1]
    assert notes == ()


def test_offsets_in_a_makers_note_stay_true_in_a_tiff(tmp_path: Path) -> None:
    output, _ = painted(saved(tmp_path / "a.jpg", block(">")), ImageOptions(format="TIFF"))
    assert output.suffix == ".tif"
    assert output.read_bytes().index(NOTE) == block(">").index(NOTE)
    with Image.open(output) as image:
        assert image.getexif()[ExifTags.Base.Make] == "Canon"
        original = read_image(tmp_path / "a.jpg").pixels
        assert np.array_equal(np.asarray(image), original)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("order", "<>")
def test_sixteen_bits_in_the_byte_order_of_exif(suffix: str, order: str, tmp_path: Path) -> None:
    """Samples of a TIFF lie in the file's byte order, which is that of its EXIF."""
    pixels = np.random.default_rng(0).integers(0, 65536, (32, 48, 3)).astype(np.uint16)
    save_tiff(tmp_path / "a.tif", pixels)
    frame = read_image(tmp_path / "a.tif")
    format = {".png": "PNG", ".tif": "TIFF"}[suffix]
    extra = replace(frame.info.extra, format=format, metadata=Metadata(expected(order)))
    output = tmp_path / f"b{suffix}"
    write_image(frame.pixels, extra, output)
    assert np.array_equal(read_image(output).pixels, pixels)
    assert NOTE in exif_of(output)


def test_exif_fills_a_segment_of_jpeg_and_no_more(tmp_path: Path) -> None:
    room = 65_533 - len(b"Exif\0\0") - len(block()) + len(THUMBNAIL)
    for padding in (room - room % 2, room - room % 2 + 2):
        picture().save(tmp_path / f"{padding}.png", exif=block(padding=padding))
        output, notes = painted(tmp_path / f"{padding}.png", ImageOptions(format="JPEG"))
        with Image.open(output) as image:
            kept = "exif" in image.info
            assert image.size == SIZE[::-1]
        assert kept == (padding <= room)
        assert kept != any("EXIF of" in note and "a JPEG holds 65527" in note for note in notes)


@pytest.mark.parametrize(
    "broken", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff garbage", b"II+\0" + bytes(40)]
)
def test_damaged_exif_is_named(broken: bytes, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0" + broken)
    output, notes = painted(tmp_path / "a.jpg")
    assert [note for note in notes if "EXIF" in note] == (["its EXIF is damaged and left out"] if broken else [])
    with Image.open(output) as image:
        assert "exif" not in image.info


def test_no_bytes_of_exif_do_more_than_be_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(150):
        damaged = bytearray(block())
        for at in rng.integers(0, len(damaged), 1 + number % 4):
            damaged[at] = rng.integers(256)
        picture().save(tmp_path / "a.png", exif=bytes(damaged))
        loaded = ImageSource(tmp_path, ImageOptions(format="TIFF"))["a.png"]
        assert not isinstance(loaded, Failure), loaded.reason
        write_image(loaded.pixels, loaded.info.extra, tmp_path / "b.tif")
        assert read_image(tmp_path / "b.tif").pixels.shape == loaded.pixels.shape


def xmp(attributes: str, body: str = "") -> bytes:
    namespaces = {
        "tiff": "http://ns.adobe.com/tiff/1.0/", "exif": "http://ns.adobe.com/exif/1.0/", "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/", "xmpNote": "http://ns.adobe.com/xmp/note/",
        "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/", "GCamera": "http://ns.google.com/photos/1.0/camera/",
        "GPano": "http://ns.google.com/photos/1.0/panorama/", "C": "http://ns.google.com/photos/1.0/container/",
        "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    }  # fmt: skip
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in namespaces.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        f'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description {declared} {attributes}>{body}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def xmp_after(before: bytes, folder: Path, options: ImageOptions | None = None, orientation: int = 1) -> str:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture().save(folder / "a.jpg", exif=exif, xmp=before)
    with Image.open(painted(folder / "a.jpg", options)[0]) as image:
        return bytes(image.info["xmp"]).decode()


def test_xmp_that_is_true_keeps_its_bytes(tmp_path: Path) -> None:
    packet = xmp('dc:format="image/jpeg" tiff:Orientation="1"', "<dc:title>Zoë &amp; Cat</dc:title>")
    assert xmp_after(packet, tmp_path).encode() == packet


def test_xmp_of_bytes_that_are_gone(tmp_path: Path) -> None:
    gone = 'hdrgm:Version="1.0" GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="9" xmpNote:HasExtendedXMP="AB"'
    body = "<C:Directory><rdf:Seq/></C:Directory><xmp:Thumbnails>AAAA</xmp:Thumbnails><dc:title>Cat</dc:title>"
    after = xmp_after(xmp(f'{gone} GCamera:PortraitVersion="3"', body), tmp_path)
    for word in ("hdrgm:Version", "MotionPhoto", "MicroVideo", "HasExtendedXMP", "C:Directory", "Thumbnails"):
        assert word not in after
    assert "<dc:title>Cat</dc:title>" in after
    assert 'GCamera:PortraitVersion="3"' in after
    assert after.startswith("<?xpacket begin=")


def test_xmp_states_the_size_of_the_result(tmp_path: Path) -> None:
    body = (
        "<tiff:ImageWidth>48</tiff:ImageWidth><tiff:ImageLength>32</tiff:ImageLength><mwg-rs:Regions>face</mwg-rs:Regions>"
    )
    sizes = 'tiff:Orientation="6" exif:PixelXDimension="48" exif:PixelYDimension="32" GPano:FullPanoWidthPixels="96"'
    turned = xmp_after(xmp(sizes, body), tmp_path, orientation=6)
    assert 'tiff:Orientation="1" exif:PixelXDimension="32" exif:PixelYDimension="48"' in turned
    assert "<tiff:ImageWidth>32</tiff:ImageWidth>" in turned
    assert "GPano:FullPano" not in turned
    assert "face" not in turned
    upright = sizes.replace('Orientation="6"', 'Orientation="1"')
    smaller = xmp_after(xmp(upright, body), tmp_path, ImageOptions(size=24, keep_work_size=True))
    assert 'exif:PixelXDimension="24" exif:PixelYDimension="16" GPano:FullPanoWidthPixels="48"' in smaller
    assert "face" in smaller


def test_xmp_alone_says_how_the_picture_lies(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.webp", xmp=xmp('tiff:Orientation="6"'), lossless=True)
    output, _ = painted(tmp_path / "a.webp")
    with Image.open(output) as image:
        assert image.size == SIZE[::-1]
        assert b'tiff:Orientation="1"' in image.info["xmp"]


@pytest.mark.parametrize("broken", [b"<x", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"<a>" * 30_000, b"\xff\xfe<a"])
def test_damaged_xmp_is_named(broken: bytes, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.webp", xmp=broken)
    output, notes = painted(tmp_path / "a.webp")
    assert notes == ("its XMP is damaged and left out",)
    with Image.open(output) as image:
        assert "xmp" not in image.info


def resource(code: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", code, 0, len(data)) + data + bytes(len(data) % 2)


IPTC_DATA = b"\x1c\x02\x78\x00\x05A cat"


def test_iptc_and_comment_of_jpeg(tmp_path: Path) -> None:
    segment = b"Photoshop 3.0\0" + resource(0x0404, IPTC_DATA) + resource(0x040C, THUMBNAIL)
    extra = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
    picture().save(tmp_path / "a.jpg", extra=extra, comment="taken by Zoë")
    output, notes = painted(tmp_path / "a.jpg")
    with Image.open(output) as image:
        assert image.info["photoshop"] == {0x0404: IPTC_DATA}
        assert image.info["comment"] == "taken by Zoë".encode()
    assert notes == ()
    output, notes = painted(tmp_path / "a.jpg", ImageOptions(format="PNG"))
    assert notes == ("IPTC does not go into PNG",)
    with Image.open(output) as image:
        assert image.info["Comment"] == "taken by Zoë"
    output, notes = painted(tmp_path / "a.jpg", ImageOptions(format="TIFF"))
    assert notes == ("the comment does not go into TIFF",)
    with Image.open(output) as image:
        assert bytes(image.tag_v2[33723]) == IPTC_DATA


def test_layers_and_thumbnail_of_photoshop(tmp_path: Path) -> None:
    """They show the photograph. IPTC, which TIFFs hold twice, stays."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, data in (
        (34377, resource(0x0404, IPTC_DATA) + resource(0x040C, THUMBNAIL)),
        (37724, b"Adobe Photoshop Document Data Block\0" + THUMBNAIL),
        (33723, IPTC_DATA),
    ):
        info[tag], info.tagtype[tag] = data, 7
    info[270] = "a cat"
    picture().save(tmp_path / "a.tif", tiffinfo=info)
    output, notes = painted(tmp_path / "a.tif")
    assert THUMBNAIL not in output.read_bytes()
    with Image.open(output) as image:
        assert bytes(image.tag_v2[33723]) == IPTC_DATA
        assert image.get_photoshop_blocks()[0x0404]["data"] == IPTC_DATA
        assert image.tag_v2[270] == "a cat"
        assert 37724 not in image.tag_v2
    assert notes == ()


@pytest.mark.parametrize("deep", [False, True])
def test_texts_of_png(deep: bool, tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "A café")
    texts.add_text("prompt", "a cat " * 500, zip=True)
    texts.add_itxt("Author", "Зоя", "ru", "Автор")
    texts.add_itxt("XML:com.adobe.xmp", xmp("").decode())
    if deep:
        Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "a.png", pnginfo=texts)
    else:
        picture().save(tmp_path / "a.png", pnginfo=texts)
    output, notes = painted(tmp_path / "a.png")
    with Image.open(output) as image:
        image.load()
        assert {key: str(value) for key, value in image.text.items() if key != "XML:com.adobe.xmp"} == {
            "Title": "A café", "prompt": "a cat " * 500, "Author": "Зоя",
        }  # fmt: skip
        assert (image.text["Author"].lang, image.text["Author"].tkey) == ("ru", "Автор")
        assert bytes(image.info["xmp"]) == xmp("")
    assert notes == ()
    assert painted(tmp_path / "a.png", ImageOptions(format="JPEG"))[1] == ("PNG's text does not go into JPEG",)


def test_exif_in_a_text_of_png(tmp_path: Path) -> None:
    """As ImageMagick writes it."""
    data = (b"Exif\0\0" + block()).hex()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type exif", f"\nexif\n{len(data) // 2:8}\n{data}\n")
    picture().save(tmp_path / "a.png", pnginfo=texts)
    output, _ = painted(tmp_path / "a.png")
    assert exif_of(output) == expected("<")
    with Image.open(output) as image:
        image.load()
        assert not image.text


def test_texts_of_a_moving_picture(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "A cat")
    frames = [picture(), picture().rotate(180)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], pnginfo=texts, duration=50)
    loaded = ImageSource(tmp_path)["a.png"]
    assert isinstance(loaded, list)
    assert [len(frame.info.extra.metadata.text) for frame in loaded] == [1, 0]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], comment=b"a cat", loop=3)
    (tmp_path / "b.gif").write_bytes(buffer.getvalue())
    loaded = ImageSource(tmp_path)["b.gif"]
    assert isinstance(loaded, list)
    assert loaded[0].info.extra.metadata.comment == b"a cat"
    assert loaded[0].info.extra.loop == 3
