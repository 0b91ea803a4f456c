"""LocalAttention: every cell reads from a window of the map, around itself or around a place it predicts.

    local-m (predict=False)  p_i = the place of cell i
    local-p (predict=True)   p_i = (H, W) * sigmoid(V tanh(Wp x_i)), at most the last row and column
    s_ij = x_i^T Wa x_j, or x_i . x_j           only for cells j within D rows and D columns of p_i
    a_ij = softmax_j(s_ij)                      local-p: times exp(-|j - p_i|^2 / (2 sigma^2)), sigma = D / 2
    y_i = tanh(Wc [sum over j of a_ij x_j; x_i])

Paper: Luong et al., "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015, arXiv 1508.04025,
section 3.2.
Code: none from the authors for the local forms.
Shapes: x (B, C, H, W), y the same.
Memory: parts of the queries against the whole map; time grows with (HW)^2, as for global attention.
Deviations: the paper's sentences have one dimension, maps have two: the window is a square and the Gaussian is round.
On a map of height one both are the paper's. A predicted place beyond the last cell counts as the last cell.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_integer
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.self_attention.tokens import maps, places, stream, tokens
from yolo_attn.registry import register_layer

__all__ = ["LocalAttention"]


@register_layer(
    family="self_attention",
    summary="lets every cell read from a window around itself or around a place it predicts",
    aliases=("LuongLocalAttention",),
    paper="Effective Approaches to Attention-based Neural Machine Translation, EMNLP 2015",
    year=2015,
    url="https://arxiv.org/abs/1508.04025",
    cost="O(C (HW)^2)",
)
class LocalAttention(Mixer):
    """Local attention.

    Args:
        channels: Channels of the input.
        window: D, rows and columns that the window reaches to every side.
        predict: Whether the middle of the window is predicted (local-p), or the cell itself (local-m).
        score: "general" or "dot".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, window: int = 10, predict: bool = True, score: str = "general", init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, window=window)
        check_flag(self, predict=predict)
        check_choice(self, "score", score, ("general", "dot"))
        self.window = window
        self.predict = (
            nn.Sequential(nn.Linear(channels, channels, bias=False), nn.Tanh(), nn.Linear(channels, 2, bias=False))
            if predict
            else None
        )
        self.between = nn.Linear(channels, channels, bias=False) if score == "general" else None
        self.combine = nn.Linear(2 * channels, channels, bias=False)
        for linear in self.modules():
            if isinstance(linear, nn.Linear):
                nn.init.uniform_(linear.weight, -0.1, 0.1)

    def mix(self, x: Tensor) -> Tensor:
        """Return what every cell reads from its window."""
        return self.read(x, x)

    def read(self, x: Tensor, memory: Tensor) -> Tensor:
        """Return what every cell of x reads from its window in another map of the same shape."""
        cells = tokens(x)
        query = cells if self.between is None else self.between(cells)
        row, column = self._middles(x, cells)
        context = stream(self._part(tokens(memory), x), query, row, column, held=4 * x.shape[0] * query.shape[1])
        return maps(torch.tanh(self.combine(torch.cat([context.to(cells.dtype), cells], 2))), x)

    def _middles(self, x: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return row and column of each window's middle, (1 or B, HW, 1) both."""
        if self.predict is None:
            row, column = places(x)
            return row[None], column[None]
        share = torch.sigmoid(widen(self.predict(cells)))
        height, width = x.shape[2:]
        return (height * share[..., :1]).clamp(max=height - 1), (width * share[..., 1:]).clamp(max=width - 1)

    def _part(self, memory: Tensor, x: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return the function that gives the contexts of some queries."""
        height, width = x.shape[2:]
        rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)

        def part(query: Tensor, row: Tensor, column: Tensor) -> Tensor:
            down, right = rows - row, columns - column  # (1 or B, n, H), (1 or B, n, W)
            far = (down.abs() > self.window)[..., :, None] | (right.abs() > self.window)[..., None, :]
            with no_autocast(query):
                logits = widen(query) @ widen(memory).transpose(1, 2)
                weights = logits.masked_fill(far.flatten(2), float("-inf")).softmax(2)
                if self.predict is not None:
                    spread = -2 / self.window**2  # -1 / (2 sigma^2)
                    near = torch.exp(spread * down**2)[..., :, None] * torch.exp(spread * right**2)[..., None, :]
                    weights = weights * near.flatten(2)
                return weights @ widen(memory)

        return part
