"""Build model YAMLs with attention rows through the stock parser.

The stock `parse_model` gets attention rows as placeholders with the same channel arithmetic, and a probe row after the
head returns the parser's channel table. The placeholders are then replaced by the attention layers. No code of the
parser is copied, so changes of its own rows in new releases apply here too.

Attention layers are built under a forked random state that depends on their row. The stock layers of a variant
therefore have the same initial weights as in the base, which makes comparisons paired.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from ultralytics.nn import tasks

from yolo_attn.errors import RowError, UserError, one_line
from yolo_attn.graph import IMAGE, ModelGraph, Row, check_row, layers_in
from yolo_attn.graph.blocks import JOINT, block_of, split_args
from yolo_attn.graph.levels import LEVEL, find_level_problem, level_source, returns_levels
from yolo_attn.graph.lint import find_dead_rows
from yolo_attn.graph.rows import ROW_LENGTH, written_rows
from yolo_attn.host.binding import Binding, UnsupportedHostError
from yolo_attn.host.blocks import block_problem, module_hint, names_inside, put_layers
from yolo_attn.host.document_keys import find_key_problems, find_unsafe_keys
from yolo_attn.host.positional import builds, is_width
from yolo_attn.layers.base import Level
from yolo_attn.layers.checks import is_positive_integer
from yolo_attn.names.suggestions import suggest_word
from yolo_attn.registry import CONV_ARGS, OUT_CHANNELS, LayerSpec, check_inputs, get_layer, is_layer
from yolo_attn.system.failures import is_out_of_memory
from yolo_attn.system.files import as_yaml

__all__ = [
    "PARSER",
    "UNREAD_BY_DESIGN",
    "AttentionRow",
    "BlockRow",
    "build_problem",
    "build_rows",
    "check_safe",
    "has_layer",
    "is_attention_row",
    "is_inserted",
    "is_replacement",
    "name_problem",
    "read_attention_row",
    "read_block_row",
]

# Attributes that the parser sets on every module; it would overwrite a layer's own attribute of the same name.
HOST_ATTRIBUTES = ("f", "i", "np", "type")
# Rows whose output the model class passes on without a `from`.
UNREAD_BY_DESIGN = ("ImagePoolingAttn",)

_lock = threading.RLock()  # the helper rows and the log filter are process-wide


def is_attention_row(row: Row) -> bool:
    """Return whether a row's module is a registered attention layer."""
    return is_layer(row.module)


def is_replacement(row: Row) -> bool:
    """Return whether an attention row is in the place of a stock row, not between stock rows.

    A layer that can replace `Conv` does so in a row with a width, as `Conv` has, or with a stride above 1. Without them
    it keeps the shape, as every inserted layer does.
    """
    if not is_attention_row(row) or not get_layer(row.module).replaces_conv:
        return False
    *values, last = row.args or [{}]
    named = last if isinstance(last, dict) else {OUT_CHANNELS: last}
    return bool(values) or named.get(OUT_CHANNELS) is not None or named.get("stride", 1) != 1


def is_inserted(row: Row) -> bool:
    """Return whether a row is an attention layer between stock rows, not in the place of one."""
    return (is_attention_row(row) and not is_replacement(row)) or row.module == LEVEL


def has_layer(row: Row) -> bool:
    """Return whether a row is an attention row, or a stock block with a layer inside (`C3k2+EMA`)."""
    return is_attention_row(row) or bool(layers_in(row.module))


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    def parse_model(d: dict[str, Any], ch: int, verbose: bool = True) -> tuple[nn.Sequential, list[int]]:
        """Build a model YAML, with or without attention rows."""
        names = check_safe(d)
        if any(is_layer(name) and get_layer(name).replaces_conv for name in names):
            from yolo_attn.host.geometry import check_strides  # which builds models with this module

            check_strides(d)
        with _parsing():
            if not any(is_layer(name) or layers_in(name) for name in names):
                return original(d, ch, verbose)  # type: ignore[no-any-return]
            return _Build(original, d, ch).run(verbose)

    return parse_model


