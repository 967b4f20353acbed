from __future__ import annotations

import os
import pickle
import resource
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import assert_close
from test_transnet import reference

from stylebatch.checkpoint import Checkpoint, load_checkpoint, save_pth, save_safetensors
from stylebatch.errors import OutputError, StylebatchError
from stylebatch.transnet import TransNet


@pytest.fixture
def model() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return TransNet().state_dict()


def test_pth_returns_what_was_saved(model: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "s_trans_net_2.pth"
    save_pth(Checkpoint(model, {"style": "s", "padding_mode": "reflect"}, {"optimizer": {"state": {}}, "step": 7}), path)
    loaded = load_checkpoint(path)
    assert all(torch.equal(loaded.model[key], model[key]) for key in model)
    assert loaded.metadata == {"style": "s", "padding_mode": "reflect"}
    assert loaded.training["step"] == 7
    assert loaded.network().padding_mode == "reflect"
    assert "layer.0" not in repr(loaded)


def test_safetensors_is_fp16_with_a_header(model: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    save_safetensors(Checkpoint(model, {"style": "s", "padding_mode": "reflect", "step": 7}), path)
    loaded = load_checkpoint(path)
    assert path.stat().st_size < 3_400_000
    assert loaded.metadata == {"style": "s", "padding_mode": "reflect", "step": "7"}
    for key in model:
        assert torch.equal(loaded.model[key], model[key].half().float())


def test_a_file_says_how_wide_its_network_is(tmp_path: Path) -> None:
    """By its weights, whatever its metadata leave out."""
    narrow = TransNet("reflect", width=8).eval()
    save_safetensors(Checkpoint(narrow.state_dict(), {"padding_mode": "reflect"}), tmp_path / "narrow.safetensors")
    loaded = load_checkpoint(tmp_path / "narrow.safetensors")
    assert loaded.width == loaded.network().width == 8
    x = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert (loaded.network()(x) - narrow(x)).abs().max() < 1e-2  # fp16 weights


@pytest.mark.slow
def test_the_articles_file_gives_the_articles_picture(model: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "hosi_trans_net_150.pth"
    network = TransNet("zeros")
    network.load_state_dict(model)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(1, 3, 16, 16)).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    torch.save({"optimizer": optimizer.state_dict(), "model": network.state_dict(), "info": "模型和优化器的所有参数"}, path)
    loaded = load_checkpoint(path)
    x = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert_close(loaded.network()(x), reference(network.state_dict(), x))


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_pickle_is_refused_and_not_run(legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    if legacy:
        path.write_bytes(pickle.dumps({"model": _Evil()}))
    else:
        torch.save({"model": _Evil()}, path)
    with pytest.raises(StylebatchError, match="refused"):
        load_checkpoint(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_truncated_file_is_refused(model: dict[str, torch.Tensor], tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"style{suffix}"
    (save_pth if suffix == ".pth" else save_safetensors)(Checkpoint(model), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StylebatchError, match=r"style\.\w+: (truncated|refused)"):
        load_checkpoint(path)


def _without(model: dict[str, Any]) -> Any:
    del model["layer.0.weight"]
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: [1, 2], "not a state dict"),
        (lambda m: {**m, "layer.24.weight": torch.zeros(1)}, "layer.24.weight"),
        (_without, "layer.0.weight"),
        (lambda m: {**m, "layer.0.weight": torch.zeros(32, 3, 7, 7)}, r"\(32, 3, 7, 7\), not \(32, 3, 9, 9\)"),
        (lambda m: {**m, "layer.0.weight": torch.zeros(16, 3, 9, 9)}, r"layer.3.weight is \(64, 32, 3, 3\), not \(32, 16,"),
        (lambda m: {**m, "layer.0.weight": torch.zeros(1).expand(10**9, 3, 9, 9)}, r"not \(32, 3, 9, 9\)"),
        (lambda m: {**m, "layer.22.bias": torch.zeros(3, dtype=torch.int64)}, "floats"),
        (lambda m: {**m, "layer.22.bias": torch.tensor([0.0, float("nan"), 0.0])}, "NaN"),
        (lambda m: {**m, "layer.22.bias": torch.zeros(3).to_sparse()}, "dense"),
    ],
)
def test_another_networks_weights_are_refused(
    model: dict[str, torch.Tensor], change: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save({"model": change(dict(model))}, path)
    with pytest.raises(StylebatchError, match=message):
        load_checkpoint(path)


def test_missing_and_unwritable_paths(model: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(StylebatchError, match="no such"):
        load_checkpoint(tmp_path / "none.pth")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        save_pth(Checkpoint(model), tmp_path / "file" / "x.pth")
    torch.save({"state": 1}, tmp_path / "no_model.pth")
    with pytest.raises(StylebatchError, match="not a style checkpoint"):
        load_checkpoint(tmp_path / "no_model.pth")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: m,
        lambda m: {"state_dict": m},
        lambda m: {"model_state_dict": m, "epoch": 3},
        lambda m: {"model": {f"module.{key}": value for key, value in m.items()}},
        lambda m: {f"net.{key}": value for key, value in m.items()} | {"vgg.0.weight": torch.zeros(2)},
        lambda m: {key: torch.nn.Parameter(value) for key, value in m.items()},
        lambda m: {"model": {key: value.double() for key, value in m.items()}, 3: "three"},
        lambda m: {"model": m, "metadata": {"loss": torch.tensor(2.5), 1: (2, 3)}},
    ],
    ids=["bare", "state_dict", "model_state_dict", "parallel", "wrapped", "parameters", "integers", "tensors"],
)
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_weights_as_people_save_them(model: dict[str, torch.Tensor], wrap: Any, suffix: str, tmp_path: Path) -> None:
    torch.save(wrap(dict(model)), tmp_path / f"a{suffix}")
    loaded = load_checkpoint(tmp_path / f"a{suffix}").model
    for key, tensor in model.items():
        assert torch.equal(loaded[key], tensor)


def test_weights_without_values(tmp_path: Path) -> None:
    with torch.device("meta"):
        torch.save(TransNet().state_dict(), tmp_path / "a.pth")
    with pytest.raises(StylebatchError, match="a shape but no values"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.slow
def test_size_is_read_before_tensors(
    model: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deflated archive of zeros is small; what it unpacks to is not allocated."""
    torch.save({"model": model}, tmp_path / "a.pth")
    archive = zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "a.pth") as source, archive as target:
        for record in source.infolist():
            target.writestr(record.filename, source.read(record))
        with target.open("a/data/999", "w", force_zip64=True) as file:
            for _ in range(200):
                file.write(bytes(1_000_000))
    assert (tmp_path / "b.pth").stat().st_size < 10_000_000
    monkeypatch.setattr("stylebatch.checkpoint.MAX_BYTES", 100_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StylebatchError, match=r"refused: 0\.2 GB"):
        load_checkpoint(tmp_path / "b.pth")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("name", ["/../../x", "..", "a/b", "a\\b", "x\x1b[2J", "two\nlines", "\ud800"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_style_named_as_no_file_can_be_is_refused(
    model: dict[str, torch.Tensor], name: str, suffix: str, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(model, {"style": name, "padding_mode": "reflect"})
    if suffix == ".pth":
        save_pth(checkpoint, tmp_path / "a.pth")
    elif name == "\ud800":
        pytest.skip("a header is UTF-8")
    else:
        save_safetensors(checkpoint, tmp_path / "a.safetensors")
    with pytest.raises(StylebatchError, match="is no file name") as error:
        load_checkpoint(tmp_path / f"a{suffix}")
    assert str(error.value).isprintable()
