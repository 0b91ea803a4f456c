"""Binary mask, gradient and sampling of HardAttention."""

from __future__ import annotations

import copy

import pytest
import torch

from yolo_attn.layers import HardAttention


def scored(logit: float, **options: object) -> HardAttention:
    """Return a layer with the same logit at every position."""
    layer = HardAttention(2, **options)  # type: ignore[arg-type]
    torch.nn.init.zeros_(layer.score.weight)
    assert layer.score.bias is not None
    torch.nn.init.constant_(layer.score.bias, logit)
    return layer


@pytest.mark.parametrize("sample", ["threshold", "gumbel"])
@pytest.mark.parametrize("training", [True, False])
def test_keeps_or_drops_whole_positions(sample: str, training: bool) -> None:
    torch.manual_seed(0)
    layer, x = HardAttention(8, sample=sample).train(training), 3 * torch.randn(2, 8, 9, 9)
    y = layer(x)
    kept = (y == x).all(1)
    assert torch.equal(kept, ~(y == 0).all(1))
    assert 0 < kept.float().mean() < 1


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_gradient_is_that_of_the_probability(temperature: float) -> None:
    x, logit = torch.randn(1, 2, 4, 4), torch.tensor(0.7)
    layer = scored(logit.item(), temperature=temperature)
    layer(x).sum().backward()
    p = torch.sigmoid(logit / temperature)
    assert layer.score.bias is not None
    torch.testing.assert_close(layer.score.bias.grad, (x.sum() * p * (1 - p) / temperature)[None])


def test_gumbel_keeps_positions_with_the_probability() -> None:
    torch.manual_seed(0)
    layer, x = scored(0.5, sample="gumbel").train(), torch.ones(1, 2, 200, 200)
    share = layer(x).mean().item()
    assert share == pytest.approx(torch.sigmoid(torch.tensor(0.5)).item(), abs=0.01)  # four standard errors


def test_evaluation_does_not_sample() -> None:
    layer, x = HardAttention(8, sample="gumbel").eval(), torch.randn(2, 8, 6, 6)
    plain = HardAttention(8).eval()
    plain.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x), plain(x))


def test_gumbel_is_initially_the_identity_in_training() -> None:
    layer, x = HardAttention(8, sample="gumbel", init="identity").train(), torch.randn(2, 8, 6, 6)
    y = layer(x)
    assert torch.equal(y, x)
    y.sum().backward()
    assert layer.gamma is not None and layer.gamma.grad is not None and layer.gamma.grad.abs().max() > 0
    copy.deepcopy(layer)  # fails if the pass left a non-leaf tensor on the module


@pytest.mark.parametrize("sample", ["threshold", "gumbel"])
def test_gamma_has_the_gradient_of_the_probability_if_nothing_is_dropped(sample: str) -> None:
    layer, x = scored(30.0, sample=sample, temperature=20.0, init="identity").train(), torch.randn(1, 2, 4, 4)
    layer(x).sum().backward()
    assert torch.equal(layer.gate(x), torch.ones(1, 1, 4, 4))
    assert layer.gamma is not None and layer.gamma.grad is not None
    assert (layer.gamma.grad * x.sum((0, 2, 3)) < 0).all()  # the sign of p - 1
    if sample == "threshold":
        p = torch.sigmoid(torch.tensor(1.5))
        torch.testing.assert_close(layer.gamma.grad, (p - 1) * x.sum((0, 2, 3)))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_learns_to_drop_positions_from_the_identity(scale: float) -> None:
    torch.manual_seed(0)
    layer = HardAttention(8, init="identity").train()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(150):
        x = scale * torch.randn(4, 8, 6, 6)
        loss = ((layer(x) - x * (x[:, :1] > 0)) / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_half_precision_noise_is_finite() -> None:
    layer, x = HardAttention(8, sample="gumbel").half().train(), torch.randn(2, 8, 32, 32).half()
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
