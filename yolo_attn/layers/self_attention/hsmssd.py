"""HSMSSD: hidden state mixer based state space duality, a few states gathered from the map and read at each position.

    [b; c; t] = DW W x                          S channels each; DW: depthwise 3 x 3 convolution
    h = sum over positions of x (a b)           a = softmax of t over positions; h: C x S, one state per channel of b
    [u; z] = Wh h
    h' = Wo (u * silu(z) + D u)                 D: a learned number
    y = h' c                                    at each position

Paper: Lee et al., "EfficientViM: Efficient Vision Mamba with Hidden State Mixer based State Space Duality", CVPR 2025,
arXiv 2411.15241.
Code: https://github.com/mlvlab/EfficientViM
Shapes: x (B, C, H, W), y the same; weights(x) (B, S, H, W).
Deviations: any map works, where the code takes the root of the number of positions as height and width. The code adds a
learned number to all positions of t, which the softmax cancels; it is omitted. The code also returns h'. Weights and
states are computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.numerics import no_autocast, saturate, widen
from yolo_attn.registry import register_layer

__all__ = ["HSMSSD"]


@register_layer(
    family="self_attention",
    summary="gathers a few states from the map, mixes them, and reads them at each position; linear in the map",
    paper="EfficientViM: Efficient Vision Mamba with Hidden State Mixer based State Space Duality, CVPR 2025",
    year=2024,
    url="https://arxiv.org/abs/2411.15241",
    repository="https://github.com/mlvlab/EfficientViM",
    cost="O(C S HW + C^2 S)",
    renamed={"state_dim": "states"},
)
class HSMSSD(Mixer):
    """Hidden state mixer.

    Args:
        channels: Channels of the input.
        states: S, number of states; the published models have 49, 25 and 9 from the first to the last stage.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, states: int = 49, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, states=states)
        width = 3 * states
        self.features = nn.Conv2d(channels, width, 1, bias=False)
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.expand = nn.Conv1d(channels, 2 * channels, 1, bias=False)
        self.skip_scale = nn.Parameter(torch.ones(1))
        self.proj = nn.Conv1d(channels, channels, 1, bias=False)

    def mix(self, x: Tensor) -> Tensor:
        """Return the mixed states, read at each position."""
        enter, read, logits = self.dwconv(self.features(x)).chunk(3, 1)
        with no_autocast(x):
            gates = widen(logits).flatten(2).softmax(2) * widen(enter).flatten(2)  # (B, S, HW)
            states = widen(x).flatten(2) @ gates.transpose(1, 2)  # (B, C, S)
        mixed = self._mix_states(saturate(states, enter.dtype).to(enter.dtype))
        return saturate(mixed @ read.flatten(2)).reshape(x.shape)

    def _mix_states(self, states: Tensor) -> Tensor:
        """Return the states (B, C, S) after the gated projection."""
        u, z = saturate(self.expand(states)).chunk(2, 1)
        return saturate(self.proj(saturate(saturate(u * F.silu(z)) + u * self.skip_scale.to(u.dtype))))

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights that each state is gathered with."""
        weights = self.weights(inputs[0])[0].float()
        return [AttentionValues("", WEIGHT, weights * weights[0].numel())]

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights that each state is gathered with, (B, S, H, W), in float32 or wider."""
        logits = self.dwconv(self.features(x)).chunk(3, 1)[2]
        return widen(logits).flatten(2).softmax(2).reshape(logits.shape)
