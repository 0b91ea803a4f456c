"""The page in a browser: no errors, no requests, no overlaps, sortable tables, sufficient contrast."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.study.report.synthetic import ARMS, LONG, SCRIPT, make_study, parsed, render
from yolo_attn.study.report import write_interim_page, write_reports
from yolo_attn.study.report.figures.plot import shortened

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PLAYWRIGHT = importlib.util.find_spec("playwright") is not None

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM and not PLAYWRIGHT, reason="neither Chromium nor playwright is installed"),
]

# What a reader reads, as boxes: the blocks of text, and the texts of every plot, which must not cover each other.
OVERLAPS = """() => {
  const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1.5;
  const pairs = (boxes, where) => {
    const bad = [];
    for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++)
      if (overlap(boxes[i].box, boxes[j].box)) bad.push(`${where}: ${boxes[i].text} | ${boxes[j].text}`);
    return bad;
  };
  const seen = (element) => ({text: element.textContent.trim().slice(0, 40), box: element.getBoundingClientRect()});
  const shown = ({box}) => box.width > 0 && box.height > 0;
  let bad = [];
  for (const plot of document.querySelectorAll("svg.plot"))
    bad = bad.concat(pairs([...plot.querySelectorAll("text")].map(seen).filter(shown), plot.querySelector("title").id));
  const blocks = "h1, h2, h3, h4, p, li, dt, dd, summary, figcaption, table, .pair svg, .plot, .map, .channels";
  bad = bad.concat(pairs([...document.querySelectorAll(blocks)]
    .filter((e) => !e.parentElement.closest("table, li p, .warnings li")).map(seen).filter(shown), "page"));
  for (const table of document.querySelectorAll("table"))
    bad = bad.concat(pairs([...table.querySelectorAll("tr")].map(seen).filter(shown), table.id));
  return bad;
}"""

# What sticks out of the page, or out of its own cell or plot.
OUTSIDE = """() => {
  const width = document.documentElement.clientWidth, bad = [];
  if (document.documentElement.scrollWidth > width) bad.push(`page ${document.documentElement.scrollWidth}`);
  for (const element of document.querySelectorAll("main *")) {
    if (element.closest(".scroll, svg") && !element.matches(".scroll")) continue;
    const box = element.getBoundingClientRect();
    if (box.width && (box.left < -0.5 || box.right > width + 0.5)) bad.push(element.tagName + element.textContent);
  }
  for (const text of document.querySelectorAll("svg.plot text")) {
    const box = text.getBoundingClientRect(), frame = text.closest("svg").getBoundingClientRect();
    const inside = (low, high) => box[low] >= frame[low] - 1 && box[high] <= frame[high] + 1;
    if (!inside("left", "right") || !inside("top", "bottom"))
      bad.push(`${text.closest("svg").querySelector("title").id}: ${text.textContent}`);
  }
  for (const cell of document.querySelectorAll("td, th"))
    if (cell.scrollWidth > cell.clientWidth + 1) bad.push(`cell ${cell.textContent}`);
  return bad;
}"""

# Texts whose contrast with the page is below 4.5 (WCAG AA), including texts of figures.
FAINT = """() => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const tag = element.closest(".tag");
    if (tag) return getComputedStyle(tag.querySelector("rect")).fill;
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$|transparent/.test(color)) return color;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  const bad = [];
  for (const element of document.querySelectorAll("main *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.matches("title, desc") || !element.getBoundingClientRect().width) continue;
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [luminance(ink), luminance(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${element.tagName} ${element.textContent.slice(0, 40)}`);
  }
  return bad;
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("page")
    make_study(folder / "full")
    make_study(folder / "one", seeds=1, arms=("yolo11n", "SE@neck"), latency=False, photos=False, maps=False)
    data = make_study(folder / "names", seeds=3, arms=("yolo11n", "SE@neck", "null", "width"), images=8, maps=False)
    names = ("CBAM@neck.P4", "EMA@inside:C3k2", "SE[reduction=8]@backbone.P5")
    for arm, name in zip(data["arms"][1:], names, strict=True):
        arm |= {"name": name, "kind": "variant"}
    (folder / "names" / "results.json").write_text(json.dumps(data), encoding="utf-8")
    return {name: render(folder / name).resolve() for name in ("full", "one", "names")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    assert PLAYWRIGHT, "Chromium is installed, playwright is not: pip install -e '.[test]'"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without a Chromium of the system: playwright's own, from `playwright install chromium`.
        if not CHROMIUM and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: install your system's, or run `playwright install chromium`")
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Visit:
    """A page in the browser, with its console messages and requests."""

    def __init__(self, browser: Any, path: Path, width: int, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def open_all(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")


@pytest.mark.parametrize("width", [1920, 1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["full", "one"])
def test_nothing_fails_overlaps_or_is_faint(
    name: str, scheme: str, width: int, pages: dict[str, Path], browser: Any
) -> None:
    with Visit(browser, pages[name], width, color_scheme=scheme) as visit:
        visit.open_all()
        assert visit.page.evaluate(OVERLAPS) == []
        assert visit.page.evaluate(OUTSIDE) == []
        assert visit.page.evaluate(FAINT) == []
        assert visit.complaints == []
        assert [url for url in visit.requests if not url.startswith("data:")] == [pages[name].as_uri()]
        dark = visit.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark")


def test_layout_checks_find_problems(pages: dict[str, Path], browser: Any) -> None:
    with Visit(browser, pages["one"], 390) as visit:
        problems = (
            "h2 { margin-bottom: -20px } h1 { width: 500px; color: #ccc } svg.plot text { font-size: 40px !important }"
        )
        visit.page.add_style_tag(content=problems)
        overlaps, outside = visit.page.evaluate(OVERLAPS), visit.page.evaluate(OUTSIDE)
        assert any(problem.startswith("page") for problem in overlaps) and any(
            "forest" in problem for problem in overlaps
        )
        assert any(problem.startswith("H1") for problem in outside) and any("forest" in problem for problem in outside)
        assert visit.page.evaluate(FAINT)


def column(visit: Visit, index: int) -> list[str]:
    cells = visit.page.locator(f"#verdict-table tbody tr > :nth-child({index + 1})").all()
    return [cell.get_attribute("data-value") or "" for cell in cells]


def test_tables_sort_by_click_and_by_key(pages: dict[str, Path], browser: Any) -> None:
    with Visit(browser, pages["full"], 1280) as visit:
        heads = visit.page.locator("#verdict-table thead th")
        before = column(visit, 0)
        heads.nth(4).get_by_role("button").click()
        assert heads.nth(4).get_attribute("aria-sort") == "descending"
        values = [float(value) for value in column(visit, 4) if value]
        assert values == sorted(values, reverse=True)
        assert column(visit, 4)[-2:] == ["", ""]  # the baseline and the arm that failed have no difference
        heads.nth(4).get_by_role("button").press("Enter")
        assert heads.nth(4).get_attribute("aria-sort") == "ascending"
        assert [float(value) for value in column(visit, 4) if value] == values[::-1]
        assert column(visit, 4)[-2:] == ["", ""]
        heads.nth(0).get_by_role("button").press("Space")
        assert heads.nth(4).get_attribute("aria-sort") is None
        assert heads.nth(0).get_attribute("aria-sort") == "ascending"
        assert sorted(column(visit, 0)) == sorted(before) != before
        assert visit.complaints == []


def test_button_copies_the_sentences(pages: dict[str, Path], browser: Any) -> None:
    with Visit(browser, pages["full"], 1280, permissions=["clipboard-read", "clipboard-write"]) as visit:
        button = visit.page.locator("button.copy")
        assert button.is_visible()
        button.click()
        visit.page.get_by_text("Copied", exact=True).wait_for()
        copied = visit.page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("Over 5 seeds, SE@neck changed mAP50-95 by ") and "<script>" in copied
        assert visit.page.evaluate("getSelection().toString()").strip() == copied
        assert visit.complaints == []


def test_every_plot_shows_every_arm(pages: dict[str, Path], browser: Any) -> None:
    with Visit(browser, pages["full"], 1280) as visit:
        plots = {plot.get_attribute("aria-labelledby"): plot for plot in visit.page.locator("svg.plot").all()}
        for ident, plot in plots.items():
            if ident is None or ident.startswith(("classes", "pairs")):  # one arm each, two arms each
                continue
            texts = "\n".join(plot.locator("text").all_text_contents())
            drawn = [name for name, arm in ARMS.items() if arm.recall is not None or not ident.startswith("pareto")]
            for name in drawn:
                if name == "yolo11n" and ident.startswith("forest"):
                    continue
                start = shortened(name, 80).partition("…")[0]
                assert start in texts, (ident, name)


@pytest.mark.parametrize(("width", "media"), [(1280, "screen"), (390, "screen"), (1032, "print")])
def test_long_name_does_not_widen_its_column(width: int, media: str, pages: dict[str, Path], browser: Any) -> None:
    assert len(LONG) > 110
    with Visit(browser, pages["full"], width) as visit:
        visit.open_all()
        visit.page.emulate_media(media=media)
        for table in ("verdict-table", "run-table", "class-table"):
            heads = f"#{table} th:has(.name)"
            names = visit.page.eval_on_selector_all(heads, "heads => heads.map((head) => head.textContent)")
            widths = visit.page.eval_on_selector_all(heads, "heads => heads.map((head) => head.offsetWidth)")
            widest = max(width for name, width in zip(names, widths, strict=True) if LONG in name)
            assert widest <= 230, (table, widest)


@pytest.mark.parametrize("width", [1920, 2560])
def test_a_wide_screen_shows_every_column(width: int, pages: dict[str, Path], browser: Any) -> None:
    with Visit(browser, pages["full"], width) as visit:
        table = visit.page.locator(".scroll").first
        assert table.evaluate("element => element.scrollWidth - element.clientWidth") == 0


@pytest.mark.parametrize("width", [1280, 1920, 390])
def test_names_break_only_after_punctuation(width: int, pages: dict[str, Path], browser: Any) -> None:
    """In a narrow column, CBAM@neck.P4 can break after @ or the dot, not inside P4."""
    broken = """() => [...document.querySelectorAll(".name:not(.solid)")].flatMap((name) => {
      const pieces = [...name.childNodes].filter((node) => node.nodeType === 3 && !/[\\s-]/.test(node.data));
      return pieces.filter((piece) => {
        const range = document.createRange();
        range.selectNodeContents(piece);
        return range.getClientRects().length > 1;
      }).map((piece) => `${name.textContent}: ${piece.data}`);
    })"""
    with Visit(browser, pages["names"], width) as visit:
        visit.open_all()
        assert visit.page.locator("#verdict-table .name").count() == 4
        assert visit.page.evaluate(broken) == []


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("name", ["full", "one"])
def test_plots_use_the_width(name: str, width: int, pages: dict[str, Path], browser: Any) -> None:
    """Sections with few figures have their text next to them, which avoids mostly empty rows."""
    shares = """() => [...document.querySelectorAll("section:has(.plots)")].map((section) => {
      const {left, width} = section.getBoundingClientRect();
      const right = Math.max(...[...section.querySelectorAll("svg.plot")].map((p) => p.getBoundingClientRect().right));
      return [section.id, (right - left) / width];
    })"""
    with Visit(browser, pages[name], width) as visit:
        used = dict(visit.page.evaluate(shares))
        assert {"differences", "costs", "curves"} <= used.keys()
        assert {ident: share for ident, share in used.items() if share < 0.6} == {}


def test_tags_on_images_can_be_read(pages: dict[str, Path], browser: Any) -> None:
    heights = "[...document.querySelectorAll('.tag text')].map((text) => text.getBoundingClientRect().height)"
    for width in (1280, 1920, 390):
        with Visit(browser, pages["full"], width) as visit:
            found = visit.page.evaluate(heights)
            assert len(found) > 20 and min(height for height in found if height) > 9


def test_interim_page_reloads_and_keeps_its_scroll_position(tmp_path: Path, browser: Any) -> None:
    data = make_study(tmp_path, seeds=3, arms=("yolo11n", "SE@neck"), images=8, maps=False)
    interim = data | {"arms": [data["arms"][0], with_run(data["arms"][1], "running")]}
    write_interim_page(tmp_path, parsed(interim), 1)
    with Visit(browser, (tmp_path / "report.html").resolve(), 1280) as visit:
        assert visit.page.get_by_text("Interim results: 5 of 6 runs finished.").is_visible()
        visit.page.locator("#runs summary").click()
        visit.page.evaluate("scrollTo(0, 1000)")
        top = "document.querySelector('#differences').getBoundingClientRect().top"
        before = visit.page.evaluate(top)
        write_reports(tmp_path, parsed(data))
        visit.page.get_by_text("Interim results").wait_for(state="detached", timeout=10_000)
        visit.page.wait_for_load_state()
        assert visit.page.locator("#run-table").is_visible()
        assert abs(visit.page.evaluate(top) - before) < 60  # what is read stays where it is
        loaded = len(visit.requests)
        visit.page.wait_for_timeout(1500)
        assert len(visit.requests) == loaded  # the finished page stays
        assert visit.complaints == []


def with_run(arm: dict[str, Any], status: str) -> dict[str, Any]:
    """Return an arm with another status of its last run."""
    return {**arm, "verdict": None, "runs": [*arm["runs"][:-1], arm["runs"][-1] | {"status": status, "metrics": None}]}


def test_page_is_complete_without_scripts(pages: dict[str, Path], browser: Any) -> None:
    with Visit(browser, pages["full"], 1280, java_script_enabled=False) as visit:
        assert visit.page.locator("#verdict-table tbody tr").count() == len(ARMS)
        assert visit.page.locator("#verdict-table button").count() == 0
        assert visit.page.locator("svg.plot").first.is_visible()
        assert visit.page.get_by_text(SCRIPT).first.is_visible()
        visit.page.locator("#runs summary").click()
        assert visit.page.locator("#run-table").is_visible()


def test_printed_page_is_light_and_complete(pages: dict[str, Path], browser: Any) -> None:
    with Visit(browser, pages["full"], 1032, color_scheme="dark") as visit:  # the width of the paper, less its margins
        visit.page.emulate_media(media="print", color_scheme="dark")
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert visit.page.locator("#run-table").is_visible()
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert visit.page.evaluate(OUTSIDE) == []
        tables = "[...document.querySelectorAll('table')].map((table) => table.getBoundingClientRect().right)"
        assert max(visit.page.evaluate(tables)) <= 1032
        assert visit.page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
