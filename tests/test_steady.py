"""Paint that stays where the scene is, judged by motion that is known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from measure_steady import kurtosis, sharpness
from PIL import Image
from support.clips import make_clip, pictures

from stylebatch import Steadier, StylebatchError, VideoOptions, stylize_video
from stylebatch.frame import Pixels
from stylebatch.options import STEADY

HEIGHT, WIDTH = 96, 128
#: Of a pan: how far each frame is from the one before, in pixels.
STEP = 1.5


def scene(seed: int = 0) -> Pixels:
    """Detail at several scales, larger than a frame."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((HEIGHT + 60, WIDTH + 60, 3), np.float32)
    for cells, height in ((6, 90), (20, 50), (60, 25)):
        coarse = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        pixels += height * cv2.resize(coarse, (WIDTH + 60, HEIGHT + 60), interpolation=cv2.INTER_CUBIC)
    return pixels.clip(-120, 120) + 128


def pan(count: int, seed: int = 0, step: float = STEP) -> list[Pixels]:
    """Frames of a camera that moves to the right."""
    whole = scene(seed)
    frames = []
    for number in range(count):
        matrix = np.array([[1, 0, 10 + step * number], [0, 1, 20]], np.float32)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(whole, matrix, (WIDTH, HEIGHT), flags=flags).clip(0, 255).astype(np.uint8))
    return frames


def painted(frames: list[Pixels]) -> list[Pixels]:
    """As a network paints that knows nothing of the other frames: strokes of its own on each."""
    strokes = [np.random.default_rng(number).normal(0, 40, frame.shape) for number, frame in enumerate(frames)]
    blurred = [cv2.GaussianBlur(each.astype(np.float32), (0, 0), 1) * 2 for each in strokes]
    return [(frame * 0.5 + 64 + each).clip(0, 255).astype(np.uint8) for frame, each in zip(frames, blurred, strict=True)]


def unsteadiness(frames: list[Pixels], rows: slice = slice(8, -8)) -> float:
    """Mean square of what changes between frames of `pan` along its motion."""
    moved = np.array([[1, 0, -STEP], [0, 1, 0]], np.float32)
    errors = []
    for before, frame in pairwise(frames):
        expected = cv2.warpAffine(before.astype(np.float32), moved, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
        errors.append(np.square(frame - expected)[rows, 8:-8].mean())
    return float(np.mean(errors))


def run(frames: list[Pixels], paintings: list[Pixels], share: float = STEADY) -> list[Pixels]:
    steadier = Steadier(share)
    return [steadier(*pair) for pair in zip(frames, paintings, strict=True)]


def test_a_pan_holds_still_and_stays_sharp() -> None:
    frames = pan(16)
    alone = painted(frames)
    steadied = run(frames, alone)
    assert unsteadiness(alone) > 10 * unsteadiness(steadied)
    assert sharpness(steadied) > 0.75 * sharpness(alone)
    drift = np.mean(steadied[-1], axis=(0, 1)) - np.mean(alone[-1], axis=(0, 1))
    assert np.abs(drift).max() < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.05, 0.5])
def test_the_last_frame_of_a_long_film_has_strokes_like_the_first(step: float) -> None:
    """They follow the scene, and flicker. What is sharpened in each frame does not gather in dots."""
    frames = pan(100, step=step)
    strokes = pan(100, seed=1, step=step)
    alone = [cv2.addWeighted(each, 0.8, flicker, 0.2, 0) for each, flicker in zip(strokes, painted(frames), strict=True)]
    last, own = (film[-1][8:-8, 8:-8] for film in (run(frames, alone), alone))
    assert kurtosis(last) < 1.3 * kurtosis(own)
    assert 0.75 < sharpness([last]) / sharpness([own]) < 1.25


def test_even_places_move_with_the_camera() -> None:
    """What shows nothing but a camera's noise, across a pan: its motion can be told from the rest alone."""
    frames = pan(12)
    for number, frame in enumerate(frames):
        frame[40:64] = 128 + np.random.default_rng(number).normal(0, 2, frame[40:64].shape).round()
    alone = painted(frames)
    even = slice(44, 60)
    assert unsteadiness(alone, even) > 10 * unsteadiness(run(frames, alone), even)


