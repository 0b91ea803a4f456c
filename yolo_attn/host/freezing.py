"""`freeze=10` in a variant: indices keep meaning the base's rows, and attention layers stay trainable.

Ultralytics freezes by row number, and rows put in move the numbers. While it sets up a training, the numbers are
translated; the run's arguments keep what the user wrote, so that a resumed run means the same. Rows of ours are not
counted and not frozen: they are new, and have to be trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from torch import nn
from ultralytics.engine import trainer
from ultralytics.utils import LOGGER, RANK

from yolo_attn.graph import ModelGraph
from yolo_attn.host.binding import Binding
from yolo_attn.host.transfer import is_inserted_row
from yolo_attn.registry import list_layers

__all__ = ["FREEZING"]


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    def _setup_train(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Set up a training, with `freeze` translated between the building of the model and the freezing."""
        stated, set_up_model = self.args.freeze, self.setup_model
        alone: list[nn.Parameter] = []

        def setup_model() -> Any:
            checkpoint = set_up_model()
            self.args.freeze = _translate(stated, self.model, alone)
            return checkpoint

        self.setup_model = setup_model
        try:
            result = original(self, *args, **kwargs)
        finally:
            del self.setup_model
            self.args.freeze = stated
        for parameter in alone:
            parameter.requires_grad_(False)
        return result

    return _setup_train


FREEZING = Binding(trainer.BaseTrainer, "_setup_train", _wrap)


def _translate(stated: Any, model: Any, alone: list[nn.Parameter]) -> Any:
    """Return what `freeze` has to say for this model to mean the base's rows.

    Args:
        stated: What the user wrote: a number of rows, or a list of row numbers and of names such as "23.cv2".
        model: The model.
        alone: Takes the parameters that no entry can name without naming a layer of ours too.
    """
    stock = _stock_rows(model)
    if not stock or not stated or not isinstance(stated, (int, list)):
        return stated
    wanted = [str(e) for e in (range(min(stated, len(stock))) if isinstance(stated, int) else stated)]
    known = [e for e in wanted if e.partition(".")[0].isdigit() and int(e.partition(".")[0]) < len(stock)]
    entries: list[Any] = [e for e in wanted if e not in known]
    numbers = [int(e.partition(".")[0]) for e in known]
    for entry, number in zip(known, numbers, strict=True):
        inner = entry.partition(".")[2]
        path = f"{stock[number]}.{inner}".removesuffix(".")
        named = dict(model.model.named_modules()).get(path)
        entries += _paths(named, path, alone) if named is not None else [path]  # a name that is none freezes nothing
    if known and RANK in (-1, 0):
        LOGGER.info(
            f"yolo-attn: freeze={stated} means the base's rows {_ranges(numbers)}, here rows "
            f"{_ranges([stock[n] for n in numbers])}; attention layers stay trainable"
        )
    return entries


def _stock_rows(model: Any) -> list[int]:
    """Return the indices of the base's rows in a variant; nothing for a model that is no variant."""
    document, modules = getattr(model, "yaml", None), getattr(model, "model", None)
    if not isinstance(document, dict) or not isinstance(modules, nn.Sequential):
        return []
    graph = ModelGraph(document)
    stock = [i for i, row in enumerate(graph) if not is_inserted_row(row)]
    return stock if len(stock) < len(graph) or _has_ours(modules) else []


def _has_ours(module: nn.Module) -> bool:
    ours = {spec.cls for spec in list_layers()}
    return any(type(part) in ours for part in module.modules())


def _paths(module: nn.Module, path: str, alone: list[nn.Parameter]) -> Iterator[str]:
    """Yield the paths that stand for a module without the layers of ours in it."""
    if not _has_ours(module):
        yield path
    elif not any(type(module) is spec.cls for spec in list_layers()):
        alone.extend(module.parameters(recurse=False))
        for name, child in module.named_children():
            yield from _paths(child, f"{path}.{name}", alone)


def _ranges(numbers: list[int]) -> str:
    """Return numbers as "0-4, 6"."""
    runs = groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0])
    ends = [(run[0][1], run[-1][1]) for run in (list(group) for _, group in runs)]
    return ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in ends)
