"""Sentences for a paper are true for each verdict and each design."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.study.report.simple import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE, Numbers, make, with_arms, with_failed
from yolo_attn.stats.sequential import error_rate
from yolo_attn.study.report.exports import as_markdown
from yolo_attn.study.report.formats import percent
from yolo_attn.study.report.page import as_html
from yolo_attn.study.report.paper import paper_sentences
from yolo_attn.study.results.records import BaseSummary, Look, StudyInfo, StudyResults

MINUS = "\N{MINUS SIGN}"


def method(**info: object) -> str:
    return paper_sentences(make({"A": BETTER, "B": WORSE}, **info))[-1]


def test_a_whole_sentence() -> None:
    first, *_ = paper_sentences(make({"SE@neck": EQUIVALENT, "B": WORSE, "C": WORSE}))
    assert first == (
        f"Over 5 seeds, SE@neck changed mAP50-95 by +0.12 points (98.3% interval {MINUS}0.10 to +0.34; Behrens-Fisher, "
        "corrected for 3 variants), and is equivalent to the baseline within ±0.5 points."
    )


@pytest.mark.parametrize(
    ("numbers", "conclusion"),
    [
        (BETTER, "and is better than the baseline."),
        (WORSE, "and is worse than the baseline."),
        (EQUIVALENT, "and is equivalent to the baseline within ±0.5 points."),
        ((0.002, 0.001, 0.003), "within ±0.5 points, although the difference is not zero."),
        (INCONCLUSIVE, "which is inconclusive: it shows neither a difference nor equivalence within ±0.5 points."),
    ],
)
def test_conclusion_of_each_verdict(numbers: Numbers, conclusion: str) -> None:
    sentence, _ = paper_sentences(make({"A": numbers}))
    assert sentence.endswith(conclusion)
    assert "corrected" not in sentence  # a single variant


def test_no_worse_is_stated_where_it_is_asked() -> None:
    asked = make({"A": (0.004, -0.003, 0.011), "B": INCONCLUSIVE}, no_worse=True)
    asked = with_arms(asked, replace(asked.arms[1], verdict="no worse"))
    first, second, _ = paper_sentences(asked)
    assert first.endswith("and is not worse than the baseline by 0.5 points or more.")
    assert second.endswith("nor equivalence within ±0.5 points, nor that it is no worse.")


def test_lost_runs_are_stated() -> None:
    study = make({"A": BETTER, "B": WORSE})
    unlearned = replace(study.arms[2], runs=[replace(run, learnt=run.seed > 0) for run in study.arms[2].runs])
    failed = replace(with_failed(study.arms[1], 2), verdict="inconclusive")
    first, second, _ = paper_sentences(with_arms(study, failed, unlearned))
    assert first.startswith("Over 5 seeds (2 of 5 runs failed), A")
    assert first.endswith("inconclusive because more of its runs failed than of the baseline's.")
    assert second.startswith("Over 5 seeds (1 of 5 runs learned nothing), B")


def test_without_a_verdict_there_is_no_sentence(tmp_path: Path) -> None:
    study = make({"A": BETTER})
    study = with_arms(study, replace(study.arms[1], verdict=None))
    assert paper_sentences(study) == []
    assert "For a paper" not in as_markdown(study)
    assert "Omitted: for a paper (there is no verdict)." in as_html(study, tmp_path)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, "All arms were fine-tuned for 6 epochs from yolo11n.pt on digits, with common seeds"),
        ({"weights": None}, "All arms were trained for 6 epochs from scratch on digits, with"),
        ({"weights": None, "recipe": {}}, "All arms were trained from scratch on digits, with"),
        ({"lr_attention": 10.0}, "on digits, with 10 times the learning rate for attention layers, with common"),
        (
            {"groups": "folder", "group_count": 40},
            "512 test images (bootstrap over 40 groups), and hold for all 2 variants",
        ),
        ({"max_seeds": 12}, "from 3 to at most 12; the intervals hold at all looks together"),
        ({"images": None}, "with that of test images (bootstrap)"),
    ],
)
def test_method_of_each_design(info: dict[str, object], expected: str) -> None:
    assert expected in method(**info)


@pytest.mark.parametrize(
    ("bases", "expected", "units"),
    [
        (1, "fine-tuned for 6 epochs from one checkpoint of yolo11n (trained for 40 epochs) on digits", "over seeds"),
        (3, "fine-tuned for 6 epochs from 3 checkpoints of yolo11n in turn (each trained for 40 epochs)", "over bases"),
    ],
)
def test_method_of_a_pretrained_base(bases: int, expected: str, units: str) -> None:
    study = make({"A": BETTER, "B": WORSE}, pretrain=40, weights=None)
    study = replace(study, bases=[BaseSummary(seed, "done") for seed in range(bases)])
    assert expected in paper_sentences(study)[-1] and units in paper_sentences(study)[-1]


def test_unplanned_looks_are_part_of_the_method() -> None:
    study = make({"A": BETTER})
    looks = [Look(seeds, counts={"A": seeds}, alphas={"A": 0.05}) for seeds in (3, 5)]
    rate = percent(error_rate({3: 0.05, 5: 0.05}))
    assert (
        f"after 3 and 5 seeds without a plan for it, so false alarms occur in up to {rate} of"
        in paper_sentences(replace(study, looks=looks))[-1]
    )
    assert "without a plan" not in paper_sentences(replace(study, looks=looks[1:]))[-1]


def test_sentences_are_in_markdown_and_in_the_page(tmp_path: Path) -> None:
    study = make({"<b>": BETTER})
    sentence = paper_sentences(study)[0]
    assert sentence.replace("<b>", r"\<b\>") in as_markdown(study)
    page = as_html(study, tmp_path)
    assert f"<p>{sentence.replace('<b>', '&lt;b&gt;')}</p>" in page
    assert '<button type="button" class="copy" data-copies="sentences" hidden>' in page


def test_unknown_setup_leaves_no_gap() -> None:
    study = make({"A": BETTER})
    text = paper_sentences(StudyResults(StudyInfo(), study.arms))[-1]
    assert text.startswith("All arms were trained from scratch, with common seeds") and "None" not in text
