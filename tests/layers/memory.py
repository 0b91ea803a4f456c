"""Peak memory of a layer, computed without running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from yolo_attn.analysis.memory import LiveBytes

from .fake_cuda import fake_cuda, move


class _FusedAttention(TorchFunctionMode):
    """Make scaled_dot_product_attention allocate its output alone, as its fused kernels do; fake tensors lack them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, _, value = args[:3]
            assert all(x.stride(-1) == 1 or x.shape[-1] == 1 for x in args[:3]), "no fused kernel reads such rows"
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


def peak_bytes(build: Callable[[], torch.nn.Module], *shapes: tuple[int, ...], device: str = "cpu") -> int:
    """Return the peak of live bytes of an inference, without its inputs.

    Fake tensors have sizes but no data, so layers that need gigabytes can be measured, and "cuda" needs no GPU. Memory
    that an operator allocates and frees internally is not counted; no operator in use allocates the square of its input
    size.

    Args:
        build: Builds the layer.
        shapes: The shapes of its inputs.
        device: "cpu" or "cuda", on which layers compute larger parts of a map at once.
    """
    with fake_cuda(), torch.no_grad():
        layer = move(build().eval(), device)
        xs = [torch.empty(shape, device=device) for shape in shapes]
        with _FusedAttention(), LiveBytes() as mode:
            layer(xs[0] if len(xs) == 1 else xs)
    return mode.peak
