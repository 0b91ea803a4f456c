"""Conversion between maps and tokens, memory-efficient attention, and positions of tokens.

A map (B, C, H, W) becomes N = H W tokens (B, N, C), one per position, row by row. Attention over tokens uses `attend`,
whose fused kernels never store the N x M weights, or `chunked`, which stores those of a few queries at a time. On a CPU
`attend` stores up to 16 MiB of weights of a single head where two products of whole matrices take less time: 0.5 with
oneDNN on a processor with AVX-512, 0.8 to 0.9 with MKL in training or for few weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from yolo_attn.layers.checks import check
from yolo_attn.layers.numerics import FLOAT16_MAX, at_least_one, is_traced, runs_on_cpu_in_float32, wide
from yolo_attn.layers.projections import convolves, linear

__all__ = [
    "attend",
    "attend_any_width",
    "axis_coordinates",
    "check_sine",
    "chunked",
    "join_heads",
    "sine_positions",
    "split_heads",
    "to_map",
    "to_tokens",
    "token_positions",
]

MAX_ELEMENTS = 2**25
"""Largest number of elements of a chunk, 128 MiB in float32."""
MAX_WEIGHTS = 2**22
"""Largest number of weights that are stored where that is faster, 16 MiB in float32."""
CACHED_WEIGHTS = 2**18
"""Number of weights that stay in the cache of a CPU, 1 MiB in float32."""
MAX_ELEMENTS_CPU = 2**23
"""The same on a CPU, whose allocator returns larger tensors to the system; new pages take longer than products."""
ALIGNED = 8
"""Multiple of the widths that all fused kernels of a GPU accept, in any type."""
TEMPERATURE = 10000
"""Base of the wavelengths of the sine positions."""


def to_tokens(x: Tensor) -> Tensor:
    """Return a map (B, C, H, W) as tokens (B, HW, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(x: Tensor, like: Tensor) -> Tensor:
    """Return tokens (B, HW, C) as a map (B, C, H, W) with the height and width of another map."""
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
    """Return softmax(scale q k^T + bias) v, (B, heads, N, e), with a fused kernel.

    On a CPU the kernel requires keys and values of equal width, and contiguous rows: PyTorch silently stores the N x M
    weights for anything else.

    Args:
        query: (B, heads, N, d).
        key: (B, heads, M, d).
        value: (B, heads, M, e).
        scale: Factor of the logits; None for 1 / sqrt(d).
        bias: Added to the logits, broadcastable to (B, heads, N, M); if boolean, a mask of the keys attended to.
    """
    if query.is_cuda and not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return _attend_on_gpu(query, key, value, scale, bias)
    images, heads, count, width = query.shape
    factor = width**-0.5 if scale is None else scale
    if bias is None and heads == 1 and _stores_weights(query, images * count * key.shape[2]):
        scaled = query.squeeze(1) * factor
        key, value = key.squeeze(1), value.squeeze(1)
        if images == 1:  # squeezed, because the derivatives of an index and of a stack are copies
            return _attend(scaled.squeeze(0), key.squeeze(0), value.squeeze(0))[None, None]
        contexts = [_attend(*image) for image in zip(scaled.unbind(), key.unbind(), value.unbind(), strict=True)]
        return torch.stack(contexts)[:, None]
    if bias is None and width != value.shape[3] and runs_on_cpu_in_float32(query):
        # Where there is no fused kernel, PyTorch also looks through the weights for queries without a key.
        return ((query * factor) @ key.transpose(2, 3)).softmax(3) @ value
    if bias is not None and bias.dtype == torch.bool and is_traced():
        # Exporters look for NaN in the weights of a boolean mask, which MNN has no operator for.
        bias = (bias.to(query.dtype) - 1) * FLOAT16_MAX
    if not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        query, key, value = map(_with_rows, (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)


def _attend_on_gpu(query: Tensor, key: Tensor, value: Tensor, scale: float | None, bias: Tensor | None) -> Tensor:
    """Return `attend` by a fused kernel of a GPU.

    The kernels read aligned rows of equal width. PyTorch silently stores the N x M weights for anything else.
    """
    depth, scale = value.shape[3], query.shape[3] ** -0.5 if scale is None else scale
    width = -(-max(query.shape[3], depth) // ALIGNED) * ALIGNED
    query, key, value = (_with_rows(_padded(x, width)) for x in (query, key, value))
    bias = None if bias is None else _with_rows(bias)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)[..., :depth]


def _padded(x: Tensor, width: int) -> Tensor:
    """Return x with zeros up to a width of its last dimension."""
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))


