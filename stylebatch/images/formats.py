"""Formats and the names of their files: which are read, what each is written as, what is left alone."""

from __future__ import annotations

import os
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from stylebatch.errors import StylebatchError

#: Pillow's formats that are read, and the one that each is written back as. The others would lose pixels: PNG.
FORMATS = {
    "JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP", "TIFF": "TIFF", "BMP": "BMP", "AVIF": "AVIF",
    "GIF": "PNG", "PPM": "PNG", "TGA": "PNG", "JPEG2000": "PNG", "ICO": "PNG", "SGI": "PNG", "PCX": "PNG", "DDS": "PNG",
    "HEIF": "PNG",
}  # fmt: skip
#: The extensions under which a format is commonly found; the first is the one to give.
EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png", ".apng"), "WEBP": (".webp",), "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"), "AVIF": (".avif", ".avifs"), "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), "MPO": (".mpo",), "TGA": (".tga", ".icb", ".vda", ".vst"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"), "ICO": (".ico",),
    "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs"), "SGI": (".sgi", ".rgb", ".rgba", ".bw"), "PCX": (".pcx",),
    "DDS": (".dds",),
}  # fmt: skip
#: Formats that are written; GIF only where it moves.
WRITTEN = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP")
#: The most pixels a side that a format, or what commonly reads it, can hold; the others hold more than memory does.
LARGEST = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 32_768, "GIF": 65_535}
#: What can be asked for, by extension.
CHOICES = {suffix[1:]: format for format in WRITTEN for suffix in EXTENSIONS[format]}
#: Files that a person would call a picture by their name: it is a failure when they cannot be read.
PICTURE_SUFFIXES = frozenset(suffix for suffixes in EXTENSIONS.values() for suffix in suffixes)

RAW = "camera raw"
#: Pictures that are not read: their extensions, and how their bytes begin, `.` for any byte.
UNREAD = {
    RAW: (
        ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 "
        ".rwl .sr2 .srf .srw .x3f",
        (b"FUJIFILMCCD-RAW", b"FOVb", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"....ftypcrx ", b"\0MRM", b"II....HEAPCCDR"),
    ),
    "JPEG XL": (".jxl", (b"\xff\x0a", b"....JXL ")),
    "Photoshop": (".psd .psb", (b"8BPS",)),
    "OpenEXR": (".exr", (b"v/1\x01",)),
    "Radiance": (".hdr", (b"#?RADIANCE",)),
    "GIMP": (".xcf", (b"gimp xcf",)),
    "SVG": (".svg .svgz", (b"<svg",)),
}
EXPORT = "export as TIFF or JPEG"

#: Folders in which systems and programs keep trash, thumbnails and previews of the photographs beside them.
_CACHES = (
    "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot", "$recycle.bin", "recycler", "__macosx",
    "lost+found", "system volume information",
)  # fmt: skip
_CACHE_SUFFIXES = (".lrdata", ".lrcat-data")
#: A file name's limit in bytes, on every common file system.
_LONGEST_NAME = 255

_AnyPath = TypeVar("_AnyPath", bound=PurePath)


def format_of(path: Path) -> str:
    """The format to write under a name. Raises StylebatchError if its extension names none that is written."""
    format = CHOICES.get(path.suffix.lower()[1:])
    if format is None:
        known = ", ".join(EXTENSIONS[format][0] for format in WRITTEN)
        raise StylebatchError(f"{path}: no format to write by that extension; use {known}")
    return format


def output_name(name: str, format: str) -> str:
    """The name is kept, unless it has an extension under which `format`, in which it is written, is not found."""
    path = PurePosixPath(name)
    if not path.suffix or path.suffix.lower() in EXTENSIONS[format]:
        return name
    return str(renamed(path, EXTENSIONS[format][0]))


def renamed(path: _AnyPath, ending: str) -> _AnyPath:
    """Another ending after the stem, which gives way where the name would be longer than file systems allow."""
    stem = path.stem
    while len(os.fsencode(stem + ending)) > _LONGEST_NAME:
        stem = stem[:-1]
    return path.with_name(stem + ending)


def written_by_name(name: str) -> str | None:
    """The format in which a picture of this name is written, if it is what its extension says; None if that is none."""
    suffix = PurePosixPath(name).suffix.lower()
    return next((FORMATS[format] for format, suffixes in EXTENSIONS.items() if suffix in suffixes), None)


def unread_kind(name: str, start: bytes = b"") -> str | None:
    """Which of `UNREAD` a file is, by its extension or its first 16 bytes; None if it is none of them."""
    suffix = PurePosixPath(name).suffix.lower()
    for kind, (suffixes, beginnings) in UNREAD.items():
        if suffix in suffixes.split() or any(_begins(start, beginning) for beginning in beginnings):
            return kind
    return None


def is_set_aside(folder: str) -> bool:
    """Whether a folder of this name is hidden, or one in which systems and programs keep trash, thumbnails or previews."""
    name = folder.lower()
    return name.startswith(".") or name in _CACHES or name.endswith(_CACHE_SUFFIXES)


def _begins(data: bytes, beginning: bytes) -> bool:
    pairs = zip(data, beginning, strict=False)
    return len(data) >= len(beginning) and all(a == b or b == ord(".") for a, b in pairs)
