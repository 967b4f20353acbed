#!/usr/bin/env python3
"""Paint almost three hundred made-up films (codecs × containers × oddities), small and short, and look at the results.

    scripts/soak_films.py [--only TEXT] [--keep FOLDER] [--list] [--style hosi]

Needs ffmpeg and ffprobe. Exits 1 if a film fails after its first frame has been painted, is refused where it should not be,
or loses a frame, a stream or seconds of sound without a word.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import math
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from stylebatch import Stylizer, VideoOptions, stylize_video
from stylebatch.errors import StylebatchError

RATE = 12
#: Seconds by which sound may be longer or shorter: codecs have packets of their own length.
TOLERANCE = 0.3
OUTPUTS = ("mp4", "mov", "mkv", "webm", "avi")
#: Video codecs with what ffmpeg is told beside them, and containers that take them.
VIDEO = """
libx264 | mp4 mov mkv avi ts flv m2ts 3gp nut wmv
libx265 | mp4 mov mkv ts
mpeg2video | mpg vob ts mkv mxf mov
mpeg1video -r 25 | mpg
mpeg4 | avi mp4 mkv 3gp nut
libvpx | webm mkv
libvpx-vp9 | webm mkv mp4
libaom-av1 -cpu-used 8 | mp4 mkv webm
prores_ks | mov mkv
ffv1 | mkv avi nut
mjpeg -pix_fmt yuvj420p | avi mov mkv mp4
wmv2 | wmv avi
msmpeg4 | avi wmv
flv | flv
libtheora | ogv mkv
huffyuv | avi mkv
qtrle | mov
png | mov mkv avi
rawvideo -pix_fmt rgb24 | avi mov nut
gif | gif
h263 -s 128x96 | 3gp avi
svq1 | mov
cinepak | avi mov
rv20 | rm
dvvideo -s 720x576 -pix_fmt yuv420p -r 25 | dv avi mov
utvideo | avi mkv
snow -strict -2 | avi
dnxhd -profile:v dnxhr_lb -s 256x128 -pix_fmt yuv422p | mov mxf mkv
apng -f apng | png
libx264rgb | mkv
jpeg2000 | mxf mov
vc2 | mkv mov
hap -s 64x64 | mov
zmbv | avi
"""
#: Containers that hold no sound here, those whose clock misses the one rate of AVI, and what is usual in others than MP4.
SILENT, UNSTEADY = ("gif", "png"), ("webm", "flv", "mpg", "vob", "wmv", "rm", "mkv")
USUAL_VIDEO = {"webm": "libvpx", "ogv": "libtheora", "mpg": "mpeg2video", "vob": "mpeg2video", "wmv": "wmv2", "flv": "flv"}
USUAL_SOUND = {
    "webm": "libopus", "avi": "libmp3lame", "flv": "libmp3lame", "wmv": "wmav2", "ogv": "libvorbis", "mpg": "mp2",
    "vob": "ac3", "mxf": "pcm_s16le", "dv": "pcm_s16le", "rm": "ac3", "nut": "flac",
}  # fmt: skip
#: Sound: codec, layout and rate, and containers that take it.
AUDIO = """
aac 5.1 48000 | mp4 mkv ts
aac mono 8000 | mp4
libmp3lame stereo 22050 | mp4 mkv avi
mp2 stereo 48000 | ts mpg mkv
ac3 5.1(side) 48000 | mkv ts vob mp4
eac3 5.1(side) 48000 | mkv mp4 ts
dca 5.1(side) 48000 | mkv ts mov
flac stereo 96000 | mkv mp4 nut
flac stereo 192000 | mkv
alac stereo 44100 | mov mp4
truehd 5.1(side) 192000 | mkv
mlp stereo 48000 | mkv
pcm_u8 mono 11025 | avi mkv mov
pcm_s16le 7.1 48000 | mkv mov
pcm_s24le 16c 48000 | mkv mov
pcm_s16be stereo 48000 | mov
pcm_f32le stereo 96000 | mkv mov
pcm_alaw mono 8000 | mov avi
pcm_mulaw mono 8000 | avi mkv
adpcm_ms stereo 44100 | avi
adpcm_ima_wav mono 22050 | avi
adpcm_ima_qt stereo 44100 | mov
wmav1 mono 22050 | wmv
wmav2 stereo 44100 | wmv mkv
libvorbis 5.1 48000 | mkv webm ogv
libopus 5.1 48000 | webm mkv
libopus mono 16000 | mkv mp4
wavpack stereo 48000 | mkv
tta stereo 48000 | mkv
nellymoser mono 8000 | flv
libspeex mono 16000 | ogv
s302m stereo 48000 | ts
g722 mono 16000 | avi
libgsm_ms mono 8000 | avi
"""
#: What else cameras, phones, editors and broadcasts make: name | container | of the result, ALL for each | ffmpeg's
#: arguments | and what may be told: `inputs` (instead of picture and tone), `change` of the file, `options` of the painting,
#: `refused` (in which words that is right), `frames` (if not as many as ffprobe counts), `silent` (sound is not compared).
ODDITIES = """
timecode | mov | ALL | H264 -timecode 01:00:00:00
overlapping subtitles | mkv | ALL | H264 -c:s srt | inputs pic tone SUBS
chapters and a title | mp4 | ALL | H264 -map_metadata 2 | inputs pic tone -i chapters.txt
two sounds, two languages | mkv | ALL | -map 0 -map 1 -map 1 H264 -metadata:s:a:0 language=deu -metadata:s:a:1 language=fra
a cover | mp4 | ALL | -map 0 -map 1 -map 2 H264 -c:v:1 png -disposition:v:1 attached_pic | inputs pic tone -i cover.png
a cover first | mp4 | ALL | -map 2 -map 0 -map 1 H264 -c:v:0 png -disposition:v:0 attached_pic | inputs pic tone -i cover.png
two films | mkv | ALL | -map 0 -map 0 -map 1 H264
the sound first | mkv | ALL | -map 1 -map 0 H264
ASS | mkv | ALL | H264 -c:s ass | inputs pic tone SUBS
mov_text | mp4 | ALL | H264 -c:s mov_text | inputs pic tone SUBS
WebVTT | webm | mp4 | -c:v libvpx -c:a libopus -c:s webvtt | inputs pic tone SUBS
subtitles to GIF | mkv | gif | H264 -c:s srt | inputs pic tone SUBS
subtitles that are not UTF-8 | mkv | mp4 | H264 -c:s srt | inputs pic tone SUBS | change replace line l\xefne
subtitles first, a part | mkv | mp4 | -map 2 -map 0 H264 -c:s srt | inputs pic:3 tone:3 SUBS | options start=2 | silent
a font | mkv | mkv | H264 -attach cues.srt -metadata:s:t:0 mimetype=application/x-truetype-font
a font to MP4 | mkv | mp4 | H264 -attach cues.srt -metadata:s:t:0 mimetype=application/x-truetype-font
drop-frame timecode, a part | mov | mov | H264 -r 30000/1001 -timecode 00:00:59;20 | options start=0.5 | silent
a clock of five hours | ts | mp4 | H264 -output_ts_offset 17401
a clock that wraps | ts | mp4 | H264 -output_ts_offset 95443.2
a clock of two hours | mkv | mp4 | H264 | inputs -itsoffset 7200 pic -itsoffset 7200 tone
joined transport streams | ts | ALL-avi | H264 | change twice | frames 24 | silent
joined transport streams to AVI | ts | avi | H264 | change twice | refused off it; give `fps`
joined program streams | mpg | mkv | -c:v mpeg2video -c:a mp2 -r 25 | change twice | frames 50 | silent
joined Matroska | mkv | mp4 | H264 | change twice | frames 24 | silent
sound that gets more channels | ts | webm | AC3 | change join AC3 -ac 6 | frames 24 | silent
sound that gets more channels, copied | ts | mp4 | AC3 | change join AC3 -ac 6 | frames 24 | silent
a size that changes | ts | mp4 | H264 | change join H264 -s 96x64 | frames 24 | silent
sound that comes up late | ts | mp4 | -c:v libx264 -an | change join H264 | frames 24 | silent
sound that begins late | mkv | mp4 | H264 | inputs pic:3 -itsoffset 2 tone
sound that begins very late | vob | mp4 | -c:v mpeg2video -r 25 -c:a ac3 | inputs pic:20 -itsoffset 15 tone
sound that goes on | mkv | mp4 | H264 | inputs pic tone:4
sound that ends early | mov | mkv | H264 | inputs pic:3 tone
a still with music | mkv | mp4 | H264 | inputs -i cover.png tone:3
no sound | mp4 | webm | -c:v libx264 -an
sound alone | mp4 | mp4 | -c:a aac | inputs tone | refused no video in it
one frame | mp4 | mkv | H264 -frames:v 1 | silent
variable rate | mkv | ALL | H264 -vf setpts=PTS+0.03*mod(N\\,2)/TB -vsync vfr
turned by 90 | mp4 | mkv | H264 | change turn 90
turned by 180 | mp4 | mp4 | H264 | change turn 180
turned by 270 | mov | webm | H264 | change turn 270
interlaced | ts | mp4 | -c:v mpeg2video -flags +ildct+ilme -vf setfield=tff -r 25 -c:a mp2
oblong pixels | avi | mkv | -c:v mpeg4 -c:a ac3 -vf setsar=16/15
oblong pixels to WebM | avi | webm | -c:v mpeg4 -c:a ac3 -vf setsar=16/15
an odd size | mkv | mp4 | -c:v ffv1 -c:a flac | inputs pic:1:63x47 tone
ten bits | mkv | mp4 | H264 -pix_fmt yuv420p10le
full chroma | mkv | mov | H264 -pix_fmt yuv444p
half chroma | mkv | mp4 | H264 -pix_fmt yuv422p
grey | mkv | mp4 | -c:v ffv1 -pix_fmt gray -c:a aac
grey of ten bits | mkv | mp4 | -c:v ffv1 -pix_fmt gray10le -c:a aac
RGB in planes | mkv | mp4 | -c:v ffv1 -pix_fmt gbrp -c:a aac
lossless | mkv | mp4 | H264 -qp 0 -pix_fmt yuv444p
PQ in ten bits | mkv | mp4 | PQ
alpha of ProRes | mov | mov | -c:v prores_ks -pix_fmt yuva444p10le ALPHA
alpha of VP9 | webm | webm | -c:v libvpx-vp9 -pix_fmt yuva420p ALPHA
alpha of qtrle | mov | mkv | -c:v qtrle -pix_fmt argb ALPHA
alpha of PNG | mov | mp4 | -c:v png -pix_fmt rgba ALPHA
alpha of FFV1 | mkv | gif | -c:v ffv1 -pix_fmt bgra ALPHA
fragments | mp4 | mp4 | H264 -movflags frag_keyframe+empty_moov
a negative start | mp4 | ALL | H264 -bf 3 | inputs pic -itsoffset -0.1 tone
a cut without a key frame | mp4 | mp4 | H264 | inputs pic:3 tone:3 | change cut_between | frames any | silent
metadata of phones | mov | ALL | H264 -movflags use_metadata_tags -metadata com.apple.quicktime.make=Maker
tags that are not UTF-8 | mkv | mp4 | H264 -metadata title=cafX | change replace cafX caf\xe9
telemetry | mov | ALL | H264 -timecode 01:00:00:00 | change telemetry gpmd
telemetry without a description | mov | mov | H264 -timecode 01:00:00:00 | change telemetry mebx
sound of an unknown kind | mov | mkv | H264 | change replace mp4a apac | silent
damaged sound that is converted | mkv | webm | AC3 | change spoil 0b77 5
damaged sound that is copied | mkv | mp4 | -c:v libx264 -c:a eac3 | change spoil 0b77 5 | silent
damaged sound in a broadcast | ts | mp4 | H264 | change spoil fff1 5 | silent
AAC as broadcasts have it | ts | mp4 | H264 -mpegts_flags latm
Opus in a transport stream | ts | mp4 | -c:v libx264 -c:a libopus
cut off | mkv | mp4 | H264 | change cut 0.7 | refused cut off
cut off, what there is | mkv | mp4 | H264 | change cut 0.7 | options on_corrupt=repeat | frames any | silent
cut off without an index | mp4 | mp4 | H264 | change cut 0.7 | refused no film that can be read
a playlist | mp4 | mp4 | H264 | change playlist | refused a list of other files
a name with a colon: 1 | mkv | mp4 | H264
a percent %03d name | mp4 | mkv | H264
resampled | mp4 | mp4 | H264 | options fps=6 | frames 6
side by side | mkv | webm | H264 | options side_by_side=1
a part | mkv | ALL | H264 | inputs pic:3 tone:3 | options start=1 end=2 | frames 12 | silent
a preview of a joined film | ts | mp4 | H264 | change twice | options preview=1 | frames any | silent
pictures of each fourth frame | mp4 | folder | H264 | options every=4 | frames any | silent
another codec | mp4 | mkv | H264 | options codec=h265
a codec that does not go in | mp4 | webm | H264 | options codec=h264 | refused does not go into webm
frames alone | y4m | mp4 | -an
a raw stream | h264 | mkv | -c:v libx264 -an
motion JPEG alone | mjpeg | mp4 | -c:v mjpeg -pix_fmt yuvj420p -an
"""
WORDS = {
    "H264": ["-c:v", "libx264", "-c:a", "aac"],
    "AC3": ["-c:v", "libx264", "-c:a", "ac3"],
    "PQ": shlex.split("-c:v libx265 -pix_fmt yuv420p10le -color_trc smpte2084 -color_primaries bt2020 -c:a aac"),
    "ALPHA": ["-vf", "format=rgba,colorchannelmixer=aa=0.5", "-an"],
}
CUES = "".join(f"{n + 1}\n00:00:00,{n * 90:03} --> 00:00:00,{n * 90 + 130:03}\nline {n}\n\n" for n in range(9))
CHAPTERS = ";FFMETADATA1\ntitle=Probe\n" + "".join(
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={n * 400}\nEND={n * 400 + 400}\ntitle=part {n}\n" for n in range(2)
)


@dataclass
class Case:
    """A film to make, and how to paint it.

    Attributes:
        recipe: arguments of ffmpeg after its inputs, which by default are picture and tone.
        told: what `ODDITIES` says beside, by its first word.
    """

    name: str
    suffix: str
    output: str
    recipe: list[str]
    inputs: list[str]
    told: dict[str, list[str]] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        kinds = {"start": float, "end": float, "preview": float, "fps": Fraction, "every": int, "side_by_side": bool}
        pairs = (each.split("=") for each in self.told.get("options", []))
        return {name: kinds.get(name, str)(value) for name, value in pairs}


def picture(seconds: float = 1, size: str = "64x48") -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={RATE}:duration={seconds}"]


def tone(seconds: float = 1, layout: str = "stereo", rate: int = 48000) -> list[str]:
    form = f"pan={layout}|c0=c0|c9=c0" if layout.endswith("c") else f"aformat=channel_layouts={layout}"
    return ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate={rate}:duration={seconds},{form}"]


def cases() -> Iterator[Case]:
    outputs = itertools.cycle(OUTPUTS)
    for codec, suffixes in table(VIDEO):
        for suffix in suffixes.split():
            sound = ["-an"] if suffix in SILENT else ["-c:a", USUAL_SOUND.get(suffix, "aac")]
            rate = ["-r", "25"] if suffix == "mxf" else []
            output = next(each for each in outputs if each != "avi" or suffix not in UNSTEADY)
            arguments = ["-c:v", *codec.split(), *rate, *sound, "-shortest"]
            yield Case(f"{codec.split()[0]} in {suffix}", suffix, output, arguments, [*picture(), *tone()])
    for words, suffixes in table(AUDIO):
        codec, layout, hertz = words.split()
        for suffix, output in zip(suffixes.split(), itertools.cycle(("mp4", "webm", "mkv", "mov", "avi")), strict=False):
            arguments = ["-c:v", USUAL_VIDEO.get(suffix, "libx264"), "-c:a", codec, "-ar", hertz, "-strict", "-2"]
            yield Case(f"{words} in {suffix}", suffix, output, arguments, [*picture(), *tone(1, layout, int(hertz))])
    for name, suffix, output, recipe, *rest in table(ODDITIES):
        told = {each.split()[0]: each.split()[1:] for each in rest}
        inputs = [word for each in told.get("inputs", ["pic", "tone"]) for word in as_input(each)]
        all_, _, without = output.partition("-")
        for each in [each for each in OUTPUTS if each != without] if all_ == "ALL" else [output]:
            yield Case(name if all_ != "ALL" else f"{name} to {each}", suffix, each, expanded(recipe.split()), inputs, told)


def table(text: str) -> Iterator[list[str]]:
    for line in text.strip().splitlines():
        yield [cell.strip() for cell in line.split("|")]


def as_input(word: str) -> list[str]:
    kind, *values = word.split(":")
    if word == "SUBS":
        return ["-i", "cues.srt"]
    if kind not in ("pic", "tone"):
        return [word]
    numbers: list[Any] = [float(values[0]), *values[1:]] if values else []
    return picture(*numbers) if kind == "pic" else tone(*numbers)


def expanded(words: list[str]) -> list[str]:
    return [part for word in words for part in WORDS.get(word, [word])]


def change(path: Path, how: str, *args: str) -> None:
    """What is done to a film that has been made."""
    data, other = path.read_bytes(), path.with_name(f"other{path.suffix}")
    if how == "replace":
        old, new = (arg.encode("latin-1").decode("unicode_escape").encode("latin-1") for arg in args)
        data = data.replace(old, new)
    elif how == "twice":
        data *= 2
    elif how == "join":
        ffmpeg(*picture(), *tone(), *expanded(list(args)), "-shortest", other)
        data += other.read_bytes()
    elif how == "cut":
        data = data[: int(len(data) * float(args[0]))]
    elif how == "cut_between":
        ffmpeg("-ss", "1.3", "-i", path, "-c", "copy", "-copyinkf", other)
        data = other.read_bytes()
    elif how == "spoil":  # the beginning of a packet
        place = -1
        for _ in range(int(args[1])):
            place = data.index(bytes.fromhex(args[0]), place + 1)
        data = data[:place] + bytes(8) + data[place + 8 :]
    elif how == "turn":
        ffmpeg("-i", path, "-c", "copy", "-metadata:s:v:0", f"rotate={args[0]}", other)
        data = other.read_bytes()
    elif how == "telemetry":  # of a timecode track
        data = data.replace(b"mhlrtmcd", b"mhlrmeta").replace(
            b"tmcd" + bytes(7) + b"\1", args[0].encode() + bytes(7) + b"\1"
        )
    elif how == "playlist":
        data = b"#EXTM3U\nx.ts\n"
    path.write_bytes(data)


def ffmpeg(*args: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, args)], check=True, capture_output=True, text=True, cwd=FOLDER)


def probe(path: Path) -> list[dict[str, Any]]:
    """The streams of a file, with the seconds of each from first to last packet; infinite if one has no duration."""
    args = ["ffprobe", "-v", "error", "-show_streams", "-show_packets", "-of", "json", f"file:{path}"]
    found = json.loads(subprocess.run(args, capture_output=True, check=False).stdout or "{}")
    times: dict[int, list[float]] = collections.defaultdict(list)
    for packet in found.get("packets", []):
        first = float(packet.get("pts_time", packet.get("dts_time", 0)))
        times[packet["stream_index"]] += [first, first + float(packet.get("duration_time", "inf"))]
    streams: list[dict[str, Any]] = found.get("streams", [])
    for stream in streams:
        of_stream = times[stream["index"]] or [0]
        stream["seconds"] = max(of_stream) - min(of_stream)
    return streams


def count_frames(path: Path, stream: int) -> int:
    args = [
        "-count_frames",
        "-select_streams",
        stream,
        "-show_entries",
        "stream=nb_read_frames",
        "-of",
        "csv=p=0",
        f"file:{path}",
    ]
    said = subprocess.run(["ffprobe", "-v", "error", *map(str, args)], capture_output=True, text=True, check=False).stdout
    return int(next((word for word in said.replace(",", " ").split() if word.isdigit()), 0))


FOLDER = Path()
STYLIZER: Stylizer | None = None


def prepare(style: str, folder: Path) -> None:
    global FOLDER, STYLIZER
    FOLDER, STYLIZER = folder, Stylizer(style, device="cpu")


def run(case: Case, number: int) -> tuple[str, list[str], float]:
    """Make a film, paint it, and judge."""
    start = time.monotonic()
    source = FOLDER / f"{number:03} {case.name.replace('/', '_')}.{case.suffix}"
    output = FOLDER / (f"{number:03} painted" if case.output == "folder" else f"{number:03} painted.{case.output}")
    try:
        ffmpeg(*case.inputs, *case.recipe, f"file:{source}")
    except subprocess.CalledProcessError as failure:
        return f"cannot be made: {failure.stderr.strip().splitlines()[-1:]}", [], 0.0
    if "change" in case.told:
        change(source, *case.told["change"])
    said, error, painted = paint(source, output, case.options)
    return judge(case, source, output, said, error, painted), said, time.monotonic() - start


def paint(source: Path, output: Path, options: dict[str, Any]) -> tuple[list[str], str, int]:
    """What was said, the error if there was one, and how many frames had been painted by then."""
    painted = 0

    def count(summary: Any) -> None:
        nonlocal painted
        painted = summary.finished

    assert STYLIZER is not None
    try:
        summary = stylize_video(source, output, STYLIZER, options=VideoOptions(size=16, **options), progress=count)
        return summary.warnings, "", painted
    except StylebatchError as error:
        return [], str(error), painted
    except Exception as error:
        return [], f"{type(error).__name__}: {error}", painted or 1


def judge(case: Case, source: Path, output: Path, said: list[str], error: str, painted: int) -> str:
    """What is wrong with the result; empty if nothing is."""
    refused = " ".join(case.told.get("refused", []))
    if error:
        return f"failed: {error}" if painted else "" if refused and refused in error else f"refused: {error}"
    if refused:
        return f"was not refused, where '{refused}' was expected"
    if output.is_dir():
        return "" if any(output.glob("*.png")) else "no pictures"
    before, after = probe(source), probe(output)
    films = [[each for each in streams if kind_of(each) == "film"] for streams in (before, after)]
    if not films[1]:
        return "there is no film in the result"
    (frames,) = case.told.get(
        "frames", ["any" if "options" in case.told else str(count_frames(source, films[0][0]["index"]))]
    )
    if frames != "any" and (found := count_frames(output, films[1][0]["index"])) != int(frames):
        return f"{found} frames of {frames}"
    unsaid = [each for each in before if not any(f"stream {each['index']} " in line and "left out" in line for line in said)]
    for kind in ("film", "audio", "subtitle", "cover", "data"):
        expected, there = ([each for each in streams if kind_of(each) == kind] for streams in (unsaid, after))
        if len(there) < len(expected):
            return f"{len(there)} of {len(expected)} streams are there of the kind {kind}, and nothing is said"
        for was, now in zip(expected, there, strict=False):
            if kind == "audio" and "silent" not in case.told and TOLERANCE < abs(was["seconds"] - now["seconds"]) < math.inf:
                return f"{now['seconds']:.2f} seconds of sound where there were {was['seconds']:.2f}"
    return ""


def kind_of(stream: dict[str, Any]) -> str:
    """As people would call it; empty for what some containers have elsewhere, timecodes and chapters."""
    if stream["disposition"]["attached_pic"]:
        return "cover"
    if stream["codec_type"] == "data" and stream.get("codec_tag_string") in ("tmcd", "text"):
        return ""
    return "film" if stream["codec_type"] == "video" else str(stream["codec_type"])


POOLS: list[ProcessPoolExecutor] = []


def apart(style: str, folder: Path, case: Case, number: int) -> tuple[str, list[str], float]:
    """`run` in a process that may crash without ending the soak."""
    if not POOLS:
        POOLS.append(ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare, initargs=(style, folder)))
    try:
        return POOLS[0].submit(run, case, number).result()
    except BrokenProcessPool:
        POOLS.clear()
        return "the process crashed", [], 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="those whose names hold this text")
    parser.add_argument("--keep", type=Path, help="leave the films in this folder")
    parser.add_argument("--list", action="store_true", help="name them and do nothing")
    parser.add_argument("--style", default="hosi")
    options = parser.parse_args()
    chosen = [(number, case) for number, case in enumerate(cases()) if options.only in case.name]
    if options.list:
        print(
            "\n".join(
                f"{number:03} {case.name} → {case.output}: ffmpeg {shlex.join(case.recipe)}" for number, case in chosen
            )
        )
        return
    if not shutil.which("ffmpeg") or not shutil.which("ffprobe"):
        sys.exit("ffmpeg and ffprobe are needed on the path")
    wrong = missing = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cues.srt").write_text(CUES)
        (folder / "chapters.txt").write_text(CHAPTERS)
        cover = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=32x32", "-frames:v", "1", "cover.png"]
        subprocess.run(cover, check=True, cwd=folder)
        for number, case in chosen:
            trouble, said, seconds = apart(options.style, folder, case, number)
            impossible = trouble.startswith("cannot be made")
            missing, wrong = missing + impossible, wrong + (bool(trouble) and not impossible)
            verdict = "–" if impossible else "WRONG" if trouble else "ok"
            print(
                f"{verdict:5} {number:03} {case.name} → {case.output}: {seconds:.1f} s {trouble}",
                *said,
                sep="\n      ",
                flush=True,
            )
    print(f"{len(chosen) - missing} films, {wrong} wrong; {missing} that this ffmpeg cannot make")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
