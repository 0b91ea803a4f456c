"""The sections of the page: a table of titles and functions that collect their figures and data.

A new figure of a section is one more entry in the section's function. A new section is a function, an entry in
`SECTIONS`, and `templates/sections/<ident>.html`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from yolo_attn.study.report.curves import read_curves
from yolo_attn.study.report.figures.forest import arms_forest, classes_forest, pairs_forest
from yolo_attn.study.report.figures.lines import precision_curves, training_curves
from yolo_attn.study.report.figures.pareto import COSTS, pareto
from yolo_attn.study.report.figures.plot import Plot
from yolo_attn.study.report.figures.strip import runs_strip
from yolo_attn.study.report.images import MAX_ARMS, Album, ArmImages, find_changes
from yolo_attn.study.report.maps import ArmMaps, color_bar, read_maps
from yolo_attn.study.report.pairs import Family, families
from yolo_attn.study.report.paper import paper_sentences
from yolo_attn.study.report.precision import read_precision
from yolo_attn.study.results.budget import Budget, noise_budget
from yolo_attn.study.results.records import ArmSummary, PairResult, StudyResults

__all__ = ["RARE", "SECTIONS", "SIZES", "Content", "Omission", "PageData", "Section"]

RARE = 20  # instances; a class with fewer is gray
SIZES = ("mAP-small", "mAP-medium", "mAP-large")
_MAX_CLASSES = 24  # in one figure; the table has all
_MAX_PANELS = 12
_MAX_PAIRS = 24  # in one figure; the table has all
_FEW_PLOTS = 2
_NO_DETECTIONS = "the task has no detections"


@dataclass(frozen=True)
class PageData:
    """The data of a page.

    Args:
        study: The results.
        folder: The study's folder, whose runs contain training curves, matches and maps.
        album: The embedded images.
    """

    study: StudyResults
    folder: Path
    album: Album

    @property
    def metrics(self) -> list[str]:
        """The metrics of all objects or images, the main one first."""
        return [name for name in self.study.info.metrics if name not in SIZES]


@dataclass(frozen=True)
class Omission:
    """A part of the page without data.

    Args:
        title: Its title.
        reason: Why it is omitted.
    """

    title: str
    reason: str


@dataclass(frozen=True)
class Content:
    """The content of a section.

    Args:
        plots: Its figures.
        omissions: Its parts without data.
    """

    plots: Sequence[Plot] = ()
    omissions: Sequence[Omission] = ()

    @property
    def few(self) -> bool:
        """Whether the figures leave room for the text next to them."""
        return 0 < len(self.plots) <= _FEW_PLOTS


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Args:
        ident: Its anchor, and the name of its template.
        title: Its heading.
        build: Returns its content, None without data.
        missing: Reason for the omission without data.
        detection: Whether only tasks with detections have it.
    """

    ident: str
    title: str
    build: Callable[[PageData], Content | None]
    missing: str
    detection: bool = False

    def reason(self, study: StudyResults) -> str:
        """Return why it is omitted."""
        return _NO_DETECTIONS if self.detection and not study.info.has_detections else self.missing


# --- sections of figures --------------------------------------------------------------------------------------------


def _figures(plots: Sequence[Plot | None]) -> Content | None:
    """Return a content of figures, None without any."""
    drawn = [plot for plot in plots if plot is not None]
    return Content(drawn) if drawn else None


def _differences(page: PageData) -> Content | None:
    return _figures([arms_forest(f"forest-{name}", name, page.study) for name in page.metrics])


def _costs(page: PageData) -> Content | None:
    if all(arm.difference().mean is None for arm in page.study.others):
        return None
    return _figures([pareto(cost, page.study.arms) for cost in COSTS])


def _runs(page: PageData) -> Content | None:
    study = page.study
    return _figures([runs_strip(f"runs-{name}", name, study.arms, study.info.seeds) for name in page.metrics])


def _sizes(page: PageData) -> Content | None:
    return _figures([arms_forest(f"forest-{name}", name, page.study) for name in SIZES])


