"""Model YAMLs as mappings, by the name of a model, and variants of a base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError
from yolo_attn.graph import ModelGraph, block_of, insert_layer, layers_in, list_blocks, read_model, resolve_sites
from yolo_attn.graph.blocks import JOINT
from yolo_attn.graph.model_ref import ModelKind, ModelRef
from yolo_attn.graph.place import Insertion
from yolo_attn.graph.placed_layers import PlacedLayer, parse_placed_layers
from yolo_attn.graph.sites import HeadSite, ReplacedRow, Site, SiteRows
from yolo_attn.host.blocks import spelt_block
from yolo_attn.host.checkpoint import read_checkpoint
from yolo_attn.host.geometry import row_strides
from yolo_attn.host.model_files import find_model_yaml, model_scale
from yolo_attn.host.transfer import IDENTITY
from yolo_attn.registry import OUT_CHANNELS, LayerSpec, get_layer, is_layer, list_layers
from yolo_attn.system.files import as_yaml

__all__ = [
    "FORMER_IDENTITY",
    "Variant",
    "check_sites",
    "layer_to_place",
    "make_variant",
    "model_yaml",
    "with_layers",
    "with_present_names",
    "with_scale",
    "without_dataset",
]

FORMER_IDENTITY = "Silence"
"""The name of the first row of YOLOv9 in early releases."""
_COLORS = 3  # channels of an image that a model YAML need not mention


@dataclass(frozen=True)
class Variant:
    """A model with a short name.

    Args:
        name: Its short name, such as "CBAM@neck".
        yaml: The complete model YAML as a mapping, with its scale.
    """

    name: str
    yaml: dict[str, Any]


def model_yaml(model: str | Path | ModelRef) -> dict[str, Any]:
    """Return the model YAML of a model as a mapping, with its scale.

    The scale is the one that the file states, or else the one in the file's name.

    Args:
        model: A model YAML's name or path, a checkpoint, or either with layers placed in it.

    Raises:
        UserError: There is no such file, or it does not contain a model YAML.
    """
    ref = ModelRef.parse(model)
    if ref.is_placed:
        return with_layers(_yaml_of_base(ref), ref.layers)
    return _yaml_of_base(ref)


def _yaml_of_base(ref: ModelRef) -> dict[str, Any]:
    """Return the model YAML of a model's base, without the layers placed in it."""
    if ref.kind is ModelKind.YAML:
        return _yaml_of_file(ref.base, f"+{ref.placed}" if ref.is_placed else "")
    if ref.kind is ModelKind.CHECKPOINT:
        return _yaml_of_checkpoint(ref.base)
    raise UserError(f"base {ref.base!r}: give a model YAML (yolo11n.yaml) or a checkpoint (yolo11n.pt)")


def _yaml_of_file(name: str, placed: str) -> dict[str, Any]:
    """Return the content of a model YAML with its scale, after checking that every row is well-formed."""
    file = find_model_yaml(name, placed)
    document = with_scale(with_present_names(read_model(file)), name, file)
    ModelGraph(document)
    return document


