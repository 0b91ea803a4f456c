"""Floating-point operations, counted operator by operator in a real forward pass.

A multiplication and its addition count two. Counted is all that convolutions (transposed ones too), linear layers,
matrix products and attention do, whoever calls them and however they are written: `x @ y`, `einsum`, fused attention
kernels, PyTorch's fast path of multi-head attention. Not counted are biases, normalisations, activations, pooling,
interpolation, sampling, Fourier transforms and other sums element by element, which papers leave out as well: they take
time, but few operations. Measure the latency too.

Nothing is extrapolated from another image size, so a layer that works on a pooled vector costs what a vector costs.
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
        module: The model, in evaluation mode, counted as it is: fuse it first to count what is deployed.
        image: (B, C, H, W) on the device of the model.
    """
    with torch.no_grad(), flop_counter() as counter:
        module(image)
    return int(counter.get_total_flops())


@contextmanager
def flop_counter() -> Iterator[FlopCounterMode]:
    """Count the operations of what runs inside, in every supported PyTorch."""
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
    """Return formulas for operators that this PyTorch has and, up to 2.6, does not count."""
    from torch.utils import flop_counter as host

    operator = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    known = getattr(host, "flop_registry", {})
    return {} if operator is None or operator in known else {operator: _attention_flops}


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Return the operations of softmax(q k') v, from tensors or, as later versions pass them, from their shapes."""
    q, k, v = (tuple(getattr(x, "shape", x)) for x in (query, key, value))
    return int(2 * prod(q[:-1]) * k[-2] * (q[-1] + v[-1]))
