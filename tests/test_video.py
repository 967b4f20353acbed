from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import CODED_LEVELS, DEEP_LEVELS, LEVELS, copied
from PIL import Image
from support.clips import (
    LOSSLESS,
    add_cover,
    make_clip,
    packets,
    pictures,
    ramp_and_bars,
    shown,
    to_rgb,
)

import stylebatch.cli
from stylebatch import VideoOptions, VideoSink, VideoSource, VideoSummary, stylize_video
from stylebatch.errors import OutputError, StylebatchError
from stylebatch.jobs import video as job
from stylebatch.video import encoding, options
from stylebatch.video.work import Work

UNEVEN = [0, 512, 1536, 1600, 3072, 3584, 6000, 6100, 6200, 9000, 9512, 10240]
LATE = [1000 + 512 * index for index in range(12)]


def styled(source: Path, output: Path | None, checkpoint: Path, **options: Any) -> VideoSummary:
    others = {name: options.pop(name) for name in ("overwrite", "progress", "stop") if name in options}
    return stylize_video(
        source, output, checkpoint, device="cpu", backend="torch", options=VideoOptions(**options), **others
    )


def invoke(*args: object) -> Result:
    return CliRunner().invoke(stylebatch.cli.main, ["video", *map(str, args)])


# ---- picture


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"])
@pytest.mark.parametrize(("matrix", "full"), [(6, False), (1, False), (9, False), (1, True), (6, True)])
def test_colours_come_back(pix_fmt: str, matrix: int, full: bool, tmp_path: Path) -> None:
    rgb, mask = ramp_and_bars()
    tags = (matrix, 2 if full else 1, matrix, {6: 6, 1: 1, 9: 14}[matrix])
    codec, options = ("ffv1", {"level": "3"}) if "12" in pix_fmt else ("libx264", LOSSLESS)
    source = make_clip(
        tmp_path / "a.mkv", frames=1, size=(128, 64), codec=codec, options=options, pix_fmt=pix_fmt, matrix=matrix,
        full=full, tags=tags, picture=rgb,
    )  # fmt: skip
    copied(source, tmp_path / "b.mkv", codec="ffv1")
    with av.open(str(tmp_path / "b.mkv")) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == pix_fmt
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == tags
    error = np.abs(to_rgb(frame, matrix, full) - rgb)[mask].max() * 255
    assert error <= (DEEP_LEVELS if "1" in pix_fmt.removeprefix("yuv") else LEVELS)


