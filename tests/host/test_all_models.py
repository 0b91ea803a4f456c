"""Placement in every model YAML of the installed Ultralytics, for every task and site, changes nothing else.

The fast tests build on the meta device, which has shapes and no numbers. The slow ones build every model with numbers:
what arrives is compared by value, and a variant that starts as the identity has to give the outputs of its base.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.host.helpers import build_as_its_class, marked
from yolo_attn.graph import ModelGraph, PlacedLayer, align, list_sites, parse_sites, place
from yolo_attn.host.documents import model_yaml, with_layers
from yolo_attn.host.geometry import build_on_meta, model_cost, row_strides, run_on_meta
from yolo_attn.host.parser import UNREAD_BY_DESIGN, is_attention_row
from yolo_attn.host.transfer import last_transfer
from yolo_attn.registry import list_layers

STOCK = sorted(p.name for p in (Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
ONE_INPUT = [s.name for s in list_layers() if s.inputs == 1 and not s.more_inputs]
SOME = [n for n in ("yolov8.yaml", "yolo11-seg.yaml", "yolov8-worldv2.yaml", "yolov9t.yaml") if n in STOCK]
FEW = [n if n in SOME[:3] else pytest.param(n, marks=pytest.mark.slow) for n in STOCK]
BY_HEAD = {model_yaml(name)["head"][-1][2]: name for name in STOCK}
IDENTITY = {"init": "identity"}


def sites_of(document: dict[str, Any]) -> dict[str, int]:
    return list_sites(ModelGraph(document), row_strides(document))


def check_structure(
    base: dict[str, Any], plain: nn.Sequential, variant: dict[str, Any], layer: str, follows: list[int]
) -> None:
    """Check that a variant is its base with one layer after each of some rows, and nothing else.

    Args:
        base: The model YAML of the base.
        plain: The rows of the base, on the meta device.
        variant: The model YAML of the variant.
        layer: The name of the layer.
        follows: The rows of the base that a layer follows.
    """
    before, after = ModelGraph(base), ModelGraph(variant)
    inserted = [i for i, row in enumerate(after) if row.module == layer]
    stock = [i for i in range(len(after)) if i not in inserted]
    assert [after.rows[i].sources[0] for i in inserted] == [stock[f] for f in follows]
    now = dict(zip(follows, inserted, strict=True))
    for i, row in enumerate(before):
        there = after.rows[stock[i]]
        assert (there.module, there.repeats, there.args) == (row.module, row.repeats, row.args)
        assert there.sources == [
            -1 if s == -1 else now.get(s, stock[s]) for s in row.sources
        ]  # every consumer is redirected
    dead = [after.rows[i].module for i in after.dead_rows()]
    assert set(dead) <= set(UNREAD_BY_DESIGN)
    assert all(after.consumers(i) for i in inserted)

    built, outputs = run_on_meta(variant, 256, with_head=False)
    maps = [isinstance(x, Tensor) and x.ndim == 4 for x in outputs]
    strides = [256 / x.shape[2] if is_map else None for x, is_map in zip(outputs, maps, strict=True)] + [None]
    strides_before = row_strides(base)
    assert [strides[i] for i in stock] == strides_before
    assert [strides[i] for i in inserted] == [strides_before[f] for f in follows]

    own = sum(p.numel() for i in inserted for p in built[i].parameters())
    assert sum(p.numel() for p in built.parameters()) == sum(p.numel() for p in plain.parameters()) + own
    assert align(after, before, is_attention_row) == {s: i for i, s in enumerate(stock)}
    for i, s in enumerate(stock):
        shapes = {k: v.shape for k, v in plain[i].state_dict().items()}
        assert shapes == {k: v.shape for k, v in built[s].state_dict().items()}


@pytest.mark.parametrize("name", FEW)
def test_a_layer_at_every_site_at_once(name: str) -> None:
    base = model_yaml(name)
    follows = sorted(set(sites_of(base).values()))
    variant = with_layers(base, [PlacedLayer("CBAM", parse_sites(",".join(f"after:{row}" for row in follows)), {})])
    check_structure(base, build_on_meta(base), variant, "CBAM", follows)


@pytest.mark.parametrize("name", FEW)
def test_every_site_changes_only_its_consumers(name: str) -> None:
    base = model_yaml(name)
    before, strides = ModelGraph(base), row_strides(base)
    for site, row in list_sites(before, strides).items():
        graph = ModelGraph(base)
        (insertion,) = place(graph, strides, "SE", parse_sites(site))
        assert (insertion.row, insertion.follows) == (row + 1, row)
        assert insertion.consumers == len(before.consumers(row)) > 0
        assert graph.consumers(row) == [insertion.row]
        assert set(graph.dead_rows()) == {d + (d > row) for d in before.dead_rows()}


@pytest.mark.parametrize("name", [n if n == SOME[0] else pytest.param(n, marks=pytest.mark.slow) for n in STOCK])
def test_one_site_at_a_time(name: str) -> None:
    base = model_yaml(name)
    plain = build_on_meta(base)
    for site, row in sites_of(base).items():
        check_structure(base, plain, with_layers(base, [PlacedLayer("SE", parse_sites(site), {})]), "SE", [row])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, id=head, marks=() if head in ("Detect", "Segment", "Classify") else pytest.mark.slow)
        for head, name in BY_HEAD.items()
    ],
)
def test_costs_are_computed_without_a_download(name: str) -> None:
    cost = model_cost(model_yaml(name), 128)
    assert cost.params > 1e6 and cost.gflops > 0.05


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_any_layers_in_any_order(data: st.DataObject) -> None:
    """Random layers at random rows keep the base complete, and every layer is read."""
    name = data.draw(st.sampled_from(["yolov3-tiny.yaml", *SOME]))
    base = model_yaml(name)
    plain, graph = build_on_meta(base), ModelGraph(base)
    placed = []
    for _ in range(data.draw(st.integers(1, 3))):
        strides = row_strides(graph.to_document())
        rows = [i for i, stride in enumerate(strides) if stride]
        sites = [*list_sites(graph, strides), *(f"after:{i}" for i in rows)]
        layer, site = data.draw(st.sampled_from(ONE_INPUT)), data.draw(st.sampled_from(sites))
        before = copy.deepcopy(graph)
        for insertion in place(graph, strides, layer, parse_sites(site)):
            placed.append(layer)
            assert insertion.consumers == len(before.consumers(insertion.follows)) > 0
    document = graph.to_document()
    assert {graph.rows[i].module for i in graph.dead_rows()} <= set(UNREAD_BY_DESIGN)
    stock = [i for i, row in enumerate(graph) if not is_attention_row(row)]
    assert sorted(row.module for row in graph if is_attention_row(row)) == sorted(placed)
    assert align(graph, ModelGraph(base), is_attention_row) == {s: i for i, s in enumerate(stock)}
    assert [row_strides(document)[i] for i in stock] == row_strides(base)
    built = build_on_meta(document)
    inserted = sum(p.numel() for i in range(len(graph)) if i not in stock for p in built[i].parameters())
    assert sum(p.numel() for p in built.parameters()) == sum(p.numel() for p in plain.parameters()) + inserted
    for i, s in enumerate(stock):
        assert {k: v.shape for k, v in plain[i].state_dict().items()} == {
            k: v.shape for k, v in built[s].state_dict().items()
        }
    assert ModelGraph(document).to_document() == document


# --- numerically ------------------------------------------------------------------------------------------------


def tensors(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    items = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, (list, tuple)) else ()
    return [t for item in items for t in tensors(item)]


def outputs_of(model: nn.Module, side: int = 128) -> list[Tensor]:
    torch.manual_seed(7)  # YOLOE's model samples text features when it gets none
    with torch.no_grad():
        return tensors(model(torch.rand(1, 3, side, side)))


def check_numbers(base: dict[str, Any], variant: dict[str, Any]) -> None:
    """Check that every base tensor is copied into its own layer and the outputs equal the base's."""
    source, target = build_as_its_class(base, 1).eval(), build_as_its_class(variant, 2).eval()
    if hasattr(source, "txt_feats"):
        target.txt_feats = source.txt_feats
    rows = [i for i, row in enumerate(ModelGraph(variant)) if not is_attention_row(row)]
    expected = outputs_of(source)
    target.load(source, verbose=False)
    actual = outputs_of(target)
    assert len(actual) == len(expected) > 0
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)

    source = marked(source)  # distinct tensors, to detect misplaced ones
    target.load(source, verbose=False)
    there = target.state_dict()
    for key, value in source.state_dict().items():
        model, index, *rest = key.split(".")
        assert torch.equal(value, there[".".join([model, str(rows[int(index)]), *rest])]), key
    report = last_transfer(target)
    assert report is not None and report.arrived == report.base == len(source.state_dict())
    assert report.attention_arrived == 0


@pytest.mark.parametrize("name", FEW)
def test_identity_layers_at_all_sites_keep_the_outputs(name: str) -> None:
    base = model_yaml(name)
    follows = sorted(set(sites_of(base).values()))
    sites = ",".join(f"after:{row}" for row in follows)
    check_numbers(base, with_layers(base, [PlacedLayer("CBAM", parse_sites(sites), IDENTITY)]))


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_an_identity_layer_at_each_site_keeps_the_outputs(name: str) -> None:
    base = model_yaml(name)
    for row in sorted(set(sites_of(base).values())):
        check_numbers(base, with_layers(base, [PlacedLayer("CA", parse_sites(f"after:{row}"), IDENTITY)]))
