"""SK: selective kernels, a per-channel weighted sum of branches with different receptive fields.

    U_m = relu(BN(conv_m(x)))                   one branch for each kernel size
    z = relu(BN(W mean over H, W of sum_m U_m)) (B, d), d = max(C / r, L)
    a_m = softmax over m of A_m z               (B, C), a weight for each branch and channel
    y = sum_m a_m * U_m

Paper: Li et al., "Selective Kernel Networks", CVPR 2019, arXiv 1903.06586.
Code: https://github.com/implus/SKNet (Caffe).
Shapes: x (B, C, H, W), y the same; weights(x) (B, M, C).
Deviations: the number of groups is reduced to its greatest common divisor with C. In training the pooled vector of a
single image is normalized with the running statistics (see `BatchNorm`), where the published form raises an error.
Third-party form: `SK(kernel_sizes=(1, 3, 5, 7), dilated=False, groups=1, norm=False)` has 89 times the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues, split_choices
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_flag, check_integer, check_odd_list, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import total
from yolo_attn.layers.sizes import fitting_groups, hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["SK"]


@register_layer(
    family="channel",
    summary="convolves with several kernel sizes and selects among them per channel",
    aliases=("SKAttention", "SKConv"),
    paper="Selective Kernel Networks, CVPR 2019",
    year=2019,
    url="https://arxiv.org/abs/1903.06586",
    repository="https://github.com/implus/SKNet",
    cost="O(C^2 HW / groups)",
    renamed={"kernels": "kernel_sizes"},
)
class SK(Mixer):
    """Selective kernels.

    Args:
        channels: Channels of the input.
        kernel_sizes: Kernel size of each branch, odd.
        dilated: Whether kernels above 3 are dilated 3 x 3 kernels instead of dense ones.
        groups: G, groups of the branch convolutions.
        reduction: r, channels per hidden unit.
        min_hidden: L, minimum number of hidden units.
        norm: Whether batch norm and ReLU follow the first linear layer, and neither linear layer has a bias; otherwise
            there are biases instead.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_sizes: Sequence[int] = (3, 5),
        dilated: bool = True,
        groups: int = 32,
        reduction: float = 16,
        min_hidden: int = 32,
        norm: bool = True,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_odd_list(self, [3, 5], kernel_sizes=kernel_sizes)
        check(self, len(kernel_sizes) > 1, "kernel_sizes", kernel_sizes, "two or more, such as [3, 5]")
        check_flag(self, dilated=dilated, norm=norm)
        check_integer(self, groups=groups, min_hidden=min_hidden)
        check_positive(self, reduction=reduction)
        hidden = hidden_width(channels, reduction, min_hidden)
        self.branches = nn.ModuleList(
            _branch(channels, k, dilated, fitting_groups(channels, groups)) for k in kernel_sizes
        )
        self.fc1 = nn.Linear(channels, hidden, bias=not norm)
        self.norm = BatchNorm(hidden) if norm else None
        self.fc2 = nn.Linear(hidden, len(kernel_sizes) * channels, bias=not norm)

    def mix(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the branches."""
        branches = [branch(x) for branch in self.branches]
        weights = self._branch_weights(branches)[..., None, None]  # (B, M, C, 1, 1)
        return total(weights[:, m] * branch for m, branch in enumerate(branches))

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of each branch."""
        return split_choices("branch", self.weights(inputs[0]))

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of each branch for each channel, (B, M, C)."""
        return self._branch_weights([branch(x) for branch in self.branches])

    def _branch_weights(self, branches: list[Tensor]) -> Tensor:
        z = self.fc1(total(mean(branch, 2, 3) for branch in branches))
        if self.norm is not None:
            z = torch.relu(self.norm(z))
        logits: Tensor = self.fc2(z)
        return logits.reshape(-1, len(branches), self.channels).softmax(1)


def _branch(channels: int, kernel: int, dilated: bool, groups: int) -> nn.Sequential:
    size, dilation = (3, kernel // 2) if dilated and kernel > 1 else (kernel, 1)
    conv = nn.Conv2d(channels, channels, size, padding=kernel // 2, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(conv, BatchNorm(channels), nn.ReLU())
