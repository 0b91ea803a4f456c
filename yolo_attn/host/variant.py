"""Variants by short name: `CBAM@neck` on a base, or a model YAML of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.graph import ModelGraph, block_of, layer_in, list_blocks, place, read_model
from yolo_attn.graph.shorthand import PlacedLayer, read_placed_layers, read_shorthand
from yolo_attn.host.blocks import spelt_block
from yolo_attn.host.checkpoint import read_checkpoint
from yolo_attn.host.geometry import row_strides
from yolo_attn.host.names import find_model_yaml
from yolo_attn.registry import LayerSpec, get_layer, is_layer

__all__ = ["Variant", "base_yaml", "layer_to_place", "make_variant", "model_yaml", "several_rows", "with_layers"]

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
        if Path(shorthand.base).suffix in YAML_SUFFIXES:
            find_model_yaml(shorthand.base, placed=f"+{shorthand.text}")
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
        spec = layer_to_place(placed.layer, document)
        spec.check_options(placed.options)
        if spec.inputs > 1 or spec.more_inputs:
            raise UserError(several_rows(spec))
        place(ModelGraph(document), strides, spec.name, placed.sites, placed.options)  # refuses sites it has not
        sites = _renumbered(placed.sites, here)
        for insertion in place(graph, row_strides(graph.to_document()), spec.name, sites, placed.options):
            here = here if insertion.block else [row + (row >= insertion.row) for row in here]
    return graph.to_document()


def several_rows(spec: LayerSpec) -> str:
    """Return what to say of a layer that cannot be placed at a site, because it reads several rows."""
    row = f"[[-1, N], 1, {spec.name}, []]"
    return f"{spec.name} reads several rows, and a site is one; write {row} into a YAML, with N the other row"


def layer_to_place(name: str, document: dict[str, Any], written: str = "{layer}@{site}") -> LayerSpec:
    """Return a layer by its name.

    Args:
        name: Its name or an alias.
        document: The model YAML that it is for.
        written: How a layer and its site are given, for the message.

    Raises:
        UserError: There is no such layer; of a name such as C3k2_SE the message says how SE is put inside C3k2.
    """
    joined = "" if is_layer(name) else spelt_block(name)
    if joined and block_of(joined) in list_blocks(ModelGraph(document)):
        meant = written.format(layer=layer_in(joined), site=f"inside:{block_of(joined)}")
        raise UserError(f"unknown layer {name!r}; did you mean {meant}?")
    return get_layer(name)


def _renumbered(sites: str, here: list[int]) -> str:
    """Return sites of the base with the row numbers of now: `after` means behind what was placed there already."""

    def now(site: re.Match[str]) -> str:
        row = int(site[2])
        return f"{site[1]}:{here[row] if site[1] == 'inside' else here[row + 1] - 1}"

    return re.sub(r"\b(after|inside):(\d+)", now, sites)
