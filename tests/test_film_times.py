"""Films whose clocks, ends and frames are not what they should be: each frame comes out once, at a sound time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import CODED_LEVELS, copied
from support.clips import make_clip, packets, pictures, shown

from stylebatch import VideoOptions, VideoSource, stylize_video
from stylebatch.errors import StylebatchError
from stylebatch.video.extent import extent

PACE = Fraction(1, 25)
#: FFV1 whose frames do not hang on each other.
ALONE = {"level": "3", "g": "1"}


def joined(output: Path, *parts: Path) -> Path:
    output.write_bytes(b"".join(part.read_bytes() for part in parts))
    return output


def shifted(source: Path, output: Path, seconds: float) -> Path:
    """The same packets on a clock that begins elsewhere."""
    with av.open(str(source)) as a, av.open(str(output), "w", options={"avoid_negative_ts": "disabled"}) as b:
        streams = {stream.index: b.add_stream_from_template(stream, opaque=True) for stream in a.streams}
        for packet in a.demux():
            if packet.size:
                ticks = round(Fraction(seconds) / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = streams[packet.stream.index]
                b.mux(packet)
    return output


def distances(path: Path) -> tuple[list[Fraction], Fraction]:
    """From frame to frame, and from the first sound to the first frame."""
    times, sound = shown(path), min(time for time, *_ in packets(path, ["audio"])[1])
    return [after - before for before, after in pairwise(times)], times[0] - sound


# ---- clocks


@pytest.mark.parametrize(("suffix", "parts"), [(".ts", 3), (".vob", 3), (".mkv", 2)])
def test_joined_films_go_on(suffix: str, parts: int, tmp_path: Path) -> None:
    codec, time_base = ("mpeg2video", PACE) if suffix == ".vob" else ("libx264", Fraction(1, 12800))
    part = make_clip(tmp_path / f"a{suffix}", frames=30, codec=codec, options={}, audio=1, time_base=time_base)
    _, ahead = distances(part)
    source = joined(tmp_path / f"b{suffix}", *[part] * parts)
    warnings = copied(source, tmp_path / "c.mkv")
    places = "1 place" if parts == 2 else "2 places"
    assert sum(f"restarts or jumps in {places}, at 0:00:01." in warning for warning in warnings) == 1
    times = shown(tmp_path / "c.mkv")
    assert len(times) == 30 * parts
    begins = min(times[0], packets(tmp_path / "c.mkv", ["audio"])[1][0][0])
    assert begins == 0 or (suffix == ".mkv" and begins == shown(part)[0] - ahead)  # where the sound swings in
    found, found_ahead = distances(tmp_path / "c.mkv")
    assert all(PACE * Fraction(9, 10) < step < 3 * PACE for step in found)
    assert abs(found_ahead - ahead) <= Fraction(1, 1000)
    sounds = [time for time, *_ in packets(tmp_path / "c.mkv", ["audio"])[1]]
    count = len(sounds) // parts
    # In each part, picture and sound are as far apart as in the first.
    for index in range(1, parts):
        assert abs((times[30 * index] - times[0]) - (sounds[count * index] - sounds[0])) <= Fraction(2, 1000)


@pytest.mark.parametrize("sound", [0, 1])
def test_a_jump_ahead_is_closed_where_no_stream_fills_it(sound: int, tmp_path: Path) -> None:
    first = make_clip(tmp_path / "a.ts", frames=30, audio=sound)
    source = joined(tmp_path / "c.ts", first, shifted(first, tmp_path / "b.ts", 5000))
    assert any("restarts or jumps in 1 place" in warning for warning in copied(source, tmp_path / "d.mp4"))
    times = shown(tmp_path / "d.mp4")
    assert len(times) == 60
    assert times[-1] < 3


def test_a_still_that_sound_fills_is_no_jump(tmp_path: Path) -> None:
    times = [0, 512, 1024, 12800 * 4, 12800 * 4 + 512]
    source = make_clip(tmp_path / "a.ts", times=times, audio=1)
    assert copied(source, tmp_path / "b.mp4") == []
    found = shown(tmp_path / "b.mp4")
    assert 3.8 < found[3] - found[2] < 4


@pytest.mark.parametrize("seconds", [17_401, 95_441.5], ids=["late", "wraps"])
def test_a_clock_that_starts_anywhere_begins_at_zero(seconds: float, tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "a.ts", frames=50, audio=1)
    source = shifted(plain, tmp_path / "b.ts", seconds)
    assert copied(source, tmp_path / "c.mp4") == []
    found, ahead = distances(tmp_path / "c.mp4")
    _, expected_ahead = distances(plain)
    assert len(found) == 49
    assert max(found) < Fraction(41, 1000)
    assert abs(ahead - expected_ahead) < Fraction(1, 1000)
    assert min(ahead, 0) <= shown(tmp_path / "c.mp4")[0] <= max(ahead, 0)


@pytest.mark.parametrize("output", ["b.avi", "b.mp4", "b.mkv"])
def test_what_begins_late_begins_at_zero(output: str, tmp_path: Path) -> None:
    late = [77 + 512 * index for index in range(12)]  # 6 ms
    source = make_clip(tmp_path / "a.mkv", times=late)
    assert shown(source)[0] > 0
    copied(source, tmp_path / output)
    if output.endswith(".avi"):
        assert len(pictures(tmp_path / output)) == 12
    else:
        assert [round(time / PACE) for time in shown(tmp_path / output)] == list(range(12))
        assert shown(tmp_path / output)[0] == 0


def test_avi_takes_a_steady_picture_that_begins_between_its_beats(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", times=[200 + 512 * index for index in range(12)], audio=1)
    copied(source, tmp_path / "b.avi")
    assert len(pictures(tmp_path / "b.avi")) == 12


@pytest.mark.slow
def test_a_part_of_a_late_film(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "a.ts", frames=250, audio=1)
    source = shifted(plain, tmp_path / "b.ts", 1000)
    copied(source, tmp_path / "c.mp4", start=7, end=8)
    assert shown(tmp_path / "c.mp4") == [PACE * index for index in range(25)]
    assert VideoSource(source).clip.start < 0.2


# ---- ends


@pytest.mark.parametrize("name", ["a.mp4", "a.wmv", "a.flv", "a.mkv"])
def test_joined_films_that_cannot_be_read_on_are_named(name: str, tmp_path: Path) -> None:
    codec = {"a.wmv": "wmv2", "a.flv": "flv1"}.get(name, "libx264")
    part = make_clip(tmp_path / name, codec=codec, options={}, time_base=Fraction(1, 1000))
    source = joined(tmp_path / f"joined_{name}", part, part, part)
    assert any("another film was joined to its end" in warning for warning in VideoSource(source).warnings)
    assert VideoSource(part).warnings == []


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_sound_may_outlast_the_picture_and_the_last_picture_be_long(name: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / name, times=[0, 512, 1024, 12800 * 3], audio=1)
    still = tmp_path / f"still_{name}"
    with av.open(str(source)) as a, av.open(str(still), "w") as b:
        streams = {stream.index: b.add_stream_from_template(stream, opaque=True) for stream in a.streams}
        first = True
        for packet in a.demux():
            if packet.size and (packet.stream.type == "audio" or first):
                first = first and packet.stream.type == "audio"
                packet.stream = streams[packet.stream.index]
                b.mux(packet)
    for film, count in ((source, 4), (still, 1)):
        assert copied(film, tmp_path / "b.mkv") == []
        assert len(shown(tmp_path / "b.mkv")) == count


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi", "a.wmv", "a.mov"])
def test_cut_off_is_what_the_container_says(name: str, tmp_path: Path) -> None:
    codec = {"a.mkv": "ffv1", "a.avi": "mpeg4", "a.wmv": "wmv2"}.get(name, "libx264")
    time_base = PACE if name == "a.avi" else Fraction(1, 12800)
    source = make_clip(tmp_path / name, frames=100, codec=codec, options={}, faststart=True, time_base=time_base)
    with av.open(str(source)) as container:
        format = container.format.name
    assert not extent(source, format).is_cut_off
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    with pytest.raises(StylebatchError, match=r"the file is cut off at 0:00:0\d\.\d+; `on_corrupt` repeat takes"):
        VideoSource(cut)
    assert VideoSource(cut, VideoOptions(end=0.5)).warnings == []
    warnings = copied(cut, tmp_path / "b.mkv", on_corrupt="repeat")
    assert any("is cut off at" in warning for warning in warnings)
    assert 20 < len(shown(tmp_path / "b.mkv")) < 100


def test_recordings_without_sizes_are_whole(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=30)
    with av.open(str(source)) as a, av.open(str(tmp_path / "live.mkv"), "w", options={"live": "1"}) as b:
        stream = b.add_stream_from_template(a.streams.video[0])
        for packet in a.demux():
            if packet.size:
                packet.stream = stream
                b.mux(packet)
    assert copied(tmp_path / "live.mkv", tmp_path / "b.mp4") == []
    assert len(shown(tmp_path / "b.mp4")) == 30


# ---- frames


def broken(source: Path, output: Path, which: int, harm: Callable[[bytes], bytes]) -> Path:
    """A copy in which one packet of the picture is not what it was."""
    with av.open(str(source)) as a, av.open(str(output), "w") as b:
        stream = b.add_stream_from_template(a.streams.video[0], opaque=True)
        stream.time_base = a.streams.video[0].time_base
        for index, packet in enumerate(a.demux(a.streams.video[0])):
            if not packet.size:
                continue
            if index == which:
                other: Any = av.Packet(harm(bytes(packet)))
                other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
                other.is_keyframe, other.duration = packet.is_keyframe, packet.duration
                packet = other
            packet.stream = stream
            b.mux(packet)
    return output


@pytest.mark.parametrize("width", [64, 90, 150, 854])
def test_the_frame_before_is_repeated_as_it_is(width: int, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", size=(width, 48), codec="ffv1", options=ALONE)
    harmed = broken(source, tmp_path / "b.mkv", 5, lambda data: data[:5])
    with pytest.raises(StylebatchError, match=r"at 0:00:00\.\d+; `on_corrupt` repeat"):
        copied(harmed, tmp_path / "c.mkv")
    copied(harmed, tmp_path / "c.mkv", on_corrupt="repeat", codec="ffv1")
    assert shown(tmp_path / "c.mkv") == shown(source)
    ours, theirs = pictures(tmp_path / "c.mkv"), pictures(source)
    for index, picture in enumerate(ours):
        expected = theirs[4 if index == 5 else index]
        assert abs(picture.astype(int) - expected).mean() < CODED_LEVELS, index


@pytest.mark.slow
@pytest.mark.usefixtures("short_segments")
def test_after_damage_what_is_done_stays(checkpoint: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=20, codec="ffv1", options=ALONE)
    harmed = broken(source, tmp_path / "b.mkv", 13, lambda data: data[:5])
    strict, lenient = VideoOptions(codec="ffv1"), VideoOptions(codec="ffv1", on_corrupt="repeat")
    with pytest.raises(StylebatchError, match="`on_corrupt` repeat"):
        stylize_video(harmed, tmp_path / "c.mkv", checkpoint, options=strict, device="cpu")
    summary = stylize_video(harmed, tmp_path / "c.mkv", checkpoint, options=lenient, device="cpu")
    assert 5 <= summary.skipped <= 13
    stylize_video(harmed, tmp_path / "whole.mkv", checkpoint, options=lenient, device="cpu")
    assert np.array_equal(pictures(tmp_path / "c.mkv"), pictures(tmp_path / "whole.mkv"))
    assert stylize_video(harmed, tmp_path / "c.mkv", checkpoint, options=strict, device="cpu").unchanged


@pytest.mark.parametrize("which", [0, 24])
def test_a_group_without_its_key_frame_loses_no_time(which: int, tmp_path: Path) -> None:
    """The decoder swallows what hangs on the lost one; the film has its frames still."""
    options = {"g": "24", "preset": "veryfast", "x264-params": "scenecut=0"}
    source = make_clip(tmp_path / "a.mkv", frames=72, options=options)
    harmed = broken(source, tmp_path / "b.mkv", which, lambda _: b"\0\0\0\4\x09\xff\xff\xff")
    copied(harmed, tmp_path / "c.mkv", on_corrupt="repeat")
    assert shown(tmp_path / "c.mkv") == shown(source)


def test_in_avi_the_order_stays(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.avi", codec="ffv1", options=ALONE, time_base=PACE)
    harmed = broken(source, tmp_path / "b.avi", 5, lambda data: data[:5])
    copied(harmed, tmp_path / "c.mkv", on_corrupt="repeat", codec="ffv1")
    assert [round(time / PACE) for time in shown(tmp_path / "c.mkv")] == list(range(12))
    theirs = pictures(source)
    for index, picture in enumerate(pictures(tmp_path / "c.mkv")):
        assert abs(picture.astype(int) - theirs[4 if index == 5 else index]).mean() < CODED_LEVELS, index


def test_empty_packets_show_the_same_picture_again(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", codec="mpeg4", options={})
    harmed = broken(source, tmp_path / "b.nut", 5, lambda _: b"")
    with av.open(str(harmed)) as container:
        empty = [packet.pts for packet in container.demux() if not packet.size and packet.pts is not None]
    assert len(empty) == 1
    assert copied(harmed, tmp_path / "c.mkv") == []
    assert shown(tmp_path / "c.mkv") == shown(source)


def test_another_size_on_the_way_is_scaled_and_said_once(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{size[0]}.ts", frames=20, size=size) for size in ((64, 48), (96, 80), (32, 32))]
    warnings = copied(joined(tmp_path / "a.ts", *parts), tmp_path / "b.mp4")
    assert sum("size changes to 96×80" in warning for warning in warnings) == 1
    assert {picture.shape for picture in pictures(tmp_path / "b.mp4")} == {(48, 64, 3)}
    assert len(shown(tmp_path / "b.mp4")) == 60
