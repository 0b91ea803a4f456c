"""The installed Ultralytics, and that only yolo_attn/host imports it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import ultralytics
from ultralytics.utils import SETTINGS

from tests.conftest import PACKAGE
from yolo_attn.host import BINDINGS, UnsupportedHostError, installation
from yolo_attn.host.binding import Binding

OUTSIDE_HOST = sorted(path for path in PACKAGE.rglob("*.py") if PACKAGE / "host" not in path.parents)


def imported_packages(source: str) -> set[str]:
    """Return the top-level packages that a module imports anywhere in its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def test_imported_packages_are_found_in_functions_too() -> None:
    source = "import a.b, c\ndef f():\n    from d.e import g\nfrom . import h"
    assert imported_packages(source) == {"a", "c", "d"}


def test_only_host_imports_ultralytics() -> None:
    for path in OUTSIDE_HOST:
        assert "ultralytics" not in imported_packages(path.read_text(encoding="utf-8")), path


def test_folders_are_those_of_the_installation() -> None:
    package = Path(ultralytics.__file__).parent
    assert installation.package_folder() == package
    assert installation.datasets_folder() == Path(SETTINGS["datasets_dir"])
    assert all(package in path.parents for path in installation.stock_model_yamls())
    assert {"yolo11", "yolov8"} <= {path.stem for path in installation.stock_model_yamls()}


def test_stock_data_yamls(tmp_path: Path) -> None:
    own = installation.stock_data_yamls()["coco8"]
    assert installation.is_stock_data_yaml(own)
    link = tmp_path / "coco8.yaml"
    link.symlink_to(own)
    assert installation.is_stock_data_yaml(link)
    for other in (tmp_path / "mine.yaml", installation.package_folder() / "mine.yaml"):
        assert not installation.is_stock_data_yaml(other)


@pytest.mark.parametrize(("version", "release"), [("8.3.0", (8, 3, 0)), ("8.4.1.dev0", (8, 4, 1))])
def test_release(version: str, release: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ultralytics, "__version__", version)
    assert installation.release() == release


def test_replacements_accept_all_parameters() -> None:
    assert [binding.problem for binding in BINDINGS if binding.problem] == []


def _wrap_load(original: Callable[..., str]) -> Callable[..., str]:
    def load(weights: str, verbose: bool = True) -> str:
        return original(weights, verbose)

    return load


class Model:
    """A class of a later release."""

    @staticmethod
    def load(weights: str, verbose: bool = True, strict: bool = False) -> str:
        return f"{weights} {verbose} {strict}"


def test_new_parameters_are_reported_with_the_module_to_adapt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "load", Model.load)  # restores it
    binding = Binding(Model, "load", _wrap_load)
    assert binding.problem is None
    binding.install()
    assert binding.problem
    assert binding.problem.startswith(f"Model.load has new parameters (strict), which {__name__} does not accept")


def test_missing_function_is_reported_with_the_module_to_adapt() -> None:
    with pytest.raises(UnsupportedHostError, match=f"Model.save, which {__name__} replaces, is missing"):
        Binding(Model, "save", _wrap_load).install()
