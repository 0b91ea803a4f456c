"""The memory that an inference holds at its peak."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["LiveBytes", "peak_memory"]


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that operators have returned and that are still held.

    Attributes:
        live: Bytes held now.
        peak: Most bytes held at a time. What an operator uses inside, and gives back, is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._holders: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.hold(tensor)
        return result

    def hold(self, tensor: torch.Tensor) -> None:
        """Count a tensor from now on, until nobody holds it."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not self._holders[key]:
            self.live += size
            self.peak = max(self.peak, self.live)
        self._holders[key] += 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            self.live -= size


def peak_memory(model: nn.Module, image: torch.Tensor) -> dict[str, Any]:
    """Return the peak of one inference, with the weights, and what it is the peak of.

    On a GPU that is what PyTorch's allocator gave out. Elsewhere it is the sum of the live tensors: exact and the same
    every time, but blind to what operators such as convolutions use inside. A process's own peak would hold the
    libraries, and the peaks of whatever ran before.

    Args:
        model: The model, in evaluation mode.
        image: (B, C, H, W) on the device of the model.

    Returns:
        "mib" and "measure".
    """
    with torch.no_grad():
        model(image)  # what is made once, such as the anchors of a head, is there before the measurement
        if image.device.type == "cuda":
            torch.cuda.synchronize(image.device)
            others = torch.cuda.memory_allocated(image.device) - _held(model, image)
            torch.cuda.reset_peak_memory_stats(image.device)
            model(image)
            torch.cuda.synchronize(image.device)
            peak = torch.cuda.max_memory_allocated(image.device) - max(0, others)
            return {"mib": peak / 2**20, "measure": "PyTorch's CUDA allocator"}
        with LiveBytes() as meter:
            for tensor in _tensors(model, image):
                meter.hold(tensor)
            model(image)
    return {"mib": meter.peak / 2**20, "measure": "live tensors"}


def _tensors(model: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers(), image]


def _held(model: nn.Module, image: torch.Tensor) -> int:
    """Return the bytes of a model and an image."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in _tensors(model, image)}
    return sum(storages.values())
