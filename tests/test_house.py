"""Data flows one way, and so do imports."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: From the bottom up: a module of stylebatch imports only what stands in a line before its own. Nobody imports `trainer`.
LAYERS = [
    "errors interrupt",
    "terminal workers",
    "command fork frame grid host lazy tiff transnet video.extent video.pyav video.timecode",
    "deep exif files formats h273 jpeg kinds loader stages steady video.convert video.sidedata video.tags",
    "locking options xmp video.opening video.trial",
    "device metadata video.options video.streams video.times",
    "backends checkpoint icc manifest video.decoding video.tracks",
    "arguments colour stated styles video.work",
    "codec paintings stylizer video.colour",
    "benchmark images video.filters",
    "pipeline plan video.source",
    "jobs video.encoding",
    "video.beat video.gif video.outputs",
    "video.rehearsal",
    "video.check video.mux",
    "video.sink",
    "video.job",
    "video",
    "cli",
    "__main__",
]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
TRAINER_MAY = {
    "", "arguments", "checkpoint", "cli", "codec", "colour", "command", "device", "errors", "files", "fork", "frame", "grid",
    "host", "images", "interrupt", "locking", "manifest", "options", "styles", "terminal", "transnet", "workers",
}  # fmt: skip
SOLE_USERS = {
    "click": {"stylebatch/arguments.py", "stylebatch/cli.py", "stylebatch/command.py", "trainer/cli.py"},
    "tqdm": {"stylebatch/command.py"},
    "openvino": {"stylebatch/backends/openvino.py"},
    "simplejpeg": {"stylebatch/jpeg.py"},
    "cv2": {
        *(f"stylebatch/{name}.py" for name in ("colour", "deep", "h273", "icc", "steady")),
        "stylebatch/video/colour.py",
    },
}

FILES = sorted([*ROOT.glob("stylebatch/**/*.py"), *ROOT.glob("trainer/**/*.py")])


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module))
    return found


def room(name: str) -> str:
    """`backends`, whose files share a protocol, is one room; every other module is its own."""
    return "backends" if name.startswith("backends") else name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    used = imports(path)
    ours = {name.partition(".")[2] for name in used if name.split(".")[0] == "stylebatch"}
    if path.is_relative_to(ROOT / "trainer"):
        assert ours <= TRAINER_MAY
    else:
        assert not any(name.split(".")[0] == "trainer" for name in used)
        own = room(".".join(part for part in path.relative_to(ROOT).with_suffix("").parts[1:] if part != "__init__"))
        assert all(own == "" or room(name) == own or LEVELS.get(room(name), -1) < LEVELS[own] for name in ours)
    for package, users in SOLE_USERS.items():
        if package in {name.split(".")[0] for name in used}:
            assert str(path.relative_to(ROOT)) in users
    if "av" in {name.split(".")[0] for name in used}:
        assert path.parent == ROOT / "stylebatch" / "video"


def test_the_network_needs_torch_alone() -> None:
    outside = {name.split(".")[0] for name in imports(ROOT / "stylebatch" / "transnet.py")}
    assert outside == {"__future__", "torch", "typing"}


def test_library_code_never_prints() -> None:
    for path in FILES:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls), path
        # `stylebatch.terminal` says it so that no file name commands the terminal.
        assert not any(isinstance(call, ast.Attribute) and call.attr in ("echo", "secho") for call in calls), path


@pytest.mark.parametrize("path", sorted(ROOT.glob("scripts/*.py")), ids=lambda path: path.name)
def test_scripts_import_what_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("stylebatch", "trainer"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), f"{node.module} lacks a name"
