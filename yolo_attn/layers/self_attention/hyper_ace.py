"""HyperACE: the adaptive hypergraph computation of YOLOv13, positions exchange features through a few hyperedges.

    P = P0 + Wc [mean of x; max of x]           (E, C), a prototype for each hyperedge; over all positions
    A = softmax over positions of x Wp P^T / sqrt(h C)      (HW, E)
    e = gelu((A^T x) We + be)                   (E, C), features of the hyperedges
    y = x + gelu((A e) Wn + bn)

Paper: Lei et al., "YOLOv13: Real-Time Object Detection with Hypergraph-Enhanced Adaptive Visual Perception", 2025,
arXiv 2506.17733.
Code: https://github.com/iMoonLab/yolov13
Shapes: x (B, C, H, W), y the same; weights(x) (B, E, H, W).
Deviations: the authors' block named HyperACE fuses three levels and contains this computation several times. Their mean
of the products of h heads is a single product, divided by sqrt(h C) (`heads`). Wp P^T and e Wn are multiplied first, so
no C x C matrix is applied at the positions. Wp has no bias, because it would add the same number to all logits of a
softmax. No dropout of the logits (0.1 in the code). Logits and softmax are in float32. As in the code, A is also used
on the way back, where a position receives about 1 / HW of a hyperedge: what varies over the map shrinks with its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_integer
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean, mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["HyperACE"]

HEAD_WIDTH = 16


@register_layer(
    family="self_attention",
    summary="exchanges features of positions through a few hyperedges that depend on the image; linear in the map",
    aliases=("AdaHGComputation",),
    paper="YOLOv13: Real-Time Object Detection with Hypergraph-Enhanced Adaptive Visual Perception, 2025",
    year=2025,
    url="https://arxiv.org/abs/2506.17733",
    repository="https://github.com/iMoonLab/yolov13",
    cost="O(E C HW + E C^2)",
    renamed={"num_hyperedges": "edges", "num_heads": "heads"},
)
class HyperACE(Mixer):
    """Adaptive hypergraph computation.

    Args:
        channels: Channels of the input.
        edges: E, number of hyperedges.
        heads: h, by whose square root the logits are divided; None for one for each 16 channels.
        context: What the prototypes depend on: "mean" or "max" over all positions, or "both".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, edges: int = 8, heads: int | None = None, context: str = "both", init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        heads = hidden_width(channels, HEAD_WIDTH) if heads is None else heads
        check_integer(self, edges=edges, heads=heads)
        check_choice(self, "context", context, ("both", "mean", "max"))
        self.scale = 1 / sqrt(heads * channels)
        self.statistics = context
        self.prototypes = nn.Parameter(torch.empty(1, edges, channels))  # 3-D, as it is not a matrix to orthogonalize
        nn.init.xavier_uniform_(self.prototypes[0])
        self.context = nn.Linear((2 if context == "both" else 1) * channels, edges * channels)
        self.vertex = nn.Linear(channels, channels, bias=False)
        self.edge = nn.Linear(channels, channels)
        self.node = nn.Linear(channels, channels)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the positions in each hyperedge."""
        weights = self.weights(inputs[0])[0]
        maps = weights * weights[0].numel()
        return [AttentionValues(f"hyperedge {n}", WEIGHT, values.float()) for n, values in enumerate(maps)]

    def weights(self, x: Tensor) -> Tensor:
        """Return A, (B, E, H, W), in at least float32."""
        b, c, height, width = x.shape
        context = widen(self.context(self._statistics(x))).reshape(b, -1, c)
        with no_autocast(x):
            positions = (widen(self.prototypes) + context) @ widen(self.vertex.weight)
            logits = self.scale * positions @ widen(x).flatten(2)
        return logits.softmax(2).reshape(b, -1, height, width)

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus what the hyperedges add."""
        weights = self.weights(x).flatten(2)
        with no_autocast(x):
            edges = weights @ widen(x).flatten(2).transpose(1, 2)
        edges = F.gelu(self.edge(edges.to(x.dtype)))
        messages = F.linear(edges, self.node.weight)
        with no_autocast(x):
            gathered = widen(messages).transpose(1, 2) @ weights + widen(self.node.bias)[:, None]
        return x + F.gelu(gathered).reshape(x.shape).to(x.dtype)

    def _statistics(self, x: Tensor) -> Tensor:
        """Return what the prototypes depend on, (B, C) or (B, 2 C)."""
        if self.statistics == "mean":
            return mean(x, 2, 3)
        if self.statistics == "max":
            return x.amax((2, 3))
        with no_autocast(x):  # torch.cat rejects float16 under a bfloat16 autocast
            return torch.cat(mean_and_max(x, 2, 3), 1).flatten(1)
