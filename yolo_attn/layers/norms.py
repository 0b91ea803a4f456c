"""Normalisation that also works where there is a single value per channel.

A map of 1 x 1, or a vector pooled from a map, has one value per channel when the batch is one image. PyTorch's norms
raise there in training, because nothing can be estimated from one value: the last, incomplete batch of an epoch would
end the run. These two do what is left to do, and equal PyTorch's everywhere else.

They also keep the momentum and eps of their papers: Ultralytics overwrites both in every exact `nn.BatchNorm2d`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BatchNorm", "GroupNorm"]


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of (B, C) or (B, C, ...) that accepts one value per channel.

    A single value normalised by itself would be zero and tell nothing about the image. In training it is normalised
    with the running statistics instead, which stay as they are; so training and evaluation agree on it.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel."""
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any rank from 2."""


class GroupNorm(nn.GroupNorm):
    """Group normalisation that accepts one value per group, which becomes zero before scale and bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each group of channels."""
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
