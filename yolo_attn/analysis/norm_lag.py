"""How far the running statistics of batch norms are from those of images.

In training a batch norm normalizes with the statistics of the batch, in evaluation with running means over past
batches. Where weights change faster than the running means follow, a model is worse in evaluation than in training.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolo_attn.analysis.letterbox import letterbox, read_image, to_tensor
from yolo_attn.analysis.models import fitting_side, input_channels
from yolo_attn.errors import UserError

__all__ = ["MOST", "norm_lag"]

MOST = 1e6
"""Largest lag that is returned, also where values overflow."""


def norm_lag(network: nn.Module, images: Sequence[Path], *, imgsz: int) -> float | None:
    """Return the largest lag of a network's batch norms.

    The lag of a norm is the distance between its running mean and the mean of its inputs, in running standard
    deviations, as the root mean square of its channels. The inputs are those in training: each norm before it uses the
    statistics of these images. Healthy networks have lags of about 1 or less.

    Args:
        network: The network, on a CPU.
        images: A few images of its dataset. Files that cannot be read are skipped.
        imgsz: Pixels of the longer side.

    Returns:
        The lag, at most `MOST`; None without a batch norm, or with fewer than two images.
    """
    batch = _batch(network, images, imgsz)
    if batch is None:
        return None
    measured = copy.deepcopy(network).float().eval()
    lags: list[float] = []
    for module in measured.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.train()
            module.register_forward_pre_hook(lambda norm, inputs: lags.append(_lag(norm, inputs[0])))
    with torch.no_grad():
        measured(batch)
    return max(lags, default=None)


def _batch(network: nn.Module, images: Sequence[Path], imgsz: int) -> Tensor | None:
    """Return the images that can be read, padded to squares, (N, C, side, side); None if there are fewer than two.

    A batch norm of a single image with one position has no statistics.
    """
    side, found = fitting_side(network, imgsz), []
    for path in images:
        try:
            image = read_image(path, input_channels(network))
        except UserError:
            continue
        found.append(to_tensor(letterbox(image, side, side)[0]))
    return torch.cat(found) if len(found) > 1 else None


def _lag(norm: Any, x: Tensor) -> float:
    """Return the lag of a batch norm with an input (B, C, ...)."""
    mean = x.float().mean([dim for dim in range(x.ndim) if dim != 1])
    distance = (mean - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    lag = float(distance.square().mean().sqrt())
    return min(lag, MOST) if math.isfinite(lag) else MOST
