"""Numbered pictures as films, in and out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support.clips import make_clip, pictures, scene

import stylebatch.cli
from stylebatch import StylebatchError, VideoOptions, VideoSummary, stylize_video
from stylebatch.images.deep import encode_png, encode_tiff
from stylebatch.images.exr import ExrExtra, encode_exr, read_exr, to_display, to_linear
from stylebatch.video import pictures as sink
from stylebatch.video.numbered import pattern_of, sequence_of
from stylebatch.video.sequence import SequenceSource

OpenEXR = pytest.importorskip("OpenEXR")

#: Of half precision, to which OpenEXR rounds.
HALF = 2**-11
WIDTH, HEIGHT = 64, 48


def write(
    path: Path, index: int, *, alpha: bool = False, half: bool = True, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> None:
    """A picture in the format of its name: of 16 bits, in EXR linear light up to 3."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = scene(index, *size)
    deep = np.rint(rgb * 65535).astype(np.uint16)
    if alpha:
        deep = np.dstack([deep, np.full(deep.shape[:2], 40000, np.uint16)])
    if path.suffix == ".png":
        path.write_bytes(encode_png(deep))
    elif path.suffix == ".tif":
        path.write_bytes(encode_tiff(deep, "tiff_lzw", big_endian=False))
    elif path.suffix == ".jpg":
        Image.fromarray(np.rint(rgb * 255).astype(np.uint8)).save(path, quality=95)
    else:
        light = (rgb * 3).astype(np.float16 if half else np.float32)
        channels: dict[str, Any] = {"RGB": light}
        if alpha:
            opacity = np.full(light.shape[:2], 0.25, light.dtype)
            channels = {"RGBA": np.dstack([light * opacity[..., None], opacity])}
        header = {"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.scanlineimage, "owner": "somebody"}
        with OpenEXR.File(header, channels) as file:
            file.write(str(path))


def shot(folder: Path, suffix: str = ".png", count: int = 6, first: int = 1001, **how: Any) -> Path:
    for index in range(count):
        write(folder / f"a.{first + index:05}{suffix}", index, **how)
    return folder / f"a.%05d{suffix}"


@pytest.fixture
def paint(checkpoint: Path) -> Callable[..., VideoSummary]:
    def run(source: Path, output: Path | str | None, *, overwrite: bool = False, **options: Any) -> VideoSummary:
        return stylize_video(
            source, output, checkpoint, options=VideoOptions(**options), overwrite=overwrite, device="cpu", backend="torch",
        )  # fmt: skip

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


@pytest.mark.parametrize(
    ("typed", "name"),
    [("%05d.png", "00012.png"), ("a%d.exr", "a12.exr"), ("x_####.tif", "x_0012.tif"), ("100%d_%03d.jpg", "100%d_012.jpg")],
)
def test_patterns(typed: str, name: str, tmp_path: Path) -> None:
    found = pattern_of(tmp_path / typed)
    assert found
    assert found.picture(12) == tmp_path / name
    again = pattern_of(found.path)
    assert again == found


@pytest.mark.parametrize("typed", ["a.png", "%d.mp4", "%s.png", "%d", "#.mov"])
def test_what_is_no_pattern(typed: str, tmp_path: Path) -> None:
    assert pattern_of(tmp_path / typed) is None


@pytest.mark.parametrize("typed", ["%04d.bmp", "####.webp", "a%d.AVIF"])
def test_patterns_of_other_pictures_are_told_what_to_give(typed: str, tmp_path: Path) -> None:
    with pytest.raises(StylebatchError, match=rf"{re.escape(typed)}: numbered pictures are PNG, TIFF, JPEG or EXR"):
        pattern_of(tmp_path / typed)
    clip = make_clip(tmp_path / "a.mp4")
    result = CliRunner().invoke(stylebatch.cli.main, ["video", str(clip), str(tmp_path / typed)])
    assert result.exit_code == 2
    assert "numbered pictures are PNG" in result.output


def test_folders_of_numbered_pictures(tmp_path: Path) -> None:
    pattern = shot(tmp_path / "a", first=98)
    found = sequence_of(tmp_path / "a")
    assert found
    assert found.path == pattern
    assert found.numbers() == list(range(98, 104))
    (tmp_path / "b").mkdir()
    for name in ("9.png", "10.png", "notes.txt"):
        (tmp_path / "b" / name).touch()
    found = sequence_of(tmp_path / "b")
    assert found
    assert found.numbers() == [9, 10]
    (tmp_path / "b" / "cover.png").touch()
    assert sequence_of(tmp_path / "b") is None
    shot(tmp_path / "a", ".jpg")
    with pytest.raises(StylebatchError, match="several sequences of pictures; give one of them, such as"):
        sequence_of(tmp_path / "a")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".exr"])
