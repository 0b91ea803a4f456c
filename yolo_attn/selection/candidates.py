"""The candidates of a search: single layers at the sites of a base, and pairs of them.

All candidates begin as the identity. A layer that cannot (`init="identity"`), reads several rows or has a width of its
own is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.graph import ModelGraph, PlacedLayer, Site, list_blocks, list_sites, resolve_sites
from yolo_attn.graph.placed_layers import parse_layer, split_outside_brackets
from yolo_attn.graph.sites import SiteRows, Strides, parse_site
from yolo_attn.registry import FAMILIES, LayerSpec, in_any_case, is_layer, list_layers
from yolo_attn.system.files import as_yaml

__all__ = ["ALL", "Candidate", "default_sites", "list_candidates", "named_layers", "pairs_of"]

ALL = "all"
"""The word for all layers that can be candidates."""
_INIT, _IDENTITY = "init", "identity"
_BACKBONE_SITES = ("backbone.P4", "backbone.P5", "backbone.end")


@dataclass(frozen=True)
class Candidate:
    """One or two layers at sites of the base.

    Args:
        name: As in `variants=`, such as "SE[init=identity]@neck.P4".
        label: Without `init=identity`, such as "SE@neck.P4".
        layers: Names of its layers.
        sites: Their sites.
    """

    name: str
    label: str
    layers: tuple[str, ...]
    sites: tuple[str, ...]


def list_candidates(
    base: str, layers: str | Sequence[str], at: str | Sequence[str] | None = None, *, pairs: bool = False
) -> list[Candidate]:
    """Return every layer at every site, in the given order of the layers; equal models are one candidate.

    Args:
        base: A model YAML's name or a checkpoint.
        layers: Layers with options (`SE[reduction=8]`), patterns (`*Conv`), families, or "all"; text with commas, or a
            list.
        at: Sites, as text with commas or a list; by default those of `default_sites`.
        pairs: Whether pairs of the candidates follow, which need different sites.

    Raises:
        UserError: Unknown layer, option or site, a layer that cannot be a candidate, or pairs at a single site.
    """
    from yolo_attn.host.documents import check_sites, model_yaml
    from yolo_attn.host.geometry import row_strides

    document = model_yaml(base)
    graph, strides = ModelGraph(document), row_strides(document)
    sites = _different_sites(graph, strides, _texts("at", at) if at else default_sites(document))
    found: dict[object, Candidate] = {}
    for layer in _read_layers(layers, document):
        check_sites(layer.spec, list(sites.values()), layer.options)
        for rows, site in sites.items():
            found.setdefault((layer.identity, rows), layer.at(site))
    candidates = list(found.values())
    if pairs and next(_pairs(candidates), None) is None:
        given = ", ".join(map(str, sites.values()))
        raise UserError(f"pairs=True: no two of the sites are separate ({given}); give others with at=")
    return candidates


def pairs_of(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return all pairs of single candidates at different sites, in their order.

    Sites of which one contains the other, such as neck and neck.P4, are not different.

    Args:
        candidates: The candidates; those with two layers are skipped.
    """
    return [
        Candidate(
            f"{one.name}+{other.name}",
            f"{one.label}+{other.label}",
            one.layers + other.layers,
            one.sites + other.sites,
        )
        for one, other in _pairs(candidates)
    ]


def _pairs(candidates: Iterable[Candidate]) -> Iterator[tuple[Candidate, Candidate]]:
    single = [candidate for candidate in candidates if len(candidate.layers) == 1]
    return (pair for pair in combinations(single, 2) if not _overlap(pair[0].sites[0], pair[1].sites[0]))


def _overlap(site: str, other: str) -> bool:
    """Return whether two sites are the same, or one is a level of the other."""
    return site == other or site.startswith(f"{other}.") or other.startswith(f"{site}.")


# --- sites ----------------------------------------------------------------------------------------------------------


def default_sites(document: Mapping[str, Any]) -> list[str]:
    """Return the sites of a base at which layers are tried by default.

    These are its neck, each level of it, the last levels and the end of its backbone, and the inside of its main block.

    Args:
        document: The base's model YAML as a mapping.
    """
    from yolo_attn.host.geometry import row_strides

    graph = ModelGraph(dict(document))
    named = list_sites(graph, row_strides(dict(document)))
    neck = sorted(name for name in named if name.startswith("neck."))
    block = _main_block(document)
    return [
        *(["neck"] if neck else []),
        *neck,
        *(name for name in _BACKBONE_SITES if name in named),
        *([f"inside:{block}"] if block else []),
    ]


def _main_block(document: Mapping[str, Any]) -> str | None:
    """Return the block with residual branches that most rows are; None for a base without such blocks."""
    from yolo_attn.host.blocks import block_problem, branch_ends
    from yolo_attn.host.geometry import build_on_meta

    modules = build_on_meta(dict(document))
    graph = ModelGraph(dict(document))
    counts = {
        block: sum("" not in branch_ends(modules[row]) for row in rows)
        for block, rows in list_blocks(graph).items()
        if not is_layer(block) and not block_problem(block)
    }
    best = max(counts, key=lambda block: counts[block], default=None)
    return best if best and counts[best] else None


