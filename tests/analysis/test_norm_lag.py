"""The distance of running statistics from those of images."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tests.host.helpers import build
from yolo_attn.analysis.letterbox import letterbox, read_image, to_tensor
from yolo_attn.analysis.norm_lag import MOST, norm_lag
from yolo_attn.host.documents import model_yaml

SIDE = 64


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    paths = [folder / f"{n}.png" for n in range(3)]
    for path, size in zip(paths, [(64, 64), (40, 64), (90, 50)], strict=True):
        cv2.imwrite(str(path), cv2.resize(random.integers(0, 256, (6, 6, 3), np.uint8), size[::-1]))
    return paths


@pytest.fixture(scope="module")
def network(images: list[Path]) -> nn.Module:
    """A network whose running statistics are those of the images."""
    found = build(model_yaml("yolo11n.yaml+CBAM@neck"))
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    batch = torch.cat([to_tensor(letterbox(read_image(path), SIDE, SIDE)[0]) for path in images])
    with torch.no_grad():
        found.train()(batch)
    return found.eval()


def test_statistics_of_the_images_have_no_lag(network: nn.Module, images: list[Path]) -> None:
    before = copy.deepcopy(network.state_dict())
    lag = norm_lag(network, images, imgsz=SIDE)
    assert lag is not None and lag < 0.01
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_lag_is_a_number_of_standard_deviations(network: nn.Module, images: list[Path]) -> None:
    """A norm that lags does not change those behind it, which see the statistics of the images."""
    lagging = copy.deepcopy(network)
    norm = next(module for module in lagging.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean += 3 * (norm.running_var + norm.eps).sqrt()
    assert norm_lag(lagging, images, imgsz=SIDE) == pytest.approx(3, abs=0.01)


def test_values_that_overflow_have_the_largest_lag(network: nn.Module, images: list[Path]) -> None:
    lagging = copy.deepcopy(network)
    next(lagging.parameters()).data.fill_(float("inf"))
    assert norm_lag(lagging, images, imgsz=SIDE) == MOST


def test_what_cannot_be_read_is_skipped(network: nn.Module, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    missing = [tmp_path / "missing.png", tmp_path / "text.png"]
    assert norm_lag(network, [*missing, *images], imgsz=SIDE) == norm_lag(network, images, imgsz=SIDE)
    assert norm_lag(network, [*missing, images[0]], imgsz=32) is None  # a single image with one position at P5
    assert norm_lag(network, images[:2], imgsz=32) is not None


def test_a_network_without_batch_norms_has_no_lag(images: list[Path]) -> None:
    assert norm_lag(nn.Sequential(nn.Conv2d(3, 4, 3)), images, imgsz=SIDE) is None
