"""HardAttention: a binary mask over positions, trained through soft probabilities.

    l = w . x + b at each position, p = sigmoid(l / t)
    m = 1 where l > 0, else 0                   in training with sample="gumbel": l + log u - log(1 - u), u uniform
    y = x * m                                   the gradient of p replaces that of m
    with init="identity": y = x (1 + gamma (m - 1)), differentiated with p for m, with respect to gamma too

Paper: Xu et al., "Show, Attend and Tell", ICML 2015, arXiv 1502.03044 (hard attention); Bengio et al., "Estimating or
Propagating Gradients Through Stochastic Neurons", 2013, arXiv 1308.3432 (straight through); Jang et al., "Categorical
Reparameterization with Gumbel-Softmax", ICLR 2017, arXiv 1611.01144 and Maddison et al., arXiv 1611.00712 (sampling).
Code: https://github.com/kelvinxu/arctic-captions (Theano; REINFORCE)
Shapes: x (B, C, H, W), y the same; gate (B, 1, H, W).
Deviations: the captioning paper trains with REINFORCE, which requires a term in the loss that a detector does not have;
straight-through and Gumbel sampling require none. The gradient is deliberately that of the soft mask, because that of
the hard mask is zero almost everywhere. Gamma's gradient is computed from the soft mask for the same reason: if every
position is kept, m - 1 is zero and gamma would stay at 0. Evaluation never samples. The mask is computed in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_choice, check_positive
from yolo_attn.layers.projections import wide_conv
from yolo_attn.registry import register_layer

__all__ = ["HardAttention"]


@register_layer(
    family="spatial",
    summary="keeps or drops each position",
    paper="Show, Attend and Tell: Neural Image Caption Generation with Visual Attention, ICML 2015",
    year=2015,
    url="https://arxiv.org/abs/1502.03044",
    repository="https://github.com/kelvinxu/arctic-captions",
    cost="O(C HW)",
    renamed={"open_bias": "bias_init"},
)
class HardAttention(Gate):
    """Hard attention over positions.

    Args:
        channels: Channels of the input.
        sample: Computation of the mask in training: "threshold" (straight-through) or "gumbel".
        temperature: t; a lower value brings p closer to the mask, with smaller gradients far from the threshold.
        bias_init: Initial value of b; a higher value drops fewer positions at first.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        sample: str = "threshold",
        temperature: float = 1.0,
        bias_init: float = 1.0,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_choice(self, "sample", sample, ("threshold", "gumbel"))
        check_positive(self, temperature=temperature, bias_init=bias_init)
        self.sample = sample
        self.temperature = temperature
        self.score = nn.Conv2d(channels, 1, 1)
        nn.init.constant_(self.score.bias, bias_init)  # type: ignore[arg-type]

    def gate(self, x: Tensor) -> Tensor:
        """Return the mask (B, 1, H, W), with the gradient of the probabilities."""
        return _straight_through(*self._masks(x))

    def scale(self, x: Tensor) -> Tensor:
        """Return the mask faded in by gamma, with the gradient of the faded probabilities."""
        hard, soft = (self.fade(mask) for mask in self._masks(x))
        return _straight_through(hard, soft).to(x.dtype)

    def _masks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the binary mask and the probabilities, (B, 1, H, W) each."""
        logits = self._logits(x)
        if self.training and self.sample == "gumbel":
            logits = logits + _logistic_noise(logits)
        soft = torch.sigmoid(logits / self.temperature)
        return logits.clamp(0, 1).ceil(), soft  # 1 where positive; unlike a comparison, it converts to NCNN

    def _logits(self, x: Tensor) -> Tensor:
        """Return the logits in float32, because rounding errors can flip the mask."""
        return wide_conv(self.score, x)


def _straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return the values of `hard` with the gradient of `soft`."""
    return hard.detach() + (soft - soft.detach())  # the difference is exactly zero


def _logistic_noise(like: Tensor) -> Tensor:
    """Return log u - log(1 - u), u uniform: the difference of two Gumbel variables."""
    tiny = torch.finfo(like.dtype).eps
    u = torch.rand_like(like).clamp(tiny, 1 - tiny)
    return u.log() - (-u).log1p()
