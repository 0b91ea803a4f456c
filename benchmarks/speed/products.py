"""The convolutions and matrix products of a call, to be measured alone.

What a layer takes beyond them is normalization, activation, sampling and copies. No arrangement of those makes the
layer faster than its products, unless it needs fewer or other ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .timing import Run

__all__ = ["products_of"]

PRODUCTS = frozenset(
    ["convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "addmm_", "baddbmm_"]
)
FUSED = "_scaled_dot_product"  # attention, forward and backward

Call = tuple[Any, tuple[Any, ...], dict[str, Any]]


def products_of(run: Run) -> Run:
    """Return a run of the convolutions, matrix products and fused attention of another one, with the same operands."""
    with _Recorder() as recorder:
        run()

    def again() -> None:
        with torch.no_grad():
            for operator, inputs, options in recorder.calls:
                operator(*inputs, **options)

    return again


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        name = func.overloadpacket.__name__
        if name in PRODUCTS or name.startswith(FUSED):
            self.calls.append((func, tuple(map(_detached, args)), options))
        return func(*args, **options)


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
