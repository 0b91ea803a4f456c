"""Rows, consumers, insertion, alignment, sites and text."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_attn.errors import UserError
from yolo_attn.graph import (
    IMAGE,
    ModelGraph,
    align,
    dump_model,
    list_sites,
    parse_sites,
    place,
    read_model,
    resolve_sites,
)

TINY: dict[str, Any] = {
    "nc": 3,
    "scales": {"n": [1.0, 1.0, 64]},
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]], [-1, 2, "C2f", [16, True]]],
    "head": [[-1, 1, "Conv", [16, 3, 2]], [[-1, 2], 1, "Concat", [1]], [[2, 4], 1, "Detect", ["nc"]]],
}
STRIDES = [2.0, 4.0, 4.0, 8.0, 8.0, None]


def tiny() -> ModelGraph:
    return ModelGraph(copy.deepcopy(TINY))


def test_documents_round_trip() -> None:
    assert tiny().to_document() == TINY


def test_relative_sources_become_absolute() -> None:
    document = copy.deepcopy(TINY)
    document["head"][1][0] = [-1, -3]
    graph = ModelGraph(document)
    assert graph.rows[4].sources == [3, 1]
    assert graph.rows[0].sources == [IMAGE]


def test_insertion_shifts_indices_and_redirects_every_consumer() -> None:
    graph = tiny()
    assert graph.consumers(2) == [3, 4, 5]
    new = graph.insert_after(2, "SE", [])
    assert new == 3
    assert graph.consumers(3) == [4, 5, 6]
    assert graph.consumers(2) == [3]
    document = graph.to_document()
    assert document["backbone"][3] == [-1, 1, "SE", []]
    assert document["head"] == [[-1, 1, "Conv", [16, 3, 2]], [[-1, 3], 1, "Concat", [1]], [[3, 5], 1, "Detect", ["nc"]]]


def test_insertion_without_redirection_leaves_a_dead_row() -> None:
    graph = tiny()
    new = graph.insert_after(4, "SE", [], redirect=False)
    assert graph.dead_rows() == [new]
    assert tiny().dead_rows() == []


def test_a_row_before_the_first_reads_the_image() -> None:
    graph = tiny()
    assert graph.insert_after(IMAGE, "SE", []) == 0
    assert graph.rows[0].sources == [IMAGE]
    assert graph.rows[1].sources == [0]
    assert len(graph.to_document()["backbone"]) == 4


@pytest.mark.parametrize("index", [-2, 5, 9])
def test_no_row_follows_the_head(index: int) -> None:
    with pytest.raises(UserError, match=f"no row can follow row {index}"):
        tiny().insert_after(index, "SE", [])


def test_sites() -> None:
    assert list_sites(tiny(), STRIDES) == {"backbone.P2": 2, "backbone.end": 2, "neck.P2": 2, "neck.P3": 4}
    assert resolve_sites(tiny(), STRIDES, parse_sites("neck")).after == [2, 4]
    assert resolve_sites(tiny(), STRIDES, parse_sites("neck.P3, after:1")).after == [1, 4]
    assert resolve_sites(tiny(), STRIDES, parse_sites("backbone,backbone.end")).after == [2]


def test_the_neck_is_every_input_of_the_head() -> None:
    document = copy.deepcopy(TINY)
    document["head"][-1][0] = [3, 2, 1, 4, 0]
    graph, strides = ModelGraph(document), [2.5, 4.0, 4.0, 8.0, 16.0, None]
    assert resolve_sites(graph, strides, parse_sites("neck")).after == [0, 1, 2, 3, 4]
    assert list_sites(graph, strides) == {"backbone.P2": 2, "backbone.end": 2, "neck.P3": 3, "neck.P4": 4}
    with pytest.raises(UserError) as caught:
        resolve_sites(graph, strides, parse_sites("neck.P2"))
    assert str(caught.value) == (
        "site 'neck.P2': the head reads rows 2, 1 of this level; "
        "place the layer at after:2 or after:1, or at neck for all inputs"
    )


@pytest.mark.parametrize("site", ["nek", "neck.P5", "after:5", "after:x", "replace:5", "replace:x", ""])
def test_an_unknown_site_lists_those_that_exist(site: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_sites(tiny(), STRIDES, parse_sites(site))
    assert repr(site) in str(caught.value)


def test_place_returns_rows_and_consumers() -> None:
    graph = tiny()
    inserted = place(graph, STRIDES, "SE", parse_sites("neck"), {"reduction": 4})
    assert [(i.row, i.follows, i.consumers) for i in inserted] == [(3, 2, 3), (6, 4, 1)]
    assert graph.rows[6].args == [{"reduction": 4}]


def test_place_replaces_a_convolution_of_the_same_width_kernel_and_stride() -> None:
    graph = tiny()
    inserted = place(graph, STRIDES, "RFAConv", parse_sites("replace:1,after:0"), {"activation": "silu"})
    assert [(i.row, i.follows, i.consumers, i.replaced, i.new) for i in inserted] == [
        (1, 0, 1, "", True),
        (2, 1, 1, "Conv", False),
    ]
    assert graph.to_document()["backbone"][2] == [
        -1,
        1,
        "RFAConv",
        [16, {"kernel_size": 3, "stride": 2, "activation": "silu"}],
    ]
    other = tiny()
    other.rows[1].args = [16]
    place(other, STRIDES, "RFAConv", parse_sites("replace:1"), {"kernel_size": 5})
    assert other.rows[1].args == [16, 1, 1, {"kernel_size": 5}]  # the defaults of Conv, then what differs


@pytest.mark.parametrize(
    ("site", "args", "options", "message"),
    [
        ("replace:2", [16, True], {}, "row 2: C2f cannot be replaced by RFAConv; the rows of Conv are 0, 1, 3"),
        ("replace:1", [16, 3, 2, None, 4], {}, "row 1: Conv with [16, 3, 2, null, 4] has more than a width"),
        ("replace:1", [16, 3, 2], {"stride": 1}, "stride=1, but row 1 has 2"),
        ("replace:1", [16, 3, 2], {"out_channels": 8}, "out_channels=8, but row 1 has 16"),
    ],
)
def test_a_row_that_cannot_be_replaced(site: str, args: list[Any], options: dict[str, Any], message: str) -> None:
    graph = tiny()
    graph.rows[int(site[-1])].args = args
    with pytest.raises(UserError) as caught:
        place(graph, STRIDES, "RFAConv", parse_sites(site), options)
    assert message in str(caught.value)


def test_align_numbers_a_replacement_like_the_row_in_its_place() -> None:
    source, target = tiny(), tiny()
    for graph in (source, target):
        graph.rows[1].module = "RFAConv"
    target.insert_after(1, "SE", [])
    target.rows[4].module = "RFAConv"  # only there

    def map_rows(given: ModelGraph) -> dict[int, int]:
        return align(target, given, lambda row: row.module == "SE", None, lambda row: row.module == "RFAConv")

    assert map_rows(source) == {0: 0, 1: 1, 3: 2, 5: 4, 6: 5}
    assert map_rows(tiny()) == {0: 0, 3: 2, 5: 4, 6: 5}
    source.insert_after(1, "SE", [])
    assert map_rows(source) == {0: 0, 1: 1, 2: 2, 3: 3, 5: 5, 6: 6}  # what follows a replacement is paired too


def test_align_skips_inserted_rows_and_pairs_them_by_name() -> None:
    source, target = tiny(), tiny()
    source.insert_after(1, "SE", [])
    target.insert_after(1, "CBAM", [])
    target.insert_after(1, "SE", [])
    mapping = align(target, source, lambda row: row.module in ("SE", "CBAM"))
    assert mapping == {0: 0, 1: 1, 2: 2, 4: 3, 5: 4, 6: 5, 7: 6}


def test_align_when_rows_are_missing() -> None:
    target, source = tiny(), tiny()
    target.insert_after(2, "SPPF", [16, 5])  # a stock row that the source does not have
    mapping = align(target, source, lambda row: False)
    assert mapping == {0: 0, 1: 1, 2: 2, 4: 3, 5: 4, 6: 5}


def kinds(*names: str) -> ModelGraph:
    rows = [[-1, 1, name, []] for name in names]
    return ModelGraph({"backbone": rows[:1], "head": rows[1:]})


def align_all(target: ModelGraph, source: ModelGraph, fits: set[tuple[int, int]], tensors: int = 3) -> dict[int, int]:
    return align(target, source, lambda row: row.module == "SE", lambda a, b: tensors if (a, b) in fits else None)


def test_align_by_fit_when_the_sequences_differ() -> None:
    source = kinds("Conv", "C2f", "Conv", "C2f", "SPPF", "Detect")
    target = kinds("Conv", "C2f", "Conv", "C2f", "Conv", "SE", "C2f", "SPPF", "Detect")
    fits = {(0, 0), (1, 1), (6, 3), (7, 4), (3, 1), (4, 0)}
    assert align_all(target, source, fits) == {0: 0, 1: 1, 6: 3, 7: 4}  # not 3, 4: in order, with the most tensors


def test_align_by_number_when_nothing_else_fits() -> None:
    source, target = kinds("Conv", "C2f", "SPPF", "Detect"), kinds("Conv", "C3", "SE", "SPPF", "Detect")
    assert align_all(target, source, {(0, 0), (3, 2), (4, 3)}) == {0: 0, 1: 1, 3: 2, 4: 3}
    source = kinds("Conv", "C2f", "SPPF", "Conv", "Detect")
    assert align_all(target, source, {(3, 1), (4, 2)}) == {0: 0, 1: 1, 3: 2, 4: 3}  # two widths fit by chance


def test_align_by_overlap_where_rows_of_the_same_number_fit_in_part() -> None:
    source = kinds("Conv", "C2f", "Conv", "C2f", "Detect")
    target = kinds("Conv", "C3", "SE", "Conv", "Conv", "C2f", "Detect")
    fits = {(0, 0), (5, 3)}

    def map_rows(overlap: int) -> dict[int, int]:
        def fit(a: int, b: int) -> int | None:
            return 3 if (a, b) in fits else None

        return align(target, source, lambda row: row.module == "SE", fit, overlap=lambda a, b: overlap)

    assert map_rows(0) == {0: 0, 5: 3}
    assert map_rows(1) == {0: 0, 1: 1, 3: 2, 5: 3}  # not stock row 3 to 3, where another fits
    assert map_rows(2) == {0: 0, 1: 1, 3: 2, 4: 3, 5: 4}  # the rows of the same number have more


def test_a_source_is_written_as_minus_one_only_if_it_was_and_is_the_row_before() -> None:
    graph = tiny()
    graph.insert_after(1, "SE", [], redirect=False)
    assert graph.froms() == [-1, -1, -1, 1, -1, [-1, 3], [3, 5]]  # C2f reads row 1, which is not before it any more
    document = copy.deepcopy(TINY)
    document["backbone"][1][0] = 0
    document["head"][0][0] = [-1]
    assert ModelGraph(document).froms() == [-1, 0, -1, [-1], [-1, 2], [2, 4]]


def test_align_pairs_inserted_rows_before_the_first_row_and_after_unpaired_ones() -> None:
    source, target = tiny(), tiny()
    for graph in (source, target):
        graph.insert_after(IMAGE, "SE", [])
    assert align(target, source, lambda row: row.module == "SE") == {n: n for n in range(7)}
    target.insert_after(0, "SE", [])  # after the first: the second of the target has no counterpart
    assert align(target, source, lambda row: row.module == "SE") == {0: 0, **{n + 1: n for n in range(1, 7)}}
    target, source = kinds("Conv", "C3", "SE", "SPPF", "Detect"), kinds("Conv", "C2f", "SE", "SPPF", "Conv", "Detect")
    fits = {(0, 0), (3, 3), (4, 5)}
    assert align_all(target, source, fits) == {0: 0, 3: 3, 4: 5}  # not SE, whose stock row is another layer


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 7))))
@settings(max_examples=60, deadline=None)
def test_align_keeps_rows_of_the_same_number_that_fit(fits: set[tuple[int, int]]) -> None:
    mapping = align_all(kinds(*["Conv"] * 10), kinds(*["Conv"] * 8), fits)
    assert all(mapping[n] == n for n in range(8) if (n, n) in fits)
    assert [mapping[i] for i in sorted(mapping)] == sorted(set(mapping.values()))
    assert all((i, j) in fits for i, j in mapping.items()) or all(i == j for i, j in mapping.items())


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_sequence_of_insertions_keeps_the_network(seed: int) -> None:
    """Removing the inserted rows restores the base, for any insertions in any order."""
    chance = random.Random(seed)
    graph = tiny()
    for _ in range(chance.randint(1, 6)):
        graph.insert_after(chance.randint(IMAGE, graph.head_index - 1), "SE", [])
    assert graph.dead_rows() == []
    again = ModelGraph(graph.to_document())
    assert [row.sources for row in again] == [row.sources for row in graph]
    kept = [i for i, row in enumerate(again) if row.module != "SE"]

    def through(source: int) -> int:
        while source != IMAGE and again.rows[source].module == "SE":
            source = again.rows[source].sources[0]
        return source if source == IMAGE else kept.index(source)

    assert [[through(s) for s in again.rows[i].sources] for i in kept] == [row.sources for row in tiny()]
    assert len(again.to_document()["backbone"]) + len(again.to_document()["head"]) == len(again)


def test_text_round_trips() -> None:
    text = dump_model(TINY, "a header\nof two lines", {2: "backbone.P2"})
    assert yaml.safe_load(text) == TINY
    assert text.startswith("# a header\n# of two lines\n")
    assert "- [-1, 2, C2f, [16, True]] # 2 backbone.P2" in text


def test_a_missing_file_is_one_line(tmp_path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: No such file"):
        read_model(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="not a text file"):
        read_model(tmp_path / "binary.yaml")
