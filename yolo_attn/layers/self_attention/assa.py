"""ASSA: adaptive sparse self-attention, a learned mixture of softmax and squared ReLU within windows.

    q, k, v = W x                               at each position
    L = q k^T / sqrt(d) + T[dy, dx]             in each head of d channels, over the positions of a window;
                                                dy, dx: rows and columns from key to query
    A = a1 softmax(L) + a2 relu(L)^2            [a1, a2] = softmax of two learned numbers
    y = Wo (A v)
    windows of w x w positions; with a shift s, the first row and column of windows begin at s instead of 0

Paper: Zhou et al., "Adapt or Perish: Adaptive Sparse Transformer with Attentive Feature Refinement for Image
Restoration", CVPR 2024.
Code: https://github.com/joshyZhou/AST
Shapes: x (B, C, H, W), y the same.
As published, the squared ReLU is not normalized: its part grows with the number of keys and with the square of the
logits.
Deviations: windows at the border contain only the positions of the map, where the code requires a square map of
multiples of w. Logits and weights are computed in float32, where the code gives NaN in float16. The number of heads is
reduced to its greatest common divisor with C. No dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer
from yolo_attn.layers.numerics import no_autocast, saturate, widen
from yolo_attn.layers.self_attention._windows import WindowBias, check_shift, from_windows, masked, to_windows, windows
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["ASSA"]


@register_layer(
    family="self_attention",
    summary="attention within windows by a learned mixture of softmax and squared ReLU; linear in the map",
    paper="Adapt or Perish: Adaptive Sparse Transformer with Attentive Feature Refinement for Image Restoration, "
    "CVPR 2024",
    year=2024,
    url="https://openaccess.thecvf.com/content/CVPR2024/papers/"
    "Zhou_Adapt_or_Perish_Adaptive_Sparse_Transformer_with_Attentive_Feature_Refinement_CVPR_2024_paper.pdf",
    repository="https://github.com/joshyZhou/AST",
    cost="O((C^2 + C w^2) HW)",
    renamed={"window_size": "window", "win_size": "window", "num_heads": "heads"},
)
class ASSA(Mixer):
    """Adaptive sparse self-attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        window: w, height and width of the windows.
        shift: s, first row and column at which a window begins, less than the window; best 0 or half a window.
        qkv_bias: Whether queries, keys and values have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        window: int = 8,
        shift: int = 0,
        qkv_bias: bool = True,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, window=window)
        check_shift(self, shift, window)
        check_flag(self, qkv_bias=qkv_bias)
        self.heads = fitting_groups(channels, heads)
        self.window = window
        self.shift = shift
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=qkv_bias)
        self.distances = WindowBias(self.heads, window)
        self.branch_weight = nn.Parameter(torch.ones(2))
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected contexts."""
        value, contexts = self._attention(x)
        return saturate(self.proj(contexts(value)))

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to those of their window."""
        return [Reading("", *self._attention(inputs[0]), self.heads)]

    def _attention(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the values (B, C, H, W), and the contexts as a function of them."""
        query, key, value = self.qkv(x).chunk(3, 1)
        grid = windows(x, self.window, self.shift)
        q, k = (widen(to_windows(t, grid, self.heads)) for t in (query, key))
        dense, sparse = widen(self.branch_weight).softmax(0).unbind()
        with no_autocast(x):
            logits = q @ k.transpose(2, 3) * q.shape[3] ** -0.5 + masked(widen(self.distances()), grid)
            weights = dense * logits.softmax(3) + sparse * torch.relu(logits).square()

        def contexts(values: Tensor) -> Tensor:
            with no_autocast(x):
                y = weights @ widen(to_windows(values, grid, self.heads))
            return from_windows(saturate(y, values.dtype).to(values.dtype), grid, x)

        return value, contexts
