"""Commands and code of docs/maps.md work."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import cv2
import matplotlib as mpl
import pytest
import torch
from ultralytics import YOLO

from tests.conftest import SOURCE
from tests.pages import commands, python_blocks
from yolo_attn.cli import main

from .test_maps import image

PAGE = (SOURCE / "docs" / "maps.md").read_text(encoding="utf-8")
COMMANDS, CODE = commands(PAGE), python_blocks(PAGE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page names: checkpoints and an image."""
    folder = tmp_path_factory.mktemp("page")
    torch.manual_seed(0)
    YOLO("yolo11n.yaml").save(folder / "yolo11n.pt")
    YOLO("yolo11n.yaml+MHSA@neck.P4+CBAM@neck.P5").save(folder / "best.pt")
    (folder / "runs/detect/train/weights").mkdir(parents=True)
    shutil.copy(folder / "best.pt", folder / "runs/detect/train/weights")
    cv2.imwrite(str(folder / "street.jpg"), image(300, 400))
    return folder


@pytest.fixture
def here(files: Path, fresh_folder: Path) -> Path:
    """A working folder with these files."""
    shutil.copytree(files, fresh_folder, dirs_exist_ok=True)
    return fresh_folder


@pytest.mark.parametrize(
    "command", [pytest.param(each, marks=pytest.mark.slow if "digits" in each else ()) for each in COMMANDS]
)
def test_a_command_works(command: str, here: Path) -> None:
    _, *words = shlex.split(command)
    if "source=digits" in words:
        words.append("save=npz")  # 160 figures take a minute
    assert main([*words, "imgsz=64"]) == 0
    assert any(Path("runs/maps").iterdir())


def test_the_code_works(here: Path) -> None:
    mpl.use("agg")
    assert main(["maps", "model=best.pt", "source=street.jpg", "point=120,80", "save=npz", "imgsz=64"]) == 0
    for code in CODE:
        exec(code, {})


def test_every_layer_with_readings_is_in_the_table() -> None:
    from tests.layers.test_readings import OUTPUTS

    (table,) = re.findall(r"\| layer \| what the map shows \|\n(.*?)\n\n", PAGE, re.DOTALL)
    names = {name for line in table.splitlines()[1:] for name in re.findall(r"\w+", line.split("|")[1])}
    assert names - {"HiFi", "LoFi"} == set(OUTPUTS)


def test_figures_are_small() -> None:
    figures = sorted((SOURCE / "docs" / "maps").iterdir())
    assert {f"maps/{figure.name}" for figure in figures} == set(re.findall(r"\]\((maps/.*?)\)", PAGE))
    assert max(figure.stat().st_size for figure in figures) <= 150_000
