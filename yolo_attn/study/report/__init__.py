"""The results of a study to read: terminal text, CSV, Markdown, LaTeX, and one self-contained HTML page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError
from yolo_attn.study.files import REPORT, RESULTS, RESULTS_CSV, RESULTS_LATEX, RESULTS_MARKDOWN, STUDY
from yolo_attn.study.report.files import as_csv, as_latex, as_markdown
from yolo_attn.study.report.sources import ImageSource, find_images
from yolo_attn.study.report.text import text_table
from yolo_attn.study.report.view import StudyView
from yolo_attn.study.results.received import find_fault
from yolo_attn.study.results.results import SCHEMA, write_results
from yolo_attn.system.files import make_folder, read_json, write_atomically
from yolo_attn.system.locks import FolderLock

__all__ = ["make_report", "read_results", "text_table", "write_interim_page", "write_reports"]


def write_reports(
    folder: Path,
    data: Mapping[str, Any],
    *,
    html: bool = True,
    out: Path | None = None,
    source: ImageSource | None = None,
) -> None:
    """Write `results.csv`, `results.md`, `results.tex` and `report.html`, each whole or not at all.

    Args:
        folder: The study's folder.
        data: The content of `results.json`.
        html: Whether the page is written too; it takes seconds, so not after every run of a study.
        out: Where the files go; the study's folder by default.
        source: Where the page's images are from; by default as `find_images` finds them.

    Raises:
        UserError: The disk is full or cannot be written; the earlier files are as they were.
    """
    out = out or folder
    study = StudyView.read(data)
    write_atomically(out / RESULTS_CSV, as_csv(study))
    write_atomically(out / RESULTS_MARKDOWN, as_markdown(study))
    write_atomically(out / RESULTS_LATEX, as_latex(study))
    if html:
        _write_page(folder, study, out, source)


def write_interim_page(folder: Path, data: Mapping[str, Any], reload: int) -> None:
    """Write `report.html` of a study that runs; an open page loads itself again until the study is finished.

    Args:
        folder: The study's folder.
        data: The content of `results.json`.
        reload: Seconds after which an open page loads itself again.

    Raises:
        UserError: The disk is full or cannot be written; the earlier page is as it was.
    """
    _write_page(folder, StudyView.read(data), folder, reload=reload)


def _write_page(
    folder: Path, study: StudyView, out: Path, source: ImageSource | None = None, reload: int | None = None
) -> None:
    from yolo_attn.study.report.page import as_html  # draws: matplotlib only where it is needed

    write_atomically(out / REPORT, as_html(study, folder, source, reload=reload))


def make_report(folder: Path, out: Path | None = None, data: str | None = None) -> Path:
    """Compute the results of a study again from the stored matches of its runs, write the reports, return the page.

    Results never take the place of better ones: where a run that was done is gone, only `out` may be written, and `out`
    may be no other study. With `out` the study itself is only read, so a compare may be running in it.

    Args:
        folder: The study's folder.
        out: Where the files go; the study's folder by default.
        data: The dataset whose images the page shows, resolved; by default the one that this user made the study with.
            A study from somebody else cannot choose which images of this machine are shown.

    Raises:
        UserError: The folder is not there or holds no study, something in it is missing, damaged or of another version,
            or another process works in it.
    """
    from yolo_attn.study.results.rebuild import rebuild

    known = read_results(folder)  # what is wrong with the folder is told before it is locked
    out = out or folder
    elsewhere = out.resolve() != folder.resolve()
    if elsewhere and (out / STUDY).exists():
        raise UserError(f"out={out}: holds another study, whose results would be lost; give another folder")
    split = str(known.get("recipe", {}).get("split", "val"))
    source = find_images(folder, data=data, split=split, root=known.get("image_root"))
    with contextlib.nullcontext() if elsewhere else _held(folder):
        results = rebuild(folder, whole=not elsewhere, keep=not elsewhere)
        make_folder(out)
        write_results(out, results.data)
        write_reports(folder, results.data, out=out, source=source)
    return out / REPORT


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a study's folder.

    Raises:
        UserError: A compare is running in it, which keeps the reports up to date itself.
    """
    lock = FolderLock(folder)
    if not lock.acquire():
        raise UserError(
            f"{folder}: a compare (process {lock.owner()}) is running in it and keeps {REPORT} up to date; for a "
            "report of its own, now, give out=DIR"
        )
    with lock:
        yield


def read_results(folder: Path) -> dict[str, Any]:
    """Return the content of a study's `results.json`.

    Raises:
        UserError: It is not there, damaged, or of another version.
    """
    path = folder / RESULTS
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a study, such as from=runs/compare/exp")
    if not path.is_file():
        raise UserError(f"{folder}: no study with results ({RESULTS} is not there); `yolo-attn compare` makes one")
    again = f"`yolo-attn compare study={folder / STUDY}` makes it again from the runs"
    try:
        data = read_json(path)
    except UserError:
        raise UserError(f"{path}: damaged; {again}") from None
    if data.get("schema") != SCHEMA:
        raise UserError(
            f"{path}: schema {data.get('schema')}, this yolo-attn reads {SCHEMA}; use the one that wrote it"
        )
    fault = find_fault(data)
    if fault:
        raise UserError(f"{path}: damaged ({fault}); {again}")
    return data
