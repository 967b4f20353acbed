"""What a photograph says beside its pixels: taken from the file's own bytes, made true for the result, put into its file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

from PIL import Image, PngImagePlugin, TiffImagePlugin

from stylebatch.images import exif, xmp
from stylebatch.images.exif import Result
from stylebatch.images.tiff import Entry, Tiff

#: What fits into one segment of a JPEG; names that XMP and Photoshop's resources have there.
_JPEG_SEGMENT = 65_533
_XMP_NAME, _PHOTOSHOP_NAME = b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"
#: Photoshop's resources that describe the photograph: IPTC and its digest, copyright flag and address.
_IPTC, _RESOURCES = 0x0404, (0x0404, 0x0425, 0x040A, 0x040B)
#: Texts of PNG that are other metadata in disguise.
_XMP_TEXT, _RAW_PROFILE = "XML:com.adobe.xmp", "Raw profile type "
#: What each format that is written has room for.
_ROOM = {
    "JPEG": {"exif", "xmp", "resources", "comment"},
    "PNG": {"exif", "xmp", "text"},
    "WEBP": {"exif", "xmp"},
    "AVIF": {"exif", "xmp"},
    "TIFF": {"exif", "xmp", "resources"},
    "GIF": {"comment"},
}
_WORDS = {"exif": "EXIF", "xmp": "XMP", "resources": "IPTC", "comment": "the comment", "text": "PNG's text"}
#: Longer texts of a PNG are compressed.
_LONG = 1024


@dataclass(frozen=True)
class Text:
    """A text of a PNG. One that is international has a language, or the keyword in it, or letters beyond Latin-1."""

    keyword: str
    value: str
    language: str = ""
    translated: str = ""


@dataclass(frozen=True)
class Metadata:
    """By kind, each empty where there is none.

    Attributes:
        exif: from TIFF's header on.
        xmp: a packet.
        resources: Photoshop's, by number; of these, what describes the photograph.
        comment: of a JPEG or GIF.
        text: of a PNG.
        dpi: across and down.
    """

    exif: bytes = b""
    xmp: bytes = b""
    resources: tuple[tuple[int, bytes], ...] = ()
    comment: bytes = b""
    text: tuple[Text, ...] = ()
    dpi: tuple[float, float] | None = None


def read_metadata(image: Image.Image, further: bool = False) -> Metadata:
    """What a picture says that Pillow has opened, if it is a TIFF, which loading closes; or else loaded, since what stands
    behind the pixels counts, too. Of an animation's further frames texts are not read: Pillow would go through all."""
    info = image.info
    dpi = info.get("dpi", ())
    block = _bytes(info.get("exif") or _raw_profile(info, "exif") or _raw_profile(info, "APP1"))
    resources = {code: data for code, data in info.get("photoshop", {}).items() if isinstance(data, bytes)}
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        with suppress(struct.error, OSError, OverflowError):
            block, resources = _of_tiff(image)
    return Metadata(
        exif=block.removeprefix(exif.PREFIX),
        xmp=_bytes(info.get("xmp") or info.get(_XMP_TEXT)),
        resources=tuple((code, resources[code]) for code in _RESOURCES if resources.get(code)),
        comment=_bytes(info.get("comment")) if image.format in ("JPEG", "MPO", "GIF") else b"",
        text=_texts(image) if isinstance(image, PngImagePlugin.PngImageFile) and not further else (),
        dpi=(float(dpi[0]), float(dpi[1])) if len(dpi) == 2 and all(0 < value < 65_536 for value in dpi) else None,
    )


def orientation(metadata: Metadata) -> int:
    """How the picture lies, 1 to 8. EXIF is believed before XMP."""
    return exif.orientation(metadata.exif) or xmp.orientation(metadata.xmp) or 1