@contextlib.contextmanager
def _parsing() -> Iterator[None]:
    """Let one thread parse at a time, and restore the default activation of `Conv` afterwards.

    In early releases the `activation:` of a YAML would apply to all later models.
    """
    with _lock:
        before = tasks.Conv.default_act
        try:
            yield
        finally:
            tasks.Conv.default_act = before


PARSER = Binding(tasks, "parse_model", _wrap)


def check_safe(document: dict[str, Any]) -> list[str]:
    """Check the parts of a model YAML that the stock parser would evaluate or call; return the names of its modules.

    The parser calls any global of its own module that a row names, such as a function that unpickles a file or installs
    a package, and evaluates `activation` as Python. Only layers, and modules with literal arguments, are accepted.

    Raises:
        RowError: A malformed row, or a module that is not a layer of Ultralytics or the registry.
        UserError: A section has no rows, or a key that would be evaluated has an invalid value.
    """
    names = []
    for i, row in enumerate(written_rows(document)):
        if not isinstance(row, (list, tuple)) or len(row) != ROW_LENGTH or not isinstance(row[2], str):
            raise RowError(i, f"expected [from, repeats, module, args], got {row!r:.100}")
        if problem := name_problem(row[2]):
            raise RowError(i, problem)
        names.append(row[2])
    for problem in find_unsafe_keys(document):
        raise UserError(problem)
    return names


def name_problem(name: str) -> str:
    """Return the problem with a row's module name; "" if it is a layer of Ultralytics or the registry."""
    if JOINT in name:
        return block_problem(name)
    if is_layer(name) or name == LEVEL:
        return ""
    found = _host_global(name)
    if isinstance(found, type) and issubclass(found, nn.Module) and not issubclass(found, tasks.BaseModel):
        return ""
    if found is not None:
        return f"{name!r} is not a layer, so a row cannot name it; yolo-attn layers lists the attention layers"
    if name.startswith("nn."):
        meant = suggest_word(name, [f"nn.{word}" for word in vars(nn)])
        return f"unknown layer {name!r}" + (f"; did you mean {meant}?" if meant else "; such as nn.Upsample")
    return f"unknown layer {name!r}{module_hint(name)}"


def _host_global(name: str) -> Any:
    """Return the object that the stock parser finds under a row's module name, or None."""
    if name.startswith("nn."):
        return vars(nn).get(name.removeprefix("nn."))
    if name.startswith("torchvision.ops."):
        import torchvision  # as slow to import as torch

        return vars(torchvision.ops).get(name.removeprefix("torchvision.ops."))
    return vars(tasks).get(name)


class _Probe(nn.Module):
    """Row after the head that receives the parser's channel table."""

    def __init__(self, channels: Any) -> None:
        super().__init__()
        self.channels = channels


class _KeepRandomState(nn.Module):
    """Row that stores the random state before a placeholder."""

    states: list[torch.Tensor] = []  # noqa: RUF012 - shared with _RestoreRandomState, under the lock

    def __init__(self) -> None:
        super().__init__()
        self.states.append(torch.get_rng_state())


