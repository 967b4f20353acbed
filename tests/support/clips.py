"""Films for the tests, made on the spot by PyAV, and read back without our own code."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags

#: Red's and blue's part of luma by H.273's number of the matrix.
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
BARS = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)]
LOSSLESS = {"qp": "0", "preset": "ultrafast"}


def ramp_and_bars(width: int = 128, height: int = 64) -> tuple[Any, Any]:
    """RGB from 0 to 1, H×W×3: a grey ramp over colour bars; and the mask of what coarse chroma leaves alone."""
    rgb, mask = np.zeros((height, width, 3)), np.zeros((height, width), bool)
    half, bar = height // 2, width // 8
    rgb[:half] = np.linspace(0, 1, width)[None, :, None]
    mask[: half - 8] = True
    for index, colour in enumerate(BARS):
        rgb[half:, index * bar : (index + 1) * bar] = colour
        mask[half + 8 : height - 4, index * bar + 5 : (index + 1) * bar - 5] = True
    return rgb, mask


def scene(index: int, width: int, height: int) -> Any:
    """RGB from 0 to 1 of a moving picture: each frame differs from each other."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin((x + 5 * index) / 9), np.cos((y - 3 * index) / 7), np.sin((x + y + 4 * index) / 11)]
    rgb = np.stack(waves, axis=-1) / 2 + 0.5
    rgb[: max(1, height // 8), : 1 + index % width] = 1
    return rgb


def depth(pix_fmt: str) -> int:
    return next((bits for bits in (9, 10, 12, 14, 16) if f"p{bits}" in pix_fmt or f"y{bits}" in pix_fmt), 8)


def to_frame(rgb: Any, pix_fmt: str, matrix: int = 6, full: bool = False) -> av.VideoFrame:
    """RGB from 0 to 1 → a frame, by the book."""
    bits, (height, width, _) = depth(pix_fmt), rgb.shape
    if not pix_fmt.startswith(("yuv", "gray")):
        return av.VideoFrame.from_ndarray(np.rint(rgb * 255).astype(np.uint8), format="rgb24").reformat(format=pix_fmt)
    red, blue = LUMA[matrix]
    luma = rgb @ [red, 1 - red - blue, blue]
    chroma = [(rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)]
    step, top = 2 ** (bits - 8), 2**bits - 1
    planes = [luma * top if full else (16 + 219 * luma) * step]
    planes += [part * (top if full else 224 * step) + 128 * step for part in chroma]
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=False):
        across, down = round(width / plane.width), round(height / plane.height)
        rows, columns = np.arange(plane.height) * down, np.arange(plane.width) * across
        samples = np.rint(values[rows][:, columns]).clip(0, top).astype(np.uint8 if bits == 8 else np.uint16)
        lines = np.zeros((plane.buffer_size // plane.line_size, plane.line_size // samples.itemsize), samples.dtype)
        lines[: plane.height, : plane.width] = samples
        plane.update(lines.tobytes())
    return frame


def to_rgb(frame: av.VideoFrame, matrix: int, full: bool) -> Any:
    """A YCbCr frame → RGB from 0 to 1, by the book, with chroma repeated."""
    bits = depth(frame.format.name)
    step, top = 2 ** (bits - 8), 2**bits - 1
    planes = []
    for plane in frame.planes:
        samples = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16).reshape(-1, plane.line_size // (1 + (bits > 8)))
        samples = samples[: plane.height, : plane.width].astype(float)
        down, across = -(-frame.height // plane.height), -(-frame.width // plane.width)
        planes.append(samples.repeat(down, 0).repeat(across, 1)[: frame.height, : frame.width])
    luma = planes[0] / top if full else (planes[0] / step - 16) / 219
    cb, cr = ((part - 128 * step) / (top if full else 224 * step) for part in planes[1:])
    red, blue = LUMA[matrix]
    r, b = luma + cr * (2 - 2 * red), luma + cb * (2 - 2 * blue)
    return np.stack([r, (luma - red * r - blue * b) / (1 - red - blue), b], axis=-1).clip(0, 1)


def make_clip(
    path: Path,
    *,
    frames: int = 12,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    rate: int = 25,
    matrix: int = 6,
    full: bool = False,
    tags: tuple[int, int, int, int] | None = None,
    audio: int = 0,
    subtitles: int = 0,
    rotation: float | None = None,
    aspect: Fraction | None = None,
    interlaced: bool = False,
    picture: Any = None,
    metadata: dict[str, str] | None = None,
    timecode: str | None = None,
    chapters: list[Any] | None = None,
    faststart: bool = False,
) -> Path:
    """A film of `scene`, or of one `picture`, at `times` in ticks.

    Args:
        tags: matrix, range, primaries and transfer to write; by default none.
        audio, subtitles: how many tracks, in German, English, French.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    step = int(1 / (rate * time_base))
    times = times or [index * step for index in range(frames)]
    languages = ["deu", "eng", "fra"]
    with av.open(str(path), "w", options={"movflags": "+faststart"} if faststart else {}) as out:
        out.metadata.update(metadata or {})
        usual = {"crf": "20", "preset": "veryfast"} if codec == "libx264" else {}
        video = out.add_stream(codec, rate=rate, options=usual if options is None else options)
        context = video.codec_context
        context.width, context.height, context.pix_fmt, context.time_base = *size, pix_fmt, time_base
        context.thread_count = 1
        context.flags |= Flags.frame_duration
        video.time_base = time_base
        if timecode:
            video.metadata["timecode"] = timecode
        if aspect:
            context.sample_aspect_ratio = aspect
        if interlaced:
            context.flags |= Flags.interlaced_dct
        if rotation is not None:
            video.set_display_rotation(rotation)
        if tags:
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = tags
        sounds, texts = [], []
        for index in range(audio):
            sound = out.add_stream(_SOUND.get(path.suffix, "aac"), rate=48_000)
            sound.metadata["language"] = languages[index]
            sounds.append(sound)
        for index in range(subtitles):
            text = out.add_stream({".mp4": "mov_text", ".mov": "mov_text", ".webm": "webvtt"}.get(path.suffix, "subrip"))
            text.codec_context.subtitle_header = _HEADER
            text.metadata["language"] = languages[index]
            text.time_base = Fraction(1, 1000)
            texts.append(text)
        if chapters:
            out.set_chapters(chapters)
        for index, pts in enumerate(times):
            rgb = scene(index, *size) if picture is None else picture
            frame = to_frame(rgb, pix_fmt, matrix, full)
            frame.pts, frame.time_base, frame.duration = pts, time_base, step
            if tags:
                frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = tags
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        seconds = float((times[-1] + step) * time_base)
        for index, sound in enumerate(sounds):
            _add_tone(out, sound, seconds, 220 * (index + 1))
        for index, text in enumerate(texts):
            for line in range(2):
                data = f"{languages[index]} {line}".encode()
                packet = av.Packet(len(data).to_bytes(2, "big") + data if path.suffix in (".mp4", ".mov") else data)
                packet.stream, packet.time_base = text, Fraction(1, 1000)
                packet.pts = packet.dts = round(line * seconds * 500)
                packet.duration = round(seconds * 400)
                out.mux(packet)
    return path


_SOUND = {".webm": "libopus", ".vob": "mp2", ".wmv": "wmav2"}
_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, "
    b"OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, "
    b"Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\nStyle: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,"
    b"100,0,0,1,1,0,2,10,10,10,1\n[Events]\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def _add_tone(out: Any, stream: Any, seconds: float, pitch: int) -> None:
    total = int(seconds * 48_000)
    wave = (np.sin(np.arange(total) * 2 * np.pi * pitch / 48_000) * 8000).astype(np.int16)
    for first in range(0, total, 960):
        samples = np.repeat(wave[first : first + 960], 2)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, first, Fraction(1, 48_000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def with_sound(
    film: Path,
    output: Path,
    codec: str,
    layout: str,
    rate: int = 48_000,
    *,
    begins: float = 0,
    seconds: float | None = None,
    first: bool = False,
    **tags: str,
) -> Path:
    """The picture of a film with a tone of `codec`, tagged, which may come `first`: from `begins` seconds on, by default as
    long as the film."""
    with av.open(str(film)) as a, av.open(str(output), "w") as b:
        (source,) = a.streams.video
        made: Any = b.add_stream(codec, rate=rate) if first else None
        video = b.add_stream_from_template(source, opaque=True)
        sound: Any = made or b.add_stream(codec, rate=rate)
        sound.codec_context.layout, sound.codec_context.bit_rate = layout, 64_000 * av.AudioLayout(layout).nb_channels
        sound.metadata.update(tags)
        packets = [packet for packet in a.demux(source) if packet.size]
        seconds = seconds or float(max(packet.pts * packet.time_base for packet in packets))
        resampler = av.AudioResampler(sound.codec_context.format, layout, rate)
        count = int(seconds * rate)
        wave = (np.sin(np.arange(count) * 2 * np.pi * 440 / rate) * 8000).astype(np.int16)
        tone = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        tone.sample_rate, tone.pts, tone.time_base = rate, 0, Fraction(1, rate)
        coded = [each for frame in [*resampler.resample(tone), None] for each in sound.encode(frame)]
        packets += _later([packet for packet in coded if packet.dts is not None], begins)
        for packet in sorted(packets, key=lambda each: (each.pts if each.dts is None else each.dts) * each.time_base):
            packet.stream = video if packet.stream is source else sound
            b.mux(packet)
    return output


def with_cues(film: Path, output: Path, cues: Sequence[tuple[int, int, bytes]], *, first: bool = False) -> Path:
    """The picture of a film with subtitles, which may come `first`: from when, for how long, both in milliseconds, and their
    text."""
    with av.open(str(film)) as a, av.open(str(output), "w") as b:
        (source,) = a.streams.video
        prefixed = output.suffix in (".mp4", ".mov")
        codec = "mov_text" if prefixed else "webvtt" if output.suffix == ".webm" else "subrip"
        made: Any = b.add_stream(codec) if first else None
        video = b.add_stream_from_template(source, opaque=True)
        text: Any = made or b.add_stream(codec)
        text.codec_context.subtitle_header, text.time_base = _HEADER, Fraction(1, 1_000_000)
        packets = [packet for packet in a.demux(source) if packet.size]
        for start, duration, line in cues:
            packet = av.Packet((len(line).to_bytes(2, "big") if prefixed else b"") + line)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = duration, Fraction(1, 1000), text
            packets.append(packet)
        for packet in sorted(packets, key=lambda each: (each.pts if each.dts is None else each.dts) * each.time_base):
            if packet.stream is source:
                packet.stream = video
            b.mux(packet)
    return output


def _later(packets: Sequence[Any], seconds: float) -> list[Any]:
    for packet in packets:
        ticks = round(Fraction(seconds) / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return list(packets)


def shown(path: Path, track: int = 0) -> list[Fraction]:
    """When the frames of a film are shown, in seconds."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=track)]


def pictures(path: Path, format: str | None = "rgb24") -> list[Any]:
    """The frames of a film as arrays."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=format) if format else frame.to_ndarray() for frame in container.decode(video=0)]


def packets(path: Path, kinds: Sequence[str] = ("audio", "subtitle", "video")) -> dict[int, list[tuple[Any, ...]]]:
    """Time, duration and content of the packets of each stream of some kinds."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type in kinds]
        found: dict[int, list[tuple[Any, ...]]] = {stream.index: [] for stream in streams}
        for packet in container.demux(streams):
            if packet.size:
                shown = None if packet.pts is None else packet.pts * packet.time_base
                found[packet.stream.index].append((shown, packet.duration, bytes(packet)))
    return found


def add_cover(film: Path, other: Path, output: Path) -> Path:
    """A film, another one, and a cover in one file."""
    with av.open(str(film)) as first, av.open(str(other)) as second, av.open(str(output), "w") as out:
        streams = [out.add_stream_from_template(container.streams.video[0], opaque=True) for container in (first, second)]
        cover = out.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        streams[0].disposition = av.stream.Disposition.default
        streams[1].disposition = av.stream.Disposition(0)
        out.start_encoding()
        for container, stream in zip((first, second), streams, strict=True):
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
        out.mux(cover.encode(av.VideoFrame(16, 16, "rgb24")))
    return output
