"""Paths and links in the documentation, in docstrings and in configuration files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import PACKAGE

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
OTHERS = [ROOT / "pyproject.toml", ROOT / "datasets.yaml", ROOT / ".ci" / "run"]
CODE = [PACKAGE, *(ROOT / folder for folder in ("tests", "scripts", "benchmarks"))]
SOURCES = [path for folder in CODE for path in folder.rglob("*.py")]
FOLDERS = {"yolo_attn", "tests", "docs", "scripts", "benchmarks", "configs"}
ROOTS = (ROOT, PACKAGE, PACKAGE.parent)
IN_WHEEL = {"yolo_attn/configs", "yolo_attn/datasets.yaml"}  # pyproject.toml puts them there
FILE = re.compile(r"(?<![\w./<-])((?:[\w-]+/)+[\w.-]+\.(?:py|md|yaml|json|html|css|js|npz|png))\b")
FOLDER = re.compile(r"`((?:[\w-]+/)+)`")


def name_of(path: Path) -> str:
    root = PACKAGE.parent if PACKAGE in path.parents else ROOT
    return path.relative_to(root).as_posix()


def missing_paths(path: Path, folders: set[str]) -> list[str]:
    """Return the paths in a file that begin with one of the folders and do not exist.

    They may be relative to the repository, to the package or to its folder.
    """
    text = path.read_text(encoding="utf-8")
    named = [name for name in FILE.findall(text) + FOLDER.findall(text) if name.partition("/")[0] in folders]
    return [name for name in named if name not in IN_WHEEL and not any((r / name).exists() for r in ROOTS)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_on_a_page_exist(page: Path) -> None:
    assert missing_paths(page, FOLDERS | {path.name for path in PACKAGE.iterdir() if path.is_dir()}) == []


@pytest.mark.parametrize("path", OTHERS, ids=name_of)
def test_paths_in_configuration_files_exist(path: Path) -> None:
    assert missing_paths(path, FOLDERS) == []


def test_paths_in_sources_exist() -> None:
    assert {name_of(path): missing for path in SOURCES if (missing := missing_paths(path, FOLDERS))} == {}


def test_a_missing_path_is_found(tmp_path: Path) -> None:
    file, folder = "docs" + "/none.md", "tests" + "/nowhere/"  # in two parts, because this file is checked too
    (tmp_path / "page.md").write_text(f"`{folder}`, [x]({file}), docs/design.md, other/none.py\n")
    assert missing_paths(tmp_path / "page.md", FOLDERS) == [file, folder]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_on_a_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_files_in_the_tree_of_the_design_exist() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    (tree,) = (block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "yolo_attn/" in block)
    parents: list[str] = []
    missing = []
    for line in tree.splitlines():
        name, level = line.split()[0], (len(line) - len(line.lstrip())) // 2
        parents[level:] = [name]
        if not any((root / Path(*parents)).exists() for root in (ROOT, PACKAGE.parent)):
            missing.append(line)
    assert missing == []


@pytest.mark.parametrize("folder", ["", "host", "graph", "data", "study", "study/specification", "study/running"])
def test_the_tree_of_the_design_is_complete(folder: str) -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    hidden = {"__init__.py", "__main__.py", "__pycache__", *(Path(name).name for name in IN_WHEEL)}
    names = [f"{path.name}{'/' * path.is_dir()}" for path in (PACKAGE / folder).iterdir() if path.name not in hidden]
    assert [name for name in names if name.endswith((".py", "/")) and f"  {name} " not in text] == []
