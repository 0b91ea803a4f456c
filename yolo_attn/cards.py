"""Lists and cards of the layers, for `yolo-attn layers` and docs/layers.md."""

from __future__ import annotations

import functools
import inspect
import json
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from yolo_attn.errors import counted
from yolo_attn.leaderboard import MAIN_SITE, Board, Row, read_boards
from yolo_attn.points import signed, signed_ends
from yolo_attn.registry import FAMILIES, LayerSpec, list_layers
from yolo_attn.system.files import as_yaml
from yolo_attn.system.paths import config_folder, shipped

__all__ = ["as_dict", "as_markdown", "card", "in_words", "listing", "measured", "norms", "parameters", "ready_configs"]

_GAP = 2  # spaces between columns
_NUMBER = 2  # the right-aligned column
_LEAST = 3  # columns before the summary at least
_SUMMARY = 60  # least width of a summary next to the cost and the leaderboard
_SIGNS = {"better": ">", "worse": "<", "equivalent": "=", "no worse": ">=", "inconclusive": "?"}  # of verdicts
_UNMEASURED = "-"


def parameters(spec: LayerSpec, channels: int = 256) -> int | None:
    """Return a layer's number of parameters at a number of channels, with default options; None if that fails."""
    built = _built(spec, channels)
    return None if built is None else sum(p.numel() for p in built.parameters())


def _built(spec: LayerSpec, channels: int = 256) -> nn.Module | None:
    """Return a layer with default options on the meta device; None for a custom one that takes other channels."""
    width = channels if spec.inputs == 1 and not spec.more_inputs else [channels] * spec.inputs
    try:
        with torch.device("meta"):
            return spec.cls(width)
    except Exception:  # a custom layer may raise anything
        return None


def _describe_parameters(spec: LayerSpec) -> str:
    count = parameters(spec)
    return _UNMEASURED if count is None else f"{count:,}"


def row(spec: LayerSpec) -> str:
    """Return the YAML row to paste."""
    source = "-1" if spec.inputs == 1 and not spec.more_inputs else f"[-1{', 6' * (spec.inputs - 1)}]"
    return f"- [{source}, 1, {spec.name}, []]"


def norms(spec: LayerSpec) -> list[dict[str, Any]]:
    """Return name, kind, eps and momentum (or None) of each normalization layer, with default options."""
    found = []
    built = _built(spec)
    for name, module in built.named_modules() if built is not None else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            found.append({"name": name, "kind": "batch norm", "eps": module.eps, "momentum": module.momentum})
        elif isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            kind = "group norm" if isinstance(module, nn.GroupNorm) else "layer norm"
            found.append({"name": name, "kind": kind, "eps": module.eps, "momentum": None})
    return found


def _describe_norms(spec: LayerSpec) -> str:
    """Return a description of the normalization layers, with the number of equal ones."""
    counts = Counter(
        (n["kind"], f"eps {n['eps']:g}" + ("" if n["momentum"] is None else f", momentum {n['momentum']:g}"))
        for n in norms(spec)
    )
    return "; ".join(f"{counted(count, kind)} with {numbers}" for (kind, numbers), count in counts.items())


def as_dict(spec: LayerSpec) -> dict[str, Any]:
    """Return an entry as plain data."""
    return {
        "name": spec.name,
        "aliases": list(spec.aliases),
        "family": spec.family,
        "inputs": spec.inputs,
        "more_inputs": spec.more_inputs,
        "summary": spec.summary,
        "paper": spec.paper,
        "year": spec.year,
        "url": spec.url,
        "repository": spec.repository,
        "cost": spec.cost,
        "identity": spec.identity,
        "params_256": parameters(spec),
        "norms": norms(spec),
        "options": spec.options,
        "row": row(spec),
        "configs": ready_configs(spec),
        "measured": _measurement(spec),
        "leaderboard": {
            name: [_as_entry(board, row) for row in _rows(board, spec)] for name, board in read_boards().items()
        },
    }


