"""Where PyAV's versions differ or its words are long: opening a file, rational numbers, data beside packets."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal

#: Tags that are not UTF-8 must not keep a film from opening. PyAV 18 takes the way of decoding them as an argument; from 19
#: on they always come as surrogates, and there is no such argument.
_LENIENT: dict[str, Any] = {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}

_BESIDE: Any = "matroska_block_additional"


def open_input(path: str) -> InputContainer:
    """Open a file for reading, whatever the encoding of its tags. Raises what `av.open` raises."""
    container: InputContainer = av.open(path, **_LENIENT)
    return container


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
