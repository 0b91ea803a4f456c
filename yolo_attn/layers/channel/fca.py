"""FCA: frequency channel attention, squeeze-and-excitation on cosine transform coefficients instead of means.

    A = x averaged on a grid of n x n cells     (B, C, n, n)
    z_c = sum over p, q of A_c[p, q] * b(u, p) * b(v, q)                    (B, C)
    b(k, p) = cos(pi k' (p + 1/2) / n) / sqrt(n), times sqrt(2) for k > 0;  k' = k * floor(n / 7)
    y = x * sigmoid(W2 relu(W1 z))              W1 (C/r, C), W2 (C, C/r), without bias

The channels are split into equal parts, one for each frequency (u, v). Frequencies refer to a 7 x 7 grid: k' rescales
them so that a wave covers the same share of the map on every grid whose size is a multiple of 7.

Paper: Qin et al., "FcaNet: Frequency Channel Attention Networks", ICCV 2021, arXiv 2012.11879.
Code: https://github.com/cfzd/FcaNet
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1).
Deviations: the waves are computed instead of being stored as a buffer of C n n values. Rows and columns are transformed
separately, which merges averaging and wave into one vector per channel and axis, with equal results at any map size. If
the number of channels is not a multiple of the number of frequencies, the parts differ in size by one. A grid below 7
raises an error; the authors' code sets every frequency to 0 there.
"""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check, check_choice, check_positive, is_positive_integer
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.pooling import averaging_matrix
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["FCA"]

BASE = 7  # frequencies refer to a 7 x 7 grid
ORDERS = {
    "top": ("00600114513000324635526553342261", "01052020060463526333511242113053"),
    "low": ("00110221203401301234501234561234", "01012012230043154321065432106543"),
}
"""The authors' frequency rankings: the digits of u (vertical), then those of v (horizontal)."""
FREQUENCIES = tuple(f"{order}{count}" for order in ORDERS for count in (1, 2, 4, 8, 16, 32))


@register_layer(
    family="channel",
    summary="reweights channels by an MLP on cosine transform coefficients, which include the mean",
    aliases=("FcaLayer", "FcaNet", "MultiSpectralAttentionLayer"),
    paper="FcaNet: Frequency Channel Attention Networks, ICCV 2021",
    year=2021,
    url="https://arxiv.org/abs/2012.11879",
    repository="https://github.com/cfzd/FcaNet",
    cost="O(C HW)",
    renamed={"grid": "grid_size"},
)
class FCA(Gate):
    """Frequency channel attention.

    Args:
        channels: Channels of the input.
        grid_size: n, height and width of the grid in cells, at least 7; None selects the authors' values for ResNets:
            56 up to 127 channels, 28 up to 255, 14 up to 511, then 7.
        frequencies: Order and number of the frequencies: "top" (the authors' ranking by individual accuracy) or "low"
            (lowest first), followed by 1, 2, 4, 8, 16 or 32.
        reduction: r, channels per hidden unit.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        channels: int,
        *,
        grid_size: int | None = None,
        frequencies: str = "top16",
        reduction: float = 16,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        grid_size = _paper_grid_size(channels) if grid_size is None else grid_size
        good = is_positive_integer(grid_size) and grid_size >= BASE
        check(self, good, "grid_size", grid_size, "an integer of at least 7, preferably a multiple of 7")
        check_choice(self, "frequencies", frequencies, FREQUENCIES)
        check_positive(self, reduction=reduction)
        self.grid_size = grid_size
        for name, digits in zip(("rows", "columns"), ORDERS[frequencies[:3]], strict=True):
            parts = [int(digit) * (grid_size // BASE) for digit in digits[: int(frequencies[3:])][:channels]]
            each = [parts[channel * len(parts) // channels] for channel in range(channels)]
            self.register_buffer(name, torch.tensor(each), persistent=False)  # integers, which half() does not convert
        hidden = hidden_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, channels, bias=False)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        hidden = torch.relu(self.fc1(self._spectrum(x).to(x.dtype)))
        return torch.sigmoid(self.fc2(hidden))[:, :, None, None]

    def _spectrum(self, x: Tensor) -> Tensor:
        """Return z, the coefficient of each channel's wave, (B, C)."""
        with no_autocast(x):
            x = widen(x)
            n, (height, width) = self.grid_size, x.shape[2:]
            rows = _waves(self.rows, n, x) @ averaging_matrix(n, height, x)  # (C, H)
            columns = _waves(self.columns, n, x) @ averaging_matrix(n, width, x)  # (C, W)
            return ((x @ columns[..., None])[..., 0] * rows).sum(2)


def _waves(frequencies: Tensor, n: int, like: Tensor) -> Tensor:
    """Return the unit-norm cosine wave of each frequency along one axis of the grid, (frequencies, n)."""
    frequencies = frequencies[:, None]
    turns = frequencies * (2 * torch.arange(n, device=like.device) + 1) % (4 * n)  # exact, in 1/4n periods
    scale = torch.where(frequencies > 0, sqrt(2 / n), sqrt(1 / n))
    return (turns.to(like.dtype) * (pi / (2 * n))).cos() * scale.to(like.dtype)


def _paper_grid_size(channels: int) -> int:
    """Return the size of feature maps with this many channels in the authors' ResNets at 224 pixels."""
    return next((size for least, size in ((512, 7), (256, 14), (128, 28)) if channels >= least), 56)
