"""Pretrained weights into a variant: every base tensor arrives, in its own layer.

Ultralytics matches tensors by key, and a key holds the row's index; a row put in moves every index behind it. Here the
source is shown to the stock `load()` with its rows re-indexed like the target's, so that its own rules (intersecting
shapes, another number of classes, class names) apply to the right pairs.

Where the stock rows of the two models differ (a P2 or P6 model from a plain one), a variant gets all rows that the
stock `load()` would bring into its base, and beyond them those that fit as a whole; see `yolo_attn.graph.align`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.graph import ModelGraph, Row, align, block_of
from yolo_attn.graph.align import Fit
from yolo_attn.host.binding import Binding
from yolo_attn.host.blocks import is_inside, layer_inside
from yolo_attn.host.geometry import build_on_meta
from yolo_attn.host.model_kind import task_of
from yolo_attn.host.parser import has_layer, is_our_row

__all__ = [
    "IDENTITY",
    "TRANSFER",
    "TransferReport",
    "align_every_model",
    "align_rows",
    "is_inserted_row",
    "last_transfer",
]


IDENTITY = "nn.Identity"  # no stock model has such a row: it was put in, as a control does
_MODELS = ("model", "ema")  # where a checkpoint holds its models


@dataclass(frozen=True)
class TransferReport:
    """What a transfer brought.

    Args:
        base: Tensors of the target's stock rows.
        arrived: How many of them came from their own layer in the source.
        ours: Tensors of our layers, rows of their own and inside blocks.
        ours_arrived: How many of those came from the source.
        new: The rows whose layers start fresh, such as "row 5 CBAM" or "row 8 C3k2+EMA".
    """

    base: int
    arrived: int
    ours: int
    ours_arrived: int
    new: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.arrived}/{self.base} base tensors arrived in their own layers"
        if self.ours:
            text += f", {self.ours_arrived}/{self.ours} attention tensors"
        return text + (f"; new: {', '.join(self.new)}" if self.new else "")


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    def load(self: Any, weights: Any, verbose: bool = True) -> Any:
        """Load weights from a base, a variant or any other model of the same rows."""
        if verbose:
            _say_tasks(self, weights)
        graphs = _graphs(self, weights)
        if graphs is None:
            return original(self, weights, verbose)
        target, mapping = graphs[0], align_rows(*graphs)
        if isinstance(weights, dict):
            shown: Any = {k: _reindexed(v, mapping, len(target)) for k, v in weights.items() if k in _MODELS and v}
            given = shown.get("ema") or shown["model"]
        else:
            shown = given = _reindexed(weights, mapping, len(target))
        result = original(self, shown, verbose)
        report = _report(self, given, graphs, mapping)
        _reports[self] = report
        if verbose:
            tasks.LOGGER.info(f"yolo-attn: {report}")
        return result

    return load


def is_inserted_row(row: Row) -> bool:
    """Whether a row stands between the rows of a base: a layer of ours, or an identity."""
    return is_our_row(row) or row.module == IDENTITY


def align_rows(target: ModelGraph, source: ModelGraph) -> dict[int, int]:
    """Map row indices of one model to the rows of another that are the same layer, as `load` brings weights over.

    Args:
        target: The model that receives.
        source: The model that gives.
    """
    return align(target, source, is_inserted_row, _fit(target, source))


@contextlib.contextmanager
def align_every_model() -> Iterator[None]:
    """Let models without rows of ours be aligned as well, for as long as this lasts.

    Outside of it they take the stock way, by row number. In a comparison a base whose rows are not those of the weights
    has to start like its variants.
    """
    global _align_all  # noqa: PLW0603 (the stock `load` has no argument for it)
    before, _align_all = _align_all, True
    try:
        yield
    finally:
        _align_all = before


_align_all = False

TRANSFER = Binding(tasks.BaseModel, "load", _wrap)

# Kept beside the models, not on them: a checkpoint is to hold stock classes and our layers, nothing else.
_reports: WeakKeyDictionary[nn.Module, TransferReport] = WeakKeyDictionary()


def last_transfer(model: nn.Module) -> TransferReport | None:
    """Return what the last `load` brought into a model; None when there was none, or no row of ours."""
    return _reports.get(model)


def _say_tasks(target: nn.Module, weights: Any) -> None:
    """Name both tasks when weights come from a model of another one; what fits is taken, as Ultralytics does."""
    given, wanted = getattr(_source(weights), "yaml", None), getattr(target, "yaml", None)
    if isinstance(given, dict) and isinstance(wanted, dict) and task_of(given) != task_of(wanted):
        tasks.LOGGER.info(
            f"yolo-attn: weights of a {task_of(given)} model for a {task_of(wanted)} model: what fits is taken"
        )


def _source(weights: Any) -> Any:
    return (weights.get("ema") or weights.get("model")) if isinstance(weights, dict) else weights


def _graphs(target: nn.Module, weights: Any) -> tuple[ModelGraph, ModelGraph] | None:
    """Return the rows of both models, or None when neither has rows of ours and the stock way is right."""
    own, given = _graph_of(target), _graph_of(_source(weights))
    if own is None or given is None:
        return None
    ours = any(has_layer(row) or is_inserted_row(row) for graph in (own, given) for row in graph)
    return (own, given) if ours or _align_all else None


def _graph_of(model: Any) -> ModelGraph | None:
    """Return the rows of a model, or None when it does not carry a YAML that fits its modules."""
    document, modules = getattr(model, "yaml", None), getattr(model, "model", None)
    if not isinstance(document, dict) or not isinstance(modules, nn.Sequential):
        return None
    try:
        graph = ModelGraph(document)
    except UserError:
        return None
    return graph if len(graph) == len(modules) else None


def _fit(target: ModelGraph, source: ModelGraph) -> Fit:
    """Return what tells how well the rows of two models fit; they are built, without memory, once it is asked."""

    @functools.cache
    def shapes() -> tuple[list[dict[str, torch.Size]], list[dict[str, torch.Size]]] | None:
        try:
            return _row_shapes(target), _row_shapes(source)
        except (UserError, OSError):  # a checkpoint of rows that this release cannot build
            return None

    def fit(row: int, given: int) -> int | None:
        one, other = target.rows[row], source.rows[given]
        same, heads = block_of(one.module) == block_of(other.module), row == target.head_index
        if heads != (given == source.head_index) or (heads and len(one.sources) != len(other.sources)):
            return None
        known = shapes()
        if not (same or heads) or known is None:
            return 1 if same else None
        own, offered = known[0][row], known[1][given]
        # Heads of two tasks have much in common, under the same names; in all else nothing may be missing.
        wanted = own.keys() | offered.keys() if same else own.keys() & offered.keys()
        return len(wanted) if all(own.get(key) == offered.get(key) for key in wanted) else None

    return fit


def _row_shapes(graph: ModelGraph) -> list[dict[str, torch.Size]]:
    """Return the shape of each tensor of each row, our layers' left out, for a fixed number of classes and channels."""
    document = {**graph.to_document(), "nc": 1, "channels": 3}
    return [
        {key: tensor.shape for key, tensor in module.state_dict().items() if not is_inside(f".{key}", row)}
        for row, module in zip(graph, build_on_meta(document), strict=True)
    ]