class _RestoreRandomState(nn.Module):
    """Row that restores the random state stored by the last `_KeepRandomState`."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_rng_state(_KeepRandomState.states.pop())


_HELPERS = {f"_YoloAttn{cls.__name__}": cls for cls in (_Probe, _KeepRandomState, _RestoreRandomState)}
_PROBE, _KEEP, _RESTORE = _HELPERS


@dataclass
class AttentionRow:
    """A checked row with an attention layer.

    Args:
        index: Index of the row.
        row: The row; for a layer inside a block, that of the plain block.
        spec: The layer.
        options: The layer's options by name.
    """

    index: int
    row: Row
    spec: LayerSpec
    options: dict[str, Any]


@dataclass
class BlockRow:
    """A checked row of a block with attention layers inside.

    Args:
        row: The row of the plain block.
        layers: The layers in order, by their names inside the block.
    """

    row: Row
    layers: dict[str, AttentionRow]


class _Build:
    """One run of the stock parser on a document with attention rows."""

    def __init__(self, original: Callable[..., Any], document: dict[str, Any], channels: int) -> None:
        self.original = original
        self.document = document
        self.input_channels = channels
        self.graph = ModelGraph(document)
        for problem in find_key_problems(document):
            raise UserError(problem)
        self.attention = {i: read_attention_row(i, row) for i, row in enumerate(self.graph) if is_attention_row(row)}
        self.inside = {i: read_block_row(i, row) for i, row in enumerate(self.graph) if layers_in(row.module)}
        if self.graph.head_index in self.inside:
            raise RowError(self.graph.head_index, "a layer goes inside a block before the head, not inside the head")
        self.levels = [i for i, row in enumerate(self.graph) if row.module == LEVEL]
        self._check_levels()
        self._check_dead_rows()
        self.seed = torch.get_rng_state()

    def run(self, verbose: bool) -> tuple[nn.Sequential, list[int]]:
        """Return the modules and the rows whose outputs are kept, as the stock parser does."""
        stand_in, position = self._stand_in()
        lines: list[str] = []
        parsed = self._parse(stand_in, position, lines)
        probe = parsed[-1]
        self._check_probe(probe, position)
        modules = [parsed[position[i]] for i in range(len(self.graph))]
        for i, attention in self.attention.items():
            modules[i] = self._build_layer(attention, probe.channels, position)
        for i in self.levels:
            modules[i] = self._named(Level(self.graph.rows[i].args[0]))
        for i, block in self.inside.items():
            self._fill_block(i, block, modules[i], probe.channels[position[i]])
        froms = self.graph.froms()
        for i, module in enumerate(modules):
            module.i, module.f = i, froms[i]
        if verbose:
            self._log_table(lines, modules, position)
        return nn.Sequential(*modules), self._saved_rows(froms)

    def _parse(self, stand_in: dict[str, Any], position: list[int], lines: list[str]) -> Any:
        """Run the stock parser and collect its log; its errors are raised with the row that caused them."""
        try:
            with _helpers_known_to_parser(), _captured_log(lines):
                return self.original(stand_in, self.input_channels, True)[0]
        except (OSError, UserError, UnsupportedHostError) as error:
            if not isinstance(error, URLError):
                raise
            raise RowError(self._row_at(position, _row_reached(error) or 0), _download_problem(error)) from error
        except Exception as error:
            reached = _row_reached(error)
            if reached is None:
                raise UserError(f"this model cannot be built: {_reason(error)}") from error
            i = self._row_at(position, reached)
            raise RowError(i, _build_problem(self.graph.rows[i], error)) from error

    def _row_at(self, position: list[int], reached: int) -> int:
        """Return the row that a row of the stand-in document replaces."""
        return next((i for i, p in enumerate(position) if p >= reached), self.graph.head_index)

    def _check_dead_rows(self) -> None:
        for finding in find_dead_rows(self.graph, UNREAD_BY_DESIGN):
            raise RowError(finding.row, finding.message) if finding.row is not None else UserError(finding.message)

    def _check_levels(self) -> None:
        """Check rows of `Level`, and that rows with several maps are read by such rows alone."""
        for i, row in enumerate(self.graph):
            if problem := find_level_problem(self.graph, i):
                raise problem
            if row.module == LEVEL and not self._returns_levels(row.sources[0]):
                module = self.graph.rows[row.sources[0]].module
                raise RowError(i, f"{LEVEL} reads a row that returns several maps, but {module} returns one")

    def _returns_levels(self, i: int) -> bool:
        return i in self.attention and self.attention[i].spec.can_return_levels and returns_levels(self.graph, i)

    def _stand_in(self) -> tuple[dict[str, Any], list[int]]:
        """Return a document of stock rows with the same channels, and the position of each row in it."""
        sections: dict[str, list[list[Any]]] = {"backbone": [], "head": []}
        position: list[int] = []
        emitted = 0
        for i, row in enumerate(self.graph):
            read = [level_source(self.graph, i)] if i in self.levels else row.sources
            sources = [s if s == IMAGE else position[s] for s in read]
            rows, offset = self._placeholders(i, row, sources)
            sections["backbone" if i < self.graph.backbone_length else "head"].extend(rows)
            position.append(emitted + offset)
            emitted += len(rows)
        sections["head"].append([-1, 1, _PROBE, ["ch"]])
        return {**copy.deepcopy(self.document), **sections}, position

    def _placeholders(self, i: int, row: Row, sources: list[int]) -> tuple[list[list[Any]], int]:
        """Return the stock rows that replace one row, and the position of its output among them."""
        if i in self.inside:
            row = self.inside[i].row
        if i in self.levels:
            return [[sources[0], 1, "nn.Identity", []]], 0
        if i not in self.attention:
            return [[sources if row.several else sources[0], row.repeats, row.module, copy.deepcopy(row.args)]], 0
        out = self.attention[i].options.get(OUT_CHANNELS)
        if out is None:
            return [[sources[0], 1, "nn.Identity", []]], 0  # keeps the channels of the first input
        if is_replacement(row):  # takes the random numbers of the Conv in its place: later rows have those of the base
            return [[sources[0], 1, "Conv", [out, _kernel_replaced(self.attention[i])]]], 0
        # A Conv scales its width like every stock row. Its random numbers must not change those of later rows.
        return [[-1, 1, _KEEP, []], [sources[0], 1, "Conv", [out, 1, 1]], [-1, 1, _RESTORE, []]], 1

    def _check_probe(self, probe: nn.Module, position: list[int]) -> None:
        table = getattr(probe, "channels", None)
        kinds = (int, list)  # CBLinear, which returns several maps, has a list
        if not isinstance(table, list) or len(table) <= max(position) or not all(isinstance(c, kinds) for c in table):
            raise UnsupportedHostError(f"parse_model keeps no channel table (got {table!r:.60})")

    def _build_layer(self, attention: AttentionRow, table: list[Any], position: list[int]) -> nn.Module:
        channels = [self.input_channels if s == IMAGE else table[position[s]] for s in attention.row.sources]
        for source, width in zip(attention.row.sources, channels, strict=True):
            if not isinstance(width, int):
                problem = f"{self.graph.rows[source].module} returns several maps, and {attention.spec.name} reads one"
                raise RowError(attention.index, f"row {source} {problem}")
        options = dict(attention.options)
        if OUT_CHANNELS in options:
            options[OUT_CHANNELS] = table[position[attention.index]]
        width = channels if attention.row.several else channels[0]
        if self._returns_levels(attention.index):
            return self._named(self._build(attention, attention.spec.name, width, options, every_level=True))
        layer: Any = self._build(attention, attention.spec.name, width, options)
        for attribute in HOST_ATTRIBUTES:
            if attribute in {*layer.__dict__, *layer._modules, *layer._parameters, *layer._buffers}:
                problem = f"{attention.spec.name} has an attribute {attribute!r}, which Ultralytics sets on every layer"
                raise RowError(attention.index, f"{problem}; rename it")
        return self._named(layer)

    def _named(self, layer: Any) -> nn.Module:
        """Return a layer with the attributes that the stock parser gives every module."""
        layer.np = sum(p.numel() for p in layer.parameters())
        layer.type = f"{type(layer).__module__}.{type(layer).__qualname__}"
        return layer  # type: ignore[no-any-return]

    def _fill_block(self, i: int, block: BlockRow, module: Any, channels: Any) -> None:
        """Put the layers inside a built block."""
        if not isinstance(channels, int):
            raise RowError(i, f"{block.row.module} returns several maps, and a layer inside a block reads one")

        def build(path: str, width: int) -> dict[str, nn.Module]:
            return {n: self._build(layer, f"{n} {path}", width, layer.options) for n, layer in block.layers.items()}

        put_layers(module, channels, build)
        module.np = sum(p.numel() for p in module.parameters())
        module.type = JOINT.join([module.type, *(layer.spec.name for layer in block.layers.values())])

    def _build(
        self, attention: AttentionRow, key: str, channels: Any, options: dict[str, Any], *, every_level: bool = False
    ) -> nn.Module:
        """Build one layer of a row under its own random state."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed(f"{attention.index} {key}"))
            try:
                return attention.spec.cls(channels, *([True] if every_level else []), **options)
            except (TypeError, ValueError) as error:
                raise RowError(attention.index, str(error)) from error
            except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError) as error:
                if is_out_of_memory(error):
                    raise
                raise RowError(attention.index, f"{attention.spec.name}: {one_line(error)}") from error

    def _seed(self, key: str) -> int:
        """Return a seed that depends on the random state before the build and on the layer's position."""
        digest = hashlib.sha256(self.seed.numpy().tobytes() + key.encode()).digest()
        return int.from_bytes(digest[:7], "big")

    def _saved_rows(self, froms: list[int | list[int]]) -> list[int]:
        """Return the rows that later rows than the next one read, in the form of the stock parser."""
        written = [(i, s) for i, source in enumerate(froms) for s in (source if isinstance(source, list) else [source])]
        return sorted(s % i for i, s in written if s != -1)

    def _log_table(self, lines: list[str], modules: list[nn.Module], position: list[int]) -> None:
        """Log the table of rows as the stock parser does, with attention layers instead of placeholders."""
        row_of = {str(p): i for i, p in enumerate(position)}
        froms = self.graph.froms()
        for line in lines:
            number = line[:3].strip()
            if not number.isdigit():
                tasks.LOGGER.info(line)
            elif (i := row_of.get(number)) is not None:
                tasks.LOGGER.info(self._table_line(i, froms[i], modules[i], line))

    def _table_line(self, i: int, source: int | list[int], module: nn.Module, line: str) -> str:
        if i in self.inside:
            options = "".join(f" {layer.options}" for layer in self.inside[i].layers.values() if layer.options)
            args = line[38:].split(maxsplit=1)[1].rstrip()  # after the number of parameters and the type
            return f"{i:>3}{source!s:>20}{line[23:26]}{module.np:10.0f}  {module.type:<45}{args}{options}"
        if i in self.levels:
            return f"{i:>3}{source!s:>20}{1:>3}{0:10.0f}  {module.type:<45}{self.graph.rows[i].args!s:<30}"
        if i not in self.attention:
            return f"{i:>3}{source!s:>20}{line[23:]}"
        attention = self.attention[i]
        shown = [getattr(module, "channels", ""), *([attention.options] if attention.options else [])]
        return f"{i:>3}{source!s:>20}{1:>3}{module.np:10.0f}  {module.type:<45}{shown!s:<30}"


