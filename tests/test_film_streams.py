"""What a container holds beside the picture: it comes along, is converted, or is named, before anything is painted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import copied
from support.clips import add_cover, make_clip, packets, shown, with_cues, with_sound

from stylebatch import VideoOptions, VideoSink, VideoSource
from stylebatch.video import streams, trial
from stylebatch.video.pyav import described, open_input
from stylebatch.video.timecode import shifted_timecode

NTSC = Fraction(30000, 1001)
CHAPTERS = [{"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "Eins"}}]


def planned(source: Path, output: Path) -> list[str]:
    """What is said before the first frame is painted, and that it is refused."""
    film = VideoSource(source, VideoOptions())
    sink = VideoSink(output, film)
    sink.release()
    return film.warnings + sink.warnings


def kinds(path: Path) -> list[str]:
    """Each stream's codec, or its tag if it has none."""
    with open_input(path) as container:
        return [each.tag if each.codec in ("none", "bin_data") else each.codec for each in described(container).values()]


def levels(path: Path) -> list[float]:
    """How loud a film's sound is, at most, in each fiftieth of a second."""
    resampler = av.AudioResampler("s16", "mono", 8_000, frame_size=160)
    with av.open(str(path)) as container:
        frames = [each for frame in container.decode(audio=0) for each in resampler.resample(frame)]
    return [float(np.abs(frame.to_ndarray().astype(float)).max() / 32768) for frame in frames]


