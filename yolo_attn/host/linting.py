"""Lint model YAMLs against Ultralytics' modules and stock models and the strides of their rows."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from operator import eq, or_
from pathlib import Path
from typing import Any

from ultralytics.nn import tasks

from yolo_attn.errors import RowError, UserError
from yolo_attn.graph import ModelGraph, block_of, layers_in, line_numbers, read_model
from yolo_attn.graph.levels import find_level_problem
from yolo_attn.graph.lint import (
    Finding,
    compare_with_base,
    find_bypasses,
    find_dead_rows,
    find_head_problems,
    find_malformed_rows,
)
from yolo_attn.graph.model_ref import ModelKind, ModelRef
from yolo_attn.graph.place import CONV, conv_options
from yolo_attn.graph.repair import nearest_base, repair_sources
from yolo_attn.host.document_keys import find_key_problems
from yolo_attn.host.documents import model_yaml, with_present_names, with_scale
from yolo_attn.host.geometry import row_strides
from yolo_attn.host.installation import stock_model_yamls
from yolo_attn.host.model_files import find_model_yaml, scale_letter, without_letter
from yolo_attn.host.model_kind import is_rtdetr
from yolo_attn.host.parser import (
    PARSER,
    UNREAD_BY_DESIGN,
    has_layer,
    is_attention_row,
    is_inserted,
    is_replacement,
    name_problem,
    read_attention_row,
    read_block_row,
)
from yolo_attn.system.files import read_text, repeated_keys

__all__ = ["find_repeated_keys", "lint", "lint_document", "located", "stock_models"]


def lint(model: str | Path) -> list[Finding]:
    """Return the likely errors in a model YAML, sorted by row.

    Args:
        model: A model YAML's name or path, a checkpoint, which contains its model YAML, or either with placed layers.

    Raises:
        UserError: There is no such file, or it is not a model YAML.
    """
    ref = ModelRef.parse(model)
    if ref.is_placed or ref.kind is ModelKind.CHECKPOINT:
        document = model_yaml(ref)
        return located(_lint(document, [], lambda: document), ref.text, {})
    path = find_model_yaml(model)
    document = with_present_names(read_model(path))
    findings = find_repeated_keys(path) or lint_document(document, model, path)
    return located(findings, str(path), line_numbers(path)) if findings else []


def find_repeated_keys(path: Path) -> list[Finding]:
    """Return the keys that a model YAML has several times, whose other values are not those of the model."""
    return [
        Finding(None, f"{key}: written in lines {' and '.join(map(str, lines))}, and only the last counts; keep one")
        for key, lines in repeated_keys(read_text(path, lenient=True))
    ]


def lint_document(document: dict[str, Any], name: str | Path, file: Path) -> list[Finding]:
    """Return the likely errors in the content of a model YAML.

    Args:
        document: The content.
        name: The model's name, which may contain the scale.
        file: The file that it means.
    """
    findings = _scale_of_name(name, document) + _other_scale(file, document)
    return _lint(document, findings, lambda: with_scale(document, name, file))


def located(findings: Sequence[Finding], file: str, lines: Mapping[int | str, int]) -> list[Finding]:
    """Return findings with file and line, without duplicates, starting with those outside the rows."""
    located = {finding.found_in(file, lines) for finding in findings}
    return sorted(located, key=lambda f: (-1 if f.row is None else f.row, f.message))


def _lint(
    document: dict[str, Any], findings: list[Finding], with_its_scale: Callable[[], dict[str, Any]]
) -> list[Finding]:
    """Return the findings of a document.

    Args:
        document: The document.
        findings: Those that are known already.
        with_its_scale: Returns the document with its scale.
    """
    if malformed := find_malformed_rows(document):
        return findings + malformed  # the rows cannot be resolved
    graph = ModelGraph(document)
    findings = [*findings, *(Finding(None, problem) for problem in find_key_problems(document))]
    findings += _names_and_options(graph) + _captured_strings(graph) + _unknown_weights(graph)
    findings += _without_head(document, graph)
    findings += find_dead_rows(graph, UNREAD_BY_DESIGN)
    findings += find_bypasses(graph, is_inserted)
    findings += _against_base(graph)
    return findings or _by_building(graph, with_its_scale)


def _scale_of_name(model: str | Path, document: Mapping[str, Any]) -> list[Finding]:
    """Return the problem with the scale in a file's name, instead of which Ultralytics silently builds another."""
    scales = document.get("scales") or {}
    if document.get("scale") is not None or not isinstance(scales, dict):
        return []
    letter = tasks.guess_model_scale(str(model))
    if not letter or letter in scales:
        return []
    if scales:
        known = ", ".join(map(str, scales))
        fix = f"add {letter}: [depth, width, max channels], or rename the file to another scale"
        return [Finding(None, f"scales: the name {Path(model).name} requires {letter}, but they are {known}; {fix}")]
    if _is_letter_of_base(Path(model).stem, letter) or {"width_multiple", "depth_multiple"} & document.keys():
        return []
    problem = f"the name {Path(model).name} requires scale {letter}, but without scales every row has its full width"
    fix = f"write scales such as {{{letter}: [0.5, 0.25, 1024]}}, or width_multiple: 1.0 if this is intended"
    return [Finding(None, f"{problem}; {fix}")]


