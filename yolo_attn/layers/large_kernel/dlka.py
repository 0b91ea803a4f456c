"""DLKA: deformable large kernel attention, LKA whose kernels have learned offsets.

    D_k(x)_u = sum over taps t of w_t x(u + t + o_t(x)_u)       bilinear between positions, zero outside the map
    a = W D_7(D_5(x))                                           5 x 5; 7 x 7 with dilation 3; W: 1 x 1
    y = x * a                                   or y = x + W2 (h * a(h)), h = gelu(W1 x), with `project`

The offsets o, two numbers per tap and position, are computed by a dense k x k convolution with the dilation of D_k.

Paper: Azad et al., "Beyond Self-Attention: Deformable Large Kernel Attention for Medical Image Segmentation", WACV
2024, arXiv 2309.00121.
Code: https://github.com/xmindflow/deformableLKA
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, H, W), of any size and sign. The offsets take 6,052 C weights, 1.5
million at C = 256, each applied at every position: place the layer where the map is small.
Precision: bilinear sampling has a kink where a tap crosses a row or column of the map. Near it a float32 rounding error
selects one of two slopes, so the gradients of two correct implementations can differ at single positions.
Algorithm: a sample is a weighted sum of the four tokens around it, and `embedding_bag` reads all channels of a token at
once without storing the four. In traces and on GPUs `grid_sample` is used.
Deviations: the deformable convolution is composed of PyTorch's operators, so it needs no compiled one and exports to
ONNX. Offsets and samples are in float32. Offsets are initialized randomly, as in the authors' code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from yolo_attn.layers.large_kernel._large_kernel import LargeKernel
from yolo_attn.layers.numerics import no_autocast, runs_on_cpu, widen
from yolo_attn.registry import register_layer

__all__ = ["DLKA"]


class DeformableDepthwise(nn.Module):
    """A deformable depthwise convolution that computes its own offsets.

    Args:
        channels: Channels in and out.
        kernel_size: k, odd.
        dilation: Step between the taps before the offsets.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__()
        padding = kernel_size // 2 * dilation
        taps = kernel_size**2
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.offsets = nn.Conv2d(channels, 2 * taps, kernel_size, padding=padding, dilation=dilation)
        self.taps = nn.Conv2d(channels, channels, kernel_size, groups=channels, bias=False)  # contains w, see `forward`

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution, (B, C, H, W)."""
        return deformable_depthwise(x, self.offsets(x), self.taps.weight, self.dilation)


def deformable_depthwise(x: Tensor, offsets: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """Convolve each channel with its own k x k kernel, with an offset for each tap.

    Args:
        x: (B, C, H, W).
        offsets: (B, 2 k^2, H, W), in positions: down and right of tap 0, of tap 1, ..., row by row.
        kernel: (C, 1, k, k), k odd.
        dilation: Step between the taps before the offsets.
    """
    k = kernel.shape[-1]
    b, _, h, w = x.shape
    down, right = widen(offsets).reshape(b, k, k, 2, h, w).unbind(3)  # (B, k, k, H, W) each: row and column of the tap
    steps = torch.arange(-(k // 2), k // 2 + 1, device=x.device, dtype=down.dtype) * dilation
    down = down + steps.view(k, 1, 1, 1) + torch.arange(h, device=x.device, dtype=down.dtype).view(-1, 1)
    right = right + steps.view(k, 1, 1) + torch.arange(w, device=x.device, dtype=down.dtype)
    convolve = _from_tokens if runs_on_cpu(x) else _from_map
    with no_autocast(x):
        return convolve(widen(x), down, right, widen(kernel)).to(x.dtype)


def _from_map(x: Tensor, down: Tensor, right: Tensor, kernel: Tensor) -> Tensor:
    """Return the convolution from samples of the map, for exporters and GPUs.

    Args:
        x: (B, C, H, W).
        down: Row of each tap, (B, k, k, H, W).
        right: Column of each tap, (B, k, k, H, W).
        kernel: (C, 1, k, k).
    """
    k = kernel.shape[-1]
    b, c, h, w = x.shape
    grid = torch.stack([(2 * right + 1) / w - 1, (2 * down + 1) / h - 1], 5)  # from -1 to 1 between the outer edges
    result = torch.zeros_like(x)
    for row in range(k):  # one row of taps at a time bounds the memory
        samples = F.grid_sample(x, grid[:, row].reshape(b, k * h, w, 2), align_corners=False)
        samples = samples.reshape(b, c, k, h, w)
        result = result + (samples * kernel[:, 0, row].view(c, k, 1, 1)).sum(2)
    return result


def _from_tokens(x: Tensor, down: Tensor, right: Tensor, kernel: Tensor) -> Tensor:
    """Return the same, with all channels of a position read at once.

    The samples of one tap at a time stay in the cache. Those of a row of taps have fewer and faster derivatives.
    """
    b, c, h, w = x.shape
    tokens = x.permute(0, 2, 3, 1).reshape(-1, c).contiguous()  # several times faster
    result = torch.zeros_like(tokens)
    for row in range(kernel.shape[-1]):  # one row of taps at a time bounds the memory of the indices
        index, share = _corners(down[:, row].transpose(0, 1), right[:, row].transpose(0, 1))
        weight = kernel[:, 0, row].t().contiguous()
        if torch.is_grad_enabled():
            samples = _samples(tokens, index.flatten(0, 1), share.flatten(0, 1)).reshape(len(weight), -1, c)
            result += _WeightedSum.apply(samples, weight)  # type: ignore[no-untyped-call]
        else:
            for tap, tap_share, tap_weight in zip(index, share, weight, strict=True):
                result.addcmul_(_samples(tokens, tap, tap_share), tap_weight)
    return result.reshape(b, h, w, c).permute(0, 3, 1, 2)


def _samples(tokens: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Return samples of tokens (N, C), (points, C), from index and share of the tokens around them, (points, 4)."""
    return F.embedding_bag(index, tokens, mode="sum", per_sample_weights=share)


