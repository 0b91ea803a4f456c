"""FSAS: frequency domain-based self-attention solver, correlations of queries and keys within patches, of FFTformer.

    [q; k; v] = DW W x                          2 C channels each; DW: depthwise 3 x 3 convolution
    c = F^-1 (F(q) conj(F(k)))                  F: Fourier transform of each channel of a patch of 8 x 8 positions;
                                                c_p = sum over r of q_(p + r) k_r, indices modulo 8
    y = Wo (v * LN c)                           LN: over the channels of each position

Paper: Kong et al., "Efficient Frequency Domain-based Transformers for High-Quality Image Deblurring", CVPR 2023,
arXiv 2211.12250.
Code: https://github.com/kkkls/FFTformer
Shapes: x (B, C, H, W), y the same.
Deviations: the code omits the conjugate of the paper, which makes c the convolution of q and k instead of their
correlation (`correlation=False`). Maps are padded with zeros to multiples of the patch, where the code raises an error.
The transform is a matrix product in float32, which exports and has the same result; per position it costs less than W
from C = 80 on.
"""

from __future__ import annotations

from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer
from yolo_attn.layers.norms import normalize_channels
from yolo_attn.layers.numerics import no_autocast, saturate, widen
from yolo_attn.registry import register_layer

__all__ = ["FSAS"]


@register_layer(
    family="self_attention",
    summary="multiplies values by the normalized correlation of queries and keys within patches; linear in the map",
    paper="Efficient Frequency Domain-based Transformers for High-Quality Image Deblurring, CVPR 2023",
    year=2022,
    url="https://arxiv.org/abs/2211.12250",
    repository="https://github.com/kkkls/FFTformer",
    cost="O((C^2 + C p^2) HW)",
    renamed={"patch_size": "patch"},
)
class FSAS(Mixer):
    """Frequency domain-based self-attention solver.

    Args:
        channels: Channels of the input.
        patch: Height and width of the patches.
        correlation: Whether c is a correlation, as in the paper, instead of a convolution, as in the authors' code.
        bias: Whether the convolutions have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    no_attention_maps = "its correlations are factors of the values, which no softmax normalizes"

    def __init__(
        self,
        channels: int,
        *,
        patch: int = 8,
        correlation: bool = True,
        bias: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, patch=patch)
        check_flag(self, correlation=correlation, bias=bias)
        width = 6 * channels
        self.patch = patch
        self.correlation = correlation
        self.qkv = nn.Conv2d(channels, width, 1, bias=bias)
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=bias)
        self.norm = nn.LayerNorm(2 * channels)
        self.proj = nn.Conv2d(2 * channels, channels, 1, bias=bias)

    def mix(self, x: Tensor) -> Tensor:
        """Return the values times the normalized correlation, projected."""
        query, key, value = self.dwconv(self.qkv(x)).chunk(3, 1)
        with no_autocast(x):
            factor = normalize_channels(self.norm, self._correlate(widen(query), widen(key)))
        y: Tensor = self.proj(saturate(value * factor.to(value.dtype)))
        return y

    def _correlate(self, query: Tensor, key: Tensor) -> Tensor:
        """Return c, (B, 2 C, H, W)."""
        height, width = query.shape[2:]
        forward, back = _transforms(self.patch, query)
        q_real, q_imaginary = (self._patches(query) @ forward).chunk(2, 4)
        k_real, k_imaginary = (self._patches(key) @ forward).chunk(2, 4)
        if self.correlation:
            k_imaginary = -k_imaginary
        real = q_real * k_real - q_imaginary * k_imaginary
        imaginary = q_real * k_imaginary + q_imaginary * k_real
        patches = torch.cat([real, imaginary], 4) @ back
        b, channels, rows, columns, _ = patches.shape
        split = patches.reshape(b, channels, rows, columns, self.patch, self.patch).transpose(3, 4)
        return split.reshape(b, channels, rows * self.patch, -1)[:, :, :height, :width]

    def _patches(self, x: Tensor) -> Tensor:
        """Return the patches of a map, (B, channels, rows, columns, p p), with zeros beyond its border."""
        p = self.patch
        b, channels, height, width = x.shape
        x = F.pad(x, (0, -width % p, 0, -height % p))
        split = x.reshape(b, channels, x.shape[2] // p, p, x.shape[3] // p, p)
        return split.transpose(3, 4).flatten(4)


def _transforms(p: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Fourier transform of a patch of real numbers and its inverse, as matrices.

    The transform has the real parts of all frequencies, then the imaginary ones; those that are conjugates of others
    are omitted, and count twice in the inverse.
    """
    index = torch.arange(p, device=like.device)
    half = index[: p // 2 + 1]
    rows = (index[:, None] * index)[:, None, :, None]  # (p, 1, p, 1): row and its frequency
    columns = (index[:, None] * half)[None, :, None]  # (1, p, 1, p / 2 + 1)
    angle = ((rows + columns) % p).flatten(2).flatten(0, 1).to(like.dtype) * (2 * pi / p)
    twice = ((half > 0) & (2 * half < p)).to(like.dtype).repeat(p) + 1
    forward = torch.cat([angle.cos(), -angle.sin()], 1)
    return forward, (forward * torch.cat([twice, twice]) / p**2).T
