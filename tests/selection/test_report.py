"""The page of a search: complete, readable for any state of the search, and safe for texts of others."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.selection.synthetic import LAYERS, SITES, candidate, make_record, nothing_trained, placed, unfinished
from tests.study.report.test_injection import HOSTILE, PLAIN, number_texts, read, replaced
from yolo_attn.cli import main
from yolo_attn.errors import UserError
from yolo_attn.selection.records import DROPPED, FAILED, Costs, SearchRecord
from yolo_attn.selection.report import make_report, write_report
from yolo_attn.selection.report.funnel import stages
from yolo_attn.selection.report.grid import make_grid
from yolo_attn.selection.stored import read_record, to_json, write_record

PAIR = "SE[init=identity]@neck.P3+ECA[init=identity]@neck.P4"


def with_more() -> SearchRecord:
    """Return a search with a pair, a candidate that cannot be built, and a note."""
    record = make_record(verdicts=("better", "equivalent", "inconclusive"))
    broken = replace(candidate(placed("GE", "neck.P3"), FAILED, ()), costs=Costs(error="GE needs two inputs"))
    rungs = [replace(rung, pairs=2 * (rung.number == 3)) for rung in record.rungs]
    return replace(
        record,
        candidates=(*record.candidates, candidate(PAIR, DROPPED, (0.01, 0.004, 0.002), "rung 3: x"), broken),
        rungs=tuple(rungs),
        notes=("12 images are in both splits.",),
    )


RECORDS = {
    "full": with_more(),
    "one": make_record(("SE",), ("neck",), verdicts=("inconclusive",)),
    "before": unfinished(make_record(), 0),
    "during": unfinished(make_record(), 2),
    "unconfirmed": unfinished(make_record(), 4),
    "limits": nothing_trained(),
    "empty": replace(nothing_trained(), candidates=()),
    "no latency": replace(
        make_record(), candidates=tuple(replace(one, costs=Costs(3_000_000)) for one in make_record().candidates)
    ),
    "no costs": replace(
        make_record(), base=Costs(), candidates=tuple(replace(one, costs=Costs()) for one in make_record().candidates)
    ),
}


def page_of(record: SearchRecord, folder: Path) -> str:
    write_report(folder, record)
    return (folder / "report.html").read_text("utf-8")


class Sections(HTMLParser):
    """Collects the ids of sections and the text of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self.sections.append(str(dict(attrs)["id"]))


def sections_of(page: str) -> list[str]:
    found = Sections()
    found.feed(page)
    return found.sections


ALWAYS = {"method", "limits", "funnel"}


@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("full", {"next", "confirmed", "grid", "gains", "candidates"}),
        ("one", {"next", "confirmed", "grid", "gains", "candidates"}),
        ("before", {"candidates"}),
        ("during", {"grid", "gains", "candidates"}),
        ("unconfirmed", {"grid", "gains", "candidates"}),
        ("limits", {"candidates"}),
        ("empty", set()),
        ("no latency", {"next", "confirmed", "grid", "gains", "candidates"}),
        ("no costs", {"next", "confirmed", "grid", "candidates"}),
    ],
)
def test_sections(name: str, present: set[str], tmp_path: Path) -> None:
    page = page_of(RECORDS[name], tmp_path)
    found = sections_of(page)
    assert set(found) == ALWAYS | present
    for omitted in {"next", "confirmed", "grid", "gains", "candidates"} - present:
        assert f'href="#{omitted}"' not in page
    assert page.count("<li>Omitted: ") == 5 - len(present)
    assert page.startswith("<!doctype html>")
    assert not any(text in page for text in ("None", "nan", "StrictUndefined"))


def test_page_needs_no_network(tmp_path: Path) -> None:
    page = page_of(RECORDS["full"], tmp_path)
    assert "default-src 'none'" in page
    assert all(link.startswith(("#", "data:,")) for link in read(page).links)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_page_contains_setup_answer_and_commands(tmp_path: Path) -> None:
    record = RECORDS["full"]
    page = page_of(record, tmp_path)
    best = record.confirmed[0].name.replace("[init=identity]", "")
    for text in (
        f"{best} is better than yolo11n on digits",
        "latency:+10%, params:+5%",
        "runs=120",
        "800 images",
        "200 images",
        "500 images",
        "ultralytics 8.4",
        "yolo-attn place model=yolo11n.yaml",
        "yolo-attn train model=",
        "12 images are in both splits.",
        "GE needs two inputs",
    ):
        assert text in page, text


# --- parts ----------------------------------------------------------------------------------------------------------


def test_the_funnel_accounts_for_every_candidate() -> None:
    record = RECORDS["full"]
    screening, *rungs, confirmation = stages(record)
    assert screening.entered == len(record.candidates)
    reasons = {loss.reason: loss.count for loss in screening.losses}
    assert reasons == {
        "cannot be built": 1,
        "cannot be exported": 1,
        "over the limit of latency": 1,
        "over the limit of params": 1,
        "beyond the budget": 1,
    }
    for stage in (screening, *rungs, confirmation):
        assert stage.left is not None
        assert stage.entered == stage.left + sum(loss.count for loss in stage.losses)
    assert [(stage.entered, stage.left) for stage in (rungs[-1], confirmation)] == [(6, 3), (3, 1)]
    assert "1 pair" in screening.detail


def test_unfinished_stages_have_no_number_that_they_keep() -> None:
    kept = [stage.left for stage in stages(RECORDS["during"])]
    assert kept[1] is not None and kept[2:] == [None, None, None]


def test_a_search_without_finalists_ends_with_none() -> None:
    assert [(stage.entered, stage.left) for stage in stages(RECORDS["limits"])] == [(24, 0), (0, 0)]


