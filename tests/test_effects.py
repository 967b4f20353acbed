"""What is done between the network and the file, in its order, on pictures and on films."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import picture
from PIL import Image
from support.clips import make_clip, pictures

import stylebatch.cli
from stylebatch import Steadier, VideoOptions, VideoSource, stylize_folder, stylize_video
from stylebatch.effects import Effects, OriginalColours, SideBySide, effects_of
from stylebatch.frame import Pixels
from stylebatch.images.options import ImageOptions
from stylebatch.images.sink import grid_path
from stylebatch.pixels import resized
from stylebatch.stylizer import Stylizer


def original(seed: int = 0, deep: bool = False) -> Pixels:
    pixels = np.asarray(picture(seed=seed))
    return pixels.astype(np.uint16) * 257 if deep else pixels


@pytest.mark.parametrize("deep", [False, True])
def test_brightness_is_the_painting_s_and_chroma_the_original_s(deep: bool) -> None:
    scale = 257 if deep else 1
    paint = np.full_like(original(deep=deep), 120 * scale)
    result = OriginalColours()(original(deep=deep), paint)
    assert result.dtype == paint.dtype
    eight = np.rint(result / scale).astype(np.uint8)
    unclipped = ((eight % 255) != 0).all(axis=-1)
    y, cb, cr = (np.asarray(band, dtype=int) for band in Image.fromarray(eight).convert("YCbCr").split())
    assert np.abs(y - 120)[unclipped].max() <= 1
    for ours, theirs in zip((cb, cr), picture().convert("YCbCr").split()[1:], strict=True):
        assert np.abs(ours - np.asarray(theirs, dtype=int))[unclipped].max() <= 2


@pytest.mark.parametrize("deep", [False, True])
def test_half_of_the_colours_is_halfway_to_the_original_s(deep: bool) -> None:
    seen, paint = original(1, deep=deep), original(2, deep=deep)
    wholly, half = OriginalColours()(seen, paint), OriginalColours(0.5)(seen, paint)
    unclipped = ((wholly > 0) & (wholly < np.iinfo(wholly.dtype).max)).all(axis=-1)
    between = (wholly.astype(float) + paint) / 2
    assert np.abs(half - between)[unclipped].max() <= 1
    assert np.array_equal(OriginalColours(0)(seen, paint), paint)


def test_the_order() -> None:
    """Steadied small, scaled, coloured, and beside an original in full size, which is asked for where there is one."""
    effects = effects_of(steady=0.5, preserve_color=True, side_by_side=True)
    assert effects.settings == [{"steady": 0.5}, {"preserve_color": True}, {"side_by_side": True}]
    assert effects.is_stateful
    steadier = Steadier(0.5)
    for number in range(3):
        seen, paint, full = original(number), original(9), np.asarray(picture(96, 64, number))
        large = resized(steadier(seen, paint), (96, 64))
        assert np.array_equal(effects(seen, paint, (96, 64), full), np.hstack([full, OriginalColours()(full, large)]))
        assert effects.state == steadier.state
    other = effects_of(steady=0.5)
    other.state = steadier.state
    assert np.array_equal(other(seen, paint), steadier(seen, paint))


def test_nothing_asked_for_is_the_size_alone() -> None:
    effects = effects_of()
    assert effects.settings == []
    assert not effects.is_stateful
    effects.state = b""
    assert effects.state == b""
    assert effects(original(), original(1)) is not None
    assert np.array_equal(effects(original(), original(1)), original(1))
    assert np.array_equal(effects(original(), original(1), (20, 30)), resized(original(1), (20, 30)))
    assert effects_of(side_by_side=True)(original(), original(1), (20, 30)).shape == (30, 40, 3)


def test_one_state_at_the_most() -> None:
    for wrong in ([Steadier(), Steadier()], []), ([Steadier(), SideBySide()], []), ([], [Steadier()]):
        with pytest.raises(ValueError, match="the last effect at work size alone may keep a state"):
            Effects(*wrong)


@pytest.mark.parametrize("size", [None, 24])
def test_photographs_keep_their_colours(size: int | None, checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "in" / "a.png"
    source.parent.mkdir()
    picture().save(source)
    stylize_folder(
        source.parent, tmp_path / "out", checkpoint, device="cpu", backend="torch", grid=True,
        options=ImageOptions(preserve_color=True, size=size),
    )  # fmt: skip
    seen = resized(original(), (size, size * 2 // 3)) if size else original()
    paint = resized(Stylizer(checkpoint, device="cpu", backend="torch")(seen), (48, 32))
    result = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert np.array_equal(result, OriginalColours()(original(), paint))
    assert grid_path(tmp_path / "out" / "a.png").exists()


FILMS: list[dict[str, Any]] = [
    {}, {"steady": 0}, {"size": 32}, {"size": 32, "keep_work_size": True}, {"size": 32, "side_by_side": True},
    {"side_by_side": True, "steady": 0.5},
]  # fmt: skip


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("asked", FILMS, ids=lambda asked: "-".join(asked) or "plain")
def test_films_keep_their_colours(asked: dict[str, Any], deep: bool, checkpoint: Path, tmp_path: Path) -> None:
    """To the last bit those of the film, at the brightness that it has without."""
    clip = make_clip(tmp_path / "a.mp4", frames=5, pix_fmt="yuv444p10le" if deep else "yuv420p")
    lossless = {"codec": "ffv1", "pix_fmt": "gbrp16le" if deep else "bgr0", **asked}
    for name, preserve_color in (("plain.mkv", False), ("colours.mkv", True)):
        options = VideoOptions(**lossless, preserve_color=preserve_color)
        stylize_video(clip, tmp_path / name, checkpoint, device="cpu", backend="torch", options=options)
    plain, coloured = (pictures(tmp_path / name, "rgb48le" if deep else "rgb24") for name in ("plain.mkv", "colours.mkv"))
    for frame, without, result in zip(VideoSource(clip), plain, coloured, strict=True):
        full = resized(frame.pixels, (32, 24) if "keep_work_size" in asked else (64, 48))
        assert result.dtype == full.dtype
        if "side_by_side" in asked:
            assert np.array_equal(result[:, :64], full)
            without, result = without[:, 64:], result[:, 64:]
        assert np.array_equal(result, OriginalColours()(full, without))
        assert not np.array_equal(result, without)


def test_films_with_alpha_keep_their_colours(checkpoint: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mov", frames=3, codec="prores_ks", pix_fmt="yuva444p10le", options={})
    for name, preserve_color in (("plain.mkv", False), ("colours.mkv", True)):
        options = VideoOptions(codec="ffv1", pix_fmt="gbrap16le", size=32, side_by_side=True, preserve_color=preserve_color)
        stylize_video(clip, tmp_path / name, checkpoint, device="cpu", backend="torch", options=options)
    plain, coloured = (pictures(tmp_path / name, "rgba64le") for name in ("plain.mkv", "colours.mkv"))
    for without, result in zip(plain, coloured, strict=True):
        assert np.array_equal(result[..., 3], without[..., 3])
        assert np.array_equal(result[:, :64], without[:, :64])
        assert np.array_equal(result[:, 64:, :3], OriginalColours()(result[:, :64, :3], without[:, 64:, :3]))


@pytest.mark.parametrize("size", [None, 32])
def test_pictures_of_a_film_keep_their_colours(size: int | None, checkpoint: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=5)
    for name, preserve_color in (("plain", False), ("colours", True)):
        options = VideoOptions(every=2, size=size, preserve_color=preserve_color)
        stylize_video(clip, tmp_path / name, checkpoint, device="cpu", backend="torch", options=options)
    paths = sorted((tmp_path / "plain").glob("*.png"))
    assert len(paths) == 3
    for frame, path in zip(list(VideoSource(clip))[::2], paths, strict=True):
        without, result = (np.asarray(Image.open(tmp_path / name / path.name)) for name in ("plain", "colours"))
        assert np.array_equal(result, OriginalColours()(frame.pixels, without))


@pytest.mark.slow
@pytest.mark.usefixtures("short_segments")
def test_a_film_that_was_stopped_keeps_its_colours(checkpoint: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=40)
    done: list[int] = []

    def film(name: str, preserve_color: bool = True, **more: Any) -> Any:
        options = VideoOptions(size=32, side_by_side=True, preserve_color=preserve_color)
        return stylize_video(clip, tmp_path / name, checkpoint, device="cpu", backend="torch", options=options, **more)

    film("whole.mp4")
    film("b.mp4", progress=lambda summary: done.append(summary.finished), stop=lambda: done[-1] >= 8)
    assert 8 <= film("b.mp4").skipped < 40
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    film("c.mp4", preserve_color=False, progress=lambda summary: done.append(summary.finished), stop=lambda: done[-1] >= 8)
    assert film("c.mp4").skipped == 0
    assert (tmp_path / "c.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_the_command(checkpoint: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=3)
    for name, more in (("plain.mkv", ()), ("colours.mkv", ("--preserve-color",))):
        words = ("video", str(clip), str(tmp_path / name), "--style", str(checkpoint), "--codec", "ffv1", "--device", "cpu")
        assert CliRunner().invoke(stylebatch.cli.main, [*words, *more]).exit_code == 0
    assert not np.array_equal(pictures(tmp_path / "plain.mkv"), pictures(tmp_path / "colours.mkv"))


def test_films_from_before_colours_could_be_kept_are_recognised() -> None:
    assert "preserve_color" not in VideoOptions().as_settings()
    assert VideoOptions(preserve_color=True).as_settings()["preserve_color"] is True


def test_what_was_done_when_colours_were_kept_or_not_counts_as_done() -> None:
    for kind in (ImageOptions, VideoOptions):
        for switch in (False, True):
            assert (
                kind.from_dict({"preserve_color": switch})
                == kind(preserve_color=switch)
                == kind(preserve_color=float(switch))
            )
    assert json.dumps([ImageOptions(preserve_color=share).as_settings()["preserve_color"] for share in (0, 0.5, 1)]) == (
        "[false, 0.5, true]"
    )
    assert json.dumps(effects_of(preserve_color=1.0).settings) == '[{"preserve_color": true}]'
    assert effects_of(preserve_color=0.5).settings == [{"preserve_color": 0.5}]


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("--preserve-color", "IN", "OUT"), 1),
        (("IN", "OUT", "--preserve-color"), 1),
        (("--preserve-color", "--grid", "IN", "OUT"), 1),
        (("--preserve-color", "50%", "IN", "OUT"), 0.5),
        (("--preserve-color=0.25", "IN", "OUT"), 0.25),
        (("--preserve-color", "0", "--", "IN", "OUT"), 0),
        (("IN", "OUT"), None),
    ],
)
def test_the_amount_of_colour_may_be_left_out(words: tuple[str, ...], kept: float | None) -> None:
    above = click.Context(stylebatch.cli.main)
    name, command, rest = stylebatch.cli.main.resolve_command(above, ["folder", *words])
    assert command
    read = command.make_context(name, rest, parent=above).params
    assert (read["source"], read["output"], read["preserve_color"]) == ("IN", "OUT", kept)


def test_an_amount_of_colour_out_of_range_is_told() -> None:
    done = CliRunner().invoke(stylebatch.cli.main, ["folder", "--preserve-color", "2", ".", "out"])
    assert done.exit_code == 2
    assert "preserve color 2: must be from 0 to 1" in done.output
