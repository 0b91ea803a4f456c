"""HSFPN: selective feature fusion of HS-FPN, a coarser map selects channels of a finer one and is added to it.

    u = resize(T x1)                            T: transposed conv3, stride 2; to the height and width of x0, bilinear
    y = x0 * g(u) + u                           g: the gate of HSFPNGate

Paper: Chen et al., "Accurate Leukocyte Detection Based on Deformable-DETR and Multi-Level Feature Fusion for Aiding
Diagnosis of Blood Diseases", Computers in Biology and Medicine 2024, arXiv 2401.00926.
Code: https://github.com/JustlfC03/MFDS-DETR
Shapes: x0 (B, C0, H0, W0), x1 (B, C1, any height, any width), y like x0; gate(u) (B, C0, 1, 1).
Deviations: one level. The authors' network gates each level by HSFPNGate and a 1 x 1 convolution before it, and has a
convolution, a group norm and a ReLU after it; the next level upsamples u, not y. With C0 < r there is one hidden unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Fusion
from yolo_attn.layers.channel.hsfpn_gate import HSFPNGate
from yolo_attn.layers.checks import check, check_flag, check_positive
from yolo_attn.registry import register_layer

__all__ = ["HSFPN"]


@register_layer(
    family="fusion",
    summary="lets a coarser map select the channels of a finer one, and adds it",
    inputs=2,
    paper="Accurate Leukocyte Detection Based on Deformable-DETR and Multi-Level Feature Fusion, CBM 2024",
    year=2024,
    url="https://arxiv.org/abs/2401.00926",
    repository="https://github.com/JustlfC03/MFDS-DETR",
    cost="O(9 C0 C1 H1 W1)",
    renamed={"ratio": "reduction"},
)
class HSFPN(Fusion):
    """Selective feature fusion of HS-FPN.

    Args:
        channels: Channels of the two inputs; the output has those of the first. Equal without `transposed`.
        reduction: r, channels per hidden unit of the gate.
        transposed: Whether the second input is upsampled by a transposed convolution before it is resized.
        init: "paper" or "identity".

    Raises:
        ValueError: The channels differ without `transposed`, or an argument is out of range.
    """

    same_size = False

    def __init__(
        self, channels: Sequence[int], *, reduction: float = 4, transposed: bool = True, init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check_flag(self, transposed=transposed)
        equal = transposed or channels[0] == channels[1]
        check(self, equal, "channels", channels, "two equal numbers with transposed=false, with a Conv before it")
        upsample = nn.ConvTranspose2d(channels[1], channels[0], 3, stride=2, padding=1, output_padding=1)
        self.upsample = upsample if transposed else nn.Identity()
        self.select = HSFPNGate(channels[0], reduction=reduction)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gate of the channels of the first input."""
        gate = self.select.gate(self._upsampled(list(inputs)))
        return [AttentionValues("first input", GATE, gate[0, :, 0, 0].float())]

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the selected channels of the first map plus the second one."""
        coarser = self._upsampled(xs)
        return xs[0] * self.select.gate(coarser).to(xs[0].dtype) + coarser

    def _upsampled(self, xs: list[Tensor]) -> Tensor:
        """Return u, of the shape of the first input."""
        return F.interpolate(self.upsample(xs[1]), xs[0].shape[2:], mode="bilinear", align_corners=False)