def _rows(board: Board, spec: LayerSpec) -> list[Row]:
    """Return a layer's rows on the leaderboard, that at the neck first."""
    return sorted((row for row in board.rows if row.layer == spec.name), key=lambda row: row.site != MAIN_SITE)


def _as_entry(board: Board, row: Row) -> dict[str, Any]:
    low, high = board.interval(row) or (None, None)
    verdict = board.verdict(row)
    return {"site": row.site, "difference": row.mean, "low": low, "high": high, "verdict": verdict}


def _measurement(spec: LayerSpec) -> dict[str, Any] | None:
    """Return the results of tests/cards.py for a layer, with machine and shapes; None for third-party layers."""
    record = measured()
    found = record["layers"].get(spec.name)
    return None if found is None else {**{key: value for key, value in record.items() if key != "layers"}, **found}


def listing(specs: list[LayerSpec], width: int = 80) -> str:
    """Return the layers as a table by family, with a summary of each.

    Args:
        specs: The layers.
        width: Columns of the terminal; a wide one shows the cost too. The differences on the leaderboard are columns of
            their own in a wide one, and follow the summary in a narrow one.
    """
    boards = read_boards()
    cells = [
        (s.name, f"{s.inputs}{'+' if s.more_inputs else ''}", _describe_parameters(s), *_gains(s), s.cost)
        for s in specs
    ]
    header = ("layer", "in", "params", *boards, "cost")
    widths = [max(len(line[i]) for line in (header, *cells)) for i in range(len(header))]
    columns = _LEAST
    for wider in (_LEAST + len(boards), len(header)):
        columns = wider if width >= sum(widths[:wider]) + _GAP * wider + _SUMMARY else columns
    start = sum(widths[:columns]) + _GAP * columns

    def line(cells: tuple[str, ...], summary: str) -> str:
        texts = [c.rjust(w) if i == _NUMBER else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        text = (" " * _GAP).join([*texts[:columns], summary])
        return textwrap.fill(text, max(width, start + 20), subsequent_indent=" " * start, drop_whitespace=True)

    lines = [line(header, "summary")]
    for family in FAMILIES:
        rows = [
            line(c, s.summary + (_gains_in_words(s) if columns == _LEAST else ""))
            for c, s in zip(cells, specs, strict=True)
            if s.family == family
        ]
        lines += ["", family.replace("_", " "), *rows] if rows else []
    notes = [
        f"{len(specs)} layers; in: number of inputs, params: at 256 channels",
        *_legend(width),
        "card of one layer: yolo-attn layers CBAM",
    ]
    return "\n".join([*lines, "", *notes])


def _gains(spec: LayerSpec) -> list[str]:
    """Return the difference at the neck and the sign of its verdict on each dataset, such as "+0.31 >"."""
    return [_gain(board, board.find(spec.name)) for board in read_boards().values()]


def _gain(board: Board, row: Row | None) -> str:
    if row is None or row.mean is None:
        return _UNMEASURED
    verdict = board.verdict(row)
    return f"{signed(row.mean)} {_SIGNS[verdict]}" if verdict else signed(row.mean)


def _gains_in_words(spec: LayerSpec) -> str:
    """Return the same as the end of a summary, such as " [digits +0.31 >, bccd -]"; empty if nothing is measured."""
    gains = dict(zip(read_boards(), _gains(spec), strict=True))
    if set(gains.values()) <= {_UNMEASURED}:
        return ""
    return f" [{', '.join(f'{name} {gain}' for name, gain in gains.items())}]"


def _legend(width: int) -> list[str]:
    """Return what the differences mean, empty without a leaderboard."""
    names = ", ".join(read_boards())
    signs = ", ".join(f"{sign} {verdict}" for verdict, sign in _SIGNS.items() if verdict != "no worse")
    text = f"{names}: difference to the base at the neck in points (docs/leaderboard.md); {signs}"
    return [textwrap.fill(text, max(width, 20))] if names else []


def card(spec: LayerSpec, width: int = 80) -> str:
    """Return the card of one layer as text.

    Args:
        spec: The layer.
        width: Columns of the terminal.
    """
    facts = {
        "family": spec.family,
        "aliases": ", ".join(spec.aliases),
        "inputs": spec.input_count,
        "paper": spec.paper if str(spec.year or "") in spec.paper else f"{spec.paper}, {spec.year}",
        "link": spec.url,
        "code": spec.repository,
        "params": f"{_describe_parameters(spec)} at C=256",
        "cost": spec.cost,
        "identity": spec.identity,
        "norms": _describe_norms(spec),
        **_measured_facts(spec),
        "compared": _comparisons(spec),
        "ready": ", ".join(ready_configs(spec)),
    }
    file = inspect.getdoc(inspect.getmodule(spec.cls)) or ""
    options = [f"  {name}: {as_yaml(value)}" for name, value in spec.options.items()]
    return "\n".join(
        [
            textwrap.fill(f"{spec.name}: {spec.summary}", width),
            "",
            *(_fact(key, value, width) for key, value in facts.items() if value),
            "",
            "rows to paste",
            f"  {row(spec)}",
            f"  {row(spec).replace('[]]', f'[{_example(spec)}]]')}",
            *(
                [f"  or: yolo-attn place model=yolo11n.yaml layer={spec.name} at=head"]
                if spec.can_return_levels
                else []
            ),
            "",
            "options and their defaults",
            *(options or ["  none"]),
            "",
            file.strip(),
            "",
            (inspect.getdoc(spec.cls) or "").strip(),
        ]
    ).rstrip()


_PLACED_AT_HEAD = "yolo-attn place model=yolo11n.yaml layer={} at=head"


def _example(spec: LayerSpec) -> str:
    """Return the arguments of a row with an option, or of a convolution like those of Conv."""
    if spec.replaces_conv:
        return "256, 3, 2"
    known = ({key: value} for key, value in spec.options.items() if key != "init" and value is not None)
    return as_yaml(next(known, {"init": "identity"}))


def _fact(key: str, value: str, width: int) -> str:
    wrap = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False, subsequent_indent=" " * 12)
    return wrap.fill(f"  {key:<10}{value}")


