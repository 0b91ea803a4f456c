"""Variants by short name: `CBAM@neck` on a base, or a model YAML of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.graph import ModelGraph, place, read_model
from yolo_attn.graph.shorthand import PlacedLayer, read_placed_layers, read_shorthand
from yolo_attn.host.checkpoint import read_checkpoint
from yolo_attn.host.geometry import row_strides
from yolo_attn.host.names import find_model_yaml
from yolo_attn.registry import get_layer

__all__ = ["Variant", "base_yaml", "make_variant", "model_yaml", "with_layers"]

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
    """Return a model YAML by name, path or shorthand, with the scale that the name or the file states.

    Raises:
        UserError: No such file, or it is not a model YAML.
    """
    if shorthand := read_shorthand(name):
        return with_layers(base_yaml(shorthand.base), shorthand.layers)
    path = find_model_yaml(name)
    document = read_model(path)
    scale = tasks.guess_model_scale(str(name))
    scales = document.get("scales")
    if isinstance(scales, dict) and scales:
        document["scale"] = scale or next(iter(scales))
    ModelGraph(document)  # every row well-formed, or an error that names it
    return document


def base_yaml(base: str) -> dict[str, Any]:
    """Return the model YAML of a base, which is a YAML's name, a checkpoint or a shorthand.

    Raises:
        UserError: It is none of these, or not readable as such.
    """
    suffix = Path(base).suffix
    if suffix in YAML_SUFFIXES or read_shorthand(base):
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
        variant: `Layer@site` or `Layer[option=value]@site`, several joined by "+" (`SE@neck+CBAM@backbone.P5`), or a
            model YAML's name.

    Raises:
        UserError: Unknown layer, option or site, or a file that cannot be read.
    """
    if read_shorthand(variant):
        return Variant(variant, model_yaml(variant))
    if Path(variant).suffix in YAML_SUFFIXES:
        return Variant(Path(variant).stem, model_yaml(variant))
    return Variant(variant, with_layers(base_yaml(base), read_placed_layers(variant)))


def with_layers(document: dict[str, Any], layers: Sequence[PlacedLayer]) -> dict[str, Any]:
    """Return a base's model YAML with layers placed in it, the first nearest to the base's row where several meet.

    Args:
        document: The base's model YAML as a mapping; every site is one of the base.
        layers: The layers.

    Raises:
        UserError: Unknown layer, option or site, or a layer of several inputs.
    """
    base, graph = ModelGraph(document), ModelGraph(document)
    strides = row_strides(document)
    here = list(range(len(base)))  # where each row of the base stands now
    for placed in layers:
        spec = get_layer(placed.layer)
        spec.check_options(placed.options)
        if spec.inputs > 1 or spec.more_inputs:
            raise UserError(f"{spec.name} reads several rows, and a site is one: write its row by hand in a YAML")
        place(ModelGraph(document), strides, spec.name, placed.sites, placed.options)  # refuses sites it has not
        sites = _renumbered(placed.sites, here)
        for insertion in place(graph, row_strides(graph.to_document()), spec.name, sites, placed.options):
            here = here if insertion.block else [row + (row >= insertion.row) for row in here]
    return graph.to_document()


def _renumbered(sites: str, here: list[int]) -> str:
    """Return sites of the base with the row numbers of now: `after` means behind what was placed there already."""

    def now(site: re.Match[str]) -> str:
        row = int(site[2])
        return f"{site[1]}:{here[row] if site[1] == 'inside' else here[row + 1] - 1}"

    return re.sub(r"\b(after|inside):(\d+)", now, sites)