def test_the_bytes_do_not_depend_on_the_number_of_threads() -> None:
    frames = [cv2.resize(frame, (512, 384), interpolation=cv2.INTER_CUBIC) for frame in pan(3)]
    alone = painted(frames)
    threads = cv2.getNumThreads()
    results = []
    try:
        for number in (1, 2, 5):
            cv2.setNumThreads(number)
            results.append(run(frames, alone)[-1])
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_the_share_goes_from_nothing_to_all() -> None:
    frames = pan(6)
    alone = painted(frames)
    assert all(np.array_equal(*pair) for pair in zip(run(frames, alone, 0), alone, strict=True))
    less, more, all_ = (unsteadiness(run(frames, alone, share)) for share in (0.3, 0.6, 1))
    assert unsteadiness(alone) > less > more > all_
    with pytest.raises(StylebatchError, match=r"steady 1\.1: must be from 0 to 1"):
        Steadier(1.1)
    with pytest.raises(StylebatchError, match=r"steady -1: must be from 0 to 1"):
        VideoOptions(steady=-1)


def test_a_repeated_frame_stays_as_it_was() -> None:
    frames = pan(3)
    alone = painted(frames)
    steadied = run([*frames, frames[-1]], [*alone, alone[-1]])
    assert np.array_equal(steadied[2], steadied[3])


def test_nothing_goes_over_a_cut_or_into_another_size() -> None:
    frames = [*pan(3), *pan(2, seed=1)]
    alone = painted(frames)
    assert np.array_equal(run(frames, alone)[3], alone[3])
    steadier = Steadier()
    steadier(frames[0], alone[0])
    assert np.array_equal(steadier(frames[1][:64], alone[1][:64]), alone[1][:64])


def test_a_fade_is_followed() -> None:
    """Paint darkens with the film."""
    frames = [(frame * (1 - number / 12)).astype(np.uint8) for number, frame in enumerate(pan(12))]
    alone = painted(frames)
    steadied = run(frames, alone)
    behind = [float(ours.mean()) - float(own.mean()) for ours, own in zip(steadied, alone, strict=True)]
    assert np.abs(behind).max() < 2.5
    assert flicker_of(steadied) < 0.7 * flicker_of(alone)


def test_a_flash_is_not_carried_on() -> None:
    frames = pan(6)
    frames[3] = cv2.addWeighted(frames[3], 0.2, frames[3], 0, 200)
    alone = painted(frames)
    steadied = run(frames, alone)
    assert np.array_equal(steadied[3], alone[3])
    assert np.array_equal(steadied[4], alone[4])


def test_text_that_stands_still_stays_sharp() -> None:
    """Over a scene that moves on."""
    frames = pan(12)
    for frame in frames:
        cv2.putText(frame, "Film", (24, 60), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 5)
    text = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.putText(text, "Film", (24, 60), cv2.FONT_HERSHEY_SIMPLEX, 1, 255, 3)
    inside, around = text > 0, cv2.dilate(text, np.ones((11, 11), np.uint8)) > 0
    alone = painted(frames)
    steadied = run(frames, alone)
    moving = [np.square(b.astype(float) - a)[inside].mean() for film in (alone, steadied) for a, b in pairwise(film)]
    assert np.mean(moving[:11]) > 4 * np.mean(moving[11:])

    def contrast(film: list[Pixels]) -> float:
        return float(np.mean([frame[inside].mean() - frame[around & ~inside].mean() for frame in film[4:]]))

    assert contrast(steadied) > 0.9 * contrast(alone)


def test_what_is_uncovered_has_its_own_paint() -> None:
    """Behind a square that moves on, where the frame before shows the square."""
    frames = pan(1) * 4
    frames = [frame.copy() for frame in frames]
    for number, frame in enumerate(frames):
        frame[30:66, 20 + 12 * number : 56 + 12 * number] = scene(5)[30:66, 20:56]
    alone = painted(frames)
    steadied = run(frames, alone)
    uncovered = np.abs(steadied[3].astype(float) - alone[3])[36:60, 46:54].mean()
    elsewhere = np.abs(steadied[3].astype(float) - alone[3])[70:90, 20:100].mean()
    assert uncovered < 0.35 * elsewhere


