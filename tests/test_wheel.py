"""A wheel contains every file that the package requires, and passes tests in a folder without the checkout's package.

A workflow runs all fast tests in this way (`.github/workflows/tests.yml`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import SOURCE

pytestmark = pytest.mark.slow

OUTSIDE = (  # tests that read files of the package or start processes with it
    "tests/test_docs.py",
    "tests/test_dependencies.py",
    "tests/test_configs.py::test_the_configs_match_the_script",
    "tests/cli/test_cli.py::test_the_scripts_run_the_commands",
    "tests/data/test_names.py",
    "tests/graph/test_imports.py",
    "tests/host/test_installation.py",
    "tests/layers/test_derived_files.py",
    "tests/study/running/test_layer_code.py",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, SOURCE]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def test_configs_and_data_ship(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"yolo_attn/configs/{p.name}" for p in (SOURCE / "configs").glob("*.yaml")}
    report = {p.relative_to(SOURCE).as_posix() for p in (SOURCE / "yolo_attn/study/report/templates").rglob("*.*")}
    report |= {"yolo_attn/study/results/results.schema.json", "yolo_attn/exports.json", "yolo_attn/leaderboard.json"}
    assert configs | report | {"yolo_attn/datasets.yaml", "yolo_attn/data/digits.npz", "yolo_attn/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel]
    subprocess.run(command, check=True)
    return folder


def test_bare_names_resolve_from_an_installed_wheel(site: Path, tmp_path: Path) -> None:
    code = """
import sys, yolo_attn
assert yolo_attn.__file__.startswith(sys.argv[1]), yolo_attn.__file__
from ultralytics import YOLO
model = YOLO("yolo11n-cbam.yaml", verbose=False)
print(sum(type(m).__name__ == "CBAM" for m in model.model.model))
from yolo_attn.data import resolve_data
print(resolve_data("coco8"))
"""
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(site)], capture_output=True, text=True, cwd=tmp_path, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["3", "coco8.yaml"]
    command = [sys.executable, site / "bin" / "yolo-attn", "layers", "SE"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=True)
    assert "8,192" in shown.stdout


def test_tests_pass_without_the_checkout(site: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    hidden = [path.name for path in SOURCE.glob(".*") if path.name not in (".ci", ".github")]
    shutil.copytree(SOURCE, outside, ignore=shutil.ignore_patterns("yolo_attn", "runs", "build", "dist", *hidden))
    env = {**os.environ, "PYTHONPATH": str(site), "PYTEST_ADDOPTS": ""}
    env.pop("PYTEST_XDIST_WORKER", None)  # the child runs alone
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-rs"]
    command = [sys.executable, "-m", "pytest", *options, *OUTSIDE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=outside, env=env, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    where = [sys.executable, "-c", "import tests.conftest; print(tests.conftest.PACKAGE)"]
    used = subprocess.run(where, capture_output=True, text=True, cwd=outside, env=env, check=True)
    assert used.stdout.strip() == str(site / "yolo_attn")
