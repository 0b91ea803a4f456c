"""Axial: position-sensitive attention along columns, then along rows, of Axial-DeepLab.

Along one line of the map, for each of `groups` groups of channels:

    [q, k, v] = BN W x                          d/2, d/2 and d channels, d = C / groups, at each position
    e_ij = N1(q_i . k_j) + N2(q_i . Q_(i-j)) + N3(k_j . K_(j-i))            Q, K, V: learned for each distance
    a_ij = softmax over j of e_ij
    y_i = BN(sum over j of a_ij v_j) + BN(sum over j of a_ij V_(i-j))

N1 to N3 are batch norms of the logits, one channel per group.

Paper: Wang et al., "Axial-DeepLab: Stand-Alone Axial-Attention for Panoptic Segmentation", ECCV 2020, arXiv 2003.07853.
Code: https://github.com/csrhddlam/axial-deeplab
Shapes: x (B, C, H, W), y the same.
Memory: groups x HW x (H or W) for each of the logits; 131 MB at 160 x 160 and 8 groups.
Deviations: the authors' module requires maps whose height and width equal its span. Here distances beyond the span are
clamped, so any map size works. The norms of the logits have a scale and no shift, because the softmax is invariant to
it. The number of groups is reduced to its greatest common divisor with C / 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_integer
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import no_autocast, wide, widen
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["Axial"]

WIDE = 4  # lines shorter than so many times the width of a query have fewer logits than its statistics have products


@register_layer(
    family="self_attention",
    summary="attends along columns, then along rows, with learned relative positions",
    aliases=("AxialAttention", "AxialDeepLab"),
    paper="Axial-DeepLab: Stand-Alone Axial-Attention for Panoptic Segmentation, ECCV 2020",
    year=2020,
    url="https://arxiv.org/abs/2003.07853",
    repository="https://github.com/csrhddlam/axial-deeplab",
    cost="O(C HW (H + W))",
)
class Axial(Mixer):
    """Axial attention.

    Args:
        channels: Channels of the input, even.
        groups: Groups of channels with separate attention weights, reduced to the greatest common divisor with half the
            channels.
        span: Height and width up to which each distance has its own position weights.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range, or the number of channels is odd.
    """

    def __init__(self, channels: int, *, groups: int = 8, span: int = 56, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, groups=groups, span=span)
        check(self, channels % 2 == 0, "channels", channels, "an even number")
        groups = fitting_groups(channels // 2, groups)
        self.columns = AxialLines(channels, groups, span)
        self.rows = AxialLines(channels, groups, span)

    def mix(self, x: Tensor) -> Tensor:
        """Return x after attention along the columns and along the rows."""
        x = self.columns(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y: Tensor = self.rows(x.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention along the columns and along the rows."""
        x = inputs[0].permute(0, 3, 1, 2)
        down = self.columns.reading(x, "columns", (0, 2, 3, 1))
        across = self.rows.reading(self.columns(x).permute(0, 3, 2, 1), "rows", (0, 2, 1, 3))
        return [down, across]


