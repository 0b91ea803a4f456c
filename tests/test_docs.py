"""Paths and links in the documentation, in docstrings and in configuration files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "yolo_attn"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
OTHERS = [ROOT / "pyproject.toml", ROOT / "datasets.yaml", ROOT / ".ci" / "run"]
SOURCES = [path for folder in ("yolo_attn", "tests", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
FOLDERS = {"yolo_attn", "tests", "docs", "scripts", "benchmarks", "configs"}
IN_WHEEL = {"yolo_attn/configs", "yolo_attn/datasets.yaml"}  # pyproject.toml puts them there
FILE = re.compile(r"(?<![\w./<-])((?:[\w-]+/)+[\w.-]+\.(?:py|md|yaml|json|html|css|js|npz|png))\b")
FOLDER = re.compile(r"`((?:[\w-]+/)+)`")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def missing_paths(path: Path, folders: set[str]) -> list[str]:
    """Return the paths in a file that begin with one of the folders and do not exist.

    They may be relative to the repository or to the package.
    """
    text = path.read_text(encoding="utf-8")
    named = [name for name in FILE.findall(text) + FOLDER.findall(text) if name.partition("/")[0] in folders]
    return [name for name in named if name not in IN_WHEEL and not any((r / name).exists() for r in (ROOT, PACKAGE))]


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
        if not (ROOT / Path(*parents)).exists():
            missing.append(line)
    assert missing == []


@pytest.mark.parametrize("folder", ["", "host", "graph", "data", "study", "study/specification", "study/running"])
def test_the_tree_of_the_design_is_complete(folder: str) -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    hidden = {"__init__.py", "__main__.py", "__pycache__"}
    names = [f"{path.name}{'/' * path.is_dir()}" for path in (PACKAGE / folder).iterdir() if path.name not in hidden]
    assert [name for name in names if name.endswith((".py", "/")) and f"  {name} " not in text] == []
