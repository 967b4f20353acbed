from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import assert_close
from safetensors.torch import load_file

from stylebatch.errors import StylebatchError
from trainer.config import STYLE_LAYERS
from trainer.vgg import EMBEDDED, LAYERS, VGG16

MEAN_PIXEL = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def vgg() -> VGG16:
    return VGG16()


def torchvisions() -> torch.nn.Sequential:
    """The convolutions of its VGG-16: the rest, which nobody needs here, is nine tenths of it."""
    from torchvision.models.vgg import cfgs, make_layers

    return make_layers(cfgs["D"])


@pytest.mark.slow
def test_features_are_torchvisions_by_name(vgg: VGG16) -> None:
    """torchvision's own VGG-16 with the same weights, tapped at the indices of relu1_2 … relu4_3."""
    theirs = torchvisions()[:23]
    theirs.load_state_dict({key.removeprefix("features."): value.float() for key, value in load_file(EMBEDDED).items()})
    x = torch.rand(2, 3, 48, 40)
    features = vgg(x, STYLE_LAYERS)
    y = x * 255 - MEAN_PIXEL
    with torch.inference_mode():
        for index, layer in enumerate(theirs):
            y = layer(y)
            for name, tap in zip(STYLE_LAYERS, (3, 8, 15, 22), strict=True):
                if index == tap:
                    scale = y.abs().max()
                    assert_close(features.pop(name) / scale, y / scale)
    assert not features


def test_no_deeper_than_needed(vgg: VGG16) -> None:
    computed: list[str] = []
    hooks = [
        convolution.register_forward_hook(lambda *_, name=name: computed.append(name))
        for name, convolution in vgg.convolutions.items()
    ]
    vgg(torch.rand(1, 3, 16, 16), ["relu2_2"])
    for hook in hooks:
        hook.remove()
    assert computed == ["relu1_1", "relu1_2", "relu2_1", "relu2_2"]


def test_it_is_frozen_but_lets_gradients_through(vgg: VGG16) -> None:
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    vgg(x, ["relu3_3"])["relu3_3"].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in vgg.parameters())


def test_raw_input_of_the_original_weights_scales_the_features() -> None:
    """Fed with [0,1], all features are exactly 1/255 of those of 0-255 without a mean."""
    x = torch.rand(1, 3, 32, 32)
    raw, caffe = VGG16(input="raw"), VGG16()
    shifted = raw(x + 0, ["relu4_3"])["relu4_3"]
    expected = caffe(x + MEAN_PIXEL / 255, ["relu4_3"])["relu4_3"] / 255
    assert_close(shifted / expected.max(), expected / expected.max())


@pytest.mark.slow
def test_weights_from_a_path(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {f"features.{name}": tensor for name, tensor in torchvisions().state_dict().items()}
    path = tmp_path / "vgg.pth"
    torch.save(state, path)
    ours = VGG16(str(path))
    assert list(ours.convolutions) == list(LAYERS)
    assert len(LAYERS) == 13
    x = torch.rand(1, 3, 32, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    first = torch.nn.functional.conv2d(
        (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1), state["features.0.weight"], state["features.0.bias"], padding=1
    ).relu()
    assert_close(ours(x, ["relu1_1"])["relu1_1"], first)
    assert_close(VGG16(str(path), "raw")(x, ["relu5_3"])["relu5_3"].shape[1] * torch.ones(1), torch.full((1,), 512.0))


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "IMAGENET1K_FEATURES"])
def test_torchvisions_weights_come_by_its_own_download(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its address turned to a folder without the file: the line says what to do."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with pytest.raises(StylebatchError, match=f"{name}: torchvision could not download"):
        VGG16(name)


def test_bad_weights_and_layers(vgg: VGG16, tmp_path: Path) -> None:
    with pytest.raises(StylebatchError, match="no such file"):
        VGG16("none.pth")
    (tmp_path / "broken.safetensors").write_bytes(EMBEDDED.read_bytes()[:1000])
    with pytest.raises(StylebatchError, match="cannot be read"):
        VGG16(str(tmp_path / "broken.safetensors"))
    torch.save({"features.0.weight": torch.zeros(64, 3, 5, 5)}, tmp_path / "other.pth")
    with pytest.raises(StylebatchError, match="not VGG-16 weights"):
        VGG16(str(tmp_path / "other.pth"))
    with pytest.raises(StylebatchError, match="relu9_9"):
        vgg(torch.rand(1, 3, 16, 16), ["relu9_9"])
    with pytest.raises(StylebatchError, match="these weights have"):
        vgg(torch.rand(1, 3, 16, 16), ["relu5_1"])
    with pytest.raises(StylebatchError, match="too small"):
        vgg(torch.rand(1, 3, 4, 4), ["relu4_3"])
    with pytest.raises(StylebatchError, match="input"):
        VGG16(input="bgr")  # type: ignore[arg-type]
