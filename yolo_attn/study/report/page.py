"""`report.html`: one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from yolo_attn.study.report import formats
from yolo_attn.study.report.curves import read_curves
from yolo_attn.study.report.figures.forest import arms_forest, classes_forest
from yolo_attn.study.report.figures.lines import precision_curves, training_curves
from yolo_attn.study.report.figures.palette import THEME, arm_style
from yolo_attn.study.report.figures.pareto import COSTS, pareto
from yolo_attn.study.report.figures.plot import Plot, drawing
from yolo_attn.study.report.figures.strip import runs_strip
from yolo_attn.study.report.files import SOURCES
from yolo_attn.study.report.images import CONFIDENCE, MOST_ARMS, find_changes
from yolo_attn.study.report.maps import colour_bar, read_maps
from yolo_attn.study.report.notes import answer, faults, reading_notes
from yolo_attn.study.report.precision import read_precision
from yolo_attn.study.report.sources import ImageSource, find_images
from yolo_attn.study.report.view import MAIN, Arm, StudyView

__all__ = ["as_html"]

RARE = 20  # instances; below it a class says little
_METRICS = ("mAP50-95", "mAP50", "mAP75")
_SIZES = ("mAP-small", "mAP-medium", "mAP-large")
_MOST_CLASSES = 24  # in one plot; the table has them all
_MOST_PANELS = 12


@dataclass(frozen=True)
class Section:
    """A part of the page that needs data.

    Args:
        ident: Its anchor.
        title: Its heading.
        content: What its template shows; None when there is nothing to show.
        missing: Why not.
    """

    ident: str
    title: str
    content: Any
    missing: str


def as_html(study: StudyView, folder: Path, source: ImageSource | None = None) -> str:
    """Return the report as one HTML file.

    Args:
        study: The results.
        folder: The study's folder, whose runs hold training curves, matches and maps.
        source: Where the images are from; by default the study's folder, or the dataset that this user made it with.
    """
    source = source or find_images(folder, root=study.image_root)
    environment = _environment()
    script = environment.get_template("report.js").render()
    with drawing():
        sections = _sections(study, folder, source)
    return environment.get_template("report.html").render(
        study=study,
        main=MAIN,
        sizes=_SIZES,
        rare=RARE,
        confidence=CONFIDENCE,
        answer=answer(study),
        notes=reading_notes(study),
        warnings=faults(study),
        sections=[section for section in sections if section.content],
        missing=[section for section in sections if not section.content],
        sources=SOURCES,
        theme=THEME,
        script=Markup(script),  # noqa: S704 (a file of ours)
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
    shown: dict[str, Callable[..., str]] = {
        name: getattr(formats, name)
        for name in ("points", "signed", "interval", "signed_interval", "p_value", "probability", "count", "gflops")
    }
    shown |= {name: getattr(formats, name) for name in ("millions", "milliseconds", "duration", "mebibytes")}
    environment.filters |= {name: _typeset(function) for name, function in shown.items()}
    environment.filters["typeset"] = formats.typeset
    environment.globals["arm_style"] = arm_style
    return environment


def _typeset(function: Callable[..., str]) -> Callable[..., str]:
    """Return a formatting of numbers with the signs of print."""

    def shown(value: Any) -> str:
        text = function(value)
        return "–" if text == formats.NONE else formats.typeset(text)  # noqa: RUF001

    return shown


def _sections(study: StudyView, folder: Path, source: ImageSource) -> list[Section]:
    return [
        Section("differences", "Differences to the baseline", _differences(study), "no arm has a difference yet"),
        Section("costs", "Gain against cost", _costs(study), "no two arms have a difference and a cost yet"),
        Section("runs", "Every run", _runs(study), "no run is done"),
        Section("sizes", "Small, medium and large objects", _by_size(study), "no run has AP by size of object"),
        Section("classes", "Classes", _classes(study), "no arm has differences per class"),
        _precision(study, folder),
        Section("training", "Training", _training(study, folder), "no run has a table of its training"),
        Section(
            "images", "Largest gains and losses", _images(study, folder, source), "no two arms have stored matches"
        ),
        Section("maps", "Attention maps", _maps(study, folder), "no run has stored maps"),
    ]


def _plots(plots: Sequence[Plot | None]) -> list[Plot]:
    return [plot for plot in plots if plot is not None]


def _differences(study: StudyView) -> list[Plot]:
    return _plots([arms_forest(f"forest-{name}", name, study.others) for name in _METRICS])


def _costs(study: StudyView) -> list[Plot]:
    return _plots([pareto(cost, study.arms) for cost in COSTS]) if _differences_known(study) else []


def _differences_known(study: StudyView) -> bool:
    return any(arm.delta(MAIN).mean is not None for arm in study.others)


def _runs(study: StudyView) -> list[Plot]:
    return _plots([runs_strip(f"runs-{name}", name, study.arms, study.seeds) for name in _METRICS])


def _by_size(study: StudyView) -> list[Plot]:
    return _plots([arms_forest(f"forest-{name}", name, study.others) for name in _SIZES])


def _classes(study: StudyView) -> dict[str, Any] | None:
    """Return a plot for each arm, and what the table shows."""
    arms = [arm for arm in study.others if _known_classes(arm)]
    if not arms:
        return None
    instances = {name: _instances(study.arms, name) for name in study.classes}
    plots = [
        classes_forest(f"classes-{arm.index}", arm, _extremes(_known_classes(arm)), RARE) for arm in arms[:_MOST_PANELS]
    ]
    return {"arms": arms, "plots": plots, "instances": instances, "most": _MOST_CLASSES}


def _known_classes(arm: Arm) -> list[str]:
    """Return an arm's classes that have a difference, the largest gain first."""
    means = {name: result.delta.mean for name, result in arm.per_class.items()}
    return sorted((n for n, mean in means.items() if mean is not None), key=lambda n: -(means[n] or 0.0))