def made_true(metadata: Metadata, format: str, result: Result) -> tuple[Metadata, list[str]]:
    """What of it goes into a result of a format, patched; and what does not, each in a few words."""
    notes = []
    if format == "PNG" and metadata.comment:
        text = Text("Comment", metadata.comment.rstrip(b"\0").decode("utf-8", "replace"))
        metadata = replace(metadata, text=(*metadata.text, text), comment=b"")
    for kind, word in _WORDS.items():
        if getattr(metadata, kind) and kind not in _ROOM.get(format, ()):
            notes.append(f"{word} does not go into {format}")
            metadata = _without(metadata, kind)
    patches: dict[str, Callable[[bytes, Result], bytes]] = {"exif": exif.patched, "xmp": xmp.patched}
    for kind, patched in patches.items():
        try:
            if data := getattr(metadata, kind):
                metadata = replace(metadata, **{kind: cast(Any, patched(data, result))})
        except (struct.error, ValueError):
            notes.append(f"its {_WORDS[kind]} is damaged and left out")
            metadata = _without(metadata, kind)
    if format == "JPEG":
        for kind, name in (("exif", exif.PREFIX), ("xmp", _XMP_NAME), ("resources", _PHOTOSHOP_NAME), ("comment", b"")):
            data = _packed(metadata.resources) if kind == "resources" else getattr(metadata, kind)
            if len(name + data) > _JPEG_SEGMENT:
                notes.append(f"{_WORDS[kind]} of {len(data)} bytes is left out: a JPEG holds {_JPEG_SEGMENT - len(name)}")
                metadata = _without(metadata, kind)
    return metadata, notes


def as_saved(metadata: Metadata, profile: bytes | None, format: str) -> dict[str, Any]:
    """As Pillow's save takes it, for formats other than PNG and TIFF."""
    saved: dict[str, Any] = {"icc_profile": profile} if profile else {}
    if metadata.exif:
        # Of AVIF, Pillow would write the orientation into the container, and build EXIF anew without it.
        block = exif.without_orientation(metadata.exif) if format == "AVIF" else metadata.exif
        saved["exif"] = exif.PREFIX + block if format == "JPEG" else block
    if metadata.resources:
        segment = _PHOTOSHOP_NAME + _packed(metadata.resources)
        saved["extra"] = b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment
    if metadata.dpi:
        saved["dpi"] = metadata.dpi
    return saved | {kind: getattr(metadata, kind) for kind in ("xmp", "comment") if getattr(metadata, kind)}


def into_png(encoded: bytes, metadata: Metadata, profile: bytes | None) -> bytes:
    """A PNG without metadata with it."""
    chunks = b""
    if profile:
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))
    if metadata.dpi:
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *(round(dpi / 0.0254) for dpi in metadata.dpi), 1))
    if metadata.exif:
        chunks += _chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        chunks += _chunk(b"iTXt", _XMP_TEXT.encode() + bytes(5) + metadata.xmp)
    chunks += b"".join(map(_text_chunk, metadata.text))
    after_header = 8 + 25  # the signature, and IHDR, which always comes first
    return encoded[:after_header] + chunks + encoded[after_header:]


def into_tiff(encoded: bytes, metadata: Metadata, profile: bytes | None) -> bytes:
    """A little-endian TIFF of strips, as Pillow and OpenCV write them, with metadata. It begins with EXIF, whose offsets so
    stay true, and has its byte order: samples of more than 8 bits have to come in that.

    Libtiff, which those two use for compression, takes no EXIF.
    """
    start = metadata.exif or b"II*\0" + bytes(4)
    start += bytes(len(start) % 2)
    source, target = Tiff(io.BytesIO(encoded)), Tiff(io.BytesIO(start))
    found = source.directory(source.first).entries
    lines = {tag: (entry.kind, entry.count, _in_order(source, entry, target)) for tag, entry in found.items()}
    if source.integers(found[TiffImagePlugin.SAMPLESPERPIXEL]) == (4,):
        lines[TiffImagePlugin.EXTRASAMPLES] = 3, 1, target.pack(3, [2])  # alpha that the colours are not multiplied by
    if metadata.dpi:
        lines[TiffImagePlugin.RESOLUTION_UNIT] = 3, 1, target.pack(3, [2])  # inches
        for tag, dpi in zip((TiffImagePlugin.X_RESOLUTION, TiffImagePlugin.Y_RESOLUTION), metadata.dpi, strict=True):
            lines[tag] = 5, 1, target.pack(4, [round(dpi * 10_000), 10_000])
    resources = dict(metadata.resources)
    for tag, kind, data in (
        (TiffImagePlugin.XMP, 1, metadata.xmp), (exif.PHOTOSHOP, 1, _packed(metadata.resources)),
        (exif.IPTC, 7, resources.get(_IPTC)), (TiffImagePlugin.ICCPROFILE, 7, profile),
    ):  # fmt: skip
        if data:
            lines[tag] = kind, len(data), data
    placed = {entry.tag: (entry, word) for entry, word in exif.entries_of(metadata.exif)} if metadata.exif else {}
    lines = {tag: line for tag, line in lines.items() if tag not in placed}
    values_at = len(start) + 2 + 12 * (len(lines) + len(placed)) + 4
    pixels_at = values_at + sum(len(data) + len(data) % 2 for _, _, data in lines.values() if len(data) > 4)
    strips = found[TiffImagePlugin.STRIPOFFSETS]
    moved = [at + pixels_at - 8 for at in source.integers(strips)]
    lines[TiffImagePlugin.STRIPOFFSETS] = strips.kind, strips.count, target.pack(strips.kind, moved)
    table, values = target.pack(3, [len(lines) + len(placed)]), b""
    for tag in sorted([*lines, *placed]):
        if tag in placed:
            (kind, count), word = (placed[tag][0].kind, placed[tag][0].count), placed[tag][1]
        else:
            kind, count, word = lines[tag]
            if len(word) > 4:
                values, word = values + word + bytes(len(word) % 2), target.pack(4, [values_at + len(values)])
        table += target.pack(3, [tag, kind]) + target.pack(4, [count]) + word.ljust(4, b"\0")
    return start[:4] + target.pack(4, [len(start)]) + start[8:] + table + bytes(4) + values + encoded[8:]


