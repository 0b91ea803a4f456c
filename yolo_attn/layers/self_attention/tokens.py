"""Maps as tokens, attention over them without N x N weights, and where a token is.

A map (B, C, H, W) becomes N = H W tokens (B, N, C), one for each cell, row by row. All attention here goes through
`attend`, whose fused kernels never hold the N x M weights, or through `stream`, which holds a few queries' at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from yolo_attn.layers.checks import check
from yolo_attn.layers.numerics import wide

__all__ = ["attend", "check_sine", "join_heads", "maps", "places", "sine_positions", "split_heads", "stream", "tokens"]

BUDGET = 2**25
"""How many numbers `stream` lets a part hold, 128 MiB in float32."""
TEMPERATURE = 10000
"""Base of the wavelengths of the sine positions."""


def tokens(x: Tensor) -> Tensor:
    """Return a map (B, C, H, W) as tokens (B, HW, C)."""
    return x.flatten(2).transpose(1, 2)


def maps(x: Tensor, like: Tensor) -> Tensor:
    """Return tokens (B, HW, C) as a map (B, C, H, W) of the height and width of another."""
    height, width = like.shape[2:]
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], height, width)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (B, N, C) as (B, heads, N, C / heads)."""
    b, n, c = x.shape
    return x.reshape(b, n, heads, c // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Return (B, heads, N, d) as (B, N, heads d)."""
    b, heads, n, d = x.shape
    return x.transpose(1, 2).reshape(b, n, heads * d)


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None, bias: Tensor | None = None
) -> Tensor:
    """Return softmax(scale q k^T + bias) v, (B, heads, N, d), by a fused kernel.

    The kernels need tensors of one width and without gaps in their last dimension; otherwise PyTorch falls back to
    N x M weights without a word.

    Args:
        query: (B, heads, N, d).
        key: (B, heads, M, d).
        value: (B, heads, M, d).
        scale: Factor of the logits; None for 1 / sqrt(d).
        bias: Added to the logits, broadcastable to (B, heads, N, M); of booleans, which keys count.
    """
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)


def stream(function: Callable[..., Tensor], *queries: Tensor, held: int) -> Tensor:
    """Return function(*queries), computed for a few queries at a time where all at once would take too much memory.

    In training the parts are computed again for their gradients, so that nothing of theirs is kept. While a trace
    runs there is one part: the number of parts would be frozen.

    Args:
        function: Works for each query alone; its result has the queries in its last but one dimension.
        queries: (..., N, any), split along their last but one dimension.
        held: How many numbers the function holds for each query.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return function(*queries)
    size = max(1, BUDGET // held)
    if queries[0].shape[-2] <= size:
        return function(*queries)
    parts = zip(*(torch.split(query, size, -2) for query in queries), strict=True)
    if torch.is_grad_enabled():
        done = [checkpoint(function, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    else:
        done = [function(*part) for part in parts]
    return torch.cat(done, -2)


def places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column of each token of a map, (HW, 1) both."""
    height, width = x.shape[2:]
    place = torch.arange(height * width, device=x.device)[:, None]
    row = torch.div(place, width, rounding_mode="floor")
    return row, place - row * width


def check_sine(layer: nn.Module, *channels: int) -> None:
    """Raise ValueError unless sine positions have as many features as these channels: a multiple of four."""
    for count in channels:
        check(layer, count % 4 == 0, "channels", count, "a multiple of 4, or position=none")


def sine_positions(x: Tensor) -> Tensor:
    """Return the sine features of the cells of a map (B, C, H, W), (1, HW, C), C a multiple of four.

    The first half of the features tells the row, the second the column. A row r = 1 ... H stands at the angle
    2 pi r / H, so that maps of different sizes have the same features in the same place; each pair of features is
    sine and cosine of the angle times 10000^(-2i / (C/2)).

    Source: Carion et al., arXiv 2005.12872, and their code (which adds 1e-6 to H).
    """
    channels, height, width = x.shape[1:]
    dtype = wide(x.dtype)
    pair = torch.arange(channels // 4, device=x.device, dtype=dtype)
    wave = torch.pow(torch.full_like(pair, TEMPERATURE), pair * (-4 / channels))
    rows = _waves(height, wave)[:, None].expand(-1, width, -1)
    columns = _waves(width, wave)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], 2).reshape(1, -1, channels).to(x.dtype)


def _waves(size: int, wave: Tensor) -> Tensor:
    place = torch.arange(size, device=wave.device).to(wave.dtype) + 1
    angle = (place * (2 * torch.pi / (size + 1e-6)))[:, None] * wave
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)
