"""A wheel contains every file that the package requires."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import SOURCE

pytestmark = pytest.mark.slow


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
    report.add("yolo_attn/study/results/results.schema.json")
    assert configs | report | {"yolo_attn/datasets.yaml", "yolo_attn/data/digits.npz", "yolo_attn/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]


def test_bare_names_resolve_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True
    )
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
