"""SwinWindow: self-attention within windows, with a learned bias for each distance, of Swin Transformer.

    q, k, v = W x                               at each position
    y = Wo softmax(q k^T / sqrt(d) + T[dy, dx]) v       in each head of d channels, over the positions of a window;
                                                dy, dx: rows and columns from key to query
    windows of w x w positions; with a shift s, the first row and column of windows begin at s instead of 0

Paper: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021,
arXiv 2103.14030.
Code: https://github.com/microsoft/Swin-Transformer
Shapes: x (B, C, H, W), y the same.
A single layer has one shift. Swin alternates 0 and w // 2, which lets distant positions interact.
Deviations: windows at the border contain only the positions of the map. The code requires multiples of w, and code for
detection pads the map with zeros that take part in the attention. With a shift the code rolls the map and masks the
logits between its opposite borders, which results in the same windows. The number of heads is reduced to its greatest
common divisor with C. No dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer
from yolo_attn.layers.self_attention._tokens import attend
from yolo_attn.layers.self_attention._windows import WindowBias, check_shift, from_windows, masked, to_windows, windows
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["SwinWindow"]


@register_layer(
    family="self_attention",
    summary="self-attention within windows, with a learned bias for each distance; linear in the map",
    paper="Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, ICCV 2021",
    year=2021,
    url="https://arxiv.org/abs/2103.14030",
    repository="https://github.com/microsoft/Swin-Transformer",
    cost="O((C^2 + C w^2) HW)",
    renamed={"window_size": "window", "shift_size": "shift", "num_heads": "heads"},
)
class SwinWindow(Mixer):
    """Window attention of Swin Transformer.

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
        window: int = 7,
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
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected contexts."""
        value, contexts = self._attention(x)
        y: Tensor = self.proj(contexts(value))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to those of their window."""
        return [Reading("", *self._attention(inputs[0]), self.heads)]

    def _attention(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the values (B, C, H, W), and the contexts as a function of them."""
        query, key, value = self.qkv(x).chunk(3, 1)
        grid = windows(x, self.window, self.shift)
        q, k = (to_windows(t, grid, self.heads) for t in (query, key))
        bias = masked(self.distances().to(q.dtype), grid)

        def contexts(values: Tensor) -> Tensor:
            return from_windows(attend(q, k, to_windows(values, grid, self.heads), bias=bias), grid, x)

        return value, contexts
