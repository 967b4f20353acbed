"""The shipped styles, by what they are held to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MIN_PSNR
from PIL import Image

from stylebatch import Stylizer
from stylebatch.benchmark import psnr
from stylebatch.checkpoint import load_checkpoint
from stylebatch.errors import StylebatchError
from stylebatch.styles import epoch_checkpoints, find_style, shipped_styles
from trainer.config import CONTENT_LAYER
from trainer.content import PACKAGED, load_photograph
from trainer.losses import content_loss
from trainer.vgg import VGG16

DATA = Path(__file__).parent / "data"


def test_headers_name_the_artwork() -> None:
    assert "hosi" in shipped_styles()
    for name, style in shipped_styles().items():
        assert style.path.stem == name == style.header["style"]
        assert "unknown" not in (style.artwork, style.artist, style.year, style.rights)
        assert style.header["photographs"]
        assert style.header["padding_mode"] == "reflect"
        assert style.path.stat().st_size < 3_500_000


def test_hosi_paints_the_picture_that_was_looked_at() -> None:
    """`cat_hosi.png` was judged by eye; another picture means other weights, padding or pixels."""
    photograph, expected = (torch.from_numpy(np.array(Image.open(DATA / name))) for name in ("cat.png", "cat_hosi.png"))
    assert psnr(Stylizer("hosi", device="cpu", precision="fp32")(photograph[None])[0], expected) >= MIN_PSNR


def test_hosi_keeps_what_the_photograph_shows() -> None:
    """On photographs that it was not trained with, at 384 px."""
    network, vgg = load_checkpoint(find_style("hosi")).network(), VGG16()
    losses = []
    with torch.inference_mode():
        for name in ("astronaut", "cat", "coffee"):
            photograph = load_photograph(PACKAGED / f"{name}.jpg", 384)
            target, actual = (vgg(x, [CONTENT_LAYER])[CONTENT_LAYER] for x in (photograph, network(photograph)))
            losses.append(content_loss(actual, target).item())
    assert sum(losses) / len(losses) <= 4e5


def test_names_and_paths(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_style("hosi").name == "hosi.safetensors"
    assert find_style(str(checkpoint)) == checkpoint
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosi").touch()  # a file of that name does not hide the style
    assert find_style("hosi").name == "hosi.safetensors"
    (tmp_path / "photo.jpg").touch()
    for name, message in (("nobody", "choose from .*hosi"), ("a/hosi", "unknown"), ("photo.jpg", "not a checkpoint")):
        with pytest.raises(StylebatchError, match=message):
            find_style(name)


def test_epochs_of_one_training(tmp_path: Path) -> None:
    for name in ("a_trans_net_120.pth", "a_trans_net_30.pth", "b_trans_net_30.pth", "a_trans_net_x.pth"):
        (tmp_path / name).touch()
    assert [epoch for epoch, _ in epoch_checkpoints(tmp_path / "a")] == [30, 120]
    with pytest.raises(StylebatchError, match="no checkpoints"):
        epoch_checkpoints(tmp_path / "c")
