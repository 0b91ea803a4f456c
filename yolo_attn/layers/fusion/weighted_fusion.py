"""WeightedFusion: BiFPN's fast normalized fusion, a weighted mean with a learned weight for each input.

    w = relu(v)                                 v: a scalar for each input, initialized to 1
    y = sum over n of w_n x_n / (sum over n of w_n + eps)

Paper: Tan et al., "EfficientDet: Scalable and Efficient Object Detection", CVPR 2020, arXiv 1911.09070.
Code: https://github.com/google/automl/tree/master/efficientdet
Shapes: x0, x1, ... (B, C, H, W), y the same; weights() (N,).
Deviations: none. In EfficientDet a swish and a separable convolution follow, which are separate rows here. A weight
that becomes negative in training remains zero, as in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.checks import check, check_positive
from yolo_attn.layers.numerics import total, widen
from yolo_attn.registry import register_layer

__all__ = ["WeightedFusion"]


@register_layer(
    family="fusion",
    summary="takes the mean of maps with a learned weight for each",
    aliases=("BiFPN", "BiFPNFusion"),
    inputs=2,
    more_inputs=True,
    paper="EfficientDet: Scalable and Efficient Object Detection, CVPR 2020",
    year=2020,
    url="https://arxiv.org/abs/1911.09070",
    repository="https://github.com/google/automl",
    cost="O(C HW)",
)
class WeightedFusion(Fusion):
    """Fast normalized fusion.

    Args:
        channels: Channels of the inputs, all equal.
        eps: Added to the denominator to avoid division by zero.
        init: "paper", the mean of the inputs, or "identity", the first input.

    Raises:
        ValueError: The channels differ, or an argument is out of range.
    """

    most = None

    def __init__(self, channels: Sequence[int], *, eps: float = 1e-4, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        equal = all(c == channels[0] for c in channels)
        check(self, equal, "channels", channels, "equal numbers, with a Conv before it")
        check_positive(self, eps=eps)
        self.eps = eps
        self.importance = nn.Parameter(torch.ones(len(channels)))

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the inputs, which are the same for all images."""
        return [AttentionValues("inputs", GATE, self.weights().float())]

    def weights(self) -> Tensor:
        """Return the weight of each input, (N,); without eps their sum would be 1."""
        positive = torch.relu(widen(self.importance))
        return positive / (positive.sum() + self.eps)

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the weighted mean."""
        weights = self.weights().to(xs[0].dtype)
        return total(weights[n] * x for n, x in enumerate(xs))
