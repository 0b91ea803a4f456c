"""Load pretrained weights into a variant: every base tensor is copied into its own layer.

Ultralytics matches tensors by key, and a key contains the row's index. An inserted row therefore shifts every index
after it. Here the source's rows are re-indexed like the target's before the stock `load()` runs, so its own rules
(intersecting shapes, another number of classes, class names) apply to the right pairs.

Where the stock rows of the two models differ (a P2 or P6 model from a plain one), a variant gets at least as many
tensors as the stock `load()` would load into its base: rows of the same number, as far as their tensors fit, and rows
of other numbers that fit completely; see `yolo_attn.graph.align`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.graph import IMAGE, ModelGraph, Row, align, block_of
from yolo_attn.graph.align import Fit, Overlap
from yolo_attn.host.binding import Binding
from yolo_attn.host.blocks import is_inside, names_inside
from yolo_attn.host.geometry import build_on_meta
from yolo_attn.host.model_kind import task_of
from yolo_attn.host.parser import has_layer, is_attention_row, is_inserted, is_replacement
from yolo_attn.registry import get_layer, is_layer

__all__ = [
    "IDENTITY",
    "INHERITED",
    "TRANSFER",
    "TransferReport",
    "align_every_model",
    "align_rows",
    "count_transferable",
    "forget_transfer",
    "is_inserted_row",
    "last_transfer",
]


INHERITED = "YOLO_ATTN_TRANSFER"
"""The environment variable with the report on a model that another process has built for this one's training."""
IDENTITY = "nn.Identity"
"""A row that a control inserts. YOLOv9e begins with one, which passes the image on to its second backbone."""
_MODELS = ("model", "ema")  # the keys of a checkpoint's models


@dataclass(frozen=True)
class TransferReport:
    """The number of tensors that a transfer copied.

    Args:
        base: Tensors of the target's stock rows.
        arrived: Base tensors that equal those of their own layer in the source.
        attention: Tensors of attention layers, in their own rows and inside blocks.
        attention_arrived: Attention tensors that equal those of the source.
        new: The rows whose layers keep their initial weights, such as "row 5 CBAM" or "row 8 C3k2+EMA".
        keys: The keys of the tensors that arrived.
    """

    base: int
    arrived: int
    attention: int
    attention_arrived: int
    new: tuple[str, ...]
    keys: frozenset[str] = field(default=frozenset(), repr=False)

    def __str__(self) -> str:
        text = f"{self.arrived}/{self.base} base tensors arrived in their own layers"
        if self.attention:
            text += f", {self.attention_arrived}/{self.attention} attention tensors"
        return text + (f"; new: {', '.join(self.new)}" if self.new else "")


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    def load(self: Any, weights: Any, verbose: bool = True) -> Any:
        """Load weights from a base, a variant or any other model."""
        if verbose:
            _log_tasks(self, weights)
        graphs = _graphs(self, weights)
        if graphs is None:
            return original(self, weights, verbose)
        target, mapping = graphs[0], align_rows(*graphs)
        if isinstance(weights, dict):
            views: Any = {k: _reindexed(v, mapping, len(target)) for k, v in weights.items() if k in _MODELS and v}
            source = views.get("ema") or views["model"]
        else:
            views = source = _reindexed(weights, mapping, len(target))
        result = original(self, views, verbose)
        report = _report(self, source, graphs, mapping, _reports.get(_source(weights)))
        _reports[self] = report
        if verbose:
            tasks.LOGGER.info(f"yolo-attn: {report}")
        return result

    return load


def is_inserted_row(row: Row) -> bool:
    """Return whether a row was inserted between the rows of a base: an attention row or an identity.

    A layer in the place of a stock row was not inserted, nor was an identity that reads the image.
    """
    return is_inserted(row) or (row.module == IDENTITY and IMAGE not in row.sources)


def align_rows(target: ModelGraph, source: ModelGraph) -> dict[int, int]:
    """Map row indices of one model to the rows of another that are the same layer.

    Weight transfer, the null control and the count of shared tensors all use this mapping.

    Args:
        target: The model that receives weights.
        source: The model that provides them.
    """
    fit, overlap = _fit(target, source)
    return align(_by_name(target), _by_name(source), is_inserted_row, fit, is_replacement, overlap=overlap)


def _by_name(graph: ModelGraph) -> ModelGraph:
    """Return a model whose rows have the names of their layers instead of aliases."""
    named = copy.copy(graph)
    named.rows = [replace(row, module=_name_of(row.module)) for row in graph.rows]
    return named


