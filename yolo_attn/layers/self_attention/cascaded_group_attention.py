"""CascadedGroupAttention: heads with a part of the channels each, every one fed with the output of the one before.

    x_1 ... x_h: equal parts of the channels of x
    f_1 = x_1, f_i = x_i + o_(i-1)
    [q; k; v] = BN Wi f_i                       16 channels for q and for k
    o_i = softmax((BN DWi q)^T k / sqrt(16) + T_i) v        DWi: depthwise convolution; T_i: a learned bias by the
                                                distance of query and key in rows and in columns
    y = x + BN Wo relu [o_1; ...; o_h]          the last BN has a zero-initialized weight

Paper: Liu et al., "EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention", CVPR 2023,
arXiv 2305.07027.
Code: https://github.com/microsoft/Cream/tree/main/EfficientViT
Shapes: x (B, C, H, W), y the same.
Cost: time is quadratic, C (HW)^2; memory is not. `LocalWindowAttention` applies it within windows.
Deviations: the authors' table of biases fits a single, square map. Here distances are limited to `max_distance`, so any
map size works; on maps of up to max_distance + 1 rows and columns the result is the authors'. x is added as around
their module. The number of heads is reduced to its greatest common divisor with C, and heads without a kernel size have
the last one, where the code raises an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd_list
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.self_attention._tokens import attend_any_width, chunked, to_map, to_tokens, token_positions
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["CascadedGroupAttention"]

Contexts = Callable[[Tensor], Tensor]


@register_layer(
    family="self_attention",
    summary="self-attention whose heads see a part of the channels each, plus the output of the head before; quadratic",
    paper="EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention, CVPR 2023",
    year=2023,
    url="https://arxiv.org/abs/2305.07027",
    repository="https://github.com/microsoft/Cream",
    cost="O(C^2 HW + C (HW)^2)",
    identity="published: weight of the last norm 0",
    renamed={"key_dim": "key_width", "num_heads": "heads", "kernels": "kernel_sizes"},
)
class CascadedGroupAttention(Mixer):
    """Cascaded group attention; the identity with either initialization.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        key_width: Channels of queries and of keys in each head.
        kernel_sizes: Kernel sizes of the depthwise convolution of each head, odd; further heads have the last one.
        max_distance: Largest distance in rows or columns that the bias distinguishes.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 4,
        key_width: int = 16,
        kernel_sizes: Sequence[int] = (5,),
        max_distance: int = 20,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, key_width=key_width, max_distance=max_distance)
        check_odd_list(self, [7, 5, 3, 3], kernel_sizes=kernel_sizes)
        self.cascade = Cascade(channels, heads, key_width, kernel_sizes, max_distance + 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus the output of the heads."""
        y: Tensor = x + self.cascade(x, self._read)
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of each head."""
        return self.cascade.readings(inputs[0], self._read)

    def _read(self, head: int, query: Tensor, key: Tensor) -> Contexts:
        """Return the contexts of a head as a function of its values (B, d, H, W)."""
        query = self.cascade.norms[head](self.cascade.dwconvs[head](query))
        return partial(self._contexts, head, query, key)

    def _contexts(self, head: int, query: Tensor, key: Tensor, values: Tensor) -> Tensor:
        height, width = values.shape[2:]
        table = self.cascade.table[head]
        k, v = to_tokens(key)[:, None], to_tokens(values)[:, None]
        columns = torch.arange(width, device=table.device)[:, None]
        across = table[:, _distance(columns, width, len(table))].flatten(0, 1)  # (distances * width, width)

        def part(q: Tensor, row: Tensor, column: Tensor) -> Tensor:
            index = _distance(row, height, len(table)) * width + column  # of a query's and a row's line in `across`
            bias = across.index_select(0, index.flatten()).reshape(-1, height * width)
            return attend_any_width(q, k, v, bias=bias.to(q.dtype))  # the gradient of an entry is a sum, in float32

        q = to_tokens(query)[:, None]
        y = chunked(part, q, *token_positions(values), elements_per_query=2 * q.shape[0] * q.shape[2])
        return to_map(y[:, 0], values)


def _distance(index: Tensor, size: int, distances: int) -> Tensor:
    """Return the distances along one dimension, (n, size), limited to the last one of the table."""
    return (index - torch.arange(size, device=index.device)).abs().clamp(max=distances - 1)


class Cascade(nn.Module):
    """The heads, and the projection of their outputs.

    Args:
        channels: C, channels of the input and of the output.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        key_width: Channels of queries and of keys in each head.
        kernel_sizes: Kernel sizes of the heads' depthwise convolutions, which a reader applies to the queries.
        distances: Number of distances along each axis for which there is a bias.
    """

    def __init__(self, channels: int, heads: int, key_width: int, kernel_sizes: Sequence[int], distances: int) -> None:
        super().__init__()
        self.heads = fitting_groups(channels, heads)
        self.key_width = key_width
        self.width = channels // self.heads
        sizes = [kernel_sizes[min(n, len(kernel_sizes) - 1)] for n in range(self.heads)]
        self.qkvs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(self.width, 2 * key_width + self.width, 1, bias=False),
                BatchNorm(2 * key_width + self.width),
            )
            for _ in sizes
        )
        self.dwconvs = nn.ModuleList(
            nn.Conv2d(key_width, key_width, k, padding=k // 2, groups=key_width, bias=False) for k in sizes
        )
        self.norms = nn.ModuleList(BatchNorm(key_width) for _ in sizes)
        self.table = nn.Parameter(torch.zeros(self.heads, distances, distances))
        self.proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.proj_norm = BatchNorm(channels)
        nn.init.zeros_(self.proj_norm.weight)

    def forward(self, x: Tensor, read: Callable[[int, Tensor, Tensor], Contexts]) -> Tensor:
        """Return the projected outputs of the heads.

        Args:
            x: (B, C, H, W).
            read: Returns the contexts, as a function of the values, of a head's number, query and key.
        """
        contexts = [context for _, _, context in self._heads(x, read)]
        y: Tensor = self.proj_norm(self.proj(torch.relu(torch.cat(contexts, 1))))
        return y

    def readings(self, x: Tensor, read: Callable[[int, Tensor, Tensor], Contexts]) -> list[Reading]:
        """Return the attention of each head; the arguments are those of `forward`."""
        heads = enumerate(self._heads(x, read), 1)
        return [Reading(f"head {n}", value, contexts) for n, (value, contexts, _) in heads]

    def _heads(
        self, x: Tensor, read: Callable[[int, Tensor, Tensor], Contexts]
    ) -> list[tuple[Tensor, Contexts, Tensor]]:
        """Return the values, the contexts as a function of them, and the contexts of each head."""
        found: list[tuple[Tensor, Contexts, Tensor]] = []
        for n, part in enumerate(x.chunk(self.heads, 1)):
            features = part + found[-1][2] if found else part
            query, key, value = self.qkvs[n](features).split((self.key_width, self.key_width, self.width), 1)
            contexts = read(n, query, key)
            found.append((value, contexts, contexts(value)))
        return found
