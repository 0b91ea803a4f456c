"""Checks of a layer on any device: tests/cuda/ runs them on a GPU, tests/layers/test_device_checks.py on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .cases import Case, call

__all__ = [
    "autocast_matches",
    "channels_last_matches",
    "compiled_matches",
    "equals_the_cpu",
    "graph_matches",
    "half_matches",
]

# CPU and GPU add in another order. Selections and softmax amplify this in single positions, hence norms.
FORWARD, BACKWARD = 1e-4, 1e-3
HALF = {torch.float16: 0.01, torch.bfloat16: 0.05}


def difference(result: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference of two tensors, relative to the second."""
    assert result.shape == expected.shape
    result, expected = result.detach().double().cpu(), expected.detach().double().cpu()
    assert result.isfinite().all()
    return ((result - expected).norm() / expected.norm().clamp(min=1e-6)).item()


def on(device: torch.device, xs: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return copies of tensors on a device, which require gradients."""
    return [x.detach().to(device, dtype, copy=True).requires_grad_() for x in xs]


def gradients(y: Tensor, xs: Sequence[Tensor], layer: nn.Module) -> list[Tensor]:
    """Return the gradients of inputs and parameters for a random cotangent, the same on every device.

    A bias that a norm or a softmax cancels has a gradient of rounding errors alone; it is compared as one vector with
    all other parameters.
    """
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(y)
    parameters = list(layer.parameters())
    found = torch.autograd.grad(y, [*xs, *parameters], cotangent, allow_unused=True)
    weights = [g.flatten() for g in found[len(xs) :] if g is not None]
    return [*(g for g in found[: len(xs)] if g is not None), *([torch.cat(weights)] if weights else [])]


def equals_the_cpu(case: Case, device: torch.device, size: tuple[int, int] = (20, 20)) -> float:
    """Compare output, gradients and running statistics in float32 with the CPU; return the largest difference."""
    worst = 0.0
    for training in (False, True):
        here, there = case.trained().train(training), case.trained().train(training).to(device)
        xs, moved = on(torch.device("cpu"), case.inputs(*size)), on(device, case.inputs(*size))
        expected, y = call(here, xs), call(there, moved)
        assert y.device.type == device.type and y.dtype == torch.float32
        error = difference(y, expected)
        assert error < FORWARD, f"output, training={training}"
        worst = max(worst, error)
        for result, reference in zip(gradients(y, moved, there), gradients(expected, xs, here), strict=True):
            assert difference(result, reference) < BACKWARD, f"gradient, training={training}"
        for (name, result), reference in zip(there.named_buffers(), here.buffers(), strict=True):
            assert difference(result, reference) < BACKWARD, name
    return worst


def autocast_matches(case: Case, device: torch.device, dtype: torch.dtype, size: tuple[int, int] = (20, 20)) -> float:
    """Compare mixed precision with float32 on the same maps in half precision; return the difference."""
    layer = case.trained().to(device)
    wide = copy.deepcopy(layer)
    xs = on(device, case.inputs(*size), dtype)
    with torch.autocast(device.type, dtype):
        y = call(layer, xs)
    assert y.dtype == dtype
    found = gradients(y, xs, layer)
    assert all(gradient.isfinite().all() for gradient in found)
    error = difference(y, call(wide, [x.detach().float() for x in xs]))
    assert error < HALF[dtype]
    return error


def half_matches(case: Case, device: torch.device, size: tuple[int, int] = (20, 20)) -> float:
    """Compare a layer in float16 with the same weights and maps in float32; return the difference."""
    half = case.trained().half()
    wide = copy.deepcopy(half).float().to(device)
    half.to(device)
    xs = [x.half().to(device) for x in case.inputs(*size)]
    with torch.no_grad():
        y, expected = call(half, xs), call(wide, [x.float() for x in xs])
    assert y.dtype == torch.float16
    error = difference(y, expected)
    assert error < HALF[torch.float16]
    return error


def channels_last_matches(case: Case, device: torch.device, size: tuple[int, int] = (20, 20)) -> None:
    """Compare output and gradients of maps with the channels last in memory with those of contiguous maps."""
    layer = case.trained().to(device)
    last = copy.deepcopy(layer).to(memory_format=torch.channels_last)
    xs = on(device, case.inputs(*size))
    ys = [x.detach().to(memory_format=torch.channels_last).requires_grad_() for x in xs]
    expected, y = call(layer, xs), call(last, ys)
    assert difference(y, expected) < FORWARD
    for result, reference in zip(gradients(y, ys, last), gradients(expected, xs, layer), strict=True):
        assert difference(result, reference) < BACKWARD


def compiled_matches(
    case: Case, device: torch.device, compiler: Callable[[nn.Module], Callable[..., Tensor]], size: tuple[int, int]
) -> float:
    """Compare the inference of a compiled layer with the plain one; return the difference."""
    torch.compiler.reset()
    layer = case.trained().to(device)
    compiled = compiler(layer)
    xs = [x.to(device) for x in case.inputs(*size)]
    with torch.no_grad():
        y, expected = compiled(xs[0] if len(xs) == 1 else xs), call(layer, xs)
    error = difference(y, expected)
    assert error < FORWARD
    return error


def graph_matches(
    case: Case,
    device: torch.device,
    capture: Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], None]]],
    size: tuple[int, int] = (20, 20),
) -> None:
    """Compare the inference of a captured layer with the plain one, for maps that it was not captured with.

    Args:
        case: The layer.
        device: The device.
        capture: Takes a function, and returns the tensor that it returns and a function that computes it again.
        size: Height and width.
    """
    layer = case.trained().to(device)
    fixed = [x.to(device) for x in case.inputs(*size)]
    with torch.no_grad():
        output, replay = capture(lambda: call(layer, fixed))
        for seed in (2, 3):
            for x, new in zip(fixed, case.inputs(*size, seed=seed), strict=True):
                x.copy_(new)
            replay()
            assert difference(output, call(layer, [x.clone() for x in fixed])) < FORWARD
