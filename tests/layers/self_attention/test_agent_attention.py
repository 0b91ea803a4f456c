"""AgentAttention: agents and learned maps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import AgentAttention
from yolo_attn.layers.self_attention.agent_attention import PositionBias


def test_equals_the_two_attentions_written_out() -> None:
    torch.manual_seed(0)
    layer, x = AgentAttention(8, heads=2, agents=4, bias_size=5), torch.randn(1, 8, 5, 6)
    cells = x.flatten(2).transpose(1, 2)
    q, k, v = layer.query(cells), layer.key(cells), layer.value(cells)
    agents = F.adaptive_avg_pool2d(q.transpose(1, 2).reshape(x.shape), 2).flatten(2).transpose(1, 2)
    q, k, v, a = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in (q, k, v, agents))
    found = (a @ k.transpose(2, 3) / 2 + layer.agent_bias(5, 6)).softmax(3) @ v
    read = (q @ a.transpose(2, 3) / 2 + layer.query_bias(5, 6).transpose(2, 3)).softmax(3) @ found
    local = layer.dwconv(v.transpose(2, 3).reshape(x.shape)).flatten(2).transpose(1, 2)
    expected = layer.proj(read.transpose(1, 2).flatten(2) + local)
    torch.testing.assert_close(layer(x), expected.transpose(1, 2).reshape(x.shape))


def test_learned_maps_are_their_own_numbers_on_a_map_of_their_size() -> None:
    maps = PositionBias(2, 4, 7)
    expected = maps.grid.unflatten(2, (7, 7)) + maps.rows[..., :, None] + maps.columns[..., None, :]
    torch.testing.assert_close(maps(7, 7), expected.flatten(2)[None])
    assert maps(3, 11).shape == (1, 2, 4, 33)


def test_the_number_of_agents_is_a_square() -> None:
    with pytest.raises(ValueError, match=r"AgentAttention: agents=50; use a square number, such as 49"):
        AgentAttention(8, agents=50)
