"""DANet's position and channel attention."""

from __future__ import annotations

import torch

from yolo_attn.layers import CAM, PAM, DualAttention


def test_position_attention_equals_the_loop() -> None:
    torch.manual_seed(0)
    layer, x = PAM(8, reduction=4), torch.randn(1, 8, 3, 4)
    torch.nn.init.constant_(layer.residual_scale, 0.7)
    q, k, v = (conv(x)[0].flatten(1).t() for conv in (layer.query, layer.key, layer.value))
    read = torch.stack([(k @ query).softmax(0) @ v for query in q])
    torch.testing.assert_close(layer(x), x + 0.7 * read.t().reshape(x.shape))


def test_channel_attention_attends_to_the_least_similar_channels() -> None:
    torch.manual_seed(0)
    layer, x = CAM(6), torch.randn(2, 6, 3, 4)
    weights = layer.weights(x)
    channels = x.flatten(2)
    energy = channels @ channels.transpose(1, 2)
    torch.testing.assert_close(weights, (energy.amax(2, keepdim=True) - energy).softmax(2))
    assert torch.equal(weights.argmax(2), energy.argmin(2))
    torch.nn.init.constant_(layer.residual_scale, 0.7)
    torch.testing.assert_close(layer(x), x + 0.7 * (weights @ channels).reshape(x.shape))


def test_channel_attention_is_finite_for_energies_beyond_float16() -> None:
    x = (1000 * torch.randn(1, 6, 20, 20)).half()
    layer = CAM(6).half()
    torch.nn.init.ones_(layer.residual_scale)
    assert layer(x).isfinite().all()


def test_their_sum_is_twice_the_input_at_initialization() -> None:
    x = torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(DualAttention(8)(x), 2 * x)
    assert torch.equal(DualAttention(8, init="identity")(x), x)


def test_identity_init_gives_queries_keys_and_values_a_gradient_after_one_step() -> None:
    torch.manual_seed(0)
    layer, x = DualAttention(8, init="identity"), torch.randn(2, 8, 3, 4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        (layer(x) - x.roll(1, 1)).square().mean().backward()
        optimizer.step()
    # The softmax is invariant to the bias of the keys.
    inner = {name: p.grad for name, p in layer.position.named_parameters() if name != "key.bias"}
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in inner.values())


def test_identity_init_subtracts_the_input() -> None:
    torch.manual_seed(0)
    paper, identity, x = DualAttention(8), DualAttention(8, init="identity"), torch.randn(2, 8, 3, 4)
    for layer in (paper.position, paper.channel):
        torch.nn.init.constant_(layer.residual_scale, 0.5)
    identity.load_state_dict(paper.state_dict())
    torch.testing.assert_close(identity(x), paper(x) - x)
