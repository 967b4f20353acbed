"""Packets to frames: in order of presentation, each at its time, with what is damaged named or bridged."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import av
from av import VideoFrame
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.stream import VideoStream

from stylebatch.errors import StylebatchError
from stylebatch.video.options import show_time
from stylebatch.video.pyav import is_end, plain
from stylebatch.video.times import TIMED_BY_DECODING, base_of

#: FFmpeg's own decoders of these leave alpha out, which lies beside the pictures; libvpx reads it.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
#: The pieces of a transport stream are numbered; the numbers begin anew where two were joined, so near to a key frame.
_NEAR = 3


def decoded(
    packets: Iterable[Packet[Any]],
    stream: VideoStream,
    name: object,
    *,
    repeat: bool,
    max_pixels: int,
    warn: Callable[[str], None] = lambda _: None,
) -> Iterator[VideoFrame]:
    """The frames of a stream, at rising times as far as it has any.

    Args:
        name: of the film, for errors.
        max_pixels: a larger frame is damage.
        repeat: for every frame that cannot be decoded give the one before, or the first that can; else fail.

    Raises:
        StylebatchError: damage, with its time.
    """
    decode = _decoder(stream, max_pixels)
    time_base = base_of(stream)
    format = stream.container.format.name
    by_decoding = format in TIMED_BY_DECODING
    due: list[int] = []  # times of packets whose frames have not come
    again: list[int] = []  # times at which the frame before is shown once more
    before: VideoFrame | None = None
    begun = format not in ("mpeg", "mpegts")  # recordings of broadcasts start in the middle of a group, which cannot be had
    broken = repeat  # what is swallowed before the first frame has been lost, too
    missing = 0  # packets until a gap in a transport stream is known to be no joint
    end = 0.0

    def damaged(what: str) -> None:
        nonlocal broken
        if not repeat:
            raise StylebatchError(f"{name}: {what} at {show_time(end)}; `on_corrupt` repeat goes on with the frame before")
        warn(f"{what} at {show_time(end)}: the frame before is repeated")
        broken = True

    def bridged(picture: VideoFrame | None, until: float) -> Iterator[VideoFrame]:
        while picture is not None and again and again[0] < until:
            picture.pts = again.pop(0)
            yield picture

    for packet in _read(packets, damaged):
        # Such times belong to the frames in the order in which these are shown.
        time = packet.dts if by_decoding or packet.pts is None else packet.pts
        if by_decoding:
            packet.pts = packet.dts
        if not packet.size and not is_end(packet):
            if time is not None:
                insort(again, time)
            continue
        begun = begun or packet.is_keyframe
        if time is not None and begun and not packet.is_discard:
            insort(due, time)
        frames: list[VideoFrame] = []
        try:
            frames = decode(packet)
        except av.EOFError:
            pass
        except (av.FFmpegError, ValueError) as error:
            if begun:
                damaged(f"cannot be decoded ({plain(error)})")
                if time in due:
                    due.remove(time)
                    insort(again, time)
        if packet.is_corrupt and packet.size:
            if format == "mpegts":
                missing = _NEAR
            else:
                damaged("the file is cut off in the middle of a frame")
        elif missing:
            joint = packet.is_keyframe or is_end(packet)
            missing = 0 if joint else missing - 1
            if not missing and not joint:
                damaged("a piece of a frame is missing")
        for frame in frames:
            if frame.pts is None:
                frame.pts = frame.dts
            if frame.pts is not None:
                if broken and (not by_decoding or frame.key_frame):
                    while due and due[0] < frame.pts:  # swallowed by the decoder
                        insort(again, due.pop(0))
                if by_decoding and due:
                    frame.pts = due.pop(0)
                while due and due[0] <= frame.pts:
                    due.pop(0)
            shown = end if frame.pts is None else float(frame.pts * time_base)
            if frame.is_corrupt:
                end = shown
                damaged("a frame is damaged")
                if frame.pts is not None:
                    insort(again, frame.pts)
                continue
            pts = frame.pts
            if pts is not None:
                yield from bridged(before or frame, pts)
            before, frame.pts = frame, pts
            broken = broken and not frame.key_frame
            end = shown + float((frame.duration or 0) * time_base)
            yield frame
    if broken:
        for time in due:
            insort(again, time)
    yield from bridged(before, float("inf"))


def _read(packets: Iterable[Packet[Any]], damaged: Callable[[str], None]) -> Iterator[Packet[Any]]:
    try:
        yield from packets
    except av.FFmpegError as error:
        damaged(f"cannot be read on ({plain(error)})")


def _decoder(stream: VideoStream, max_pixels: int) -> Callable[[Packet[Any]], list[VideoFrame]]:
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    name = _WITH_ALPHA.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return stream.decode
    context: Any = CodecContext.create(name, "r")
    context.options = {"max_pixels": str(max_pixels)}
    context.thread_count = stream.codec_context.thread_count
    frames: Callable[[Packet[Any]], list[VideoFrame]] = context.decode
    return frames
