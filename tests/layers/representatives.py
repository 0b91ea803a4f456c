"""Layers that stand for their kind in the fast tests, where a test of all layers takes too long."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from tests.layers.cases import Case
from yolo_attn.registry import LayerSpec

__all__ = ["REPRESENTATIVES", "defaults_of_representatives", "options_slow", "others_slow"]

REPRESENTATIVES = frozenset({"SE", "CBAM", "EMA", "MHSA", "DLKA", "SwinWindow", "RCM", "RFAConv", "ASFF"})
"""Gates of channels, of both and in groups; attention to all positions, to sampled ones and in windows; a block, a
convolution and a fusion."""


def options_slow(cases: Sequence[Case]) -> list[Any]:
    """Return the parameters of a test for all cases, of which the fast ones are the defaults and the representatives.

    Args:
        cases: All layers with all their sets of options.
    """
    return [
        pytest.param(case, id=case.id, marks=pytest.mark.slow if case.options and not _is_fast(case) else ())
        for case in cases
    ]


def others_slow(items: Sequence[Case | LayerSpec | str]) -> list[Any]:
    """Return the parameters of a test that runs for all layers, of which only the representatives are fast.

    Args:
        items: Cases, layers or names of layers.
    """
    return [pytest.param(item, id=_id(item), marks=() if _is_fast(item) else pytest.mark.slow) for item in items]


def defaults_of_representatives(cases: Sequence[Case], names: Collection[str] = REPRESENTATIVES) -> list[Any]:
    """Return the parameters of a test for all cases, of which only the defaults of representatives are fast.

    Args:
        cases: All layers with all their sets of options.
        names: The representatives.
    """
    return [
        pytest.param(case, id=case.id, marks=() if case.spec.name in names and not case.options else pytest.mark.slow)
        for case in cases
    ]


def _is_fast(item: Case | LayerSpec | str) -> bool:
    return _name(item) in REPRESENTATIVES


def _name(item: Case | LayerSpec | str) -> str:
    if isinstance(item, Case):
        return item.spec.name
    return item.name if isinstance(item, LayerSpec) else item


def _id(item: Case | LayerSpec | str) -> str:
    return item.id if isinstance(item, Case) else _name(item)
