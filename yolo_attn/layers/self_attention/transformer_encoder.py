"""TransformerEncoder: DETR's encoder, attention and a feed-forward net, each around a residual and a layer norm.

    t = LN(t + attention(q = k = t + p, v = t)) p: sine positions, at every layer
    t = LN(t + W2 relu(W1 t))                   t: the cells of the map
    normalize_before: t = t + attention(LN t), t = t + W2 relu(W1 LN t), and one LN after the last layer

Paper: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, arXiv 2005.12872.
Code: https://github.com/facebookresearch/detr
Shapes: x (B, C, H, W), y the same.
Memory: no N x N weights. Time grows with (HW)^2: for P5.
Deviations: no dropout (DETR: 0.1), and one layer by default (DETR: 6, with 8 C hidden units at C = 256). Heads are
brought down to what divides the channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_integer, check_positive
from yolo_attn.layers.self_attention.attention import Attention
from yolo_attn.layers.self_attention.tokens import check_sine, maps, sine_positions, tokens
from yolo_attn.registry import register_layer

__all__ = ["TransformerEncoder"]


@register_layer(
    family="self_attention",
    summary="DETR's encoder: self-attention and a feed-forward net, with layer norms",
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
        channels: Channels of the input; with position="sine" a multiple of four.
        layers: Number of layers.
        heads: Number of heads, brought down to what divides the channels.
        expansion: Hidden units of the feed-forward net per channel.
        normalize_before: Whether the layer norms stand before attention and net, instead of after the sums.
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
        start_weights(self)

    def mix(self, x: Tensor) -> Tensor:
        """Return the map after all layers."""
        place = sine_positions(x) if self.position == "sine" else None
        cells = tokens(x)
        for layer in self.layers:
            cells = layer(cells, place)
        return maps(cells if self.norm is None else self.norm(cells), x)


class EncoderLayer(nn.Module):
    """One layer of the encoder.

    Args:
        channels: C, channels of the tokens.
        heads: Number of heads.
        hidden: Hidden units of the feed-forward net.
        normalize_before: Whether the layer norms stand first.

    Shape:
        t (B, N, C), the result too.
    """

    def __init__(self, channels: int, heads: int, hidden: int, normalize_before: bool) -> None:
        super().__init__()
        self.attention = Attention(channels, channels, heads=heads)
        self.feed_forward = feed_forward(channels, hidden)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.normalize_before = normalize_before

    def forward(self, t: Tensor, place: Tensor | None) -> Tensor:
        """Return the tokens after this layer."""
        if self.normalize_before:
            normed = self.norm1(t)
            t = t + self.attention(normed, normed, place, place)
            t = t + self.feed_forward(self.norm2(t))
        else:
            t = self.norm1(t + self.attention(t, t, place, place))
            t = self.norm2(t + self.feed_forward(t))
        return t


def feed_forward(channels: int, hidden: int) -> nn.Sequential:
    """Return the net that every token passes by itself."""
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))


def start_weights(module: nn.Module) -> None:
    """Start all linear maps as DETR does: q, k and v as one wide matrix, see `Attention`, all others by themselves."""
    for name, linear in module.named_modules():
        if isinstance(linear, nn.Linear) and not name.endswith((".query", ".key", ".value")):
            nn.init.xavier_uniform_(linear.weight)