@pytest.mark.parametrize(("size", "matrix"), [((64, 48), 6), ((64, 576), 5), ((1280, 64), 1)])
def test_untagged_films_are_read_by_convention_and_written_tagged(
    size: tuple[int, int], matrix: int, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=1, size=size, matrix=matrix, options=LOSSLESS)
    copied(source, tmp_path / "b.mp4", crf=1)
    with av.open(str(tmp_path / "b.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (matrix, 1)
    with av.open(str(source)) as container:
        before = next(container.decode(video=0))
    assert np.abs(to_rgb(before, matrix, False) - to_rgb(frame, matrix, False)).mean() * 255 < CODED_LEVELS


@pytest.mark.parametrize("codec", ["h264", "h265", "vp9", "av1", "prores"])
def test_every_codec_keeps_colours_and_tags(codec: str, tmp_path: Path) -> None:
    rgb, mask = ramp_and_bars()
    source = make_clip(
        tmp_path / "a.mkv", frames=2, size=(128, 64), options=LOSSLESS, pix_fmt="yuv422p10le", matrix=1, tags=(1, 1, 1, 1),
        picture=rgb,
    )  # fmt: skip
    output = tmp_path / ("b.mov" if codec == "prores" else "b.mkv")
    copied(source, output, codec=codec, crf=None if codec == "prores" else 1)
    with av.open(str(output)) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
    assert np.abs(to_rgb(frame, 1, False) - rgb)[mask].mean() * 255 < CODED_LEVELS
    assert frame.format.name == {"vp9": "yuv422p", "av1": "yuv420p10le"}.get(codec, "yuv422p10le")


@pytest.mark.slow
def test_a_film_of_one_frame_whatever_memory_holds(tmp_path: Path) -> None:
    """x265 takes the decoding time of a film this short from memory that it has not set."""
    make_clip(tmp_path / "a.mkv", frames=1)
    code = "from pathlib import Path; from conftest import copied; copied(Path('a.mkv'), Path('b.mkv'), codec='h265')"
    environment = {**os.environ, "MALLOC_PERTURB_": "1", "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert len(pictures(tmp_path / "b.mkv")) == 1


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_tone_mapped_and_said(transfer: int, name: str, tmp_path: Path) -> None:
    rgb, _ = ramp_and_bars()
    source = make_clip(
        tmp_path / "a.mkv", frames=1, size=(128, 64), options=LOSSLESS, pix_fmt="yuv420p10le", matrix=9,
        tags=(9, 1, 9, transfer), picture=rgb,
    )  # fmt: skip
    warnings = copied(source, tmp_path / "b.mp4", crf=1)
    assert any(name in warning and "tone-mapped" in warning for warning in warnings)
    with av.open(str(tmp_path / "b.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
    ramp = pictures(tmp_path / "b.mp4")[0][10, :, 1].astype(int)
    assert ramp[0] < 8
    assert ramp[-1] > 247
    assert (np.diff(ramp) >= -2).all()
    assert len(set(ramp[(ramp > 225) & (ramp < 250)])) > 4  # highlights are compressed, not cut


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotated_films_come_out_upright(degrees: int, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2, rotation=degrees, aspect=Fraction(4, 3))
    copied(source, tmp_path / "b.mp4", crf=1)
    with av.open(str(tmp_path / "b.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == (Fraction(3, 4) if degrees % 180 else Fraction(4, 3))
        assert next(container.decode(stream)).rotation == 0
    upright = np.rot90(pictures(source)[1], degrees // 90)
    result = pictures(tmp_path / "b.mp4")[1]
    assert result.shape == upright.shape
    assert np.abs(upright.astype(int) - result).mean() < CODED_LEVELS


@pytest.mark.parametrize(
    ("codec", "output", "expected"),
    [("h264", "b.mp4", (64, 48)), ("vp9", "b.webm", (63, 47)), ("ffv1", "b.mkv", (63, 47)), ("prores", "b.mov", (63, 47)),
     ("gif", "b.gif", (63, 47))],
)  # fmt: skip
def test_odd_sizes_are_kept_where_the_codec_can(codec: str, output: str, expected: tuple[int, int], tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=2, size=(63, 47), codec="ffv1", options={"level": "3"})
    warnings = copied(source, tmp_path / output, codec=codec)
    height, width, _ = pictures(tmp_path / output)[0].shape
    assert (width, height) == expected
    assert any("padded" in warning for warning in warnings) == (codec == "h264")


def test_interlaced_films_are_deinterlaced(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", interlaced=True, options={"crf": "5", "x264-params": "interlaced=1"})
    with av.open(str(source)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    copied(source, tmp_path / "b.mkv", crf=1)
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert not any(frame.interlaced_frame for frame in container.decode(video=0))
    assert shown(tmp_path / "b.mkv") == shown(source)


@pytest.mark.slow
def test_side_by_side_size_and_pixel_format(checkpoint: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=2)
    styled(source, tmp_path / "both.mp4", checkpoint, side_by_side=True, size=32, crf=1)
    both, before = pictures(tmp_path / "both.mp4")[1], pictures(source)[1]
    assert both.shape == (48, 128, 3)
    assert np.abs(both[:, :64].astype(int) - before).mean() < CODED_LEVELS
    assert np.abs(both[:, 64:].astype(int) - before).mean() > 5 * CODED_LEVELS
    styled(source, tmp_path / "small.mp4", checkpoint, size=32, keep_work_size=True, pix_fmt="yuv444p")
    with av.open(str(tmp_path / "small.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height, frame.format.name) == (32, 24, "yuv444p")


# ---- time


@pytest.mark.parametrize("output", ["b.mp4", "b.mov", "b.mkv", "b.webm"])
@pytest.mark.parametrize("times", [None, UNEVEN, LATE], ids=["even", "uneven", "late"])
@pytest.mark.parametrize("container", ["a.mp4", "a.mkv"])
@pytest.mark.usefixtures("short_segments")
def test_frames_keep_their_times(container: str, times: list[int] | None, output: str, tmp_path: Path) -> None:
    """B-frames on both sides, several segments, and sound that begins before zero."""
    source = make_clip(tmp_path / container, times=times, audio=1)
    copied(source, tmp_path / output)
    before, after = shown(source), shown(tmp_path / output)
    assert len(before) == len(after) == 12
    tick = Fraction(1, 1000) if output.endswith(("mkv", "webm")) else Fraction(1, 12800)
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= tick
    for ours, theirs in zip(pictures(source), pictures(tmp_path / output), strict=True):
        assert np.abs(ours.astype(int) - theirs).mean() < 2 * CODED_LEVELS


def test_containers_without_times_of_their_own(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.avi", time_base=Fraction(1, 25), codec="mpeg4", audio=1)
    copied(source, tmp_path / "b.mp4")
    assert shown(tmp_path / "b.mp4") == shown(source)
    copied(source, tmp_path / "c.avi")
    assert len(pictures(tmp_path / "c.avi")) == 12
    uneven = VideoSource(make_clip(tmp_path / "d.mp4", times=UNEVEN))
    with pytest.raises(StylebatchError, match="AVI holds one frame rate"):
        VideoSink(tmp_path / "d.avi", uneven)  # before any frame has come
    assert not (tmp_path / "d.avi").exists()


def test_animations(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.gif", codec="gif", pix_fmt="rgb8", rate=10, time_base=Fraction(1, 100), options={})
    for name in ("b.gif", "b.mp4", "b.webm"):
        copied(source, tmp_path / name)
        assert shown(tmp_path / name) == shown(source)
    with av.open(str(source)) as a, av.open(str(tmp_path / "b.gif")) as b:
        assert [packet.duration for packet in a.demux() if packet.size] == [p.duration for p in b.demux() if p.size]
    uneven = make_clip(tmp_path / "c.mkv", times=UNEVEN)
    copied(uneven, tmp_path / "c.gif")
    assert len(shown(tmp_path / "c.gif")) == 12


@pytest.mark.slow
def test_a_part_at_another_rate(checkpoint: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=50, audio=1, subtitles=1)
    summary = styled(source, tmp_path / "b.mp4", checkpoint, start=0.5, end=1.5)
    assert (summary.done, summary.total) == (25, 25)
    assert shown(tmp_path / "b.mp4") == [Fraction(index, 25) for index in range(25)]
    found = packets(tmp_path / "b.mp4")
    assert 0.9 < float(found[1][-1][0]) < 1.0
    assert found[2][0][0] == 0
    styled(source, tmp_path / "c.mp4", checkpoint, preview=0.4)
    assert len(shown(tmp_path / "c.mp4")) == 10
    styled(source, tmp_path / "d.mp4", checkpoint, fps=Fraction(10))
    assert shown(tmp_path / "d.mp4") == [Fraction(index, 10) for index in range(20)]
    with pytest.raises(StylebatchError, match=r"no frames from 0:00:09\.000 on; it has 2\.000 seconds"):
        styled(source, tmp_path / "e.mp4", checkpoint, start=9)


# ---- everything else


def test_everything_else_is_copied(tmp_path: Path) -> None:
    chapters = [
        {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "Eins"}},
        {"id": 2, "start": 200, "end": 480, "time_base": Fraction(1, 1000), "metadata": {"title": "Zwei"}},
    ]
    source = make_clip(
        tmp_path / "a.mp4", audio=2, subtitles=2, chapters=chapters, metadata={"title": "Probe", "artist": "Niemand"},
        aspect=Fraction(4, 3),
    )  # fmt: skip
    assert copied(source, tmp_path / "b.mp4") == []
    ours, theirs = packets(tmp_path / "b.mp4", ["audio"]), packets(source, ["audio"])
    assert ours == theirs
    for index, found in packets(tmp_path / "b.mp4", ["subtitle"]).items():  # in ticks of their own
        texts = packets(source, ["subtitle"])[index]
        assert [each[::2] for each in found if each[2] != b"\0\0"] == [each[::2] for each in texts if each[2] != b"\0\0"]
    with av.open(str(source)) as a, av.open(str(tmp_path / "b.mp4")) as b:
        assert [(s.type, s.language, s.disposition) for s in a.streams if s.type != "data"] == [
            (s.type, s.language, s.disposition) for s in b.streams if s.type != "data"
        ]
        assert (b.metadata["title"], b.metadata["artist"]) == ("Probe", "Niemand")
        assert [chapter["metadata"]["title"] for chapter in b.chapters()] == ["Eins", "Zwei"]
        assert b.streams.video[0].display_aspect_ratio == a.streams.video[0].display_aspect_ratio == Fraction(16, 9)


@pytest.mark.parametrize(("output", "sound", "text"), [("b.mkv", "aac", "subrip"), ("b.webm", "opus", "webvtt")])
def test_what_the_container_refuses_is_converted_and_said(output: str, sound: str, text: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=2, subtitles=2)
    warnings = copied(source, tmp_path / output)
    assert sum("converted to " + text in warning for warning in warnings) == 2
    assert sum("converted to libopus" in warning for warning in warnings) == (2 if sound == "opus" else 0)
    with av.open(str(tmp_path / output)) as container:
        assert [s.codec_context.name.removeprefix("lib") for s in container.streams.audio] == [sound] * 2
        assert [s.language for s in container.streams.subtitles] == ["deu", "eng"]
    lines = [data for _, _, data in packets(tmp_path / output, ("subtitle",))[3] if data.strip()]
    assert [line.decode().strip() for line in lines] == ["deu 0", "deu 1"]
    again = tmp_path / "c.mp4"
    assert any("converted to mov_text" in warning for warning in copied(tmp_path / output, again))
    assert [data[2:].decode() for _, _, data in packets(again, ("subtitle",))[3] if len(data) > 2] == ["deu 0", "deu 1"]


def test_what_cannot_come_along_is_named(tmp_path: Path) -> None:
    chapters = [{"id": 1, "start": 0, "end": 480, "time_base": Fraction(1, 1000), "metadata": {"title": "Eins"}}]
    source = make_clip(tmp_path / "a.mp4", audio=1, subtitles=1, chapters=chapters, metadata={"title": "Probe"})
    warnings = copied(source, tmp_path / "b.avi")
    assert "stream 2 (subtitle mov_text, deu) is left out: avi holds no such streams" in warnings
    assert "chapters are left out: avi takes none" in warnings
    warnings = copied(source, tmp_path / "b.gif")
    assert "stream 1 (audio aac, deu) is left out: gif holds no such streams" in warnings
    assert "metadata is left out: title" in warnings


def test_tags_that_are_not_utf_8_come_through_as_far_as_they_are_text(tmp_path: Path) -> None:
    chapters = [{"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "cafX one"}}]
    source = make_clip(tmp_path / "a.mkv", audio=1, metadata={"title": "cafX film"}, chapters=chapters)
    source.write_bytes(source.read_bytes().replace(b"cafX", "caf\xe9".encode("latin-1")))
    copied(source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert container.metadata["title"] == "caf\ufffd film"
        assert container.chapters()[0]["metadata"]["title"] == "caf\ufffd one"


def test_the_codecs_that_can_be_asked_for_are_those_that_are_written() -> None:
    assert set(options.CODECS) == set(encoding.CODECS) - {"gif"}


def test_languages_in_quicktime(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio=2)
    copied(source, tmp_path / "b.mov")
    with av.open(str(tmp_path / "b.mov")) as container:
        assert [stream.language for stream in container.streams.audio] == ["ger", "eng"]


@pytest.mark.parametrize("output", ["b.mp4", "b.mkv"])
def test_cover_art_and_further_films_stay(output: str, tmp_path: Path) -> None:
    source = add_cover(make_clip(tmp_path / "a.mp4"), make_clip(tmp_path / "other.mp4", size=(32, 32)), tmp_path / "c.mp4")
    copied(source, tmp_path / output)
    with av.open(str(tmp_path / output)) as container:
        covers = [s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic]
        assert len(covers) == 1
        sizes = [(s.width, s.height) for s in container.streams.video if s not in covers]
        assert sizes == [(64, 48), (32, 32)]
    assert packets(tmp_path / output)[1] == packets(source)[1] or output.endswith("mkv")


# ---- stopping and going on


@pytest.mark.slow
@pytest.mark.usefixtures("short_segments")
def test_stopped_and_continued_is_uninterrupted(checkpoint: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=23, audio=1)
    styled(source, tmp_path / "whole.mp4", checkpoint)
    seen: list[int] = []
    parts = tmp_path / "parts.mp4"
    stopped = styled(
        source, parts, checkpoint, progress=lambda summary: seen.append(summary.finished), stop=lambda: seen[-1] >= 13
    )
    assert stopped.interrupted
    assert 13 <= stopped.done < 23
    assert not parts.exists()
    rest = styled(source, parts, checkpoint)
    assert (rest.skipped, rest.done) == (stopped.done, 23 - stopped.done)
    assert parts.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert styled(source, parts, checkpoint).unchanged
    assert sorted(path.name for path in tmp_path.iterdir()) == [".stylebatch.jsonl", "a.mp4", "parts.mp4", "whole.mp4"]


@pytest.mark.parametrize("output", ["b.mp4", "b.mov", "b.gif"])
@pytest.mark.parametrize("harm", [0, 5])
def test_frames_of_the_open_segment_are_kept_as_far_as_they_are_whole(output: str, harm: int, tmp_path: Path) -> None:
    film = VideoSource(make_clip(tmp_path / "a.mp4", frames=12), VideoOptions())
    copied(film.path, tmp_path / f"whole_{output}")
    frames = list(film)
    for count in (4, 9):
        sink = VideoSink(tmp_path / output, film, {})
        for frame in frames[sink.next : count]:
            sink.add(frame.info, frame.pixels, frame.pixels)
        sink.close()
        sink.release()
    (kept,) = tmp_path.glob(".stylebatch-*/*.frames")
    os.truncate(kept, kept.stat().st_size - harm)
    sink = VideoSink(tmp_path / output, film, {})
    assert sink.done == (8 if harm else 9)
    sink.release()
    copied(film.path, tmp_path / output, {})
    assert (tmp_path / output).read_bytes() == (tmp_path / f"whole_{output}").read_bytes()
    assert not list(tmp_path.glob(".stylebatch-*"))


@pytest.mark.slow
@pytest.mark.usefixtures("short_segments")
def test_what_changes_frames_starts_anew(checkpoint: Path, tmp_path: Path) -> None:
    source, output = make_clip(tmp_path / "a.mp4", frames=12), tmp_path / "b.mp4"
    count: list[int] = []

    def stop() -> bool:
        count.append(0)
        return len(count) >= 8

    assert styled(source, output, checkpoint, stop=stop).done >= 8
    assert styled(source, output, checkpoint, crf=30).skipped == 0
    before = output.read_bytes()
    with pytest.raises(
        StylebatchError, match=r"b\.mp4: is there, and the result of a\.mp4 with other options, .*; `overwrite`"
    ):
        styled(source, output, checkpoint)
    assert output.read_bytes() == before
    assert styled(source, output, checkpoint, overwrite=True, stop=stop).done == 1
    assert output.read_bytes() == before
    assert styled(source, output, checkpoint, overwrite=True).skipped == 1  # the same command goes on
    assert styled(source, output, checkpoint, overwrite=True).unchanged
    assert styled(source, output, checkpoint, max_megapixels=1).unchanged  # a limit changes no result
    status = source.stat()
    make_clip(source, frames=12, rate=50)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert styled(source, output, checkpoint).done == 12


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(checkpoint: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=520, size=(16, 16), audio=1)
    styled(source, tmp_path / "whole.mp4", checkpoint)
    output, rng = tmp_path / "b.mp4", random.Random(0)
    for _ in range(2):
        before = journals(tmp_path)
        process = subprocess.Popen(command(source, output, checkpoint), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(lambda before=before: journals(tmp_path) > before, process)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.wait()
        assert not output.exists() or process.returncode == 0
    summary = styled(source, output, checkpoint)
    assert summary.skipped or summary.unchanged
    assert output.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.slow
def test_a_signal_drains_and_says_so(checkpoint: Path, tmp_path: Path) -> None:
    source, output = make_clip(tmp_path / "a.mp4", frames=1500, size=(16, 16)), tmp_path / "b.mp4"
    process = subprocess.Popen(
        command(source, output, checkpoint), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: journals(tmp_path) > 1, process)
    os.killpg(process.pid, signal.SIGTERM)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "of about 1500 frames are kept; the same command goes on" in stdout
    assert not output.exists()


def command(source: Path, output: Path, checkpoint: Path) -> list[str]:
    program = "from stylebatch.cli import main; main()"
    options = ["--style", str(checkpoint), "--device", "cpu", "--backend", "torch"]
    return [sys.executable, "-c", program, "video", str(source), str(output), *options]


def journals(folder: Path) -> int:
    """Lines of the journals of unfinished films."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob(".stylebatch-*/journal.jsonl"))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


# ---- bad input


def corrupted(source: Path, output: Path, first: float, last: float) -> Path:
    """A film with noise in place of a part of its bytes."""
    data = bytearray(source.read_bytes())
    for index in range(int(len(data) * first), int(len(data) * last)):
        data[index] ^= 0x5A
    output.write_bytes(data)
    return output


def test_damage_fails_with_its_time_or_is_bridged(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", frames=60, codec="ffv1", options={"level": "3", "slicecrc": "1"})
    broken = corrupted(source, tmp_path / "broken.mkv", 0.5, 0.505)
    with pytest.raises(StylebatchError, match=r"broken\.mkv: .* at 0:00:0[01]\.\d+; `on_corrupt` repeat"):
        copied(broken, tmp_path / "b.mkv")
    assert not (tmp_path / "b.mkv").exists()
    warnings = copied(broken, tmp_path / "b.mkv", on_corrupt="repeat")
    assert any("the frame before is repeated" in warning for warning in warnings)
    assert shown(tmp_path / "b.mkv") == shown(source)


@pytest.mark.parametrize("container", ["a.mp4", "a.mkv"])
def test_a_film_that_breaks_off(container: str, tmp_path: Path) -> None:
    source = make_clip(tmp_path / container, frames=100, faststart=True)
    cut = tmp_path / f"cut{source.suffix}"
    cut.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    with pytest.raises(StylebatchError, match=r"cut off.* at 0:00:0\d\.\d+"):
        copied(cut, tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()
    copied(cut, tmp_path / "b.mp4", on_corrupt="repeat")
    assert 20 < len(shown(tmp_path / "b.mp4")) < 100


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("small_disk", ["100k"], indirect=True)
def test_a_full_disk_is_one_line_and_goes_on(checkpoint: Path, small_disk: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=40)
    with pytest.raises(OutputError, match=r"(?i)no space left on device"):
        copied(source, small_disk / "b.mkv", codec="ffv1")
    assert list(small_disk.iterdir()) == []
    with pytest.raises(OutputError, match=r"(?i)no space left on device.*the same command goes on"):
        styled(source, small_disk / "b.mkv", checkpoint, codec="ffv1")
    assert all(path.name.startswith(".") for path in small_disk.iterdir())
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    assert styled(source, small_disk / "b.mkv", checkpoint, codec="ffv1").skipped > 0
    assert len(shown(small_disk / "b.mkv")) == 40


def test_a_film_ends_while_another_run_writes_there(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_clip(tmp_path / "a.mp4", frames=3), tmp_path / "out" / "b.mp4"
    monkeypatch.setattr(job, "_PATIENCE", 0.1)
    hold = (
        "import sys; from pathlib import Path; from stylebatch.manifest import Manifest\n"
        "with Manifest(Path(sys.argv[1]), Path(sys.argv[1]), {}): print(flush=True); sys.stdin.read()"
    )
    others: list[subprocess.Popen[str]] = []

    def start_another(_: VideoSummary) -> None:
        if not others:
            command = [sys.executable, "-c", hold, str(output.parent)]
            others.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert others[0].stdout is not None
            others[0].stdout.readline()

    summary = styled(source, output, checkpoint, progress=start_another)
    others[0].communicate()
    assert "another run writes there: it is not on record" in summary.warnings[0]
    assert len(shown(output)) == 3
    with pytest.raises(StylebatchError, match=r"is there, and no result of a\.mp4"):
        styled(source, output, checkpoint)


def test_two_runs_at_one_film(tmp_path: Path) -> None:
    source, output = make_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    sink = VideoSink(output, VideoSource(source))
    with pytest.raises(OutputError, match="another run is writing there"):
        copied(source, output)
    sink.release()


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("line", [b"[" * 100_000, b"null", b'{"frames": "5"}'])
@pytest.mark.parametrize(("steady", "proven"), [(0, 5), (0.9, 0)])
def test_foreign_lines_in_a_journal_end_what_is_proven(
    line: bytes, steady: float, proven: int, checkpoint: Path, tmp_path: Path
) -> None:
    """A film that is steadied goes on from its newest segment or begins anew: only that one's last frame is kept."""
    source, output = make_clip(tmp_path / "a.mp4", frames=12), tmp_path / "b.mp4"
    count: list[int] = []
    styled(
        source, output, checkpoint, steady=steady,
        progress=lambda summary: count.append(summary.finished), stop=lambda: len(count) >= 11,
    )  # fmt: skip
    (journal,) = tmp_path.glob(".stylebatch-*/journal.jsonl")
    key, first, *_ = journal.read_bytes().splitlines()
    if line.startswith(b"{"):
        line = json.dumps({**json.loads(first), "frames": "5"}).encode()
    journal.write_bytes(key + b"\n" + first + b"\n" + line + b"\n")
    for kept in journal.parent.glob("000001.[fs]*"):  # if the second segment was still being encoded
        kept.unlink()
    assert styled(source, output, checkpoint, steady=steady).skipped == proven
    assert len(shown(output)) == 12


def test_nothing_of_others_is_taken_for_a_work_folder(tmp_path: Path) -> None:
    """A link where the work folder would be is refused; in it, only what is named as its files are is removed."""
    source, output = make_clip(tmp_path / "a.mp4", frames=3), tmp_path / "b.mp4"
    folder = Work(output, "key", 5).folder
    shutil.rmtree(folder)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    folder.symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match="is a link, so this program did not make it; remove it"):
        copied(source, output)
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["thesis.txt"]
    folder.unlink()
    (tmp_path / "precious").rename(folder)
    (folder / "film.mp4").symlink_to(source)
    before = source.read_bytes()
    copied(source, output)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    assert source.read_bytes() == before


@pytest.fixture
def bad_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "a.mp4", frames=3)
    (tmp_path / "text.mp4").write_text("no film at all " * 50)
    (tmp_path / "empty.mp4").touch()
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "headless.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    make_clip(tmp_path / "foreign.mp4", frames=2)
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("none.mp4",), "Error: none.mp4: no such film"),
        (("text.mp4",), "text.mp4: no film that can be read"),
        (("empty.mp4",), "empty.mp4: no film that can be read"),
        (("headless.mp4",), "headless.mp4: no film that can be read, or cut off before its index"),
        (("folder.mp4",), "folder.mp4: is a folder; the command for it is stylebatch folder"),
        (("pipe.mp4",), "pipe.mp4: is a FIFO, not a file; give a film"),
        (("sound.mp4",), "sound.mp4: no video in it"),
        (("a.mp4", "a.mp4"), "output and input are the same file"),
        (("a.mp4", "foreign.mp4"), "foreign.mp4: is there already; several clips need a folder"),
        (("a.mp4", "foreign.mp4", "--overwrite"), "--output foreign.mp4 --overwrite replaces it"),
        (("a.mp4", "-o", "foreign.mp4"), "foreign.mp4: is there, and no result of a.mp4; --overwrite replaces it"),
        (("a.mp4", "folder.mp4/../a.mp4"), "output and input are the same file"),
        (("a.mp4", "text.mp4", "-o", "b.mp4"), "b.mp4: several clips need a folder as the output"),
        (("a.mp4", "folder.mp4/a.mp4", "new/"), "folder.mp4/a.mp4: would be written to new/a_plain.mp4, as a.mp4 is"),
        (
            ("a.mp4", "a.mpg", "new", "--every", "2"),
            "a.mpg: would be written to new/a_%06d.png, as a.mp4 is; give them a folder each",
        ),
        (("a.mp4", "b.wmv"), "b.wmv: this container is not written; choose from .mp4"),
        (("a.mp4", "b.mp4", "c.mp4"), "several clips need a folder as the last argument"),
        (("a.mp4", "--style", "nobody"), "style 'nobody': unknown"),
        (("a.mp4", "--codec", "divx"), "codec divx: unknown; choose from h264, h265"),
        (("a.mp4", "b.webm", "--codec", "h264"), "codec h264: does not go into webm"),
        (("a.mp4", "--codec", "h264_nvenc"), "codec h264_nvenc: needs an NVIDIA GPU"),
        (("a.mp4", "--crf", "99"), "crf 99: must be from 0 to 63"),
        (("a.mp4", "b.mov", "--codec", "prores", "--crf", "5"), "crf: prores has no constant quality"),
        (("a.mp4", "b.mov", "--codec", "prores", "--preset", "x"), "preset: prores has none"),
        (("a.mp4", "--preset", "warp"), "codec h264: refuses 64×48 yuv420p, preset warp"),
        (("a.mp4", "--pix-fmt", "rgb99"), "pixel format rgb99: h264 does not have it; choose from yuv420p"),
        (("a.mp4", "--start", "abc"), "'abc' is no time; give seconds, MM:SS or HH:MM:SS"),
        (("a.mp4", "--start", "2", "--end", "1"), "end 1: must be after the start, 2"),
        (("a.mp4", "--start", "60"), "no frames from 0:01:00.000 on"),
        (("a.mp4", "--preview", "1", "--start", "1"), "preview: takes the middle"),
        (("a.mp4", "--preview", "0"), "preview 0: must be above 0"),
        (("a.mp4", "--fps", "fast"), "'fast' is no rate"),
        (("a.mp4", "--fps", "0"), "fps 0: must be above 0"),
        (("a.mp4", "--size", "3"), "size 3: must be at least 16"),
        (("a.mp4", "--every", "0"), "every 0: must be at least 1"),
        (("a.mp4", "--on-corrupt", "pray"), "Invalid value for '--on-corrupt'"),
        ((), "Missing argument"),
    ],
)
@pytest.mark.usefixtures("bad_inputs")
def test_wrongly_typed(args: tuple[str, ...], message: str, checkpoint: Path, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    result = invoke(*args, *(() if "--style" in args else ("--style", checkpoint)), "--device", "cpu")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == before


# ---- the command


def test_the_command_beside_the_clip(checkpoint: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", frames=6)
    result = invoke(source, "--style", checkpoint, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'clip_plain.mp4'}: 6 frames in " in result.stdout
    assert "busy with reading" in result.stdout
    assert "done before, unchanged" in invoke(source, "--style", checkpoint, "--device", "cpu").stdout


def test_several_clips_into_a_folder(checkpoint: Path, tmp_path: Path) -> None:
    clips = [make_clip(tmp_path / "a.mp4", frames=4), tmp_path / "broken.mp4", make_clip(tmp_path / "c.mkv", frames=4)]
    clips[1].write_text("no film")
    result = invoke(*clips, tmp_path / "out", "--style", checkpoint, "--device", "cpu", "--json")
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert [film["done"] for film in summary["films"]] == [4, 4]
    assert "broken.mp4: no film" in summary["failed"][0]["reason"]
    assert set(summary["films"][0]["waits"]) == {"decoder", "network", "encoder"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".stylebatch.jsonl", "a_plain.mp4", "c_plain.mkv"]


@pytest.mark.slow
def test_a_film_is_replaced_by_its_own_clip_alone(checkpoint: Path, tmp_path: Path) -> None:
    """Another clip of the same name, in another container or folder, leaves the film as it is; so does a preview."""
    args = ("--style", checkpoint, "--device", "cpu")
    clip, other = make_clip(tmp_path / "clip.mp4", frames=48), make_clip(tmp_path / "clip.mkv", frames=4)
    assert invoke(clip, *args).exit_code == 0
    film = tmp_path / "clip_plain.mp4"
    before = film.read_bytes()
    assert invoke(clip, "--preview", 1, *args).exit_code == 0
    assert len(shown(tmp_path / "clip_plain_preview.mp4")) < 48
    other.rename(tmp_path / "clip.mpg")
    result = invoke(tmp_path / "clip.mpg", *args)
    assert result.exit_code == 2
    assert (
        "clip_plain.mp4: is there, and no result of clip.mpg; --overwrite replaces it, another output keeps" in result.stderr
    )
    pictures = (tmp_path / "clip.mpg", tmp_path / "pictures", "--every", 2, *args)
    assert invoke(*pictures).exit_code == 0
    refused = invoke(clip, *pictures[1:])
    assert "pictures/clip_000000.png: is there, and no result of clip.mp4" in refused.stderr
    assert film.read_bytes() == before
    assert "unchanged" in invoke(clip, film, *args, "--overwrite").stdout  # what it made is no second clip
    retouched = invoke(clip, film, *args, "--crf", 30, "--overwrite")
    assert (retouched.exit_code, film.read_bytes() == before) == (0, False)
    clips = {path: path.read_bytes() for path in (clip, tmp_path / "clip.mpg")}
    for clip_and_clip in ((clip, tmp_path / "clip.mpg"), (clip, tmp_path / "clip.mpg", tmp_path)):
        assert invoke(*clip_and_clip, *args, "--overwrite").exit_code == 2
    assert {path: path.read_bytes() for path in clips} == clips
    assert invoke(clip, "-o", tmp_path / "clip.mpg.mp4", *args).exit_code == 0


def test_pictures_of_every_nth_frame(checkpoint: Path, tmp_path: Path) -> None:
    source, args = make_clip(tmp_path / "a.mp4", frames=9), ("--every", 4, "--side-by-side")
    result = invoke(source, "--style", checkpoint, "--device", "cpu", *args)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "a_plain_frames"
    names = sorted(path.name for path in folder.iterdir() if path.suffix == ".png")
    assert names == ["a_000000.png", "a_000004.png", "a_000008.png"]
    with Image.open(folder / names[1]) as picture:
        assert picture.size == (128, 48)
    again = invoke(source, "--style", checkpoint, "--device", "cpu", *args, "--json")
    assert json.loads(again.stdout)["films"][0]["skipped"] == 3


def test_memory_does_not_grow_with_the_film(tmp_path: Path) -> None:
    """The decoder stays a few frames ahead of whoever takes them."""
    from stylebatch.loader import FilmBatches

    film = VideoSource(make_clip(tmp_path / "a.mp4", frames=60))
    given: list[int] = []

    def frames() -> Iterator[Any]:
        for frame in film:
            given.append(frame.info.index)
            yield frame

    batches = FilmBatches(frames(), batch_size=2, pin=False)
    loads = iter(batches)
    first = next(loads)
    time.sleep(0.3)
    assert [info.index for info in first.batches[0].infos] == [0, 1]
    assert len(given) <= 2 * (FilmBatches.AHEAD + 3)
    batches.close()