# --- pairs, sentences and noise -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairsContent(Content):
    """Differences of the variants to the width control and to each other.

    Args:
        families: The pairs; those that differ are first.
        most: Largest number of pairs in a figure.
    """

    families: Sequence[Family] = ()
    most: int = _MAX_PAIRS

    @property
    def count(self) -> int:
        """Number of pairs."""
        return sum(len(family.pairs) for family in self.families)


def _pairs(page: PageData) -> Content | None:
    study = page.study
    found = [replace(family, pairs=sorted(family.pairs, key=_differing_first)) for family in families(study)]
    plots = [
        pairs_forest(f"pairs-{number}", family.title, family.pairs[:_MAX_PAIRS], study)
        for number, family in enumerate(found)
    ]
    return PairsContent(plots=plots, families=found) if found else None


def _differing_first(pair: PairResult) -> bool:
    return pair.verdict not in ("better", "worse")


@dataclass(frozen=True)
class PaperContent(Content):
    """Sentences for a paper."""

    sentences: Sequence[str] = ()


def _paper(page: PageData) -> Content | None:
    sentences = paper_sentences(page.study)
    return PaperContent(sentences=sentences) if sentences else None


@dataclass(frozen=True)
class NoiseContent(Content):
    """The noise budget.

    Args:
        budget: The budget.
        shares: Name, share and color of each source of noise.
    """

    budget: Budget | None = None
    shares: Sequence[tuple[str, float, str]] = ()


_NOISE_COLORS = {"training": "arm-0", "training and bases": "arm-0", "bases": "arm-2", "test images": "arm-4"}


def _noise(page: PageData) -> Content | None:
    budget = noise_budget(page.study)
    if budget is None:
        return None
    return NoiseContent(
        budget=budget, shares=[(name, share, _NOISE_COLORS[name]) for name, share in budget.shares.items()]
    )


# --- classes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassesContent(Content):
    """Differences per class.

    Args:
        arms: The arms with a difference in any class.
        same: Those that equal the baseline in all classes.
        truncated: Whether only the first arms have a figure.
        instances: Number of objects by class.
        most: Largest number of classes in a figure.
    """

    arms: Sequence[ArmSummary] = ()
    same: Sequence[ArmSummary] = ()
    truncated: bool = False
    instances: dict[str, int | None] = field(default_factory=dict)
    most: int = _MAX_CLASSES


def _classes(page: PageData) -> Content | None:
    study = page.study
    arms = [arm for arm in study.others if _known_classes(arm)]
    if not arms:
        return None
    differing = [arm for arm in arms if _differs(arm)]
    plots = [
        classes_forest(f"classes-{arm.index}", arm, _extremes(_known_classes(arm)), RARE)
        for arm in differing[:_MAX_PANELS]
    ]
    return ClassesContent(
        plots=plots,
        arms=arms,
        same=[arm for arm in arms if arm not in differing],
        truncated=len(differing) > len(plots),
        instances={name: _instances(study.arms, name) for name in study.classes},
    )


def _differs(arm: ArmSummary) -> bool:
    """Whether an arm differs from the baseline in any class; the null control is identical to it on a CPU."""
    found = [result.difference for result in arm.per_class.values()]
    return any(value for difference in found for value in (difference.mean, difference.low, difference.high))


def _known_classes(arm: ArmSummary) -> list[str]:
    """Return an arm's classes that have a difference, the largest gain first."""
    means = {name: result.difference.mean for name, result in arm.per_class.items()}
    return sorted((name for name, mean in means.items() if mean is not None), key=lambda name: -(means[name] or 0.0))


def _extremes(names: list[str]) -> list[str]:
    """Return the names that fit into a figure, from both ends."""
    half = _MAX_CLASSES // 2
    return names if len(names) <= _MAX_CLASSES else [*names[:half], *names[-half:]]


def _instances(arms: Sequence[ArmSummary], name: str) -> int | None:
    known = (arm.per_class[name].instances for arm in arms if name in arm.per_class)
    return next((instances for instances in known if instances is not None), None)