# ---- timecodes


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_timecodes_are_kept_and_shifted(suffix: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mov", frames=50, audio=1, timecode="01:00:00:20")
    assert kinds(source) == ["h264", "aac", "tmcd"]
    assert copied(source, tmp_path / f"b{suffix}") == []
    assert copied(source, tmp_path / f"c{suffix}", start=0.4) == []
    for name, expected in (("b", "01:00:00:20"), ("c", "01:00:01:05")):
        with av.open(str(tmp_path / f"{name}{suffix}")) as container:
            tags = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        assert tags["timecode"] == expected
        assert kinds(tmp_path / f"{name}{suffix}") == ["h264", "aac"] + ["tmcd"] * (suffix != ".mkv")


def test_timecodes_that_cannot_be_kept(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mov", timecode="01:00:00:00")
    assert planned(source, tmp_path / "b.avi") == ["stream 0 (video h264) loses its timecode: avi has no place for it"]
    nonsense = make_clip(tmp_path / "b.mkv", timecode="noon")
    assert copied(nonsense, tmp_path / "c.mov") == []
    assert kinds(tmp_path / "c.mov") == ["h264"]


@pytest.mark.parametrize(
    ("text", "rate", "frames", "new_rate", "expected"),
    [
        ("01:00:00:00", Fraction(24), 12, Fraction(24), "01:00:00:12"),
        ("23:59:59:24", Fraction(25), 1, Fraction(25), "00:00:00:00"),
        ("00:00:59;29", NTSC, 1, NTSC, "00:01:00;02"),
        ("00:09:59;29", NTSC, 1, NTSC, "00:10:00;00"),
        ("23:59:59;29", NTSC, 1, NTSC, "00:00:00;00"),
        ("00:00:00;00", NTSC, 17982, NTSC, "00:10:00;00"),
        ("00:00:59.59", 2 * NTSC, 1, 2 * NTSC, "00:01:00;04"),
        ("00:00:59:29", NTSC, 1, NTSC, "00:01:00:00"),
        ("01:00:00:12", Fraction(24), 0, Fraction(12), "01:00:00:06"),
        ("00:01:00;02", NTSC, 0, Fraction(25), "00:01:00:01"),
    ],
)
def test_arithmetic_of_timecodes(text: str, rate: Fraction, frames: int, new_rate: Fraction, expected: str) -> None:
    assert shifted_timecode(text, rate, frames, new_rate) == expected


# ---- sound


@pytest.mark.parametrize(
    ("source", "codec", "layout", "rate", "output", "expected"),
    [
        ("a.wmv", "wmav2", "stereo", 44_100, "b.mp4", ("aac", "stereo", 44_100)),
        ("a.wmv", "wmav2", "mono", 44_100, "b.webm", ("opus", "mono", 48_000)),
        ("a.mkv", "ac3", "5.1(side)", 48_000, "b.webm", ("opus", "5.1", 48_000)),
        ("a.mkv", "eac3", "5.0(side)", 48_000, "b.webm", ("opus", "5.0", 48_000)),
        ("a.mkv", "pcm_u8", "mono", 22_050, "b.mp4", ("aac", "mono", 22_050)),
        ("a.avi", "pcm_u8", "stereo", 11_025, "b.mp4", ("aac", "stereo", 11_025)),
        ("a.mkv", "pcm_s16le", "7.1", 48_000, "b.mp4", ("aac", "7.1", 48_000)),
        ("a.mkv", "pcm_s16le", "hexadecagonal", 48_000, "b.mp4", ("aac", "stereo", 48_000)),
        ("a.mkv", "flac", "stereo", 192_000, "b.mov", ("aac", "stereo", 96_000)),
        ("a.flv", "nellymoser", "mono", 8_000, "b.avi", ("pcm_s16le", "1 channels", 8_000)),
    ],
)
def test_sound_that_has_to_be_converted(
    source: str, codec: str, layout: str, rate: int, output: str, expected: tuple[str, str, int], tmp_path: Path
) -> None:
    picture = make_clip(
        tmp_path / f"picture{Path(source).suffix}", frames=26, codec="mpeg4" if source != "a.flv" else "flv1"
    )
    film = with_sound(picture, tmp_path / source, codec, layout, rate)
    warnings = copied(film, tmp_path / output)
    assert warnings == planned(film, tmp_path / "c.avi") if output == "b.avi" else planned(film, tmp_path / f"c{output[1:]}")
    mixed = " and mixed down to stereo" if layout == "hexadecagonal" else ""
    assert len(warnings) == 1
    assert warnings[0].endswith(f"is converted to {expected[0].replace('opus', 'libopus')}{mixed}")
    with av.open(str(tmp_path / output)) as container:
        (sound,) = container.streams.audio
        context = sound.codec_context
        assert (context.name.removeprefix("lib"), context.layout.name, context.sample_rate) == expected
    heard = levels(tmp_path / output)
    assert 0.95 < len(heard) / 50 < 1.2
    assert max(heard) > 0.03


def test_a_damaged_packet_leaves_a_gap_and_the_rest_in_step(tmp_path: Path) -> None:
    film = with_sound(make_clip(tmp_path / "p.mp4", frames=75), tmp_path / "a.mkv", "ac3", "stereo")
    data = bytearray(film.read_bytes())
    places = [place for place in range(len(data)) if data[place : place + 2] == b"\x0b\x77"]
    for place in places[30:40]:
        data[place : place + 2] = b"\0\0"
    (tmp_path / "b.mkv").write_bytes(data)
    warnings = copied(tmp_path / "b.mkv", tmp_path / "c.webm")
    assert "stream 1 (audio ac3): 10 of its packets cannot be decoded and are left out" in warnings
    heard = levels(tmp_path / "c.webm")
    assert 2.9 < len(heard) / 50 < 3.1
    quiet = [index / 50 for index, level in enumerate(heard) if level < 0.01]
    assert 0.9 < quiet[0] < 1.1
    assert 0.25 < quiet[-1] - quiet[0] < 0.4


def test_channels_in_an_order_of_their_own_are_copied_or_left_out(tmp_path: Path) -> None:
    """PyAV must not even look at them."""
    film = with_sound(make_clip(tmp_path / "p.mov"), tmp_path / "a.mov", "pcm_s24le", "7.1")
    data = film.read_bytes()  # the layout as a bit for each channel, which becomes one of QuickTime's own
    film.write_bytes(data.replace(bytes.fromhex("000100000000063f"), bytes.fromhex("0080000800000000")))
    with open_input(film) as container:
        assert described(container)[1].order_of_its_own
    assert copied(film, tmp_path / "b.mov") == []
    assert copied(film, tmp_path / "b.webm") == ["stream 1 (audio pcm_s24le) is left out: webm holds no such streams"]


# ---- subtitles


def lines(path: Path) -> list[tuple[float, str]]:
    """When each subtitle of a film comes up, and its text."""
    (found,) = packets(path, ["subtitle"]).values()
    texts = [(float(time), data[2:] if path.suffix in (".mp4", ".mov") else data) for time, _, data in found]
    return [(time, text.decode().strip()) for time, text in texts if text]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["a.mkv", "a.mp4", "a.webm"])
@pytest.mark.parametrize("output", ["b.mp4", "b.mov", "b.mkv", "b.webm"])
def test_subtitles_that_overlap_come_at_their_times(source: str, output: str, tmp_path: Path) -> None:
    kind = {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}} if source == "a.webm" else {}
    picture = make_clip(tmp_path / ("p.webm" if kind else "p.mp4"), frames=100, **kind)
    cues = [(index * 100, 140 if index % 3 else 60, f"line {index}".encode()) for index in range(38)]
    film = with_cues(picture, tmp_path / source, cues)
    copied(film, tmp_path / output)
    found = lines(tmp_path / output)
    assert [text for _, text in found] == [text.decode() for *_, text in cues]
    assert max(abs(time - start / 1000) for (time, _), (start, *_) in zip(found, cues, strict=True)) <= 0.001


