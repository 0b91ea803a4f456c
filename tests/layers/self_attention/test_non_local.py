"""NonLocal: the four pairwise functions compared with loops."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import NonLocal


@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"])
def test_equals_the_loop(pairwise: str, subsample: bool) -> None:
    torch.manual_seed(0)
    layer = NonLocal(8, pairwise=pairwise, subsample=subsample).eval()
    torch.nn.init.ones_(layer.norm.weight)
    x = 0.5 * torch.randn(1, 8, 5, 7)
    theta, phi, g = layer.theta(x), layer.phi(x), layer.g(x)
    if subsample:
        phi, g = torch.max_pool2d(phi, 2), torch.max_pool2d(g, 2)
    theta, phi, g = (t[0].flatten(1).t() for t in (theta, phi, g))
    y = torch.zeros(len(theta), g.shape[1])
    for i, query in enumerate(theta):
        if pairwise == "concatenation":
            pairs = [query @ layer.theta_weight + key @ layer.phi_weight for key in phi]
            weights = torch.stack(pairs).relu() / len(phi)
        elif pairwise == "dot_product":
            weights = phi @ query / len(phi)
        else:
            weights = (phi @ query).exp() / (phi @ query).exp().sum()
        y[i] = weights @ g
    expected = x + layer.norm(layer.expand(y.t().reshape(1, -1, 5, 7)))
    torch.testing.assert_close(layer(x), expected)


def test_a_single_row_is_not_pooled() -> None:
    torch.manual_seed(0)
    layer = NonLocal(8, pairwise="dot_product")
    torch.nn.init.ones_(layer.norm.weight)
    x = torch.randn(1, 8, 1, 6)
    assert layer.eval()(x).isfinite().all() and not torch.equal(layer(x), x)


def test_scale_divides_the_logits() -> None:
    assert NonLocal(8, scale=True).scale == 4**-0.5
    assert NonLocal(8, pairwise="gaussian", scale=True).scale == 8**-0.5
    assert NonLocal(8).scale == 1
