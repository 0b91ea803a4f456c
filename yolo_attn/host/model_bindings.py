"""Models with placed layers, such as `YOLO("yolo11n.yaml+CBAM@neck")`, wherever Ultralytics reads a model's name.

Inside Ultralytics such a model has a name that ends like a file's (`yolo11n+CBAM@neck.yaml`), but no file. A run's
arguments, a worker process and a resumed training build the same model from this name.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ultralytics.engine import model as engine
from ultralytics.models.yolo.model import YOLO
from ultralytics.nn import tasks

from yolo_attn.graph.model_ref import ModelKind, ModelRef
from yolo_attn.host.binding import Binding
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.model_files import literal_first
from yolo_attn.host.model_kind import input_channels, model_class

__all__ = ["MODEL_NAMES"]


def _wrap_yaml_model_load(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def yaml_model_load(path: str | Path) -> dict[str, Any]:
        """Return the model YAML of a name: a file's content, or a base with layers placed in it."""
        ref = ModelRef.parse(path)
        if not ref.is_placed:
            with literal_first(path):
                return original(path)
        known, document = _document.get()
        return {**(document if known == ref else model_yaml(ref)), "yaml_file": ref.name}

    return yaml_model_load


def _wrap_model_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given, ref = _arguments(original, args, kwargs)
        original(self, **given)
        if ref and ref.kind is ModelKind.CHECKPOINT:
            _copy_checkpoint(self, ref.base)
        if ref:
            self.model.pt_path = _export_path(ref)

    return __init__


def _wrap_yolo_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given, ref = _arguments(original, args, kwargs)
        if ref is None or type(self) is not YOLO:
            original(self, **given)
            return
        document = model_yaml(ref)
        self.__class__ = kind = model_class(document)
        with _reading_once(ref, document):
            if kind is YOLO:
                original(self, **given)
            else:
                kind.__init__(self, **{key: value for key, value in given.items() if key in _parameters(kind.__init__)})

    return __init__


_TEXT_FEATURES = ("txt_feats", "pe")
"""The attributes, which are no tensors of the state, with the classes of YOLO-World and YOLOE."""
_document: ContextVar[tuple[ModelRef | None, dict[str, Any]]] = ContextVar("yolo_attn_document", default=(None, {}))


@contextlib.contextmanager
def _reading_once(ref: ModelRef, document: dict[str, Any]) -> Iterator[None]:
    """Let Ultralytics load a model YAML that has been read already, which takes as long as many layers."""
    token = _document.set((ref, document))
    try:
        yield
    finally:
        _document.reset(token)


def _arguments(
    function: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], ModelRef | None]:
    """Return a constructor's arguments by name and, if its model has layers placed in it, the reference to it.

    Raises:
        UserError: A placed layer is malformed.
    """
    given = dict(zip(_parameters(function), args, strict=False)) | kwargs
    model = given.get("model")
    ref = ModelRef.parse(model) if isinstance(model, (str, Path)) else None
    if ref is None or not ref.layers:
        return given, None
    return {**given, "model": ref.name}, ref


def _parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a method's parameters, without `self`."""
    return list(inspect.signature(function).parameters)[1:]


def _copy_checkpoint(model: Any, base: str) -> None:
    """Copy weights, class names and settings from the checkpoint of a base."""
    model.load(base)
    source = model.ckpt.get("ema") or model.ckpt.get("model")
    channels = input_channels(getattr(source, "yaml", {}))
    if channels != input_channels(model.model.yaml):  # Ultralytics builds a named model for color images
        built = model.model
        model.model = type(built)(built.yaml, ch=channels, verbose=False)
        model.model.args, model.model.task = built.args, built.task
        model.load(base)
    for name in _TEXT_FEATURES:
        if hasattr(source, name) and hasattr(model.model, name):
            setattr(model.model, name, getattr(source, name))
    names = getattr(source, "names", None)
    if isinstance(names, dict) and len(names) == len(getattr(model.model, "names", ())):
        model.model.names = dict(names)
    model.overrides = {**model._reset_ckpt_args(model.ckpt.get("train_args", {})), **model.overrides}
    model.ckpt = {key: value for key, value in model.ckpt.items() if key != "optimizer"}  # it has no training to resume


def _export_path(ref: ModelRef) -> str:
    """Return the path that names exports: best-se.pt next to best.pt, or yolo11n-se.pt in the working folder.

    The file need not exist. The model's own name contains characters that not every file system allows, and the base's
    name would overwrite exports of the base.
    """
    folder = Path(ref.base).parent if ref.kind is ModelKind.CHECKPOINT else Path()
    return str(folder / f"{ref.stem}.pt")


MODEL_NAMES = (
    Binding(tasks, "yaml_model_load", _wrap_yaml_model_load),
    Binding(engine, "yaml_model_load", _wrap_yaml_model_load),  # which imports the function
    Binding(engine.Model, "__init__", _wrap_model_init),
    Binding(YOLO, "__init__", _wrap_yolo_init),  # which reads the name before its base class
)
"""The functions of Ultralytics that read a model's name."""
