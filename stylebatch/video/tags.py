"""Metadata of files and streams: what of it is true of a copy, and what a container has no place for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from av.container import InputContainer
from av.stream import Stream

from stylebatch.video.pyav import readable
from stylebatch.video.timecode import TIMECODE, is_timecode

#: Languages that QuickTime has under the older of their two codes alone.
_QUICKTIME = {
    "ces": "cze", "cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per", "fra": "fre", "hye": "arm",
    "isl": "ice", "kat": "geo", "mkd": "mac", "msa": "may", "mya": "bur", "nld": "dut", "ron": "rum", "slk": "slo",
    "sqi": "alb", "zho": "chi",
}  # fmt: skip
#: Metadata that speaks of a file's own form, not of what is in it.
_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "software", "vendor_id", "duration"}
_OF_THE_CODING = {"duration", "bps", "number_of_frames", "number_of_bytes", "rotate", "encoder", "vendor_id", "alpha_mode"}
#: How a creation time begins that is none.
_NO_TIME = "1970-01-01T00:00:00"
#: A stream's metadata that is told otherwise, or of a container's own making.
_NOT_MISSED = {TIMECODE, "handler_name", "creation_time"} | _OF_THE_CODING
#: Those that make a track of it, by a frame rate that copied packets do not have.
_MAKES_TIMECODES = ("mp4", "mov")


def timecode_of(container: InputContainer, film: int) -> str | None:
    """The timecode of a file's first frame: the film's own, that of a track for it, or the file's; None if it has none."""
    others = [stream for stream in container.streams if stream.type == "data"]
    holders: list[Any] = [container.streams[film], *others, container]
    tags = (readable(holder.metadata) for holder in holders)
    found = (value for each in tags for key, value in each.items() if key.lower() == TIMECODE)
    return next(filter(is_timecode, found), None)


def left_out(container: InputContainer, out: InputContainer, places: Mapping[int, int], chapters: int) -> list[str]:
    """What of a source's metadata and chapters has not come along in `out`, in words.

    Args:
        places: of the source's streams in `out`, both by index.
        chapters: how many were to be written.
    """
    warnings = []
    if len(out.chapters()) < chapters:
        warnings.append(f"chapters are left out: {out.format.name} takes none")
    if lost := _lost(metadata_of(container), out.metadata, {TIMECODE}):
        warnings.append(f"metadata is left out: {', '.join(lost)}")
    for index, place in places.items():
        tags = {key: value for key, value in metadata_of(container.streams[index], recoded=True).items() if value != "und"}
        if lost := _lost(tags, metadata_of(out.streams[place]), _NOT_MISSED):
            warnings.append(f"metadata of stream {index} is left out: {', '.join(lost)}")
    return warnings


def _lost(tags: Mapping[str, str], there: Mapping[str, str], told: set[str]) -> list[str]:
    kept = {key.lower() for key in there} | told
    return sorted(key for key in tags if key.lower() not in kept)


def metadata_of(holder: Any, *, recoded: bool = False) -> dict[str, str]:
    """Tags of a file or stream that are true of its copy."""
    dropped = _OF_THE_CODING if recoded else _OF_THE_FILE
    tags = readable(holder.metadata)
    if "name" in tags and isinstance(holder, Stream):
        tags.setdefault("title", tags.pop("name"))  # as MP4 and MOV have it
    kept = {key: value for key, value in tags.items() if key.lower() not in dropped and not key.startswith("_")}
    if kept.get("creation_time", "").startswith(_NO_TIME):
        del kept["creation_time"]
    return kept


def describe(copy: Stream, stream: Stream, format: str) -> None:
    """Give a copy what its stream is called, and how it is shown."""
    tags = metadata_of(stream)
    if stream.type == "video" and format in _MAKES_TIMECODES:
        tags = {key: value for key, value in tags.items() if key.lower() != TIMECODE}
    copy.metadata.update(tags)
    if format == "mov" and stream.language in _QUICKTIME:
        copy.metadata["language"] = _QUICKTIME[stream.language]
    copy.disposition = stream.disposition