def build_rows(document: dict[str, Any], channels: int) -> nn.Sequential:
    """Build the rows of a model YAML, with or without attention rows.

    Raises:
        RowError: A row is malformed, not read by any row, or cannot be built.
    """
    check_safe(document)
    with _parsing():
        return _Build(PARSER.original or tasks.parse_model, document, channels).run(verbose=False)[0]


def build_problem(error: BaseException) -> str | None:
    """Return a message for an error that the stock parser raised for a model without attention layers.

    Args:
        error: The error.

    Returns:
        "row 5: ..."; None for an error that the parser did not raise.
    """
    reached, document = _row_reached(error), _document_parsed(error)
    if document is None:
        return None
    if reached is None:
        return next(find_key_problems(document), f"this model cannot be built: {_reason(error)}")
    if isinstance(error, URLError):
        return f"row {reached}: {_download_problem(error)}"
    rows = [*document.get("backbone", ()), *document.get("head", ())]
    try:
        return f"row {reached}: {_build_problem(check_row(reached, rows[reached]), error)}"
    except (IndexError, RowError):
        return None


def _document_parsed(error: BaseException) -> dict[str, Any] | None:
    """Return the model YAML that the stock parser was parsing; None if the error has another origin."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name == "parse_model"]
    found = next((frame.f_locals.get("d") for frame in frames), None)
    return found if isinstance(found, dict) else None


def _download_problem(error: URLError) -> str:
    reason = str(error.reason) or type(error).__name__
    return f"weights could not be downloaded ({reason}); write null instead of their name to build without them"


def _build_problem(row: Row, error: BaseException) -> str:
    """Return a message for the parser's error in a stock row."""
    if row.several and isinstance(error, TypeError) and "indices must be integers" in str(error):
        if len(row.sources) == 1:
            return f"{row.module} reads one row; write its number without brackets, such as -1"
        return f"{row.module} reads one row, not {len(row.sources)}; join them in a row of Concat before it"
    reason = _reason(error)
    if isinstance(error, SyntaxError):
        reason = "one of the strings is not a value that Ultralytics' parser can read"
    return f"{row.module} cannot be built with {as_yaml(row.args)}: {reason}"


