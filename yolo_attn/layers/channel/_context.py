"""A context vector pooled with one attention map per image, shared by GC and layers derived from it."""

from __future__ import annotations

from torch import Tensor

from yolo_attn.layers.numerics import no_autocast, widen

__all__ = ["pooled_context", "position_weights"]


def position_weights(logits: Tensor) -> Tensor:
    """Return the softmax over all positions of logits (B, 1, H, W), in at least float32, (B, H W)."""
    return widen(logits).flatten(1).softmax(1)


def pooled_context(x: Tensor, weights: Tensor) -> Tensor:
    """Return the sum over the positions of x (B, C, H, W) times their weights (B, H W), in the dtype of x, (B, C)."""
    with no_autocast(x):
        values = widen(x).flatten(2)
        context = (values @ weights.to(values.dtype)[..., None])[..., 0]
    return context.to(x.dtype)
