"""Normalization layers that accept a single value per channel.

A 1 x 1 map, or a vector pooled from a map, has one value per channel if the batch is a single image. PyTorch's norms
raise an error there in training, because statistics cannot be estimated from one value, and the last, incomplete batch
of an epoch would end the run. These layers handle this case and equal PyTorch's in all others.

They also keep the momentum and eps of their papers: Ultralytics overwrites both in every exact `nn.BatchNorm2d`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.numerics import no_autocast, widen

__all__ = ["BatchNorm", "GroupNorm", "normalize_channels", "scale_and_shift"]


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization of (B, C) or (B, C, ...) that accepts one value per channel.

    A single value normalized by its own statistics would be zero for every image. In training it is normalized with the
    running statistics instead, which are not updated, so training and evaluation give the same result.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each channel."""
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept tensors of two or more dimensions."""


class GroupNorm(nn.GroupNorm):
    """Group normalization that accepts one value per group, which becomes zero before scale and bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each group of channels."""
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def normalize_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Return a map (B, C, H, W) whose channels are normalized at each position, in at least float32.

    Args:
        norm: Layer normalization of C channels.
        x: The map.
    """
    with no_autocast(x):
        weight, bias = widen(norm.weight), widen(norm.bias)
        y = F.layer_norm(widen(x).permute(0, 2, 3, 1), norm.normalized_shape, weight, bias, norm.eps)
    return y.permute(0, 3, 1, 2)


def scale_and_shift(norm: BatchNorm, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return a and b, (C,), of a batch norm in evaluation, y = a x + b.

    Args:
        norm: The batch norm.
        dtype: Of the result; it is computed in at least float32.
    """
    scale = widen(norm.weight) * (widen(norm.running_var) + norm.eps).rsqrt()
    shift = widen(norm.bias) - widen(norm.running_mean) * scale
    return scale.to(dtype), shift.to(dtype)
