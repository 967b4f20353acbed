"""Data flows one way, and so do imports."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: A room of stylebatch → the rooms that it may import. `trainer` may import these shared ones, nobody imports `trainer`.
ALLOWED = {
    "errors": set(),
    "interrupt": set(),
    "transnet": set(),
    "frame": set(),
    "grid": set(),
    "files": {"errors"},
    "formats": {"errors"},
    "tiff": set(),
    "device": {"errors"},
    "checkpoint": {"errors", "files", "transnet"},
    "styles": {"checkpoint", "errors"},
    "loader": {"frame", "interrupt"},
    "h273": {"frame"},
    "icc": {"frame", "h273"},
    "colour": {"frame", "h273", "icc"},
    "stated": {"h273", "icc"},
    "deep": {"errors", "frame"},
    "jpeg": {"frame"},
    "codec": {"colour", "deep", "errors", "files", "formats", "frame", "h273", "icc", "jpeg", "stated", "tiff"},
    "images": {"codec", "colour", "errors", "files", "formats", "frame", "grid"},
    "stages": {"transnet"},
    "backends": {"backends.openvino", "backends.pytorch", "backends.sweep", "device", "errors", "stages"},
    "backends.openvino": {"backends", "device", "stages", "transnet"},
    "backends.pytorch": {"backends", "device", "stages", "transnet"},
    "backends.sweep": {"backends", "backends.pytorch", "device", "stages", "transnet"},
    "stylizer": {"backends", "colour", "device", "frame", "stages", "styles"},
    "manifest": {"errors", "files"},
    "pipeline": {"device", "errors", "frame", "images", "loader", "stylizer"},
    "benchmark": {"device", "stylizer", "transnet"},
    "jobs": {
        "colour",
        "device",
        "errors",
        "files",
        "formats",
        "frame",
        "grid",
        "images",
        "manifest",
        "pipeline",
        "styles",
        "stylizer",
    },
    "video.options": {"errors"},
    "video.colour": {"frame", "h273"},
    "video.source": {"codec", "colour", "errors", "frame", "images", "video.colour", "video.options"},
    "video.encoding": {"device", "errors", "video.colour", "video.options", "video.source"},
    "video.work": {"errors", "files", "manifest"},
    "video.streams": set(),
    "video.mux": {
        "errors",
        "files",
        "video.encoding",
        "video.options",
        "video.source",
        "video.streams",
        "video.work",
    },
    "video.sink": {
        "colour",
        "errors",
        "frame",
        "images",
        "manifest",
        "video.colour",
        "video.encoding",
        "video.mux",
        "video.options",
        "video.source",
        "video.work",
    },
    "video.job": {
        "errors",
        "frame",
        "images",
        "loader",
        "manifest",
        "pipeline",
        "stylizer",
        "video.encoding",
        "video.options",
        "video.sink",
        "video.source",
    },
    "video": {"video.job", "video.options", "video.sink", "video.source"},
    "cli": {
        "",
        "benchmark",
        "errors",
        "images",
        "interrupt",
        "jobs",
        "pipeline",
        "styles",
        "stylizer",
        "video",
        "video.options",
    },
    "": {"errors", "images", "jobs", "pipeline", "styles", "stylizer", "transnet", "video"},
}
TRAINER_MAY = {"", "checkpoint", "cli", "colour", "device", "errors", "files", "grid", "interrupt", "styles", "transnet"}
SOLE_USERS = {
    "click": {"stylebatch/cli.py", "trainer/cli.py"},
    "tqdm": {"stylebatch/cli.py"},
    "openvino": {"stylebatch/backends/openvino.py"},
    "av": {f"stylebatch/video/{name}.py" for name in ("colour", "encoding", "mux", "sink", "source", "streams", "work")},
    "cv2": {*(f"stylebatch/{name}.py" for name in ("colour", "deep", "h273", "icc")), "stylebatch/video/colour.py"},
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


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    used = imports(path)
    ours = {name.partition(".")[2] for name in used if name.split(".")[0] == "stylebatch"}
    if path.is_relative_to(ROOT / "stylebatch"):
        assert not any(name.split(".")[0] == "trainer" for name in used)
        assert ours <= ALLOWED[room(path)]
    else:
        assert ours <= TRAINER_MAY
    for package, users in SOLE_USERS.items():
        if package in {name.split(".")[0] for name in used}:
            assert str(path.relative_to(ROOT)) in users


def test_the_network_needs_torch_alone() -> None:
    outside = {name.split(".")[0] for name in imports(ROOT / "stylebatch" / "transnet.py")}
    assert outside == {"__future__", "torch", "typing"}


def test_library_code_never_prints() -> None:
    for path in FILES:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls), path


@pytest.mark.parametrize("path", sorted(ROOT.glob("scripts/*.py")), ids=lambda path: path.name)
def test_scripts_import_what_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("stylebatch", "trainer"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), f"{node.module} lacks a name"
