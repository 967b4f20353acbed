"""Data flows one way, and so do imports."""

from __future__ import annotations

import ast
import importlib
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from count_rooms import ROOT, imported, modules


def files_of(package: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / package).glob("*.py")}


#: From the bottom up: a module of stylebatch imports from its own layer and those before it, never in a circle. A package
#: stands for its modules but for those that are named. Nobody imports `trainer`.
LAYERS = [
    "errors system interrupt ahead lazy frame fork host messages workers options files locking grid images.formats storage",
    "transnet stages device backends checkpoint styles",
    "colour pixels kinds steady strokes effects stylizer",
    "manifest images video",
    "loader pipeline",
    "jobs benchmark",
    "console paintings cli page __main__",
]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
#: What training has of its own: it stylizes no folders.
NOT_FOR_TRAINING = ("cli", "jobs", "loader", "pipeline", "stylizer", "video")
SOLE_USERS = {
    "click": {"trainer/cli.py", *files_of("stylebatch/cli"), *files_of("stylebatch/console")},
    "tqdm": {"stylebatch/console/command.py"},
    **{name: files_of("stylebatch/page") for name in ("starlette", "uvicorn")},
    "openvino": {"stylebatch/backends/openvino.py"},
    "triton": {"stylebatch/backends/triton.py", "stylebatch/backends/kernels.py"},
    **{name: {"stylebatch/system.py"} for name in ("ctypes", "fcntl", "filelock", "msvcrt", "platformdirs", "resource")},
    "fsspec": {"stylebatch/storage/remote.py"},
    "OpenEXR": {"stylebatch/images/exr.py"},
    "pyarrow": {"stylebatch/jobs/lists.py"},
    "ray": {"stylebatch/jobs/cluster.py"},
    "simplejpeg": {"stylebatch/images/jpeg.py"},
    "cv2": {
        *(
            f"stylebatch/{name}.py"
            for name in ("colour/h273", "colour/icc", "effects", "images/deep", "pixels", "steady", "strokes", "video/yuv")
        ),
    },
}

MODULES = modules(ROOT)
FILES = [*MODULES.values()]


def ours(path: Path) -> set[str]:
    """The modules of `stylebatch` that a file imports, by their names in it."""
    return {name.partition(".")[2] for name in imported(path) & MODULES.keys() if name.startswith("stylebatch.")}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "stylebatch").with_suffix("").parts).removesuffix(".__init__")


def level(name: str) -> int:
    return LEVELS.get(name, LEVELS[name.split(".")[0]])


def is_lazy(path: Path) -> bool:
    """A package that gives names of its modules, and imports none of them."""
    return "lazy_names" in path.read_text() and path.name == "__init__.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    used = {name.split(".")[0] for name in imported(path)}
    if path.is_relative_to(ROOT / "trainer"):
        assert not {name for name in ours(path) if name.startswith(NOT_FOR_TRAINING)}
    else:
        assert "trainer" not in used
        assert is_lazy(path) or all(level(name) <= level(name_of(path)) for name in ours(path))
    for package, users in SOLE_USERS.items():
        assert package not in used or str(path.relative_to(ROOT)) in users
    assert "av" not in used or path.parent == ROOT / "stylebatch" / "video"


def test_imports_make_no_circle() -> None:
    graph = {name_of(path): ours(path) for path in FILES if path.is_relative_to(ROOT / "stylebatch") and not is_lazy(path)}
    # The one function that picks a runtime or storage loads it; each is written to the protocol beside it.
    for picked in ("backends", "storage"):
        graph[picked] = {name for name in graph[picked] if not name.startswith(f"{picked}.")}
    TopologicalSorter(graph).prepare()


def test_the_network_needs_torch_alone() -> None:
    outside = {name.split(".")[0] for name in imported(ROOT / "stylebatch" / "transnet.py")}
    assert outside == {"__future__", "torch", "typing"}


def test_one_module_asks_for_the_operating_system() -> None:
    for path in FILES:
        assert path.name == "system.py" or not re.search(r"\b(sys\.platform|os\.name)\b", path.read_text()), path


def test_library_code_never_prints() -> None:
    for path in FILES:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls), path
        # `stylebatch.console.terminal` says it so that no file name commands the terminal.
        assert not any(isinstance(call, ast.Attribute) and call.attr in ("echo", "secho") for call in calls), path


@pytest.mark.parametrize("path", sorted(ROOT.glob("scripts/*.py")), ids=lambda path: path.name)
def test_scripts_import_what_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("stylebatch", "trainer"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), f"{node.module} lacks a name"
