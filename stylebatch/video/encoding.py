"""Containers and codecs: which can be written, in which pixel formats, and with which settings."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.codec import Codec
from av.codec.context import CodecContext, Flags
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange

from stylebatch.errors import StylebatchError
from stylebatch.video.clip import Clip
from stylebatch.video.options import VideoOptions
from stylebatch.video.yuv import Colour, depth_of, has_alpha

#: Extensions that are written, with FFmpeg's name of the container and the codec that is usual in it.
CONTAINERS = {
    ".mp4": ("mp4", "h264"), ".m4v": ("mp4", "h264"), ".mov": ("mov", "h264"), ".mkv": ("matroska", "h264"),
    ".webm": ("webm", "vp9"), ".avi": ("avi", "h264"), ".gif": ("gif", "gif"),
}  # fmt: skip
#: What is usual for films with alpha, where another codec keeps it.
_USUAL_WITH_ALPHA = {"mov": "prores", "matroska": "vp9"}
#: Formats with alpha, and those of the same colours without; of the others the name tells.
_OPAQUE = {"bgra": "bgr0", "rgba": "rgb0", "gbrap": "gbrp", "rgba64le": "rgb48le", "ya8": "gray"} | {
    f"gbrap{bits}le": f"gbrp{bits}le" for bits in (10, 12, 14, 16)
}
#: A frame's worth of x264's work is spread over so many threads on every machine: their number changes the bits.
THREADS = 4
#: A segment is so many pixels, and so many frames: what a killed run loses, against a key frame for each.
_SEGMENT_PIXELS, _SEGMENT_FRAMES = 100_000_000, (24, 250)


@dataclass(frozen=True)
class _Codec:
    """An encoder of FFmpeg's.

    Attributes:
        quality: its option for constant quality, and the option's largest value; None where there is none.
        preset: its option for speed, and our default.
        options: what else it is told.
        keeps_aspect: its stream carries the pixels' aspect ratio, whatever the container.
    """

    encoder: str
    quality: tuple[str, int] | None = None
    preset: tuple[str, str] | None = None
    options: dict[str, str] = field(default_factory=dict)
    keeps_aspect: bool = False


#: x264's "medium" takes bits from what it cannot predict, which paint in motion is: measured on a painted clip at CRF 18,
#: 30.8 dB and 55 ms of CPU a frame against "faster"'s 35.7 dB and 33 ms, in files of 0.6 the size.
CODECS = {
    "h264": _Codec("libx264", ("crf", 51), ("preset", "faster"), keeps_aspect=True),
    "h265": _Codec(
        "libx265", ("crf", 51), ("preset", "medium"), {"x265-params": f"log-level=error:pools={THREADS}:frame-threads=2"},
        keeps_aspect=True,
    ),
    "av1": _Codec("libsvtav1", ("crf", 63), ("preset", "8")),
    "vp9": _Codec("libvpx-vp9", ("crf", 63), ("cpu-used", "4"), {"deadline": "good", "row-mt": "1"}),
    "prores": _Codec("prores_ks"),
    "ffv1": _Codec("ffv1", options={"level": "3", "slicecrc": "1"}),
    "gif": _Codec("ffv1"),  # on its way; palettes are made when the segments are joined
    "h264_nvenc": _Codec("h264_nvenc", ("cq", 51), ("preset", "p5"), {"rc": "vbr"}, keeps_aspect=True),
    "h265_nvenc": _Codec("hevc_nvenc", ("cq", 51), ("preset", "p5"), {"rc": "vbr"}, keeps_aspect=True),
    "av1_nvenc": _Codec("av1_nvenc", ("cq", 63), ("preset", "p5"), {"rc": "vbr"}),
}  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """How a film is written.

    Attributes:
        container: FFmpeg's name of the muxer.
        codec: a key of `CODECS`.
        options: the encoder's.
        pix_fmt: FFmpeg's name of the pixel format.
        picture: width and height of the pictures that come; `coded` has them rounded up to what the format can hold.
        aspect: of a pixel, width to height.
        rate: frames a second, for the encoder's rate control; times are each frame's own, in `time_base`.
        colour: what is written and how it is tagged.
    """

    container: str
    codec: str
    options: dict[str, str]
    pix_fmt: str
    picture: tuple[int, int]
    aspect: Fraction
    rate: Fraction
    time_base: Fraction
    colour: Colour

    @property
    def encoder(self) -> str:
        return CODECS[self.codec].encoder

    @property
    def deep(self) -> bool:
        return depth_of(VideoFormat(self.pix_fmt)) > 8

    @property
    def alpha(self) -> bool:
        """Whether it is written."""
        return has_alpha(VideoFormat(self.pix_fmt))

    @property
    def coded(self) -> tuple[int, int]:
        width, height = self.picture
        if self.codec in ("vp9", "ffv1", "prores", "gif"):
            return width, height
        chroma = VideoFormat(self.pix_fmt, 16, 16).components[1 if not VideoFormat(self.pix_fmt).is_rgb else 0]
        across, down = 16 // chroma.width, 16 // chroma.height
        return -(-width // across) * across, -(-height // down) * down

    @property
    def segment(self) -> int:
        """Frames of a segment."""
        least, most = _SEGMENT_FRAMES
        return max(least, min(most, _SEGMENT_PIXELS // (self.picture[0] * self.picture[1])))

    @property
    def tick(self) -> int:
        """How long a frame is shown at the nominal rate, in `time_base`."""
        return max(1, round(1 / self.rate / self.time_base))

    def notes(self, clip: Clip, options: VideoOptions) -> list[str]:
        """What of a clip's picture, or of what was asked for, is written otherwise."""
        notes = []
        if self.coded != self.picture:
            (width, height), (wide, high) = self.picture, self.coded
            notes.append(f"{width}×{height} is padded to {wide}×{high}: {self.codec} holds no odd size")
        if options.pix_fmt not in (None, self.pix_fmt):
            reason = "the film has no alpha" if not clip.alpha else "alpha would be lost"
            notes.append(f"pixel format {self.pix_fmt} is written, not {options.pix_fmt}: {reason}")
        return notes

    def flattened(self) -> str:
        """What to say of transparent pixels where alpha is not written."""
        kept = "prores and ffv1 in .mov and .mkv, vp9 in .webm keep it"
        return f"alpha is not kept by {self.codec} in {self.pix_fmt}: shown on white; {kept}"

    def context(self) -> VideoCodecContext:
        """A fresh encoder. The same frames come out of each in the same bytes."""
        context = cast(VideoCodecContext, CodecContext.create(self.encoder, "w"))
        self.configure(context)
        if self.container != "avi":  # whose decoders look for them beside each key frame
            context.flags |= Flags.global_header
        context.options = dict(self.options)
        from stylebatch.device import cpu_capabilities  # loads PyTorch

        if self.encoder == "libx264" and "avx512_f" in cpu_capabilities():
            # x264's AVX-512 code makes other bytes in every second run (measured on a Xeon, with one thread too, unless
            # mbtree is off); what it makes without is the same everywhere.
            context.options |= {"x264-params": "asm=avx2"}
        return context

    def configure(self, context: VideoCodecContext) -> None:
        context.width, context.height = self.coded
        context.pix_fmt = self.pix_fmt
        context.time_base, context.framerate = self.time_base, self.rate
        context.sample_aspect_ratio = self.aspect
        context.thread_count = THREADS
        if self.container == "avi":
            context.max_b_frames = 0  # it has no times but the order of its frames
        if self.codec in ("h265", "h265_nvenc") and self.container in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the one that Apple's players take
        self.colour.tag(context)
        if VideoFormat(self.pix_fmt).is_rgb:
            context.colorspace, context.color_range = 0, ColorRange.JPEG

    def as_settings(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: str(value) for name, value in vars(self).items()}


