"""CPCA: one shared convolution, or three."""

from __future__ import annotations

import copy

import torch

from yolo_attn.layers import CPCA


def test_three_equal_convolutions_are_the_shared_one() -> None:
    shared, own, x = CPCA(8), CPCA(8, shared=False), torch.randn(2, 8, 6, 7)
    state = copy.deepcopy(shared.state_dict())
    for name in ("weight", "bias"):
        state |= {f"pointwise.{n}.{name}": state[f"pointwise.0.{name}"] for n in (1, 2)}
    own.load_state_dict(state)
    torch.testing.assert_close(own(x), shared(x))


def test_has_the_published_number_of_weights() -> None:
    assert sum(p.numel() for p in CPCA(256).parameters()) == 127_040
