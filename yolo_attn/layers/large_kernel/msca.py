"""MSCA: multi-scale convolutional attention, with depthwise strips of three lengths.

    u = dw5(x)                                  5 x 5
    a = W (u + sum over k of v_k(h_k(u)))       h_k: 1 x k, v_k: k x 1; k = 7, 11, 21; W: 1 x 1
    y = x * a                                   or y = x + W2 (h * a(h)), h = gelu(W1 x), with `project`

Paper: Guo et al., "SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation", NeurIPS 2022,
arXiv 2209.08575.
Code: https://github.com/Visual-Attention-Network/SegNeXt
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, H, W), of any size and sign.
Deviations: weights have PyTorch's initialization; the authors' network initializes them with variance 2 / fan out.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from yolo_attn.layers.checks import check_odd_list
from yolo_attn.layers.large_kernel._large_kernel import LargeKernel
from yolo_attn.layers.large_kernel._multi_scale import MultiScale
from yolo_attn.registry import register_layer

__all__ = ["MSCA"]


@register_layer(
    family="large_kernel",
    summary="multiplies by a map computed by depthwise strips of three lengths",
    aliases=("MSCAAttention",),
    paper="SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation, NeurIPS 2022",
    year=2022,
    url="https://arxiv.org/abs/2209.08575",
    repository="https://github.com/Visual-Attention-Network/SegNeXt",
    cost="O(C^2 HW)",
    renamed={"kernels": "kernel_sizes"},
)
class MSCA(LargeKernel):
    """Multi-scale convolutional attention.

    Args:
        channels: Channels of the input.
        kernel_sizes: Lengths k of the strips, odd.
        project: Whether the layer is placed between two 1 x 1 convolutions with a shortcut, as in the authors' network.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, kernel_sizes: Sequence[int] = (7, 11, 21), project: bool = False, init: str = "paper"
    ) -> None:
        super().__init__(channels, project=project, init=init)
        check_odd_list(self, [7, 11, 21], kernel_sizes=kernel_sizes)
        self.scales = MultiScale(channels, kernel_sizes)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return the map, (B, C, H, W)."""
        weights: Tensor = self.pointwise(self.scales(x))
        return weights
