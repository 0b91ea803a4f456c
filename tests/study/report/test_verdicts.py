"""Verdicts in every form of the report: words, symbols, intervals and their levels, failed runs, conditions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.study.report.simple import (
    BETTER,
    EQUIVALENT,
    INCONCLUSIVE,
    WORSE,
    difference,
    make,
    with_arms,
    with_failed,
)
from yolo_attn.study.comparison import Results
from yolo_attn.study.job import MAX_LAG
from yolo_attn.study.report.exports import as_latex, as_markdown
from yolo_attn.study.report.figures.forest import arms_forest
from yolo_attn.study.report.figures.plot import drawing
from yolo_attn.study.report.formats import mean_and_half, percent
from yolo_attn.study.report.notes import answer, collapses, deviations, reading_notes
from yolo_attn.study.report.page import as_html
from yolo_attn.study.report.paper import paper_sentences
from yolo_attn.study.report.text import text_table
from yolo_attn.study.results.records import BaseSummary, RunSummary, SeedMean, StudyResults

ALL = {"A": BETTER, "B": WORSE, "C": EQUIVALENT, "D": INCONCLUSIVE}


@pytest.fixture
def study() -> StudyResults:
    return make(ALL, controls={"null": EQUIVALENT})


def row_of(table: str, name: str) -> str:
    return next(line for line in table.splitlines() if name in line.split("|")[1 if "|" in line else 0].split())


def html_row(text: str, name: str) -> str:
    return re.search(rf'<tr data-arm="{name}">.*?</tr>', text, flags=re.DOTALL)[0]  # type: ignore[index]


def test_every_verdict_has_its_word_and_symbol(study: StudyResults, tmp_path: Path) -> None:
    page, table, markdown = as_html(study, tmp_path), text_table(study), as_markdown(study)
    for name, verdict, symbol in (("A", "better", "▲"), ("B", "worse", "▼"), ("C", "equivalent", "≈")):
        row = html_row(page, name)
        assert f'<td class="verdict {verdict}"' in row
        assert f'<strong><span aria-hidden="true">{symbol}</span> {verdict}</strong>' in row
        assert row_of(table, name).endswith(verdict)
        assert f"**{verdict}**" in row_of(markdown, name)
    assert '<td class="verdict inconclusive" data-value="2">inconclusive' in html_row(page, "D")
    assert "**" not in row_of(markdown, "D") and "inconclusive" in row_of(markdown, "D")
    assert as_latex(study).count(r"\textbf{") == 2 + 2 + 1 + 1  # an equivalent difference is not emphasized itself


def test_interval_beside_a_verdict_is_that_of_the_verdict(study: StudyResults, tmp_path: Path) -> None:
    """The 95 % interval of D excludes zero, which would contradict its verdict."""
    for text in (text_table(study), as_markdown(study), as_latex(study), as_html(study, tmp_path)):
        plain = text.replace("\N{MINUS SIGN}", "-").replace("$-$", "-").replace("\\", "")
        assert "[-0.90, +0.90]" in plain and "[-0.10, +0.10]" not in plain
    row = Results(tmp_path, study).rows()[4]
    assert (row["low"], row["high"], row["level"], row["verdict"]) == (-0.009, 0.009, 0.9875, "inconclusive")


def test_notes_name_the_columns_of_their_table(study: StudyResults, tmp_path: Path) -> None:
    for text in (text_table(study), as_markdown(study), as_latex(study)):
        assert "vs base: difference in mAP50-95" in text
    page = as_html(study, tmp_path)
    assert "vs base" not in page and "Metrics in points" not in page


def test_the_trainings_of_bases_are_part_of_the_time(study: StudyResults, tmp_path: Path) -> None:
    arms = [replace(arm, runs=[replace(run, seconds=360.0) for run in arm.runs]) for arm in study.arms]
    timed = replace(study, arms=arms)
    assert ">3.0 hours in 30 runs<" in as_html(timed, tmp_path)
    bases = [BaseSummary(seed, status, seconds=1800.0) for seed, status in enumerate(("done", "done", "failed"))]
    for number, expected in ((1, "3.5 hours in 30 runs and 1 base"), (3, "4.0 hours in 30 runs and 2 bases")):
        assert f">{expected}<" in as_html(replace(timed, bases=bases[:number]), tmp_path)


def test_level_is_in_the_heading_or_explained(study: StudyResults) -> None:
    assert " interval " in text_table(study).splitlines()[0] and "%" not in text_table(study).splitlines()[0]
    explained = "98.8% for each variant, 95% for all 4 variants together; a control's holds by itself with 95%."
    assert explained in " ".join(reading_notes(study))
    assert "98.8% interval" in text_table(make(ALL)).splitlines()[0]
    alone = make({"A": BETTER})
    assert "95% interval" in text_table(alone).splitlines()[0]
    assert not any("together" in note for note in reading_notes(alone))


def test_looks_are_part_of_the_level(study: StudyResults) -> None:
    looked = make({"A": BETTER, "B": WORSE}, max_seeds=12)
    differences = {"mAP50-95": replace(difference(BETTER, 0.975), p_adjusted=None)}
    looked = with_arms(looked, *(replace(arm, delta=differences) for arm in looked.variants))
    assert "97.5% for each variant, 95% for all 2 variants and all looks together" in text_table(looked)
    assert "p adj." not in text_table(looked) and "p adj." in text_table(study)


def test_margin_is_shaded_in_the_main_metric_only(study: StudyResults) -> None:
    with drawing():
        main, other = (arms_forest("x", name, study) for name in ("mAP50-95", "mAP50"))
    assert other is None
    assert main is not None and "shaded: margin ±0.5" in main.svg and "var(--band" in main.svg
    both = with_arms(study, replace(study.arms[1], delta=dict.fromkeys(("mAP50-95", "mAP50"), difference(BETTER))))
    with drawing():
        other = arms_forest("x", "mAP50", both)
    assert other is not None and "shaded" not in other.svg and "[+1.10, +1.30]" in other.svg  # its 95 % interval


def test_no_worse_is_a_verdict_where_it_is_asked(tmp_path: Path) -> None:
    numbers = (0.004, -0.003, 0.011)
    asked = make({"A": numbers}, no_worse=True)
    asked = with_arms(asked, replace(asked.arms[1], verdict="no worse"))
    page = as_html(asked, tmp_path)
    assert '<td class="verdict no-worse"' in page and "≥" in html_row(page, "A")
    assert answer(asked) == "Not worse than the baseline by 0.5 points: A (+0.40)."
    assert "no worse if it is above -0.5 points" in text_table(asked)
    assert "no worse if" not in text_table(make({"A": numbers}))


def test_answer_names_every_verdict(study: StudyResults) -> None:
    assert answer(study) == (
        "Better than the baseline: A (+1.20). Worse than the baseline: B (\N{MINUS SIGN}1.20). Equivalent to the "
        "baseline within ±0.5 points: C (+0.12). Inconclusive: D."
    )


def test_answer_says_why_there_is_no_verdict(study: StudyResults) -> None:
    blind = replace(study.arms[1], verdict=None, learnt=False)
    assert "No verdict: A." in answer(with_arms(study, blind))  # it would be worse with more seeds
    base = replace(study.arms[0], learnt=False)
    assert "No verdict, because nothing was learned: A." in answer(with_arms(study, base, blind))


def test_arms_with_as_many_tensors_of_the_base_share_a_line(study: StudyResults) -> None:
    def lines(shared: dict[str, tuple[int, int]]) -> list[str]:
        arms = [replace(arm, transferred=shared.get(arm.name, (493, 499))) for arm in study.arms]
        return [line.partition(" (")[0] for line in deviations(with_arms(study, *arms)) if "tensors" in line]

    assert lines({}) == ["All arms: 493 of 499 tensors of the base"]
    assert lines({"A": (480, 499), "B": (499, 499)}) == [
        "yolo11n, C, D, null: 493 of 499 tensors of the base",
        "A: 480 of 499 tensors of the base",
    ]


def test_an_interval_wider_than_the_metric_is_no_number() -> None:
    assert mean_and_half(SeedMean(0.5, 0.01, (0.49, 0.51))) == "50.00 ± 1.00"
    assert mean_and_half(SeedMean(0.5, 0.01, (-1.0, 2.0))) == "50.00 ± >100"
    assert mean_and_half(SeedMean(0.5, None, None)) == "50.00"


# --- failed and unlearned runs --------------------------------------------------------------------------------------


def test_failed_runs_are_counted_with_the_verdict(study: StudyResults, tmp_path: Path) -> None:
    failed = with_arms(study, with_failed(study.arms[1], 1), with_failed(study.arms[0], 1))
    assert row_of(text_table(failed), "A").endswith("better, 1 failed")
    assert "better, 1 failed" in row_of(as_markdown(failed), "A")
    assert "1 of 5 seeds failed" in html_row(as_html(failed, tmp_path), "A")
    assert Results(tmp_path, failed).rows()[1]["failed"] == 1
    assert not any("More runs" in line for line in deviations(failed))  # as many as of the baseline


def test_more_failures_than_the_baseline_are_explained(study: StudyResults) -> None:
    failed = with_arms(study, replace(with_failed(study.arms[1], 2), verdict="inconclusive"))
    line = next(line for line in deviations(failed) if "A failed run is worse" in line)
    assert line.startswith("More runs than of the baseline (0 of 5) failed of A (2 of 5).")
    assert line in text_table(failed)


def test_more_failures_of_the_baseline_are_explained(study: StudyResults) -> None:
    failed = with_arms(study, with_failed(study.arms[0], 1), replace(study.arms[2], verdict="inconclusive"))
    line = next(line for line in deviations(failed) if "A failed run is worse" in line)
    assert line.startswith("More runs of the baseline (1 of 5) failed than of B (0 of 5).") and "nothing bad" in line
    assert "more of the baseline's runs failed" in paper_sentences(failed)[1]


def test_unlearned_runs_are_counted_with_the_verdict(study: StudyResults) -> None:
    runs = [replace(run, learnt=run.seed > 1) for run in study.arms[2].runs]
    assert row_of(text_table(with_arms(study, replace(study.arms[2], runs=runs))), "B").endswith("worse, 2 not learned")


def test_rate_of_collapses_that_is_not_excluded(study: StudyResults, tmp_path: Path) -> None:
    """Five runs without a collapse happen with probability 5 % if 45 % of runs collapse."""
    text = "exclude only that this happens in more than 45% of its runs (95% confidence)"
    assert text in (collapses(study) or "") and text in as_html(study, tmp_path)
    assert collapses(with_arms(study, with_failed(study.arms[1], 1))) is None
    assert collapses(with_arms(study, replace(with_failed(study.arms[1], 5), verdict=None))) is None
    assert collapses(with_arms(study, *(replace(arm, verdict=None) for arm in study.variants))) is None


def test_failed_base_is_a_deviation(study: StudyResults) -> None:
    base = BaseSummary(seed=0, status="failed", error="out of memory")
    assert "base, seed 0: failed: out of memory" in deviations(replace(study, bases=[base]))


# --- what the verdicts are conditional on ---------------------------------------------------------------------------


def lagging(lags: Sequence[float | None]) -> list[str]:
    """Return the deviations of a study with given lags of the five runs of a variant."""
    study = make({"gnConv": (-0.2, -0.3, -0.1)}, lr_attention=10.0)
    runs = [replace(run, norm_lag=lag) for run, lag in zip(study.arms[1].runs, lags, strict=True)]
    return [line for line in deviations(with_arms(study, replace(study.arms[1], runs=runs))) if "lag" in line]


def test_lagging_batch_norms_are_reported_with_their_runs() -> None:
    assert lagging([None, 0.3, 0.9, MAX_LAG, 1.0]) == []
    (line,) = lagging([0.3, 74357.4, None, 2.53, 0.2])
    assert line.startswith("Batch norms lag: gnConv (seed 1, 3: up to 74,357.4 standard deviations). Their running")
    assert line.endswith("Use a smaller learning rate of the layers than lr_attention=10, or train longer.")
    (line,) = lagging([2.53] * 5)
    assert "gnConv (all seeds: up to 2.5 standard deviations)" in line


def on_gpus(gpus: Sequence[str | None], amp: Sequence[bool | None] = (True,) * 5) -> StudyResults:
    """Return a study with the GPU and the precision of the five runs of a variant; those of the baseline are usual."""
    study = make({"SE": (0.2, -0.3, 0.5)})
    runs = [replace(run, gpu=a, amp=b) for run, a, b in zip(study.arms[1].runs, gpus, amp, strict=True)]
    usual = [replace(run, gpu="NVIDIA A", amp=True) for run in study.baseline.runs]
    return with_arms(study, replace(study.baseline, runs=usual), replace(study.arms[1], runs=runs))


def test_different_gpus_are_reported_with_their_runs() -> None:
    same = on_gpus(["NVIDIA A"] * 5)
    assert [line for line in deviations(same) if "GPU" in line] == []
    mixed = on_gpus(["NVIDIA A", "NVIDIA B", "NVIDIA A", "NVIDIA B", None])
    (line,) = (line for line in deviations(mixed) if "GPU" in line)
    assert line.startswith(
        "Different GPUs: NVIDIA A: yolo11n (all seeds), SE (seed 0, 2); NVIDIA B: SE (seed 1, 3). Times of these runs"
    )
    assert "on digits on NVIDIA A and NVIDIA B, with common seeds" in paper_sentences(mixed)[-1]
    assert "on digits, with common seeds" in paper_sentences(make({"SE": (0.2, -0.3, 0.5)}))[-1]


def test_runs_without_mixed_precision_are_reported_if_others_have_it() -> None:
    usual = ["NVIDIA A"] * 5
    for amp in ((True,) * 5, (None,) * 5):
        assert [line for line in deviations(on_gpus(usual, amp)) if "precision" in line] == []
    (line,) = (line for line in deviations(on_gpus(usual, (True, True, False, None, True))) if "precision" in line)
    assert line.startswith("Unequal precision: SE (seed 2) without mixed precision, which")


@pytest.mark.parametrize(
    ("info", "bases", "expected"),
    [
        (
            {"pretrain": 40, "weights": None},
            1,
            "fine-tuning from this one base, this recipe and these data; another base",
        ),
        ({"pretrain": 40, "weights": None}, 3, "bases such as these 3 (their spread is part of the intervals)"),
        ({}, 0, "The verdicts apply to fine-tuning from yolo11n.pt, this recipe and these data."),
        ({"weights": None}, 0, "The verdicts apply to training from scratch, this recipe"),
        ({"weights": None, "recipe": {"pretrained": "a.pt"}}, 0, "fine-tuning from a.pt"),
    ],
)
def test_verdicts_state_their_condition(info: dict[str, object], bases: int, expected: str, tmp_path: Path) -> None:
    study = replace(make(ALL, **info), bases=[BaseSummary(seed, "done", metric=0.5) for seed in range(bases)])
    assert sum(expected in note for note in reading_notes(study)) == 1
    assert expected in as_html(study, tmp_path)


def test_luck_of_a_base_of_its_own_is_stated() -> None:
    """One base each says nothing about how much bases of the same model differ."""
    study = make({"A": BETTER}, controls={"width": WORSE}, weights=None, pretrain=40)
    for own, bases, stated in ((["width"], 1, True), ([], 1, False), (["width"], 3, False)):
        arms = [None, *own]
        trained = [BaseSummary(seed, "done", arm=arm) for arm in arms for seed in range(bases)]
        notes = reading_notes(replace(study, bases=trained))
        assert any(note.startswith("width has a trained base of its own") for note in notes) == stated


def test_training_of_the_base_is_part_of_the_setup(tmp_path: Path) -> None:
    study = make(ALL, weights=None, pretrain=40, pretraining={"epochs": 40, "lr0": 0.01})
    study = replace(study, bases=[BaseSummary(0, "done", metric=0.5013), BaseSummary(0, "done", arm="width")])
    page = as_html(study, tmp_path)
    assert "of one base, trained for 40 epochs (mAP50-95 50.13)" in page
    assert "<code>epochs=40</code> <code>lr0=0.01</code>" in page
    assert "Pretraining of the base: epochs=40, lr0=0.01." in as_markdown(study)
    assert "Pretraining" not in as_markdown(make(ALL)) and "Pretraining" not in as_html(make(ALL), tmp_path)


def test_interim_verdicts_of_a_study_that_looks(study: StudyResults) -> None:
    """With seeds=auto, the verdicts of decided arms are shown while others are trained."""
    waiting = replace(study.arms[4], verdict=None, runs=[*study.arms[4].runs, RunSummary(5, "waiting")])
    looked = with_arms(make(ALL, max_seeds=12), waiting)
    assert answer(looked).startswith("Interim results: 25 of 26 runs finished. Better than the baseline: A (+1.20).")
    assert answer(looked).endswith("Not decided yet: D.")
    assert "undecided arms get more seeds" in text_table(looked)
    fixed = with_arms(make(ALL), waiting)
    assert answer(fixed) == "Interim results: 25 of 26 runs finished. Verdicts follow when all runs are finished."


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (0.95, "95%"),
        (1 - 0.05 / 3, "98.3%"),
        (0.9875, "98.8%"),
        (0.995, "99.5%"),
        (1 - 0.05 / 70, "99.93%"),
        (1, "100%"),
    ],
)
def test_levels_keep_the_digits_that_matter(level: float, text: str) -> None:
    assert percent(level) == text
