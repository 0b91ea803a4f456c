"""Folding of batch norms into the convolutions before them, for inference."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["fold_norms"]


def fold_norms(layer: nn.Module) -> None:
    """Fold each batch norm that directly follows a convolution in an `nn.Sequential` into that convolution.

    y = BN(W * x + b) becomes y = (s W) * x + s (b - m) + t, with the norm's running mean m, its bias t and
    s = weight / sqrt(running variance + eps), as in evaluation. An `nn.Identity` takes the place of the norm.

    Args:
        layer: Changed in place. Nothing in it may depend on the output of such a convolution except the norm.
    """
    uses = Counter(module for _, module in layer.named_modules(remove_duplicate=False))
    for sequence in [module for module in layer.modules() if isinstance(module, nn.Sequential)]:
        for (_, conv), (name, norm) in pairwise(list(sequence.named_children())):
            if type(conv) is not nn.Conv2d or not isinstance(norm, nn.BatchNorm2d):  # subclasses change the weight
                continue
            mean, variance = norm.running_mean, norm.running_var
            is_shared = not uses[conv] == uses[norm] == uses[sequence]
            if is_shared or mean is None or variance is None:  # without running statistics it uses those of the batch
                continue
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
            )
            sequence.register_module(name, nn.Identity())
