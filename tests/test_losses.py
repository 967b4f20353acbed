from __future__ import annotations

import pytest
import torch
from conftest import BF16_ROUNDING, TOLERANCES, assert_close
from torch.nn.functional import mse_loss

from trainer import losses
from trainer.losses import content_loss, gram, palette, palette_loss, shading, shading_loss, spike_loss, style_loss, tv_loss


def test_gram_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # 1×2×1×2
    assert_close(gram(features), torch.tensor([[[5.0, 1.0], [1.0, 10.0]]]) / 4)


def test_losses_by_hand() -> None:
    features = {"a": torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])}
    targets = {"a": torch.zeros(1, 2, 2)}
    assert_close(style_loss(features, targets), torch.tensor((25 + 1 + 1 + 100) / 16 / 4))
    assert_close(content_loss(features["a"], features["a"] + 2), torch.tensor(4.0))
    image = torch.zeros(2, 3, 2, 2)
    image[0, 0] = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    assert_close(tv_loss(image), torch.tensor(2 * 255**2 / 2))


def test_palette_by_hand() -> None:
    """On a grey picture half as bright as another grey, every axis is off by half of what it gives for white."""
    bright, dark = torch.full((1, 3, 8, 10), 0.8), torch.full((2, 3, 5, 7), 0.4)
    along = palette(torch.ones(1, 3, 1, 1))[0, :, 0]
    assert_close(along[:3], torch.ones(3))
    assert_close(palette_loss(dark, palette(bright)), (0.4 * along).square().mean())


def test_palette_is_of_colours_not_of_places() -> None:
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 64, 48)
    shuffled = picture.flatten(2)[..., torch.randperm(64 * 48)].view(1, 3, 48, 64)
    assert_close(palette_loss(shuffled, palette(picture)), torch.tensor(0.0))
    blinding = shuffled.clone()
    blinding[..., :12, :12] = 1.0
    assert palette_loss(blinding, palette(picture)) > 1e-3
    large, half = torch.rand(2, 3, 256, 256), torch.rand(2, 3, 256, 256) / 2
    assert palette_loss(large, palette(picture)) < 1e-3 < palette_loss(half, palette(picture))
    alone = torch.stack([palette_loss(image[None], palette(picture)) for image in half]).mean()
    assert_close(palette_loss(half, palette(picture)), alone)


def test_shading_by_hand() -> None:
    """A step from white to black. A shrunk pixel next to it weighs one eighth from beyond. Red is 0.299 of white."""
    image = torch.zeros(1, 3, 32, 96)
    image[..., :48] = 1.0
    step = torch.tensor([4.0, 4.0, 3.0, -3.0, -4.0, -4.0]) / 8
    assert_close(shading(image), step.expand(1, 2, 6))
    assert_close(shading_loss(1 - image, shading(image)), (2 * step).square().mean())
    red = image * torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    assert_close(shading(red), 0.299 * step.expand(1, 2, 6))


def test_shading_is_of_places_not_of_strokes_nor_exposure() -> None:
    torch.manual_seed(0)
    photograph = torch.rand(2, 3, 96, 128).cumsum(3) / 130
    lit = shading(photograph)
    strokes = torch.sin(torch.arange(128) * 2 * torch.pi / 8)
    assert shading_loss(photograph + 0.2 * strokes, lit) < 1e-4  # only at borders, which cut a wave
    assert_close(shading_loss(photograph + 0.3, lit), torch.tensor(0.0))
    moon = photograph.clone()
    moon[..., 32:64, 32:64] += 0.3
    assert shading_loss(moon, lit) > 1e-3
    alone = torch.stack([shading_loss(moon[i : i + 1], lit[i : i + 1]) for i in range(2)]).mean()
    assert_close(shading_loss(moon, lit), alone)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (33, 20), (16, 160)])
def test_shading_of_any_size(height: int, width: int) -> None:
    assert shading(torch.rand(1, 3, height, width)).shape == (1, -(-height // 16), -(-width // 16))


def test_spikes_by_hand() -> None:
    calm, spiky = torch.tensor([[[[3.9, -4.0]]]]), torch.tensor([[[[6.0, -5.0, 0.0, 1.0]]]])
    assert_close(spike_loss([calm]), torch.tensor(0.0))
    assert_close(spike_loss([spiky, calm, spiky.to(torch.bfloat16)]), torch.tensor(2 * (4 + 1) / 4))


def test_style_loss_at_batch_1_is_the_articles() -> None:
    """There the batch is flattened into the channels: (n·c × h·w), divided by n·c·h·w."""
    torch.manual_seed(0)
    features = {name: torch.randn(1, c, 6, 5) for name, c in (("a", 4), ("b", 7))}
    styles = {name: torch.randn(1, f.shape[1], 9, 8) for name, f in features.items()}

    def article(x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n * c, h * w)
        return torch.mm(x, x.t()).div(n * c * h * w)

    expected = sum(mse_loss(article(features[name]), article(styles[name])) for name in features)
    actual = style_loss(features, {name: gram(s) for name, s in styles.items()})
    assert_close(actual, torch.as_tensor(expected))


def test_images_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 4, 6, 5)
    assert_close(gram(features), torch.cat([gram(image[None]) for image in features]))
    target = {"a": gram(torch.randn(1, 4, 6, 5))}
    alone = torch.stack([style_loss({"a": image[None]}, target) for image in features]).mean()
    assert_close(style_loss({"a": features}, target), alone)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_summed_in_fp32(dtype: torch.dtype) -> None:
    """Features like the loss network's: hundreds, over many pixels. Summed in half they would overflow or round; a Gram
    matrix of bfloat16 is rounded once, after the sum."""
    torch.manual_seed(0)
    features = (torch.rand(2, 16, 128, 128) * 600).to(dtype)
    target = torch.rand(1, 16, 16) * 1e4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = gram(features), style_loss({"a": features}, {"a": target}), content_loss(features, features * 0.5)
        variation = tv_loss(features / 600)
    exact = features.double()
    assert all(value.dtype == torch.float32 for value in (*values, variation))
    rounding = {"rtol": BF16_ROUNDING if dtype == torch.bfloat16 else TOLERANCES[torch.float32][0], "atol": 0.0}
    torch.testing.assert_close(values[0].double(), gram(exact), **rounding)
    torch.testing.assert_close(values[1].double(), style_loss({"a": exact}, {"a": target.double()}), **rounding)
    assert_close(values[2] / 1e4, content_loss(exact, (features * 0.5).double()) / 1e4)
    assert_close(variation / 1e9, tv_loss((features / 600).double()) / 1e9)


def test_float64_stays_float64_and_has_right_gradients() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    target = {"a": gram(torch.rand(1, 3, 4, 5, dtype=torch.float64))}
    other = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: style_loss({"a": x}, target) + content_loss(x, other) + tv_loss(x) * 1e-6, (x,)
    )
    colours = palette(torch.rand(1, 3, 6, 6, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x: palette_loss(x, colours) + spike_loss([9 * x]), (x,))
    lit = shading(torch.rand(2, 3, 40, 40, dtype=torch.float64))
    image = torch.rand(2, 3, 40, 40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: shading_loss(x, lit), (image,), fast_mode=True)


def test_a_loss_that_was_measured_can_be_learned_from() -> None:
    losses._on.cache_clear()
    picture = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        shading(picture), palette(picture)
    learned = picture.clone().requires_grad_()
    (shading(learned).sum() + palette(learned).sum()).backward()
    assert learned.grad is not None
    assert learned.grad.count_nonzero()
