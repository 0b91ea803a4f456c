"""ACmix compared with loops over positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from yolo_attn.layers import ACmix


def test_attention_equals_the_loop() -> None:
    torch.manual_seed(0)
    layer = ACmix(8, window=3, heads=2).eval()
    torch.nn.init.zeros_(layer.rate_convolution)
    x = torch.randn(1, 8, 4, 5)
    with torch.no_grad():
        q, k, v = (conv(x)[0].reshape(2, 4, 4, 5) for conv in (layer.query, layer.key, layer.value))
        rows, columns = torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 5)
        matrix = layer.position.weight[:, :, 0, 0]
        expected = torch.zeros(2, 4, 4, 5)
        for i in range(4):
            for j in range(5):
                window = [(abs(r), abs(c)) for r in (i - 1, i, i + 1) for c in (j - 1, j, j + 1)]
                window = [(r if r < 4 else 2, c if c < 5 else 3) for r, c in window]  # reflected at the border
                for head in range(2):
                    logits = []
                    for r, c in window:
                        offset = torch.stack([columns[j] - columns[c], rows[i] - rows[r]])
                        logits.append(q[head, :, i, j] @ (k[head, :, r, c] + matrix @ offset) / 2)
                    weights = torch.stack(logits).softmax(0)
                    expected[head, :, i, j] = sum(
                        w * v[head, :, r, c] for w, (r, c) in zip(weights, window, strict=True)
                    )
        torch.testing.assert_close(layer(x)[0], 0.5 * expected.reshape(8, 4, 5))


def test_the_convolution_is_initialized_to_a_sum_of_shifted_maps() -> None:
    torch.manual_seed(0)
    layer = ACmix(8, heads=2).eval()
    torch.nn.init.zeros_(layer.rate_attention)
    x = torch.randn(1, 8, 4, 5)
    with torch.no_grad():
        shared = torch.stack([conv(x)[0].reshape(2, 4, 4, 5) for conv in (layer.query, layer.key, layer.value)])
        maps = torch.einsum("ns,sdhw->ndhw", layer.fc.weight[:, :, 0, 0], shared.reshape(6, 4, 4, 5))
        padded = F.pad(maps, (1, 1, 1, 1))
        total = sum(padded[n, :, n // 3 : n // 3 + 4, n % 3 : n % 3 + 5] for n in range(9))
        # Group d of the convolution computes two of the eight output channels from the nine maps of channel d.
        torch.testing.assert_close(layer(x)[0], 0.5 * total.repeat_interleave(2, 0))
