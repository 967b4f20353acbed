"""The shipped styles, by what they are held to."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import ship_style
import torch
from click.testing import CliRunner, Result
from conftest import MAX_BLOCK_LEVELS, MAX_BORDER_LEVELS, MAX_SHADING, MIN_BASE_PSNR, MIN_PSNR, assert_close
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from stylebatch import Stylizer
from stylebatch.benchmark import psnr
from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_pth, save_safetensors
from stylebatch.errors import StylebatchError
from stylebatch.styles import (
    base_of,
    epoch_checkpoints,
    find_style,
    load_style,
    named_styles,
    shipped_styles,
)
from stylebatch.styles.added import add_style, remove_style
from stylebatch.transnet import TransNet
from trainer.config import CONTENT_LAYER, STYLE_LAYERS
from trainer.content import PACKAGED, load_photograph
from trainer.losses import content_loss, gram, shading, shading_loss
from trainer.vgg import VGG16

DATA = Path(__file__).parent / "data"


def unseen_photographs(size: int = 384) -> list[torch.Tensor]:
    """1×3×H×W, that no shipped network was trained with."""
    return [load_photograph(PACKAGED / f"{name}.jpg", size) for name in ("astronaut", "cat", "coffee")]


def as_pixels(photograph: torch.Tensor) -> torch.Tensor:
    """1×3×H×W in [0,1] → H×W×3 uint8."""
    return (photograph[0].permute(1, 2, 0) * 255).round().byte()


def test_headers_name_the_artwork() -> None:
    assert {*shipped_styles()} == {
        "composition_vii", "contrast_of_forms", "hosi", "la_muse", "metzinger", "mondrian", "scream", "shipwreck", "sketch",
        "trial", "wave", "woman_with_a_hat",
    }  # fmt: skip
    for name, style in shipped_styles().items():
        assert style.path.stem == name == style.header["style"]
        assert "unknown" not in (style.artwork, style.artist, style.year, style.rights)
        assert style.header["photographs"]
        assert style.header["padding_mode"] == "reflect"
        assert style.path.stat().st_size < 1_000_000


def test_hosi_paints_the_picture_that_was_looked_at() -> None:
    """`cat_hosi.png` was judged by eye; another picture means other weights, padding or pixels."""
    photograph, expected = (torch.from_numpy(np.array(Image.open(DATA / name))) for name in ("cat.png", "cat_hosi.png"))
    assert psnr(Stylizer("hosi", device="cpu", precision="fp32")(photograph[None])[0], expected) >= MIN_PSNR


@pytest.mark.slow
def test_hosi_keeps_what_the_photograph_shows() -> None:
    """On photographs that it was not trained with, at 384 px."""
    network, vgg = load_checkpoint(find_style("hosi")).network(), VGG16()
    losses = []
    with torch.inference_mode():
        for photograph in unseen_photographs():
            target, actual = (vgg(x, [CONTENT_LAYER])[CONTENT_LAYER] for x in (photograph, network(photograph)))
            losses.append(content_loss(actual, target).item())
    assert sum(losses) / len(losses) <= 4e5


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_styles())
def test_styles_keep_light_and_dark(name: str) -> None:
    """On photographs that they were not trained with, at 384 px: no dark holes in bright walls, no moons in skies."""
    network = load_checkpoint(find_style(name)).network()
    losses = []
    with torch.inference_mode():
        for photograph in unseen_photographs():
            losses.append(shading_loss(network(photograph), shading(photograph)).item())
    assert sum(losses) / len(losses) < MAX_SHADING


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trial", "wave", "woman_with_a_hat"])
def test_no_lines_along_the_borders(name: str) -> None:
    """Against the same places amid a larger picture. Without going on beyond the borders, 30 levels and more."""
    stylizer, around, depth = Stylizer(name, device="cpu", precision="fp32", backend="torch"), 32, 4
    inner, differences = slice(around, -around), []
    for photograph in unseen_photographs(448):
        pixels = as_pixels(photograph)
        larger = stylizer(pixels[None])[0, inner, inner].double().mean(2)
        difference = stylizer(pixels[None, inner, inner].contiguous())[0].double().mean(2) - larger
        sides = (difference, difference.flip(0), difference.T, difference.T.flip(0))
        differences.append(torch.stack([side[:depth].mean(1) for side in sides]))
    assert torch.stack(differences).mean(0).abs().max() < MAX_BORDER_LEVELS


def test_names_and_paths(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_style("hosi").name == "hosi.safetensors"
    assert find_style(str(checkpoint)) == checkpoint
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosi").touch()  # a file of that name does not hide the style
    assert find_style("hosi").name == "hosi.safetensors"
    for file in ("photo.jpg", "notes.txt"):
        (tmp_path / file).touch()
    for name, message in (
        ("nobody", "choose from .*hosi"),
        ("a/hosi", "unknown"),
        ("photo.jpg", "a picture, no style yet"),
        ("notes.txt", "not a checkpoint"),
    ):
        with pytest.raises(StylebatchError, match=message):
            find_style(name)


Family = dict[str, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Family]:
    """A base with two styles of it, one of another base and one of another width, random: the base and the third shipped,
    the others trained here."""
    root, models, digest = tmp_path_factory.mktemp("home"), {}, ""
    for seed, name in enumerate(("32", "one", "two", "alien", "narrow")):
        torch.manual_seed(seed)
        network = TransNet(width=8 if name == "narrow" else 32)
        models[name] = {key: tensor.half().float() for key, tensor in network.state_dict().items()}
        metadata = {"style": name, "padding_mode": "reflect"} | ({"base": digest} if name in ("one", "two") else {})
        digest = digest or Checkpoint(models[name], metadata).digest
        folder = root / {"32": "shipped/bases", "alien": "shipped"}.get(name, "checkpoints")
        save_safetensors(Checkpoint(models[name], metadata), folder / f"{name}.safetensors")
    return root, models


@pytest.fixture
def family(home: tuple[Path, Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    root, models = home
    monkeypatch.chdir(root)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("stylebatch.styles.FOLDER", root / "shipped")
    return models


def test_strength_and_mixes_are_sums_of_weights(family: Family) -> None:
    base, one, two = (family[name] for name in ("32", "one", "two"))
    for style, strength, expected in (
        ("one", 1.0, lambda key: one[key]),
        ("one", 0.0, lambda key: base[key]),
        ("one", 1.5, lambda key: base[key] + 1.5 * (one[key] - base[key])),
        ("one:0.6,two:0.4", 1.0, lambda key: 0.6 * one[key] + 0.4 * two[key]),
        ("two:1,one:3", 0.5, lambda key: 0.5 * base[key] + 0.125 * two[key] + 0.375 * one[key]),
    ):
        loaded = load_style(style, strength)
        for key, tensor in loaded.model.items():
            assert_close(tensor, expected(key))
        assert loaded.metadata["padding_mode"] == "reflect"
        assert loaded.tone == max(0.0, 1 - strength)
    assert load_style("one:0.6,two:0.4").metadata["style"] == "one0.6+two0.4"
    assert load_style("one", 0.5).metadata["style"] == "one"


def test_digest_tells_pictures_apart(family: Family) -> None:
    calls = [("one", 1.0), ("one", 0.5), ("two", 1.0), ("one:1,two:1", 1.0), ("one:2,two:1", 1.0)]
    assert len({load_style(*call).digest for call in calls}) == len(calls)
    assert load_style("one:2,two:2").digest == load_style("one:1,two:1").digest
    save_pth(Checkpoint(family["one"], {"padding_mode": "reflect"}), Path("one.pth"))
    assert load_style("one.pth").digest == load_style("one").digest


@pytest.mark.parametrize(
    ("style", "strength", "message"),
    [
        ("one", 1.6, r"strength 1\.6: must be between 0, the photograph, and 1\.5"),
        ("one", float("nan"), "must be between"),
        ("one:0,two:1", 1.0, "shares over 0"),
        ("one:1,one:2", 1.0, "name:share,name:share"),
        ("one:1,", 1.0, "name:share,name:share"),
        ("one:1,nobody:1", 1.0, "'nobody': unknown; choose from .*two"),
        ("one:1,alien:1", 1.0, "style alien: was not trained from the same base network as one"),
        ("one,narrow", 1.0, "style one,narrow: one of 32 and narrow of 8 channels: only networks of one width can be mixed"),
        ("narrow", 0.5, "style narrow: has no strength but 1: there is no base network of width 8, but of 32"),
        ("alien", 0.5, "style alien: was not trained from the same base network as the base"),
    ],
)
@pytest.mark.usefixtures("family")
def test_impossible_mixes(style: str, strength: float, message: str) -> None:
    with pytest.raises(StylebatchError, match=message):
        load_style(style, strength)


def test_a_style_trained_here_comes_before_an_added_one_and_a_shipped_one(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = find_style("one")
    assert trained == Path("checkpoints/one.safetensors")
    added = add_style(trained)
    assert added == tmp_path / "data" / "stylebatch" / "styles" / "one.safetensors"
    before = add_style(trained).read_bytes()  # it is that one already
    save_safetensors(Checkpoint(family["alien"], {"style": "one"}), tmp_path / "another.safetensors")
    with pytest.raises(StylebatchError, match=r"one\.safetensors: is there already; `overwrite` replaces it"):
        add_style(tmp_path / "another.safetensors")
    assert added.read_bytes() == before
    assert add_style(tmp_path / "another.safetensors", overwrite=True).read_bytes() != before
    add_style(trained, overwrite=True)
    assert find_style("one") == trained
    monkeypatch.chdir(tmp_path)
    assert find_style("one") == added
    for key, tensor in load_style("one").model.items():
        assert torch.equal(tensor, family["one"][key])
    assert set(named_styles()) == {"one", "alien"}
    assert set(shipped_styles()) == {"alien"}
    with pytest.raises(StylebatchError, match="'base': unknown"):
        find_style("base")


@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 16, 8])
def test_strength_nothing_is_the_photograph(width: int, tmp_path: Path) -> None:
    """Over photographs that the base was not trained with. The style, noise on the base, has no part in it at 0."""
    base = load_checkpoint(base_of(width))
    assert base.width == width
    noisy = {key: tensor + 0.1 * torch.randn_like(tensor) for key, tensor in base.model.items()}
    save_safetensors(Checkpoint(noisy, {**base.metadata, "style": "noisy", "base": base.digest}), tmp_path / "n.safetensors")
    stylizer = Stylizer(tmp_path / "n.safetensors", strength=0, device="cpu", precision="fp32")
    values = []
    for tensor in unseen_photographs():
        photograph = as_pixels(tensor)
        values.append(psnr(stylizer(photograph[None])[0], photograph))
    assert sum(values) / len(values) > MIN_BASE_PSNR


Grams = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def painted() -> Callable[..., Grams]:
    """style, strength → the Gram matrices, N×C×C, of its pictures of N photographs unseen in training."""
    vgg, photographs = VGG16(), [as_pixels(photograph) for photograph in unseen_photographs(128)]

    @cache
    @torch.inference_mode()
    def paint(style: str, strength: float = 1.0) -> Grams:
        stylizer = Stylizer(style, strength=strength, device="cpu", precision="fp32", backend="torch")
        pictures = [stylizer(photograph[None]).permute(0, 3, 1, 2) / 255 for photograph in photographs]
        features = [vgg(picture, STYLE_LAYERS) for picture in pictures]
        return {layer: torch.cat([gram(each[layer]) for each in features]) for layer in STYLE_LAYERS}

    return paint


def distance(a: Grams, b: Grams) -> float:
    return sum(float((a[layer] - b[layer]).square().mean()) for layer in a)


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_styles())
def test_style_grows_with_strength(painted: Callable[..., Grams], name: str) -> None:
    """Gram matrices come ever nearer to those of the style itself, at full strength."""
    strengths = [painted("hosi", 0), painted(name, 0.5), painted(name)]  # at 0 all are the base
    distances = [distance(each, strengths[-1]) for each in strengths]
    assert all(nearer < farther for farther, nearer in pairwise(distances))


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_styles())
def test_lower_strengths_keep_light_and_colour_in_large(name: str) -> None:
    """No discs in an even sky: the weights alone are up to 250 levels off there."""
    photograph = as_pixels(load_photograph(PACKAGED / "palace.jpg", 384))

    def blocks(picture: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(picture.permute(2, 0, 1).float(), 32)

    for strength, most in MAX_BLOCK_LEVELS.items():
        stylizer = Stylizer(name, strength=strength, device="cpu", precision="fp32", backend="torch")
        picture = stylizer(photograph[None])[0]
        assert (blocks(picture) - blocks(photograph)).abs().max() < most


@pytest.mark.slow
@pytest.mark.parametrize(("one", "two"), [("hosi", "wave"), ("scream", "la_muse"), ("sketch", "mondrian")])
def test_mixes_lie_between_their_parents(painted: Callable[..., Grams], one: str, two: str) -> None:
    a, b = painted(one), painted(two)
    mixes = [painted(f"{one}:{share},{two}:{1 - share}") for share in (0.75, 0.5, 0.25)]
    from_a, from_b = ([distance(mix, parent) for mix in mixes] for parent in (a, b))
    assert from_a == sorted(from_a)
    assert from_b == sorted(from_b, reverse=True)
    assert max(from_a[1], from_b[1]) < distance(a, b)  # halfway; near a parent, the contrast may be a little beyond it


def test_epochs_of_one_training(tmp_path: Path) -> None:
    for name in ("a_trans_net_120.pth", "a_trans_net_30.pth", "b_trans_net_30.pth", "a_trans_net_x.pth"):
        (tmp_path / name).touch()
    assert [epoch for epoch, _ in epoch_checkpoints(tmp_path / "a")] == [30, 120]
    with pytest.raises(StylebatchError, match="no checkpoints"):
        epoch_checkpoints(tmp_path / "c")


@pytest.mark.usefixtures("family")
def test_names_as_people_write_them() -> None:
    for name in ("One", " one ", "ONE"):
        assert find_style(name) == find_style("one")
    with pytest.raises(StylebatchError, match="did you mean alien"):
        find_style("aliem")
    assert load_style("one, Two").digest == load_style("one:50%,two:50%").digest


@pytest.mark.usefixtures("family")
def test_what_was_added_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = add_style(find_style("one"))
    monkeypatch.chdir(tmp_path)
    assert remove_style("ONE") == added
    assert not added.exists()
    for name, message in (("one", "'one': unknown"), ("alien", "is shipped"), ("../one", "unknown"), ("", "none is given")):
        with pytest.raises(StylebatchError, match=message):
            remove_style(name)


def test_a_style_that_was_not_added_is_not_removed(family: Family) -> None:
    with pytest.raises(StylebatchError, match="was not added"):
        remove_style("two")
    assert find_style("two").exists()
    assert family


@pytest.mark.usefixtures("family")
def test_files_that_are_no_styles_are_passed_over_and_named_once(
    home: tuple[Path, Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One broken file, or another program's network, in ./checkpoints takes nothing away from the others."""
    folder = tmp_path / "work" / "checkpoints"
    shutil.copytree(home[0] / "checkpoints", folder)
    (folder / "broken.safetensors").write_bytes((folder / "one.safetensors").read_bytes()[:5000])
    save_file({"unet.weight": torch.zeros(4, 4)}, folder / "diffusion.safetensors")
    monkeypatch.chdir(folder.parent)
    for _ in range(2):
        assert {"one", "two", "alien", "narrow"} == set(named_styles())
    notes = [record.message for record in caplog.records]
    assert sorted(re.search(r"(broken|diffusion)\.safetensors", note)[0] for note in notes) == [  # type: ignore[index]
        "broken.safetensors", "diffusion.safetensors",
    ]  # fmt: skip
    with pytest.raises(StylebatchError, match="diffusion"):
        load_style("diffusion")


