"""Model YAMLs of forks and tutorials, rewritten as model YAMLs of this package.

A fork's row names a class by the fork's own name and passes channels and options by position. `yolo_attn.names.forks`
knows the names and the meaning of positions, and the stock model from which the file was derived shows which row an
index means that was not shifted. What remains uncertain is reported, and then nothing is written.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from ultralytics.nn import tasks

from yolo_attn.errors import RowError, UserError
from yolo_attn.graph import IMAGE, ModelGraph, Row, block_of, layers_in, line_numbers, read_model
from yolo_attn.graph.levels import find_level_problem
from yolo_attn.graph.lint import Finding, find_malformed_rows
from yolo_attn.graph.model_ref import ModelKind, ModelRef
from yolo_attn.graph.repair import nearest_base, repair_sources
from yolo_attn.graph.row_edits import Hunk, edit_rows
from yolo_attn.host.blocks import block_problem, hosting_blocks, meant_module
from yolo_attn.host.document_keys import find_key_problems
from yolo_attn.host.documents import FORMER_IDENTITY, with_scale
from yolo_attn.host.linting import find_repeated_keys, lint_document, located, stock_models
from yolo_attn.host.model_files import find_model_yaml, scale_letter
from yolo_attn.host.parser import is_attention_row, is_inserted, is_replacement, name_problem
from yolo_attn.host.positional import read_positional
from yolo_attn.host.transfer import IDENTITY, count_transferable
from yolo_attn.names.forks import MODULES, NEAREST
from yolo_attn.names.suggestions import nearest_layer
from yolo_attn.registry import get_layer, is_layer, layer_names
from yolo_attn.system.files import as_yaml

__all__ = ["Migration", "migrate"]

_PASSED = ("c1", "c2", "n")  # parameters of a block that the parser passes: channels and repeats


@dataclass(frozen=True)
class Migration:
    """A rewritten model YAML.

    Args:
        path: The file.
        out: The file to write.
        text: The new text.
        hunks: The changed lines with reasons; () if there is nothing to change, or too much is unknown.
        unknown: What the file does not determine. If there is anything, the text is not a valid model YAML.
        base: Name of the stock model from which the file was derived; "" if unknown.
        transfer: The number of the base's tensors that transfer into their own layers, and of all its tensors; None
            without a base of the same scale.
    """

    path: Path
    out: Path
    text: str
    hunks: tuple[Hunk, ...]
    unknown: tuple[Finding, ...]
    base: str = ""
    transfer: tuple[int, int] | None = None

    def __str__(self) -> str:
        """The changes as a unified diff without context, where each hunk has its reason."""
        if not self.hunks:
            return f"{self.path}: nothing to change"
        lines = [f"--- {self.path}", f"+++ {self.out}", *map(str, self.hunks)]
        if self.transfer:
            kept, tensors = self.transfer
            lines.append(f"pretrained weights: {kept}/{tensors} tensors of {self.base} transfer into their own layers")
        return "\n".join([*lines, f"written: {self.out}"])

    def to_dict(self) -> dict[str, Any]:
        """Return the changes, or what is unknown, as a dictionary."""
        kept, tensors = self.transfer or (None, None)
        return {
            **{"file": str(self.path), "out": str(self.out) if self.hunks else None, "base": self.base or None},
            **{"base_tensors": tensors, "base_tensors_kept": kept},
            "changes": [asdict(hunk) for hunk in self.hunks],
            "unknown": [asdict(finding) for finding in self.unknown],
        }


def migrate(model: str | Path, out: Path | None = None) -> Migration:
    """Rewrite a model YAML of a fork or a tutorial. Nothing is written yet.

    Args:
        model: The file.
        out: The new file, whose name contains the scale; None for FILE-fixed.yaml beside it.

    Raises:
        UserError: There is no such file, it is not a model YAML, it is the new file, or the name of the new file lacks
            the scale.
    """
    ref = ModelRef.parse(model)
    if ref.is_placed or ref.kind is not ModelKind.YAML:
        raise UserError(f"model={model}: fix=True rewrites the file of a model YAML, such as their.yaml")
    path = find_model_yaml(model)
    document, text = read_model(path), _read_with_comments(path)
    _check_tabs(path, text)
    new = out or path.with_stem(f"{path.stem}-fixed")
    if new.exists() and new.samefile(path):
        raise UserError(f"out={out}: this is the file itself, which is kept; give another one")

    def refused(findings: Sequence[Finding]) -> Migration:
        return Migration(path, new, text, (), tuple(located(findings, str(path), line_numbers(path))))

    if problems := find_repeated_keys(path) or find_malformed_rows(document):
        return refused(problems)
    if unusable := [Finding(None, problem) for problem in find_key_problems(document)]:
        return refused(unusable)
    rewriting = _Rewriting(document, path)
    rewriting.read_rows()
    base = None if rewriting.unknown else rewriting.repair_sources()
    if rewriting.unknown:
        return refused(rewriting.unknown)
    try:
        edited = edit_rows(text, rewriting.graph, rewriting.reasons, rewriting.former_numbers())
    except RowError as error:
        return refused([Finding(error.row, error.problem)])
    if out and edited.hunks:
        _check_scale(document, model, out)
    migrated = yaml.safe_load(edited.text)
    if remaining := lint_document(migrated, new, new):
        return refused(remaining)
    transfer = _transfer(with_scale(migrated, new, new), base[1]) if base else None
    return Migration(path, new, edited.text, edited.hunks, (), base[0] if base else "", transfer)


def _check_scale(document: Mapping[str, Any], model: str | Path, out: Path) -> None:
    """Raise UserError if only the model's name states its scale, and that of the new file does not."""
    letter, scales = scale_letter(model), document.get("scales")
    if not isinstance(scales, dict) or letter not in scales or document.get("scale") or scale_letter(out) == letter:
        return
    stem = Path(model).stem
    right = out.with_name(f"{stem[: stem.index(letter, stem.index('yolo') + 4) + 1]}-{out.name}")
    raise UserError(f"out={out}: {Path(model).name} has scale {letter} by its name; write out={right}")


