"""Results as files for other programs and for papers: CSV, Markdown, LaTeX."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence

from yolo_attn.study.report.formats import NONE
from yolo_attn.study.report.notes import reading_notes, warnings
from yolo_attn.study.report.summary import summarize
from yolo_attn.study.report.view import Arm, Run, StudyView

__all__ = ["SOURCES", "as_csv", "as_latex", "as_markdown", "escape_latex", "escape_markdown"]

_METRICS = ("mAP50-95", "mAP50", "mAP75", "mAP-small", "mAP-medium", "mAP-large")
_ULTRALYTICS = ("mAP50-95", "mAP50", "mAP75", "precision", "recall")
SOURCES = (
    "Average precision, intervals and verdicts are computed from the stored matches; parameters, GFLOPs, latency, "
    "times, memory, and the numbers of best.pt and of Ultralytics are as the runs recorded them."
)
_RUN = ("arm", "kind", "seed", "status")
_COST = ("params", "gflops", "latency_ms", "seconds", "epochs", "memory_mib", "cuda_memory_mib")
_REST = ("learnt", "folder", "error")


# --- CSV ------------------------------------------------------------------------------------------------------------


def as_csv(study: StudyView) -> str:
    """Return one line for each run; average precision as fractions."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    best = [f"{name}(best.pt)" for name in _METRICS]
    ultralytics = [f"{name}(ultralytics)" for name in _ULTRALYTICS]
    writer.writerow([*_RUN, *_METRICS, *best, *ultralytics, *_COST, *_REST])
    writer.writerows(_csv_row(arm, run) for arm in study.arms for run in arm.runs)
    return stream.getvalue()


def _csv_row(arm: Arm, run: Run) -> list[object]:
    measured = [run.metrics.get(name) for name in _METRICS] + [run.metrics_best.get(name) for name in _METRICS]
    theirs = [run.metrics_ultralytics.get(name) for name in _ULTRALYTICS]
    latency = arm.latency.median if arm.latency else None
    memory = [run.memory.get("process"), run.memory.get("cuda")]
    cost = [arm.params, arm.gflops, latency, run.seconds, run.epochs, *memory]
    rest = [run.learnt, _cell(run.folder), _cell(run.error)]
    return [_cell(arm.name), arm.kind, run.seed, _cell(run.status), *measured, *theirs, *cost, *rest]


def _cell(text: str | None) -> str | None:
    """Return text in one line that a spreadsheet does not take for a formula, which could fetch and send."""
    line = None if text is None else _one_line(text)
    return f"'{line}" if line and line[0] in "=+-@" else line


# --- Markdown -------------------------------------------------------------------------------------------------------


def as_markdown(study: StudyView) -> str:
    """Return results as a Markdown document."""
    table = summarize(study)
    rows = [[escape_markdown(cell) for cell in row] for row in table.rows]
    rows = [_strong_row(row, table.heading) if arm.shown else row for row, arm in zip(rows, table.arms, strict=True)]
    lines = [table.heading, ["---", *["---:"] * (len(table.heading) - 1)], *rows]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    remarks = "\n".join(f"- {escape_markdown(note)}" for note in [*reading_notes(study), *warnings(study)])
    title = escape_markdown(study.baseline.name)
    return f"# {title} and its variants\n\n{text}\n\n{remarks}\n\n{escape_markdown(provenance(study))}\n"


def _strong_row(row: Sequence[str], heading: Sequence[str]) -> list[str]:
    strong = {"vs base", "verdict"}
    return [f"**{cell}**" if name in strong else cell for cell, name in zip(row, heading, strict=True)]


def provenance(study: StudyView) -> str:
    """Return in sentences what the numbers were made from and with."""
    recipe = ", ".join(f"{key}={value}" for key, value in study.recipe.items())
    versions = ", ".join(f"{package} {version}" for package, version in study.versions.items())
    parts = [f"Data: {study.data}.", f"Seeds: {', '.join(map(str, study.seeds))}.", f"Recipe: {recipe}."]
    if study.device:
        parts.append(f"Device: {study.device}.")
    if study.command:
        parts.append(f"Command: {study.command}.")
    return " ".join([*parts, f"Made with {versions}.", SOURCES])


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, inside a table too."""
    text = re.sub(r"[\\`*\[\]<>|~&]", r"\\\g<0>", _one_line(text))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # inside a word an underscore is one


# --- LaTeX ----------------------------------------------------------------------------------------------------------


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    **{"±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "µ": r"$\mu$", "Δ": r"$\Delta$", "…": r"\dots{}"},  # noqa: RUF001
    **{"–": "--", "—": "---", "−": "$-$", "‘": "`", "’": "'", "`": r"\`{}"},  # noqa: RUF001
}
_LATIN_1_END = 0xFF


def as_latex(study: StudyView) -> str:
    r"""Return results as a LaTeX table that needs `\usepackage{booktabs}` and nothing else."""
    table = summarize(study)
    head = " & ".join(_latex_heading(name) for name in table.heading)
    rows = [_latex_row(arm, row, table.heading) for arm, row in zip(table.arms, table.rows, strict=True)]
    caption = " ".join(escape_latex(note) for note in reading_notes(study))
    lines = [
        r"% \usepackage{booktabs}",
        *(f"% {_one_line(line)}" for line in [provenance(study), *warnings(study)]),
        *(f"% {escape_latex(arm.name)} is {_one_line(arm.name)}" for arm in study.arms if not arm.name.isascii()),
        r"\begin{table*}[t]",
        r"\centering",
        r"\small",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.heading) - 1)}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_heading(name: str) -> str:
    return {
        "arm": "Arm",
        "seeds": "Seeds",
        "vs base": r"$\Delta$",
        "95% interval": r"95\% interval",
        "p Holm": r"$p_{\mathrm{Holm}}$",
    }.get(name, escape_latex(name[:1].upper() + name[1:] if name in {"params", "verdict"} else name))


def _latex_row(arm: Arm, row: Sequence[str], heading: Sequence[str]) -> str:
    cells = [escape_latex(row[0]), *map(_latex_number, row[1:])]
    strong = {"vs base", "verdict"} if arm.shown else set()
    cells = [rf"\textbf{{{cell}}}" if name in strong else cell for cell, name in zip(cells, heading, strict=True)]
    return "{}" * row[0].startswith("[") + " & ".join(cells) + r" \\"  # a [ behind \\ would be its argument


def _latex_number(text: str) -> str:
    if text == NONE:
        return "--"
    return re.sub(r"-(?=\d)", "$-$", escape_latex(text)).replace(r"\textless{}", "$<$")


def escape_latex(text: str) -> str:
    """Return text that LaTeX sets as it is; a character that plain LaTeX has no font for is told by its code."""
    return "".join(map(_latex_character, _one_line(text)))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii():
        return character if character.isprintable() else ""
    accented = ord(character) <= _LATIN_1_END and unicodedata.normalize("NFD", character) != character
    return character if accented else rf"U+{ord(character):04X}\,"
