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
        layer: Changed in place. It must call each `nn.Sequential` as a whole.
    """
    uses = Counter(module for _, module in layer.named_modules(remove_duplicate=False))
    for sequence in [module for module in layer.modules() if isinstance(module, nn.Sequential)]:
        for (_, conv), (name, norm) in pairwise(list(sequence.named_children())):
            alone = uses[conv] == uses[norm] == uses[sequence]  # otherwise another module shares one of them
            if alone and isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                if norm.running_mean is None or norm.running_var is None:  # it uses those of the batch
                    continue
                conv.weight, conv.bias = fuse_conv_bn_weights(
                    conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                )
                sequence.register_module(name, nn.Identity())
