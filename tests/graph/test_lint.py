"""Findings about the rows of a model YAML that need no other model."""

from __future__ import annotations

import pytest

from yolo_attn.graph.lint import find_head_problems
from yolo_attn.graph.rows import ModelGraph


def detecting(sources: list[int]) -> ModelGraph:
    rows = [[-1, 1, "Conv", [8, 3, 2]] for _ in range(4)]
    return ModelGraph({"backbone": rows, "head": [[sources, 1, "Detect", ["nc"]]]})


@pytest.mark.parametrize(
    ("sources", "strides", "shown"),
    [
        ([1, 2, 3], [2.0, 4.0, 8.0, 16.0, None], ""),
        ([2, 1, 3], [2.0, 4.0, 8.0, 16.0, None], "row 2 at stride 8, row 1 at stride 4, row 3 at stride 16"),
        ([1, 2], [2.0, 4.0, 4.0, 16.0, None], "row 1 at stride 4, row 2 at stride 4"),
        ([3, 1], [2.0, 4.0, 8.0, None, None], ""),  # a row of several maps has no stride
        ([3], [2.0, 4.0, 8.0, 16.0, None], ""),
    ],
)
def test_a_head_reads_increasing_strides(sources: list[int], strides: list[float | None], shown: str) -> None:
    findings = find_head_problems(detecting(sources), strides)
    assert [finding.row for finding in findings] == ([4] if shown else [])
    assert all(f"Detect reads {shown}; each stride has to be larger" in finding.message for finding in findings)
