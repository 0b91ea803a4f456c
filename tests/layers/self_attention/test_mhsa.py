"""MHSA: position features compared with loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from yolo_attn.layers import MHSA


def expected(layer: MHSA, x: Tensor) -> Tensor:
    """Return the output for one image, computed position by position."""
    attention, height, width = layer.attention, x.shape[2], x.shape[3]
    tokens = x[0].flatten(1).t()
    heads = attention.heads
    q, k, v = (
        (linear(tokens)).unflatten(1, (heads, -1)) for linear in (attention.query, attention.key, attention.value)
    )
    d, limit = q.shape[2], layer.max_distance
    context = torch.zeros_like(q)
    for i in range(len(tokens)):
        for head in range(heads):
            logits = []
            for j in range(len(tokens)):
                down = min(max(i // width - j // width, -limit), limit) + limit
                right = min(max(i % width - j % width, -limit), limit) + limit
                logit = q[i, head] @ k[j, head]
                if layer.position == "relative":
                    logit = logit + q[i, head] @ (layer.offsets[0, down] + layer.offsets[1, right])
                logit = logit * d**-0.5
                logits.append(logit + layer.table[head, down, right] if layer.position == "bias" else logit)
            context[i, head] = torch.stack(logits).softmax(0) @ v[:, head]
    return attention.out_proj(context.flatten(1)).t().reshape(1, -1, height, width)


@pytest.mark.parametrize("position", ["none", "relative", "bias"])
def test_equals_the_loop(position: str) -> None:
    torch.manual_seed(0)
    layer = MHSA(8, heads=2, position=position, max_distance=2)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(1, 8, 4, 5)
    torch.testing.assert_close(layer(x), expected(layer, x))


def test_depends_on_the_order_of_tokens_only_with_position_features() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 4, 4)
    for position, same in (("none", True), ("sine", False), ("relative", False)):
        layer = MHSA(8, position=position)
        assert torch.allclose(layer(x.flip(2)), layer(x).flip(2), atol=1e-5) == same


def test_residual_adds_the_input() -> None:
    torch.manual_seed(0)
    plain, x = MHSA(8), torch.randn(1, 8, 4, 5)
    residual = MHSA(8, residual=True)
    residual.load_state_dict(plain.state_dict())
    torch.testing.assert_close(residual(x), x + plain(x))


def test_sine_positions_require_a_multiple_of_4_channels() -> None:
    with pytest.raises(ValueError, match=r"^MHSA: channels=6; use a multiple of 4, or position=none"):
        MHSA(6)
    assert MHSA(6, position="none")(torch.zeros(1, 6, 3, 3)).shape == (1, 6, 3, 3)