def test_pictures_in_pictures_out(suffix: str, paint: Callable[..., VideoSummary], tmp_path: Path) -> None:
    """Their names, depth and alpha stay."""
    alpha = suffix != ".jpg"
    pattern = shot(tmp_path / "in", suffix, alpha=alpha)
    summary = paint(pattern, f"{tmp_path / 'out'}/")
    assert (summary.done, summary.total, summary.output) == (6, 6, tmp_path / "out")
    assert names(tmp_path / "out") == names(tmp_path / "in")
    path = tmp_path / "out" / f"a.01003{suffix}"
    if suffix == ".exr":
        with OpenEXR.File(str(path), separate_channels=True) as file:
            assert file.header()["owner"] == "somebody"
            assert {name: channel.pixels.dtype.name for name, channel in file.channels().items()} == dict.fromkeys(
                "ABGR", "float16"
            )
            assert np.all(file.channels()["A"].pixels == 0.25)
            assert file.channels()["R"].pixels.max() > 0.2
    else:
        written = sequence_of(tmp_path / "out")
        assert written
        frame = next(iter(SequenceSource(written)))
        assert frame.pixels.dtype == (np.uint8 if suffix == ".jpg" else np.uint16)
        assert (frame.info.extra.alpha is not None) == alpha
        assert not alpha or np.all(frame.info.extra.alpha == 40000)
    assert paint(pattern, f"{tmp_path / 'out'}/").unchanged


def test_films_to_pictures_and_back(paint: Callable[..., VideoSummary], tmp_path: Path) -> None:
    """The pictures are those of the steadied film."""
    clip = make_clip(tmp_path / "a.mp4", frames=7)
    paint(clip, tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0")
    paint(clip, tmp_path / "out" / "####.png")
    frames = pictures(tmp_path / "a.mkv")
    assert names(tmp_path / "out") == [f"{index:04}.png" for index in range(7)]
    for index, frame in enumerate(frames):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / f"{index:04}.png")), frame)
    summary = paint(tmp_path / "out", tmp_path / "b.mkv", codec="ffv1", fps=12, steady=0)
    assert summary.done == len(pictures(tmp_path / "b.mkv")) == 7


@pytest.mark.parametrize("more", [{}, {"side_by_side": True}, {"size": 32, "keep_work_size": True}, {"steady": 0}])
def test_every_gives_pictures_of_the_film(more: dict[str, Any], paint: Callable[..., VideoSummary], tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=8)
    paint(clip, tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0", **more)
    paint(clip, tmp_path / "some", every=3, **more)
    frames = pictures(tmp_path / "a.mkv")
    assert names(tmp_path / "some") == ["a_000000.png", "a_000003.png", "a_000006.png"]
    for index in (0, 3, 6):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "some" / f"a_{index:06}.png")), frames[index])


def test_what_is_missing_or_of_another_size_is_named(paint: Callable[..., VideoSummary], tmp_path: Path) -> None:
    pattern = shot(tmp_path / "in")
    (tmp_path / "in" / "a.01003.png").unlink()
    with pytest.raises(StylebatchError, match=r"1 of 6 pictures is missing: a\.01003\.png; `on_corrupt` repeat"):
        paint(pattern, tmp_path / "o" / "%d.png")
    summary = paint(pattern, tmp_path / "o" / "%d.png", on_corrupt="repeat", steady=0)
    assert "missing: a.01003.png; the one before each is repeated" in summary.warnings[0]
    assert names(tmp_path / "o") == [f"{number}.png" for number in range(1001, 1007)]
    assert (tmp_path / "o" / "1003.png").read_bytes() == (tmp_path / "o" / "1002.png").read_bytes()
    write(tmp_path / "in" / "a.01003.png", 2, size=(WIDTH, HEIGHT + 2))
    with pytest.raises(StylebatchError, match=r"a\.01003\.png: is 64×50, and the first picture 64×48"):
        paint(pattern, tmp_path / "o" / "%d.png")
    (tmp_path / "in" / "a.01003.png").write_bytes((tmp_path / "in" / "a.01002.png").read_bytes()[:300])
    with pytest.raises(StylebatchError, match=r"a\.01003\.png: (truncated|damaged|broken)"):
        paint(pattern, tmp_path / "o2" / "%d.png")
    with pytest.raises(StylebatchError, match=r"b\.%d\.png: no such pictures"):
        paint(tmp_path / "in" / "b.%d.png", tmp_path / "o2" / "%d.png")
    with pytest.raises(StylebatchError, match=r"no frames from 0:00:09\.000 on; it has 6 frames, 0\.250 seconds"):
        paint(shot(tmp_path / "in2"), tmp_path / "o2" / "%d.png", start=9)


