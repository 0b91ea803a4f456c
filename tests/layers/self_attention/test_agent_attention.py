"""AgentAttention: agents and position bias."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import AgentAttention
from yolo_attn.layers.self_attention.agent_attention import PositionBias


def test_equals_the_two_attentions_written_out() -> None:
    torch.manual_seed(0)
    layer, x = AgentAttention(8, heads=2, agents=4, bias_size=5), torch.randn(1, 8, 5, 6)
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = layer.query(tokens), layer.key(tokens), layer.value(tokens)
    agents = F.adaptive_avg_pool2d(q.transpose(1, 2).reshape(x.shape), 2).flatten(2).transpose(1, 2)
    q, k, v, a = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in (q, k, v, agents))
    read = (a @ k.transpose(2, 3) / 2 + layer.agent_positions(5, 6)).softmax(3) @ v
    output = (q @ a.transpose(2, 3) / 2 + layer.query_positions(5, 6).transpose(2, 3)).softmax(3) @ read
    local = layer.dwconv(v.transpose(2, 3).reshape(x.shape)).flatten(2).transpose(1, 2)
    expected = layer.proj(output.transpose(1, 2).flatten(2) + local)
    torch.testing.assert_close(layer(x), expected.transpose(1, 2).reshape(x.shape))


def test_bias_is_not_resized_on_a_map_of_its_size() -> None:
    bias = PositionBias(2, 4, 7)
    expected = bias.grid.unflatten(2, (7, 7)) + bias.rows[..., :, None] + bias.columns[..., None, :]
    torch.testing.assert_close(bias(7, 7), expected.flatten(2)[None])
    assert bias(3, 11).shape == (1, 2, 4, 33)


def test_rejects_a_number_of_agents_that_is_not_a_square() -> None:
    with pytest.raises(ValueError, match=r"AgentAttention: agents=50; use a square number, such as 49"):
        AgentAttention(8, agents=50)