@pytest.mark.parametrize(("source", "output"), [("a.mkv", "b.mp4"), ("a.mp4", "b.mkv"), ("a.mkv", "b.webm")])
def test_subtitles_that_are_not_utf_8(source: str, output: str, tmp_path: Path) -> None:
    cues = [(0, 50, "früh".encode("latin-1")), (100, 50, "später".encode()), (200, 50, "teuer: 5 €".encode("cp1252"))]
    film = with_cues(make_clip(tmp_path / "p.mp4"), tmp_path / source, cues)
    warnings = copied(film, tmp_path / output)
    assert [text for _, text in lines(tmp_path / output)] == ["früh", "später", "teuer: 5 €"]
    assert warnings[1].endswith(": 2 of its texts are not UTF-8, and read as Windows-1252")


# ---- streams of other kinds


def telemetry(tmp_path: Path, tag: bytes, chapters: Any = None) -> Path:
    """A film with a track that cameras write beside it."""
    data = make_clip(tmp_path / "a.mov", audio=1, timecode="01:00:00:00", chapters=chapters).read_bytes()
    data = data.replace(b"mhlrtmcd", b"mhlrmeta").replace(b"tmcd" + bytes(7) + b"\1", tag + bytes(7) + b"\1")
    (tmp_path / "t.mov").write_bytes(data)
    return tmp_path / "t.mov"


@pytest.mark.parametrize("chapters", [None, CHAPTERS])
def test_telemetry_is_copied_or_named(chapters: Any, tmp_path: Path) -> None:
    source = telemetry(tmp_path, b"gpmd", chapters)
    index = 3 if chapters else 2
    assert kinds(source)[index] == "gpmd"
    assert copied(source, tmp_path / "b.mov") == []
    assert "gpmd" in kinds(tmp_path / "b.mov")
    left_out = f"stream {index} (data gpmd, eng) is left out: matroska holds no such streams"
    assert planned(source, tmp_path / "b.mkv") == [left_out]


def test_what_would_be_written_without_its_description_is_named(tmp_path: Path) -> None:
    source = telemetry(tmp_path, b"mebx")
    assert copied(source, tmp_path / "b.mov") == ["stream 2 (data mebx, eng) is left out: mov holds no such streams"]
    assert kinds(tmp_path / "b.mov") == ["h264", "aac"]


