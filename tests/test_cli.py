from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import CODED_LEVELS, picture
from PIL import Image

import stylebatch.cli
import trainer.cli
from stylebatch.checkpoint import load_checkpoint
from stylebatch.cli.folder import as_lines as photographs_as_lines
from stylebatch.cli.video import as_lines as films_as_lines
from stylebatch.jobs.video import VideoSummary
from stylebatch.manifest import NAME
from stylebatch.pipeline import Summary
from stylebatch.styles import shipped_styles
from trainer.config import FitConfig
from trainer.keep import Kept

#: Of a training: small pictures, and nothing that is measured beforehand.
SHORT = ("--crop-size", "32", "--style-size", "80", "--init", "base", "--patience", "0", "--workers", "0")


def invoke(*args: object) -> Result:
    program = trainer.cli.main if args[0] == "trainer" else stylebatch.cli.main
    return CliRunner().invoke(program, [str(arg) for arg in args[1:]])


def test_folder(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    source = photos()
    result = invoke("stylebatch", "folder", source, tmp_path / "out", "--style", checkpoint, "--grid", "--device", "cpu")
    assert result.exit_code == 0
    assert result.stdout.startswith("3 of 3 photographs in ")
    assert (tmp_path / "out" / "nested" / "deep" / "c_grid.jpg").exists()


@pytest.mark.slow
def test_folder_with_a_broken_file_exits_1_and_names_it(
    photos: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    source = photos("a.png")
    (source / "b.jpg").write_text("no picture")
    args = ("stylebatch", "folder", source, tmp_path / "out", "--style", checkpoint)
    result = invoke(*args)
    assert result.exit_code == 1
    assert "failed: b.jpg: not an image" in result.stdout
    (tmp_path / "out" / "a.png").unlink()
    result = invoke(*args, "--json")
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert summary["done"] == 1
    assert summary["failed"] == [{"path": "b.jpg", "reason": "not an image that can be read"}]
    assert set(summary["waits"]) == {"load", "stylize", "save"}
    again = json.loads(invoke(*args, "--json").stdout)
    assert (again["skipped"], again["done"], len(again["failed"])) == (1, 0, 1)


@pytest.mark.slow
def test_a_style_from_training_to_folder(
    photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole path: a picture becomes a style, which has its name here at once, and everywhere once it is added."""
    picture(96, 80, seed="style").save(tmp_path / "trial.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    result = invoke(
        "trainer", "fit", "--style", "trial.jpg", "--steps", 2, "--crop-size", 32, "--style-size", 80, "--workers", 0,
        "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == "checkpoints/trial.safetensors"
    source = photos("a.jpg")
    assert invoke("stylebatch", "folder", source, "out", "--style", "trial").exit_code == 0
    assert invoke("stylebatch", "styles", "add", "checkpoints/trial.safetensors").exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert invoke("stylebatch", "folder", source, "out", "--style", "trial").exit_code == 0
    assert "trial" in invoke("stylebatch", "styles").stdout
    here, there = (tmp_path / folder / "out" / "a.jpg" for folder in (".", "elsewhere"))
    assert here.read_bytes() == there.read_bytes()
    with Image.open(here) as painted, Image.open(source / "a.jpg") as photograph:
        assert painted.size == photograph.size
        assert painted.tobytes() != photograph.tobytes()


@pytest.mark.slow
def test_sheet_of_every_style(photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original and each style that is shipped, five in a row."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    result = invoke("stylebatch", "styles", "--sheet", photos("a.jpg", size=(60, 40)) / "a.jpg", "-o", "sheet.png")
    assert result.exit_code == 0, result.output
    pictures = 1 + len(shipped_styles())
    with Image.open("sheet.png") as sheet:
        assert sheet.width == pytest.approx(400 * min(5, pictures), abs=50)
        assert sheet.height > -(-pictures // 5) * 400 * 40 / 60


@pytest.mark.slow
def test_the_articles_recipe(photos: Callable[..., Path], tmp_path: Path) -> None:
    """Its choices, on a small crop: 7 photographs in batches of 3 make 3 steps, the last partial."""
    picture(96, 80, seed="style").save(tmp_path / "hosi.jpg")
    content = photos(*(f"{i}.jpg" for i in range(7)))
    result = invoke(
        "trainer", "fit", "--style", tmp_path / "hosi.jpg", "--out", tmp_path, "--content", content, "--recipe", "article",
        "--epochs", 2, "--checkpoint-epochs", 1, "--crop-size", 32, "--workers", 0, "--precision", "fp32",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [epoch for epoch in range(5) if (tmp_path / f"hosi_trans_net_{epoch}.pth").exists()] == [1, 2]
    assert len((tmp_path / "hosi_losses.csv").read_text().splitlines()) == 1 + 6
    metadata = load_checkpoint(tmp_path / "hosi_trans_net_2.pth").metadata
    assert metadata["padding_mode"] == "zeros"
    config = metadata["config"]
    assert (config["batch_size"], config["style_weight"], config["learning_rate"]) == (3, 1e5, 1e-3)
    assert (config["vgg_input"], config["augment"], config["schedule"], config["tv_weight"]) == ("raw", False, "constant", 0)


@pytest.mark.slow
def test_image_grid_and_styles(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    photo = photos("a.jpg") / "a.jpg"
    result = invoke("stylebatch", "image", photo, tmp_path / "b.png", "--style", checkpoint)
    assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "b.png"))
    sheet = tmp_path / "sheet.png"
    namesake = tmp_path / "other" / checkpoint.name
    namesake.parent.mkdir()
    namesake.write_bytes(checkpoint.read_bytes())
    styles = ("--style", checkpoint, "--style", namesake)
    assert invoke("stylebatch", "grid", photo, *styles, "-o", sheet, "--width", 64).exit_code == 0
    with Image.open(sheet) as image:
        assert image.width == 3 * 64 + 4 * 4
    result = invoke("stylebatch", "styles")
    assert "hosi" in result.stdout
    assert "The Starry Night" in result.stdout
    listing = json.loads(invoke("stylebatch", "styles", "--json").stdout)
    assert {"name", "artwork", "artist", "year", "rights"} <= set(listing[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("stylebatch", "folder", "none", "out"), "Error: none: no such folder of photographs"),
        (("stylebatch", "folder", "empty", "out"), "no photographs in it"),
        (("stylebatch", "folder", "in", "in/out"), "the output lies inside the input"),
        (("stylebatch", "folder", "in", "out", "--style", "nobody"), "'nobody': unknown; choose from composition_vii"),
        (("stylebatch", "folder", "in", "out", "--batch-size", "0"), "must be at least 1"),
        (("stylebatch", "folder", "in", "out", "--device", "gpu"), "no such device"),
        (("stylebatch", "folder", "in", "out", "--precision", "int8"), "Invalid value"),
        (("stylebatch", "folder", "in"), "Missing argument 'OUT'"),
        (("stylebatch", "foldr", "in", "out"), "No such command 'foldr'"),
        (("stylebatch", "image", "none.jpg"), "no such photograph"),
        (("stylebatch", "image", "in/broken.jpg"), "not an image"),
        (("stylebatch", "grid"), "Missing argument"),
        (("stylebatch", "grid", "in/a.jpg", "--style", "hosi", "--epochs", "x"), "excludes --style"),
        (("trainer", "fit"), "Missing option '-s' / '--style'"),
        (("trainer", "fit", "--style", "none.jpg"), "no such style picture"),
        (("trainer", "fit", "--style", "in/broken.jpg"), "cannot be read as a style picture"),
        (("trainer", "fit", "--style", "in/a.jpg", "--style-size", "0"), "too small for a style"),
        (("trainer", "fit", "--style", "in/a.jpg", "--content", "empty"), "no content photographs"),
        (("trainer", "fit", "--style", "in/a.jpg", "--steps", "0"), "steps 0: must be at least 1"),
        (("trainer", "fit", "--style", "in/a.jpg", "--style-weight", "-1"), "must be at least 0"),
        (("trainer", "fit", "--style", "in/a.jpg", "--init", "nobody"), "unknown; choose from"),
        (("trainer", "fit", "--style", "in/a.jpg", "--vgg", "nothing.pth"), "no such file"),
    ],
)
def test_wrongly_typed(
    args: tuple[str, ...], message: str, photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos("a.jpg")
    (tmp_path / "in" / "broken.jpg").write_text("no picture")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    result = invoke(*args)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback() -> None:
    result = invoke("stylebatch", "folder", "none", "out", "--debug")
    assert result.exit_code == 1
    assert type(result.exception).__name__ == "StylebatchError"


@pytest.mark.parametrize("program", ["stylebatch", "trainer"])
def test_help_is_quick_and_loads_nothing_heavy(program: str) -> None:
    """Three times as long as Python takes to start and load click, on any machine: 0.1 to 0.3 s."""
    heavy_ones = ("torch", "cv2", "av", "numpy", "PIL", "urllib.request")
    told = f"import sys, time; print([m for m in {heavy_ones} if m in sys.modules], time.process_time())"
    called = f"sys.argv = ['{program}', '--help']; {program}.cli.main(standalone_mode=False)"
    helped = f"import {program}.cli, sys; {called}; {told}"
    seconds: dict[str, list[float]] = {helped: [], f"import click; {told}": []}
    for code in 3 * list(seconds):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        heavy, _, took = result.stdout.splitlines()[-1].rpartition(" ")
        seconds[code].append(float(took))
        assert heavy == "[]"
    help_took, click_took = map(min, seconds.values())
    assert help_took < 5 * click_took


@pytest.mark.slow
def test_interrupted_folder_ends_cleanly(photos: Callable[..., Path], checkpoint: Path, tmp_path: Path) -> None:
    """The whole process group gets the signal, as from a terminal: workers too."""
    source = photos("0.png", size=(200, 160))
    for number in range(1, 200):
        shutil.copy(source / "0.png", source / f"{number}.png")
    out = tmp_path / "out"
    program = "from stylebatch.cli import main; main()"
    command = [sys.executable, "-c", program, "folder", str(source), str(out), "--style", str(checkpoint)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not any(out.glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "not done; the same command goes on" in stdout
    written = sorted(path.name for path in out.iterdir() if path.name != NAME)
    assert 0 < len(written) < 200
    for name in written:
        Image.open(out / name).load()
        assert name.endswith(".png")


def test_summaries_tell_of_halved_batches() -> None:
    told = "2 batches did not fit into memory"
    assert any(told in line for line in photographs_as_lines(Summary(halved=2), Path("out")))
    assert any(told in line for line in films_as_lines(VideoSummary(halved=2)))


def test_summaries_say_what_was_busy() -> None:
    """The stage that waits least is the one that decides how long a film takes."""
    summary = VideoSummary(seconds=10, decoder_waited=9, encoder_waited=8, waits={"load": 0.5, "stylize": 9, "save": 0.5})
    assert films_as_lines(summary)[-1].endswith("busy with reading 10%, painting 90%, writing 20% of the time")


@pytest.fixture
def newcomer(photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a person may have: photographs, a painting, films by their names."""
    photos("a.jpg")
    picture(40, 30, seed="cat").save(tmp_path / "cat.jpg")
    picture(96, 80, seed="painting").save(tmp_path / "painting.jpg")
    (tmp_path / "films").mkdir()
    for name in ("clip.mp4", "films/a.mov"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


#: What is typed → what is said.
REFUSED = [
    ("stylebatch in out", "stylebatch folder in out"),
    ("stylebatch cat.jpg", "stylebatch image cat.jpg"),
    ("stylebatch clip.mp4", "stylebatch video clip.mp4"),
    ("stylebatch --style wave in out", "stylebatch folder --style wave in out"),
    ("stylebatch vidoe clip.mp4", "Did you mean stylebatch video?"),
    ("stylebatch folder cat.jpg out", "stylebatch image cat.jpg out"),
    ("stylebatch folder clip.mp4 out", "stylebatch video clip.mp4 out"),
    ("stylebatch folder in", "stylebatch folder in in_hosi"),
    ("stylebatch folder '' out", "Invalid value for 'IN'"),
    ("stylebatch video nowhere://bucket/clip.mp4", "nowhere://bucket/clip.mp4: cannot be reached: Protocol not known"),
    ("stylebatch folder in out --ray-workers 2", "--ray-workers, --cpus-per-worker, --gpus-per-worker are for --engine ray"),
    ("stylebatch folder in out --strength 160%", "strength 1.6: must be from 0 to 1.5"),
    ("stylebatch folder in out --strength much", "'much' is no number"),
    ("stylebatch folder in out --size 8px", "size 8: must be at least 16"),
    ("stylebatch folder in out --size large", "'large' is no whole number"),
    ("stylebatch folder in out --quality 101", "quality 101: must be from 1 to 100"),
    ("stylebatch folder in out --format exe", "format exe: cannot be written; choose from jpg"),
    ("stylebatch folder in out --device gpu", "'gpu': no such device"),
    ("stylebatch folder in out --workers -1", "must be at least 0"),
    ("stylebatch folder in out --style=", "style: none is given"),
    ("stylebatch folder in out --style wawe", "did you mean wave?"),
    ("stylebatch folder in out --style wave,hosl", "did you mean hosi?"),
    ("stylebatch folder in out --style in", "'in': unknown"),
    ("stylebatch image in", "stylebatch folder in in_hosi"),
    ("stylebatch image clip.mp4", "stylebatch video clip.mp4"),
    ("stylebatch image none.jpg", "none.jpg: no such photograph"),
    ("stylebatch image cat.jpg cat.exe", "no format to write"),
    ("stylebatch video films", "stylebatch video films films_hosi"),
    ("stylebatch video in out", "stylebatch folder in out"),
    ("stylebatch video cat.jpg", "stylebatch image cat.jpg"),
    ("stylebatch video none.mp4", "none.mp4: no such film"),
    ("stylebatch video clip.mp4 --codec divx", "codec divx: unknown; choose from h264"),
    ("stylebatch video clip.mp4 --crf 64", "crf 64: must be from 0 to 63"),
    ("stylebatch video clip.mp4 --fps 0", "fps 0: must be above 0"),
    ("stylebatch grid none.jpg", "none.jpg: no such photograph"),
    ("stylebatch grid cat.jpg --strength 9", "strength 9: must be between"),
    ("stylebatch grid cat.jpg -o sheet.exe", "no format to write"),
    ("stylebatch styles lst", "Did you mean stylebatch styles list?"),
    ("stylebatch styles remove wave", "style wave: is shipped"),
    ("stylebatch styles remove nobody", "'nobody': unknown"),
    ("stylebatch styles --sheet none.jpg", "none.jpg: no such photograph"),
    ("stylebatch bench --style wawe", "did you mean wave?"),
    ("trainer painting.jpg", "trainer fit painting.jpg"),
    ("trainer fit", "trainer fit --style painting.jpg"),
    ("trainer fit cat.jpg --style painting.jpg", "Two pictures"),
    ("trainer fit in", "in: is a folder"),
    ("trainer fit none.jpg", "no such style picture"),
    ("trainer fit painting.jpg --device gpu", "'gpu': no such device"),
    ("trainer fit painting.jpg --keep --out out", "--keep excludes --out, --resume"),
]


def test_wrong_values_are_refused_before_pytorch_is_loaded(newcomer: Path) -> None:
    """All in one process, which has not loaded it at the end either."""
    program = (
        "import contextlib, io, json, shlex, sys; import stylebatch.cli, trainer.cli\n"
        "said = []\n"
        "for line in json.load(sys.stdin):\n"
        "    name, *args = shlex.split(line)\n"
        "    main = stylebatch.cli.main if name == 'stylebatch' else trainer.cli.main\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as stderr, contextlib.suppress(SystemExit):\n"
        "        main(args, prog_name=name)\n"
        "    said.append([stderr.getvalue(), [heavy for heavy in ('torch', 'cv2', 'av') if heavy in sys.modules]])\n"
        "json.dump(said, sys.stdout)"
    )
    lines = json.dumps([typed for typed, _ in REFUSED])
    result = subprocess.run([sys.executable, "-c", program], input=lines, capture_output=True, text=True, check=True)
    for (typed, expected), (said, loaded) in zip(REFUSED, json.loads(result.stdout), strict=True):
        assert expected in said, f"{typed}: {said}"
        assert "Traceback" not in said, typed
        assert not loaded, typed
    assert not (newcomer / "out").exists()


@pytest.mark.slow
def test_what_is_meant_is_done(newcomer: Path, checkpoint: Path) -> None:
    """A folder for the output, units, a style's name in another spelling."""
    (newcomer / "there").mkdir()
    for out in ("there", "new/"):
        result = invoke("stylebatch", "image", "cat.jpg", out, "--style", checkpoint, "--size", "32px")
        assert (result.exit_code, result.stdout.strip()) == (0, str(Path(out) / "cat.jpg")), result.output
    assert invoke("stylebatch", "image", "cat.jpg", "half.png", "--style", "La-Muse", "--strength", "50%").exit_code == 0
    assert invoke("stylebatch", "image", "cat.jpg", "same.png", "--style", "la_muse", "--strength", "0.5").exit_code == 0
    assert Path("half.png").read_bytes() == Path("same.png").read_bytes()
    assert invoke("stylebatch", "styles", "list").stdout == invoke("stylebatch", "styles").stdout


@pytest.mark.usefixtures("newcomer")
def test_several_photographs(checkpoint: Path) -> None:
    """Into a folder, as by `cp`; one that fails is named, and no photograph or result is replaced by another."""
    for name in ("a/x.jpg", "b/x.jpg", "y.png"):
        Path(name).parent.mkdir(exist_ok=True)
        picture(40, 30, seed=name).save(name)
    Path("broken.jpg").write_text("no picture")
    command = ("stylebatch", "image", "a/x.jpg", "b/x.jpg", "none.jpg", "broken.jpg", "y.png", "out", "--style", checkpoint)
    for overwrite in ((), ("--overwrite",)):
        result = invoke(*command, *overwrite)
        assert result.exit_code == 1
        assert result.stdout.splitlines() == (["out/x.jpg", "out/y.png"])
        told = result.stderr
        assert "failed: none.jpg: no such photograph" in told
        assert "failed: broken.jpg: not an image" in told
        assert "failed: out/x.jpg: " in told
    again = invoke(*command)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "out/y.png: is there already; --overwrite replaces it" in again.stderr
    assert invoke("stylebatch", "image", "y.png", "cat.jpg", "-o", "folder/", "--style", checkpoint).exit_code == 0
    assert sorted(path.name for path in Path("folder").iterdir()) == ["cat.jpg", "y.png"]
    assert (
        invoke("stylebatch", "image", "y.png", "-o", "folder/cat.jpg", "--overwrite", "--style", checkpoint).exit_code == 0
    )
    with Image.open("folder/cat.jpg") as cat, Image.open("out/y.png") as painted:
        assert np.abs(np.asarray(cat, dtype=int) - np.asarray(painted, dtype=int)).mean() < CODED_LEVELS


@pytest.mark.parametrize(
    "typed",
    [
        "image cat.jpg painting.jpg", "image cat.jpg painting.jpg --overwrite",
        "image cat.jpg in/a.jpg painting.jpg --overwrite",
        "image cat.jpg cat.jpg --overwrite", "image cat.jpg link.jpg --overwrite", "image cat.jpg -o link.jpg --overwrite",
        "image cat.jpg . --overwrite", "image cat.jpg -o painting.jpg", "image cat.jpg painting.jpg . --overwrite",
        "grid cat.jpg -o painting.jpg", "grid cat.jpg -o cat.jpg --overwrite",
        "grid in/a.jpg cat.jpg -o link.jpg --overwrite",
        "styles --sheet cat.jpg -o painting.jpg", "styles --sheet cat.jpg -o cat.jpg --overwrite",
    ],
)  # fmt: skip
def test_no_photograph_is_taken_for_an_output(typed: str, newcomer: Path) -> None:
    os.link("cat.jpg", "link.jpg")
    before = {path: path.read_bytes() for path in newcomer.rglob("*") if path.is_file()}
    result = invoke("stylebatch", *typed.split())
    assert result.exit_code in (1, 2)
    assert re.search("is there|same file|need a folder", result.stderr)
    assert {path: path.read_bytes() for path in newcomer.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("newcomer")
def test_a_sheet_replaces_what_it_is_told_to(checkpoint: Path) -> None:
    command = ("stylebatch", "grid", "cat.jpg", "--style", checkpoint, "--width", 64)
    assert invoke(*command).exit_code == 0
    assert "grid.png: is there already; --overwrite replaces it" in invoke(*command).stderr
    assert invoke(*command, "--overwrite").exit_code == 0


@pytest.mark.parametrize("program", ["stylebatch", "trainer"])
def test_as_a_module(program: str) -> None:
    result = subprocess.run([sys.executable, "-m", program, "--version"], capture_output=True, text=True, check=True)
    assert f"python -m {program}" in result.stdout


@pytest.mark.slow
def test_the_style_of_a_painting_is_kept_by_its_content(newcomer: Path) -> None:
    """Trained once, with `trainer fit --keep`; found by `stylebatch`, under the name of each copy."""
    first = invoke("trainer", "fit", "painting.jpg", "--keep", "--steps", 2, *SHORT)
    assert first.exit_code == 0, first.output
    kept = Path(first.stdout.strip())
    assert kept.is_relative_to(newcomer / "data")
    assert sorted(path.name for path in kept.parent.iterdir()) == [".lock", "painting.safetensors"]
    made = kept.stat().st_mtime_ns
    assert invoke("trainer", "fit", "painting.jpg", "--keep", "--steps", 2, *SHORT).stdout == first.stdout
    assert kept.stat().st_mtime_ns == made
    (newcomer / "copy.jpg").write_bytes((newcomer / "painting.jpg").read_bytes())
    copy = Path(invoke("trainer", "fit", "copy.jpg", "--keep", "--steps", 2, *SHORT).stdout.strip())
    assert load_checkpoint(copy).digest == load_checkpoint(kept).digest
    assert load_checkpoint(copy).metadata["style"] == "copy"
    other = invoke("trainer", "fit", "painting.jpg", "--keep", "--steps", 3, *SHORT).stdout
    assert Path(other.strip()).parent != kept.parent
    # As if it had been trained in full:
    whole = Kept(FitConfig(style=newcomer / "painting.jpg"))
    assert whole.find() is None
    with whole.alone(pytest.fail, lambda: False):
        whole.config.out.mkdir()
        whole.keep(Path(shutil.copy(kept, whole.config.out)))
    result = invoke("stylebatch", "image", "cat.jpg", "--style", "painting.jpg:1,hosi:1")
    assert (result.exit_code, result.stdout.strip()) == (0, "cat_painting0.5+hosi0.5.jpg"), result.output
    assert invoke("stylebatch", "image", "cat.jpg", "--style", "painting.jpg").stdout.strip() == "cat_painting.jpg"


@pytest.mark.slow
def test_a_painting_that_cannot_be_learned_is_one_line(newcomer: Path) -> None:
    (newcomer / "broken.png").write_text("no picture")
    command = [sys.executable, "-m", "stylebatch", "image", "cat.jpg", "--style", "broken.png"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert len(re.findall("^Error: .*broken.png: .*", result.stderr, re.MULTILINE)) == 1
    assert "Traceback" not in result.stderr
    assert not list(newcomer.glob("cat_*"))


@pytest.mark.slow
def test_interrupted_training_of_a_painting_goes_on(newcomer: Path) -> None:
    """Ctrl-C while the style is trained ends both programs, and the next try begins where this one ended. The training is
    of small pictures."""
    each_step = (*SHORT, "--checkpoint-steps", "1")
    program = (
        "import sys; from subprocess import Popen; from stylebatch import paintings; from stylebatch.cli import main\n"
        f"paintings.subprocess.Popen = lambda command, **options: Popen([*command, *{each_step!r}], **options)\n"
        "main()"
    )
    command = [sys.executable, "-c", program, "image", "cat.jpg", "--style", "painting.jpg"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while not [*newcomer.glob("data/**/*.pth")] and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=120)[1]  # which ends when nobody has this pipe any more
    assert process.returncode == 130
    assert b"the same command goes on" in said
    config = FitConfig(style=newcomer / "painting.jpg", crop_size=32, style_size=80, init="base", patience=0)
    assert Kept(config).resumed().resume


@pytest.mark.slow
def test_two_trainings_of_one_painting_are_one(newcomer: Path) -> None:
    command = [sys.executable, "-m", "trainer", "fit", "painting.jpg", "--keep", "--steps", "2", *SHORT]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len({stdout for stdout, _ in said}) == 1
    assert sum("training the style of painting.jpg, which" in stderr for _, stderr in said) == 1
    assert len(list(newcomer.glob("data/**/*.safetensors"))) == 1
