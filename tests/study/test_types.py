"""The public functions of `yolo_attn.study` have signatures without `Any`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import yolo_attn.study

FOLDER = Path(yolo_attn.study.__file__).parent


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    """Yield the public functions of a module, and the public methods of its public classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)


def annotations(function: ast.FunctionDef) -> Iterator[ast.expr]:
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    yield from (argument.annotation for argument in arguments if argument and argument.annotation)
    if function.returns:
        yield function.returns


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_public_signatures_do_not_use_any(path: Path) -> None:
    found = [
        function.name
        for function in public_functions(ast.parse(path.read_text(encoding="utf-8")).body)
        for annotation in annotations(function)
        if any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))
    ]
    assert not found
