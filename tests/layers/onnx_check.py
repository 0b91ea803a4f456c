"""Comparison of a layer with its ONNX export by the exporter that Ultralytics uses."""

from __future__ import annotations

import io

import torch

from .cases import Case, call

OPSET = 17


def onnx_error(case: Case, dynamic: bool) -> float:
    """Export a layer and return its largest difference from PyTorch, relative to the largest value.

    Args:
        case: The layer.
        dynamic: Whether batch, height and width are dynamic; if so, another size and batch are compared too.
    """
    import onnxruntime

    layer, xs, file = case.trained(), case.inputs(8, 12), io.BytesIO()
    names = [f"x{n}" for n in range(len(xs))]
    free = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        layer,
        (xs[0],) if len(xs) == 1 else (xs,),
        file,
        dynamo=False,
        opset_version=OPSET,
        input_names=names,
        output_names=["y"],
        dynamic_axes=dict.fromkeys([*names, "y"], free) if dynamic else None,
    )
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    errors = []
    for size in ((8, 12), (13, 7)) if dynamic else ((8, 12),):
        xs = case.inputs(*size)
        if size != (8, 12):
            xs = [torch.cat([x, x[:1]]) for x in xs]
        (y,) = session.run(None, {name: x.numpy() for name, x in zip(names, xs, strict=True)})
        with torch.no_grad():
            expected = call(layer, xs)
        assert y.shape == tuple(expected.shape)
        errors.append(((torch.from_numpy(y) - expected).abs().max() / expected.abs().max().clamp(min=1e-6)).item())
    return max(errors)
