"""Floating-point operations, counted operator by operator in a real forward pass.

A multiplication and its addition count as two. The count includes convolutions (also transposed), linear layers, matrix
products and attention in any form: `x @ y`, `einsum`, fused attention kernels, PyTorch's fast path of multi-head
attention. It excludes biases, normalization, activations, pooling, interpolation, sampling, Fourier transforms and
other elementwise sums, as papers do: they take time, but few operations. Measure the latency too.

The count is never extrapolated from another image size, which would be wrong for layers that work on pooled vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["count_flops", "flop_counter"]


def count_flops(module: nn.Module, image: torch.Tensor) -> int:
    """Return the floating-point operations of a forward pass (2 per multiply-add).

    Args:
        module: The model, in evaluation mode. Fuse it first to count the deployed operations.
        image: (B, C, H, W) on the device of the model.
    """
    with torch.no_grad(), flop_counter() as counter:
        module(image)
    return int(counter.get_total_flops())


@contextmanager
def flop_counter() -> Iterator[FlopCounterMode]:
    """Count the operations that run in the context, with any supported PyTorch."""
    mha: Any = getattr(torch.backends, "mha", None)  # later than PyTorch 2.1
    fast = mha is not None and mha.get_fastpath_enabled()
    if fast:  # one opaque operator, for which there is no formula
        mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False, custom_mapping=_missing_formulas()) as counter:
            yield counter
    finally:
        if fast:
            mha.set_fastpath_enabled(True)


def _missing_formulas() -> dict[Any, Any]:
    """Return formulas for operators that PyTorch up to 2.6 has, but does not count."""
    from torch.utils import flop_counter as host

    operator = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    known = getattr(host, "flop_registry", {})
    return {} if operator is None or operator in known else {operator: _attention_flops}


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Return the operations of softmax(q k') v, from tensors or, in later versions, from their shapes."""
    q, k, v = (tuple(getattr(x, "shape", x)) for x in (query, key, value))
    return int(2 * prod(q[:-1]) * k[-2] * (q[-1] + v[-1]))
