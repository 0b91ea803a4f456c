"""Attention among the channels of each head, with cost linear in the map.

    A_ij = softmax over j of tau q_i . k_j / (|q_i| |k_j|)      i, j: channels of a head; products over all positions
    c_i = sum over j of A_ij v_j

Papers: Ali et al., arXiv 2106.09681; Zamir et al., arXiv 2111.09881.
"""

from __future__ import annotations

from torch import Tensor

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues
from yolo_attn.layers.numerics import length, no_autocast, widen

__all__ = ["channel_contexts", "channel_values", "channel_weights", "cosines"]


def channel_weights(query: Tensor, key: Tensor, temperature: Tensor) -> Tensor:
    """Return the weights A (B, heads, d, d), in at least float32.

    Args:
        query: (B, C, H, W).
        key: (B, C, H, W).
        temperature: tau of each head, (heads,).
    """
    heads = temperature.numel()
    with no_autocast(query):
        q, k = (widen(t).reshape(t.shape[0], heads, t.shape[1] // heads, -1) for t in (query, key))
        return (cosines(q, k) * widen(temperature).view(-1, 1, 1)).softmax(3)


def cosines(query: Tensor, key: Tensor) -> Tensor:
    """Return the cosine of each row of `query` and each row of `key`, (..., n, m)."""
    product = query @ key.transpose(-2, -1)
    return product / length(query, -1) / length(key, -1).transpose(-2, -1)


def channel_contexts(weights: Tensor, value: Tensor) -> Tensor:
    """Return the contexts A v, (B, C, H, W)."""
    b, heads, d, _ = weights.shape
    return (weights.to(value.dtype) @ value.reshape(b, heads, d, -1)).reshape(value.shape)


def channel_values(weights: Tensor) -> AttentionValues:
    """Return the mean weight that each channel receives, as a multiple of uniform attention."""
    return AttentionValues("", WEIGHT, weights[0].float().sum(1).flatten())
