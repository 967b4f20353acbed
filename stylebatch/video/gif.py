"""Moving GIFs: palettes are chosen when the film is joined."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av import VideoFrame
from av.codec.context import CodecContext
from av.filter import Graph
from av.packet import Packet
from PIL import Image

from stylebatch.video.encoding import Encoding
from stylebatch.video.pyav import as_url
from stylebatch.video.work import Work

#: A GIF's ticks a second.
_GIF_RATE = 100


def repeats_of(source: Path, format: str) -> int:
    """How often a film is shown again, as FFmpeg's muxer has it: -1 never, 0 for ever. Moving pictures alone say it.

    Args:
        format: FFmpeg's name of its demuxer.
    """
    if format not in ("gif", "apng"):
        return 0
    with Image.open(source) as image:
        said = image.info.get("loop")
    if format == "apng":  # how often it is shown in all
        return {0: 0, 1: -1}.get(said, said - 1) if said is not None else 0
    return -1 if said is None else said


def write_gif(work: Work, encoding: Encoding, temp: Path, repeats: int) -> None:
    """Each frame with 256 colours of its own, which only now are chosen: the segments keep all."""
    with av.open(as_url(temp), "w", format="gif", options={"loop": str(repeats)}) as out:
        stream = out.add_stream("gif", rate=_GIF_RATE)
        stream.width, stream.height = encoding.coded
        stream.pix_fmt = "pal8"
        stream.codec_context.time_base = Fraction(1, _GIF_RATE)
        graph: Graph | None = None
        zero, tick = work.segments[0].first, -1
        for index, segment in enumerate(work.segments):
            decoder = CodecContext.create("ffv1", "r")
            decoder.extradata = bytes.fromhex(segment.extradata)
            decoder.width, decoder.height = encoding.coded
            packets = list(work.packets(index))
            durations = work.durations(index, [coded.pts for coded in packets], encoding.tick)
            for pts, _, data, _ in packets:
                for frame in decoder.decode(Packet(data)):
                    # Frames that round to one tick take one each: a GIF's are coarse.
                    tick = max(tick + 1, round((pts - zero) * encoding.time_base * _GIF_RATE))
                    frame.pts, frame.time_base = tick, stream.codec_context.time_base
                    graph = graph or _palettes(frame)
                    graph.vpush(frame)
                    for packet in stream.encode(graph.vpull()):
                        packet.duration = max(1, round(durations[pts] * encoding.time_base * _GIF_RATE))
                        out.mux(packet)


def _palettes(like: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=like.time_base)
    split, make = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    use, sink = graph.add("paletteuse", "new=1"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(make, 0, 0)
    split.link_to(use, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph
