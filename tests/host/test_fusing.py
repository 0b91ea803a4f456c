"""Batch norms of attention layers in `model.fuse()`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from tests.host.helpers import build
from tests.parity.record import randomize_statistics
from yolo_attn import register_layer
from yolo_attn.host.documents import model_yaml
from yolo_attn.layers import CBAM, GAM
from yolo_attn.registry import unregister_layer


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def trained(name: str) -> DetectionModel:
    """Return a model in evaluation, whose norms have statistics of a training."""
    network = build(model_yaml(name)).eval()
    randomize_statistics(network)
    return network


def layer_in(network: nn.Module, kind: type[nn.Module]) -> nn.Module:
    return next(module for module in network.modules() if isinstance(module, kind))


@pytest.mark.parametrize("at", ["neck", "inside:C3k2"])
def test_norms_behind_convolutions_are_folded(at: str) -> None:
    network = trained(f"yolo11n.yaml+GAM@{at}")
    assert norms(layer_in(network, GAM)) == 2
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(x)[0]
        found = network.fuse(verbose=False)(x)[0]
    assert norms(layer_in(network, GAM)) == 0
    assert torch.allclose(found, expected, atol=1e-3, rtol=1e-3)


def test_other_norms_stay() -> None:
    network = trained("yolo11n.yaml+CBAM@neck")
    inside = norms(layer_in(network, CBAM))
    assert norms(layer_in(network.fuse(verbose=False), CBAM)) == inside


def test_layers_of_others_stay() -> None:
    """A custom layer may read what is between a convolution and a norm."""

    @register_layer(family="hybrid", summary="GAM that also depends on its first convolution")
    class Partial(GAM):
        def gate(self, x: Tensor) -> Tensor:
            first: Tensor = self.spatial[0](x)
            return super().gate(x) * torch.sigmoid(first.mean(1, keepdim=True))

    try:
        network = trained("yolo11n.yaml+Partial@neck").fuse(verbose=False)
        assert norms(layer_in(network, Partial)) == 2
    finally:
        unregister_layer("Partial")


def test_a_fused_model_is_saved_and_loaded(tmp_path: Path) -> None:
    network = trained("yolo11n.yaml+GAM@neck").fuse(verbose=False)
    torch.save({"model": network}, tmp_path / "fused.pt")
    loaded = YOLO(str(tmp_path / "fused.pt")).model.eval()
    assert norms(layer_in(loaded, GAM)) == 0
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(x)[0], network(x)[0])
