"""Layers inside blocks: names, sites and unchanged rows."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from yolo_attn import UserError
from yolo_attn.graph import Insertion, ModelGraph, align, block_of, layers_in, list_blocks, parse_sites, place
from yolo_attn.graph.blocks import split_args

DOCUMENT: dict[str, Any] = {
    "nc": 2,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 2, "C2f", [16, True]], [-1, 1, "SPPF", [16, 5]]],
    "head": [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 0], 1, "Concat", [1]],
        [-1, 2, "C2f", [16]],
        [[5], 1, "Detect", ["nc"]],
    ],
}
STRIDES = [2, 2, 2, 1, 1, 1, None]


def rows(graph: ModelGraph) -> list[list[Any]]:
    document = graph.to_document()
    return [*document["backbone"], *document["head"]]


def test_names() -> None:
    assert (block_of("C3k2+EMA"), layers_in("C3k2+EMA")) == ("C3k2", ["EMA"])
    assert (block_of("C3k2+SE+CBAM"), layers_in("C3k2+SE+CBAM")) == ("C3k2", ["SE", "CBAM"])
    assert (block_of("C3k2"), layers_in("C3k2")) == ("C3k2", [])
    assert list_blocks(ModelGraph(DOCUMENT)) == {"Conv": [0], "C2f": [1, 5], "SPPF": [2], "Concat": [4]}


@pytest.mark.parametrize(
    ("site", "changed"),
    [
        ("inside:C2f", [1, 5]),
        ("inside:backbone.C2f", [1]),
        ("inside:neck.C2f", [5]),
        ("inside:5", [5]),
        ("inside:5, inside:C2f,inside:SPPF", [1, 2, 5]),
    ],
)
def test_a_layer_inside_a_block_changes_only_its_row(site: str, changed: list[int]) -> None:
    graph, before = ModelGraph(DOCUMENT), rows(ModelGraph(DOCUMENT))
    placed = place(graph, STRIDES, "SE", parse_sites(site), {"reduction": 8})
    assert [(p.row, p.follows) for p in placed] == [(i, i) for i in changed]
    for i, (new, old) in enumerate(zip(rows(graph), before, strict=True)):
        inside = [*old[:2], f"{old[2]}+SE", [*old[3], {"reduction": 8}]]
        assert new == (inside if i in changed else old)


def test_sites_of_both_kinds_in_one_list() -> None:
    graph = ModelGraph(DOCUMENT)
    placed = place(graph, STRIDES, "SE", parse_sites("inside:C2f,after:1,after:2"))
    assert placed == [Insertion(1, 1, 1, "C2f"), Insertion(2, 1, 1), Insertion(4, 2, 1), Insertion(7, 5, 1, "C2f")]
    assert [row[2] for row in rows(graph)][:5] == ["Conv", "C2f+SE", "SE", "SPPF", "SE"]
    assert rows(graph)[6:] == [[[-1, 0], 1, "Concat", [1]], [-1, 2, "C2f+SE", [16]], [[7], 1, "Detect", ["nc"]]]


def test_alignment_ignores_layers_inside_blocks() -> None:
    plain, graphs = ModelGraph(DOCUMENT), [ModelGraph(DOCUMENT), ModelGraph(DOCUMENT)]
    place(graphs[0], STRIDES, "SE", parse_sites("inside:C2f"))
    place(graphs[1], STRIDES, "CBAM", parse_sites("inside:5,after:1"))
    for target, source in ((plain, graphs[0]), (graphs[0], plain), (graphs[1], graphs[0])):
        mapping = align(target, source, lambda row: row.module == "CBAM")
        names = [(block_of(target.rows[i].module), block_of(source.rows[j].module)) for i, j in mapping.items()]
        assert all(a == b for a, b in names)
        assert sorted(mapping.values()) == list(range(len(plain)))


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (
            "inside:C3k2",
            "no site 'inside:C3k2' in this model; did you mean inside:C2f?; it has inside:Conv, inside:C2f",
        ),
        ("inside:neck.SPPF", "no site 'inside:neck.SPPF'"),
        ("inside:head.C2f", "no site 'inside:head.C2f'"),
        ("inside:nn.Upsample", "no site 'inside:nn.Upsample'"),
        ("inside:", "no site 'inside:'"),
        ("inside:6", "site 'inside:6': this model's rows before the head are 0 to 5"),
        ("insid:C2f", "no site 'insid:C2f' in this model"),
        ("inside:C2f,nek", "no site 'nek' in this model"),
    ],
)
def test_unknown_sites(site: str, words: str) -> None:
    graph = ModelGraph(DOCUMENT)
    before = copy.deepcopy(rows(graph))
    with pytest.raises(UserError) as caught:
        place(graph, STRIDES, "SE", parse_sites(site))
    assert words in str(caught.value)
    assert rows(graph) == before


@pytest.mark.parametrize(
    ("options", "args"),
    [
        (({}, {}), []),
        (({"reduction": 8}, {}), [{"reduction": 8}, {}]),
        (({}, {"kernel_size": 3}), [{}, {"kernel_size": 3}]),
    ],
)
def test_a_layer_follows_those_in_the_block(options: tuple[dict[str, int], ...], args: list[dict[str, int]]) -> None:
    graph = ModelGraph(DOCUMENT)
    place(graph, STRIDES, "SE", parse_sites("inside:5"), options[0])
    (placed,) = place(graph, STRIDES, "CBAM", parse_sites("inside:5"), options[1])
    row = graph.rows[5]
    assert (placed.block, row.module, row.args) == ("C2f+SE", "C2f+SE+CBAM", [16, *args])
    assert split_args(row.module, row.args) == ([16], list(options))
    assert list_blocks(graph)["C2f"] == [1, 5]


def test_a_chain_has_options_for_all_layers_or_none() -> None:
    for args in ([16, {}], [16, {}, {}, {}]):
        words = "C2f\\+SE\\+CBAM has 2 layers and .* of options; write one mapping for each layer"
        with pytest.raises(UserError, match=words):
            split_args("C2f+SE+CBAM", args)