def _other_scale(file: Path, document: Mapping[str, Any]) -> list[Finding]:
    """Return the problem with a file that states another scale than its name, which is built instead."""
    letter, scale, scales = scale_letter(file), document.get("scale"), document.get("scales")
    if not scale or not isinstance(scales, dict) or letter not in scales or letter == str(scale):
        return []
    fix = f"write scale: {letter}, or rename the file to {without_letter(file.name)}"
    return [Finding(None, f"scale: {scale} is built, but the name {file.name} requires {letter}; {fix}")]


def _is_letter_of_base(stem: str, letter: str) -> bool:
    """Return whether a letter belongs to the name of a stock model without scales, such as yolov9s."""
    name = re.match(rf"(.*?\d){letter}", stem)
    graphs = [
        graph for models in stock_models().values() for file, graph in models if name and file == f"{name[0]}.yaml"
    ]
    return any("scales" not in graph.document for graph in graphs)


def _without_head(document: Mapping[str, Any], graph: ModelGraph) -> list[Finding]:
    """Return the last row if it is not a head."""
    module = graph.rows[graph.head_index].module
    if tasks.guess_model_task({"head": [list(document["head"][-1])]}) or is_rtdetr(document):
        return []
    fix = "a model ends with one, such as [[15, 18, 21], 1, Detect, [nc]]"
    return [Finding(graph.head_index, f"{module} is the last row but not a head; {fix}")]


def _names_and_options(graph: ModelGraph) -> list[Finding]:
    findings = []
    for i, row in enumerate(graph):
        if problem := name_problem(row.module):
            findings.append(Finding(i, problem))
        elif level_problem := find_level_problem(graph, i):
            findings.append(Finding(i, level_problem.problem))
        elif has_layer(row):
            try:
                (read_block_row if layers_in(row.module) else read_attention_row)(i, row)
            except RowError as error:
                findings.append(Finding(error.row, error.problem))
    return findings


def _captured_strings(graph: ModelGraph) -> list[Finding]:
    """Return the rows with a string that the stock parser would replace by its variable of that name."""
    code = (PARSER.original or tasks.parse_model).__code__
    variables = {*code.co_varnames, *code.co_cellvars} - _stock_strings()
    return [
        Finding(i, f"{row.module}: Ultralytics' parser would replace {arg!r} by its own variable; write the value")
        for i, row in enumerate(graph)
        if not is_attention_row(row)
        for arg in row.args
        if isinstance(arg, str) and arg in variables
    ]


def _unknown_weights(graph: ModelGraph) -> list[Finding]:
    """Return the TorchVision rows with unknown weights, which building on the meta device does not download."""
    findings = []
    for i, row in enumerate(graph):
        given = row.args[1:3] if block_of(row.module) == "TorchVision" else []
        if len(given) < 2 or not all(isinstance(arg, str) for arg in given):  # noqa: PLR2004 (a model and its weights)
            continue
        import torchvision  # as slow to import as torch

        # ValueError: an unknown model, which building reports. AttributeError: an old torchvision.
        with contextlib.suppress(ValueError, AttributeError):
            known = torchvision.models.get_model_weights(given[0])
            name = given[1].rpartition(".")[2]
            if name not in known.__members__:
                names = ", ".join(known.__members__)
                findings.append(
                    Finding(i, f"TorchVision: {given[0]} has no weights {given[1]!r}; it has {names}, or null")
                )
    return findings


