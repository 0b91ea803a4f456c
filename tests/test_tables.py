"""Tables for the terminal."""

from __future__ import annotations

from yolo_attn.tables import align


def test_columns_are_aligned_where_characters_take_two_columns() -> None:
    lines = [["数据集", "mAP"], ["digits", "0.5"], ["cafe\u0301", "10.25"]]
    assert align(lines, left=[0]).splitlines() == ["数据集    mAP", "digits    0.5", "cafe\u0301    10.25"]
    assert align(lines, left=[1]).splitlines() == ["数据集  mAP", "digits  0.5", "  cafe\u0301  10.25"]
