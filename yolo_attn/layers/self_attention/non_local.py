"""NonLocal: a weighted sum over all positions is added at each position, with one of four pairwise functions.

    y_i = sum over j of f(x_i, x_j) g(x_j) / norm               g, and theta, phi below: 1 x 1, C -> C / r
    gaussian            f = exp(x_i . x_j)                      norm: the sum of f over j
    embedded_gaussian   f = exp(theta(x_i) . phi(x_j))          norm: the sum of f over j
    dot_product         f = theta(x_i) . phi(x_j)               norm: the number of j
    concatenation       f = relu(w . [theta(x_i); phi(x_j)])    norm: the number of j
    z = x + BN(W y)                                             the scale of BN is initialized to 0

With subsample=True, j runs over the positions of the map after 2 x 2 max pooling.

Paper: Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv 1711.07971.
Code: https://github.com/facebookresearch/video-nonlocal-net (Caffe2)
Shapes: x (B, C, H, W), z the same.
Memory: no N x N weights beyond 16 MiB; dot_product is linear in HW, because (theta phi^T) g = theta (phi^T g).
Precision: without a softmax, y grows with the cube of x (dot_product) or its square (concatenation). float16 can
represent it for values of x up to about 20 or 200, respectively; beyond that y saturates at 65504.
Deviations: the convolution before BN has no bias, because BN would cancel it. A map with a single row or column is not
pooled along that dimension. `scale` divides the logits by the square root of their channels, an option of the authors'
code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import at_least_one, no_autocast, saturate, widen
from yolo_attn.layers.projections import rows_of_channels
from yolo_attn.layers.self_attention._tokens import attend, chunked, to_map, to_tokens
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["NonLocal"]

PAIRWISE = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")


@register_layer(
    family="self_attention",
    summary="adds a weighted sum over all positions at each position",
    aliases=("NonLocalBlock", "NLBlock"),
    paper="Non-local Neural Networks, CVPR 2018",
    year=2018,
    url="https://arxiv.org/abs/1711.07971",
    repository="https://github.com/facebookresearch/video-nonlocal-net",
    cost="O(C (HW)^2 / 4)",
    identity="published: batch norm scale 0",
)
class NonLocal(Mixer):
    """Non-local block; the identity with either initialization.

    Args:
        channels: Channels of the input.
        pairwise: "embedded_gaussian", "gaussian", "dot_product" or "concatenation".
        reduction: r, channels per inner channel.
        subsample: Whether keys and values are max-pooled, 2 x 2.
        scale: Whether the logits of the two Gaussian forms are divided by the square root of their channels.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(
        self,
        channels: int,
        *,
        pairwise: str = "embedded_gaussian",
        reduction: float = 2,
        subsample: bool = True,
        scale: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_choice(self, "pairwise", pairwise, PAIRWISE)
        check_positive(self, reduction=reduction)
        check_flag(self, subsample=subsample, scale=scale)
        inner = hidden_width(channels, reduction)
        self.pairwise = pairwise
        self.subsample = subsample
        embedded = pairwise != "gaussian"
        self.theta = nn.Conv2d(channels, inner, 1) if embedded else nn.Identity()
        self.phi = nn.Conv2d(channels, inner, 1) if embedded else nn.Identity()
        self.g = nn.Conv2d(channels, inner, 1)
        if pairwise == "concatenation":  # the two halves of w
            self.theta_weight = nn.Parameter(torch.empty(inner).uniform_(-1, 1) * (2 * inner) ** -0.5)
            self.phi_weight = nn.Parameter(torch.empty(inner).uniform_(-1, 1) * (2 * inner) ** -0.5)
        self.expand = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm = BatchNorm(channels)
        nn.init.zeros_(self.norm.weight)
        self.inner = inner
        self.width = inner if embedded else channels
        self.scale = self.width**-0.5 if scale else 1.0

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus the normalized weighted sums."""
        rows = rows_of_channels(x)
        y = to_map(self._sums(rows, self._pool(self.g(rows))), x)
        added: Tensor = self.norm(saturate(self.expand(saturate(y))))
        return x + added.to(x.dtype)

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the weighted sums over all positions."""
        x = inputs[0]
        step = 2 if self.subsample else 1
        return [Reading("", self._pool(self.g(x)), lambda values: to_map(self._sums(x, values), x), step=step)]

    def _sums(self, x: Tensor, values: Tensor) -> Tensor:
        """Return the normalized weighted sums of the pooled values, (B, HW, inner)."""
        theta, phi, g = to_tokens(self.theta(x)), to_tokens(self._pool(self.phi(x))), to_tokens(values)
        if self.pairwise == "dot_product":
            return _dot_product(theta, phi, g)
        if self.pairwise == "concatenation":
            return self._concatenation(theta, phi, g)
        return self._gaussian(theta, phi, g)

    def _pool(self, x: Tensor) -> Tensor:
        if not self.subsample:
            return x
        height, width = x.shape[2:]
        # ceil_mode keeps a single row. The published form drops the last of an odd number of rows.
        pooled = F.max_pool2d(x, 2, ceil_mode=True)
        return pooled[:, :, : at_least_one(height // 2), : at_least_one(width // 2)]

    def _gaussian(self, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        wide = max(self.width, self.inner)  # the fused kernels require equal widths
        theta, phi, g = (_padded(t, wide)[:, None] for t in (theta, phi, g.to(theta.dtype)))
        sums = attend(theta, phi, g, scale=self.scale).squeeze(1)
        return sums if wide == self.inner else sums[..., : self.inner]

    def _concatenation(self, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        count = phi.shape[1]
        query = theta @ self.theta_weight.to(theta.dtype)[:, None]  # (B, N, 1)
        key = (phi @ self.phi_weight.to(phi.dtype)[:, None]).transpose(1, 2)  # (B, 1, M)

        def part(query: Tensor) -> Tensor:
            with no_autocast(query):
                return torch.relu(widen(query) + widen(key)) @ (widen(g) / count)

        return chunked(part, query, elements_per_query=2 * key.numel()).to(g.dtype)


def _padded(x: Tensor, width: int) -> Tensor:
    """Return tokens with zeros up to a number of channels, contiguous."""
    return x.contiguous() if x.shape[2] == width else F.pad(x, (0, width - x.shape[2]))


def _dot_product(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    with no_autocast(g):
        pooled = widen(phi).transpose(1, 2) @ (widen(g) / phi.shape[1])  # (B, inner, inner)
        return (widen(theta) @ pooled).to(g.dtype)
