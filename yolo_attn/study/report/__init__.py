"""Reports of a study: text table, CSV, Markdown, LaTeX, and a self-contained HTML page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.study.files import REPORT, RESULTS_CSV, RESULTS_LATEX, RESULTS_MARKDOWN, SEARCH, STUDY
from yolo_attn.study.report.exports import as_csv, as_latex, as_markdown
from yolo_attn.study.report.sources import ImageSource, find_images
from yolo_attn.study.report.summary import ranked
from yolo_attn.study.report.text import text_table
from yolo_attn.study.results.looks import keep_looks, read_looks
from yolo_attn.study.results.rebuild import rebuild
from yolo_attn.study.results.records import StudyResults
from yolo_attn.study.results.storage import read_results, write_results
from yolo_attn.system.files import make_folder, write_atomically
from yolo_attn.system.locks import FolderLock

__all__ = ["check_output", "make_report", "read_results", "text_table", "write_interim_page", "write_reports"]


def write_reports(
    folder: Path,
    study: StudyResults,
    *,
    html: bool = True,
    out: Path | None = None,
    source: ImageSource | None = None,
) -> None:
    """Write `results.csv`, `results.md`, `results.tex` and `report.html`, each atomically.

    Args:
        folder: The study's folder.
        study: The results.
        html: Whether to write the page, which takes seconds.
        out: Output folder; the study's folder by default.
        source: Source of the page's images; that of `find_images` by default.

    Raises:
        UserError: The disk is full or cannot be written; the earlier files are unchanged.
    """
    out = out or folder
    study = ranked(study)
    write_atomically(out / RESULTS_CSV, as_csv(study))
    write_atomically(out / RESULTS_MARKDOWN, as_markdown(study))
    write_atomically(out / RESULTS_LATEX, as_latex(study))
    if html:
        _write_page(folder, study, out, source)


def write_interim_page(folder: Path, study: StudyResults, reload: int) -> None:
    """Write `report.html` of a running study; an open page reloads itself until the study is finished.

    Args:
        folder: The study's folder.
        study: The results so far.
        reload: Interval between reloads, in seconds.

    Raises:
        UserError: The disk is full or cannot be written; the earlier page is unchanged.
    """
    _write_page(folder, ranked(study), folder, reload=reload)


def _write_page(
    folder: Path, study: StudyResults, out: Path, source: ImageSource | None = None, reload: int | None = None
) -> None:
    from yolo_attn.study.report.page import as_html  # imports matplotlib

    write_atomically(out / REPORT, as_html(study, folder, source, reload=reload))


def make_report(folder: Path, out: Path | None = None, data: str | None = None) -> Path:
    """Compute the results of a study again from the stored matches, write the reports, and return the page.

    Existing results are never replaced by incomplete ones: if a done run is missing, only `out` can be written, and
    `out` must not contain another study. With `out` the study is only read, so this works while a compare is running.

    Args:
        folder: The study's folder.
        out: Output folder; the study's folder by default.
        data: Resolved dataset whose images the page shows; by default the one this user ran the study with. A study
            from someone else cannot select images of this machine.

    Raises:
        UserError: The folder is missing or contains no study, a file of the study is missing, damaged or of another
            version, or another process works in the folder.
    """
    known = read_results(folder)  # problems are reported before the folder is locked
    out = out or folder
    elsewhere = out.resolve() != folder.resolve()
    if elsewhere:
        check_output(out)
    split = str(known.info.recipe.get("split", "val"))
    source = find_images(folder, data=data, split=split)
    with contextlib.nullcontext() if elsewhere else _locked(folder):
        results = rebuild(folder, known, require_all=not elsewhere, keep=not elsewhere)
        make_folder(out)
        if not elsewhere:
            keep_looks(folder, read_looks(folder), results)
        write_results(out, results)
        write_reports(folder, results, out=out, source=source)
    return out / REPORT


def check_output(out: Path) -> None:
    """Raise UserError if a folder contains a study or a search, whose report would be overwritten."""
    for name, kind in ((STUDY, "study"), (SEARCH, "search")):
        if (out / name).exists():
            raise UserError(
                f"out={out}: contains another {kind}, whose results would be overwritten; give another folder"
            )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a study's folder.

    Raises:
        UserError: A compare is running in it.
    """
    lock = FolderLock(folder, key="out=DIR")
    if not lock.acquire():
        raise UserError(
            f"{folder}: a compare (process {lock.owner()}) is running in it and updates {REPORT}; for a separate "
            "report now, give out=DIR"
        )
    with lock:
        yield