def _read_with_comments(path: Path) -> str:
    """Return the text of a file that may be in the encoding of Chinese editors instead of UTF-8.

    Raises:
        UserError: It is in neither of them, so the new file would have other comments.
    """
    content = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            return yaml.reader.Reader.NON_PRINTABLE.sub("", content.decode(encoding))
    raise UserError(f"{path}: neither UTF-8 nor GB 18030, so comments would be lost; save it as UTF-8")


def _check_tabs(path: Path, text: str) -> None:
    """Raise UserError for a tab between values, which Ultralytics accepts, and at which text cannot be replaced."""
    try:
        yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{where}: fix=True cannot read a tab there; replace it by spaces") from None
    except RecursionError:
        raise UserError(f"{path}: lists or mappings are nested too deeply") from None


class _Rewriting:
    """The rows of one file while they are rewritten."""

    def __init__(self, document: dict[str, Any], path: Path) -> None:
        self.document = document
        self.path = path
        self.graph = ModelGraph(document)
        self.reasons: dict[int, list[str]] = {}
        self.unknown: list[Finding] = []

    def read_rows(self) -> None:
        """Replace the modules, repeats and arguments of all rows."""
        for i, row in enumerate(self.graph):
            try:
                reasons = [*self._read_module(row), *self._read_args(row)]
            except UserError as error:
                self.unknown.append(Finding(i, str(error)))
            else:
                self.reasons.update({i: reasons} if reasons else {})

    def repair_sources(self) -> tuple[str, ModelGraph] | None:
        """Put the sources of all rows right; return the stock model that shows them, with its name."""
        bases = [named for models in stock_models().values() for named in models]
        base = nearest_base(self.graph, bases, is_inserted)
        if not base or not any(map(is_attention_row, self.graph)):
            return base  # no row was inserted
        if any(find_level_problem(self.graph, i) for i in range(len(self.graph))):
            return base  # unknown which rows are read; lint reports it
        repaired = copy.deepcopy(self.graph)
        repair = repair_sources(repaired, base[1], base[0], is_inserted)
        if repair.unknown and not self._has_modules_of(base[1]):
            return None  # a model of its own, with other connections
        self.graph = repaired
        self.unknown += repair.unknown
        for i, reasons in repair.reasons.items():
            self.reasons.setdefault(i, []).extend(reasons)
        return base

    def _has_modules_of(self, base: ModelGraph) -> bool:
        """Return whether the rows have the modules of a base, but for layers inserted or in the place of a row."""
        rows = [row for row in self.graph if not is_inserted(row)]
        return len(rows) == len(base) and all(
            is_replacement(row) or block_of(row.module) == stock.module for row, stock in zip(rows, base, strict=True)
        )

    def former_numbers(self) -> dict[int, int]:
        """Return the number of each row without the layers inserted before it."""
        stock = [i for i, row in enumerate(self.graph) if not is_inserted(row)]
        return {i: n for n, i in enumerate(stock)}

    def _read_module(self, row: Row) -> Iterator[str]:
        """Replace a row's module by the one that it means, and yield the reason."""
        name = row.module
        if name == FORMER_IDENTITY and row is self.graph.rows[0]:
            row.module = IDENTITY
            yield f"{name} is {IDENTITY} in present releases"
        if not name_problem(row.module):
            return
        if name in MODULES and not block_problem(MODULES[name]):
            row.module = MODULES[name]
            block, layers = block_of(row.module), layers_in(row.module)
            yield f"{name} has {', '.join(layers)} instead of a part of {block}, here after that part"
        elif (meant := meant_module(name)) and (is_layer(meant) or layers_in(meant)):
            row.module = meant
            yield f"{name} is {meant} here"
        else:
            raise UserError(_unmapped(name, meant))
        if block := block_of(row.module) if layers_in(row.module) else "":
            _check_block_args(name, block, row.args)

    def _read_args(self, row: Row) -> Iterator[str]:
        """Replace a row's repeats and arguments by what they mean, and yield the reasons."""
        if is_attention_row(row):
            if row.repeats != 1:
                yield self._read_repeats(row)
            spec = get_layer(row.module)
            if row.args and not spec.replaces_conv and not (len(row.args) == 1 and isinstance(row.args[0], dict)):
                reading = read_positional(spec, row.args, self._width(row.sources[0]))
                row.args = [reading.options] if reading.options else []
                yield from reading.reasons
        elif row is self.graph.rows[-1] and "anchors" in row.args:
            row.args = [part for part in row.args if part != "anchors"]
            yield f"{row.module} takes no anchors"

    def _read_repeats(self, row: Row) -> str:
        """Replace the repeats of an attention row, which the fork multiplies by the depth of the scale, by 1."""
        document = (
            with_scale(self.document, self.path, self.path)
            if _states_scale(self.document, self.path)
            else self.document
        )
        counts = {scale: max(round(row.repeats * depth), 1) for scale, depth in _depths(document).items()}
        if set(counts.values()) != {1}:
            shown = ", ".join(f"{scale or 'depth_multiple'}: {count}" for scale, count in counts.items())
            problem = f"{row.module} is repeated {row.repeats} times, times the depth of the scale ({shown})"
            raise UserError(f"{problem}; write 1, and one row for each repetition")
        before, row.repeats = row.repeats, 1
        return f"{before} times the depth of the scale is 1"

    def _width(self, index: int) -> int:
        """Return the channels of a row's output as written in the YAML; 0 if unknown."""
        if index == IMAGE:
            return 0
        row = self.graph.rows[index]
        if row.module == "Concat":
            widths = [self._width(source) for source in row.sources]
            return sum(widths) if all(widths) else 0
        if (is_attention_row(row) and not is_replacement(row)) or "." in row.module:
            return self._width(row.sources[0])
        width = row.args[0] if row.args else 0
        return width if type(width) is int else 0


