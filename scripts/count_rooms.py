#!/usr/bin/env python
"""How large the house is, `scripts/count_rooms.py [CHECKOUT]`: its rooms, which are the modules of both packages, a package
in one of them as a whole; the arrows, which are pairs of rooms of which one imports from the other; and all lines."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def modules(root: Path) -> dict[str, Path]:
    """Those of both packages, by their names."""
    files = [*root.glob("stylebatch/**/*.py"), *root.glob("trainer/**/*.py")]
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(files)}


def imported(path: Path) -> set[str]:
    """The names that a file imports anywhere in it, those of modules among them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def main(root: Path) -> None:
    files = modules(root)
    pairs = {(_room(name), _room(other)) for name, path in files.items() for other in imported(path) & files.keys()}
    arrows = sum(one != other for one, other in pairs)
    lines = sum(len(path.read_text().splitlines()) for path in files.values())
    print(f"{len({_room(name) for name in files})} rooms, {arrows} arrows, {len(files)} modules, {lines:,} lines")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
