"""TransformerDecoder: DETR's decoder, the positions of one map attend to each other, then to another map.

    t = LN(t + attention(q = k = t + p0, v = t))            among the positions of x0; p0: their sine positions
    t = LN(t + attention(q = t + p0, k = m + p1, v = m))    m: the positions of x1, the memory
    t = LN(t + W2 relu(W1 t))                               and another LN after the last layer
    normalize_before: t = t + attention(LN t) and so on

The maps may differ in size and channels.

Paper: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, arXiv 2005.12872.
Code: https://github.com/facebookresearch/detr
Shapes: x0 (B, C0, H0, W0), x1 (B, C1, H1, W1), y like x0.
Memory: no N x M weights. Time grows with (H0 W0)^2 and with H0 W0 H1 W1: for P5, or P4 reading from P5.
Deviations: DETR's queries are learned, initially zero, and become boxes; here they are the positions of x0, with sine
position features. No dropout (DETR: 0.1), and one layer by default (DETR: 6, with 8 C hidden units at C = 256). The
number of heads is reduced to its greatest common divisor with C0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.checks import check_choice, check_flag, check_integer, check_positive
from yolo_attn.layers.self_attention._attention import Attention
from yolo_attn.layers.self_attention._tokens import check_sine, sine_positions, to_map, to_tokens
from yolo_attn.layers.self_attention._transformer import feed_forward, init_linear_layers, layer_names
from yolo_attn.registry import register_layer

__all__ = ["TransformerDecoder"]


@register_layer(
    family="fusion",
    summary="DETR's decoder: the positions of one map attend to each other, then to another map",
    aliases=("DETRDecoder",),
    inputs=2,
    paper="End-to-End Object Detection with Transformers, ECCV 2020",
    year=2020,
    url="https://arxiv.org/abs/2005.12872",
    repository="https://github.com/facebookresearch/detr",
    cost="O(C H0 W0 (H0 W0 + H1 W1))",
)
class TransformerDecoder(Fusion):
    """Transformer decoder of DETR; the first input provides the queries, the second the memory.

    Args:
        channels: Channels of the two inputs; with position="sine" multiples of 4. The output has those of the first.
        layers: Number of layers.
        heads: Number of heads, reduced to the greatest common divisor with the channels of the first input.
        expansion: Hidden units of the feed-forward network per channel.
        normalize_before: Whether layer norms precede attentions and feed-forward network instead of following the sums.
        position: "sine" or "none".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    same_size = False

    def __init__(
        self,
        channels: Sequence[int],
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
            check_sine(self, *channels)
        hidden = max(1, int(expansion * channels[0]))
        self.layers = nn.ModuleList(
            DecoderLayer(channels[0], channels[1], heads, hidden, normalize_before) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels[0])
        self.position = position
        init_linear_layers(self)

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the first map after all layers."""
        return to_map(self.decode(to_tokens(xs[0]), to_tokens(xs[1]), *self._positions(xs)), xs[0])

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of the first map to itself and to the second one, of each layer."""
        first, second = inputs
        position, memory_position = self._positions(inputs)
        t, m, found = to_tokens(first), to_tokens(second), []
        for module, name in zip(self.layers, layer_names(self.layers), strict=True):
            layer = cast(DecoderLayer, module)
            source, query = layer.source(t), layer.query(layer.attend_to_itself(t, position))
            parts = [f"{name} {kind}".strip() for kind in ("self-attention", "cross-attention")]
            found += [
                layer.self_attention.reading(source, source, position, position, maps=(first, first), part=parts[0]),
                layer.cross_attention.reading(
                    query, m, position, memory_position, maps=(first, second), source=1, part=parts[1]
                ),
            ]
            t = layer(t, m, position, memory_position)
        return found

    def _positions(self, xs: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
        return (sine_positions(xs[0]), sine_positions(xs[1])) if self.position == "sine" else (None, None)

    def decode(self, t: Tensor, memory: Tensor, position: Tensor | None, memory_position: Tensor | None) -> Tensor:
        """Return tokens (B, N, C0) after all layers.

        Args:
            t: (B, N, C0).
            memory: (B, M, C1).
            position: Positions of the tokens, (1, N, C0).
            memory_position: Positions of the memory, (1, M, C1).
        """
        for layer in self.layers:
            t = layer(t, memory, position, memory_position)
        return cast(Tensor, self.norm(t))


class DecoderLayer(nn.Module):
    """One layer of the decoder.

    Args:
        channels: C0, channels of the tokens.
        memory: C1, channels of the memory.
        heads: Number of heads.
        hidden: Hidden units of the feed-forward network.
        normalize_before: Whether layer norms come first.

    Shape:
        t (B, N, C0), m (B, M, C1); output like t.
    """

    def __init__(self, channels: int, memory: int, heads: int, hidden: int, normalize_before: bool) -> None:
        super().__init__()
        self.self_attention = Attention(channels, channels, heads=heads)
        self.cross_attention = Attention(channels, memory, heads=heads)
        self.feed_forward = feed_forward(channels, hidden)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.normalize_before = normalize_before

    def forward(self, t: Tensor, m: Tensor, position: Tensor | None, memory_position: Tensor | None) -> Tensor:
        """Return the tokens after this layer."""
        t = self.attend_to_itself(t, position)
        t = t + self.cross_attention(self.query(t), m, position, memory_position)
        if self.normalize_before:
            t = t + self.feed_forward(self.norm3(t))
        else:
            t = self.norm2(t)
            t = self.norm3(t + self.feed_forward(t))
        return t

    def source(self, t: Tensor) -> Tensor:
        """Return the tokens that the self-attention is applied to."""
        return cast(Tensor, self.norm1(t)) if self.normalize_before else t

    def attend_to_itself(self, t: Tensor, position: Tensor | None) -> Tensor:
        """Return the tokens after the self-attention."""
        source = self.source(t)
        t = t + self.self_attention(source, source, position, position)
        return t if self.normalize_before else cast(Tensor, self.norm1(t))

    def query(self, t: Tensor) -> Tensor:
        """Return the tokens that attend to the memory."""
        return cast(Tensor, self.norm2(t)) if self.normalize_before else t
