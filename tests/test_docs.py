"""What README and docs tell to type runs as it stands."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import textwrap
from pathlib import Path

import pytest
import write_options
from click.testing import CliRunner
from conftest import picture
from support.clips import make_clip

import stylebatch.cli
import trainer.cli

ROOT = Path(__file__).parent.parent

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: Lines that are not run here, by how they begin, and why. Of scripts, the options are looked up.
NOT_RUN = {
    "git clone": "needs a network",
    "scripts/quickstart": "installs",
    "scripts/test": "installs, and runs this test",
    "scripts/bench.py": "measures for minutes",
    "scripts/check_gpu": "needs a GPU",
    "scripts/count_rooms.py": "counts the lines of this checkout",
    "scripts/bench_encoders.py": "measures for minutes",
    "scripts/soak_films.py": "paints for many minutes",
    "scripts/soak_kill.py": "runs for half an hour",
    "scripts/soak_ray.py": "needs Ray, and runs for minutes",
    "scripts/bench_ray.py": "needs Ray, and runs for minutes",
    "scripts/measure_style.py": "wants photographs and a painting that are not here",
    "scripts/measure_steady.py": "paints for minutes",
    "scripts/train_base.py": "trains for hours",
}
#: What a training is here: two steps.
SHORT = {"steps": 2, "crop_size": 32, "style_size": 80, "patience": 0, "init": "base", "workers": 0}
COMMANDS = {"stylebatch": stylebatch.cli.main, "trainer": trainer.cli.main}


def shell_lines() -> list[str]:
    """Every line of every indented block that is no part of a list."""
    lines = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for block in re.findall(r"(?:\A|\n\n)((?: {4}\S[^\n]*(?:\n|\Z))+)", text):
            lines += [line for line in textwrap.dedent(block).splitlines() if line.strip()]
    return lines


#: What the Python blocks of a page write. Those of page.md want a server: test_page.py runs them.
WRITTEN = {
    "README.md": ["out/a.jpg", "clip_hosi.mp4"],
    "api.md": [
        "out/a.jpg",
        "out_wave/a.jpg",
        "cat_hosi.png",
        "cat_softer.png",
        "cat_trial.png",
        "darker.mp4",
        "clip_hosi.mp4",
    ],
}


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with what the pages speak of: the checkout's, and a person's."""
    (tmp_path / "in").mkdir()
    picture(48, 32, seed="photograph").save(tmp_path / "in" / "a.jpg")
    picture(48, 32, seed="cat").save(tmp_path / "cat.jpg")
    for name in ("trial.jpg", "la_muse.jpg", "hosi.jpg"):
        picture(96, 80, seed=name).save(tmp_path / name)
    make_clip(tmp_path / "clip.mp4")
    (tmp_path / "shot").mkdir()
    for number in range(3):
        picture(48, 32, seed=number).save(tmp_path / "shot" / f"{number:05}.png")
    for name in ("scripts", "trainer"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.slow
def test_shell_blocks(folder: Path) -> None:
    lines = [line for line in shell_lines() if not line.startswith(tuple(NOT_RUN))]
    assert {line.split()[0] for line in lines} == COMMANDS.keys()
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        short = (f"--{name.replace('_', '-')}={value}" for name, value in SHORT.items() if program == "trainer")
        result = CliRunner().invoke(COMMANDS[program], [*words, *short])
        assert result.exit_code == 0, f"{line}: {result.output}"
    assert (folder / "out" / "a.jpg").exists()
    assert (folder / "checkpoints" / "great_wave.safetensors").exists()


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("scripts/")])
def test_scripts_have_the_options(line: str) -> None:
    script, *arguments = shlex.split(line, comments=True)
    assert os.access(ROOT / script, os.X_OK)
    source = (ROOT / script).read_text(encoding="utf-8")
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert f'"{option}"' in source


def test_options_are_written_as_declared() -> None:
    assert write_options.PAGE.read_text("utf-8") == write_options.page(), "run scripts/write_options.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_named_exist(page: Path) -> None:
    sources = [write_options.page(), *(path.read_text("utf-8") for path in (ROOT / "scripts").iterdir() if path.is_file())]
    options = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
    others = re.compile(r"^    git |#SBATCH |srun |torchrun |(head|other)\$ +ray |`pip [^`]*`")  # commands of other programs
    text = "\n".join(line for line in page.read_text("utf-8").splitlines() if not others.search(line))
    assert set(options.findall(text)) <= set(options.findall(" ".join(sources)))


def test_each_exception_is_needed() -> None:
    lines = shell_lines()
    for beginning in NOT_RUN:
        assert any(line.startswith(beginning) for line in lines), beginning


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if python_blocks(page) and page.name in WRITTEN], ids=lambda page: page.name
)
def test_python_blocks(page: Path, folder: Path) -> None:
    short = "".join(f"{name}={value!r}, " for name, value in SHORT.items())
    for number, block in enumerate(python_blocks(page)):
        script = folder / f"script_{number}.py"
        script.write_text(block.replace("FitConfig(", f"FitConfig({short}"), encoding="utf-8")
        runpy.run_path(str(script), run_name="__main__")
    assert all((folder / name).exists() for name in WRITTEN[page.name])
