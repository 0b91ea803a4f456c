"""Rendering of `report.html`, a self-contained page."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment

from yolo_attn.stats.compare import MIN_IMAGES, MIN_SEEDS
from yolo_attn.study.report.environment import make_environment, shared_parts
from yolo_attn.study.report.exports import SOURCES
from yolo_attn.study.report.figures.plot import drawing
from yolo_attn.study.report.images import Album
from yolo_attn.study.report.noise import size_name
from yolo_attn.study.report.notes import answer, collapses, conditions, deviations, reading_notes
from yolo_attn.study.report.pairs import SHARED_BASELINE
from yolo_attn.study.report.scores import describe_score
from yolo_attn.study.report.sections import RARE, SECTIONS, SIZES, Omission, PageData
from yolo_attn.study.report.sources import ImageSource, find_images
from yolo_attn.study.report.summary import failed_text, interval_heading, unlearned_text, verdict_text
from yolo_attn.study.results.records import ArmSummary, RunSummary, StudyResults

__all__ = ["as_html"]


def as_html(study: StudyResults, folder: Path, source: ImageSource | None = None, *, reload: int | None = None) -> str:
    """Return the report as one HTML file.

    Args:
        study: The results.
        folder: The study's folder, whose runs contain training curves, matches and maps.
        source: Source of the images; that of `find_images` by default.
        reload: Interval in seconds at which the page of a running study reloads itself.
    """
    album = Album(source or find_images(folder))
    environment = _environment()
    page = PageData(study, folder, album)
    with drawing():
        contents = {section: section.build(page) for section in SECTIONS}
    shown = [(section, content) for section, content in contents.items() if content]
    omissions = [Omission(section.title, section.reason(study)) for section, content in contents.items() if not content]
    return environment.get_template("report.html").render(
        study=study,
        info=study.info,
        main=study.main,
        others=page.metrics[1:],
        sizes=list(SIZES),
        rare=RARE,
        labeled=study.info.evaluation.labeled,
        score=describe_score(study.info.evaluation),
        definition=study.info.evaluation.definition,
        by_chance=study.info.evaluation.by_chance,
        answer=answer(study),
        notes=reading_notes(study),
        warnings=deviations(study),
        reload=reload,
        photos=album.photos,
        known=_known_columns(study),
        sections=shown,
        omissions=[*omissions, *(omission for _, content in shown for omission in content.omissions)],
        sources=SOURCES,
        min_seeds=MIN_SEEDS,
        min_images=MIN_IMAGES,
        conditions=conditions(study),
        collapses=collapses(study),
        interval_heading=interval_heading([arm.difference() for arm in study.others]),
        **shared_parts(environment),
    )


def _environment() -> Environment:
    environment = make_environment("yolo_attn.study.report")
    environment.globals |= {
        "failed_text": failed_text,
        "shared_baseline": SHARED_BASELINE,
        "size_name": size_name,
        "unlearned_text": unlearned_text,
        "verdict_text": verdict_text,
        "worst_run": _worst_run,
    }
    return environment


def _worst_run(arm: ArmSummary) -> RunSummary | None:
    """Return an arm's run with the lowest value of the main metric."""
    runs = [run for run in arm.done if run.metrics.get(arm.main) is not None]
    return min(runs, key=lambda run: run.metrics.get(arm.main) or 0.0, default=None)


def _known_columns(study: StudyResults) -> set[str]:
    """Return the optional columns of the table that have a value for any arm."""
    return {name for arm in study.arms for name, value in _columns(arm).items() if value is not None}


def _columns(arm: ArmSummary) -> dict[str, object]:
    difference = arm.difference()
    metrics = {name: arm.metric(name).mean for name in arm.metrics}
    costs = {"latency": arm.latency_ms, "memory": arm.memory_mib.get("process")}
    return {**metrics, **costs, "p_better": difference.p_better, "p": difference.p_adjusted}
