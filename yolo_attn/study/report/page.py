"""`report.html`: one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from yolo_attn.study.report import formats
from yolo_attn.study.report.curves import read_curves
from yolo_attn.study.report.figures.forest import arms_forest, classes_forest
from yolo_attn.study.report.figures.lines import precision_curves, training_curves
from yolo_attn.study.report.figures.palette import THEME, arm_style
from yolo_attn.study.report.figures.pareto import COSTS, pareto
from yolo_attn.study.report.figures.plot import Plot, drawing
from yolo_attn.study.report.figures.strip import runs_strip
from yolo_attn.study.report.files import SOURCES
from yolo_attn.study.report.images import CONFIDENCE, MOST_ARMS, Album, find_changes
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
_FEW_PLOTS = 2
_SHORT_NAME, _LONG_NAME, _LONG_PIECE = 24, 40, 14  # letters


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

    @property
    def few(self) -> bool:
        """Whether its plots leave room for the text next to them."""
        plots = self.content["plots"] if isinstance(self.content, dict) and "plots" in self.content else self.content
        return isinstance(plots, list) and len(plots) <= _FEW_PLOTS


def as_html(study: StudyView, folder: Path, source: ImageSource | None = None, *, reload: int | None = None) -> str:
    """Return the report as one HTML file.

    Args:
        study: The results.
        folder: The study's folder, whose runs hold training curves, matches and maps.
        source: Where the images are from; by default the study's folder, or the dataset that this user made it with.
        reload: Seconds after which the page loads itself again, while the study runs.
    """
    album = Album(source or find_images(folder, root=study.image_root))
    environment = _environment()
    script = environment.get_template("report.js").render()
    with drawing():
        sections = _sections(study, folder, album)
    return environment.get_template("report.html").render(
        study=study,
        main=MAIN,
        sizes=_SIZES,
        rare=RARE,
        confidence=CONFIDENCE,
        answer=answer(study),
        notes=reading_notes(study),
        warnings=faults(study),
        reload=reload,
        photos=album.photos,
        known=_known_columns(study),
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
    environment.filters |= {"typeset": formats.typeset, "date": formats.date, "name": _breakable}
    environment.globals["arm_style"] = arm_style
    return environment


def _typeset(function: Callable[..., str]) -> Callable[..., str]:
    """Return a formatting of numbers with the signs of print."""

    def shown(value: Any) -> str:
        text = function(value)
        return "–" if text == formats.NONE else formats.typeset(text)  # noqa: RUF001

    return shown


def _breakable(name: str) -> Markup:
    """Return a name that breaks behind its signs, not inside its words: CBAM@|neck.|P4."""
    pieces = re.split(r"(?<=[@./\\_+,:;=)\]-])(?=[^@./\\_+,:;=)\]-])", name)
    kinds = ["name", "short" if len(name) <= _SHORT_NAME else "long" if len(name) > _LONG_NAME else ""]
    kinds += ["solid"] if max(map(len, pieces)) > _LONG_PIECE else []
    shown = Markup("<wbr>").join(map(escape, pieces))
    return Markup('<span class="{}">{}</span>').format(" ".join(filter(None, kinds)), shown)


def _known_columns(study: StudyView) -> set[str]:
    """Return the columns of the table that have something in them for any arm."""
    return {name for arm in study.arms for name, value in _columns(arm).items() if value is not None}


def _columns(arm: Arm) -> dict[str, object]:
    delta = arm.delta(MAIN)
    measured = {name: arm.metric(name).mean for name in (*_METRICS, *_SIZES)}
    costs = {"latency": arm.latency, "memory": arm.memory.get("process")}
    return {**measured, **costs, "p_better": delta.p_better, "p": delta.p}


def _sections(study: StudyView, folder: Path, album: Album) -> list[Section]:
    return [
        Section("differences", "Differences to the baseline", _differences(study), "no arm has a difference yet"),
        Section("costs", "Gain against cost", _costs(study), "no two arms have a difference and a cost yet"),
        Section("runs", "Every run", _runs(study), "no run is done"),
        Section("sizes", "Small, medium and large objects", _by_size(study), "no run has AP by size of object"),
        Section("classes", "Classes", _classes(study), "no arm has differences per class"),
        *_curves(study, folder),
        Section("images", "Largest gains and losses", _images(study, folder, album), "no two arms have stored matches"),
        Section("maps", "Attention maps", _maps(study, folder, album), "no run has stored maps"),
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
    """Return a plot for each arm that differs in any class, and what the table shows."""
    arms = [arm for arm in study.others if _known_classes(arm)]
    if not arms:
        return None
    instances = {name: _instances(study.arms, name) for name in study.classes}
    differing = [arm for arm in arms if _differs(arm)]
    plots = [
        classes_forest(f"classes-{arm.index}", arm, _extremes(_known_classes(arm)), RARE)
        for arm in differing[:_MOST_PANELS]
    ]
    same = [arm for arm in arms if arm not in differing]
    left_out = len(differing) > len(plots)
    return {
        **{"arms": arms, "plots": plots, "same": same, "left_out": left_out},
        **{"instances": instances, "most": _MOST_CLASSES},
    }


def _differs(arm: Arm) -> bool:
    """Whether an arm differs from the baseline in any class; the null control does by nothing on a CPU."""
    found = [result.delta for result in arm.per_class.values()]
    return any(value for delta in found for value in (delta.mean, delta.low, delta.high))


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


def _curves(study: StudyView, folder: Path) -> list[Section]:
    """Return a section of what has curves, and the others without content, whose absence the page explains."""
    precision, curves = read_precision(folder, study), read_curves(folder, study)
    plots = {
        "precision": precision_curves("precision-recall", study.arms, precision or {}),
        "loss": training_curves("curve-loss", "Training loss", "sum of the losses", study.arms, curves.loss),
        "map": training_curves(
            "curve-map", "mAP50-95 after each epoch", "mAP50-95, points", study.arms, curves.precision
        ),
    }
    content = {"plots": _plots(list(plots.values())), **{name: plot is not None for name, plot in plots.items()}}
    too_large = "the stored matches are too large to be read again"
    sections = [Section("curves", "Precision and training", content if content["plots"] else None, "no run is done")]
    if content["plots"] and not content["precision"]:
        missing = "no run has stored matches" if precision is not None else too_large
        sections.append(Section("", "Precision and recall", None, missing))
    if content["plots"] and not content["loss"]:
        sections.append(Section("", "Training", None, "no run has a table of its training"))
    return sections


def _images(study: StudyView, folder: Path, album: Album) -> dict[str, Any] | None:
    arms = find_changes(folder, study, album)
    if not arms:
        return None
    differing = [images for images in arms if images.changes]
    return {
        "arms": differing,
        "same": [images.arm for images in arms if not images.changes],
        "shown": any(change.photo for images in differing for change in images.changes),
        "bare": any(change.photo is None for images in differing for change in images.changes),
        "most": MOST_ARMS,
        "left_out": len(study.others) > MOST_ARMS,
    }


def _maps(study: StudyView, folder: Path, album: Album) -> dict[str, Any] | None:
    arms = read_maps(folder, study, album)
    if not arms:
        return None
    bare = any(photo is None for maps in arms[:MOST_ARMS] for photo in maps.photos)
    return {"arms": arms[:MOST_ARMS], "left_out": len(arms) > MOST_ARMS, "bar": colour_bar(), "bare": bare}
