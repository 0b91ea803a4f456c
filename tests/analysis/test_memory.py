"""Peak of live tensors against sizes computed by hand."""

from __future__ import annotations

import torch
from torch import nn

from yolo_attn.analysis.memory import peak_memory

IMAGE = torch.zeros(1, 4, 16, 16)
MAP = 4 * IMAGE.numel()  # bytes


def peak(module: nn.Module) -> float:
    found = peak_memory(module.eval(), IMAGE)
    assert found["measure"] == "live tensors"
    return found["mib"] * 2**20


class _Chain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(5):
            x = x + 1
        return x


class _Keeper(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x + n for n in range(5)]


class _Views(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x.flatten(), x[:, 1:], x.mT]


def test_freed_tensors_are_not_counted() -> None:
    assert peak(_Chain()) == 3 * MAP  # the image, input and output of one step
    assert peak(_Keeper()) == 6 * MAP


def test_views_count_nothing() -> None:
    assert peak(_Views()) == MAP


def test_weights_count_once() -> None:
    layer = nn.Conv2d(4, 8, 1)
    weights = 4 * (4 * 8 + 8)
    assert peak(nn.Sequential(layer)) == MAP + weights + 2 * MAP
    shared = nn.ModuleList([layer, layer])
    shared.forward = lambda x: x.flatten()  # type: ignore[method-assign]
    assert peak(shared) == MAP + weights


def test_a_second_measurement_is_the_same() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.SiLU(inplace=True), _Keeper())
    assert peak(module) == peak(module)
