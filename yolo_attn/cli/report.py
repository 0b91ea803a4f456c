"""`yolo-attn report`: a study's results and reports, computed again from its stored matches."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_keys, require_keys

__all__ = ["COMMAND"]


def _help() -> str:
    return """\
yolo-attn report from=DIR [data=DATA] [out=DIR]

Computes a study's results from the stored matches of its runs, without training, and writes results.json, .csv, .md,
.tex (booktabs) and report.html, one file that needs no network. Prints the table.

  from       the folder of a study, such as runs/compare/exp
  data       the dataset whose images the page shows; required for a study from someone else or another machine
  out        the folder for the files (default: the study's folder); with it, the command works while compare runs
"""


def _run(words: list[str]) -> int:
    from yolo_attn.data import resolve_data
    from yolo_attn.study.report import make_report, read_results, text_table

    keys = parse_keys(words, ("from", "data", "out"))
    require_keys("report", keys, ("from",), "report from=runs/compare/exp")
    folder = Path(keys["from"]).expanduser()
    data = resolve_data(keys["data"]) if keys.get("data") else None
    page = make_report(folder, Path(keys["out"]).expanduser() if keys.get("out") else None, data)
    print(text_table(read_results(page.parent)))
    print(f"written: {page}")
    return 0


COMMAND = Command(
    name="report",
    run=_run,
    summary="write a study's reports again: table, CSV, Markdown, LaTeX, HTML",
    help=_help,
    opens_files=False,
    takes_layers=False,
)
