"""SOCA: second-order channel attention.

    cov = (x - mean)(x - mean)^T / HW           (B, C, C), mean over H, W
    S = cov^(1/2)                               by Newton-Schulz iteration on cov / trace(cov), rescaled
    z = mean over the rows of S                 (B, C)
    y = x * sigmoid(W2 relu(W1 z))              W1 (C/r, C), W2 (C, C/r), both with bias

Newton-Schulz: Y0 = cov / trace, Z0 = I; T = (3 I - Z Y) / 2; Y <- Y T, Z <- T Z; S = sqrt(trace) Y.

Paper: Dai et al., "Second-Order Attention Network for Single Image Super-Resolution", CVPR 2019; the square root from
Li et al., arXiv 1712.01034.
Code: https://github.com/daitao/SAN
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1). 15 products of C x C matrices per image; use it for C up to 512.
Few channels: z hardly varies between images, so a hidden unit is active for all images or for none. At initialization
half of the units are inactive; at C = 16 one layer in four has both units inactive and so a constant gate.
Deviations: the authors' code centers with a dense HW x HW matrix (2.4 GiB per image at 160 x 160); here the mean is
subtracted, with equal results. A constant map (including 1 x 1) has covariance 0 and z = 0, where the code divides 0 by
0. The code crops maps larger than 1000 x 1000; here none is cropped. Gradients come from autograd instead of a
hand-written backward.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["SOCA"]


@register_layer(
    family="channel",
    summary="reweights channels by an MLP on the square root of the channel covariance",
    paper="Second-Order Attention Network for Single Image Super-Resolution, CVPR 2019",
    year=2019,
    url="https://openaccess.thecvf.com/content_CVPR_2019/html/"
    "Dai_Second-Order_Attention_Network_for_Single_Image_Super-Resolution_CVPR_2019_paper.html",
    repository="https://github.com/daitao/SAN",
    cost="O(C^2 HW + C^3)",
)
class SOCA(Gate):
    """Second-order channel attention.

    Args:
        channels: Channels of the input.
        reduction: r, channels per hidden unit.
        iterations: Steps of the Newton-Schulz iteration.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, reduction: float = 8, iterations: int = 5, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check_integer(self, iterations=iterations)
        hidden = hidden_width(channels, reduction)
        self.iterations = iterations
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        with no_autocast(x):
            second_order = self._covariance_root(widen(x)).mean(1)
        hidden = torch.relu(self.fc1(second_order.to(x.dtype)))
        return torch.sigmoid(self.fc2(hidden))[:, :, None, None]

    def _covariance_root(self, x: Tensor) -> Tensor:
        """Return the square root of the channel covariance, (B, C, C)."""
        x = x.flatten(2)
        centered = x - x.mean(2, keepdim=True)
        covariance = centered @ centered.transpose(1, 2) / x.shape[2]
        trace = centered.square().mean(2).sum(1).clamp(min=1e-12)[:, None, None]
        eye = torch.eye(self.channels, dtype=x.dtype, device=x.device)
        y, z = covariance / trace, eye
        for _ in range(self.iterations):
            step = 1.5 * eye - 0.5 * (z @ y)
            y, z = y @ step, step @ z
        return trace.sqrt() * y
