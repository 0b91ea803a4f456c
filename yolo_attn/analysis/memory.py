"""Peak memory of an inference."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["LiveBytes", "peak_memory"]


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of live tensors returned by operators, also of those that only autograd still refers to.

    Attributes:
        live: Current bytes of live tensors.
        peak: Largest value of `live`, without the temporary memory inside operators.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor)
        return result

    def count(self, tensor: torch.Tensor) -> None:
        """Count the storage of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.remove(key)
        self.live -= size


def peak_memory(model: nn.Module, image: torch.Tensor) -> dict[str, Any]:
    """Return the peak memory of one inference, including the weights, and the kind of measurement.

    On a GPU this is the peak of PyTorch's allocator. Elsewhere it is the sum of the live tensors, which is exact and
    reproducible, but excludes temporary memory inside operators such as convolutions. The peak of the process would
    include the libraries and everything that ran before.

    Args:
        model: The model, in evaluation mode.
        image: (B, C, H, W) on the device of the model.

    Returns:
        "mib" and "measure".
    """
    with torch.no_grad():
        model(image)  # creates what is computed once, such as the anchors of a head
        if image.device.type == "cuda":
            torch.cuda.synchronize(image.device)
            others = torch.cuda.memory_allocated(image.device) - _own_bytes(model, image)
            torch.cuda.reset_peak_memory_stats(image.device)
            model(image)
            torch.cuda.synchronize(image.device)
            peak = torch.cuda.max_memory_allocated(image.device) - max(0, others)
            return {"mib": peak / 2**20, "measure": "PyTorch's CUDA allocator"}
        with LiveBytes() as meter:
            for tensor in _tensors(model, image):
                meter.count(tensor)
            model(image)
    return {"mib": meter.peak / 2**20, "measure": "live tensors"}


def _tensors(model: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers(), image]


def _own_bytes(model: nn.Module, image: torch.Tensor) -> int:
    """Return the bytes of a model and an image."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in _tensors(model, image)}
    return sum(storages.values())
