"""Imports between the parts of the package point one way, from the commands down to the errors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import PACKAGE

LEVELS = (
    ("__main__",),
    ("cli",),
    ("api", "cards"),
    ("selection",),
    ("study",),
    ("analysis", "data", "leaderboard"),
    ("host",),
    ("graph", "stats", "layer_files", "exports", "tables", "points"),
    ("layers",),
    ("registry",),
    ("names", "security", "system"),
    ("errors", "version"),
)
EXCEPTIONS = {
    ("host/data_bindings.py", "data"),  # a function of Ultralytics that resolves names of datasets
    ("security/seal.py", "host"),  # the folder of the user's settings
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imported_parts(source: str) -> Iterator[str]:
    """Yield the parts of yolo_attn that a module imports, in functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("yolo_attn."))


def level(part: str) -> int:
    """Return the number of a part's level, 0 for the topmost."""
    return next(number for number, parts in enumerate(LEVELS) if part in parts)


def upward(path: Path) -> set[tuple[str, str]]:
    """Return a module with each part that it imports from its own level or above."""
    module = path.relative_to(PACKAGE)
    own = module.with_suffix("").parts[0]
    parts = {part for part in imported_parts(path.read_text(encoding="utf-8")) if part != own}
    return {(module.as_posix(), part) for part in parts if level(part) <= level(own)}


def test_imports_are_found_in_functions_too() -> None:
    source = "import yolo_attn.a.b\ndef f():\n    from yolo_attn.c.d import e\n    from yolo_attn import g"
    assert set(imported_parts(source)) == {"a", "c", "g"}


def test_imports_point_one_way() -> None:
    assert set().union(*map(upward, MODULES)) == EXCEPTIONS