def _reindexed(source: nn.Module, mapping: dict[int, int], length: int) -> nn.Module:
    """Return a view of the source whose rows stand where the target has them; its tensors are shared, not copied."""
    source.float()
    view = copy.copy(source)
    view.__dict__ = {**source.__dict__, "_modules": dict(source._modules)}
    rows: Any = source.model
    view.model = nn.Sequential(*(rows[mapping[i]] if i in mapping else nn.Identity() for i in range(length)))
    return view


def _report(
    target: nn.Module, given: nn.Module, graphs: tuple[ModelGraph, ModelGraph], mapping: dict[int, int]
) -> TransferReport:
    """Count what arrived: tensors that now equal the source's, in the row they belong to."""
    own, offered = target.state_dict(), given.state_dict()
    totals = {True: [0, 0], False: [0, 0]}  # ours or not: tensors, arrived
    for key, tensor in own.items():
        if not key.startswith("model."):
            continue
        row = graphs[0].rows[int(key.split(".")[1])]
        count = totals[is_our_row(row) or is_inside(key, row)]
        count[0] += 1
        count[1] += key in offered and torch.equal(offered[key].to(tensor.device), tensor)
    new = [f"row {i} {row.module}" for i, row in enumerate(graphs[0]) if _is_fresh(i, graphs, mapping)]
    return TransferReport(totals[False][0], totals[False][1], totals[True][0], totals[True][1], tuple(new))


def _is_fresh(index: int, graphs: tuple[ModelGraph, ModelGraph], mapping: dict[int, int]) -> bool:
    """Whether a row of the target has a layer of ours that its counterpart in the source has not."""
    row = graphs[0].rows[index]
    if is_our_row(row) or index not in mapping:
        return has_layer(row) and index not in mapping
    return layer_inside(row) not in ("", layer_inside(graphs[1].rows[mapping[index]]))
