"""`stylebatch video --check`: what a film will be, told without painting it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import copied
from support.clips import make_clip, with_sound

import stylebatch.cli
from stylebatch import VideoOptions
from stylebatch.video import check_film

TAGS = {"title": "Probe", "com.example.take": "7"}


def invoke(*args: object) -> Result:
    return CliRunner().invoke(stylebatch.cli.main, ["video", *map(str, args), "--check"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "a.mov", audio=1, subtitles=1, timecode="01:00:00:00", metadata=TAGS, size=(63, 47),
                     pix_fmt="yuv444p")  # fmt: skip


@pytest.mark.parametrize("output", ["b.mov", "b.mp4", "b.mkv", "b.webm", "b.avi", "b.gif"])
@pytest.mark.parametrize("options", [{}, {"start": 0.2}, {"pix_fmt": "yuv420p"}], ids=["all", "part", "format"])
def test_it_says_what_the_film_will_say(source: Path, output: str, options: dict[str, Any], tmp_path: Path) -> None:
    if output == "b.gif" and "pix_fmt" in options:
        pytest.skip("no format of GIF's")
    checked = check_film(source, tmp_path / output, options=VideoOptions(**options))
    assert not (tmp_path / output).exists()
    assert copied(source, tmp_path / output, **options) == checked.warnings
    fates = {each.index: each.fate for each in checked.streams}
    assert fates[0] == "stylized"
    assert fates[1] == {"b.webm": "converted", "b.gif": "left out"}.get(output, "copied")
    assert fates[3] == ("left out" if output in ("b.avi", "b.gif") else "made anew")


def test_the_command(source: Path, tmp_path: Path) -> None:
    result = invoke(source, tmp_path / "b.webm")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{source}: 0:00:00.480, 63×47, 25 fps, to webm, vp9 yuv444p",
        "  stream 0 (video h264): stylized",
        "  stream 1 (audio aac): is converted to libopus",
        "  stream 2 (subtitle mov_text): is converted to webvtt",
        "  stream 3 (data tmcd, eng): made anew",
    ]
    result = invoke(source, "--json")
    (film,) = json.loads(result.stdout)["films"]
    assert film["streams"][1] == {"stream": "stream 1 (audio aac)", "fate": "copied", "reason": ""}
    assert (film["container"], film["codec"], film["width"]) == ("mov", "h264", 63)
    assert f"{source}: 0:00:00.480, 63×47, 25 fps, to pictures" in invoke(source, "--every", "4").stdout


def test_of_several_films_each_is_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no film")
    ac3 = with_sound(make_clip(tmp_path / "p.mp4"), tmp_path / "c.mkv", "ac3", "5.1(side)")
    result = invoke(source, tmp_path / "broken.mp4", ac3, tmp_path / "out/")
    assert result.exit_code == 1
    assert "  stream 1 (audio ac3): copied" in result.stdout
    assert f"cannot be made: {tmp_path / 'broken.mp4'}: no film that can be read" in result.stdout
    assert not (tmp_path / "out").exists()
    assert invoke(tmp_path / "broken.mp4").exit_code == 2


def test_it_needs_no_pytorch(source: Path) -> None:
    program = (
        "import sys; from stylebatch.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, "video", source, "--check"], check=True, stdout=subprocess.DEVNULL)