class _WeightedSum(torch.autograd.Function):
    """Sum over the taps of samples (taps, points, C) with weights (taps, C).

    The derivatives of a tap stay in the cache; those of a product and a sum of all taps take several times as long.
    """

    @staticmethod
    def forward(ctx: Any, samples: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(samples, weights)
        y = torch.zeros_like(samples[0])
        for sample, weight in zip(samples, weights, strict=True):
            y.addcmul_(sample, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        samples, weights = ctx.saved_tensors
        of_samples, of_weights = torch.empty_like(samples), torch.empty_like(weights)
        for tap, (sample, weight) in enumerate(zip(samples, weights, strict=True)):
            torch.mul(grad, weight, out=of_samples[tap])
            of_weights[tap] = (grad * sample).sum(0)
        return of_samples, of_weights


def _corners(down: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return index and share of the four tokens around each point, each (points, B * H * W, 4).

    Tokens beyond the border have the share 0.

    Args:
        down: Row of each point, (points, B, H, W).
        right: Column of each point, (points, B, H, W).
    """
    count, b, h, w = down.shape
    first = torch.arange(b, device=down.device, dtype=torch.int32).view(-1, 1, 1) * (h * w)  # token of each image
    indices, shares = [], []
    for row, down_share in _around(down):
        for column, right_share in _around(right):
            inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
            indices.append(first + torch.where(inside, row * w + column, 0).int())
            shares.append(torch.where(inside, down_share * right_share, 0))
    return torch.stack(indices, 4).reshape(count, -1, 4), torch.stack(shares, 4).reshape(count, -1, 4)


def _around(at: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the positions before and after each point along one dimension, and their shares in it."""
    before = at.floor()
    after_share = at - before
    return [(before, 1 - after_share), (before + 1, after_share)]


@register_layer(
    family="large_kernel",
    summary="multiplies by a map with a large receptive field and learned offsets; heavy",
    aliases=("DeformableLKA", "deformable_LKA"),
    paper="Beyond Self-Attention: Deformable Large Kernel Attention for Medical Image Segmentation, WACV 2024",
    year=2023,
    url="https://arxiv.org/abs/2309.00121",
    repository="https://github.com/xmindflow/deformableLKA",
    cost="O((C^2 + 6052 C) HW)",
)
class DLKA(LargeKernel):
    """Deformable large kernel attention.

    Args:
        channels: Channels of the input.
        project: Whether the layer is placed between two 1 x 1 convolutions with a shortcut, as in the authors' network.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, project: bool = False, init: str = "paper") -> None:
        super().__init__(channels, project=project, init=init)
        self.near = DeformableDepthwise(channels, 5)
        self.far = DeformableDepthwise(channels, 7, dilation=3)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return the map, (B, C, H, W)."""
        weights: Tensor = self.pointwise(self.far(self.near(x)))
        return weights
