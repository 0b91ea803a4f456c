"""LocalWindowAttention: cascaded group attention within windows.

    x_1 ... x_h: equal parts of the channels of x
    f_1 = x_1, f_i = x_i + o_(i-1)
    [q; k; v] = BN Wi f_i                       16 channels for q and for k
    o_i = softmax((BN DWi q)^T k / sqrt(16) + T_i) v        over the positions of a window of w x w; DWi: depthwise
                                                convolution of each window alone; T_i: a learned bias by the distance
                                                of query and key in rows and in columns
    y = x + BN Wo relu [o_1; ...; o_h]          the last BN has a zero-initialized weight

Paper: Liu et al., "EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention", CVPR 2023,
arXiv 2305.07027.
Code: https://github.com/microsoft/Cream/tree/main/EfficientViT
Shapes: x (B, C, H, W), y the same.
Deviations: windows at the border contain only the positions of the map. In the code they are padded with zeros, which
take part in the attention and in the statistics of the norms, and a map smaller than a window raises an error unless it
is as large. In the code the bias in use after `eval()` is not that of weights loaded later. x is added as around the
authors' module. The number of heads is reduced to its greatest common divisor with C, and heads without a kernel size
have the last one, where the code raises an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd_list
from yolo_attn.layers.self_attention._tokens import attend_any_width, to_map
from yolo_attn.layers.self_attention._windows import Grid, from_windows, masked, to_windows, windows
from yolo_attn.layers.self_attention.cascaded_group_attention import Cascade, Contexts
from yolo_attn.registry import register_layer

__all__ = ["LocalWindowAttention"]


@register_layer(
    family="self_attention",
    summary="attends within windows; each head sees a part of the channels plus the output of the head before",
    paper="EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention, CVPR 2023",
    year=2023,
    url="https://arxiv.org/abs/2305.07027",
    repository="https://github.com/microsoft/Cream",
    cost="O((C^2 + C w^2) HW)",
    identity="published: weight of the last norm 0",
    renamed={
        "key_dim": "key_width",
        "num_heads": "heads",
        "kernels": "kernel_sizes",
        "window_resolution": "window",
    },
)
class LocalWindowAttention(Mixer):
    """Cascaded group attention within windows; the identity with either initialization.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        key_width: Channels of queries and of keys in each head.
        kernel_sizes: Kernel sizes of the depthwise convolution of each head, odd; further heads have the last one.
        window: w, height and width of the windows.
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
        window: int = 7,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, key_width=key_width, window=window)
        check_odd_list(self, [7, 5, 3, 3], kernel_sizes=kernel_sizes)
        self.window = window
        self.cascade = Cascade(channels, heads, key_width, kernel_sizes, window)

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus the output of the heads."""
        y: Tensor = x + self.cascade(x, partial(self._read, windows(x, self.window)))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of each head."""
        return self.cascade.readings(inputs[0], partial(self._read, windows(inputs[0], self.window)))

    def _read(self, grid: Grid, head: int, query: Tensor, key: Tensor) -> Contexts:
        """Return the contexts of a head as a function of its values (B, d, H, W)."""
        query = self.cascade.norms[head](self._convolve(grid, head, query))  # statistics of the positions of the map
        q, k = (to_windows(t, grid, 1) for t in (query, key))
        bias = masked(self._bias(head).to(q.dtype), grid)

        def contexts(values: Tensor) -> Tensor:
            return from_windows(attend_any_width(q, k, to_windows(values, grid, 1), bias=bias), grid, values)

        return contexts

    def _convolve(self, grid: Grid, head: int, query: Tensor) -> Tensor:
        """Return the convolution of each window alone, which sees zeros beyond the window and beyond the map."""
        split = (grid.split(query) * grid.valid[..., None]).transpose(2, 3)  # (B, windows, channels, positions)
        shape = split.shape
        convolved = self.cascade.dwconvs[head](split.reshape(-1, shape[2], self.window, self.window))
        return to_map(grid.join(convolved.reshape(shape).transpose(2, 3)), query)

    def _bias(self, head: int) -> Tensor:
        """Return the bias of queries and keys of a window, (1, positions, positions)."""
        table = self.cascade.table[head]
        index = torch.arange(self.window, device=table.device)
        distance = (index[:, None] - index).abs()
        both = distance[:, None, :, None] * self.window + distance[:, None]  # by row and column of query, then of key
        return table.flatten()[both.reshape(self.window**2, -1)][None]
