"""Outlook compared with a loop over positions."""

from __future__ import annotations

import torch

from yolo_attn.layers import Outlook


def test_equals_the_loop() -> None:
    torch.manual_seed(0)
    layer = Outlook(4, heads=2)
    x = torch.randn(1, 4, 3, 4)
    steps = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)]

    def on_map(i: int, j: int) -> bool:
        return 0 <= i < 3 and 0 <= j < 4

    with torch.no_grad():
        value = layer.value(x)[0].reshape(2, 2, 3, 4)
        weights = layer.weights(x)[0]  # (heads, to, from, H, W)
        collected = torch.zeros(2, 2, 3, 4)
        for i in range(3):
            for j in range(4):
                for target, (di, dj) in enumerate(steps):
                    if not on_map(i + di, j + dj):
                        continue
                    for source, (si, sj) in enumerate(steps):
                        if on_map(i + si, j + sj):
                            weight = weights[:, target, source, i, j]
                            collected[:, :, i + di, j + dj] += weight[:, None] * value[:, :, i + si, j + sj]
        torch.testing.assert_close(layer(x), layer.proj(collected.reshape(1, 4, 3, 4)))


def test_the_weights_for_a_neighbor_sum_to_one() -> None:
    weights = Outlook(8, heads=4).weights(torch.randn(2, 8, 5, 6))
    assert weights.shape == (2, 4, 9, 9, 5, 6)
    torch.testing.assert_close(weights.sum(3), torch.ones(2, 4, 9, 5, 6))
