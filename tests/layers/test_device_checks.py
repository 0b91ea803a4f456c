"""The checks of tests/cuda/ find what they are for; on the CPU, for a few layers and injected errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from . import device_checks
from .cases import Case, cases

CPU = torch.device("cpu")
SIZE = (5, 6)
SOME = [case for case in cases(options=False) if case.spec.name in {"SE", "BRA", "CrossAttention"}]
each = pytest.mark.parametrize("case", SOME, ids=lambda case: case.id)


def again(compute: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """Stand in for a CUDA graph: compute into the same tensor."""
    output = compute()
    return output, lambda: output.copy_(compute())  # type: ignore[func-returns-value, return-value]


CHECKS: dict[str, Callable[[Case], Any]] = {
    "cpu": lambda case: device_checks.equals_the_cpu(case, CPU, SIZE),
    "float16": lambda case: device_checks.autocast_matches(case, CPU, torch.float16, SIZE),
    "bfloat16": lambda case: device_checks.autocast_matches(case, CPU, torch.bfloat16, SIZE),
    "half": lambda case: device_checks.half_matches(case, CPU, SIZE),
    "channels_last": lambda case: device_checks.channels_last_matches(case, CPU, SIZE),
    "graph": lambda case: device_checks.graph_matches(case, CPU, again, SIZE),
    "compile": lambda case: device_checks.compiled_matches(
        case, CPU, lambda layer: torch.compile(layer, fullgraph=True, backend="eager"), SIZE
    ),
}


@each
@pytest.mark.parametrize("check", CHECKS)
def test_a_correct_layer_passes(case: Case, check: str) -> None:
    CHECKS[check](case)


def test_a_graph_that_is_not_replayed_is_found() -> None:
    with pytest.raises(AssertionError):
        device_checks.graph_matches(SOME[0], CPU, lambda compute: (compute(), lambda: None), SIZE)


def test_a_compiler_that_changes_the_result_is_found() -> None:
    with pytest.raises(AssertionError):
        device_checks.compiled_matches(SOME[0], CPU, lambda layer: lambda x: 1.001 * layer(x), SIZE)


def test_another_result_of_half_precision_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "sigmoid", lambda x: x.sigmoid() * (1.1 if x.dtype == torch.float16 else 1))
    with pytest.raises(AssertionError):
        device_checks.half_matches(next(case for case in SOME if case.spec.name == "SE"), CPU, SIZE)
