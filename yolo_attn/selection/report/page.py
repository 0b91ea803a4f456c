"""Rendering of a search's `report.html`, a self-contained page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from yolo_attn.errors import counted
from yolo_attn.selection.conclusion import conclusion, expected_shrinkage
from yolo_attn.selection.files import CONFIRM, REPORT, rung_folder
from yolo_attn.selection.recommendations import Recommendation, recommendations
from yolo_attn.selection.records import CandidateRecord, SearchRecord
from yolo_attn.selection.report.funnel import Stage, funnel_plot, stages
from yolo_attn.selection.report.gains import Finalist, finalists_in_color, gain_plots
from yolo_attn.selection.report.grid import Grid, make_grid
from yolo_attn.selection.specification import CONFIRM_SEEDS, MOST_CONFIRM_SEEDS
from yolo_attn.selection.wording import base_name, latency_change
from yolo_attn.study.report.environment import make_environment, shared_parts
from yolo_attn.study.report.figures.plot import Plot, drawing
from yolo_attn.study.report.formats import size

__all__ = ["as_html"]

_FEW_PLOTS = 2


@dataclass(frozen=True)
class _Content:
    """What the parts of the page show.

    Args:
        record: The results.
        links: The reports of the search's studies that exist, relative to the page, by the folder of the study.
        recommended: What to do next.
        funnel: The stages.
        grid: The heat map.
        finalists: The finalists with their colors.
        gains: Figures of gain against cost.
        plots: The figure of the funnel.
    """

    record: SearchRecord
    links: dict[str, str]
    recommended: list[Recommendation]
    funnel: list[Stage]
    grid: Grid | None
    finalists: list[Finalist]
    gains: list[Plot]
    plots: list[Plot]


@dataclass(frozen=True)
class _Section:
    """One section of the page.

    Args:
        ident: Its anchor, and the name of its template.
        title: Its heading.
        shown: Whether there is anything to show.
        missing: Why it is omitted otherwise.
        plots: Its figures.
    """

    ident: str
    title: str
    shown: Callable[[_Content], bool]
    missing: str
    plots: Callable[[_Content], list[Plot]] = lambda _: []


_SECTIONS = (
    _Section("next", "What to do next", lambda page: bool(page.recommended), "nothing is confirmed"),
    _Section("confirmed", "Confirmation", lambda page: bool(page.finalists), "nothing is confirmed"),
    _Section("funnel", "From all candidates to the finalists", lambda page: True, "", lambda page: page.plots),
    _Section("grid", "Layers and sites", lambda page: page.grid is not None, "no candidate has an estimate"),
    _Section(
        "gains",
        "Gain against cost",
        lambda page: bool(page.gains),
        "no candidate has a difference and a cost",
        lambda page: page.gains,
    ),
    _Section("candidates", "All candidates", lambda page: bool(page.record.candidates), "the search has no candidates"),
)


def as_html(folder: Path, record: SearchRecord) -> str:
    """Return the report as one HTML file.

    Args:
        folder: The folder of the page, in which the reports of the search's studies are looked up.
        record: The results.
    """
    environment = make_environment("yolo_attn.selection.report")
    page = _content(folder, record)
    shown = [section for section in _SECTIONS if section.shown(page)]
    return environment.get_template("search.html").render(
        record=record,
        info=record.info,
        base=base_name(record),
        conclusion=conclusion(record),
        facts=_facts(record),
        page=page,
        sections=[(section, section.plots(page)) for section in shown],
        omitted=[section for section in _SECTIONS if section not in shown],
        few=_FEW_PLOTS,
        shrinkage=expected_shrinkage(record),
        caveats=_caveats(record),
        fewest_seeds=CONFIRM_SEEDS,
        most_seeds=MOST_CONFIRM_SEEDS,
        latency_change=latency_change,
        estimates_of=_estimates_of,
        resume=record.info.command if not record.finished else "",
        reload=None,
        **shared_parts(environment),
    )


def _content(folder: Path, record: SearchRecord) -> _Content:
    funnel = stages(record)
    with drawing():
        plots, gains = [funnel_plot(funnel)], gain_plots(record)
    return _Content(
        record=record,
        links=_links(folder, record),
        recommended=recommendations(record),
        funnel=funnel,
        grid=make_grid(record),
        finalists=finalists_in_color(record),
        gains=gains,
        plots=plots,
    )


def _links(folder: Path, record: SearchRecord) -> dict[str, str]:
    """Return the existing reports of the search's studies.

    Their names are those that a search uses, whatever the record says: it may come from someone else.
    """
    names = [*(rung_folder(rung.number) for rung in record.rungs), CONFIRM]
    return {name: f"{name}/{REPORT}" for name in names if (folder / name / REPORT).is_file()}


def _estimates_of(one: CandidateRecord, record: SearchRecord) -> list[object]:
    """Return a candidate's estimate in each rung, None where it has none."""
    known = {found.rung: found for found in one.estimates}
    return [known.get(rung.number) for rung in record.rungs]


def _facts(record: SearchRecord) -> list[tuple[str, str]]:
    """Return the setup as names and texts."""
    info = record.info
    images = {
        "Trained on": info.train_images,
        "Searched on": info.search_images,
        "Confirmed on": info.confirm_images,
    }
    facts = [("Base", base_name(record)), ("Data", info.data), ("Task", info.task)]
    facts += [(name, f"{count:,} images") for name, count in images.items() if count is not None]
    facts += [("Limits", (info.limits or "none").replace(",", ", ")), ("Export", info.export or "any format")]
    facts += [("Budget", info.budget or "none given"), ("Margin", f"±{size(info.margin)} points")]
    facts += [("Device", f"{info.device}, {counted(info.threads, 'thread')}")]
    return [*facts, ("Versions", ", ".join(f"{package} {version}" for package, version in info.versions.items()))]


def _caveats(record: SearchRecord) -> list[str]:
    """Return what the search does not show."""
    info, name = record.info, base_name(record)
    images = f"{info.search_images:,} images" if info.search_images is not None else "images"
    found = [
        f"One base, one dataset, one recipe: another base than {name}, other data than {info.data} or longer training "
        "can have another best layer.",
        f"The search evaluates {images} carved from the training images and trains on the others, so its differences "
        "have the noise of that many images.",
        "Early rungs have few seeds, so a good candidate can be dropped by chance; the search finds a good one, not "
        "certainly the best one.",
        "Differences of different rungs are not comparable: later rungs have more seeds, and candidates that were "
        "selected to be there.",
    ]
    if any(one.costs.latency_ratio is not None for one in record.candidates):
        found.append(
            f"Latency was measured on one device ({info.latency_device or info.device}) with one image at a time, "
            "before training. The order of the candidates can differ on other devices."
        )
    return [*found, *record.notes]
