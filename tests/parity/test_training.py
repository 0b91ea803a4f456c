"""Parity with the references in training, in float64: output, gradients of inputs and weights, running statistics.

The references are those of `references.py`, which have to reproduce the stored numbers in evaluation. A layer without
batch norm and randomness computes the same in training and evaluation, which `test_parity.py` covers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from yolo_attn.layers.norms import BatchNorm

from ..layers.cases import cases
from .mapping import Weights
from .mappings import MAPPINGS
from .references import REFERENCES, Net
from .test_parity import STORED, error, fresh_layer, inputs, norms, read, weights

EXACT = 1e-9  # of the largest value: float64 in another order of operations

NO_TRAINING_PARITY = {
    "iaff": "the authors' port runs one global branch, including its norms, twice; iaff_fixed has one for each round",
    "nam_channel": "the authors' code stops the gradient of the norm's scales; nam_channel_grad does not",
}
"""References with a batch norm whose training mode need not be matched, with the reason."""

PYTORCH = {"eps": 1e-5, "momentum": 0.1}  # group and layer norms only have eps
PUBLISHED = {
    "CAA": {"eps": 1e-3, "momentum": 0.03},
    "CBAM": {"eps": 1e-5, "momentum": 0.01},
    "CBAMSpatial": {"eps": 1e-5, "momentum": 0.01},
    "ContextGuided": {"eps": 1e-3, "momentum": 0.1},
    "ContextGuidedDown": {"eps": 1e-3, "momentum": 0.1},
    "iRMB": {"eps": 1e-6, "momentum": 0.1},
    "Triplet": {"eps": 1e-5, "momentum": 0.01},
}
"""Layers whose authors' code changes eps or momentum of its norms from PyTorch's defaults."""


def wide(values: Weights) -> Weights:
    return {name: value.double() if value.is_floating_point() else value for name, value in values.items()}


def is_buffer(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def gradients(run: Callable[..., Tensor], xs: Sequence[Tensor], ct: Tensor, leaves: Weights) -> tuple[Tensor, Weights]:
    """Return the output, and the gradients of sum(y * ct) by the names of the inputs and weights."""
    xs = [x.clone().requires_grad_() for x in xs]
    y = run(*xs)
    sources = {**{f"x{n}": x for n, x in enumerate(xs)}, **leaves}
    found = torch.autograd.grad((y * ct).sum(), sources.values(), allow_unused=True, materialize_grads=True)
    return y.detach(), dict(zip(sources, found, strict=True))


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_reproduces_the_stored_numbers(name: str) -> None:
    vector = read(name)
    net = Net(wide(weights(vector)), training=False)
    xs = [x.double() for x in inputs(vector)]
    y, found = gradients(lambda *xs: REFERENCES[name](net, *xs), xs, vector["ct"], {})
    assert error(y, vector["y"]) < STORED
    assert all(error(found[f"x{n}"], stored) < STORED for n, stored in enumerate(inputs(vector, "gx")))


@pytest.mark.parametrize("scale", [0.01, 1.0])  # eps matters more for weak features
@pytest.mark.parametrize("name", REFERENCES)
def test_training_equals_the_reference(name: str, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    vector = read(name)
    shapes = [(3, *x.shape[1:]) for x in (*inputs(vector), vector["y"])]  # a batch norm maps two vectors to 1 and -1
    *xs, ct = (torch.randn(shape, generator=generator).double() for shape in shapes)
    xs = [scale * x for x in xs]
    given = wide(weights(vector))
    leaves = {key: value.requires_grad_() for key, value in given.items() if not is_buffer(key)}

    net = Net(given, training=True)
    expected, expected_gradients = gradients(lambda *xs: REFERENCES[name](net, *xs), xs, ct, leaves)
    layer = fresh_layer(name).double().train()
    state = MAPPINGS[name].convert(given)  # the layer's gradients flow through it to the reference's weights
    state = {key: value.detach().clone() if is_buffer(key) else value for key, value in state.items()}
    output, output_gradients = gradients(
        lambda *xs: functional_call(layer, state, (list(xs) if len(xs) > 1 else xs[0],)), xs, ct, leaves
    )

    assert error(output, expected) < EXACT
    # Parameters canceled by a norm, such as a bias before it, have gradients of rounding errors only.
    most = max(gradient.abs().max() for gradient in expected_gradients.values())
    for key, gradient in expected_gradients.items():
        assert (output_gradients[key] - gradient).abs().max() < 10 * EXACT * torch.maximum(
            gradient.abs().max(), 1e-3 * most
        ), key
    after = MAPPINGS[name].convert(given | net.running)
    running = [key for key in after if key.endswith(("running_mean", "running_var"))]
    assert len(running) == 2 * len(batch_norms(layer))
    assert {key: off for key in running if (off := error(state[key], after[key].detach())) > EXACT} == {}


@pytest.mark.parametrize("name", sorted(MAPPINGS))
def test_layers_without_batch_norm_compute_the_same_in_training_and_evaluation(name: str) -> None:
    layer = fresh_layer(name).double()
    if batch_norms(layer):
        assert name in REFERENCES or name in NO_TRAINING_PARITY, "add its reference to references.py"
        return
    xs = [x.double() for x in inputs(read(name))]
    with torch.no_grad():
        before = layer(xs if len(xs) > 1 else xs[0])
        assert torch.equal(layer.train()(xs if len(xs) > 1 else xs[0]), before)


def test_norms_have_the_published_constants() -> None:
    for case in cases():
        published = PUBLISHED.get(case.spec.name, PYTORCH)
        for norm in norms(case.build(32)):
            assert norm.eps == published["eps"], case.id
            assert getattr(norm, "momentum", published["momentum"]) == published["momentum"], case.id


def batch_norms(layer: nn.Module) -> list[BatchNorm]:
    return [norm for norm in norms(layer) if isinstance(norm, BatchNorm)]
