"""`yolo-attn report`: the reports of a study, computed again from its stored matches, or those of a search."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_keys, require_keys
from yolo_attn.errors import UserError
from yolo_attn.system.files import expand_home

__all__ = ["COMMAND"]


def _help() -> str:
    return """\
yolo-attn report from=DIR [data=DATA] [out=DIR]

Computes a study's results from the stored matches of its runs, without training, and writes results.json, .csv, .md,
.tex (booktabs) and report.html, one file that needs no network. Prints the table. From the folder of a search, writes
its search.csv and report.html from search.json.

  from       the folder of a study or search, such as runs/compare/compare or runs/search/search
  data       the dataset whose images the page shows; required for a study from someone else or another machine
  out        the folder for the files (default: that of from); with it, the command works while compare or search runs
"""


def _run(words: list[str]) -> int:
    from yolo_attn.selection.report import is_search

    keys = parse_keys(words, ("from", "data", "out"))
    require_keys("report", keys, ("from",), "report from=runs/compare/compare")
    folder = expand_home(keys["from"])
    out = expand_home(keys["out"]) if keys.get("out") else None
    if not is_search(folder):
        return _report_study(folder, out, keys.get("data"))
    if keys.get("data"):
        raise UserError(f"data={keys['data']}: the report of a search shows no images; omit it")
    return _report_search(folder, out)


def _report_study(folder: Path, out: Path | None, data: str | None) -> int:
    from yolo_attn.data import resolve_data
    from yolo_attn.study.report import make_report, read_results, text_table

    page = make_report(folder, out, resolve_data(data) if data else None)
    print(text_table(read_results(page.parent)))
    print(f"written: {page}")
    return 0


def _report_search(folder: Path, out: Path | None) -> int:
    from yolo_attn.selection.files import REPORT
    from yolo_attn.selection.report import make_report

    results = make_report(folder, out)
    print(results.table())
    print(f"written: {results.folder / REPORT}")
    return 0


COMMAND = Command(
    name="report",
    run=_run,
    summary="write the reports of a study or search again: table, CSV, Markdown, LaTeX, HTML",
    help=_help,
    opens_files=False,
    takes_layers=False,
)