def test_a_part_keeps_its_numbers(paint: Callable[..., VideoSummary], tmp_path: Path) -> None:
    pattern = shot(tmp_path / "in", count=12)
    paint(pattern, tmp_path / "part" / "%d.png", fps=10, start=0.2, end=0.5)
    assert names(tmp_path / "part") == ["1003.png", "1004.png", "1005.png"]
    paint(pattern, tmp_path / "middle" / "%d.png", fps=10, preview=0.2)
    assert names(tmp_path / "middle") == ["1006.png", "1007.png"]


def test_nothing_of_others_is_replaced(paint: Callable[..., VideoSummary], tmp_path: Path) -> None:
    pattern = shot(tmp_path / "in")
    foreign = tmp_path / "out" / "a.01004.png"
    foreign.parent.mkdir()
    foreign.write_bytes(b"mine")
    with pytest.raises(StylebatchError, match=r"a\.01004\.png: is there, and no result of"):
        paint(pattern, tmp_path / "out" / "a.%05d.png")
    assert content(tmp_path / "out") == {"a.01004.png": b"mine"}
    before = content(tmp_path / "in")
    for overwrite in (False, True):
        with pytest.raises(StylebatchError, match="output and input are the same file"):
            paint(pattern, tmp_path / "in" / "a.%05d.png", overwrite=overwrite)
    assert content(tmp_path / "in") == before
    assert paint(pattern, tmp_path / "out" / "a.%05d.png", overwrite=True).done == 6
    assert foreign.read_bytes() != b"mine"


@pytest.mark.parametrize("stops", [(3,), (2, 5, 8)])
def test_pictures_that_were_stopped_go_on(
    stops: tuple[int, ...], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "_KEPT_EVERY", 3)
    pattern = shot(tmp_path / "in", count=16)
    stylize_video(pattern, tmp_path / "whole" / "%d.png", checkpoint, device="cpu", backend="torch")
    done = [0]
    for stop in stops:
        summary = stylize_video(
            pattern, tmp_path / "parts" / "%d.png", checkpoint, device="cpu", backend="torch",
            progress=lambda summary: done.append(summary.finished), stop=lambda stop=stop: done[-1] >= stop,
        )  # fmt: skip
        assert summary.interrupted
    summary = stylize_video(pattern, tmp_path / "parts" / "%d.png", checkpoint, device="cpu", backend="torch")
    assert 0 < summary.done < 16
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    assert not list((tmp_path / "parts").glob(".*.state"))


def test_pictures_that_have_changed_are_made_anew_from_there_on(paint: Callable[..., VideoSummary], tmp_path: Path) -> None:
    pattern = shot(tmp_path / "in", count=6)
    paint(pattern, tmp_path / "out" / "%d.png")
    before = content(tmp_path / "out")
    write(tmp_path / "in" / "a.01004.png", 40)
    write(tmp_path / "in" / "a.01007.png", 7)
    summary = paint(pattern, tmp_path / "out" / "%d.png")
    assert (summary.skipped, summary.done) == (3, 4)
    after = content(tmp_path / "out")
    assert [name for name in before if before[name] != after[name]] == ["1004.png", "1005.png", "1006.png"]
    paint(pattern, tmp_path / "fresh" / "%d.png")
    assert content(tmp_path / "fresh") == after
    (tmp_path / "out" / "1002.png").unlink()
    assert paint(pattern, tmp_path / "out" / "%d.png").done == 1
    assert content(tmp_path / "out") == after


