"""TransformerEncoder: DETR's encoder, self-attention and a feed-forward network with residuals and layer norms.

    t = LN(t + attention(q = k = t + p, v = t)) p: sine positions, at each layer
    t = LN(t + W2 relu(W1 t))                   t: the positions of the map
    normalize_before: t = t + attention(LN t), t = t + W2 relu(W1 LN t), and one LN after the last layer

Paper: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, arXiv 2005.12872.
Code: https://github.com/facebookresearch/detr
Shapes: x (B, C, H, W), y the same.
Memory: no N x N weights. Time grows with (HW)^2: for P5.
Deviations: no dropout (DETR: 0.1), and one layer by default (DETR: 6, with 8 C hidden units at C = 256). The number of
heads is reduced to its greatest common divisor with C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_integer, check_positive
from yolo_attn.layers.self_attention._attention import Attention
from yolo_attn.layers.self_attention._tokens import check_sine, sine_positions, to_map, to_tokens
from yolo_attn.layers.self_attention._transformer import feed_forward, init_linear_layers, layer_names
from yolo_attn.registry import register_layer

__all__ = ["TransformerEncoder"]


@register_layer(
    family="self_attention",
    summary="DETR's encoder: self-attention and a feed-forward network, with layer norms",
    aliases=("DETREncoder",),
    paper="End-to-End Object Detection with Transformers, ECCV 2020",
    year=2020,
    url="https://arxiv.org/abs/2005.12872",
    repository="https://github.com/facebookresearch/detr",
    cost="O(C (HW)^2)",
)
class TransformerEncoder(Mixer):
    """Transformer encoder of DETR.

    Args:
        channels: Channels of the input; with position="sine" a multiple of 4.
        layers: Number of layers.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        expansion: Hidden units of the feed-forward network per channel.
        normalize_before: Whether layer norms precede attention and feed-forward network instead of following the sums.
        position: "sine" or "none".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        layers: int = 1,
        heads: int = 8,
        expansion: float = 4,
        normalize_before: bool = False,
        position: str = "sine",
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, layers=layers, heads=heads)
        check_positive(self, expansion=expansion)
        check_flag(self, normalize_before=normalize_before)
        check_choice(self, "position", position, ("sine", "none"))
        if position == "sine":
            check_sine(self, channels)
        self.layers = nn.ModuleList(
            EncoderLayer(channels, heads, max(1, int(expansion * channels)), normalize_before) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels) if normalize_before else None
        self.position = position
        init_linear_layers(self)

    def mix(self, x: Tensor) -> Tensor:
        """Return the map after all layers."""
        position = sine_positions(x) if self.position == "sine" else None
        tokens = to_tokens(x)
        for layer in self.layers:
            tokens = layer(tokens, position)
        return to_map(tokens if self.norm is None else self.norm(tokens), x)

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of each layer."""
        x = inputs[0]
        position = sine_positions(x) if self.position == "sine" else None
        tokens, found = to_tokens(x), []
        for module, part in zip(self.layers, layer_names(self.layers), strict=True):
            layer = cast(EncoderLayer, module)
            source = layer.source(tokens)
            found.append(layer.attention.reading(source, source, position, position, maps=(x, x), part=part))
            tokens = layer(tokens, position)
        return found


class EncoderLayer(nn.Module):
    """One layer of the encoder.

    Args:
        channels: C, channels of the tokens.
        heads: Number of heads.
        hidden: Hidden units of the feed-forward network.
        normalize_before: Whether layer norms come first.

    Shape:
        t (B, N, C), the output the same.
    """

    def __init__(self, channels: int, heads: int, hidden: int, normalize_before: bool) -> None:
        super().__init__()
        self.attention = Attention(channels, channels, heads=heads)
        self.feed_forward = feed_forward(channels, hidden)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.normalize_before = normalize_before

    def forward(self, t: Tensor, position: Tensor | None) -> Tensor:
        """Return the tokens after this layer."""
        source = self.source(t)
        t = t + self.attention(source, source, position, position)
        if self.normalize_before:
            t = t + self.feed_forward(self.norm2(t))
        else:
            t = self.norm1(t)
            t = self.norm2(t + self.feed_forward(t))
        return t

    def source(self, t: Tensor) -> Tensor:
        """Return the tokens that the attention is applied to."""
        return cast(Tensor, self.norm1(t)) if self.normalize_before else t
