"""Freezing of a variant's rows by the row numbers of its base: `freeze=10`.

Ultralytics freezes by row number, and inserted rows shift the numbers. The numbers are translated during the setup of a
training run. The run's arguments keep the original value, so a resumed run has the same meaning. Attention rows are not
counted and stay trainable. In a study the identities of the null control are not counted either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from torch import nn
from ultralytics.engine import trainer
from ultralytics.utils import LOGGER, RANK

from yolo_attn.errors import UserError
from yolo_attn.graph import ModelGraph, Row
from yolo_attn.host.binding import Binding
from yolo_attn.host.parser import is_inserted
from yolo_attn.host.transfer import is_inserted_row
from yolo_attn.registry import list_layers

__all__ = ["FREEZING", "read_freeze"]


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    def _setup_train(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Set up a training run, with `freeze` translated after the model is built and before rows are frozen."""
        stated, set_up_model = self.args.freeze, self.setup_model
        alone: list[nn.Parameter] = []
        norms: list[str] = []

        def setup_model() -> Any:
            checkpoint = set_up_model()
            model = getattr(self.model, "student_model", self.model)  # a resumed distillation
            not_counted = is_inserted_row if getattr(self, "trains_controls", False) else is_inserted
            self.args.freeze = translated = _translate(stated, model, alone, not_counted)
            if translated is not stated:
                norms.extend(_norms(translated, model))
            return checkpoint

        self.setup_model = setup_model
        try:
            result = original(self, *args, **kwargs)
        finally:
            del self.setup_model
            self.args.freeze = stated
        for parameter in alone:
            parameter.requires_grad_(False)
        if hasattr(self, "freeze_layer_names"):  # early releases train all batch norms
            self.freeze_layer_names = [*self.freeze_layer_names, *norms]
        return result

    return _setup_train


FREEZING = Binding(trainer.BaseTrainer, "_setup_train", _wrap)


def _translate(
    stated: Any, model: Any, alone: list[nn.Parameter], not_counted: Callable[[Row], bool] = is_inserted
) -> Any:
    """Return the value of `freeze` for a model that selects the rows of its base.

    Args:
        stated: The value for the base: a number of rows, or a list of row numbers and names such as "23.cv2".
        model: The model.
        alone: Collects the parameters that no entry can name without naming an attention layer too.
        not_counted: Whether a row is not one of the base.
    """
    stock = _stock_rows(model, not_counted)
    if not stock or not stated:
        return stated
    wanted = [str(e) for e in (range(min(stated, len(stock))) if isinstance(stated, int) else _entries(stated))]
    modules = {**dict(model.model.named_modules()), **dict(model.model.named_parameters())}
    entries: list[str] = []
    here: dict[str, str] = {}  # names in the base and in this model
    for entry in wanted:
        number, dot, inner = entry.partition(".")
        row = stock[int(number)] if number.isdigit() and int(number) < len(stock) else None
        path = f"{row}{dot}{inner}"
        if row is None or path not in modules or (inner and _is_attention(model.model[row])):
            continue  # a part of a layer in the place of the base's row is not the base's part of that name
        here[entry] = path
        entries += _paths(modules[path], path, alone)
    if RANK in (-1, 0):
        _log(stated, here, [entry for entry in wanted if entry not in here])
    return entries


def _norms(entries: Iterable[str], model: Any) -> list[str]:
    """Return the names of the batch norms among frozen modules.

    Ultralytics sets the batch norms below a frozen name to evaluation, but not one of that name.
    """
    modules = dict(model.model.named_modules())
    return [f"model.{entry}" for entry in entries if isinstance(modules.get(entry), nn.BatchNorm2d)]


def read_freeze(text: str) -> int | list[str] | None:
    """Parse `freeze` from a command line: 10, [0, 1, 22.cv2], or the same without brackets.

    Raises:
        UserError: It is neither a number of rows nor a list of rows and names in them.
    """
    if text.strip() == "None":
        return None
    if text.strip().isdecimal():
        return int(text)
    entries = [entry.strip().strip("'\"") for entry in text.strip().strip("[]()").split(",") if entry.strip()]
    if not entries or not all(re.fullmatch(r"\d+(\.\w+)*", entry) for entry in entries):
        raise UserError(f"freeze={text}: use a number of rows, or a list of rows and names in them: [0,1,22.cv2]")
    return entries


def _entries(stated: Any) -> list[Any]:
    """Return the entries of a list, tuple or string."""
    if isinstance(stated, str):
        read = read_freeze(stated)
        return list(range(read)) if isinstance(read, int) else read or []
    return list(stated) if isinstance(stated, (list, tuple)) else []


def _log(stated: Any, here: dict[str, str], missing: list[str]) -> None:
    """Log the frozen rows and the entries without a match."""
    if here:
        LOGGER.info(
            f"yolo-attn: freeze={stated} freezes rows {_ranges(here)} of the base, here rows {_ranges(here.values())}; "
            "attention layers stay trainable"
        )
    if missing:
        LOGGER.warning(
            f"yolo-attn: freeze={stated}: this model has no {', '.join(missing)} of the base, which is ignored"
        )


def _stock_rows(model: Any, not_counted: Callable[[Row], bool]) -> list[int]:
    """Return the indices of the base's rows in a variant; [] for a model that is not a variant."""
    document, modules = getattr(model, "yaml", None), getattr(model, "model", None)
    if not isinstance(document, dict) or not isinstance(modules, nn.Sequential):
        return []
    graph = ModelGraph(document)
    stock = [i for i, row in enumerate(graph) if not not_counted(row)]
    return stock if len(stock) < len(graph) or _has_attention(modules) else []


def _has_attention(module: nn.Module) -> bool:
    return any(map(_is_attention, module.modules()))


def _is_attention(module: nn.Module) -> bool:
    return type(module) in {spec.cls for spec in list_layers()}


def _paths(module: nn.Module | nn.Parameter, path: str, alone: list[nn.Parameter]) -> Iterator[str]:
    """Yield the paths that together name a module without the attention layers in it."""
    if isinstance(module, nn.Parameter):
        alone.append(module)  # Ultralytics freezes the parameters below a name, not a parameter of that name
    elif not _has_attention(module):
        yield path
    elif not _is_attention(module):
        alone.extend(module.parameters(recurse=False))
        for name, child in module.named_children():
            yield from _paths(child, f"{path}.{name}", alone)


def _ranges(entries: Iterable[str]) -> str:
    """Format rows and names as "0-4, 6, 22.cv2"."""
    given = list(entries)
    runs = groupby(enumerate(sorted({int(e) for e in given if e.isdigit()})), key=lambda pair: pair[1] - pair[0])
    ends = [(run[0][1], run[-1][1]) for run in (list(group) for _, group in runs)]
    rows = [f"{a}-{b}" if b > a else f"{a}" for a, b in ends]
    return ", ".join([*rows, *(e for e in given if not e.isdigit())])