def _name_of(module: str) -> str:
    return get_layer(module).name if is_layer(module) else module


def count_transferable(document: dict[str, Any], base: dict[str, Any]) -> tuple[int, int]:
    """Return the number of a base's tensors that transfer into their own layers of a model, and of all its tensors.

    Args:
        document: The model's YAML as a mapping.
        base: The base's.
    """
    modules, own = build_on_meta(base), build_on_meta(document).state_dict()
    arriving = sum(
        f"{row}.{key}" in own and own[f"{row}.{key}"].shape == tensor.shape
        for row, source in align_rows(ModelGraph(document), ModelGraph(base)).items()
        for key, tensor in modules[source].state_dict().items()
    )
    return arriving, len(modules.state_dict())


@contextlib.contextmanager
def align_every_model() -> Iterator[None]:
    """Align models without attention rows as well.

    Outside this context their tensors are matched by row number, as in stock Ultralytics. In a comparison, a base whose
    rows differ from those of the weights needs the same initial weights as its variants.
    """
    global _align_all  # noqa: PLW0603 (the stock `load` has no argument for it)
    before, _align_all = _align_all, True
    try:
        yield
    finally:
        _align_all = before


_align_all = False

TRANSFER = Binding(tasks.BaseModel, "load", _wrap)

# Kept outside the models, because a checkpoint may contain only stock classes and attention layers.
_reports: WeakKeyDictionary[nn.Module, TransferReport] = WeakKeyDictionary()


def last_transfer(model: nn.Module) -> TransferReport | None:
    """Return the report of the last `load` into a model; None if there was none, or no attention row.

    A trainer copies the model of `YOLO("yolo11n-cbam.yaml").load("yolo11n.pt")`. The report on the copy counts the
    tensors that arrived from the checkpoint, because initial weights that are copied remain initial weights.
    """
    return _reports.get(model)


def forget_transfer(model: nn.Module) -> None:
    """Forget the report on a model whose tensors will change."""
    _reports.pop(model, None)


def _log_tasks(target: nn.Module, weights: Any) -> None:
    """Log both tasks when the weights come from a model of another task; Ultralytics loads the tensors that fit."""
    source, own = getattr(_source(weights), "yaml", None), getattr(target, "yaml", None)
    if isinstance(source, dict) and isinstance(own, dict) and task_of(source) != task_of(own):
        tasks.LOGGER.info(
            f"yolo-attn: weights of a {task_of(source)} model for a {task_of(own)} model: tensors that fit are loaded"
        )


def _source(weights: Any) -> Any:
    return (weights.get("ema") or weights.get("model")) if isinstance(weights, dict) else weights


def _graphs(target: nn.Module, weights: Any) -> tuple[ModelGraph, ModelGraph] | None:
    """Return the rows of both models, or None when neither has attention rows and the stock matching is right."""
    own, given = _graph_of(target), _graph_of(_source(weights))
    if own is None or given is None:
        return None
    inserted = any(has_layer(row) or is_inserted_row(row) for graph in (own, given) for row in graph)
    return (own, given) if inserted or _align_all else None


def _graph_of(model: Any) -> ModelGraph | None:
    """Return the rows of a model, or None when it has no YAML that fits its modules."""
    document, modules = getattr(model, "yaml", None), getattr(model, "model", None)
    if not isinstance(document, dict) or not isinstance(modules, nn.Sequential):
        return None
    try:
        graph = ModelGraph(document)
    except UserError:
        return None
    return graph if len(graph) == len(modules) else None


@dataclass(frozen=True)
class _Tensors:
    """The tensors of a row that identify its layer.

    Args:
        shapes: Their shapes by name, without scalars, which fit everywhere.
        strides: The strides of its convolutions by name, which no shape shows.
    """

    shapes: dict[str, torch.Size]
    strides: dict[str, tuple[int, ...]]


