"""Rendering of `report.html`, a self-contained page."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from yolo_attn.stats.compare import MIN_IMAGES, MIN_SEEDS
from yolo_attn.study.report import formats
from yolo_attn.study.report.exports import SOURCES
from yolo_attn.study.report.figures.palette import THEME, arm_style
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

_SHORT_NAME, _LONG_NAME, _LONG_PIECE = 24, 40, 14  # letters
_SYMBOLS = {"better": "▲", "worse": "▼", "equivalent": "≈", "no worse": "≥"}  # of decided verdicts
_RANKS = {"better": "5", "no worse": "4", "equivalent": "3", "inconclusive": "2", "worse": "1", None: ""}
_T = TypeVar("_T")


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
    script = environment.get_template("report.js").render()
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
        theme=THEME,
        script=Markup(script),  # noqa: S704 (a file of this package)
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("yolo_attn.study.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "points": _typeset(formats.points),
        "half_width": _typeset(formats.half_width),
        "size": formats.size,
        "percent": formats.percent,
        "points_range": formats.points_range,
        "signed": _typeset(formats.signed),
        "signed_interval": _typeset(formats.signed_interval),
        "p_value": _typeset(formats.p_value),
        "probability": _typeset(formats.probability),
        "count": _typeset(formats.count),
        "gflops": _typeset(formats.gflops),
        "millions": _typeset(formats.millions),
        "milliseconds": _typeset(formats.milliseconds),
        "duration": _typeset(formats.duration),
        "mebibytes": _typeset(formats.mebibytes),
        "typeset": formats.typeset,
        "date": formats.date,
        "name": _breakable,
    }
    environment.globals |= {
        "arm_style": arm_style,
        "failed_text": failed_text,
        "ranks": _RANKS,
        "size_name": size_name,
        "shared_baseline": SHARED_BASELINE,
        "symbols": _SYMBOLS,
        "unlearned_text": unlearned_text,
        "verdict_text": verdict_text,
        "worst_run": _worst_run,
    }
    return environment


def _typeset(function: Callable[[_T], str]) -> Callable[[_T], str]:
    """Return a number format with typographic signs."""

    def shown(value: _T) -> str:
        text = function(value)
        return "–" if text == formats.NONE else formats.typeset(text)  # noqa: RUF001

    return shown


def _breakable(name: str) -> Markup:
    """Return a name that can break after its punctuation, not inside its words: CBAM@|neck.|P4."""
    pieces = re.split(r"(?<=[@./\\_+,:;=)\]-])(?=[^@./\\_+,:;=)\]-])", name)
    kinds = ["name", "short" if len(name) <= _SHORT_NAME else "long" if len(name) > _LONG_NAME else ""]
    kinds += ["solid"] if max(map(len, pieces)) > _LONG_PIECE else []
    shown = Markup("<wbr>").join(map(escape, pieces))
    return Markup('<span class="{}">{}</span>').format(" ".join(filter(None, kinds)), shown)


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