def _reason(error: BaseException) -> str:
    """Return the first line of an error that is not empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _row_reached(error: BaseException) -> int | None:
    """Return the row that the stock parser was parsing, from its loop variable; None before the first row."""
    reached, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "parse_model" and isinstance(at := trace.tb_frame.f_locals.get("i"), int):
            reached = at
        trace = trace.tb_next
    return reached


def read_attention_row(index: int, row: Row) -> AttentionRow:
    """Check an attention row: its options, number of inputs and repeats."""
    spec = get_layer(row.module)
    try:
        if row.repeats != 1:
            raise UserError(f"{row.module} cannot be repeated; write 1, and one row for each repetition")
        options = _read_options(spec, row)
        out = options.get(OUT_CHANNELS)
        if out is not None and not is_positive_integer(out):  # before it is scaled by the width
            raise UserError(f"{spec.name}: {OUT_CHANNELS}={as_yaml(out)}; use a positive integer")
        if not row.several and (spec.inputs > 1 or spec.more_inputs):
            rows = ", ".join(["-1", "N", "M"][: max(spec.inputs, 2)])
            raise UserError(f"{row.module} reads several rows; write their numbers as a list, as in [{rows}]")
        if row.several and len(row.sources) > spec.inputs == 1 and not spec.more_inputs:
            fix = "join them in a row of Concat before it"
            raise UserError(f"{row.module} reads 1 input, not {len(row.sources)}; {fix}")
        if not spec.can_return_levels:  # whose number of inputs depends on the rows that read it
            check_inputs(spec, len(row.sources))
        if row.several and spec.inputs == 1 and not spec.more_inputs:
            row.several = False  # [-1] and -1 are equivalent
    except UserError as error:
        raise RowError(index, str(error)) from error
    return AttentionRow(index, row, spec, options)


def read_block_row(index: int, row: Row) -> BlockRow:
    """Check a row of a block with layers inside; the returned row is that of the plain block."""
    if problem := block_problem(row.module):
        raise RowError(index, problem)
    try:
        args, options = split_args(row.module, row.args)
        plain = replace(row, module=block_of(row.module), args=args)
        layers = [
            AttentionRow(index, plain, spec, _read_inside(row.module, spec, given))
            for spec, given in zip(map(get_layer, layers_in(row.module)), options, strict=True)
        ]
    except UserError as error:
        raise RowError(index, str(error)) from error
    return BlockRow(plain, dict(zip(names_inside(row.module), layers, strict=True)))


def _read_inside(module: str, spec: LayerSpec, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a layer inside a block, which keeps the shape for the next one and the addition."""
    options = spec.read_options(given)
    for name in _shape_options(spec, options):
        problem = f"a layer inside a block keeps the shape of the map, so {spec.name} takes no {name}"
        raise UserError(f"{module!r}: {problem}")
    return options


