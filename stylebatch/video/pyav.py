"""Where PyAV's versions differ or its words are long: opening a file, its streams, rational numbers, data beside packets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal

from stylebatch.host import alone

#: Demuxers that open other files than the one that is given, or what is none: lists of films, numbered pictures, networks.
_OTHERS = {
    "concat", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest",
}  # fmt: skip
#: Tags that are not UTF-8 must not keep a film from opening. PyAV 18 takes the way of decoding them as an argument; from 19
#: on they always come as surrogates, and there is no such argument.
_LENIENT: dict[str, Any] = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}

_BESIDE: Any = "matroska_block_additional"
_STREAM = re.compile(
    r"^ +Stream #0:(\d+)\S*: (\w+): (\w+)(?:[^,\n]*\((.{4}) / 0x[0-9A-F]{4,8}\))?(?:.* Hz, ([^,\n]+))?", re.MULTILINE
)


@cache
def _safe_demuxers() -> str:
    return ",".join(sorted(av.formats_available - _OTHERS))


def as_url(path: Path) -> str:
    """A path as FFmpeg takes it for one, also with a colon."""
    return f"file:{path}"


def open_input(
    file: Path | BinaryIO, *, probe_size: int | None = None, max_pixels: int | None = None, decode: bool = True
) -> InputContainer:
    """Open a file, and nothing else, for reading, whatever the encoding of its tags. Raises what `av.open` raises.

    Args:
        probe_size: look for streams in so many bytes, where FFmpeg by itself looks at some megabytes or seconds.
        max_pixels: decode no larger frames to learn more of streams.
        decode: decode any.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": _safe_demuxers()}
    if probe_size:
        options |= {"probesize": str(probe_size), "analyzeduration": str(2**62)}
    if max_pixels:
        options["max_pixels"] = str(max_pixels)
    if not decode:
        options["codec_whitelist"] = "none"
    url: Any = as_url(file) if isinstance(file, Path) else file
    container: InputContainer = av.open(url, options=options, **_LENIENT)
    return container


@dataclass(frozen=True)
class Description:
    """What FFmpeg says of a stream, which PyAV does not say where it has no decoder.

    Attributes:
        codec: "none" if unknown.
        tag: the four characters by which its container knows it; empty if they are no text.
        layout: of its channels. PyAV, asked for one whose channels lie in an order of their own, frees memory twice.
    """

    kind: str
    codec: str
    tag: str = ""
    layout: str = ""

    @property
    def order_of_its_own(self) -> bool:
        """Whether PyAV must not be asked for its layout, nor decode it."""
        return " channels (" in self.layout


def described(container: InputContainer) -> dict[int, Description]:
    """Each stream by its index, also those that came up after the file was opened: PyAV leaves these out."""
    lent: Any = container  # PyAV 18 does not declare it
    with alone():
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            text: str = lent.dumps_format()
        finally:
            av.logging.set_level(level)
    found = {int(index): Description(kind.lower(), *rest) for index, kind, *rest in _STREAM.findall(text)}
    return dict(sorted(found.items()))


def readable(tags: dict[str, str]) -> dict[str, str]:
    """Tags as text, with U+FFFD for what is not UTF-8: containers are written in UTF-8."""
    return {_text(key): _text(value) for key, value in tags.items()}


def _text(tag: str) -> str:
    return tag.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def fraction(value: Any) -> Fraction | None:
    """A rate, ratio or time base as a `Fraction`; None if it is not set or no number.

    PyAV 18 has `Fraction` or None; 19 has an `AVRational`, which is false when unset and whose arithmetic rounds to 32 bits.
    """
    return Fraction(value.numerator, value.denominator) if value else None


def beside(packet: Packet[Any]) -> bytes:
    """What lies beside a packet's data and belongs to the picture: VP8's and VP9's alpha; empty if nothing does."""
    found = [data for data in packet.iter_sidedata() if data.data_type == _BESIDE]
    return bytes(found[0]) if found else b""


def put_beside(packet: Packet[Any], content: bytes) -> None:
    """The inverse of `beside`."""
    create: Any = PacketSideData  # whose arguments are not declared
    data = create(packet_sidedata_type_from_literal(_BESIDE), len(content))
    data.update(content)
    packet.set_sidedata(data)


def plain(error: Exception) -> str:
    """FFmpeg's words, without numbers and paths."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def is_end(packet: Packet[Any]) -> bool:
    """Whether a packet is the end of its stream, which PyAV gives; other empty ones say "the same picture again"."""
    return not packet.size and packet.pts is None and packet.dts is None
