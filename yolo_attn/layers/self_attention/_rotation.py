"""Rotary positions: pairs of channels are rotated by an angle that depends on the position.

Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", arXiv 2104.09864.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotate"]


def rotate(x: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """Return a map with channels 2j and 2j + 1 rotated by the angle j of each position.

    Args:
        x: (B, C, H, W), C even.
        sine: Sines of the angles, (C / 2, H, W).
        cosine: Their cosines.
    """
    first, second = torch.unflatten(x, 1, (-1, 2)).unbind(2)  # NCNN has no slices with steps
    turned = first * cosine - second * sine, first * sine + second * cosine
    return torch.stack(turned, 2).reshape(x.shape)
