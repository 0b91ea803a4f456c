"""Helpers for correct results in half precision, on any device and during export."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = [
    "FLOAT16_MAX",
    "at_least_one",
    "channel_shuffle",
    "is_exported",
    "is_traced",
    "length",
    "lerp",
    "no_autocast",
    "one_dtype",
    "runs_on_cpu",
    "runs_on_cpu_in_float32",
    "saturate",
    "total",
    "unit",
    "wide",
    "widen",
]

Size = TypeVar("Size", int, Tensor)

FLOAT16_MAX = torch.finfo(torch.float16).max  # 65504; other types have ample range
SHORTEST = 1e-12
"""Least length of a vector that divides; it would be zero in float16."""


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return float32 for a narrower dtype, else the dtype itself: the type for sums, energies and softmax."""
    return torch.promote_types(dtype, torch.float32)


def widen(x: Tensor) -> Tensor:
    """Return x in at least float32."""
    # A conversion to its own dtype would be an operation of an exported model, which NCNN does not have.
    return x if x.dtype == wide(x.dtype) else x.to(wide(x.dtype))


def saturate(x: Tensor, *dtypes: torch.dtype) -> Tensor:
    """Return x clamped to the range of float16; in other types, x itself.

    Used for unbounded products: an infinity becomes NaN in the next sum or product with zero, in the gradient too, and
    a single NaN ends a training.

    Args:
        x: Any tensor.
        dtypes: Other types that x is converted from or to.
    """
    return x.clamp(-FLOAT16_MAX, FLOAT16_MAX) if torch.float16 in (x.dtype, *dtypes) else x


def one_dtype(xs: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors in their promoted type, which is that of their sum.

    Under autocast the types of rows differ: a convolution returns half precision, a layer norm float32.
    """
    dtype = reduce(torch.promote_types, (x.dtype for x in xs))
    return [x.to(dtype) for x in xs]


def no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Return a context that disables autocast on the device of x, so products of wide tensors stay wide."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if kind in {"cpu", "cuda"} else nullcontext()


def at_least_one(count: Size) -> Size:
    """Return max(count, 1); in a trace, where sizes are tensors, without making it a constant."""
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)


def lerp(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """Return `torch.lerp`; in a trace, as a sum and a product, because NCNN's converter does not know it."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return start + weight * (end - start)
    return torch.lerp(start, end, weight)


def length(x: Tensor, *dims: int) -> Tensor:
    """Return the Euclidean length over dimensions, which remain with length 1; at least 1e-12, as in `F.normalize`.

    Args:
        x: Of float32 or wider.
        dims: The dimensions of a vector.
    """
    if tuple(dim % x.ndim for dim in dims) != (x.ndim - 1,) or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        # PyTorch's norm is faster along the last dimension only. MNN loses its dimensions, without an error.
        return x.square().sum(dims, keepdim=True).clamp(min=SHORTEST**2).sqrt()
    lengths: Tensor = torch.linalg.vector_norm(x, dim=dims, keepdim=True)
    return lengths.clamp(min=SHORTEST)


def unit(x: Tensor, *dims: int) -> Tensor:
    """Return x divided by its `length` over dimensions."""
    return x / length(x, *dims)


def is_traced() -> bool:
    """Return whether an exporter or a compiler records the operators, which it knows and may fuse."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return True
    is_compiling = getattr(torch.compiler, "is_compiling", None)  # later than PyTorch 2.1
    return is_compiling is not None and bool(is_compiling())


def is_exported() -> bool:
    """Return whether an exporter records the operators; before PyTorch 2.7, which does not tell, also a compiler."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return True
    is_exporting = getattr(torch.compiler, "is_exporting", None)
    return is_traced() if is_exporting is None else bool(is_exporting())


def runs_on_cpu(x: Tensor) -> bool:
    """Return whether the operators of x run one by one on a CPU, where its caches decide which ones are fastest."""
    return x.device.type == "cpu" and not is_traced()


def runs_on_cpu_in_float32(x: Tensor) -> bool:
    """Return `runs_on_cpu` for a tensor of float32, the type that the choices between operators were measured in."""
    return runs_on_cpu(x) and x.dtype == torch.float32


def total(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum of one or more tensors."""
    return reduce(torch.add, tensors)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of `groups` equal groups: 0, C/g, 2C/g, ..., 1, C/g + 1, ...

    Args:
        x: (B, C, H, W) with C a multiple of `groups`.
        groups: Number of groups.
    """
    b, c, h, w = x.shape
    return x.reshape(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, c, h, w)