def _shape_options(spec: LayerSpec, options: Mapping[str, Any]) -> list[str]:
    """Return the given options of a layer that change the shape of the map."""
    wide = options.get(OUT_CHANNELS) is not None
    return [OUT_CHANNELS] * wide + ["stride"] * (spec.replaces_conv and options.get("stride", 1) != 1)


def _read_options(spec: LayerSpec, row: Row) -> dict[str, Any]:
    """Return the options of an attention row, whose arguments are one mapping or empty.

    Those of a layer that replaces `Conv` may begin with width, kernel size and stride, as the arguments of `Conv` do.
    """
    if not row.args:
        return {}
    if spec.replaces_conv:
        return _read_conv_options(spec, row)
    if len(row.args) != 1 or not isinstance(row.args[0], dict):
        raise UserError(
            f"{row.module} takes its options by name, in one mapping, and no channels (they are inferred): "
            f"write {_right_args(spec, row.args)}, not {as_yaml(row.args)}"
        )
    return spec.read_options(row.args[0])


def _read_conv_options(spec: LayerSpec, row: Row) -> dict[str, Any]:
    """Return the options of a row such as [256, {kernel_size: 3, stride: 2}], [256, 3, 2] or [256, 3, 2, {bias: true}].

    In `[256, 3, 2, {kernel_size: 5}]` the layer has another kernel size than the `Conv` in whose place it is.
    """
    named = row.args[-1] if isinstance(row.args[-1], dict) else {}
    values = row.args[: len(row.args) - bool(named)]
    if len(values) > len(CONV_ARGS) or not all(map(is_positive_integer, values)):
        raise UserError(
            f"{row.module} takes {', '.join(CONV_ARGS)} like Conv, then its other options by name in one mapping: "
            f"write [256, {{kernel_size: 3, stride: 2}}], not {as_yaml(row.args)}"
        )
    given = dict(zip(CONV_ARGS, values, strict=False))
    for name in (given.keys() & named.keys()) - {"kernel_size"}:
        raise UserError(f"{row.module} has {name} twice in {as_yaml(row.args)}; write it once")
    return spec.read_options({**given, **named})