def _extremes(names: list[str]) -> list[str]:
    """Return the names that fit into a plot, from both ends."""
    half = _MOST_CLASSES // 2
    return names if len(names) <= _MOST_CLASSES else [*names[:half], *names[-half:]]


def _instances(arms: Sequence[Arm], name: str) -> int | None:
    known = (arm.per_class[name].instances for arm in arms if name in arm.per_class)
    return next((instances for instances in known if instances is not None), None)


def _precision(study: StudyView, folder: Path) -> Section:
    curves = read_precision(folder, study)
    missing = "no run has stored matches" if curves is not None else "the stored matches are too large to be read again"
    plots = _plots([precision_curves("precision-recall", study.arms, curves or {})])
    return Section("precision", "Precision and recall", plots, missing)


def _training(study: StudyView, folder: Path) -> dict[str, Any] | None:
    curves = read_curves(folder, study)
    plots = [
        training_curves("curve-loss", "Training loss", "sum of the losses", study.arms, curves.loss),
        training_curves("curve-map", "mAP50-95 after each epoch", "mAP50-95, points", study.arms, curves.precision),
    ]
    return {"plots": _plots(plots), "validated": bool(curves.precision)} if any(plots) else None


def _images(study: StudyView, folder: Path, source: ImageSource) -> dict[str, Any] | None:
    arms, photos = find_changes(folder, study, source)
    if not arms:
        return None
    differing = [images for images in arms if images.changes]
    return {
        "arms": differing,
        "same": [images.arm for images in arms if not images.changes],
        "photos": photos,
        "bare": any(change.photo is None for images in differing for change in images.changes),
        "most": MOST_ARMS,
        "left_out": len(study.others) > MOST_ARMS,
    }


def _maps(study: StudyView, folder: Path) -> dict[str, Any] | None:
    arms = read_maps(folder, study)
    left_out = len(arms) > MOST_ARMS
    return {"arms": arms[:MOST_ARMS], "left_out": left_out, "bar": colour_bar()} if arms else None
