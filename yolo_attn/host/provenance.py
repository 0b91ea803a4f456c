"""What a trained variant is and where it comes from: files in the folder of its training, and in experiment trackers.

`attention.yaml` names the attention layers with their options, the tensors that arrived from pretrained weights, the
versions, the Git revision of the working folder, and the code of custom layers. `model.yaml` is the model YAML, which
can be trained again. They are written when a training of a model with attention layers begins, and given to the
trackers that are switched on in Ultralytics' settings. No failure here ends a training.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER, RANK, SETTINGS, callbacks

from yolo_attn.errors import one_line
from yolo_attn.graph import ModelGraph, dump_model
from yolo_attn.host.binding import Binding
from yolo_attn.host.blocks import CHILD
from yolo_attn.host.documents import without_dataset
from yolo_attn.host.installation import ultralytics_version
from yolo_attn.host.parser import AttentionRow, has_layer, is_attention_row, read_attention_row, read_block_row
from yolo_attn.host.trackers import TRACKERS, Provenance
from yolo_attn.host.transfer import INHERITED, forget_transfer, last_transfer
from yolo_attn.system.files import as_yaml, read_yaml, write_atomically
from yolo_attn.system.revision import git_revision
from yolo_attn.version import __version__

__all__ = ["ATTENTION_FILE", "MODEL_FILE", "PROVENANCE", "describe", "log_provenance"]

ATTENTION_FILE = "attention.yaml"
MODEL_FILE = "model.yaml"
_HEADER = "The model of this training, for model=model.yaml; written by yolo-attn"
_WRAPPED = ("_orig_mod", "module", "student_model")  # attributes of wrappers with the model in them
_EVENT = "on_pretrain_routine_end"  # the model is built and loaded, and trackers have begun


def _wrap(original: Callable[..., None]) -> Callable[..., None]:
    def add_integration_callbacks(instance: Any) -> None:
        """Add the callbacks of trackers, and after them the one that describes the model to them."""
        original(instance)
        if isinstance(instance, BaseTrainer):
            if log_provenance in instance.callbacks[_EVENT]:  # of the last training: some releases share the callbacks
                instance.callbacks[_EVENT].remove(log_provenance)
            instance.add_callback(_EVENT, log_provenance)

    return add_integration_callbacks


PROVENANCE = Binding(callbacks, "add_integration_callbacks", _wrap)


def log_provenance(trainer: Any) -> None:
    """Write the files of a training that begins, and give them to the active trackers.

    A resumed training keeps the files of its beginning.
    """
    if RANK not in (-1, 0):  # another process of this training writes them
        return
    model, folder, resumed = _unwrapped(trainer.model), Path(trainer.save_dir), bool(trainer.args.resume)
    file = folder / ATTENTION_FILE
    try:
        if next(_attention_rows(model), None) is None:
            return
        content = _write_description(file, model, resumed)
    except Exception as error:
        LOGGER.warning(f"yolo-attn: {ATTENTION_FILE} was not written: {one_line(error)}")
        return
    _give(Provenance((file, *_write_model(folder / MODEL_FILE, model, resumed)), content))


def _write_description(file: Path, model: nn.Module, resumed: bool) -> dict[str, Any]:
    """Write `attention.yaml` and return its content."""
    try:
        content = read_yaml(file) if resumed and file.is_file() else None
        if not isinstance(content, dict):
            content = describe(model)
            write_atomically(file, _text(content))
        return content
    finally:
        forget_transfer(model)  # whose tensors change from now on


def _write_model(file: Path, model: Any, resumed: bool) -> list[Path]:
    """Write `model.yaml` and return it; [] if it is not the model of this training."""
    try:
        own = not file.is_file() or file.read_text(encoding="utf-8", errors="replace").startswith(f"# {_HEADER}")
        if not own:
            LOGGER.info(f"yolo-attn: {file} is kept: yolo-attn has not written it")
        elif not (resumed and file.is_file()):
            write_atomically(file, dump_model(without_dataset(model.yaml), f"{_HEADER} {__version__}"))
        return [file] if own else []
    except Exception as error:
        LOGGER.warning(f"yolo-attn: {MODEL_FILE} was not written: {one_line(error)}")
        return []


def _give(provenance: Provenance) -> None:
    """Give the files of a training to the active trackers."""
    for name, give in TRACKERS.items():
        if SETTINGS.get(name) is True:
            try:
                give(provenance)
            except Exception as error:
                LOGGER.warning(f"yolo-attn: {name} has not received {ATTENTION_FILE}: {one_line(error)}")


def _text(content: dict[str, Any]) -> str:
    """Return the content of `attention.yaml` as text, with one line for each layer."""
    layers = [f"- {as_yaml(layer)}" for layer in content["layers"]]
    return "\n".join(
        ["layers:", *layers, *(f"{key}: {as_yaml(content[key])}" for key in content if key != "layers"), ""]
    )


def describe(model: nn.Module) -> dict[str, Any]:
    """Return what a model with attention layers is and where it comes from, as plain values."""
    from yolo_attn.layer_files import code_of

    layers = list(_attention_rows(model))
    transfer = os.environ.get(INHERITED, str(last_transfer(model) or ""))
    revision = git_revision(Path.cwd())
    custom = {found.spec.name: code_of(found.spec.cls) for found, _ in layers if not found.spec.built_in}
    return {
        "layers": [_layer(found, parameters) for found, parameters in layers],
        **({"transfer": transfer} if transfer else {}),
        "versions": {"yolo_attn": __version__, "ultralytics": ultralytics_version(), "torch": str(torch.__version__)},
        **({"git": revision} if revision else {}),
        **({"custom_layers": custom} if custom else {}),
    }


def _attention_rows(model: Any) -> Iterator[tuple[AttentionRow, list[nn.Parameter]]]:
    """Yield the attention layers of a model, in rows and inside blocks, with their parameters."""
    document, modules = getattr(model, "yaml", None), getattr(model, "model", None)
    if not isinstance(document, dict) or not isinstance(modules, nn.Sequential):
        return
    for index, (row, module) in enumerate(zip(ModelGraph(document), modules, strict=True)):
        if has_layer(row):
            if is_attention_row(row):
                yield read_attention_row(index, row), list(module.parameters())
                continue
            for name, layer in read_block_row(index, row).layers.items():
                own = (p for key, p in module.named_parameters() if f".{CHILD}.{name}." in f".{key}")
                yield layer, list(own)


def _layer(found: AttentionRow, parameters: list[nn.Parameter]) -> dict[str, Any]:
    """Return what an attention layer is, as plain values."""
    inside = "" if is_attention_row(found.row) else found.row.module
    return {
        "row": found.index,
        "layer": found.spec.name,
        **({"inside": inside} if inside else {}),
        "reads": list(found.row.sources),
        "options": json.loads(json.dumps({**found.spec.options, **found.options}, default=str)),  # plain values
        "parameters": sum(parameter.numel() for parameter in parameters),
    }


def _unwrapped(model: Any) -> Any:
    """Return a model without its wrappers for compilation, multi-GPU training and distillation."""
    inner = (getattr(model, name, None) for name in _WRAPPED)
    wrapped = next((module for module in inner if isinstance(module, nn.Module)), None)
    return model if wrapped is None else _unwrapped(wrapped)