def with_present_names(document: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a model YAML with the first row of early YOLOv9 as Ultralytics builds it."""
    first, *rows = document["backbone"]
    if not isinstance(first, list) or FORMER_IDENTITY not in first[2:3]:
        return document
    return {**document, "backbone": [[*first[:2], IDENTITY, *first[3:]], *rows]}


def with_scale(document: dict[str, Any], name: str | Path, file: Path) -> dict[str, Any]:
    """Return the content of a model YAML with its scale: the one that it states, that of its name, or its first.

    Args:
        document: The content.
        name: The model's name.
        file: The file that it means.
    """
    scales = document.get("scales")
    if not isinstance(scales, dict) or not scales:
        return document
    return {**document, "scale": model_scale(name, file, document) or str(next(iter(scales)))}


def _yaml_of_checkpoint(file: str) -> dict[str, Any]:
    """Return the model YAML in a checkpoint, without the keys of its dataset."""
    document = getattr(read_checkpoint(file), "yaml", None)
    if not isinstance(document, dict):
        raise UserError(f"{file}: this checkpoint contains no model YAML, so no layer can be placed in it")
    return without_dataset(document)


def without_dataset(document: dict[str, Any]) -> dict[str, Any]:
    """Return the model YAML of a built model without the keys that Ultralytics adds for itself and the dataset.

    Channels of the image other than three remain, because the first convolution has them.
    """
    added = {"yaml_file"}
    added |= {key for key in ("channels", "ch") if document.get(key) in (None, _COLORS)}
    added |= set() if document.get("scale") and document.get("scales") else {"scale"}
    return {key: value for key, value in document.items() if key not in added}


def make_variant(base: str, variant: str) -> Variant:
    """Return the model of a variant.

    Args:
        base: A model YAML's name or a checkpoint.
        variant: `Layer@site` or `Layer[option=value]@site`, several joined by "+" (`SE@neck+CBAM@backbone.P5`), or a
            whole model's name.

    Raises:
        UserError: Unknown layer, option or site, or a file that cannot be read.
    """
    ref = ModelRef.parse(variant)
    if ref.is_placed:
        return Variant(variant, model_yaml(ref))
    if ref.kind is ModelKind.YAML:
        return Variant(ref.stem, model_yaml(ref))
    return Variant(variant, with_layers(model_yaml(base), parse_placed_layers(variant)))


def with_layers(document: dict[str, Any], layers: Sequence[PlacedLayer]) -> dict[str, Any]:
    """Return a base's model YAML with layers placed in it.

    Where several layers follow one row, they do so in their order.

    Args:
        document: The base's model YAML as a mapping; every site is a site of the base.
        layers: The layers.

    Raises:
        UserError: Unknown layer, option or site, or a layer of several inputs.
    """
    base, graph = ModelGraph(document), ModelGraph(document)
    strides = row_strides(document)
    current = list(range(len(base)))  # current index of each row of the base
    last = list(current)  # and of the last layer that follows it
    for placed in layers:
        spec = layer_to_place(placed.layer, document)
        spec.check_options(placed.options)
        check_sites(spec, placed.sites, placed.options)
        found = resolve_sites(base, strides, placed.sites)
        rows = SiteRows(
            after=[last[row] for row in found.after],
            replaced=[current[row] for row in found.replaced],
            inside=[current[row] for row in found.inside],
            head=[current[row] for row in found.head],
        )
        for insertion in insert_layer(graph, spec.name, rows, placed.options):
            if insertion.new:
                current, last = _shifted(current, insertion), _shifted(last, insertion)
                if not insertion.levels:  # rows before the head follow all its inputs, not the last of them
                    last[last.index(insertion.row - 1)] = insertion.row
    return graph.to_document()


def _shifted(indices: list[int], insertion: Insertion) -> list[int]:
    """Return indices of rows after an insertion of new rows."""
    return [index + (index >= insertion.row) * (1 + insertion.levels) for index in indices]


def check_sites(spec: LayerSpec, sites: Sequence[Site], options: Mapping[str, Any]) -> None:
    """Raise UserError if a layer with these options cannot be placed at one of the sites, whatever the model."""
    for site in sites:
        if isinstance(site, HeadSite) != spec.can_return_levels:
            others = " or ".join(other.name for other in list_layers() if other.can_return_levels)
            fix = "place it at 'head'" if spec.can_return_levels else f"place it at 'neck', or choose {others}"
            reads = "all levels together" if spec.can_return_levels else "one row"
            raise UserError(f"site '{site}': {spec.name} reads {reads}; {fix}")
    if spec.can_return_levels:
        return
    if spec.inputs > 1 or spec.more_inputs:
        row = f"[[-1, N], 1, {spec.name}, []]"
        problem = f"{spec.name} reads several rows, but a site is one row"
        raise UserError(f"{problem}; write {row} into a YAML, where N is the other row")
    for site in sites:
        if isinstance(site, ReplacedRow) and not spec.replaces_conv:
            able = ", ".join(other.name for other in list_layers() if other.replaces_conv)
            problem = f"site '{site}': {spec.name} has no width and stride, so it cannot replace a row"
            raise UserError(f"{problem}; place it at after:{site.row}, or choose one of {able}")
        if isinstance(site, ReplacedRow) or not spec.replaces_conv:
            continue
        if options.get("stride", 1) != 1:
            problem = f"stride={as_yaml(options['stride'])} at '{site}', whose consumers need the size of the map"
            raise UserError(f"{spec.name}: {problem}; place it at replace:N, where row N is a Conv with that stride")
        if options.get(OUT_CHANNELS) is not None:
            problem = f"{OUT_CHANNELS}={as_yaml(options[OUT_CHANNELS])} at '{site}', where it keeps the channels"
            raise UserError(f"{spec.name}: {problem}; omit {OUT_CHANNELS}, or place it at replace:N")


def layer_to_place(name: str, document: dict[str, Any], written: str = "{layer}@{site}") -> LayerSpec:
    """Return a layer by its name.

    Args:
        name: Its name or an alias.
        document: The model YAML in which it will be placed.
        written: Format of a layer and its site in the message.

    Raises:
        UserError: There is no such layer; for a name such as C3k2_SE the message suggests SE inside C3k2.
    """
    if JOINT in name:
        first, _, last = name.rpartition(JOINT)
        others = f"give the others with the model: model=yolo11n.yaml+{first}@neck layer={last} at=neck"
        raise UserError(f"{name!r} is several layers, and one is placed at a time; {others}")
    joined = "" if is_layer(name) else spelt_block(name)
    if joined and block_of(joined) in list_blocks(ModelGraph(document)):
        meant = written.format(layer="+".join(layers_in(joined)), site=f"inside:{block_of(joined)}")
        raise UserError(f"unknown layer {name!r}; did you mean {meant}?")
    return get_layer(name)
