"""CoT compared with a loop over positions."""

from __future__ import annotations

import torch

from yolo_attn.layers import CoT


def test_channel_c_uses_row_c_modulo_the_number_of_rows() -> None:
    torch.manual_seed(0)
    layer = CoT(16).eval()  # 8 channels share weights, so there are 2 rows of weights
    x = torch.randn(1, 16, 3, 4)
    with torch.no_grad():
        static = layer.context(x)
        weights = layer.attn(torch.cat([x, static], 1)).reshape(2, 9, 3, 4)
        value = layer.value(x)[0]
        expected = torch.zeros(16, 3, 4)
        for channel in range(16):
            for i in range(3):
                for j in range(4):
                    for n in range(9):
                        r, c = i + n // 3 - 1, j + n % 3 - 1
                        if 0 <= r < 3 and 0 <= c < 4:
                            expected[channel, i, j] += weights[channel % 2, n, i, j] * value[channel, r, c]
        torch.testing.assert_close(layer._aggregate(x, static)[0], expected)
