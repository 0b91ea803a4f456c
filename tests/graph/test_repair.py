"""Indices that were shifted in part, or not at all, become those of `place`."""

from __future__ import annotations

import random

import pytest

from yolo_attn.graph import ModelGraph, Row, read_model
from yolo_attn.graph.repair import nearest_base, repair_sources
from yolo_attn.host.installation import stock_model_yamls

BASES = [(path.name, ModelGraph(read_model(path))) for path in stock_model_yamls()]
NAMES = ("yolov8.yaml", "yolo11-seg.yaml", "yolov9e.yaml", "yolov8-p2.yaml", "rtdetr-l.yaml")


def is_attention(row: Row) -> bool:
    return row.module == "CBAM"


def base_of(name: str) -> ModelGraph:
    return ModelGraph(dict(BASES)[name].to_document())


def sources(graph: ModelGraph) -> list[list[int]]:
    return [row.sources for row in graph]


@pytest.mark.parametrize("name", NAMES)
def test_every_partial_shift_is_repaired(name: str) -> None:
    """Each absolute index is the base's, the right one or between them; each relative one is unchanged."""
    rng = random.Random(name)
    for _ in range(40):
        graph = base_of(name)
        for _ in range(rng.randint(1, 3)):
            graph.insert_after(rng.randrange(graph.head_index), "CBAM", [])
        right = sources(graph)
        written = ModelGraph(graph.to_document())
        stock = (i for i, row in enumerate(graph) if not is_attention(row))
        for i, row in zip(stock, base_of(name), strict=True):
            for k, source in enumerate(row.sources):
                if not row.relative[k]:
                    written.rows[i].sources[k] = rng.randint(source, right[i][k])
        found = nearest_base(written, BASES, is_attention)
        assert found is not None
        repair = repair_sources(written, found[1], found[0], is_attention)
        assert (sources(written), repair.unknown) == (right, [])
        assert not repair_sources(written, found[1], found[0], is_attention).reasons