@pytest.mark.parametrize("deep", [False, True])
def test_its_state_is_all_that_the_next_frame_needs(deep: bool) -> None:
    frames = pan(5)
    alone = [image.astype(np.uint16) * 257 if deep else image for image in painted(frames)]
    whole = run(frames, alone)
    assert whole[0].dtype == alone[0].dtype
    first, second = Steadier(), Steadier()
    assert first.state == b""
    for pair in zip(frames[:3], alone[:3], strict=True):
        first(*pair)
    second.state = first.state
    for index in (3, 4):
        assert np.array_equal(second(frames[index], alone[index]), whole[index])
    second.state = b""
    assert np.array_equal(second(frames[4], alone[4]), alone[4])
    with pytest.raises(ValueError, match="no state"):
        second.state = first.state[:-1]


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (31, 64), (32, 32), (33, 500), (64, 33)])
def test_frames_of_every_size(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    steadier = Steadier()
    for number in range(3):
        frame = np.roll(rng.integers(0, 256, (*size, 3), dtype=np.uint8), number, axis=1)
        assert steadier(frame, 255 - frame).shape == frame.shape


def flicker_of(frames: list[Pixels]) -> float:
    return float(np.mean([np.square(b.astype(float) - a.astype(float)).mean() for a, b in pairwise(frames)]))


FILMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("a.mp4", {}, {}),
    ("a.mp4", {"pix_fmt": "yuv420p10le"}, {}),
    ("a.mkv", {"times": [0, 1, 3, 4, 9, 10, 12, 13]}, {}),
    ("a.mp4", {}, {"side_by_side": True}),
    ("a.mp4", {}, {"size": 48, "keep_work_size": True}),
    ("a.mp4", {}, {"size": 48}),
    ("a.mp4", {}, {"fps": 50}),
]


@pytest.mark.parametrize(("name", "made", "asked"), FILMS, ids=str)
def test_films_are_steadied_unless_told_not_to(
    name: str, made: dict[str, Any], asked: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / name, frames=8, **made)
    films = {}
    for steady in (STEADY, 0):
        path = tmp_path / f"{steady}.mkv"
        options = VideoOptions(codec="ffv1", steady=steady, **asked)
        stylize_video(clip, path, style=checkpoint, options=options, device="cpu", backend="torch")
        films[steady] = pictures(path)
    assert flicker_of(films[STEADY]) < flicker_of(films[0])


def test_animated_pictures_are_steadied(checkpoint: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(frame) for frame in pan(6)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=40, loop=0)
    for steady in (STEADY, 0):
        options = VideoOptions(steady=steady)
        stylize_video(
            tmp_path / "a.gif", tmp_path / f"{steady}.gif", checkpoint, options=options, device="cpu", backend="torch"
        )
    assert flicker_of(pictures(tmp_path / f"{STEADY}.gif")) < flicker_of(pictures(tmp_path / "0.gif"))


@pytest.mark.slow
@pytest.mark.parametrize("stops", [(5,), (3, 9, 14)])
@pytest.mark.usefixtures("short_segments")
def test_a_film_that_was_stopped_is_steadied_as_one_that_was_not(
    stops: tuple[int, ...], checkpoint: Path, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=26)
    stylize_video(clip, tmp_path / "whole.mp4", style=checkpoint, device="cpu", backend="torch")
    done = [0]
    for stop in stops:
        stylize_video(
            clip, tmp_path / "b.mp4", style=checkpoint, device="cpu", backend="torch",
            progress=lambda summary: done.append(summary.finished), stop=lambda stop=stop: done[-1] >= stop,
        )  # fmt: skip
        assert not (tmp_path / "b.mp4").exists()
    stylize_video(clip, tmp_path / "b.mp4", style=checkpoint, device="cpu", backend="torch")
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
