"""The documentation: paths and links in it exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "yolo_attn"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
SOURCES = [path for folder in ("yolo_attn", "tests", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
TOP_LEVEL = r"(?:yolo_attn|tests|docs|scripts|benchmarks|configs)"
SUFFIXES = r"(?:py|md|yaml|json|html|css|js|npz|png)"


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_on_a_page_exist(page: Path) -> None:
    """Files may be given relative to the package, folders end in a slash."""
    text = page.read_text(encoding="utf-8")
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} | {"yolo_attn", "tests", "docs", "scripts"}
    paths = re.findall(rf"(?<![\w./<-])((?:[\w-]+/)+[\w.-]+\.{SUFFIXES})\b", text)
    paths += re.findall(r"`((?:[\w-]+/)+)`", text)
    missing = [
        path
        for path in paths
        if path.partition("/")[0] in {*folders, "benchmarks", "configs"}
        and not (ROOT / path).exists()
        and not (PACKAGE / path).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_on_a_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_files_in_the_tree_of_the_design_exist() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    (tree,) = (block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "yolo_attn/" in block)
    folders: list[str] = []  # the path of the current line, one name for each level
    missing = []
    for line in tree.splitlines():
        name, depth = line.split()[0], (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name]
        if not (ROOT / Path(*folders)).exists():
            missing.append(line)
    assert missing == []


@pytest.mark.parametrize("path", [ROOT / "pyproject.toml", ROOT / "datasets.yaml", ROOT / ".ci" / "run"], ids=name_of)
def test_paths_in_other_files_exist(path: Path) -> None:
    assert missing_paths(path) == []


def test_paths_in_sources_exist() -> None:
    assert {name_of(path): missing for path in SOURCES if (missing := missing_paths(path))} == {}


def missing_paths(path: Path) -> list[str]:
    """Return the paths from the repository's root in a file that do not exist."""
    found = re.findall(rf"(?<![\w./<-])({TOP_LEVEL}/[\w./-]+\.{SUFFIXES})\b", path.read_text(encoding="utf-8"))
    return [name for name in found if not (ROOT / name).exists() and not (PACKAGE / name).exists()]