def ready_configs(spec: LayerSpec) -> list[str]:
    """Return the names, at scale n, of the ready model YAMLs with a layer; none for third-party layers."""
    if not spec.built_in:
        return []
    found = re.compile(rf"([a-z]+\d+)(-{spec.name.casefold()}(-[a-z\d]+)?)")
    stems = sorted(path.stem for path in config_folder().glob("*.yaml"))
    return [f"{match[1]}n{match[2]}.yaml" for stem in stems if (match := found.fullmatch(stem))]


def _measured_facts(spec: LayerSpec) -> dict[str, str]:
    """Return the results of tests/cards.py for a layer as text; nothing for third-party layers."""
    record = measured()
    found = record["layers"].get(spec.name)
    if found is None:
        return {}
    vectors = len(found["vectors"])
    return {
        "parity": f"{counted(vectors, 'reference vector')}, largest relative error {found['parity']:.0e}"
        if vectors
        else "no reference vector",
        "export": f"ONNX of the layer alone at fixed size {_export(found, 'fixed')}, at dynamic size "
        f"{_export(found, 'dynamic')}; models with it: docs/export.md",
        "time": f"{found['infer_ratio']:g} x a 3 x 3 convolution of its width in inference, "
        f"{found['train_ratio']:g} x in training (CPU; tests/cards.py)",
        "memory": f"{found['infer_mb']:g} MB at 64 x 160 x 160 in inference",
    }


def _comparisons(spec: LayerSpec) -> str:
    """Return a layer's differences on the leaderboard; empty if nothing is measured."""
    boards = read_boards()
    texts = [f"{name} {in_words(board, row)}" for name, board in boards.items() for row in _rows(board, spec)]
    if texts:
        return f"{'; '.join(texts)} (points; docs/leaderboard.md)"
    return "not measured yet (docs/leaderboard.md)" if boards and spec.built_in else ""