class AxialLines(nn.Module):
    """Attention along the lines of a map.

    Args:
        channels: Channels of the input, a multiple of twice the groups.
        groups: Groups of channels with separate attention weights.
        span: Length up to which each distance has its own position weights.

    Shape:
        x: (B, lines, C, length), y the same.
    """

    def __init__(self, channels: int, groups: int, span: int) -> None:
        super().__init__()
        depth = channels // groups
        self.groups = groups
        self.depth = depth
        self.span = span
        self.expand = nn.Conv1d(channels, 2 * channels, 1, bias=False)
        self.expand_norm = BatchNorm(2 * channels)
        self.content_norm = LogitNorm(groups)
        self.query_norm = LogitNorm(groups)
        self.key_norm = LogitNorm(groups)
        self.value_norm = BatchNorm(channels)
        self.position_norm = BatchNorm(channels)
        self.positions = nn.Parameter(torch.randn(1, 2 * depth, 2 * span - 1) * depth**-0.5)
        nn.init.normal_(self.expand.weight, 0, channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Attend along each line."""
        channels, length = x.shape[2:]
        value, weights, value_at = self._attention(x)
        content = (value @ weights.transpose(2, 3)).reshape(-1, channels, length)
        by_row = weights.permute(2, 0, 1, 3).reshape(length, -1, length)  # one matrix per position i
        position = (by_row @ value_at.permute(1, 2, 0).to(value.dtype)).reshape(length, -1, channels).permute(1, 2, 0)
        y: Tensor = self.value_norm(content) + self.position_norm(position)
        return y.reshape(x.shape)

    def reading(self, x: Tensor, part: str, to_map: tuple[int, ...]) -> Reading:
        """Return the attention for viewing.

        Args:
            x: (1, lines, C, length).
            part: Name of the direction.
            to_map: The permutation of x that is a map (1, C, H, W).
        """
        to_lines = [to_map.index(dim) for dim in range(len(to_map))]
        value, weights, _ = self._attention(x)

        def contexts(values: Tensor) -> Tensor:
            by_line = values.permute(to_lines).reshape(value.shape)
            return (by_line @ weights.transpose(2, 3)).reshape(x.shape).permute(to_map)

        return Reading(part, value.reshape(x.shape).permute(to_map), contexts, self.groups)

    def _attention(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the values (B lines, groups, d, length), the weights (B lines, groups, length, length), and V."""
        channels, length = x.shape[2:]
        depth = self.depth
        parts = [depth // 2, depth // 2, depth]
        expanded = self.expand_norm(self.expand(x.reshape(-1, channels, length)))
        query, key, value = torch.split(expanded.reshape(-1, self.groups, 2 * depth, length), parts, 2)
        query_at, key_at, value_at = torch.split(self._positions(length), parts, 0)  # (d, length, length)
        return value, self._weights(query, key, query_at, key_at).to(value.dtype), value_at

    def _positions(self, length: int) -> Tensor:
        """Return the position weights of each pair of positions i and j, (2 d, length, length)."""
        index = torch.arange(length, device=self.positions.device)
        limit = self.span - 1
        distance = (index[:, None] - index).clamp(-limit, limit) + limit
        return self.positions[0][:, distance.reshape(-1)].reshape(-1, length, length)

    def _weights(self, query: Tensor, key: Tensor, query_at: Tensor, key_at: Tensor) -> Tensor:
        """Return the weight of position j for position i, (B lines, groups, length, length)."""
        with no_autocast(query):
            query, key, query_at, key_at = widen(query), widen(key), widen(query_at), widen(key_at)
            if self.training and query.shape[2] * WIDE > query.shape[3]:  # the statistics take longer than the logits
                logits: Tensor = self.content_norm(query.transpose(2, 3) @ key)
                logits += self.query_norm(_with_positions(query, query_at))
                logits += self.key_norm(_with_positions(key, key_at).transpose(2, 3))
            else:  # scale queries and keys, which are fewer numbers than the logits
                logits = (query * self.content_norm.scale(query, key)).transpose(2, 3) @ key
                logits += _with_positions(query * self.query_norm.scale_at(query, query_at), query_at)
                logits += _with_positions(key * self.key_norm.scale_at(key, key_at), key_at).transpose(2, 3)
        return logits.softmax(3)


class LogitNorm(BatchNorm):
    """Batch norm of attention logits, without a shift, because the softmax is invariant to mean and shift.

    Logits are products of two vectors, so their mean and variance are computed from sums of the vectors and of products
    of their elements, which are fewer numbers. `scale` and `scale_at` return the factor by which the norm scales.
    """

    def __init__(self, groups: int) -> None:
        super().__init__(groups)
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the logits (N, groups, length, length)."""
        if self.training:
            return super().forward(x.to(self.weight.dtype))
        return x * self._scale(self.running_var)  # in the dtype of the logits, which may be wider than the weight's

    def scale(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the factor of the logits x_i . y_j, (groups, 1, 1), of x and y (N, groups, d, length)."""
        if not self.training:
            return self._scale(self.running_var)
        x, y = _exact(x), _exact(y)
        mean = (x.sum(3) * y.sum(3)).sum((0, 2))
        square = ((x @ x.transpose(2, 3)) * (y @ y.transpose(2, 3))).sum((0, 2, 3))
        return self._scale_of_batch(mean, square, len(x) * x.shape[3] * y.shape[3])

    def scale_at(self, x: Tensor, at: Tensor) -> Tensor:
        """Return the factor of the logits x_i . at_ij, (groups, 1, 1).

        Args:
            x: (N, groups, d, length).
            at: (d, length, length).
        """
        if not self.training:
            return self._scale(self.running_var)
        x, at = _exact(x).permute(1, 3, 2, 0), _exact(at).permute(1, 0, 2)  # (groups, i, d, N) and (i, d, j)
        mean = (x.sum(3) * at.sum(2)).sum((1, 2))
        square = ((x @ x.transpose(2, 3)) * (at @ at.transpose(1, 2))).sum((1, 2, 3))
        return self._scale_of_batch(mean, square, x.shape[1] * x.shape[3] * at.shape[2])

    def _scale_of_batch(self, total: Tensor, squares: Tensor, count: int) -> Tensor:
        """Return the factor of a batch from the sums of its logits and of their squares, and update the statistics."""
        if count == 1:  # as in other batch norms of one value
            return self._scale(self.running_var)
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return self._scale(variance.to(wide(self.weight.dtype)))

    def _scale(self, variance: Tensor) -> Tensor:
        scale = widen(self.weight) * (widen(variance) + self.eps).rsqrt()
        return scale[:, None, None]


def _exact(x: Tensor) -> Tensor:
    """Return x in a type in which the difference of a mean square and a squared mean is exact to float32."""
    return x if x.device.type == "mps" else x.double()  # which has no float64


def _with_positions(x: Tensor, at: Tensor) -> Tensor:
    """Return the sum over c of x_ci at_cij, (N, groups, length, length), of x (N, groups, d, length)."""
    products = x.permute(3, 1, 0, 2) @ at.permute(1, 0, 2)[:, None]  # many small matrices, which threads share
    return products.permute(2, 1, 0, 3)