def _unmapped(name: str, meant: str) -> str:
    """Return the message for a module that no layer corresponds to."""
    if meant:
        return f"{name!r} is unknown; if {meant} is meant, write it"
    nearest = NEAREST.get(name, "")
    if not nearest or name_problem(nearest):
        nearest = nearest_layer(name, hosting_blocks(), layer_names())
    hint = f"the nearest is {nearest}, another mechanism" if nearest else "yolo-attn layers lists those that exist"
    return f"{name!r} has no counterpart here; {hint}"


def _check_block_args(name: str, block: str, args: Sequence[Any]) -> None:
    """Raise UserError if a block would read an argument of a fork's block as something else."""
    parameters = list(inspect.signature(getattr(tasks, block)).parameters.values())
    own = [parameter for parameter in parameters if parameter.name not in _PASSED]
    for position, value in enumerate(args[1:]):
        parameter = own[position] if position < len(own) else None
        if parameter is None or not _fits(parameter.default, value):
            takes = ", ".join(p.name for p in own) or "nothing"
            raise UserError(f"{name}: {as_yaml(value)} has no known meaning; after its channels {block} takes {takes}")


def _fits(default: Any, value: Any) -> bool:
    """Return whether a value has the type of a parameter's default."""
    if isinstance(default, bool) or isinstance(value, bool):
        return type(default) is type(value)
    return not isinstance(default, (int, float)) or isinstance(value, (int, float))


def _states_scale(document: Mapping[str, Any], path: Path) -> bool:
    """Return whether a file or its name states one of its scales."""
    return bool(document.get("scale") or tasks.guess_model_scale(path))


def _depths(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the depths that a model YAML may have, by scale."""
    scales = document.get("scales")
    if not isinstance(scales, dict) or not scales:
        return {"": float(document.get("depth_multiple") or 1.0)}
    scale = document.get("scale")
    return {str(name): float(numbers[0]) for name, numbers in scales.items() if scale in (None, name)}


def _transfer(document: dict[str, Any], base: ModelGraph) -> tuple[int, int] | None:
    """Return how many tensors of a base transfer into a model, at the model's scale and number of classes."""
    stock = base.to_document()
    scale = _scale_in(stock, document)
    return count_transferable(document, {**stock, "nc": document["nc"], **scale}) if scale is not None else None


def _scale_in(stock: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the key with the scale of a base that has the depth and width of a model; None if there is none."""
    scales = document.get("scales") or {}
    one = [document.get("depth_multiple", 1.0), document.get("width_multiple", 1.0)]
    wanted = list(scales[document["scale"]]) if scales else one
    known = stock.get("scales")
    if not known:
        return {} if wanted[:2] == one == [1.0, 1.0] else None
    found = [name for name, numbers in known.items() if list(numbers)[: len(wanted)] == wanted]
    return {"scale": found[0]} if found else None
