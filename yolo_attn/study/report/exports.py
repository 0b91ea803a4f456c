"""Results as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence

from yolo_attn.errors import counted
from yolo_attn.stats.evaluation import Evaluation
from yolo_attn.study.report.formats import NONE, enumerated
from yolo_attn.study.report.noise import noise_lines
from yolo_attn.study.report.notes import reading_notes, units_note, warnings
from yolo_attn.study.report.pairs import SHARED_BASELINE, families, pair_cells, pair_heading
from yolo_attn.study.report.paper import paper_sentences
from yolo_attn.study.report.summary import summarize
from yolo_attn.study.results.records import ArmSummary, RunSummary, StudyResults

__all__ = ["SOURCES", "as_csv", "as_latex", "as_markdown", "escape_latex", "escape_markdown", "provenance"]

SOURCES = (
    "Metrics, intervals and verdicts are computed from the stored matches. Parameters, GFLOPs, latency, "
    "times, memory, and the metrics of best.pt and of Ultralytics are as recorded by the runs."
)
_RUN = ("arm", "kind", "seed", "status")
_COST = ("params", "gflops", "latency_ms", "seconds", "epochs", "memory_mib", "cuda_memory_mib")
_REST = ("learnt", "folder", "error")
_MAX_PAIRS = 100  # of one family in Markdown


# --- CSV ------------------------------------------------------------------------------------------------------------


def as_csv(study: StudyResults) -> str:
    """Return one line per run, with metrics as fractions."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    kind = study.info.evaluation
    best = [f"{name}(best.pt)" for name in kind.metrics]
    ultralytics = [f"{name}(ultralytics)" for name in kind.reported]
    writer.writerow([*_RUN, *kind.metrics, *best, *ultralytics, *_COST, *_REST])
    writer.writerows(_csv_row(arm, run, kind) for arm in study.arms for run in arm.runs)
    return stream.getvalue()


def _csv_row(arm: ArmSummary, run: RunSummary, kind: type[Evaluation]) -> list[object]:
    computed = [values.get(name) for values in (run.metrics, run.metrics_best) for name in kind.metrics]
    reported = [run.metrics_ultralytics.get(name) for name in kind.reported]
    latency = arm.latency_ms.median if arm.latency_ms else None
    memory = [run.memory_mib.get("process"), run.memory_mib.get("cuda")]
    cost = [arm.params, arm.gflops, latency, run.seconds, run.epochs, *memory]
    rest = [run.learnt, _cell(run.folder), _cell(run.error)]
    return [_cell(arm.name), arm.kind, run.seed, _cell(run.status), *computed, *reported, *cost, *rest]


def _cell(text: str | None) -> str | None:
    """Return text in one line that a spreadsheet does not interpret as a formula, which could access the network."""
    line = None if text is None else _one_line(text)
    return f"'{line}" if line and line[0] in "=+-@" else line


# --- Markdown -------------------------------------------------------------------------------------------------------


def as_markdown(study: StudyResults) -> str:
    """Return results as a Markdown document."""
    table = summarize(study)
    rows = [[escape_markdown(cell) for cell in row] for row in table.rows]
    rows = [_strong_row(row, arm, table.heading) for row, arm in zip(rows, table.arms, strict=True)]
    sections = [
        f"# {escape_markdown(study.baseline.name)} and its variants",
        _markdown_table(table.heading, rows),
        _markdown_list([units_note(study), *reading_notes(study), *warnings(study)]),
        *_pair_sections(study),
        *_markdown_section("Noise", _markdown_list(noise_lines(study))),
        *_markdown_section("For a paper", "\n\n".join(map(escape_markdown, paper_sentences(study)))),
        escape_markdown(provenance(study)),
    ]
    return "\n\n".join(sections) + "\n"


def _markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _markdown_list(items: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(item)}" for item in items)


def _markdown_section(title: str, content: str) -> list[str]:
    return [f"## {title}", content] if content else []


