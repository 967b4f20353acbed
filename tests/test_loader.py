from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import picture

from stylebatch.images.source import ImageSource
from stylebatch.loader import load_batches


@pytest.mark.parametrize("workers", [0, 2])
def test_frames_and_depths_part_into_batches(tmp_path: Path, workers: int) -> None:
    """An animation of 7 frames, two stills and a 16-bit picture, all of one size."""
    frames = [picture(seed=seed) for seed in range(7)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    for name in ("b.png", "c.png"):
        picture(seed=name).save(tmp_path / name)
    cv2.imwrite(str(tmp_path / "d.png"), np.asarray(picture()).astype(np.uint16) * 257)
    names = ["a.webp", "b.png", "c.png", "d.png"]
    loads = load_batches(ImageSource(tmp_path), names, batch_size=4, workers=workers, pin=False)
    batches = [batch for load in loads for batch in load.batches]
    assert [len(batch.infos) for batch in batches if batch.pixels.dtype == torch.uint8] == [4, 4, 1]
    assert [len(batch.infos) for batch in batches if batch.pixels.dtype == torch.uint16] == [1]
    parts = [(info.source, info.extra.frame) for batch in batches for info in batch.infos]
    assert parts == [*(("a.webp", number) for number in range(7)), ("b.png", 0), ("c.png", 0), ("d.png", 0)]
    for (name, number), pixels in zip(parts, (p for batch in batches for p in batch.pixels), strict=True):
        if name == "a.webp":
            assert (pixels.numpy() == np.asarray(frames[number])).all()


def test_frames_of_an_animation_share_batches_no_larger_than_others(tmp_path: Path) -> None:
    frames = [picture(seed=seed) for seed in range(5)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    source = ImageSource(tmp_path)
    loads = list(load_batches(source, ["a.png"], batch_size=8, batch_pixels=2 * 48 * 32, workers=0, pin=False))
    assert [len(batch.infos) for batch in loads[0].batches] == [2, 2, 1]