def _different_sites(graph: ModelGraph, strides: Strides, texts: Iterable[str]) -> dict[object, Site]:
    """Return sites by the rows that they select; of several for the same rows the first."""
    found: dict[object, Site] = {}
    for site in map(parse_site, texts):
        found.setdefault(_hashable(resolve_sites(graph, strides, [site])), site)
    return found


def _hashable(rows: SiteRows) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, rows))


# --- layers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """A layer with options.

    Args:
        spec: The layer.
        options: Its options by name, as given.
        text: The options as written.
    """

    spec: LayerSpec
    options: Mapping[str, Any]
    text: str

    @property
    def identity(self) -> tuple[str, str]:
        """What distinguishes the layer from others: its name and the options that are not the defaults."""
        defaults = self.spec.options
        options = {key: value for key, value in self.options.items() if defaults[key] != value and key != _INIT}
        return self.spec.name, as_yaml(dict(sorted(options.items())))

    def at(self, site: Site) -> Candidate:
        """Return the layer at a site as a candidate."""
        options = ",".join(filter(None, [self.text, f"{_INIT}={_IDENTITY}"]))
        label = f"{self.spec.name}[{self.text}]" if self.text else self.spec.name
        return Candidate(f"{self.spec.name}[{options}]@{site}", f"{label}@{site}", (self.spec.name,), (site.text,))


def _texts(key: str, given: str | Sequence[str]) -> list[str]:
    """Return the items of a list, or of a text with commas outside brackets."""
    items = split_outside_brackets(given, ",") if isinstance(given, str) else given
    texts = [str(item).strip() for item in items]
    if not texts or not all(texts):
        raise UserError(f"{key}= is empty or has an empty item")
    return texts


def _read_layers(given: str | Sequence[str], document: dict[str, Any]) -> list[_Layer]:
    """Return the layers that a list names, each once."""
    found: dict[tuple[str, str], _Layer] = {}
    for text in _texts("layers", given):
        for layer in _layers_of(text, document):
            found.setdefault(layer.identity, layer)
    return list(found.values())


def _layers_of(text: str, document: dict[str, Any]) -> list[_Layer]:
    """Return the layers of one item: a layer with its options, a family, a pattern or all."""
    if _is_several(text):
        specs = [spec for spec in list_layers() if _is_meant(spec, text)]
        able = [spec for spec in specs if _obstacle(spec) is None]
        if not able:
            reason = (
                f"none of these can be a candidate; {specs[0].name} {_obstacle(specs[0])}" if specs else "no such layer"
            )
            raise UserError(f"layers={text}: {reason}")
        return [_Layer(spec, {}, "") for spec in able]
    placed = parse_layer(text)
    spec = _spec_of(placed, document)
    if problem := _obstacle(spec):
        raise UserError(f"layers={text}: {spec.name} {problem}")
    spec.check_options(placed.options)
    if placed.options.get(_INIT, _IDENTITY) != _IDENTITY:
        raise UserError(f"layers={text}: all candidates begin as the identity; omit {_INIT}")
    return [_Layer(spec, placed.options, _without_init(text))]


def named_layers(layers: str | Sequence[str]) -> set[str]:
    """Return the layers that are named one by one, not by a family, a pattern or "all".

    Args:
        layers: As in `list_candidates`.
    """
    return {in_any_case(text.partition("[")[0]) for text in _texts("layers", layers) if not _is_several(text)}


def _is_several(text: str) -> bool:
    """Return whether an item stands for several layers."""
    return text == ALL or text in FAMILIES or any(sign in text.partition("[")[0] for sign in "*?")


def _is_meant(spec: LayerSpec, text: str) -> bool:
    return text in (ALL, spec.family) or (text not in FAMILIES and fnmatchcase(spec.name, text))


def _spec_of(placed: PlacedLayer, document: dict[str, Any]) -> LayerSpec:
    """Return the layer that a name means, in upper or lower case."""
    from yolo_attn.host.documents import layer_to_place

    name = in_any_case(placed.layer)
    if name in (ALL, *FAMILIES):
        raise UserError(f"layers={name}[...]: options are those of one layer; write the layers with theirs one by one")
    if not is_layer(name) and (hint := did_you_mean(name, (ALL, *FAMILIES))):
        raise UserError(f"unknown layer {name!r}{hint}")
    return layer_to_place(name, document, "layers={layer} at={site}")


def _obstacle(spec: LayerSpec) -> str | None:
    """Return why a layer cannot be a candidate; None if it can."""
    if spec.can_return_levels or spec.inputs > 1 or spec.more_inputs:
        return f"reads {spec.input_count} rows, but a candidate is placed at one"
    if spec.replaces_conv:
        return "is a convolution with a width of its own, which replaces a row; give it to compare, at replace:N"
    if _INIT not in spec.options:
        return f"has no option {_INIT}, so it cannot begin as the identity"
    return None


def _without_init(text: str) -> str:
    """Return the options of a layer as written, without init=identity."""
    options = text.partition("[")[2].removesuffix("]")
    parts = (part.strip() for part in split_outside_brackets(options, ","))
    return ",".join(part for part in parts if part and part.partition("=")[0].strip() != _INIT)