def test_the_grid_has_every_layer_and_site_once() -> None:
    record = RECORDS["full"]
    grid = make_grid(record)
    assert grid is not None
    assert grid.sites == SITES and {row.layer for row in grid.rows} == {*LAYERS, "GE"}
    assert [label for label, _ in grid.pairs] == ["SE@neck.P3+ECA@neck.P4"]
    known = {one.label: one for one in record.candidates}
    for row in grid.rows:
        for site, cell in zip(grid.sites, row.cells, strict=True):
            one = known.get(f"{row.layer}@{site}")
            last = one.last if one else None
            assert cell.value == (last.mean if last else None)
            if last and last.low is not None and last.high is not None:
                assert cell.uncertain == (last.low <= 0 <= last.high)
            assert one is None or (cell.finalist == (one.status == "finalist"))
    assert max(cell.strength for row in grid.rows for cell in row.cells) == 0.55


def test_the_grid_keeps_options_and_identical_zeros() -> None:
    names = ("SE[reduction=8,init=identity]@neck", "SE[init=identity]@neck")
    record = replace(make_record(), candidates=tuple(candidate(name, DROPPED, (0.0,)) for name in names))
    record = replace(
        record, candidates=(replace(record.candidates[0], label="SE[reduction=8]@neck"), record.candidates[1])
    )
    grid = make_grid(record)
    assert grid is not None and [row.layer for row in grid.rows] == ["SE[reduction=8]", "SE"]
    assert grid.rows[0].cells[0].strength == 0


def test_a_diverged_candidate_does_not_fade_the_others() -> None:
    means = [0.001, -0.002, 0.003, 0.002, -0.001, 0.002, 0.003, -0.003, 0.001, 0.002, -0.05]
    candidates = tuple(candidate(f"SE@after:{row}", DROPPED, (mean,)) for row, mean in enumerate(means))
    grid = make_grid(replace(make_record(), candidates=candidates))
    assert grid is not None and grid.beyond
    assert grid.most == pytest.approx(0.006)
    (row,) = grid.rows
    assert [cell.strength for cell in row.cells][2::8] == pytest.approx([0.275, 0.55], abs=0.001)


# --- files of others ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The page of one search with plain and with hostile texts."""
    found = {}
    for name, payload in (("plain", PLAIN), ("hostile", HOSTILE)):
        folder = tmp_path_factory.mktemp(name)
        data = replaced(to_json(RECORDS["full"]), number_texts(payload))
        (folder / "search.json").write_text(json.dumps(data), encoding="utf-8")
        assert main(["report", f"from={folder}"]) == 0
        found[name] = (folder / "report.html").read_text("utf-8")
    return found


def test_hostile_texts_add_no_elements_to_the_page(pages: dict[str, str]) -> None:
    plain, hostile = (read(pages[name]) for name in ("plain", "hostile"))
    assert set(hostile.found) == set(plain.found)
    assert [tag for tag, _ in hostile.found].count("script") == 1
    assert not any(name.startswith("on") for _, names in hostile.found for name in names)
    assert all(link.startswith(("#", "data:,")) for link in hostile.links)
    assert len(hostile.ids) == len(set(hostile.ids))
    assert pages["hostile"].count("&lt;script&gt;alert(1)") > 20
    assert "{{ 7*7 }}" in pages["hostile"] and "<script>alert" not in pages["hostile"]


def test_only_existing_reports_of_the_search_are_linked(tmp_path: Path) -> None:
    record = RECORDS["full"]
    rungs = [replace(rung, folder="../../etc") for rung in record.rungs]
    for name in ("rung1", "rung2", "confirm"):
        (tmp_path / name).mkdir()
    for name in ("rung1", "confirm"):
        (tmp_path / name / "report.html").touch()
    links = read(page_of(record, tmp_path)).links
    assert {link for link in links if not link.startswith(("#", "data:"))} == {
        "rung1/report.html",
        "confirm/report.html",
    }
    hostile = replace(record, rungs=tuple(rungs), confirm_folder="javascript:alert(1)//")
    links = read(page_of(hostile, tmp_path)).links
    assert not any("etc" in link or "javascript" in link for link in links)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, "1", True, None])
def test_numbers_of_others_are_checked(number: Any, tmp_path: Path) -> None:
    write_record(tmp_path, RECORDS["full"])
    data = json.loads((tmp_path / "search.json").read_text("utf-8"))
    data["confirmed"][0]["mean"] = data["rungs"][0]["number"] = number
    (tmp_path / "search.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UserError, match=r"search\.json: damaged"):
        read_record(tmp_path)


# --- the command ----------------------------------------------------------------------------------------------------


def test_report_writes_the_page_of_a_search_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    write_record(folder, RECORDS["full"])
    assert main(["report", f"from={folder}"]) == 0
    output = capsys.readouterr().out
    assert "is better than yolo11n on digits" in output and f"written: {folder / 'report.html'}" in output
    assert {path.name for path in folder.iterdir()} >= {"search.json", "search.csv", "report.html"}
    assert read_record(folder) == RECORDS["full"]
    out = tmp_path / "elsewhere"
    assert main(["report", f"from={folder}", f"out={out}"]) == 0
    assert (out / "report.html").is_file() and read_record(out) == RECORDS["full"]


def test_report_refuses_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(tmp_path, RECORDS["full"])
    other = tmp_path / "other"
    other.mkdir()
    (other / "search.yaml").touch()
    for words, message in (
        (["data=digits"], "data=digits: the report of a search shows no images; omit it"),
        ([f"out={other}"], "contains another search, whose results would be overwritten"),
    ):
        assert main(["report", f"from={tmp_path}", *words]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(UserError, match=r"contains no search\.json"):
        make_report(other)
