"""iRMB: an inverted residual block whose expanded values are mixed by attention in windows, of EMO.

    u = BN x
    v = act(Wv u)                               e C channels
    m = softmax(q k^T / sqrt(d)) v              q, k = Wq u, Wk u; within each window, for each head of d channels
    y = x + Wo (m + silu(BN DW m))              DW: depthwise convolution

A window takes every n-th position of the map, so that it spans the map as a grid, not a patch.

Paper: Zhang et al., "Rethinking Mobile Block for Efficient Attention-based Models", ICCV 2023, arXiv 2301.01146.
Code: https://github.com/zhangzjn/EMO
Shapes: x (B, C, H, W), y the same.
Norms: eps 1e-6, as in the authors' code, not PyTorch's 1e-5: on weak features batch statistics make it count.
Deviations: none. As in the code, the map is padded with zeros to a multiple of the window and the padding takes part in
the attention. Where C is not a multiple of the head's channels, their greatest common divisor.
Defaults: expansion 4, heads of 32 channels and biases in queries, keys and values are those of the authors' network
class; their block alone has expansion 1, heads of 64 channels and no biases. The kernel of 3 is the block's; the
network has 5 where it attends. The published models EMO-1M to 6M attend before they expand (`attn_pre=True`), with
kernels of 5, GELU, expansions of 3 to 5, heads of 20 to 32 channels, and a layer norm in place of the first batch norm,
which is not an option here.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_integer, check_odd, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["iRMB"]

EPS = 1e-6  # of both norms
ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


@register_layer(
    family="self_attention",
    summary="an inverted residual block with attention in windows spread over the map",
    aliases=("IRMB", "EMO"),
    paper="Rethinking Mobile Block for Efficient Attention-based Models, ICCV 2023",
    year=2023,
    url="https://arxiv.org/abs/2301.01146",
    repository="https://github.com/zhangzjn/EMO",
    cost="O((C^2 + C s^2) HW)",
)
class iRMB(Mixer):
    """Inverted residual mobile block.

    Args:
        channels: Channels of the input.
        exp_ratio: e, how many times as many channels the values have.
        dim_head: d, channels of a head, brought down to what divides the channels.
        window_size: Height and width of the windows.
        kernel_size: Kernel size of the depthwise convolution, odd.
        attn_pre: Whether attention mixes u, before the values are made of it; cheaper.
        act: The activation of the values: "relu", "silu" or "gelu".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        exp_ratio: float = 4,
        dim_head: int = 32,
        window_size: int = 7,
        kernel_size: int = 3,
        attn_pre: bool = False,
        act: str = "relu",
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_positive(self, exp_ratio=exp_ratio)
        check_integer(self, dim_head=dim_head, window_size=window_size)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, attn_pre=attn_pre)
        check_choice(self, "act", act, ACTIVATIONS)
        self.heads = channels // fitting_groups(channels, dim_head)
        self.window = window_size
        self.attn_pre = attn_pre
        width = self.heads * max(1, int(channels // self.heads * exp_ratio))
        self.norm = BatchNorm(channels, eps=EPS)
        self.query_key = nn.Conv2d(channels, 2 * channels, 1)
        self.value = nn.Sequential(nn.Conv2d(channels, width, 1), ACTIVATIONS[act]())
        self.local = nn.Sequential(
            nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width, bias=False),
            BatchNorm(width, eps=EPS),
            nn.SiLU(),
        )
        self.project = nn.Conv2d(width, channels, 1, bias=False)

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus what the block has made of it."""
        mixed = self._attend(self.norm(x))
        y: Tensor = x + self.project(mixed + self.local(mixed))
        return y

    def _attend(self, x: Tensor) -> Tensor:
        """Return the values, mixed within the windows, (B, e C, H, W)."""
        s = self.window
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % s, 0, -height % s))
        query, key = self.query_key(x).chunk(2, 1)
        value = x if self.attn_pre else self.value(x)
        mixed = F.scaled_dot_product_attention(self._tokens(query), self._tokens(key), self._tokens(value))
        mixed = self._untokenise(mixed, x)[:, :, :height, :width]
        if self.attn_pre:
            mixed = self.value(mixed)
        return mixed

    def _tokens(self, x: Tensor) -> Tensor:
        """Return (B * windows, heads, s * s, d) of a padded map; position (i, j) is in window (i mod n, j mod m)."""
        s = self.window
        b, c, h, w = x.shape
        x = x.reshape(b, self.heads, c // self.heads, s, h // s, s, w // s)
        return x.permute(0, 4, 6, 1, 3, 5, 2).reshape(-1, self.heads, s * s, c // self.heads)

    def _untokenise(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Undo `_tokens` for a map of the size of `like`."""
        s = self.window
        b, _, h, w = like.shape
        depth = tokens.shape[3]
        x = tokens.reshape(b, h // s, w // s, self.heads, s, s, depth).permute(0, 3, 6, 4, 1, 5, 2)
        return x.reshape(b, self.heads * depth, h, w)
