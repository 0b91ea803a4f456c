"""Energy and windows of SimAM."""

from __future__ import annotations

import torch

from yolo_attn.layers import SimAM


def test_gate_is_the_inverse_of_the_paper_energy() -> None:
    x = torch.randn(2, 3, 5, 6).double()
    mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True)
    energy = 4 * (var + 1e-4) / ((x - mean) ** 2 + 2 * var + 2e-4)
    torch.testing.assert_close(SimAM(3).gate(x), torch.sigmoid(1 / energy))


def test_windows_are_independent() -> None:
    x = torch.randn(1, 2, 8, 8)
    whole = SimAM(2, window=4)(x)
    torch.testing.assert_close(whole[:, :, :4, 4:], SimAM(2)(x[:, :, :4, 4:]))
