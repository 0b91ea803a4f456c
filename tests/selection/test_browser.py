"""The page of a search in a browser: no errors, no requests, no overlaps, sufficient contrast, headings in view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.selection.synthetic import make_record
from tests.selection.test_report import RECORDS
from tests.study.report.test_browser import (  # noqa: F401 (browser is a fixture)
    CHROMIUM,
    FAINT,
    OUTSIDE,
    OVERLAPS,
    PLAYWRIGHT,
    Visit,
    browser,
)
from yolo_attn.registry import list_layers
from yolo_attn.selection.report import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM and not PLAYWRIGHT, reason="neither Chromium nor playwright is installed"),
]
SITES = ("backbone.P2", "backbone.P3", "backbone.P4", "backbone.P5", "neck.P3", "neck.P4", "neck.P5", "inside:C3k2")
SHOWN = ("full", "one", "during", "limits", "empty", "large")

# Texts of the heat map whose contrast with their cell's color over the page is below 4.5 (WCAG AA).
FAINT_CELLS = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const luminance = (color) => {
    const [r, g, b] = color.map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const page = parts(getComputedStyle(document.body).backgroundColor), bad = [];
  for (const cell of document.querySelectorAll(".heat td:not(.empty)")) {
    const over = getComputedStyle(cell, "::before"), share = Number(over.opacity);
    const ground = parts(over.backgroundColor).map((value, i) => share * value + (1 - share) * page[i]);
    for (const element of [cell, ...cell.children]) {
      const [a, b] = [luminance(parts(getComputedStyle(element).color)), luminance(ground)];
      if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) bad.push(cell.textContent);
    }
  }
  return bad;
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    records = {**RECORDS, "large": make_record([spec.name for spec in list_layers()], SITES)}
    found = {}
    for name in SHOWN:
        folder = tmp_path_factory.mktemp(name.replace(" ", "-"))
        write_report(folder, records[name])
        found[name] = folder / "report.html"
    return found


@pytest.mark.parametrize("width", [1920, 1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["full", "one", "during", "limits", "empty"])
def test_nothing_fails_overlaps_or_is_faint(
    name: str,
    scheme: str,
    width: int,
    pages: dict[str, Path],
    browser: Any,  # noqa: F811
) -> None:
    with Visit(browser, pages[name], width, color_scheme=scheme) as visit:
        visit.open_all()
        visit.page.add_style_tag(content=".tall { max-height: none !important }")  # rows in the scrolled part overlap
        assert visit.page.evaluate(OVERLAPS) == []
        assert visit.page.evaluate(OUTSIDE) == []
        assert visit.page.evaluate(FAINT) == []
        assert visit.page.evaluate(FAINT_CELLS) == []
        assert visit.complaints == []
        assert [url for url in visit.requests if not url.startswith("data:")] == [pages[name].as_uri()]


@pytest.mark.parametrize("width", [1280, 390])
def test_headings_of_a_large_heat_map_stay_in_view(width: int, pages: dict[str, Path], browser: Any) -> None:  # noqa: F811
    """The first row and the first column of the table are where they were after it has scrolled both ways."""
    boxes = """() => ["#grid-table thead th:last-child", "#grid-table tbody tr:nth-child(40) th"].map(
      (selector) => document.querySelector(selector).getBoundingClientRect())"""
    with Visit(browser, pages["large"], width) as visit:
        assert visit.page.evaluate(OUTSIDE) == []
        top, left = (box[side] for box, side in zip(visit.page.evaluate(boxes), ("top", "left"), strict=True))
        visit.page.eval_on_selector(".tall:has(#grid-table)", "scroll => scroll.scrollTo(1000, 800)")
        after = visit.page.evaluate(boxes)
        assert abs(after[0]["top"] - top) < 3
        assert abs(after[1]["left"] - left) < 3


def test_copy_button_copies_the_commands(pages: dict[str, Path], browser: Any) -> None:  # noqa: F811
    with Visit(browser, pages["full"], 1280, permissions=["clipboard-read", "clipboard-write"]) as visit:
        visit.page.locator("button.copy").first.click()
        visit.page.get_by_text("Copied", exact=True).wait_for()
        place, train = visit.page.evaluate("navigator.clipboard.readText()").splitlines()
        assert place.startswith("yolo-attn place model=") and train.startswith("yolo-attn train model=")


def test_candidates_sort_by_their_estimates(pages: dict[str, Path], browser: Any) -> None:  # noqa: F811
    with Visit(browser, pages["full"], 1280) as visit:
        visit.open_all()
        visit.page.locator("#candidate-table thead th").nth(2).get_by_role("button").click()
        cells = visit.page.locator("#candidate-table tbody tr > :nth-child(3)").all()
        values = [cell.get_attribute("data-value") for cell in cells]
        known = [float(value) for value in values if value]
        assert len(known) > 10 and known == sorted(known, reverse=True)


def test_printed_page_is_light_and_complete(pages: dict[str, Path], browser: Any) -> None:  # noqa: F811
    with Visit(browser, pages["full"], 1032, color_scheme="dark") as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert visit.page.evaluate(OUTSIDE) == []
        tables = "[...document.querySelectorAll('table')].map((table) => table.getBoundingClientRect().right)"
        assert max(visit.page.evaluate(tables)) <= 1032
