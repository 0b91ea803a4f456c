"""SeparableSelfAttention: attention with a single global context, of MobileViTv2.

    [i_n, k_n, v_n] = W x_n                     1, C and C channels; n: the positions of the map
    c = sum over n of softmax over n (i)_n k_n  the context, (B, C)
    y_n = Wo (relu(v_n) * c)

With `patch_size=p`, each of the p x p offsets within a patch has its own context, pooled over all patches.

Paper: Mehta, Rastegari, "Separable Self-attention for Mobile Vision Transformers", TMLR 2023, arXiv 2206.02680.
Code: https://github.com/apple/ml-cvnets
Shapes: x (B, C, H, W), y the same; weights(x) (B, H, W).
Deviations: none in the formula; softmax in float32. MobileViTv2 applies the module to patches of 2 x 2
(`patch_size=2`). The authors resize maps that patches do not divide; here the patches at the border are smaller. One
third-party implementation omits the ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.numerics import is_traced, saturate, widen
from yolo_attn.registry import register_layer

__all__ = ["SeparableSelfAttention"]


@register_layer(
    family="self_attention",
    summary="pools all keys into one context that scales every value; linear in the map",
    aliases=("MobileViTv2", "MobileViTv2Attention", "LinearSelfAttention"),
    paper="Separable Self-attention for Mobile Vision Transformers, TMLR 2023",
    year=2023,
    url="https://arxiv.org/abs/2206.02680",
    repository="https://github.com/apple/ml-cvnets",
    cost="O(C^2 HW)",
    renamed={"patch": "patch_size"},
)
class SeparableSelfAttention(Mixer):
    """Separable self-attention.

    Args:
        channels: Channels of the input.
        patch_size: Height and width of a patch, in which each offset has its own context; 1 is a single context.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, patch_size: int = 1, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, patch_size=patch_size)
        self.patch_size = patch_size
        self.expand = nn.Conv2d(channels, 1 + 2 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected values, scaled by their contexts."""
        logits, key, value = self.expand(x).split((1, self.channels, self.channels), 1)
        scores = self._scores(logits)
        context = (scores * self._split_patches(key)).sum((2, 4), keepdim=True)  # (B, C, 1, p, 1, p)
        height, width = x.shape[2:]
        scaled = saturate(self._split_patches(torch.relu(value)) * context.to(value.dtype)).flatten(4).flatten(2, 3)
        return saturate(self.proj(scaled[:, :, :height, :width]))

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of the patches, for each offset in a patch."""
        weights = self.weights(inputs[0])[0].float()
        return [AttentionValues("", WEIGHT, weights * (weights.numel() / weights.sum()))]

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of each position in its context, (B, H, W)."""
        logits = self.expand(x)[:, :1]
        return self._scores(logits).flatten(4).flatten(2, 3)[:, 0, : x.shape[2], : x.shape[3]]

    def _scores(self, logits: Tensor) -> Tensor:
        """Return the softmax over all patches for each offset, (B, 1, H / p, p, W / p, p)."""
        lowest = torch.finfo(logits.dtype).min  # not -inf: on a small map an offset may have no position
        patches = widen(self._split_patches(logits, lowest)).transpose(3, 4)  # (B, 1, H / p, W / p, p, p)
        return patches.flatten(2, 3).softmax(2).reshape(patches.shape).transpose(3, 4)

    def _split_patches(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """Return x by patch and offset, (B, C, H / p, p, W / p, p), padded with `fill` to whole patches."""
        p = self.patch_size
        b, c, h, w = x.shape
        if is_traced() or h % p or w % p:  # a pad by nothing is a copy
            x = F.pad(x, (0, -w % p, 0, -h % p), value=fill)
        return x.reshape(b, c, x.shape[2] // p, p, x.shape[3] // p, p)