def _kernel_replaced(attention: AttentionRow) -> int:
    """Return the kernel size of the `Conv` in whose place a layer is: the one by position, or else the layer's own."""
    by_position = [value for value in attention.row.args if not isinstance(value, dict)][1:2]
    kernel = next(iter(by_position), attention.options.get("kernel_size", 3))
    return kernel if is_positive_integer(kernel) else 1


def _right_args(spec: LayerSpec, given: list[Any]) -> str:
    """Return the options to write instead of positional arguments: a single value by each possible name, or an example.

    Channels, which forks and tutorials write first, are dropped.
    """
    named = {name: value for part in given if isinstance(part, dict) for name, value in part.items()}
    values = [part for part in given if not isinstance(part, dict) and not is_width(part)]
    choices = [{name: values[0]} for name in spec.options if _takes(spec, name, values[0])] if len(values) == 1 else []
    if values and not choices:
        choices = [{name: value} for name, value in spec.options.items() if name != "init"][:1]
    written = [{**choice, **named} for choice in choices or [{}]]
    return " or ".join(as_yaml([options] if options else []) for options in written)


def _takes(spec: LayerSpec, name: str, value: Any) -> bool:
    """Return whether an option accepts a value and has a default of the same type."""
    return type(value) is type(spec.options[name]) and builds(spec, {name: value})


@contextlib.contextmanager
def _helpers_known_to_parser() -> Iterator[None]:
    """Make the helper rows visible to the parser by name."""
    vars(tasks).update(_HELPERS)
    try:
        yield
    finally:
        for name in _HELPERS:
            vars(tasks).pop(name, None)
        _KeepRandomState.states.clear()


@contextlib.contextmanager
def _captured_log(lines: list[str]) -> Iterator[None]:
    """Collect the parser's log messages of this thread instead of showing them."""
    this_thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != this_thread:
            return True
        if record.levelno == logging.INFO:
            lines.append(record.getMessage())
            return False
        return True

    tasks.LOGGER.addFilter(collect)
    try:
        yield
    finally:
        tasks.LOGGER.removeFilter(collect)
