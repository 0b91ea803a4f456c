"""The pages of the documentation: commands, rows and shown output are right, and translations contain the same."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.host.parser import name_problem

from .pages import PAGES, PROGRAMS, README, ROOT, TRANSLATED, blocks, check_command, commands, python_blocks

TEXTS = {path: path.read_text(encoding="utf-8") for path in [*PAGES, *TRANSLATED.values()]}
TESTED_ELSEWHERE = {"maps.md": "analysis/test_page.py"}
"""Pages whose commands and code a file in tests/ runs with the models that they need."""
HERE = {path: text for path, text in TEXTS.items() if path.name not in TESTED_ELSEWHERE}
OF_README = commands(README)
NEW = [command for command in commands(*HERE.values()) if command not in OF_README]  # the others: test_readme.py
ROWS = [
    row
    for text in TEXTS.values()
    for block in blocks(text, "yaml")
    for row in yaml.safe_load(block)
    if isinstance(row, list) and len(row) == 4
]


def with_tier(command: str) -> Any:
    """Return a command as a parameter; those that measure models are slow."""
    return pytest.param(command, marks=pytest.mark.slow if command.split()[1] in {"profile", "place"} else ())


@pytest.mark.parametrize("command", map(with_tier, NEW))
def test_a_command_is_valid(command: str, fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_command(command, capsys)


def test_bash_blocks_contain_only_known_programs() -> None:
    lines = [line for text in TEXTS.values() for block in blocks(text, "bash") for line in block.splitlines()]
    scripts = {line for line in lines if (ROOT / line.removeprefix("python ").split()[0]).is_file()}
    known = (*PROGRAMS, "pip install ", "pytest")
    assert [line for line in lines if line not in scripts and not line.startswith(known)] == []
    extras = {extra for line in lines for extra in re.findall(r"\[(\w+)\]\"", line)}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert extras
    assert all(f"\n{extra} = [" in project for extra in extras)


@pytest.mark.parametrize("row", {str(row): row for row in ROWS}.values(), ids=str)
def test_a_row_builds(row: list[Any]) -> None:
    source, _, module, arguments = row
    name = module.rpartition("+")[2]
    if name == module and not yolo_attn.registry.is_layer(name):  # a stock row for orientation
        assert not name_problem(name)
        return
    options = next((a for a in arguments if isinstance(a, dict)), {})
    yolo_attn.build(name, [64] * len(source) if isinstance(source, list) else 64, **options)


def test_there_are_rows_of_every_form() -> None:
    modules = {row[2] for row in ROWS}
    assert {"CBAM", "SE", "C3k2+EMA"} <= modules
    assert any(isinstance(row[0], list) for row in ROWS)


def test_pages_that_are_tested_elsewhere_are() -> None:
    for page, tests in TESTED_ELSEWHERE.items():
        assert f'"{page}"' in (ROOT / "tests" / tests).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.name)
def test_code_is_that_of_the_readme(path: Path) -> None:
    """So that it is tested once."""
    assert [code for code in python_blocks(TEXTS[path]) if code not in python_blocks(README)] == []


@pytest.mark.parametrize(("page", "translation"), TRANSLATED.items(), ids=lambda path: path.name)
def test_a_translation_has_the_same_parts(page: Path, translation: Path) -> None:
    first, second = page.read_text(encoding="utf-8"), translation.read_text(encoding="utf-8")
    assert blocks(second) == blocks(first)
    assert outline(second) == outline(first)
    assert links(second) == links(first)
    assert numbers_of_tables(second) == numbers_of_tables(first)
    assert len(re.findall(r"[\u4e00-\u9fff]", second)) > len(second) / 10


def without_code(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def outline(text: str) -> list[str]:
    """Return what a text is made of, in order: headings, items of lists, rows of tables, notes, images, bold words."""
    part = r"^(?:#+(?= )| *(?:-|\d+\.)(?= )|\|(?=.*\|$)|!!! \w+|!(?=\[)|\*\*(?=.+?\*\*))"
    return re.findall(part, without_code(text), re.MULTILINE)


def numbers_of_tables(text: str) -> list[list[str]]:
    """Return the numbers in each row of the tables, in order."""
    rows = re.findall(r"^\|.*\|$", without_code(text), re.MULTILINE)
    return [re.findall(r"(?<![\w.])[-+\u2212]?\d+(?:[.,]\d+)*", row) for row in rows]


def links(text: str) -> list[str]:
    """Return the addresses in a text, without anchors and languages, and without the one of the other README."""
    found = re.findall(r"\]\(([^)#]*)[^)]*\)", without_code(text))
    return sorted(link.replace(".zh.md", ".md") for link in found if not re.fullmatch(r"README(\.zh-CN)?\.md", link))


def test_both_readmes_link_to_each_other() -> None:
    (other,) = [path for path in TRANSLATED.values() if path.name == "README.zh-CN.md"]
    assert "(README.zh-CN.md)" in README.partition("\n## ")[0]
    assert "(README.md)" in TEXTS[other].partition("\n## ")[0]


def test_the_output_of_place_is_as_shown(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = TEXTS[ROOT / "docs" / "index.md"]
    (command,) = (command for command in commands(text) if " place " in command)
    (shown,) = (block for block in blocks(text, "") if "neck.P3" in block)
    main(command.split()[1:])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in shown.splitlines() if line not in lines] == []


def test_the_findings_in_a_tutorials_file_are_as_shown(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is YOLOv8 with the row of a tutorial after SPPF."""
    from yolo_attn.host.installation import stock_model_yamls

    text = TEXTS[ROOT / "docs" / "migration.md"]
    (shown,) = (block for block in blocks(text, "") if "was the index shifted?" in block)
    stock = next(path for path in stock_model_yamls() if path.name == "yolov8.yaml")
    Path("mine.yaml").write_text(
        re.sub(r"(.*SPPF.*\n)", r"\1  - [-1, 1, CBAM, [1024]]\n", stock.read_text(encoding="utf-8")), encoding="utf-8"
    )
    assert main(["lint", "model=mine.yaml"]) == 1
    found, expected = (re.sub(r"yaml:\d+", "yaml:LINE", out) for out in (capsys.readouterr().out, shown))
    assert expected.splitlines() == found.splitlines()  # lines differ by release
    (shown,) = (block for block in blocks(text, "") if "+++ mine-fixed.yaml" in block)
    assert main(["lint", "model=mine.yaml", "fix=True"]) == 0
    found, expected = (re.sub(r"@@ -.*@@", "@@", out) for out in (capsys.readouterr().out, shown))
    without_comments = re.sub(r"@@ .*: its number in the comment\n.*\n.*\n", "", found)
    assert expected.splitlines() == without_comments.splitlines()


def test_the_sites_are_those_of_the_table() -> None:
    from yolo_attn.graph.rows import ModelGraph
    from yolo_attn.graph.sites import parse_sites, resolve_sites
    from yolo_attn.host.documents import model_yaml
    from yolo_attn.host.geometry import row_strides

    document = model_yaml("yolo11n.yaml")
    graph, strides = ModelGraph(document), row_strides(document)
    table = re.findall(r"^\| (`.*?) \| .*? \| ([\d;, .]+) \|$", TEXTS[ROOT / "docs" / "placement.md"], re.MULTILINE)
    assert len(table) == 10
    for names, rows in table:
        for site, expected in zip(re.findall("`(.*?)`", names), rows.split(";"), strict=False):
            found = resolve_sites(graph, strides, parse_sites(site))
            assert list(chain(*found)) == [int(n) for n in re.findall(r"\d+", expected)], site
