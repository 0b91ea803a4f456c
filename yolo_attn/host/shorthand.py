"""`YOLO("yolo11n.yaml+CBAM@neck")`: a variant by shorthand wherever Ultralytics takes a model YAML's name.

Inside Ultralytics a variant goes by a name that ends like a file's (`yolo11n+CBAM@neck.yaml`), but there is no file:
the name says all, so that a run's arguments, a worker process and a resumed training find the same variant again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ultralytics
from ultralytics.engine import model as engine
from ultralytics.models.yolo.model import YOLO
from ultralytics.nn import tasks

from yolo_attn.graph.shorthand import Shorthand, read_shorthand, stem_of
from yolo_attn.host.binding import Binding
from yolo_attn.host.names import literal_first
from yolo_attn.host.variant import model_yaml

__all__ = ["SHORTHANDS"]


def _wrap_yaml_model_load(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def yaml_model_load(path: str | Path) -> dict[str, Any]:
        """Return the model YAML that a name stands for: a file's content, or a base with layers placed in it."""
        shorthand = read_shorthand(path)
        if shorthand is None:
            with literal_first(path):
                return original(path)
        return {**model_yaml(path), "yaml_file": shorthand.name}

    return yaml_model_load


def _wrap_model_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given, shorthand = _arguments(original, args, kwargs)
        original(self, **given)
        if shorthand and shorthand.base.endswith(".pt"):
            _take_over(self, shorthand.base)
        if shorthand:
            self.model.pt_path = _export_path(shorthand)

    return __init__


def _wrap_yolo_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given, shorthand = _arguments(original, args, kwargs)
        kind = _kind(shorthand.name) if shorthand else YOLO
        if kind is YOLO or type(self) is not YOLO:
            original(self, **given)
        else:
            self.__class__ = kind
            kind.__init__(self, **{key: value for key, value in given.items() if key in _parameters(kind.__init__)})

    return __init__


def _arguments(
    function: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], Shorthand | None]:
    """Return a constructor's arguments by name, a shorthand in the form of a file's name, and what it says."""
    given = dict(zip(_parameters(function), args, strict=False)) | kwargs
    model = given.get("model")
    shorthand = read_shorthand(model) if isinstance(model, (str, Path)) else None
    if shorthand and shorthand.layers:  # which are well formed, or an error that says how to write them
        given["model"] = shorthand.name
    return given, shorthand


def _parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a method's parameters, without `self`."""
    return list(inspect.signature(function).parameters)[1:]


def _kind(name: str) -> Any:
    """Return the class of Ultralytics' that a model is for, by its head: a file's name may say nothing."""
    head = str(model_yaml(name)["head"][-1][2])
    for start, kind in (("RTDETR", "RTDETR"), ("World", "YOLOWorld"), ("YOLOE", "YOLOE")):
        if head.startswith(start):
            return getattr(ultralytics, kind)
    return YOLO


def _take_over(model: Any, base: str) -> None:
    """Give a variant what its base's checkpoint holds beside the YAML: weights, class names and settings."""
    model.load(base)
    given = model.ckpt.get("ema") or model.ckpt.get("model")
    names = getattr(given, "names", None)
    if isinstance(names, dict) and len(names) == len(getattr(model.model, "names", ())):
        model.model.names = dict(names)
    model.overrides = {**model._reset_ckpt_args(model.ckpt.get("train_args", {})), **model.overrides}
    model.ckpt = {key: value for key, value in model.ckpt.items() if key != "optimizer"}  # no run of it to resume


def _export_path(shorthand: Shorthand) -> str:
    """Return what exports are called after: best-se.pt beside best.pt, yolo11n-se.pt here; no file of it is needed.

    The shorthand itself holds signs that not every system allows in a file's name, and the base's name is the base's.
    """
    folder = Path(shorthand.base).parent if shorthand.base.endswith(".pt") else Path()
    return str(folder / f"{stem_of(shorthand.name)}.pt")


SHORTHANDS = (
    Binding(tasks, "yaml_model_load", _wrap_yaml_model_load),
    Binding(engine, "yaml_model_load", _wrap_yaml_model_load),  # it holds the function under a name of its own
    Binding(engine.Model, "__init__", _wrap_model_init),
    Binding(YOLO, "__init__", _wrap_yolo_init),  # which looks at the name before its base class does
)
"""The names of the host that read a model's name."""