@functools.cache
def _stock_strings() -> frozenset[str]:
    """Return the strings in the rows of stock models, such as `nc`, which are intended variables."""
    graphs = [graph for models in stock_models().values() for _, graph in models]
    return frozenset(arg for graph in graphs for row in graph for arg in row.args if isinstance(arg, str))


def _against_base(graph: ModelGraph) -> list[Finding]:
    """Compare a model with the stock models of the same rows, and return the differences from the most similar one.

    Without such a stock model it is compared with the one that it was derived from by changing blocks.
    """
    if not any(has_layer(row) for row in graph) or any(find_level_problem(graph, i) for i in range(len(graph))):
        return []
    reports = [
        compare_with_base(graph, base, name, is_inserted) + _other_strides(graph, base, name)
        for name, base in _bases_of(graph)
    ]
    return min(reports, key=len) if reports else _against_nearest_base(graph)


def _against_nearest_base(graph: ModelGraph) -> list[Finding]:
    """Return the differences from the most similar stock model with other blocks.

    They are errors only if forgotten shifts explain all of them; else the connections are the user's own.
    """
    bases = [named for models in stock_models().values() for named in models]
    found = nearest_base(graph, bases, is_inserted)
    if found is None:
        return []
    name, base = found
    if repair_sources(copy.deepcopy(graph), base, name, is_inserted).unknown:
        return []
    return compare_with_base(graph, base, name, is_inserted)


def _bases_of(graph: ModelGraph) -> list[tuple[str, ModelGraph]]:
    """Return the stock models with the rows of a model, where layers in the place of rows are in that of any."""
    rows = [row for row in graph if not is_inserted(row)]
    replaced = [is_replacement(row) for row in rows]
    modules = tuple(block_of(row.module) for row in rows)
    if not any(replaced):
        return stock_models().get(modules, [])
    return [
        model
        for stock, models in stock_models().items()
        if len(stock) == len(modules) and all(map(or_, replaced, map(eq, stock, modules)))
        for model in models
    ]


def _other_strides(graph: ModelGraph, base: ModelGraph, name: str) -> list[Finding]:
    """Return the layers in the place of a `Conv` of the base that have another stride."""
    rows = [i for i, row in enumerate(graph) if not is_inserted(row)]
    findings = []
    for i, stock in zip(rows, base, strict=True):
        row = graph.rows[i]
        if not is_replacement(row) or stock.module != CONV:
            continue
        with contextlib.suppress(RowError):  # invalid options have a finding of their own
            stride, right = read_attention_row(i, row).options.get("stride", 1), conv_options(stock)["stride"]
            if stride != right:
                hint = f"the {CONV} in its place in {name} has {right}; write that, unless this is intended"
                findings.append(Finding(i, f"{row.module} has stride {stride}; {hint}"))
    return findings


@functools.cache
def stock_models() -> Mapping[tuple[str, ...], list[tuple[str, ModelGraph]]]:
    """Return the stock models by the sequence of their modules.

    Tutorials put other files into their folder: those that are no model YAMLs, or have attention layers, are skipped.
    """
    found: dict[tuple[str, ...], list[tuple[str, ModelGraph]]] = {}
    for path in stock_model_yamls():
        try:
            graph = ModelGraph(read_model(path))
        except UserError:
            continue
        if any(map(has_layer, graph)):
            continue
        found.setdefault(tuple(row.module for row in graph), []).append((path.name, graph))
    return found


def _by_building(graph: ModelGraph, with_its_scale: Callable[[], dict[str, Any]]) -> list[Finding]:
    """Build the model, run it on an image, and return errors and problems with the maps that the head reads."""
    try:
        return find_head_problems(graph, row_strides(with_its_scale()))
    except RowError as error:
        return [Finding(error.row, error.problem)]
    except UserError as error:
        return [Finding(None, str(error))]