def _with_rows(x: Tensor) -> Tensor:
    """Return x with a last dimension that is contiguous in memory."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _stores_weights(query: Tensor, weights: int) -> bool:
    """Return whether two products of whole matrices are faster than the fused kernel for a single head."""
    if weights > MAX_WEIGHTS or not runs_on_cpu_in_float32(query) or torch.get_num_threads() == 1:
        return False
    return torch.is_grad_enabled() or convolves(query) or weights <= CACHED_WEIGHTS


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax(q k^T) v of one head of one image, (N, d), with stored weights."""
    if not convolves(query):
        return (query @ key.t()).softmax(1) @ value
    weights = linear(query[None], key).softmax(-1)
    columns = value[None].transpose(1, 2).contiguous()  # without it the convolution makes a slower copy
    return linear(weights, columns.squeeze(0)).squeeze(0)


def attend_any_width(query: Tensor, key: Tensor, value: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """Return `attend` for values of another width than keys; the narrower ones are padded with zeros.

    Args:
        query: (B, heads, N, d).
        key: (B, heads, M, d).
        value: (B, heads, M, e).
        bias: Added to the logits.
    """
    width, depth = query.shape[3], value.shape[3]
    if width == depth or query.is_cuda or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return attend(query, key, value, bias=bias)  # an exported graph has no fused kernels
    wider = max(width, depth)
    q, k, v = (_padded(t, wider) for t in (query, key, value))
    return attend(q, k, v, scale=width**-0.5, bias=bias)[..., :depth]


def chunked(function: Callable[..., Tensor], *queries: Tensor, elements_per_query: int) -> Tensor:
    """Return function(*queries), computed in chunks of queries if all of them would take too much memory.

    In training, chunks are recomputed in the backward pass, so their intermediate results are not stored; results that
    fit into `MAX_ELEMENTS` are. A trace has a single chunk, because the number of chunks would be constant in it.

    Args:
        function: A function of each query alone; its output has the queries in its second to last dimension.
        queries: (..., N, any), split along the second to last dimension.
        elements_per_query: Number of elements that the function stores per query.
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return function(*queries)
    count, recomputed = queries[0].shape[-2], torch.is_grad_enabled()
    largest = MAX_ELEMENTS_CPU if queries[0].device.type == "cpu" else MAX_ELEMENTS
    size = max(1, min(largest, MAX_ELEMENTS) // elements_per_query)
    if count <= size or (recomputed and count * elements_per_query <= MAX_ELEMENTS):
        return function(*queries)
    chunks = zip(*(torch.split(query, size, -2) for query in queries), strict=True)
    if recomputed:
        outputs = [checkpoint(function, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    else:
        outputs = [function(*chunk) for chunk in chunks]
    return torch.cat(outputs, -2)


def token_positions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column of each token of a map, each (HW, 1)."""
    height, width = x.shape[2:]
    index = torch.arange(height * width, device=x.device)[:, None]
    row = torch.div(index, width, rounding_mode="floor")
    return row, index - row * width


def axis_coordinates(length: int, like: Tensor, shift: float = 0.0) -> Tensor:
    """Return the coordinates along an axis, from -1 for the first position to 1 for the last one, (length,).

    Args:
        length: Number of positions.
        like: Tensor whose device and dtype the result has.
        shift: Distance by which all positions are moved, in positions.
    """
    index = torch.arange(length, device=like.device, dtype=like.dtype) + shift
    return index * (2 / at_least_one(length - 1)) - 1


def check_sine(layer: nn.Module, *channels: int) -> None:
    """Raise ValueError unless the numbers of channels are valid for sine positions: multiples of 4."""
    for count in channels:
        check(layer, count % 4 == 0, "channels", count, "a multiple of 4, or position=none")


def sine_positions(x: Tensor) -> Tensor:
    """Return the sine position features of a map (B, C, H, W), (1, HW, C), C a multiple of 4.

    The first half of the features encodes the row, the second the column. Row r = 1 ... H has the angle 2 pi r / H, so
    maps of different sizes have equal features at the same relative position. Pair i of features consists of sine and
    cosine of the angle times 10000^(-2i / (C/2)).

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
    index = torch.arange(size, device=wave.device).to(wave.dtype) + 1
    angle = (index * (2 * torch.pi / (size + 1e-6)))[:, None] * wave
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)