def test_the_command(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shot(tmp_path / "shot", count=3)

    def video(*words: str) -> str:
        result = CliRunner().invoke(stylebatch.cli.main, ["video", *words, "--style", str(checkpoint), "--device", "cpu"])
        assert result.exit_code == 0, result.output
        return result.output

    video("shot")
    assert names(tmp_path / "shot_plain") == names(tmp_path / "shot")
    assert "done before" in video("shot/a.%05d.png", "--fps", "25")
    video("shot", "film.mp4", "--fps", "24")
    assert len(pictures(tmp_path / "film.mp4")) == 3
    video("film.mp4", "out/%03d.jpg")
    assert names(tmp_path / "out") == ["000.jpg", "001.jpg", "002.jpg"]
    assert "64×48" in video("shot", "--check")


def test_light_goes_to_display_and_back() -> None:
    """By sRGB's curve; what is brighter than white keeps its hue and its range."""
    light = np.zeros((1, 6, 3), np.float32)
    light[0, :, 0] = [0.0, 0.002, 0.18, 1.0, 4.0, 20000.0]
    light[0, :, 1] = [0.0, 0.002, 0.18, 0.5, 1.0, 5000.0]
    shown, highlights = to_display(light)
    assert highlights is not None
    assert highlights[0].tolist() == [1, 1, 1, 1, 4, 20000]
    assert np.abs(shown[0, :, 0] / 65535 - [0, 0.02584, 0.46136, 1, 1, 1]).max() < 1e-4
    assert np.array_equal(shown[0, 4], shown[0, 5])
    assert np.allclose(to_linear(shown, highlights), light, rtol=HALF, atol=1e-5)
    odd, highlights = to_display(np.array([[[np.nan, -1, 0.5], [np.inf, 0, 0]]], np.float16))
    assert odd[0, 0].tolist()[:2] == [0, 0]
    assert highlights is not None
    assert np.isfinite(highlights).all()


@pytest.mark.parametrize("half", [True, False])
def test_exr_files_come_back(half: bool, tmp_path: Path) -> None:
    write(tmp_path / "a.exr", 3, alpha=True, half=half)
    pixels, extra, notes = read_exr(tmp_path / "a.exr", 10_000)
    assert notes == []
    (tmp_path / "b.exr").write_bytes(encode_exr(pixels, extra))
    with OpenEXR.File(str(tmp_path / "a.exr")) as one, OpenEXR.File(str(tmp_path / "b.exr")) as two:
        before, after = one.channels()["RGBA"].pixels, two.channels()["RGBA"].pixels
        assert before.dtype == after.dtype
        assert np.allclose(before, after, rtol=2 * HALF, atol=1e-5)
        assert np.array_equal(before[..., 3], after[..., 3])
        assert one.header()["compression"] == two.header()["compression"]


def test_exr_windows_layers_and_refusals(tmp_path: Path) -> None:
    """The display window is what is seen; what lies outside of the data window is black."""
    grey = np.full((4, 6), 0.5, np.float32)
    window = (np.array([0, 0], np.int32), np.array([9, 7], np.int32))
    data = (np.array([-1, 2], np.int32), np.array([4, 5], np.int32))
    header = {"displayWindow": window, "dataWindow": data, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"Y": grey, "Z": grey}) as file:
        file.write(str(tmp_path / "a.exr"))
    pixels, extra, notes = read_exr(tmp_path / "a.exr", 10_000)
    assert pixels.shape == (8, 10, 3)
    assert notes == ["channels Z"]
    assert not extra.half
    expected = np.zeros((8, 10), bool)
    expected[2:6, :5] = True
    assert np.array_equal(pixels[..., 1] > 0, expected)
    with pytest.raises(StylebatchError, match=r"10×8 pixels, over the limit"):
        read_exr(tmp_path / "a.exr", 79)
    (tmp_path / "b.exr").write_bytes(b"v/1\x01 nothing more")
    with pytest.raises(StylebatchError, match=r"b\.exr: no OpenEXR file that can be read"):
        read_exr(tmp_path / "b.exr", 10_000)
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": grey}) as file:
        file.write(str(tmp_path / "c.exr"))
    with pytest.raises(StylebatchError, match="no channels R, G and B, or Y, in it, but Z"):
        read_exr(tmp_path / "c.exr", 10_000)


def test_exr_at_another_size() -> None:
    plane = np.full((8, 8), 50.0, np.float32)
    extra = ExrExtra(highlights=plane, alpha=plane / 100).fitted((4, 4), across=2)
    assert extra.highlights is not None
    assert extra.alpha is not None
    assert extra.highlights.shape == extra.alpha.shape == (4, 8)
    assert np.allclose(extra.highlights, 50)
    assert np.allclose(extra.alpha, 0.5)