def test_streams_that_ffmpeg_does_not_know(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.mov", audio=1).read_bytes()
    source = tmp_path / "b.mov"
    source.write_bytes(data.replace(b"mp4a" + bytes(7) + b"\1", b"apac" + bytes(7) + b"\1").replace(b"esds", b"dapa"))
    assert kinds(source) in (["h264", "apac"], ["h264", "apple_apac"])  # by tag, or by a name without a decoder
    for output in ("c.mov", "c.mkv", "c.gif"):
        (warning,) = (each for each in copied(source, tmp_path / output) if "stream 1" in each)
        assert re.match(r"stream 1 \(audio (apple_)?apac\) is left out: ", warning)
        assert len(shown(tmp_path / output)) == 12


def checked(section: bytes) -> bytes:
    """A table of a transport stream with its sum."""
    total = 0xFFFFFFFF
    for byte in section:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ 0x04C11DB7 if total & 0x80000000 else total << 1) & 0xFFFFFFFF
    return section + total.to_bytes(4, "big")


def with_teletext(source: Path, output: Path) -> Path:
    """Announce teletext, of PID 0x1FE, in each of a transport stream's tables; nothing is ever sent of it."""
    data = bytearray(source.read_bytes())
    teletext = bytes.fromhex("06e1fef0075605656e670900")
    for place in range(0, len(data), 188):
        if data[place + 1] & 0x5F == 0x50 and data[place + 2] == 0:  # begins a table, PID 0x1000
            table = place + 5
            length = int.from_bytes(data[table + 1 : table + 3], "big") & 0xFFF
            body = data[table + 3 : table + 3 + length - 4] + teletext
            section = checked(bytes([2]) + (0xB000 | len(body) + 4).to_bytes(2, "big") + bytes(body))
            data[table : table + len(section)] = section
    output.write_bytes(data)
    return output


@pytest.mark.parametrize("output", ["c.mkv", "c.mp4"])
def test_streams_without_a_decoder_are_named(output: str, tmp_path: Path) -> None:
    source = with_teletext(make_clip(tmp_path / "a.ts", audio=1), tmp_path / "b.ts")
    assert kinds(source) == ["h264", "aac", "dvb_teletext"]
    warnings = copied(source, tmp_path / output)
    assert warnings == ["stream 2 (subtitle dvb_teletext, eng) is left out: FFmpeg does not know how to read it"]
    assert kinds(tmp_path / output) == ["h264", "aac"]


def late_sound(tmp_path: Path) -> Path:
    """Sound that lies between what FFmpeg looks at, the beginning and the end."""
    picture = make_clip(tmp_path / "a.vob", frames=300, codec="mpeg2video", time_base=Fraction(1, 25), options={})
    data = with_sound(picture, tmp_path / "b.vob", "ac3", "mono", begins=9, seconds=0.5).read_bytes()
    pack, sound = b"\0\0\1\xba", b"\0\0\1\xbd"
    last = data.index(pack, data.rindex(sound))
    padding = b"\0\0\1\xbe" + (65_000).to_bytes(2, "big") + b"\xff" * 65_000
    (tmp_path / "c.vob").write_bytes(data[:last] + padding * 10 + data[last:])
    return tmp_path / "c.vob"


