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

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_integer
from yolo_attn.layers.norms import BatchNorm, scale_and_shift
from yolo_attn.layers.numerics import is_traced, no_autocast, runs_on_cpu, wide, widen
from yolo_attn.layers.projections import linear
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["Axial"]

CACHED = 2**19  # logits that stay in the cache of a CPU, 2 MB
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
        y: Tensor = self.columns(x.permute(2, 0, 3, 1))
        y = self.rows(y.permute(2, 1, 0, 3))
        return y.permute(1, 3, 2, 0)

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention along the columns and along the rows."""
        x = inputs[0].permute(2, 0, 3, 1)
        down = self.columns.reading(x, "columns", (1, 3, 0, 2))
        across = self.rows.reading(self.columns(x).permute(2, 1, 0, 3), "rows", (1, 3, 2, 0))
        return [down, across]


class AxialLines(nn.Module):
    """Attention along the lines of a map.

    Positions are the first dimension and channels the last one: all products then read their operands in place.

    Args:
        channels: Channels of the input, a multiple of twice the groups.
        groups: Groups of channels with separate attention weights.
        span: Length up to which each distance has its own position weights.

    Shape:
        x: (length, B, lines, C), y the same.
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
        query, key, value, at = self._project(x)
        value_at = at[:, :, self.depth :].to(value.dtype)
        contents, positions = [], []
        for weights, values in self._weights(query, key, value, at):
            contents.append((weights @ values.transpose(0, 1)).transpose(0, 1))
            positions.append(weights.transpose(0, 1) @ value_at)  # one matrix per position i
        return self._normalized_sum(_joined(contents), _joined(positions), x)

    def reading(self, x: Tensor, part: str, to_map: tuple[int, ...]) -> Reading:
        """Return the attention for viewing.

        Args:
            x: (length, 1, lines, C).
            part: Name of the direction.
            to_map: The permutation of x that is a map (1, C, H, W).
        """
        to_lines = [to_map.index(dim) for dim in range(len(to_map))]
        query, key, value, at = self._project(x)
        weights = torch.cat([weights for weights, _ in self._weights(query, key, value, at)])

        def contexts(values: Tensor) -> Tensor:
            by_line = values.permute(to_lines).reshape(len(x), -1, self.depth).transpose(0, 1)
            return (weights @ by_line).transpose(0, 1).reshape(x.shape).permute(to_map)

        return Reading(part, value.reshape(x.shape).permute(to_map), contexts, self.groups)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return queries, keys and values (length, lines, groups, d / 2 or d), and Q, K and V (length, length, 2 d)."""
        length, channels = x.shape[0], x.shape[3]
        tokens = x.reshape(1, -1, channels)
        if self.training:
            expanded = _normalized(self.expand_norm, linear(tokens, self.expand.weight[:, :, 0]))
        else:
            scale, shift = scale_and_shift(self.expand_norm, self.expand.weight.dtype)
            expanded = linear(tokens, self.expand.weight[:, :, 0] * scale[:, None], shift)
        parts = [self.depth // 2, self.depth // 2, self.depth]
        query, key, value = torch.split(expanded.reshape(length, -1, self.groups, 2 * self.depth), parts, 3)
        return query, key, value, self._positions(length)

    def _positions(self, length: int) -> Tensor:
        """Return the position weights of each pair of positions i and j, (length, length, 2 d)."""
        index = torch.arange(length, device=self.positions.device)
        limit = self.span - 1
        distance = (index[:, None] - index).clamp(-limit, limit) + limit
        return self.positions[0].t()[distance.reshape(-1)].reshape(length, length, -1)

    def _weights(self, query: Tensor, key: Tensor, value: Tensor, at: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield weights of position j for position i, (N, length, length), and values, (length, N, d).

        N is lines * groups, in one or several parts.
        """
        length, half = query.shape[0], self.depth // 2
        query, key, at = widen(query), widen(key), widen(at)
        query_at, key_at = at[:, :, :half], at[:, :, half : self.depth]
        if self.training and half * WIDE > length:  # the statistics take longer than the logits
            logits = self._normalized_logits(query, key, query_at, key_at)
            yield logits.softmax(2).to(value.dtype), value.flatten(1, 2)
            return
        with no_autocast(query):
            factors = (  # of queries and keys, which are fewer numbers than the logits
                query * self.content_norm.scale(query, key),
                key,
                query * self.query_norm.scale_at(query, query_at),
                key * self.key_norm.scale_at(key, key_at),
                value,
            )
        for *part, values in _parts(*(factor.flatten(1, 2) for factor in factors)):
            yield _logits(*part, query_at, key_at).softmax(2).to(value.dtype), values

    def _normalized_logits(self, query: Tensor, key: Tensor, query_at: Tensor, key_at: Tensor) -> Tensor:
        """Return the logits (lines * groups, length, length), normalized by their own statistics."""
        length, groups = query.shape[0], self.groups
        by_line = (-1, groups, length, length)  # of logits (lines * groups, i, j)
        by_position = (-1, groups, length)  # of logits (i, lines * groups, j)
        query, key = query.flatten(1, 2), key.flatten(1, 2)
        with no_autocast(query):
            content = self.content_norm((query.transpose(0, 1) @ key.permute(1, 2, 0)).reshape(by_line))
            of_query = self.query_norm(_with_positions(query, query_at).reshape(by_position))
            of_key = self.key_norm(_with_positions(key, key_at).reshape(by_position))
        logits: Tensor = content.reshape(-1, length, length)
        logits += of_query.reshape(length, -1, length).transpose(0, 1)
        logits += of_key.reshape(length, -1, length).permute(1, 2, 0)
        return logits

    def _normalized_sum(self, content: Tensor, position: Tensor, like: Tensor) -> Tensor:
        """Return BN(content) + BN(position), of tensors (length, lines * groups, d), in the shape of another tensor."""
        channels = like.shape[3]
        if self.training:
            y = _normalized(self.value_norm, content.reshape(1, -1, channels))
            y += _normalized(self.position_norm, position.reshape(1, -1, channels))
            return y.reshape(like.shape)
        content, position = content.reshape(like.shape), position.reshape(like.shape)
        scale, shift = scale_and_shift(self.value_norm, content.dtype)
        scale_at, shift_at = scale_and_shift(self.position_norm, content.dtype)
        return torch.addcmul(torch.addcmul(shift + shift_at, content, scale), position, scale_at)


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
        scale = self._scale(self.running_var)[:, None, None]
        return x * scale  # in the dtype of the logits, which may be wider than the weight's

    def scale(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the factor of the logits x_i . y_j, (groups, 1), of x and y (length, N, groups, d)."""
        if not self.training:
            return self._scale(self.running_var)[:, None]
        x, y = _exact(x), _exact(y)
        mean = (x.sum(0) * y.sum(0)).sum((0, 2))
        x, y = x.permute(1, 2, 3, 0), y.permute(1, 2, 3, 0)  # (N, groups, d, length)
        square = ((x @ x.transpose(2, 3)) * (y @ y.transpose(2, 3))).sum((0, 2, 3))
        return self._scale_of_batch(mean, square, len(x) * x.shape[3] * y.shape[3])[:, None]

    def scale_at(self, x: Tensor, at: Tensor) -> Tensor:
        """Return the factor of the logits x_i . at_ij, (groups, 1).

        Args:
            x: (length, N, groups, d).
            at: (length, length, d).
        """
        if not self.training:
            return self._scale(self.running_var)[:, None]
        x, at = _exact(x).permute(2, 0, 3, 1), _exact(at).transpose(1, 2)  # (groups, i, d, N) and (i, d, j)
        mean = (x.sum(3) * at.sum(2)).sum((1, 2))
        square = ((x @ x.transpose(2, 3)) * (at @ at.transpose(1, 2))).sum((1, 2, 3))
        return self._scale_of_batch(mean, square, x.shape[1] * x.shape[3] * at.shape[2])[:, None]

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
        return widen(self.weight) * (widen(variance) + self.eps).rsqrt()


def _exact(x: Tensor) -> Tensor:
    """Return x in a type in which the difference of a mean square and a squared mean is exact to float32."""
    return x if x.device.type == "mps" else x.double()  # which has no float64


def _logits(*factors: Tensor) -> Tensor:
    """Return the logits (N, length, length).

    Args:
        *factors: q, k, q scaled and k scaled, each (length, N, d / 2), and Q and K, (length, length, d / 2).
    """
    query, key, scaled_query, scaled_key, query_at, key_at = factors
    with no_autocast(query):
        of_query, of_key = _with_positions(scaled_query, query_at), _with_positions(scaled_key, key_at)
        if of_key.requires_grad and not is_traced():
            of_key.register_hook(_contiguous)  # type: ignore[no-untyped-call]  # else products copy each matrix
        logits = torch.baddbmm(of_query.transpose(0, 1), query.transpose(0, 1), key.permute(1, 2, 0))
    logits += of_key.permute(1, 2, 0)
    return logits


def _contiguous(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.contiguous()


def _normalized(norm: BatchNorm, tokens: Tensor) -> Tensor:
    """Return normalized tokens (1, N, C), as a map in channels_last, whose batch norm is fastest on a CPU."""
    y: Tensor = norm(tokens.transpose(1, 2)[..., None])
    return y.squeeze(3).transpose(1, 2)


def _with_positions(x: Tensor, at: Tensor) -> Tensor:
    """Return the products x_i . at_ij, (length, N, length), of x (length, N, d) and at (length, length, d)."""
    return x @ at.transpose(1, 2)  # one matrix per position, which threads share


def _parts(*factors: Tensor) -> list[tuple[Tensor, ...]]:
    """Return factors (length, N, any) in parts whose logits stay in the cache of a CPU."""
    length, count = factors[0].shape[:2]
    if not runs_on_cpu(factors[0]) or count * length * length <= CACHED:
        return [factors]
    size = max(1, CACHED // (length * length))
    return list(zip(*(torch.split(factor, size, 1) for factor in factors), strict=True))


def _joined(parts: list[Tensor]) -> Tensor:
    """Return parts (length, N, d) as one tensor."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
