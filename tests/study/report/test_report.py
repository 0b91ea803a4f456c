"""Reports of a synthetic study: all arms in all formats, unusual names, missing data."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests.study.report.synthetic import ARMS, CHINESE, LATEX, LONG, SCRIPT, make_study, parsed, render
from yolo_attn.analysis.mapfile import StoredLayer, load_maps
from yolo_attn.cli import main
from yolo_attn.errors import UserError
from yolo_attn.stats import npz
from yolo_attn.stats.matches import MatchesBuilder
from yolo_attn.study.report import make_report, precision, text_table, write_interim_page, write_reports
from yolo_attn.study.report.environment import breakable
from yolo_attn.study.report.exports import escape_latex, escape_markdown
from yolo_attn.study.report.figures.pareto import frontier
from yolo_attn.study.report.figures.plot import Margins, as_plot, drawing, new_plot
from yolo_attn.study.report.formats import columns, p_value, probability, shorten, signed_ends, typeset
from yolo_attn.study.report.images import Box, Photo, _boxes, _tagged
from yolo_attn.study.report.maps import _chosen, _scales
from yolo_attn.study.report.summary import ranked
from yolo_attn.study.results.records import Difference, SeedMean
from yolo_attn.study.results.storage import SCHEMA_FILE

PLOTS = ("forest-mAP50-95", "pareto-latency", "pareto-params", "pareto-gflops", "runs-mAP50", "forest-mAP-small",
         "curve-loss", "curve-main", "precision-recall")  # fmt: skip


VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


class Page(HTMLParser):
    """A parsed page: elements with attributes and text; all tags must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.plots: dict[str, str] = {}
        self.words: list[str] = []
        self._table = self._plot = ""
        self._broken = False
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._broken = tag == "wbr"  # the word continues after it
        self.tags.append(tag)
        self.attributes.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = given.get("id") or ""
            self.rows[self._table] = []
        elif tag == "tr" and self._table:
            self.rows[self._table].append([])
        elif tag in {"td", "th"} and self._table:
            self.rows[self._table][-1].append("")
        elif tag == "svg" and given.get("class") == "plot":
            self._plot = (given.get("aria-labelledby") or "").split("-title")[0]
            self.plots[self._plot] = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self._table = ""
        elif tag == "svg":
            self._plot = ""

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.words[len(self.words) - self._broken :] = [self.words[-1] + data if self._broken else data]
            self._broken = False
        if self._table and {"td", "th"} & set(self.open):
            self.rows[self._table][-1][-1] += data
        if self._plot:
            self.plots[self._plot] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def ids(self) -> list[str]:
        return [given["id"] or "" for _, given in self.attributes if "id" in given]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("study")
    data = make_study(folder)
    render(folder)
    return folder, data


@pytest.fixture(scope="module")
def page(study: tuple[Path, dict[str, Any]]) -> Page:
    return Page((study[0] / "report.html").read_text(encoding="utf-8"))


def test_synthetic_study_matches_the_schema(study: tuple[Path, dict[str, Any]]) -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(study[1])


# --- every arm, in every form ---------------------------------------------------------------------------------------


def test_every_arm_is_in_every_table_and_plot(page: Page) -> None:
    assert len(page.rows["verdict-table"]) == len(ARMS) + 1
    assert len(page.rows["run-table"]) == 5 * len(ARMS) + 1
    for name in ARMS:
        assert any(name in row[0] for row in page.rows["verdict-table"])
        for plot in PLOTS:
            if name != "yolo11n" or not plot.startswith("forest"):  # which shows differences to it
                assert name in page.plots[plot], (name, plot)
    done = [name for name, arm in ARMS.items() if arm.recall is not None and arm.kind != "baseline"]
    for name in done:
        assert name in page.rows["class-table"][0]
    assert sum(plot.startswith("classes-") for plot in page.plots) == len(done)


def test_numbers_of_the_page_match_the_study(study: tuple[Path, dict[str, Any]], page: Page) -> None:
    heads = page.rows["verdict-table"][0]
    for arm in study[1]["arms"]:
        row = next(row for row in page.rows["verdict-table"][1:] if row[0].startswith(arm["name"]))
        cells = dict(zip(heads, row, strict=True))
        mean = arm["metrics"]["mAP50-95"]["mean"]
        assert cells["mAP50-95"].startswith(DASH if mean is None else f"{100 * mean:.2f}")
        delta = (arm["delta"] or {}).get("mAP50-95", {"mean": None})["mean"]
        assert cells["Difference"].startswith(DASH if delta is None else f"{100 * delta:+.2f}".replace("-", MINUS))
        assert cells["Seeds"] == f"{sum(run['status'] == 'done' for run in arm['runs'])}/5"