def test_a_style_that_stands_for_a_shipped_one_is_told(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    save_safetensors(
        Checkpoint(family["one"], {"style": "alien", "padding_mode": "reflect"}), Path("checkpoints/alien.safetensors")
    )
    assert find_style("alien") == Path("checkpoints/alien.safetensors")
    assert [record.message for record in caplog.records if "checkpoints/alien.safetensors" in record.message]


@pytest.mark.parametrize("name", ["Monet, Lilies", "12:30", "x.pth", "a:b,c:d", "$x$ and $y$"])
@pytest.mark.usefixtures("family")
def test_styles_of_every_name(name: str, home: tuple[Path, Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commas and colons are those of mixes only where no style has such a name."""
    folder = tmp_path / "work" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copy(home[0] / "checkpoints" / "one.safetensors", folder / f"{name}.safetensors")
    monkeypatch.chdir(folder.parent)
    assert find_style(name) == Path("checkpoints", f"{name}.safetensors")
    assert load_style(name).digest == load_style(str(folder / f"{name}.safetensors")).digest


@pytest.mark.usefixtures("family")
def test_weights_that_make_no_numbers_are_told(home: tuple[Path, Family], tmp_path: Path) -> None:
    """Finite, but so large that every picture is NaN: no picture is written of them."""
    model = {key: tensor * 1e30 for key, tensor in load_style(str(home[0] / "checkpoints/one.safetensors")).model.items()}
    save_pth(Checkpoint(model, {"style": "huge", "padding_mode": "reflect"}), tmp_path / "huge.pth")
    with pytest.raises(StylebatchError, match=r"huge\.pth: its weights are too large to compute with"):
        Stylizer(str(tmp_path / "huge.pth"), device="cpu")


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Result]:
    """The script, where *hosi* and its base alone are shipped so far."""
    (tmp_path / "shipped" / "bases").mkdir(parents=True)
    shutil.copy(find_style("hosi"), tmp_path / "shipped")
    shutil.copy(base_of(16), tmp_path / "shipped" / "bases")
    for module in ("stylebatch.styles", "ship_style"):
        monkeypatch.setattr(f"{module}.FOLDER", tmp_path / "shipped")
    said = {"artwork": "Picture", "artist": "Somebody", "year": "1900", "rights": "public domain", "photographs": "a few"}
    options = [f"--{name}={value}" for name, value in said.items()]
    return lambda checkpoint: CliRunner().invoke(ship_style.main, [str(checkpoint), *options])


@pytest.mark.parametrize(("save", "suffix"), [(save_safetensors, ".safetensors"), (save_pth, ".pth")])
def test_both_files_that_a_training_writes_can_be_shipped(
    ship: Callable[[Path], Result], save: Callable[[Checkpoint, Path], None], suffix: str, tmp_path: Path
) -> None:
    before = load_checkpoint(find_style("hosi"))
    facts = {
        "style": "mine",
        "init": "hosi",
        "step": 7,
        "width": before.width,
        "config": {"steps": 7, "out": "/home/me", "init": "hosi"},
    }
    save(Checkpoint(before.model, facts), path := tmp_path / f"mine{suffix}")
    result = ship(path)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'shipped' / 'mine.safetensors'}\n"), result.stderr
    shipped = load_checkpoint(tmp_path / "shipped" / "mine.safetensors").metadata
    assert json.loads(shipped["config"]) == {"steps": 7}
    assert int(shipped["steps_before"]) == sum(int(before.metadata[key]) for key in ("step", "steps_before"))
    assert shipped["artist"] == "Somebody"


def test_a_network_that_does_not_say_how_it_was_trained_is_not_shipped(
    ship: Callable[[Path], Result], checkpoint: Path
) -> None:
    result = ship(checkpoint)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"Error: {checkpoint}: does not say how it was trained; give what `trainer fit` has written, .safetensors or .pth"
    ]
