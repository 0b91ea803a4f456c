"""What the contract needs to know of each layer: its inputs, and the options worth a run of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import yolo_attn.layers  # noqa: F401 - registers the layers
from yolo_attn.registry import LayerSpec, list_layers

CHANNELS = 16

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "CBAM": [{"norm": False, "kernel_size": 3, "reduction": 4}],
    "CrissCross": [{"recurrence": 1}],
    "ECA": [{"kernel_size": None}],
    "GAM": [{"groups": 4}, {"channel_sigmoid": False, "padding_mode": "replicate"}],
    "NAMSpatial": [{"size": 5}],
    "S2": [{"pool": "mean"}],
    "SE": [{"bias": True, "reduction": 4}],
    "ShuffleAttention": [{"groups": 2, "shuffle": False}],
    "SimAM": [{"window": 4}],
    "SK": [{"kernels": [1, 3, 5], "dilated": False, "groups": 1, "norm": False}],
}
"""Option sets that take another path through a layer than the defaults do."""

MAGNITUDE = {"GAM-1": 10.0}
"""The largest inputs in half precision, where the formula itself leaves the range of float16 for the usual 1000."""


@dataclass(frozen=True)
class Case:
    """A layer with one set of options."""

    spec: LayerSpec
    options: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    @property
    def id(self) -> str:
        return self.spec.name + (f"-{self.number - 1}" if self.number else "")

    @property
    def magnitude(self) -> float:
        return MAGNITUDE.get(self.id, 1000.0)

    def build(self, channels: int = CHANNELS, **more: Any) -> nn.Module:
        """Build the layer, the same one every time."""
        torch.manual_seed(0)
        single = self.spec.inputs == 1
        return self.spec.cls(channels if single else [channels] * self.spec.inputs, **self.options, **more)

    def trained(self, channels: int = CHANNELS, **more: Any) -> nn.Module:
        """Build the layer in eval mode as if it had been trained: nothing is zero or one any more."""
        layer = self.build(channels, **more).eval()
        with torch.no_grad():
            for parameter in layer.parameters():
                if parameter.ndim in (1, 3):
                    parameter.add_(0.3 * torch.randn_like(parameter))
            for name, buffer in layer.named_buffers():
                if name.endswith("running_mean"):
                    buffer.normal_(0, 0.1)
                elif name.endswith("running_var"):
                    buffer.uniform_(0.5, 1.5)
        return layer

    def inputs(
        self, height: int = 6, width: int = 7, batch: int = 2, channels: int = CHANNELS, seed: int = 1
    ) -> list[Tensor]:
        """Return random inputs, one for each row that the layer reads."""
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(batch, channels, height, width, generator=generator) for _ in range(self.spec.inputs)]


def call(layer: nn.Module, xs: Sequence[Tensor]) -> Tensor:
    """Run a layer on its inputs: one tensor, or a list of them."""
    y: Tensor = layer(xs[0] if len(xs) == 1 else list(xs))
    return y


def cases(*, options: bool = True) -> list[Case]:
    """Return every layer with its defaults and, where asked for, with its other option sets."""
    result = []
    for spec in list_layers():
        if not spec.cls.__module__.startswith("yolo_attn.layers."):
            continue  # a layer that some other test has registered
        result.append(Case(spec))
        if options:
            result += [Case(spec, o, n) for n, o in enumerate(OPTIONS.get(spec.name, []), 1)]
    return result
