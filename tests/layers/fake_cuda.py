"""A CUDA device without a GPU: tensors with shapes, types and devices, but no data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["OneDevice", "autocast", "fake_cuda", "move"]


class OneDevice(TorchDispatchMode):
    """Raise on an operator that moves data between devices, for which a GPU would have to wait.

    Operators that read a value (`item`, a branch on a tensor, `nonzero`, an index of booleans) raise by themselves in
    `fake_cuda`. Numbers may be tensors without dimensions on the CPU: PyTorch passes them to the kernels as arguments.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        copies = func in {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
        devices = {tensor.device.type for tensor in tensors if tensor.ndim or copies}
        if len(devices) > 1:
            raise RuntimeError(f"{func} has tensors on {' and '.join(sorted(devices))}")
        return result


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Give tensors no data, and let one on "cuda" be created without a GPU."""
    # PyTorch cannot compute the shape of cuDNN's sampling without data.
    with torch.backends.cudnn.flags(enabled=False), FakeTensorMode():
        yield


@contextmanager
def autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """Enable autocast for "cuda"; `torch.autocast` disables itself where there is no GPU."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", dtype is not None)
    torch.set_autocast_dtype("cuda", dtype or before[1])
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])
        torch.clear_autocast_cache()


def move(layer: nn.Module, device: str = "cuda", dtype: torch.dtype = torch.float32) -> nn.Module:
    """Replace the parameters and buffers of a layer by empty ones on a device, as `Module.to` moves them.

    `Module.to` cannot exchange the data of a parameter for a tensor without data.
    """
    for module in layer.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(torch.empty(parameter.shape, device=device, dtype=dtype))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                kind = dtype if buffer.is_floating_point() else buffer.dtype
                module._buffers[name] = torch.empty(buffer.shape, device=device, dtype=kind)
    return layer