def _strong_row(row: Sequence[str], arm: ArmSummary, heading: Sequence[str]) -> list[str]:
    strong = _strong_columns(arm)
    return [f"**{cell}**" if name in strong else cell for cell, name in zip(row, heading, strict=True)]


def _strong_columns(arm: ArmSummary) -> set[str]:
    """Return the headings of the cells that an arm's verdict emphasizes."""
    return {"vs base", "verdict"} if arm.significant else {"verdict"} if arm.decided else set()


def _pair_sections(study: StudyResults) -> list[str]:
    """Return a table for each family of pairs."""
    found = families(study)
    sections = []
    for family in found:
        shown = family.pairs[:_MAX_PAIRS]
        rows = [[escape_markdown(cell) for cell in pair_cells(pair)] for pair in shown]
        more = len(family.pairs) - len(shown)
        rest = [f"and {counted(more, 'pair')} more (results.json)"] if more else []
        sections += [f"## {escape_markdown(family.title)}", _markdown_table(pair_heading(family), rows), *rest]
    mutual = any(not family.to_width for family in found)
    return [*sections, escape_markdown(SHARED_BASELINE)] if mutual else sections


def provenance(study: StudyResults) -> str:
    """Return the data, setup and software of the results in sentences."""
    info = study.info
    recipe, pretraining = (
        ", ".join(f"{key}={value}" for key, value in keys.items()) for keys in (info.recipe, info.pretraining)
    )
    versions = ", ".join(f"{package} {version}" for package, version in info.versions.items())
    parts = [
        f"Data: {info.data or '?'}.",
        f"Seeds: {', '.join(map(str, info.seeds))}.",
        f"Recipe: {recipe}.",
    ]
    if pretraining:
        parts.append(f"Pretraining of the base: {pretraining}.")
    if info.device:
        parts.append(f"Device: {enumerated(study.gpus or [info.device])}.")
    if info.command:
        parts.append(f"Command: {info.command}.")
    return " ".join([*parts, f"Versions: {versions}.", SOURCES])


def escape_markdown(text: str) -> str:
    """Return text escaped for Markdown, also inside a table."""
    text = re.sub(r"[\\`*\[\]<>|~&]", r"\\\g<0>", _one_line(text))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # an underscore inside a word is literal


# --- LaTeX ----------------------------------------------------------------------------------------------------------


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    **{"±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "µ": r"$\mu$", "Δ": r"$\Delta$", "…": r"\dots{}"},  # noqa: RUF001
    **{"–": "--", "—": "---", "−": "$-$", "‘": "`", "’": "'", "`": r"\`{}"},  # noqa: RUF001
}
_LATIN_1_END = 0xFF


def as_latex(study: StudyResults) -> str:
    r"""Return results as a LaTeX table that requires only `\usepackage{booktabs}`."""
    table = summarize(study)
    head = " & ".join(_latex_heading(name) for name in table.heading)
    rows = [_latex_row(arm, row, table.heading) for arm, row in zip(table.arms, table.rows, strict=True)]
    caption = " ".join(map(escape_latex, [units_note(study), *reading_notes(study)]))
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
        "p adj.": r"$p_{\mathrm{adj}}$",
    }.get(name, escape_latex(name[:1].upper() + name[1:] if name in {"params", "verdict", "interval"} else name))


def _latex_row(arm: ArmSummary, row: Sequence[str], heading: Sequence[str]) -> str:
    cells = [escape_latex(row[0]), *map(_latex_number, row[1:])]
    strong = _strong_columns(arm)
    cells = [rf"\textbf{{{cell}}}" if name in strong else cell for cell, name in zip(cells, heading, strict=True)]
    return "{}" * row[0].startswith("[") + " & ".join(cells) + r" \\"  # a [ after \\ would be its argument


def _latex_number(text: str) -> str:
    if text == NONE:
        return "--"
    return re.sub(r"-(?=\d)", "$-$", escape_latex(text)).replace(r"\textless{}", "$<$")


def escape_latex(text: str) -> str:
    """Return text escaped for LaTeX; a character without a glyph in plain LaTeX is replaced by its code point."""
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