def plan(clip: Clip, options: VideoOptions, output: Path) -> Encoding:
    """How `clip` is written to `output`.

    Raises:
        StylebatchError: an unknown container or codec, one that does not go into the other, settings that the encoder
            refuses.
    """
    if output.suffix.lower() not in CONTAINERS:
        names = f"{', '.join(CONTAINERS)}, or numbered pictures such as frames/%05d.png"
        raise StylebatchError(f"{output}: this container is not written; choose from {names}")
    container, usual = CONTAINERS[output.suffix.lower()]
    name = options.codec or (_USUAL_WITH_ALPHA.get(container, usual) if clip.alpha and not options.pix_fmt else usual)
    codec = CODECS.get(name)
    if codec is None or (name == "gif") != (container == "gif"):
        choices = ["gif"] if container == "gif" else [choice for choice in CODECS if choice != "gif"]
        raise StylebatchError(f"codec {name}: not for {output.suffix}; choose from {', '.join(choices)}")
    try:
        formats = [format.name for format in Codec(codec.encoder, "w").video_formats or []]
    except av.codec.codec.UnknownCodecError:
        raise StylebatchError(f"codec {name}: this PyAV was built without {codec.encoder}") from None
    pix_fmt = options.pix_fmt or _nearest(clip, name, container, formats)
    if pix_fmt not in formats:
        raise StylebatchError(f"pixel format {pix_fmt}: {name} does not have it; choose from {', '.join(formats)}")
    if has_alpha(VideoFormat(pix_fmt)) and not (clip.alpha and _keeps_alpha(name, container, pix_fmt)):
        pix_fmt = _OPAQUE.get(pix_fmt, pix_fmt.replace("yuva", "yuv"))  # nothing would be transparent
    width, height = clip.work_size(options) if options.keep_work_size else clip.size
    aspect = clip.aspect
    if aspect != 1 and not codec.keeps_aspect and container not in ("mp4", "mov"):
        width, aspect = max(1, round(width * aspect)), Fraction(1)
    if options.side_by_side:
        width *= 2
    colour = clip.colour.shown
    if colour.full and (name == "prores" or container == "avi"):
        colour = Colour(colour.matrix, colour.primaries, colour.transfer, False)  # there is no place to say so
    rate = options.fps or clip.rate
    encoding = Encoding(
        container, name, _options(name, codec, options, pix_fmt), pix_fmt, (width, height), aspect, rate,
        1 / rate if container == "avi" else clip.ticks(options), colour,
    )  # fmt: skip
    _try(encoding, options)
    return encoding


