"""ASFF with levels of different sizes and widths."""

from __future__ import annotations

import io

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import ASFF

CHANNELS = [8, 16, 12, 4]


def pyramid(height: int = 6, width: int = 10) -> list[torch.Tensor]:
    """Return levels of relative sizes 1, 1/2, 1/3 and 2; the size of the last one is always even."""
    torch.manual_seed(1)
    sizes = [(height, width), (height // 2, width // 2), (height // 3, width // 3), (2 * height, 2 * width)]
    return [torch.randn(2, c, *size) for c, size in zip(CHANNELS, sizes, strict=True)]


def trained() -> ASFF:
    torch.manual_seed(0)
    layer = ASFF(CHANNELS)
    for _ in range(3):
        layer(pyramid())
    return layer.eval()


def test_keeps_the_shape_of_the_first_level_and_its_weights_sum_to_one() -> None:
    layer, xs = trained(), pyramid()
    assert layer(xs).shape == xs[0].shape
    weights = layer.weights(xs)
    assert weights.shape == (2, 4, 6, 10)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 6, 10))


def test_upsamples_to_the_nearest_neighbor_and_downsamples_to_means() -> None:
    layer, xs = trained(), pyramid()
    levels = layer._levels(xs)
    torch.testing.assert_close(levels[1], F.interpolate(layer.align[0](xs[1]), scale_factor=2, mode="nearest"))
    torch.testing.assert_close(levels[3], layer.align[2](F.avg_pool2d(xs[3], 2)))
    assert levels[0] is xs[0]


def test_equals_the_formula() -> None:
    layer, xs = trained(), pyramid()
    levels, weights = layer._levels(xs), layer.weights(xs)
    expected = layer.expand(sum(weights[:, n, None] * level for n, level in enumerate(levels)))
    torch.testing.assert_close(layer(xs), expected)


def test_exports_with_levels_of_dynamic_sizes() -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    layer, file = trained(), io.BytesIO()
    names = [f"x{n}" for n in range(len(CHANNELS))]
    free = {name: {2: f"height_{name}", 3: f"width_{name}"} for name in [*names, "y"]}
    torch.onnx.export(
        layer,
        (pyramid(),),
        file,
        dynamo=False,
        opset_version=17,
        input_names=names,
        output_names=["y"],
        dynamic_axes=free,
    )
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for size in ((6, 10), (7, 9)):
        xs = pyramid(*size)
        (y,) = session.run(None, {name: x.numpy() for name, x in zip(names, xs, strict=True)})
        torch.testing.assert_close(torch.from_numpy(y), layer(xs), atol=1e-4, rtol=1e-4)