def _in_order(source: Tiff, entry: Entry, target: Tiff) -> bytes:
    """An entry's values in the byte order of another file."""
    values = source.integers(entry)
    return target.pack(entry.kind, values) if values else source.read(entry)


def _without(metadata: Metadata, kind: str) -> Metadata:
    return replace(metadata, **{kind: getattr(Metadata(), kind)})


def _of_tiff(image: TiffImagePlugin.TiffImageFile) -> tuple[bytes, dict[int, bytes]]:
    file = cast(BinaryIO, image.fp)
    before = file.tell()
    try:
        tiff = Tiff(file)
        directory = tiff.directory(tiff.first)
        entries = directory.entries
        resources = _unpacked(tiff.read(entries[exif.PHOTOSHOP])) if exif.PHOTOSHOP in entries else {}
        if exif.IPTC in entries:
            resources[_IPTC] = tiff.read(entries[exif.IPTC])
        return exif.of_tiff(file), resources
    finally:
        file.seek(before)


def _texts(image: PngImagePlugin.PngImageFile) -> tuple[Text, ...]:
    texts = [(key, value) for key, value in image.text.items() if key != _XMP_TEXT]
    other = [_RAW_PROFILE + kind for kind in ("exif", "APP1", "xmp", "icc", "icm")]
    return tuple(
        Text(key, str(value), str(getattr(value, "lang", None) or ""), str(getattr(value, "tkey", None) or ""))
        for key, value in texts
        if key not in other
    )


def _text_chunk(text: Text) -> bytes:
    keyword = text.keyword.encode("latin-1", "replace")
    try:
        if text.language or text.translated:
            raise UnicodeError
        data = text.value.encode("latin-1")
    except UnicodeError:
        data = text.value.encode("utf-8", "replace")
        long = len(data) > _LONG
        head = keyword + bytes([0, long, 0]) + text.language.encode() + b"\0" + text.translated.encode() + b"\0"
        return _chunk(b"iTXt", head + (zlib.compress(data) if long else data))
    if len(data) > _LONG:
        return _chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(data))
    return _chunk(b"tEXt", keyword + b"\0" + data)


def _raw_profile(info: dict[Any, Any], kind: str) -> bytes:
    """Metadata as ImageMagick puts it into texts of a PNG: a name, a length, and hexadecimal digits."""
    with suppress(ValueError):
        return bytes.fromhex("".join(str(info.get(_RAW_PROFILE + kind, "")).split("\n")[3:]))
    return b""


def _packed(resources: tuple[tuple[int, bytes], ...]) -> bytes:
    return b"".join(
        b"8BIM" + struct.pack(">HHI", code, 0, len(data)) + data + bytes(len(data) % 2) for code, data in resources
    )


def _unpacked(data: bytes) -> dict[int, bytes]:
    resources = {}
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        (code,) = struct.unpack_from(">H", data, at + 4)
        name = data[at + 6] + 1
        at += 6 + name + name % 2
        size = int.from_bytes(data[at : at + 4], "big")
        resources[code] = data[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    return resources


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return bytes(value) if isinstance(value, bytes | tuple) else b""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
