"""Variants by short name: `CBAM@neck` on a base, or a model YAML of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.graph import ModelGraph, place, read_model
from yolo_attn.host.checkpoint import read_checkpoint
from yolo_attn.host.geometry import row_strides
from yolo_attn.host.names import find_model_yaml
from yolo_attn.registry import get_layer

__all__ = ["Variant", "base_yaml", "make_variant", "model_yaml"]

YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Variant:
    """A model to train.

    Args:
        name: Its short name, such as "CBAM@neck".
        yaml: The complete model YAML as a mapping, with its scale.
    """

    name: str
    yaml: dict[str, Any]


def model_yaml(name: str | Path) -> dict[str, Any]:
    """Return a model YAML by name or path, with the scale that the name or the file states.

    Raises:
        UserError: No such file, or it is not a model YAML.
    """
    path = find_model_yaml(name)
    document = read_model(path)
    scale = tasks.guess_model_scale(str(name))
    if document.get("scales"):
        document["scale"] = scale or next(iter(document["scales"]))
    ModelGraph(document)  # every row well-formed, or an error that names it
    return document


def base_yaml(base: str) -> dict[str, Any]:
    """Return the model YAML of a base, which is a YAML's name or a checkpoint.

    Raises:
        UserError: It is neither, or not readable as such.
    """
    suffix = Path(base).suffix
    if suffix in YAML_SUFFIXES:
        return model_yaml(base)
    if suffix == ".pt":
        document = getattr(read_checkpoint(base), "yaml", None)
        if not isinstance(document, dict):
            raise UserError(f"{base}: this checkpoint carries no model YAML, so no layer can be placed in it")
        return {k: v for k, v in document.items() if k not in ("yaml_file", "channels", "ch")}
    raise UserError(f"base {base!r}: give a model YAML (yolo11n.yaml) or a checkpoint (yolo11n.pt)")


def make_variant(base: str, variant: str) -> Variant:
    """Return the model that a variant's short name means on a base.

    Args:
        base: A model YAML's name or a checkpoint.
        variant: `Layer@site`, several joined by "+" (`SE@neck+CBAM@backbone.P5`), or a model YAML's name.

    Raises:
        UserError: Unknown layer or site, or a file that cannot be read.
    """
    if Path(variant).suffix in YAML_SUFFIXES:
        return Variant(Path(variant).stem, model_yaml(variant))
    document = base_yaml(base)
    graph = ModelGraph(document)
    for part in variant.split("+"):
        layer, at, sites = part.partition("@")
        if not at or not sites:
            raise UserError(f"variant {variant!r}: write Layer@site, such as CBAM@neck, or a model YAML's name")
        place(graph, row_strides(graph.to_document()), get_layer(layer).name, sites)
    return Variant(variant, graph.to_document())
