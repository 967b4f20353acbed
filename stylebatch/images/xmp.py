"""XMP (ISO 16684-1): what describes bytes that are gone goes with them, and sizes become those of the result."""

from __future__ import annotations

from typing import Literal
from xml.dom import Node, expatbuilder, minidom
from xml.parsers.expat import ExpatError

from stylebatch.images.exif import Result

_Property = minidom.Attr | minidom.Element
_Fate = Literal["gone", "width", "height", "across", "down", "turned", "upright"]
_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_XMP, _NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
_CAMERA, _PANO = "http://ns.google.com/photos/1.0/camera/", "http://ns.google.com/photos/1.0/panorama/"
_REGIONS = "http://www.metadataworkinggroup.com/schemas/regions/"
#: Everything in these speaks of gain maps, depth maps, or pictures and films that lie behind the photograph.
_GONE = {
    "http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/", "http://ns.apple.com/pixeldatainfo/1.0/",
    "http://ns.google.com/photos/1.0/container/", "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/", "http://ns.google.com/photos/1.0/audio/",
    "http://ns.google.com/photos/dd/1.0/device/",
}  # fmt: skip
#: What becomes of a property: it goes, is the result's width or height, grows as the picture does across or down, goes if
#: the picture was turned, or says that it is upright.
_FATES: dict[tuple[str, str], _Fate] = {
    (_TIFF, "Orientation"): "upright", (_TIFF, "ImageWidth"): "width", (_TIFF, "ImageLength"): "height",
    (_EXIF, "PixelXDimension"): "width", (_EXIF, "PixelYDimension"): "height",
    (_XMP, "Thumbnails"): "gone", (_NOTE, "HasExtendedXMP"): "gone",
    **{(_PANO, name): "across" for name in (
        "CroppedAreaImageWidthPixels", "FullPanoWidthPixels", "CroppedAreaLeftPixels", "LargestValidInteriorRectLeft",
        "LargestValidInteriorRectWidth")},
    **{(_PANO, name): "down" for name in (
        "CroppedAreaImageHeightPixels", "FullPanoHeightPixels", "CroppedAreaTopPixels", "LargestValidInteriorRectTop",
        "LargestValidInteriorRectHeight")},
    (_REGIONS, "Regions"): "turned",
}  # fmt: skip
#: Of a motion photo, whose film is gone: what its properties begin with.
_MOTION = ("MotionPhoto", "MicroVideo")
#: Packets in the wild leave out declarations.
_USUAL = {"tiff": _TIFF, "exif": _EXIF, "xmp": _XMP, "xap": _XMP, "xmpNote": _NOTE, "GCamera": _CAMERA, "GPano": _PANO}


def orientation(packet: bytes) -> int:
    """What XMP says of how the picture lies, 1 to 8; 0 if it says nothing, or cannot be read."""
    try:
        document = _parsed(packet)
    except ValueError:
        return 0
    values = [value for fate, value in _properties(document, dict(_USUAL)) if fate == "upright"]
    text = _text(values[0]) if values else ""
    return int(text) if text in tuple("12345678") else 0


def patched(packet: bytes, result: Result) -> bytes:
    """XMP of the result; the same bytes if nothing in it was untrue.

    Raises:
        ValueError: it cannot be read.
    """
    document = _parsed(packet)
    changed = False
    for fate, node in list(_properties(document, dict(_USUAL))):
        if fate == "gone" or (fate == "turned" and result.turned) or (fate in ("across", "down") and result.turned):
            _remove(node)
        elif (value := _value(fate, _text(node), result)) == _text(node):
            continue
        else:
            _set(node, value)
        changed = True
    if not changed:
        return packet
    return document.toxml().removeprefix('<?xml version="1.0" ?>').encode()


def _parsed(packet: bytes) -> minidom.Document:
    if b"<!DOCTYPE" in packet:  # no packet has one, but attacks do
        raise ValueError("XMP with a document type")
    try:
        return expatbuilder.parseString(packet.strip(b"\0 \t\r\n"), namespaces=False)
    except (ExpatError, RecursionError, LookupError) as error:
        raise ValueError(f"XMP: {error}") from None


def _properties(node: minidom.Node, scope: dict[str, str]) -> list[tuple[_Fate, _Property]]:
    """Attributes and elements in the order of the document that are in `_FATES`, or whose whole namespace is gone."""
    found: list[tuple[_Fate, _Property]] = []
    for child in node.childNodes:
        if not isinstance(child, minidom.Element):
            continue
        names = list(child.attributes.keys())
        attributes = [node for node in map(child.getAttributeNode, names) if node is not None]
        inner = {**scope, **{a.name[6:]: a.value for a in attributes if a.name.startswith("xmlns:")}}
        properties: list[_Property] = [child, *attributes]
        for property in properties:
            prefix, _, name = (property.nodeName or "").partition(":")
            if fate := _fate(inner.get(prefix, ""), name):
                found.append((fate, property))
        found += _properties(child, inner)
    return found


def _fate(namespace: str, name: str) -> _Fate | None:
    if namespace in _GONE or (namespace == _CAMERA and name.startswith(_MOTION)):
        return "gone"
    return _FATES.get((namespace, name))


def _value(fate: _Fate, value: str, result: Result) -> str:
    """A property's value when nothing is turned."""
    (width, height), (width_before, height_before) = result.size, result.before
    if fate in ("across", "down"):
        try:
            return str(round(int(value) * (width / width_before if fate == "across" else height / height_before)))
        except ValueError:
            return value
    return {"upright": "1", "width": str(width), "height": str(height)}.get(fate, value)


def _text(node: _Property) -> str:
    if isinstance(node, minidom.Attr):
        return node.value
    return "".join(child.data for child in node.childNodes if child.nodeType == Node.TEXT_NODE).strip()


def _set(node: minidom.Attr | minidom.Element, value: str) -> None:
    if isinstance(node, minidom.Attr):
        node.value = value
    else:
        for child in list(node.childNodes):
            node.removeChild(child)
        text = minidom.Text()
        text.data = value
        node.appendChild(text)


def _remove(node: _Property) -> None:
    if isinstance(node, minidom.Attr):
        if node.ownerElement is not None and node.ownerElement.hasAttribute(node.name):
            node.ownerElement.removeAttribute(node.name)
    elif node.parentNode is not None:
        node.parentNode.removeChild(node)
