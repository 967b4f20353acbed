"""What is given to `stylebatch video`: names of any kind, lists, pictures, frames of any size."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import copied
from PIL import Image
from support.clips import make_clip, pictures, shown

import stylebatch.cli
from stylebatch import Stylizer, VideoOptions, VideoSource, stylize_video
from stylebatch.errors import OutputError, StylebatchError


@pytest.mark.parametrize("name", ["12:30.mp4", "data:x.mkv", "concat:a|b.mp4", "clip%03d.mp4", "-y.mp4", "file:a.mp4"])
def test_every_name_is_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out:1").mkdir()
    make_clip(Path("a.mp4")).rename(name)
    copied(Path(name), Path("out:1") / name)
    assert len(shown((tmp_path / "out:1" / name).resolve())) == 12


def test_names_that_are_too_long_are_found_early(checkpoint: Path, tmp_path: Path) -> None:
    stylizer = Stylizer(checkpoint, device="cpu")
    source = make_clip(tmp_path / "a.mp4").rename(tmp_path / f"{'a' * 248}.mp4")
    for options, output in (({}, None), ({"every": 4}, None), ({}, tmp_path / "new" / f"{'b' * 253}.mp4")):
        with pytest.raises(OutputError, match="the name is too long for the file system; give another output"):
            stylize_video(source, output, stylizer, options=VideoOptions(**options))
    assert [path.name for path in tmp_path.iterdir()] == [source.name]
    assert stylize_video(source, tmp_path / f"{'b' * 251}.mp4", stylizer).done == 12


def test_a_film_opens_nothing_but_itself(tmp_path: Path) -> None:
    """Lists of other files are none, whatever they are called."""
    inside = make_clip(tmp_path / "a.ts")
    segments = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{inside}\n#EXT-X-ENDLIST\n"
    lists = {
        "b.m3u8": segments, "b.mp4": "\ufeff" + segments, "b.mkv": f"ffconcat version 1.0\nfile {inside.name}\n",
        "b.ffconcat": f"ffconcat version 1.0\nfile {inside.name}\n", "b.mpd": "<?xml version='1.0'?>\n<MPD></MPD>\n",
        "b.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    }  # fmt: skip
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        said = "no film that can be read" if name == "b.sdp" else "a list of other files, no film; make one of it: ffmpeg"
        with pytest.raises(StylebatchError, match=said):
            VideoSource(tmp_path / name)


@pytest.mark.parametrize("name", ["a.webp", "a.avif"])
def test_moving_pictures_are_sent_to_their_command(name: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((32, 32, 3), 80 * index, np.uint8)) for index in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100)
    (tmp_path / "a.mp4").write_bytes((tmp_path / name).read_bytes())
    for path in (tmp_path / name, tmp_path / "a.mp4"):
        with pytest.raises(StylebatchError, match="a picture, moving or not; the command for it is stylebatch image"):
            VideoSource(path)


@pytest.mark.parametrize(("suffix", "said", "expected"), [
    (".gif", None, None), (".gif", 0, 0), (".gif", 3, 3), (".png", 0, 0), (".png", 1, None), (".png", 4, 3), (".mp4", 0, 0),
])  # fmt: skip
def test_moving_pictures_repeat_as_they_did(suffix: str, said: int | None, expected: int | None, tmp_path: Path) -> None:
    source = tmp_path / f"a{suffix}"
    if suffix == ".mp4":
        make_clip(source)
    else:
        frames = [Image.fromarray(np.full((32, 32, 3), 80 * index, np.uint8)) for index in range(3)]
        loop = {} if said is None else {"loop": said}
        frames[0].save(source, save_all=True, append_images=frames[1:], duration=100, **loop)
    copied(source, tmp_path / "b.gif")
    with Image.open(tmp_path / "b.gif") as image:
        assert image.info.get("loop") == expected


@pytest.mark.slow
def test_a_folder_of_films_keeps_its_tree(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "day 1/b.mkv", "day 1/deep/c.mov", "@eaDir/thumb.mp4", ".hidden.mp4"):
        make_clip(tmp_path / "in" / name, frames=3)
    (tmp_path / "in" / "broken.mp4").write_text("no film")
    (tmp_path / "in" / "notes.txt").write_text("no film either")
    args = ["--style", str(checkpoint), "--device", "cpu", "--json"]
    for out in (tmp_path / "out.d", tmp_path / "in" / "results"):
        for _ in range(2):  # results are no clips
            result = CliRunner().invoke(stylebatch.cli.main, ["video", str(tmp_path / "in"), f"{out}/", *args])
            assert result.exit_code == 1, result.output
            assert [each["path"] for each in json.loads(result.stdout)["failed"]] == [str(tmp_path / "in" / "broken.mp4")]
            made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.m*"))
            assert made == ["a_plain.mp4", "day 1/b_plain.mkv", "day 1/deep/c_plain.mov"]


def test_a_folder_of_films_needs_one_for_the_results(tmp_path: Path) -> None:
    make_clip(tmp_path / "in" / "deep" / "a.mp4", frames=3)
    result = CliRunner().invoke(stylebatch.cli.main, ["video", str(tmp_path / "in")])
    assert result.exit_code == 2
    said = f"in: is a folder; give one for the results, too: stylebatch video {tmp_path / 'in'} {tmp_path / 'in'}_hosi"
    assert said in result.stderr
    result = CliRunner().invoke(stylebatch.cli.main, ["video", str(tmp_path / "in"), str(tmp_path / "b.mp4")])
    assert "b.mp4: several clips need a folder as the last argument" in result.stderr


def large(path: Path, size: tuple[int, int]) -> Path:
    """Kilobytes that hold frames of any size."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24"
        for index in range(2):
            frame = av.VideoFrame.from_ndarray(np.zeros((size[1], size[0], 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_frames_have_a_limit(tmp_path: Path) -> None:
    film = large(tmp_path / "a.mov", (2000, 1100))
    with pytest.raises(StylebatchError, match=r"its frames are 2000×1100, 3 megapixels, .*; `max_megapixels` 3 takes them"):
        VideoSource(film, VideoOptions(max_megapixels=2))
    assert VideoSource(film, VideoOptions(max_megapixels=3)).clip.size == (2000, 1100)
    with pytest.raises(StylebatchError, match="max megapixels 0: must be at least 1"):
        VideoOptions(max_megapixels=0)


def test_a_frame_that_grows_on_the_way_is_damage(tmp_path: Path) -> None:
    """Its packet says more than the header of its file."""
    small, huge = large(tmp_path / "a.mov", (64, 48)), large(tmp_path / "b.mov", (2000, 1100))
    with av.open(str(huge)) as other:
        packet = next(other.demux(video=0))
    with av.open(str(small)) as a, av.open(str(tmp_path / "c.mov"), "w") as b:
        stream = b.add_stream_from_template(a.streams.video[0], opaque=True)
        first, second, *_ = a.demux(video=0)
        packet.pts, packet.dts, packet.time_base = second.pts, second.dts, second.time_base
        for each in (first, packet):
            each.stream = stream
            b.mux(each)
    with pytest.raises(StylebatchError, match=r"cannot be decoded .* at 0:00:00\.1"):
        copied(tmp_path / "c.mov", tmp_path / "d.mov", max_megapixels=1)
    copied(tmp_path / "c.mov", tmp_path / "d.mov", max_megapixels=1, on_corrupt="repeat")
    assert [picture.shape for picture in pictures(tmp_path / "d.mov")] == [(48, 64, 3)] * 2


def test_the_command_takes_the_limit(checkpoint: Path, tmp_path: Path) -> None:
    film = large(tmp_path / "a.mov", (2000, 1100))
    args = ["video", str(film), "--style", str(checkpoint), "--device", "cpu", "--max-megapixels", "2"]
    result = CliRunner().invoke(stylebatch.cli.main, args)
    assert result.exit_code == 2
    assert "--max-megapixels 3 takes them" in result.stderr