@pytest.mark.slow
def test_sound_that_comes_up_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = late_sound(tmp_path)
    with av.open(str(source)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    assert copied(source, tmp_path / "c.mp4") == []
    (first, *_), *_ = packets(tmp_path / "c.mp4", ["audio"])[1]
    assert 8.4 < first < 8.5  # the picture of a VOB begins at 0.54
    monkeypatch.setattr("stylebatch.video.times._LARGEST_PROBE", 1 << 12)
    assert copied(source, tmp_path / "d.mp4") == ["stream 1 (audio ac3) is left out: it begins too late in the file"]
    assert kinds(tmp_path / "d.mp4") == ["h264"]


def insert(data: bytes, path: Sequence[bytes], box: bytes) -> bytes:
    """A box of MP4 or MOV as the last one of that which a path leads to. What follows must not be referred to by place."""
    end, sizes = len(data), []
    start = 0
    for kind in path:
        start = data.index(kind, start, end) - 4
        sizes.append(start)
        end = start + int.from_bytes(data[start : start + 4], "big")
        start += 8
    grown = bytearray(data[:end] + box + data[end:])
    for place in sizes:
        grown[place : place + 4] = (int.from_bytes(grown[place : place + 4], "big") + len(box)).to_bytes(4, "big")
    return bytes(grown)


def test_marks_beside_the_pixels_are_named(tmp_path: Path) -> None:
    tags = ["Spherical>true", "Stitched>true", "StitchingSoftware>x", "ProjectionType>equirectangular"]
    content = bytes.fromhex("ffcc8263f8554a938814587a02521fdd") + "".join(f"<GSpherical:{tag}" for tag in tags).encode()
    box = (8 + len(content)).to_bytes(4, "big") + b"uuid" + content
    source = tmp_path / "a.mp4"
    source.write_bytes(insert(make_clip(source).read_bytes(), [b"moov", b"trak"], box))
    for output in ("b.mp4", "b.mkv"):
        said = planned(source, tmp_path / output)
        assert said == ["left out, for it lies beside the pixels: the mark of a 360° film"]


def test_captions_in_pictures_are_named(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.m2v", codec="mpeg2video", time_base=Fraction(1, 25), options={})
    captions = b"\0\0\1\xb2GA94" + bytes.fromhex("03c1fffc942cff")
    source.write_bytes(source.read_bytes().replace(b"\0\0\1\1", captions + b"\0\0\1\1"))
    said = planned(source, tmp_path / "b.mp4")
    assert said == ["left out, for it lies beside the pixels: closed captions (CEA-608, CEA-708)"]


def test_where_a_phone_has_its_metadata(tmp_path: Path) -> None:
    tags = {"title": "Probe", "com.apple.quicktime.make": "Maker", "com.apple.quicktime.location.ISO6709": "+47.1+008.5/"}
    with (
        av.open(str(make_clip(tmp_path / "a.mp4"))) as a,
        av.open(str(tmp_path / "b.mov"), "w", options={"movflags": "use_metadata_tags"}) as b,
    ):
        b.metadata.update(tags)
        stream = b.add_stream_from_template(a.streams.video[0], opaque=True)
        for packet in a.demux(video=0):
            if packet.size:
                packet.stream = stream
                b.mux(packet)
    for name, lost in (("c.mov", []), ("c.mkv", []), ("c.mp4", [f"metadata is left out: {', '.join(sorted(tags)[:2])}"])):
        assert copied(tmp_path / "b.mov", tmp_path / name) == lost
        with av.open(str(tmp_path / name)) as container:
            found = {key.lower(): value for key, value in container.metadata.items()}
        assert {key: value for key, value in tags.items() if key.lower() in found and found[key.lower()] == value} == (
            {"title": "Probe"} if lost else tags
        )


def test_what_streams_are_called(tmp_path: Path) -> None:
    source = with_sound(make_clip(tmp_path / "p.mp4"), tmp_path / "a.mkv", "ac3", "stereo", title="Director", take="7")
    assert copied(source, tmp_path / "b.mkv") == []
    assert copied(source, tmp_path / "c.mp4") == ["metadata of stream 1 is left out: TAKE"]
    assert copied(tmp_path / "c.mp4", tmp_path / "d.mkv") == []
    for name in ("b.mkv", "d.mkv"):
        with av.open(str(tmp_path / name)) as container:
            assert container.streams[1].metadata["title"] == "Director"


def test_tracks_that_are_empty_in_a_part(tmp_path: Path) -> None:
    """Also if they come before the picture, whose place in the file then is another one."""
    film = with_cues(make_clip(tmp_path / "p.mp4", frames=50), tmp_path / "a.mkv", [(100, 50, b"line")], first=True)
    assert kinds(film) == ["subrip", "h264"]
    assert copied(film, tmp_path / "b.mp4", start=1) == ["stream 0 (subtitle srt) is converted to mov_text"]
    assert kinds(tmp_path / "b.mp4") == ["mov_text", "h264"]
    film = with_sound(make_clip(tmp_path / "q.mp4", frames=50), tmp_path / "c.mp4", "aac", "mono", seconds=0.4, first=True)
    assert copied(film, tmp_path / "d.mp4", start=1) == [
        "stream 0 (audio aac, und): the track is left out: there is nothing in it"
    ]
    assert kinds(tmp_path / "d.mp4") == ["h264"]
    assert len(shown(tmp_path / "b.mp4")) == len(shown(tmp_path / "d.mp4")) == 25


def test_a_cover_that_has_no_place_is_named(tmp_path: Path) -> None:
    source = add_cover(make_clip(tmp_path / "a.mp4"), make_clip(tmp_path / "b.mp4"), tmp_path / "c.mp4")
    assert copied(source, tmp_path / "d.mov") == ["stream 2 (video png) is left out: mov holds no such streams"]
    assert kinds(tmp_path / "d.mov") == ["h264", "h264"]


# ---- packets that are refused


def test_packets_that_are_refused_cost_no_film(tmp_path: Path) -> None:
    """MP4 reads the headers of E-AC-3, when it has others waiting."""
    film = with_sound(make_clip(tmp_path / "p.mp4", frames=75), tmp_path / "a.mkv", "eac3", "stereo")
    whole = [data for *_, data in packets(film, ["audio"])[1]]
    damaged = tmp_path / "b.mkv"
    damaged.write_bytes(film.read_bytes().replace(whole[50], bytes(len(whole[50]))))
    warnings = copied(damaged, tmp_path / "c.mp4")
    assert warnings == ["stream 1 (audio eac3): 1 of its packets are refused by mp4 and left out"]
    assert [data for *_, data in packets(tmp_path / "c.mp4", ["audio"])[1]] == whole[:50] + whole[51:]
    assert len(shown(tmp_path / "c.mp4")) == 75


def test_sound_that_is_converted_may_begin_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = with_sound(make_clip(tmp_path / "p.mp4", frames=100), tmp_path / "a.mkv", "ac3", "5.1(side)", begins=3)
    monkeypatch.setattr(streams, "_LOOKED_AT", 20)
    assert copied(film, tmp_path / "b.webm") == ["stream 1 (audio ac3) is converted to libopus"]
    assert max(levels(tmp_path / "b.webm")) > 0.03


@pytest.mark.parametrize(("limit", "value"), [("_LOOKED_AT", 20), ("_BYTES_LOOKED_AT", 4000)])
def test_a_film_is_not_read_to_its_end_for_a_few_subtitles(
    limit: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = with_cues(make_clip(tmp_path / "p.mp4", frames=100), tmp_path / "a.mkv", [(0, 90, b"one"), (3900, 90, b"two")])
    monkeypatch.setattr(streams, limit, value)
    read: list[int] = []
    with av.open(str(film)) as container:
        packets = (read.append(packet.size) or packet for packet in container.demux())
        found = streams.first_packets(packets, container.streams.subtitles)
    assert [len(each) for each in found.values()] == [1]
    assert len(read) < 50
    copied(film, tmp_path / "b.mp4")
    assert [text for _, text in lines(tmp_path / "b.mp4")] == ["one", "two"]


def test_a_container_that_refuses_everything_is_named_before_painting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=1)

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("no such thing")

    monkeypatch.setattr(trial, "copy_of", refuse)
    assert planned(source, tmp_path / "b.mp4") == ["stream 1 (audio aac, deu) is converted to aac"]
