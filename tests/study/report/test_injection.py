"""Texts of a study's files never become markup, script or formulas of the reports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.study.report.synthetic import make_study, render
from yolo_attn.analysis import mapfile
from yolo_attn.stats import matches, npz
from yolo_attn.study.report.exports import as_csv
from yolo_attn.study.results.records import ArmSummary, RunSummary, StudyInfo, StudyResults

PLAIN = "plain.text"  # with a sign at which names may break, as the other has
HOSTILE = (
    """</title></style></script></text></svg>"'><img src=x onerror=alert(1)><script>alert(1)</script>"""
    """<svg onload=alert(1)>&lt;b&gt;{{ 7*7 }}{% raw %}" onmouseover="alert(1)" style='x' ]]> --> javascript:alert(1)"""
)
# Keys whose values must be valid; the value of any other key is free text.
FIXED = {"kind", "status", "verdict", "folder", "task"}


class Tags(HTMLParser):
    """Collects elements, names of attributes, and links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.links: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))
        values = dict(attrs)
        self.links |= {str(values[name])[:40] for name in ("href", "src", "xlink:href", "action") if name in values}
        self.ids += [str(values["id"])] if "id" in values else []


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    return tags


def replaced(value: Any, text: Callable[[str], str], key: str = "") -> Any:
    """Return JSON data with every free text replaced, including keys."""
    if isinstance(value, dict):
        named = key in ("recipe", "versions", "per_class")
        return {text(name) if named else name: replaced(item, text, name) for name, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, text, key) for item in value]
    return text(value) if isinstance(value, str) and key not in FIXED else value


def number_texts(payload: str) -> Callable[[str], str]:
    """Return a function that replaces each text by the payload with a number that is unique to the text."""
    known: dict[str, int] = {}
    return lambda text: f"{payload}{known.setdefault(text, len(known))}"


def hostile_npz(path: Path, version: int, text: Callable[[str], str]) -> None:
    header, arrays = npz.load(path, version)
    for name in ("images", "classes"):
        if isinstance(header.get(name), list):
            header[name] = [text(item) for item in header[name]]
    for name, values in arrays.items():
        if values.dtype.kind == "U":
            arrays[name] = np.array(text(str(values)))
    header["layers"] = [{**layer, "level": text("P3"), "unit": text("gate")} for layer in header.get("layers", [])]
    npz.save(path, header, arrays)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reports of one study with plain and with hostile texts."""
    written = {}
    for name, payload in (("plain", PLAIN), ("hostile", HOSTILE)):
        folder = tmp_path_factory.mktemp(name) / "s"
        data = make_study(folder, seeds=3, arms=("yolo11n", "SE@neck", "null"), images=6)
        text = number_texts(payload)
        data["arms"][2]["runs"][0] |= {"status": "failed", "error": "log"}
        data["arms"][1]["transferred"] = [3, 4]
        for name_of_file, version in (("matches.npz", matches._VERSION), ("maps.npz", mapfile.VERSION)):
            for path in folder.glob(f"runs/*/{name_of_file}"):
                hostile_npz(path, version, text)
        for path in folder.glob("runs/*/train/results.csv"):
            path.write_text(path.read_text().replace("epoch", f'"{text("epoch")}"'), encoding="utf-8")
        (folder / "results.json").write_text(json.dumps(replaced(data, text)), encoding="utf-8")
        render(folder)
        written[name] = folder
    return written


def test_hostile_texts_add_no_elements_to_the_page(reports: dict[str, Path]) -> None:
    plain, hostile = (read((reports[name] / "report.html").read_text("utf-8")) for name in ("plain", "hostile"))
    assert {tag for tag, _ in hostile.found} == {tag for tag, _ in plain.found}
    assert set(hostile.found) == set(plain.found)
    assert sum(tag == "script" for tag, _ in hostile.found) == 1
    assert not any(name.startswith("on") for _, names in hostile.found for name in names)
    assert all(link.startswith(("#", "data:image/", "data:,")) for link in hostile.links)
    assert len(hostile.ids) == len(set(hostile.ids))


def test_page_contains_the_texts(reports: dict[str, Path]) -> None:
    page = (reports["hostile"] / "report.html").read_text("utf-8")
    assert page.count("&lt;script&gt;alert(1)") > 20
    assert "{{ 7*7 }}" in page and "<script>alert" not in page and "<img src=x" not in page


def test_hostile_texts_add_no_markup_to_markdown(reports: dict[str, Path]) -> None:
    text = (reports["hostile"] / "results.md").read_text("utf-8")
    assert "alert" in text and "\\<script\\>" in text
    assert not any(sign in text.replace(f"\\{sign}", "") for sign in "<>")


def test_csv_cells_are_not_formulas() -> None:
    """A spreadsheet evaluates cells that begin with these characters, and formulas can access the network."""
    formulas = ["=HYPERLINK('http://x')", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"]
    arms = [ArmSummary(text, "variant", runs=[RunSummary(0, "failed", text)]) for text in formulas]
    rows = list(csv.reader(io.StringIO(as_csv(StudyResults(StudyInfo(), arms)))))[1:]
    assert len(rows) == len(formulas)
    for row in rows:
        assert row[0][0] == "'" and row[-1][0] == "'"