def _options(name: str, codec: _Codec, options: VideoOptions, pix_fmt: str) -> dict[str, str]:
    chosen = dict(codec.options)
    if codec.quality:
        option, largest = codec.quality
        crf = 18 if options.crf is None else options.crf
        if not 0 <= crf <= largest:
            raise StylebatchError(f"crf {crf}: {name} takes 0 to {largest}")
        chosen[option] = str(crf)
    elif options.crf is not None:
        raise StylebatchError(f"crf: {name} has no constant quality; leave it out")
    if codec.preset:
        chosen[codec.preset[0]] = options.preset or codec.preset[1]
    elif options.preset:
        raise StylebatchError(f"preset: {name} has none; leave it out")
    if name == "prores":
        chosen["profile"] = "4444" if "444" in pix_fmt else "hq"
    return chosen


def _keeps_alpha(name: str, container: str, pix_fmt: str) -> bool:
    """Whether alpha comes back when it is decoded: VP9's lies beside the pictures, where not every container has room."""
    if name == "vp9":
        return pix_fmt == "yuva420p" and container in ("webm", "matroska")
    return name in ("prores", "ffv1", "gif")


def _nearest(clip: Clip, name: str, container: str, formats: list[str]) -> str:
    """The film's own depth and chroma, or the nearest that loses nothing, or the nearest; with alpha if it has any and that
    can be kept. Of RGB, what plays everywhere."""
    if name == "gif" or (clip.is_rgb and name == "ffv1" and clip.depth == 8):
        return "bgra" if clip.alpha else "bgr0"
    with_alpha = clip.alpha and any(
        candidate.startswith("yuva") and _keeps_alpha(name, container, candidate) for candidate in formats
    )
    depth, chroma = clip.depth, (1, 1) if clip.is_rgb else clip.chroma
    choices: dict[tuple[int, ...], str] = {}
    for candidate in formats:
        format = VideoFormat(candidate, 16, 16)
        if not candidate.startswith("yuv") or candidate.startswith("yuvj") or candidate.endswith("be"):
            continue
        if candidate.startswith("yuva") != with_alpha or (with_alpha and not _keeps_alpha(name, container, candidate)):
            continue
        bits, part = depth_of(format), format.components[1]
        across, down = 16 // part.width // 2, 16 // part.height // 2
        loss = max(0, across - chroma[0]) + max(0, down - chroma[1]), max(0, depth - bits)
        excess = max(0, chroma[0] - across) + max(0, chroma[1] - down), max(0, bits - depth)
        choices[(*loss, *excess)] = candidate
    return choices[min(choices)]


def _try(encoding: Encoding, options: VideoOptions) -> None:
    """Open the encoder and ask the container, before hours are spent on what they would refuse."""
    format = "matroska" if encoding.container == "gif" else encoding.container
    out = av.open(io.BytesIO(), "w", format=format)
    try:
        context = cast(VideoCodecContext, out.add_stream(encoding.encoder, options=dict(encoding.options)).codec_context)
    except ValueError:
        raise StylebatchError(f"codec {encoding.codec}: does not go into {encoding.container}; give another") from None
    try:
        encoding.configure(context)
        context.open()
    except (av.FFmpegError, ValueError) as error:
        width, height = encoding.coded
        if encoding.codec.endswith("nvenc"):
            raise StylebatchError(f"codec {encoding.codec}: needs an NVIDIA GPU with a driver that encodes") from error
        preset = f", preset {options.preset}" if options.preset else ""
        raise StylebatchError(
            f"codec {encoding.codec}: refuses {width}×{height} {encoding.pix_fmt}{preset}: {error}; change these"
        ) from error
