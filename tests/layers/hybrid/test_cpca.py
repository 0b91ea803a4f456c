"""Shared and separate convolutions of CPCA."""

from __future__ import annotations

import copy

import torch

from yolo_attn.layers import CPCA


def test_three_equal_convolutions_match_the_shared_one() -> None:
    shared, separate, x = CPCA(8), CPCA(8, shared=False), torch.randn(2, 8, 6, 7)
    state = copy.deepcopy(shared.state_dict())
    for name in ("weight", "bias"):
        state |= {f"pointwise.{n}.{name}": state[f"pointwise.0.{name}"] for n in (1, 2)}
    separate.load_state_dict(state)
    torch.testing.assert_close(separate(x), shared(x))


def test_has_the_published_size() -> None:
    assert sum(p.numel() for p in CPCA(256).parameters()) == 127_040