# --- curves ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CurvesContent(Content):
    """Precision-recall and training curves.

    Args:
        precision: Whether there are precision-recall curves.
        loss: Whether there are curves of the training loss.
        validated: Whether there are curves of the main metric during training.
    """

    precision: bool = False
    loss: bool = False
    validated: bool = False


def _curves(page: PageData) -> Content | None:
    arms, main = page.study.arms, page.study.main
    detections = page.study.info.has_detections
    precision = read_precision(page.folder, page.study) if detections else {}
    curves = read_curves(page.folder, page.study)
    plots = [
        precision_curves("precision-recall", arms, precision or {}),
        training_curves("curve-loss", "Training loss", "sum of the losses", arms, curves.loss),
        training_curves("curve-main", f"{main} after each epoch", f"{main}, points", arms, curves.main),
    ]
    drawn = [plot for plot in plots if plot is not None]
    if not drawn:
        return None
    omissions = []
    if not precision:
        reason = "the stored matches are too large" if precision is None else "no run has stored matches"
        reason = reason if detections else _NO_DETECTIONS
        omissions.append(Omission("Precision and recall", reason))
    if not curves.loss:
        omissions.append(Omission("Training curves", "no run has a table of its training"))
    return CurvesContent(drawn, omissions, *(plot is not None for plot in plots))


# --- images and maps ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImagesContent(Content):
    """The images with the largest gains and losses.

    Args:
        arms: The images of each arm that differs from the baseline.
        same: The arms that equal the baseline on every image.
        shown: Whether any image is displayed.
        bare: Whether any image is missing.
        most: Largest number of arms.
        truncated: Whether there are more arms.
    """

    arms: Sequence[ArmImages] = ()
    same: Sequence[ArmSummary] = ()
    shown: bool = False
    bare: bool = False
    most: int = MAX_ARMS
    truncated: bool = False


def _images(page: PageData) -> Content | None:
    arms = find_changes(page.folder, page.study, page.album)
    if not arms:
        return None
    differing = [images for images in arms if images.changes]
    photos = [change.photo for images in differing for change in images.changes]
    return ImagesContent(
        arms=differing,
        same=[images.arm for images in arms if not images.changes],
        shown=any(photo is not None for photo in photos),
        bare=any(photo is None for photo in photos),
        truncated=len(page.study.others) > MAX_ARMS,
    )


@dataclass(frozen=True)
class MapsContent(Content):
    """Attention maps.

    Args:
        arms: The maps of each arm.
        truncated: Whether more arms have maps.
        bar: The color scale as a data URI.
        bare: Whether the image of any map is missing.
    """

    arms: Sequence[ArmMaps] = ()
    truncated: bool = False
    bar: str = ""
    bare: bool = False


def _maps(page: PageData) -> Content | None:
    found = read_maps(page.folder, page.study, page.album)
    if not found:
        return None
    arms = found[:MAX_ARMS]
    bare = any(photo is None for maps in arms for photo in maps.photos)
    return MapsContent(arms=arms, truncated=len(found) > MAX_ARMS, bar=color_bar(), bare=bare)


SECTIONS = (
    Section("differences", "Differences to the baseline", _differences, "no arm has a difference yet"),
    Section("pairs", "Pairs of arms", _pairs, "there is one variant, and no width control"),
    Section("paper", "For a paper", _paper, "there is no verdict"),
    Section("costs", "Gain against cost", _costs, "fewer than two arms have a difference and a cost"),
    Section("runs", "All runs", _runs, "no run is done"),
    Section("noise", "Noise", _noise, "no variant has enough seeds"),
    Section("sizes", "Small, medium and large objects", _sizes, "no run has AP by object size", detection=True),
    Section("classes", "Classes", _classes, "no arm has differences per class"),
    Section("curves", "Precision and training", _curves, "no run is done"),
    Section("images", "Largest gains and losses", _images, "fewer than two arms have stored matches"),
    Section("maps", "Attention maps", _maps, "no run has stored maps"),
)
