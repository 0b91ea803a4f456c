"""LocalAttention: each position attends to a window around itself or around a predicted center.

    local-m (predict=False)  p_i = position i
    local-p (predict=True)   p_i = (H, W) * sigmoid(V tanh(Wp x_i)), clamped to the last row and column
    s_ij = x_i^T Wa x_j, or x_i . x_j           only for positions j within D rows and D columns of p_i
    a_ij = softmax_j(s_ij)                      local-p: times exp(-|j - p_i|^2 / (2 sigma^2)), sigma = D / 2
    y_i = tanh(Wc [sum over j of a_ij x_j; x_i])

Paper: Luong et al., "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015, arXiv 1508.04025,
section 3.2.
Code: none from the authors for the local forms.
Shapes: x (B, C, H, W), y the same.
Memory: chunks of the queries against the whole map; time grows with (HW)^2, as for global attention.
Deviations: the paper's sentences have one dimension, maps have two: the window is a square and the Gaussian is
isotropic. On a map of height 1 both equal the paper's. A predicted center beyond the map is clamped to its border.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_integer
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.self_attention._tokens import chunked, to_map, to_tokens, token_positions
from yolo_attn.registry import register_layer

__all__ = ["LocalAttention"]


@register_layer(
    family="self_attention",
    summary="lets each position attend to a window around itself or around a predicted center",
    aliases=("LuongLocalAttention",),
    paper="Effective Approaches to Attention-based Neural Machine Translation, EMNLP 2015",
    year=2015,
    url="https://arxiv.org/abs/1508.04025",
    cost="O(C (HW)^2)",
    renamed={"window": "radius"},
)
class LocalAttention(Mixer):
    """Local attention.

    Args:
        channels: Channels of the input.
        radius: D, rows and columns that the window extends to each side.
        predict: Whether the center of the window is predicted (local-p) or is the position itself (local-m).
        score: "general" or "dot".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, radius: int = 10, predict: bool = True, score: str = "general", init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, radius=radius)
        check_flag(self, predict=predict)
        check_choice(self, "score", score, ("general", "dot"))
        self.radius = radius
        self.predict = (
            nn.Sequential(nn.Linear(channels, channels, bias=False), nn.Tanh(), nn.Linear(channels, 2, bias=False))
            if predict
            else None
        )
        self.bilinear = nn.Linear(channels, channels, bias=False) if score == "general" else None
        self.combine = nn.Linear(2 * channels, channels, bias=False)
        for linear in self.modules():
            if isinstance(linear, nn.Linear):
                nn.init.uniform_(linear.weight, -0.1, 0.1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the output of each position."""
        return self.read(x, x)

    def read(self, x: Tensor, memory: Tensor) -> Tensor:
        """Return the output of each position of x that attends to a window of another map of the same shape."""
        tokens = to_tokens(x)
        context = self._context(x, memory, memory).to(tokens.dtype)
        return to_map(torch.tanh(self.combine(torch.cat([context, tokens], 2))), x)

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to their windows."""
        x = inputs[0]
        contexts = partial(self._context, x, x)
        return [Reading("", x, lambda values: to_map(contexts(values), x))]

    def _context(self, x: Tensor, memory: Tensor, values: Tensor) -> Tensor:
        """Return the context of each position of x, (B, HW, C), with keys and values from two maps of its shape."""
        tokens = to_tokens(x)
        query = tokens if self.bilinear is None else self.bilinear(tokens)
        row, column = self._centers(x, tokens)
        part = self._part(to_tokens(memory), to_tokens(values), x)
        return chunked(part, query, row, column, elements_per_query=4 * x.shape[0] * query.shape[1])

    def _centers(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return row and column of the center of each window, each (1 or B, HW, 1)."""
        if self.predict is None:
            row, column = token_positions(x)
            return row[None], column[None]
        center = torch.sigmoid(widen(self.predict(tokens)))
        height, width = x.shape[2:]
        return (height * center[..., :1]).clamp(max=height - 1), (width * center[..., 1:]).clamp(max=width - 1)

    def _part(self, memory: Tensor, values: Tensor, x: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return the function that computes the contexts of some queries."""
        height, width = x.shape[2:]
        rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)

        def part(query: Tensor, row: Tensor, column: Tensor) -> Tensor:
            down, right = rows - row, columns - column  # (1 or B, n, H), (1 or B, n, W)
            far = (down.abs() > self.radius)[..., :, None] | (right.abs() > self.radius)[..., None, :]
            with no_autocast(query):
                logits = widen(query) @ widen(memory).transpose(1, 2)
                weights = logits.masked_fill(far.flatten(2), float("-inf")).softmax(2)
                if self.predict is not None:
                    spread = -2 / self.radius**2  # -1 / (2 sigma^2)
                    near = torch.exp(spread * down**2)[..., :, None] * torch.exp(spread * right**2)[..., None, :]
                    weights = weights * near.flatten(2)
                return weights @ widen(values)

        return part