def in_words(board: Board, row: Row) -> str:
    """Return a row of the leaderboard as text, such as "neck +0.31 [+0.02, +0.60] better"."""
    if row.mean is None:
        return f"{row.site} no result"
    ends, verdict = board.interval(row), board.verdict(row) or "no verdict"
    shown = " [{}, {}]".format(*signed_ends(*ends)) if ends else ""
    return f"{row.site} {signed(row.mean)}{shown} {verdict}"


def _export(found: dict[str, Any], kind: str) -> str:
    error = found["onnx"][kind]
    return "no" if error is None else f"yes ({error:.0e})"


@functools.cache
def measured() -> dict[str, Any]:
    """Return the stored measurements."""
    return json.loads(shipped("measured.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def as_markdown() -> str:
    """Return docs/layers.md."""
    record = measured()
    lines = [
        "# The layers",
        "",
        "`yolo-attn layers NAME` shows the card of one layer: formula, paper, options, deviations.",
        "`python -m tests.cards` writes this page.",
        "",
        f"Measured {record['date']} on {record['machine']}, PyTorch {record['versions']['torch']}. Time is the median",
        "ratio to a 3 x 3 convolution of the same width, measured in turn in one process with one image: inference at",
        f"{_shape(record['infer_shape'])}, training (forward and backward) at {_shape(record['train_shape'])}. Memory",
        "is the peak in inference at 64 x 160 x 160 without the input. Parity is the largest relative error in output",
        "and input gradient against the reference vectors. ONNX is that of the layer alone; of models with it in every",
        "format, see [export](export.md).",
    ]
    if boards := read_boards():
        lines[-1] += " The last columns"
        lines += [
            f"({', '.join(boards)}) are differences to the base in points, at the neck, with their verdicts, from the",
            "[leaderboard](leaderboard.md).",
        ]
    header, rule = (*_HEADER, *boards), (*_RULE, *(["---"] * len(boards)))
    for family in FAMILIES:
        specs = [s for s in list_layers(family=family) if s.name in record["layers"]]
        if specs:
            lines += ["", f"## {family.replace('_', ' ')}", "", _as_row(header), _as_row(rule)]
            lines += [_as_row(_cells(spec, record["layers"][spec.name])) for spec in specs]
    lines += _measured_later(record)
    return "\n".join(lines) + "\n"


def _measured_later(record: dict[str, Any]) -> list[str]:
    """Return the lines that name the layers with a date, machine or version of their own."""
    later: dict[str, list[str]] = {}
    for name, found in sorted(record["layers"].items()):
        if found.keys() & {"date", "machine", "versions"}:
            own = {**record, **found}
            where = f"{own['date']} on {own['machine']}, PyTorch {own['versions']['torch']}"
            later.setdefault(where, []).append(name)
    lines = [f"- {where}: {', '.join(names)}" for where, names in later.items()]
    return ["", "Measured separately:", "", *lines] if later else []


_HEADER = ("layer", "summary", "paper", "params at C=256", "time", "train", "memory", "parity", "ONNX")
_RULE = ("---", "---", "---", "---:", "---:", "---:", "---:", "---:", "---")


def _as_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(spec: LayerSpec, found: dict[str, Any]) -> tuple[str, ...]:
    names = f"**{spec.name}**" + (f" ({', '.join(spec.aliases)})" if spec.aliases else "")
    exports = [kind for kind in ("fixed", "dynamic") if found["onnx"][kind] is not None]
    return (
        names,
        spec.summary,
        f"[{spec.paper}]({spec.url})",
        _describe_parameters(spec),
        f"{found['infer_ratio']:g}",
        f"{found['train_ratio']:g}",
        f"{found['infer_mb']:g} MB",
        f"{found['parity']:.0e}" if found["vectors"] else "-",
        ", ".join(exports) or "no",
        *(_verdict(board, board.find(spec.name)) for board in read_boards().values()),
    )


def _verdict(board: Board, row: Row | None) -> str:
    """Return a difference with its verdict in words, such as "+0.31 better"."""
    if row is None or row.mean is None:
        return _UNMEASURED
    return f"{signed(row.mean)} {board.verdict(row) or ''}".rstrip()


def _shape(shape: list[int]) -> str:
    return " x ".join(map(str, shape))