def _fit(target: ModelGraph, source: ModelGraph) -> tuple[Fit, Overlap]:
    """Return functions that count the tensors of a source row that fit a target row, and those that they share.

    The rows are built on the meta device on the first call.
    """

    @functools.cache
    def tensors() -> tuple[list[_Tensors], list[_Tensors]] | None:
        try:
            return _row_tensors(target), _row_tensors(source)
        except (UserError, OSError):  # a checkpoint of rows that this release cannot build
            return None

    def fit(row: int, given: int) -> int | None:
        one, other = target.rows[row], source.rows[given]
        same, heads = block_of(one.module) == block_of(other.module), row == target.head_index
        if heads != (given == source.head_index) or (heads and len(one.sources) != len(other.sources)):
            return None
        known = tensors()
        if not (same or heads) or known is None:
            return 1 if same else None
        own, offered = known[0][row], known[1][given]
        if same:
            return len(own.shapes) if own == offered else None
        # Heads of two tasks share many tensors of the same names; any other row has to fit completely.
        names = own.shapes.keys() & offered.shapes.keys()
        return len(names) if all(own.shapes[name] == offered.shapes[name] for name in names) else None

    def overlap(row: int, given: int) -> int:
        known = tensors()
        return len(known[0][row].shapes.items() & known[1][given].shapes.items()) if known else 0

    return fit, overlap


def _row_tensors(graph: ModelGraph) -> list[_Tensors]:
    """Return the tensors of each row without layers inside, for a fixed number of classes and channels."""
    modules = build_on_meta({**graph.to_document(), "nc": 1, "channels": 3})
    return [_tensors_of(module, row) for row, module in zip(graph, modules, strict=True)]


def _tensors_of(module: nn.Module, row: Row) -> _Tensors:
    convolutions = {name: part for name, part in module.named_modules() if isinstance(part, _ConvNd)}
    return _Tensors(
        shapes={
            name: tensor.shape
            for name, tensor in module.state_dict().items()
            if tensor.ndim and not is_inside(f".{name}", row)
        },
        strides={name: part.stride for name, part in convolutions.items() if not is_inside(f".{name}", row)},
    )


def _reindexed(source: nn.Module, mapping: dict[int, int], length: int) -> nn.Module:
    """Return a view of the source with its rows at the indices of the target's; it shares the source's tensors."""
    source.float()
    view = copy.copy(source)
    view.__dict__ = {**source.__dict__, "_modules": dict(source._modules)}
    rows: Any = source.model
    view.model = nn.Sequential(*(rows[mapping[i]] if i in mapping else nn.Identity() for i in range(length)))
    return view


def _report(
    target: nn.Module,
    source: nn.Module,
    graphs: tuple[ModelGraph, ModelGraph],
    mapping: dict[int, int],
    earlier: TransferReport | None,
) -> TransferReport:
    """Count the tensors that now equal the source's in the row they belong to.

    Args:
        target: The model with the loaded tensors.
        source: The view of the source with the target's row numbers.
        graphs: The rows of the target and the source.
        mapping: The source's row of each target row.
        earlier: The report on the source itself, whose initial weights did not arrive from anywhere.
    """
    own, offered = target.state_dict(), source.state_dict()
    totals = {True: 0, False: 0}  # by whether it is an attention tensor
    arrived: dict[bool, set[str]] = {True: set(), False: set()}
    for key, tensor in own.items():
        if not key.startswith("model."):
            continue
        index = int(key.split(".")[1])
        row = graphs[0].rows[index]
        kind = is_attention_row(row) or is_inside(key, row)
        totals[kind] += 1
        if key in offered and torch.equal(offered[key].to(tensor.device), tensor):
            given = key.replace(f"model.{index}.", f"model.{mapping[index]}.", 1)
            if earlier is None or given in earlier.keys:
                arrived[kind].add(key)
    new = [i for i in range(len(graphs[0])) if _is_new(i, graphs, mapping, earlier)]
    return TransferReport(
        base=totals[False],
        arrived=len(arrived[False]),
        attention=totals[True],
        attention_arrived=len(arrived[True]),
        new=tuple(_row_name(i, graphs[0]) for i in new),
        keys=frozenset(arrived[True] | arrived[False]),
    )


def _row_name(index: int, graph: ModelGraph) -> str:
    return f"row {index} {graph.rows[index].module}"


def _is_new(
    index: int, graphs: tuple[ModelGraph, ModelGraph], mapping: dict[int, int], earlier: TransferReport | None
) -> bool:
    """Return whether a row of the target has an attention layer that its counterpart in the source does not have.

    A layer that was new in the source still is.
    """
    row = graphs[0].rows[index]
    if earlier and index in mapping and _row_name(mapping[index], graphs[1]) in earlier.new:
        return True
    if is_attention_row(row) or index not in mapping:
        return has_layer(row) and index not in mapping
    return names_inside(row.module) not in ([], names_inside(graphs[1].rows[mapping[index]].module))
