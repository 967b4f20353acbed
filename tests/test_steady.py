"""Paint that stays where the scene is, judged by motion that is known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.clips import make_clip, pictures

from stylebatch import Steadier, StylebatchError, VideoOptions, stylize_video
from stylebatch.frame import Pixels

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


def pan(count: int, seed: int = 0) -> list[Pixels]:
    """Frames of a camera that moves to the right."""
    whole = scene(seed)
    frames = []
    for number in range(count):
        matrix = np.array([[1, 0, 10 + STEP * number], [0, 1, 20]], np.float32)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(whole, matrix, (WIDTH, HEIGHT), flags=flags).clip(0, 255).astype(np.uint8))
    return frames


def painted(frames: list[Pixels]) -> list[Pixels]:
    """As a network paints that knows nothing of the other frames: strokes of its own on each."""
    strokes = [np.random.default_rng(number).normal(0, 40, frame.shape) for number, frame in enumerate(frames)]
    blurred = [cv2.GaussianBlur(each.astype(np.float32), (0, 0), 1) * 2 for each in strokes]
    return [(frame * 0.5 + 64 + each).clip(0, 255).astype(np.uint8) for frame, each in zip(frames, blurred, strict=True)]


def unsteadiness(frames: list[Pixels]) -> float:
    """Mean square of what changes between frames of `pan` along its motion."""
    moved = np.array([[1, 0, -STEP], [0, 1, 0]], np.float32)
    errors = []
    for before, frame in pairwise(frames):
        expected = cv2.warpAffine(before.astype(np.float32), moved, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
        errors.append(np.square(frame - expected)[8:-8, 8:-8].mean())
    return float(np.mean(errors))


def sharpness(frames: list[Pixels]) -> float:
    return float(np.mean([cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var() for frame in frames]))


def run(frames: list[Pixels], paintings: list[Pixels], share: float = 0.9) -> list[Pixels]:
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


def test_the_share_goes_from_nothing_to_all() -> None:
    frames = pan(6)
    alone = painted(frames)
    assert all(np.array_equal(*pair) for pair in zip(run(frames, alone, 0), alone, strict=True))
    less, more, all_ = (unsteadiness(run(frames, alone, share)) for share in (0.3, 0.6, 1))
    assert unsteadiness(alone) > less > more > all_
    with pytest.raises(StylebatchError, match=r"steady 1\.1: must be from 0"):
        Steadier(1.1)
    with pytest.raises(StylebatchError, match=r"steady -1: must be from 0"):
        VideoOptions(steady=-1)


def test_a_repeated_frame_stays_as_it_was() -> None:
    frames = pan(3)
    alone = painted([*frames, frames[-1]])
    steadied = run([*frames, frames[-1]], alone)
    assert np.array_equal(steadied[2], steadied[3])


def test_nothing_goes_over_a_cut_or_into_another_size() -> None:
    frames = [*pan(3), *pan(2, seed=1)]
    alone = painted(frames)
    assert np.array_equal(run(frames, alone)[3], alone[3])
    steadier = Steadier()
    steadier(frames[0], alone[0])
    assert np.array_equal(steadier(frames[1][:64], alone[1][:64]), alone[1][:64])


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


def flicker(path: Path) -> float:
    frames = [frame.astype(float) for frame in pictures(path)]
    return float(np.mean([np.square(b - a).mean() for a, b in pairwise(frames)]))


def test_films_are_steadied_unless_told_not_to(checkpoint: Path, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=8)
    for name, options in (("steady.mkv", {}), ("alone.mkv", {"steady": 0})):
        stylize_video(clip, tmp_path / name, style=checkpoint, options=VideoOptions(codec="ffv1", **options), device="cpu")
    assert flicker(tmp_path / "steady.mkv") < flicker(tmp_path / "alone.mkv")


@pytest.mark.slow
@pytest.mark.parametrize("stops", [(5,), (3, 9, 14)])
@pytest.mark.usefixtures("short_segments")
def test_a_film_that_was_stopped_is_steadied_as_one_that_was_not(
    stops: tuple[int, ...], checkpoint: Path, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=26)
    stylize_video(clip, tmp_path / "whole.mp4", style=checkpoint, device="cpu")
    done = [0]
    for stop in stops:
        stylize_video(
            clip, tmp_path / "b.mp4", style=checkpoint, device="cpu",
            progress=lambda summary: done.append(summary.finished), stop=lambda stop=stop: done[-1] >= stop,
        )  # fmt: skip
        assert not (tmp_path / "b.mp4").exists()
    stylize_video(clip, tmp_path / "b.mp4", style=checkpoint, device="cpu")
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
