"""Matrix square root of SOCA."""

from __future__ import annotations

import torch

from yolo_attn.layers import SOCA


def test_covariance_root_squares_to_the_covariance() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 9, 11).double()
    root = SOCA(6, iterations=20).double()._covariance_root(x)
    expected = torch.stack([torch.cov(image.flatten(1), correction=0) for image in x])
    torch.testing.assert_close(root @ root, expected)
