"""The report of a search: one self-contained HTML page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.selection.files import REPORT, RESULTS
from yolo_attn.selection.records import SearchRecord
from yolo_attn.selection.results import SearchResults
from yolo_attn.selection.stored import read_record
from yolo_attn.study.report import check_output
from yolo_attn.system.files import make_folder, write_atomically
from yolo_attn.system.locks import FolderLock

__all__ = ["is_search", "make_report", "write_report"]


def is_search(folder: Path) -> bool:
    """Return whether a folder contains the results of a search."""
    return (folder / RESULTS).is_file()


def write_report(folder: Path, record: SearchRecord) -> None:
    """Write `report.html`.

    Args:
        folder: The folder of the page. Studies of the search that have a report in it are linked.
        record: The results.

    Raises:
        UserError: The disk is full or cannot be written; the earlier page is unchanged.
    """
    from yolo_attn.selection.report.page import as_html  # imports matplotlib

    write_atomically(folder / REPORT, as_html(folder, record))


def make_report(folder: Path, out: Path | None = None) -> SearchResults:
    """Write the report of a stored search, and return its results.

    With `out` the search is only read, so this works while it is running.

    Args:
        folder: The search's folder.
        out: Output folder; the search's folder by default.

    Raises:
        UserError: The folder contains no search, its results are damaged or of another version, `out` contains
            another search or a study, or another process works in the folder.
    """
    record = read_record(folder)
    if record is None:
        raise UserError(f"{folder}: contains no {RESULTS}, so no results of a search")
    out = out or folder
    elsewhere = out.resolve() != folder.resolve()
    if elsewhere:
        check_output(out)
    results = SearchResults(out, record)
    with contextlib.nullcontext() if elsewhere else _locked(folder):
        make_folder(out)
        results.write()
    return results


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a search's folder.

    Raises:
        UserError: A search is running in it.
    """
    lock = FolderLock(folder, key="out=DIR")
    if not lock.acquire():
        raise UserError(
            f"{folder}: a search (process {lock.owner()}) is running in it and updates {REPORT}; for a separate report "
            "now, give out=DIR"
        )
    with lock:
        yield
