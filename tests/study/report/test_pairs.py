"""Differences between arms other than the baseline, in every form of the report."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.study.report.simple import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE, Numbers, make, pair
from yolo_attn.study.report.exports import as_markdown
from yolo_attn.study.report.notes import answer
from yolo_attn.study.report.page import as_html
from yolo_attn.study.report.pairs import SHARED_BASELINE, families, pair_lines
from yolo_attn.study.report.text import text_table
from yolo_attn.study.results.records import StudyResults

LEVEL = 0.975


@pytest.fixture
def study() -> StudyResults:
    pairs = [
        pair("A", "width", INCONCLUSIVE, LEVEL),
        pair("B", "width", BETTER, LEVEL),
        pair("A", "B", WORSE),
    ]
    return replace(make({"A": BETTER, "B": BETTER}, controls={"width": EQUIVALENT}), pairs=pairs)


def many(count: int, numbers: Numbers) -> StudyResults:
    names = [f"V{number}" for number in range(count)]
    pairs = [pair(one, other, numbers) for index, one in enumerate(names) for other in names[index + 1 :]]
    return replace(make(dict.fromkeys(names, EQUIVALENT)), pairs=pairs)


def test_families_are_separate(study: StudyResults) -> None:
    to_width, mutual = families(study)
    assert [(family.to_width, len(family.pairs)) for family in (to_width, mutual)] == [(True, 2), (False, 1)]
    assert to_width.counts == "1 better, 1 inconclusive"
    assert (to_width.together, mutual.together) == ("97.5% interval, 95% for all together", "95% interval")
    assert families(make({"A": BETTER})) == []


def test_every_pair_is_in_every_text(study: StudyResults) -> None:
    table, markdown = text_table(study), as_markdown(study)
    assert "  A - width: +0.00 [-0.90, +0.90] inconclusive" in table
    assert "  A - B: -1.20 [-2.00, -0.40] worse" in table
    assert "| A - B | -1.20 | \\[-2.00, -0.40\\] | 0.030 | worse |" in markdown
    assert "| pair | difference | 97.5% interval | p adj. | verdict |" in markdown
    assert SHARED_BASELINE in table and SHARED_BASELINE in markdown


def test_width_alone_needs_no_advice_to_rank(study: StudyResults) -> None:
    alone = replace(study, pairs=study.pairs[:1])
    assert SHARED_BASELINE not in text_table(alone) and SHARED_BASELINE not in as_markdown(alone)


def test_page_lists_and_draws_the_pairs(study: StudyResults, tmp_path: Path) -> None:
    page = as_html(study, tmp_path)
    section = page[page.index('<section id="pairs"') :]
    section = section[: section.index("</section>")]
    assert section.count("<tr>") == 1 + 3 and section.count('<svg class="plot"') == 2
    assert "B - width: +1.20 [+0.40, +2.00]; A - width: +0.00" in section  # those that differ are first
    assert re.search(r'<td class="verdict better" data-value="5"><strong>.*?better</strong>', section)
    assert "Attention or size?" in section and SHARED_BASELINE in section
    assert "shaded: margin ±0.5" in section
    assert "Omitted: pairs of arms" not in page


def test_without_pairs_the_page_states_it(tmp_path: Path) -> None:
    page = as_html(make({"A": BETTER}), tmp_path)
    assert '<section id="pairs"' not in page
    assert "Omitted: pairs of arms (there is one variant, and no width control)." in page


def test_pairs_of_unknown_arms_are_skipped(study: StudyResults, tmp_path: Path) -> None:
    """A results.json from elsewhere can name any arm."""
    forged = replace(study, pairs=[pair("A", "nobody", BETTER), pair("", "B", BETTER)])
    assert families(forged) == [] and '<section id="pairs"' not in as_html(forged, tmp_path)


def test_answer_compares_better_variants_with_width(study: StudyResults) -> None:
    assert answer(study).endswith("Compared with the width control: A inconclusive (+0.00) and B better (+1.20).")
    assert "width" not in answer(replace(study, pairs=study.pairs[2:]))


def test_many_pairs_are_counted_in_the_terminal() -> None:
    lines = pair_lines(many(5, INCONCLUSIVE))
    assert lines == [
        "Variant minus variant (95% interval, 95% for all together): 10 inconclusive; all are in report.html.",
        SHARED_BASELINE,
    ]
    assert len(pair_lines(many(5, WORSE))) == 1 + 6 + 1


def test_many_pairs_are_cut_in_markdown_and_in_the_figure(tmp_path: Path) -> None:
    study = many(16, INCONCLUSIVE)
    assert "and 20 pairs more (results.json)" in as_markdown(study)
    page = as_html(study, tmp_path)
    assert "The figure shows 24 pairs." in page and "All 120 pairs as a table" in page


def test_pairs_without_verdicts_are_not_in_the_terminal(study: StudyResults) -> None:
    interim = replace(study, pairs=[replace(item, verdict=None) for item in study.pairs])
    assert pair_lines(interim) == []