def test_only_decided_verdicts_are_bold(study: tuple[Path, dict[str, Any]]) -> None:
    text = (study[0] / "report.html").read_text(encoding="utf-8")
    table = text[text.index('id="verdict-table"') : text.index("</table>")]
    for row in re.findall(r"<tr data-arm.*?</tr>", table, flags=re.DOTALL):
        significant = "verdict better" in row or "verdict worse" in row
        assert row.count("<strong>") == 2 * significant + ("verdict equivalent" in row)
    assert table.count("<strong>") > 0
    assert "**inconclusive**" not in (study[0] / "results.md").read_text(encoding="utf-8")


def test_text_table(study: tuple[Path, dict[str, Any]]) -> None:
    lines = text_table(parsed(study[1])).splitlines()
    table = lines[: len(ARMS) + 1]
    assert max(map(columns, table)) <= 120
    assert len({columns(line) for line in table}) == 1  # aligned to the last column, in Chinese too
    assert [line.split()[0] for line in table[1:3]] == ["yolo11n", "SE@neck"]
    assert "better" in lines[2] and "[" in lines[2]
    assert any("80%" in line for line in lines)


def test_csv_has_a_line_for_each_run(study: tuple[Path, dict[str, Any]]) -> None:
    rows = list(csv.DictReader(io.StringIO((study[0] / "results.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 5 * len(ARMS)
    assert {row["arm"] for row in rows} == set(ARMS)
    for arm in study[1]["arms"]:
        for run in arm["runs"]:
            row = next(row for row in rows if row["arm"] == arm["name"] and row["seed"] == str(run["seed"]))
            assert row["status"] == run["status"]
            assert row["mAP50-95"] == ("" if run["metrics"] is None else repr(run["metrics"]["mAP50-95"]))


def test_markdown_preserves_names(study: tuple[Path, dict[str, Any]]) -> None:
    text = (study[0] / "results.md").read_text(encoding="utf-8")
    table = [line for line in text.partition("\n- ")[0].splitlines() if line.startswith("|")]
    assert len(table) == len(ARMS) + 2
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert not re.search(r"(?<!\\)<", text)
    unescaped = re.sub(r"\\([^\w\s])", r"\1", text)
    for name in ARMS:
        assert name.replace("\\", "") in unescaped.replace("\\", "")


# --- unusual names --------------------------------------------------------------------------------------------------


def test_page_contains_one_script_and_loads_nothing(study: tuple[Path, dict[str, Any]], page: Page) -> None:
    assert page.tags.count("script") == 1
    assert not {"i", "em", "b", "iframe", "object"} & set(page.tags)  # they occur in names, errors and notes
    assert SCRIPT in page.text and "<em>its</em>" in page.text and "<i>has</i>" in page.text
    for tag, given in page.attributes:
        for key in ("src", "href", "xlink:href"):
            value = given.get(key) or "#"
            assert value.startswith(("#", "data:")), (tag, value)
    text = (study[0] / "report.html").read_text(encoding="utf-8")
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert len(text) < 5_000_000


def test_ids_are_unique_and_references_resolve(study: tuple[Path, dict[str, Any]], page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    text = (study[0] / "report.html").read_text(encoding="utf-8")
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
    assert {a or b for a, b in references} <= set(page.ids)


def test_latex_escapes_every_character() -> None:
    assert escape_latex(r"a_b & 50% #1 {x} $y$ ~^ \b") == (
        r"a\_b \& 50\% \#1 \{x\} \$y\$ \textasciitilde{}\textasciicircum{} \textbackslash{}b"
    )
    assert escape_latex("é ± 中\n<b>") == r"é $\pm$ U+4E2D\, \textless{}b\textgreater{}"


def test_latex_table_has_a_row_for_each_arm(study: tuple[Path, dict[str, Any]]) -> None:
    text = (study[0] / "results.tex").read_text(encoding="utf-8")
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert len(body) == len(ARMS)
    assert all(line.endswith(r"\\") for line in body)
    assert "Arm & Seeds & " in text
    width = len(re.search(r"begin\{tabular\}\{(\w+)\}", text)[1])  # type: ignore[index]
    assert all(len(re.findall(r"(?<!\\)&", line)) == width - 1 for line in body)
    for name in (SCRIPT, LATEX, LONG):
        assert sum(line.startswith(escape_latex(name)) for line in body) == 1
    assert any(CHINESE in line for line in text.splitlines() if line.startswith("% "))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(study: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copy(study[0] / "results.tex", tmp_path)
    paper = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{results.tex}\\end{document}"
    (tmp_path / "paper.tex").write_text(paper)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_escapes() -> None:
    assert escape_markdown("a|b *c* <d> x_y _z_") == r"a\|b \*c\* \<d\> x_y \_z\_"


# --- studies of every size ------------------------------------------------------------------------------------------


def test_one_seed_has_no_verdict(fresh_folder: Path) -> None:
    options = {"latency": False, "validated": False, "photos": False, "maps": False}
    data = make_study(fresh_folder, seeds=1, arms=("yolo11n", "SE@neck"), **options)
    table = text_table(parsed(data))
    assert "Single runs: differences of this size are usually noise." in table
    assert "verdict" not in table.splitlines()[0] and "ms" not in table.splitlines()[0].split()
    base, other = (arm["metrics"]["mAP50-95"]["mean"] for arm in data["arms"])
    assert table.splitlines()[2].endswith(f"{100 * (other - base):+.2f}")
    write_reports(fresh_folder, parsed(data))
    page = Page((fresh_folder / "report.html").read_text(encoding="utf-8"))
    assert {"pareto-params", "curve-loss", "runs-mAP50-95"} <= set(page.plots)
    assert not {"pareto-latency", "curve-main"} & set(page.plots)
    for reason in (
        "attention maps (no run has stored maps)",
        "because training did not validate",
        "The image files were not found",
        "no controls",
    ):
        assert reason in page.text


def test_two_seeds_are_too_few_for_a_verdict(fresh_folder: Path) -> None:
    table = text_table(parsed(make_study(fresh_folder, seeds=2, arms=("yolo11n", "SE@neck"), images=8, maps=False)))
    assert "2 seeds: too few for a verdict" in table


def test_study_without_results(fresh_folder: Path) -> None:
    """All runs wait, and all results are null."""
    waiting = {"seed": 0, "status": "waiting", "error": None}
    nothing = {"params": None, "gflops": None, "latency_ms": None, "metrics": {}, "per_class": {}, "delta": None}
    arms = [
        {"name": name, "kind": kind, "runs": [waiting], **nothing}
        for name, kind in (("a", "baseline"), ("b", "variant"))
    ]
    data = {"schema": 1, "baseline": "a", "data": "digits", "recipe": {}, "versions": {}, "seeds": [0], "arms": arms}
    write_reports(fresh_folder, parsed(data))
    page = Page((fresh_folder / "report.html").read_text(encoding="utf-8"))
    assert not page.plots
    assert "Interim results: 0 of 2 runs finished." in page.text
    assert text_table(parsed(data)).splitlines()[1].split() == ["a", "(baseline)", "0/1", "-", "-", "-", "-", "-"]


def test_non_finite_numbers_are_missing(fresh_folder: Path) -> None:
    data = make_study(fresh_folder, seeds=3, arms=("yolo11n", "SE@neck"), images=8, maps=False)
    arm = data["arms"][1]
    arm["gflops"] = float("nan")
    arm["metrics"]["mAP-large"] = {"mean": float("nan"), "sd": None, "ci95": [float("nan"), 1.0]}
    arm["delta"]["mAP-large"] = {"mean": float("inf"), "ci95": None}
    write_reports(fresh_folder, parsed(data))
    for name in ("report.html", "results.csv", "results.md", "results.tex"):
        assert not re.search(r"\b(nan|inf|None)\b", (fresh_folder / name).read_text(encoding="utf-8")), name


@pytest.mark.slow
def test_three_seeds_on_one_image_have_no_intervals(fresh_folder: Path) -> None:
    """A study of a single image has means, and null for everything that depends on image noise."""
    data = make_study(fresh_folder, seeds=3, arms=("yolo11n", "SE@neck", "null"), images=8, maps=False)
    unknown = dict.fromkeys(("ci95", "interval", "level", "p", "p_adjusted", "p_better", "se_images"))
    for arm in data["arms"]:
        for found in [*arm["metrics"].values(), *(arm["delta"] or {}).values()]:
            found |= {key: None for key in unknown if key in found}
        for found in arm["per_class"].values():
            found["ci95"] = None
            if found["delta"]:
                found["delta"]["ci95"] = None
        arm["verdict"] = None
    data |= dict.fromkeys(("minimum_detectable", "detectable_range", "noise")) | {"pairs": []}
    write_reports(fresh_folder, parsed(data))
    for name in ("report.html", "results.md", "results.tex"):
        assert not re.search(r"\b(nan|inf|None)\b", (fresh_folder / name).read_text(encoding="utf-8")), name
    page = Page((fresh_folder / "report.html").read_text(encoding="utf-8"))
    assert "No verdict: SE@neck." in page.text
    assert set(PLOTS) <= set(page.plots)
    assert "interval" not in text_table(parsed(data)).splitlines()[0]


@pytest.mark.parametrize(
    "size",
    [None, *(pytest.param(size, marks=pytest.mark.slow) for size in ({}, {"mAP50-95": None}, {"mAP50-95": 0.0}))],
)
def test_no_detectable_difference_without_noise(size: object, fresh_folder: Path) -> None:
    data = make_study(fresh_folder, seeds=3, arms=("yolo11n", "SE@neck"), images=8, maps=False)
    data |= {"minimum_detectable": size, "noise": None}
    write_reports(fresh_folder, parsed(data))
    page = Page((fresh_folder / "report.html").read_text(encoding="utf-8"))
    assert (
        "Detectable (estimated)" not in page.text and "80%" not in page.text and "80%" not in text_table(parsed(data))
    )


def test_detectable_difference_is_printed(study: tuple[Path, dict[str, Any]], page: Page) -> None:
    note = "Detectable: a true difference of 1.70 to 3.20 points in one variant with a probability of 80%"
    assert note in page.text and note in text_table(parsed(study[1]))
    assert "Detectable (estimated) differences from 1.70 to 3.20 points" in page.text


UNTRAINED = "The verdicts apply to training from scratch"


@pytest.mark.parametrize(
    ("weights", "pretrained", "untrained"),
    [
        ({"weights": None}, None, True),
        ({"weights": "yolo11n.pt"}, None, False),
        ({"weights": None}, "yolo11n.pt", False),
    ],
)
def test_untrained_initialization_is_a_limitation(
    weights: dict[str, Any], pretrained: str | None, untrained: bool, fresh_folder: Path
) -> None:
    data = make_study(fresh_folder, seeds=1, arms=("yolo11n", "SE@neck"), images=4, maps=False)
    for arm in data["arms"]:
        arm["transferred"] = [499, 499]
    data |= weights
    if pretrained:
        data["recipe"]["pretrained"] = pretrained
    page = Page(html_of(fresh_folder, data))
    assert (UNTRAINED in page.text) == untrained
    assert ("Initial weights untrained" in page.text) == untrained
    assert ("Initial weights yolo11n.pt" in page.text) == bool(weights.get("weights"))


def html_of(folder: Path, data: dict[str, Any]) -> str:
    write_reports(folder, parsed(data))
    return (folder / "report.html").read_text(encoding="utf-8")


def section_of(text: str, ident: str) -> str:
    start = text.index(f'<section id="{ident}"')
    return text[start : text.index("</section>", start)]


@pytest.mark.slow
def test_arms_with_equal_detections_have_no_gains_and_losses(fresh_folder: Path) -> None:
    data = make_study(fresh_folder, seeds=2, arms=("yolo11n", "SE@neck", "null"), images=8, maps=False)
    base, better, null = ([run["folder"] for run in arm["runs"]] for arm in data["arms"])
    for mine, reference in zip(null, base, strict=True):
        shutil.copy(fresh_folder / reference / "matches.npz", fresh_folder / mine / "matches.npz")
    page = Page(html_of(fresh_folder, data))
    assert "No image has a different score: null (control)." in page.text
    assert "image files were not found" not in page.text  # all photos are there
    for mine, reference in zip(better, base, strict=True):
        shutil.copy(fresh_folder / reference / "matches.npz", fresh_folder / mine / "matches.npz")
    text = html_of(fresh_folder, data)
    section = section_of(text, "images")
    assert "No image has a different score: SE@neck, null (control)." in section
    assert "<summary>" not in section and "image files were not found" not in section


@pytest.mark.slow
def test_missing_images_are_reported(fresh_folder: Path) -> None:
    data = make_study(fresh_folder, seeds=1, arms=("yolo11n", "SE@neck"), images=8, maps=False)
    note = "Some images are missing"
    assert note not in html_of(fresh_folder, data)
    shown = re.findall(r'aria-label="(\d+\.png), yolo11n', html_of(fresh_folder, data))
    (fresh_folder / "photos" / shown[0]).unlink()
    assert note in html_of(fresh_folder, data)


def test_deviations_are_in_every_table(study: tuple[Path, dict[str, Any]], page: Page) -> None:
    failed = "seeds 0, 1, 2, 3, 4: failed: RowError: row 17:"
    assert failed in text_table(parsed(study[1]))
    assert failed in (study[0] / "results.md").read_text(encoding="utf-8")
    assert failed in page.text
    data = json.loads(json.dumps(study[1]))
    data["arms"][1]["runs"][0]["status"] = "waiting"
    assert "Interim: 39 of 40 runs finished; verdicts follow when all are." in text_table(parsed(data)).splitlines()


def test_precision_and_recall(study: tuple[Path, dict[str, Any]], page: Page) -> None:
    for arm in study[1]["arms"]:
        mean = arm["metrics"]["mAP50"]["mean"]
        expected = "no result" if mean is None else f"{100 * mean:.2f}"
        label = arm["name"] if arm["kind"] == "variant" else f"{arm['name']} ({arm['kind']})"
        assert f"{label}: {expected}" in page.plots["precision-recall"]


def test_slow_curves_are_omitted(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_MAX_BYTES", 1000)
    data = make_study(fresh_folder, seeds=1, arms=("yolo11n", "SE@neck"), images=4, maps=False)
    page = Page(html_of(fresh_folder, data))
    assert "precision-recall" not in page.plots
    assert "Omitted: precision and recall (the stored matches are too large)." in page.text


@pytest.mark.slow
def test_arm_equal_to_the_baseline_has_no_empty_figure(fresh_folder: Path) -> None:
    """On a CPU, the null control trains to exactly the base's numbers."""
    data = make_study(fresh_folder, seeds=3, arms=("yolo11n", "SE@neck", "null"), images=8, maps=False)
    for result in data["arms"][2]["per_class"].values():
        result["delta"] = {"mean": 0.0, "ci95": [0.0, 0.0]} if result["delta"]["mean"] is not None else result["delta"]
    page = Page(html_of(fresh_folder, data))
    assert [name for name in page.plots if name.startswith("classes-")] == ["classes-1"]
    assert "No differences in any class: null (control)" in page.text
    assert len(page.rows["class-table"][0]) == 5  # in the table it stays
    data["arms"][2]["per_class"]["3"]["delta"] = {"mean": 0.0, "ci95": [-0.1, 0.1]}  # no difference, but not the same
    assert "classes-2" in Page(html_of(fresh_folder, data)).plots


@pytest.mark.slow
def test_empty_columns_are_omitted(study: tuple[Path, dict[str, Any]], page: Page, tmp_path: Path) -> None:
    data = json.loads(json.dumps(study[1]))
    for arm in data["arms"]:
        arm["latency_ms"] = arm["memory_mib"] = None
        arm["metrics"]["mAP-large"] = {"mean": None, "sd": None, "ci95": None}
        for run in arm["runs"]:
            run["memory_mib"] = None
    write_reports(study[0], parsed(data), out=tmp_path)
    rows = Page((tmp_path / "report.html").read_text(encoding="utf-8")).rows["verdict-table"]
    assert set(page.rows["verdict-table"][0]) - set(rows[0]) == {"ms", "MiB", "Large"}
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("CBAM@neck.P4", '<span class="name short">CBAM@<wbr>neck.<wbr>P4</span>'),
        ("EMA@inside:C3k2", '<span class="name short">EMA@<wbr>inside:<wbr>C3k2</span>'),
        ("..", '<span class="name short">..</span>'),
        ("a<b>", '<span class="name short">a&lt;b&gt;</span>'),
        ("x" * 50, f'<span class="name long solid">{"x" * 50}</span>'),
    ],
)
def test_names_break_at_punctuation(name: str, shown: str) -> None:
    assert breakable(name) == shown


def test_unfinished_study_has_an_interim_page(fresh_folder: Path) -> None:
    data = make_study(fresh_folder, seeds=3, arms=("yolo11n", "SE@neck"), images=8, maps=False)
    data["arms"][1]["runs"][2] |= {"status": "running", "metrics": None}
    data["arms"][1]["verdict"] = None
    write_interim_page(fresh_folder, parsed(data), 30)
    text = (fresh_folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert '<meta http-equiv="refresh" content="30">' in text
    assert "Interim results: 5 of 6 runs finished. Verdicts follow when all runs are finished." in page.text
    assert "as runs finish" in page.text and page.rows["verdict-table"][2][2] == "interim"
    write_reports(fresh_folder, parsed(data))  # as `yolo-attn report` does
    text = (fresh_folder / "report.html").read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' not in text
    assert "When this page was written, 1 run was waiting or running." in text


# --- images and maps ------------------------------------------------------------------------------------------------


def test_boxes_have_class_and_confidence_and_missed_objects_have_tags(fresh_folder: Path) -> None:
    builder = MatchesBuilder(["cat", "a dog with a very long name"])
    boxes = np.array([[10.0, 10, 60, 60], [70, 10, 90, 40], [20, 70, 50, 95]])
    found = np.array([[12.0, 10, 60, 62], [70, 60, 95, 95], [70, 10, 90, 41]])
    scores, classes = [0.9, 0.6, 0.1], [0, 1, 1]
    builder.add_image(
        "a.png", gt_class=[0, 1, 0], gt_area=area(boxes), gt_box=boxes, det_class=classes, det_score=scores,
        det_area=area(found), det_box=found, similarity=overlaps(boxes, found),
    )  # fmt: skip
    photo = Photo("photo-0", 100, 100, "data:")
    shown = {(box.kind, box.x, box.text) for box in _boxes(builder.build(), 0, photo)}
    assert shown == {
        ("object", 10, ""), ("right", 12, "cat 0.90"), ("wrong", 70, "a dog wit…ong name 0.60"),
        ("missed", 70, "a dog wit…ong name"),  # found below the displayed confidence
        ("missed", 20, "cat"),
    }  # fmt: skip


def test_tags_are_inside_the_image_and_do_not_overlap() -> None:
    photo = Photo("photo-0", 300, 200, "data:")
    boxes = [Box(x, y, 60.0, 50.0, "right", "cat 0.90") for x in (0, 120, 240) for y in (0, 20, 150)]
    tags = [
        np.array([x, y, x + width, y + photo.tag_height]) for x, y, width in (box.tag for box in _tagged(boxes, photo))
    ]
    for index, tag in enumerate(tags):
        assert (tag >= 0).all() and tag[2] <= 300 and tag[3] <= 200
        for other in tags[:index]:
            assert np.prod(np.clip(np.minimum(tag[2:], other[2:]) - np.maximum(tag[:2], other[:2]), 0, None)) == 0


def area(boxes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def overlaps(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.prod(np.clip(sides, 0, None), axis=2)
    return common / (area(a)[:, None] + area(b)[None] - common)


def test_maps_overlay_their_images_with_scale_and_numbers(study: tuple[Path, dict[str, Any]], page: Page) -> None:
    text = (study[0] / "report.html").read_text(encoding="utf-8")
    section = section_of(text, "maps")
    photos = re.findall(r'class="under" href="#(photo-\d+)"', section)
    assert len(photos) == 2 * 3 * 2  # two arms, three maps each, two images that were found
    assert all(f'<image id="{ident}"' in text for ident in photos)
    assert section.count('<svg class="map"') == 2 * 3 * 3 and "Some maps have no image" in section
    assert section.count('<svg class="channels"') == 2 * 3
    assert "<i>" not in section and "&lt;i&gt;gone.png" in section
    stored = load_maps(study[0] / study[1]["arms"][1]["runs"][0]["folder"] / "maps.npz")
    values = np.concatenate([values.ravel() for layer in stored.layers[:3] for values in layer.maps])
    low, high = np.percentile(values, (1, 99))
    assert re.search(rf'class="scale">{low:.2f} <img[^>]+> {high:.2f}</p>', section)
    first = stored.layers[0].maps[0]
    assert f"<small>{first.min():.2f} · {first.mean():.2f} · {first.max():.2f}</small>" in section


def test_nearly_equal_values_keep_a_wide_color_scale() -> None:
    values = np.array([[0.50, 0.51], [0.505, 0.502]], np.float32)
    (scale,) = _scales([StoredLayer(1, "SE", "P3", "gate", "map", {}, (values,), "SE")]).values()
    assert scale[1] - scale[0] == pytest.approx(0.1)
    assert scale[0] < values.min() and values.max() < scale[1]


def test_classes_have_their_number_of_objects(study: tuple[Path, dict[str, Any]], page: Page) -> None:
    for name, result in study[1]["arms"][1]["per_class"].items():
        assert f"{name} ({result['instances']})" in page.plots["classes-1"]


def test_maps_of_every_level_are_shown(fresh_folder: Path) -> None:
    """If layers are omitted, every level is represented; without levels, the first layers are displayed."""
    levels = [*["P3"] * 8, *["P4"] * 3, "P5"]
    layers = [StoredLayer(row, "EMA", level, "gate", "map", {}, ()) for row, level in enumerate(levels)]
    chosen = _chosen(layers)
    assert [layer.row for layer in chosen] == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    unknown = [StoredLayer(row, "EMA", "", "gate", "map", {}, ()) for row in range(12)]
    assert [layer.row for layer in _chosen(unknown)] == list(range(9))
    assert _chosen(layers[:5]) == layers[:5]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (["P3"] * 9 + ["P4"] * 2, "seed 0, 9 of 11 layers, including every level"),
        ([None] * 11, "seed 0, the first 9 of 11 layers"),
        (["P3"] * 9, "seed 0"),
    ],
)
def test_omitted_layers_are_reported(levels: list[str | None], expected: str, fresh_folder: Path) -> None:
    data = make_study(fresh_folder, seeds=1, arms=("yolo11n", "SE@neck"), images=4, maps=False)
    arrays: dict[str, Any] = {"image_0": np.array("a.png")}
    header = []
    for row, level in enumerate(levels):
        arrays |= {f"name_{row}": np.array("EMA"), f"range_{row}": np.array([0, 1], np.float32)}
        arrays[f"map_{row}_0"] = np.full((4, 4), 0.5, np.float16)
        entry = {"key": f"{row}", "row": row, "unit": "gate", "kind": "map", "statistics": {}}
        header.append(entry | ({} if level is None else {"level": level}))
    path = fresh_folder / data["arms"][1]["runs"][0]["folder"] / "maps.npz"
    npz.save(path, {"version": 1, "images": 1, "layers": header, "without": []}, arrays)
    text = html_of(fresh_folder, data)
    assert f"<small>{expected}</small></summary>" in text
    assert ("row 0 EMA (P3)" in text) == (levels[0] == "P3")


def test_damaged_run_files_do_not_stop_the_report(fresh_folder: Path) -> None:
    data = make_study(fresh_folder, seeds=3, arms=("yolo11n", "SE@neck"), images=8)
    run = fresh_folder / data["arms"][1]["runs"][0]["folder"]
    (run / "matches.npz").write_bytes(b"PK\x03\x04 cut off")
    (run / "maps.npz").write_bytes(b"")
    (run / "train" / "results.csv").write_bytes(b"\xff\xfeepoch,\n1,2,3\n")
    next((fresh_folder / "photos").iterdir()).write_bytes(b"no image")
    text = render(fresh_folder).read_text(encoding="utf-8")
    assert "common seeds" in text


def test_page_can_be_omitted(fresh_folder: Path) -> None:
    data = make_study(fresh_folder, seeds=1, arms=("yolo11n", "SE@neck"), images=4, maps=False)
    write_reports(fresh_folder, parsed(data), html=False)
    assert {path.name for path in fresh_folder.glob("re*.*")} == {
        *("results.json", "results.csv", "results.md", "results.tex")
    }


def test_the_same_study_gives_the_same_page(study: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    again = render(study[0], tmp_path / "elsewhere")
    assert again.read_bytes() == (study[0] / "report.html").read_bytes()


# --- yolo-attn report -----------------------------------------------------------------------------------------------


def test_command_writes_the_reports(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_study(fresh_folder / "s", seeds=1, arms=("yolo11n", "SE@neck"), images=4, maps=False)
    assert main(["report", "from=s", "out=there"]) == 0
    assert str(Path("there") / "report.html") in capsys.readouterr().out
    assert (fresh_folder / "there" / "report.html").is_file()
    assert not (fresh_folder / "s" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["report"], "requires from="),
        (["report", "from=nowhere"], "no such folder"),
        (["report", "from=."], "no study"),
        (["report", "form=."], "did you mean from?"),
    ],
)
def test_command_reports_a_mistake(
    words: list[str], problem: str, fresh_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    message = capsys.readouterr().err
    assert problem in message and message.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"schema": 99, "arms": [{"name": "a"}]}', '{"schema": 1, "arms": []}', '{"schema": 1, "arms": [1]}'],
)
def test_damaged_results_are_reported_in_one_line(content: str, fresh_folder: Path) -> None:
    (fresh_folder / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"results\.json") as caught:
        make_report(fresh_folder)
    assert "\n" not in str(caught.value)
    assert "damaged" in str(caught.value) or "schema 99" in str(caught.value)


# --- small parts ----------------------------------------------------------------------------------------------------


def test_numbers() -> None:
    assert [p_value(p) for p in (None, 0.0, 0.00099, 0.0421, 1.0)] == ["-", "<0.001", "<0.001", "0.042", "1.000"]
    assert [probability(p) for p in (0.0, 0.5, 0.994, 0.999)] == ["<0.01", "0.50", "0.99", ">0.99"]
    assert typeset("-1.20 [-3.00, +0.60]") == f"{MINUS}1.20 [{MINUS}3.00, +0.60]"
    assert typeset("11.9-14.0") == f"11.9{DASH}14.0"
    assert shorten("CBAM@neck.P3", 12) == "CBAM@neck.P3"
    assert columns(shorten("注意力注意力注意力", 8)) <= 8


def test_interval_requires_both_ends() -> None:
    assert SeedMean.from_json({"mean": 1, "ci95": [0.5, None]}).half is None
    assert Difference.from_json({"mean": True, "ci95": [0.5, 1.5]}) == Difference(ci95=(0.5, 1.5))


def test_frontier() -> None:
    assert frontier([(2, 0.5), (1, 0.0), (3, 0.4), (2, 0.2), (4, 0.9)]) == [(1, 0.0), (2, 0.5), (4, 0.9)]


def test_arms_are_sorted_by_difference_with_controls_last(study: tuple[Path, dict[str, Any]]) -> None:
    arms = ranked(parsed(study[1])).arms
    assert [arm.kind for arm in arms] == ["baseline"] + 5 * ["variant"] + 2 * ["control"]
    means = [arm.difference("mAP50-95").mean for arm in arms if arm.kind == "variant"]
    assert means[-1] is None  # the arm that failed
    assert means[:-1] == sorted(means[:-1], reverse=True)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ((-0.0028, 0.0049706), ("-0.28", "+0.50")),  # equivalent
        ((-0.0028, 0.00500001), ("-0.28", "+0.51")),  # inconclusive
        ((0.00002, 0.008), ("+0.002", "+0.80")),  # better
        ((-0.00002, 0.008), ("-0.002", "+0.80")),
        ((-0.008, -0.0000004), ("-0.80", "-0.00004")),
        ((0.0, 0.0), ("+0.00", "+0.00")),
        ((0.0041, 0.0045), ("+0.41", "+0.45")),
        ((-1e-12, 1e-12), ("+0.00", "+0.00")),
        ((None, None), ("-", "-")),
    ],
)
def test_a_verdict_can_be_read_off_a_printed_interval(
    interval: tuple[float | None, float | None], shown: tuple[str, str]
) -> None:
    assert signed_ends(*interval) == shown


def test_names_that_look_like_colors_or_references_are_kept() -> None:
    with drawing():
        figure, axes = new_plot(40, Margins())
        axes.text(0, 0, "team #d55e00 url(#a", color="#d55e00")
        plot = as_plot(figure, "p", "t", "d")
    assert "team #d55e00 url(#a" in str(plot.svg)
    assert "var(--arm-" in str(plot.svg)
