"""S2 compared with a loop over positions."""

from __future__ import annotations

import torch

from yolo_attn.layers import S2
from yolo_attn.layers.self_attention.s2 import HEIGHT, WIDTH, shift


def test_shift_moves_each_quarter_by_one_and_keeps_the_border() -> None:
    x = torch.arange(4 * 3 * 5.0).view(1, 4, 3, 5)
    steps = [(1, 0), (-1, 0), (0, 1), (0, -1)]  # the shift of each quarter
    for order, dims in (([0, 1, 2, 3], (HEIGHT, WIDTH)), ([2, 3, 0, 1], (WIDTH, HEIGHT))):
        expected = x.clone()
        for quarter, step in enumerate(order):
            down, right = steps[step]
            for i in range(3):
                for j in range(5):
                    if 0 <= i - down < 3 and 0 <= j - right < 5:
                        expected[0, quarter, i, j] = x[0, quarter, i - down, j - right]
        assert torch.equal(shift(x, *dims), expected)


def test_the_weights_of_the_copies_sum_to_one() -> None:
    weights = S2(8).weights(torch.randn(2, 8, 5, 6))
    assert weights.shape == (2, 3, 8)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 8))


def test_the_sum_sharpens_the_softmax_on_larger_maps_and_the_mean_does_not() -> None:
    torch.manual_seed(0)
    small = torch.rand(1, 8, 4, 4)
    large = small.repeat(1, 1, 8, 8)
    for pool, sharpens in (("sum", True), ("mean", False)):
        layer = S2(8, pool=pool)
        weights = [layer._copy_weights((x, x, x)) for x in (small, large)]
        assert torch.allclose(*weights, atol=1e-5) is not sharpens
