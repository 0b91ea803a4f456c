"""iRMB: an inverted residual block whose expanded values are mixed by window attention, of EMO.

    u = BN x
    v = act(Wv u)                               e C channels
    m = softmax(q k^T / sqrt(d)) v              q, k = Wq u, Wk u; within each window, for each head of d channels
    y = x + Wo (m + silu(BN DW m))              DW: depthwise convolution

A window consists of every n-th position of the map, so it covers the map as a grid instead of a patch.

Paper: Zhang et al., "Rethinking Mobile Block for Efficient Attention-based Models", ICCV 2023, arXiv 2301.01146.
Code: https://github.com/zhangzjn/EMO
Shapes: x (B, C, H, W), y the same.
Norms: eps is 1e-6, as in the authors' code, instead of PyTorch's 1e-5. With weak features the difference is visible.
Deviations: none. As in the code, the map is padded with zeros to a multiple of the window, and the padding takes part
in the attention. The head width is reduced to its greatest common divisor with C.
Defaults: expansion 4, heads of 32 channels and biases of queries, keys and values are those of the authors' network
class; their block alone has expansion 1, heads of 64 channels and no biases. The kernel size 3 is the block's; the
network has 5 in blocks with attention. The published models EMO-1M to 6M attend before the expansion
(`attention_first=True`), with kernels of 5, GELU, expansions of 3 to 5, heads of 20 to 32 channels, and a layer norm
instead of the first batch norm, which is not an option here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice, check_flag, check_integer, check_odd, check_positive
from yolo_attn.layers.norms import BatchNorm, scale_and_shift
from yolo_attn.layers.numerics import runs_on_cpu
from yolo_attn.layers.self_attention._tokens import attend
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["iRMB"]

EPS = 1e-6  # of both norms
CACHED = 2**19  # values that stay in the cache of a CPU, 2 MB
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "silu": partial(nn.SiLU, inplace=True),
    "gelu": nn.GELU,
}


@register_layer(
    family="self_attention",
    summary="an inverted residual block with attention in windows that cover the map as grids",
    aliases=("IRMB", "EMO"),
    paper="Rethinking Mobile Block for Efficient Attention-based Models, ICCV 2023",
    year=2023,
    url="https://arxiv.org/abs/2301.01146",
    repository="https://github.com/zhangzjn/EMO",
    cost="O((C^2 + C s^2) HW)",
    renamed={
        "exp_ratio": "expansion",
        "dim_head": "head_width",
        "window_size": "window",
        "attn_pre": "attention_first",
        "act": "activation",
    },
)
class iRMB(Mixer):
    """Inverted residual mobile block.

    Args:
        channels: Channels of the input.
        expansion: e, expansion ratio of the values.
        head_width: d, channels of a head, reduced to the greatest common divisor with the channels.
        window: Height and width of the windows.
        kernel_size: Kernel size of the depthwise convolution, odd.
        attention_first: Whether attention is applied to u, before the expansion, which is cheaper.
        activation: Activation of the values: "relu", "silu" or "gelu".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        expansion: float = 4,
        head_width: int = 32,
        window: int = 7,
        kernel_size: int = 3,
        attention_first: bool = False,
        activation: str = "relu",
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_positive(self, expansion=expansion)
        check_integer(self, head_width=head_width, window=window)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, attention_first=attention_first)
        check_choice(self, "activation", activation, ACTIVATIONS)
        self.heads = channels // fitting_groups(channels, head_width)
        self.window = window
        self.attention_first = attention_first
        width = self.heads * max(1, int(channels // self.heads * expansion))
        self.norm = BatchNorm(channels, eps=EPS)
        self.query_key = nn.Conv2d(channels, 2 * channels, 1)
        self.value = nn.Sequential(nn.Conv2d(channels, width, 1), ACTIVATIONS[activation]())
        self.local = nn.Sequential(
            nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width, bias=False),
            BatchNorm(width, eps=EPS),
            nn.SiLU(),
        )
        self.proj = nn.Conv2d(width, channels, 1, bias=False)

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus the output of the block."""
        mixed = self._attend(self.norm(x))
        y: Tensor = x + self.proj(self._local(mixed).add_(mixed))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to those of their window."""
        x = self._pad(self.norm(inputs[0]))
        (windows,) = self._windows(x, parts=1)

        def contexts(values: Tensor) -> Tensor:
            (of_values,) = self._windows(values, parts=1)
            return self._map([self._contexts(windows, of_values)], x)

        return [Reading("", x if self.attention_first else self.value(x), contexts, self.heads)]

    def _attend(self, x: Tensor) -> Tensor:
        """Return the values mixed within the windows, (B, e C, H, W)."""
        height, width = x.shape[2:]
        x = self._pad(x)
        parts = self._windows(x, parts=1 if self.attention_first else self._parts(x))
        contexts = [self._contexts(part, part if self.attention_first else self.value(part)) for part in parts]
        mixed = self._map(contexts, x)[:, :, :height, :width]
        return self.value(mixed) if self.attention_first else mixed

    def _pad(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return F.pad(x, (0, -width % self.window, 0, -height % self.window))

    def _parts(self, x: Tensor) -> int:
        """Return in how many parts the values stay in the cache of a CPU, with at least one row of windows each."""
        if torch.is_grad_enabled() or not runs_on_cpu(x):
            return 1
        values = x.numel() // self.channels * self.proj.in_channels
        return max(1, min(x.shape[2] // self.window, values // CACHED))

    def _windows(self, x: Tensor, *, parts: int) -> list[Tensor]:
        """Return windows of a padded map, (1, C, s * s, windows), in parts with some rows of windows each.

        Channels are last in memory. Position (i, j) is in window (i mod n, j mod m).
        """
        s, (b, c, height, width) = self.window, x.shape
        grid = x.reshape(b, c, s, height // s, s, width // s).permute(2, 4, 0, 3, 5, 1)
        rows = [grid] if parts == 1 else torch.tensor_split(grid, parts, 3)  # each (s, s, b, n, m, c)
        return [part.reshape(1, s * s, -1, c).permute(0, 3, 1, 2) for part in rows]

    def _contexts(self, windows: Tensor, values: Tensor) -> Tensor:
        """Return the values mixed within the windows, (windows, heads, s * s, any)."""
        query, key = self.query_key(windows).chunk(2, 1)
        return attend(self._by_head(query), self._by_head(key), self._by_head(values))

    def _by_head(self, windows: Tensor) -> Tensor:
        """Return (1, C, s * s, windows) as (windows, heads, s * s, C / heads), without a copy."""
        c, positions = windows.shape[1:3]
        tokens = windows.permute(0, 2, 3, 1).reshape(positions, -1, self.heads, c // self.heads)
        return tokens.permute(1, 2, 0, 3)

    def _map(self, contexts: list[Tensor], like: Tensor) -> Tensor:
        """Return the contexts of all parts as a map of the size of `like`, channels last in memory."""
        s, (b, _, height, width) = self.window, like.shape
        shape = (b, -1, width // s, self.heads, s, s, contexts[0].shape[3])
        grids = [part.reshape(shape).permute(0, 4, 1, 5, 2, 3, 6) for part in contexts]
        grid = grids[0] if len(grids) == 1 else torch.cat(grids, 2)
        return grid.reshape(b, height, width, -1).permute(0, 3, 1, 2)

    def _local(self, x: Tensor) -> Tensor:
        """Return silu(BN DW x), in evaluation without a pass for the norm."""
        conv, norm = cast(nn.Conv2d, self.local[0]), self.local[1]
        if self.training or not isinstance(norm, BatchNorm):  # which `fold_norms` removes
            y: Tensor = self.local(x)
            return y
        scale, shift = scale_and_shift(norm, conv.weight.dtype)
        weight = conv.weight * scale[:, None, None, None]
        return F.silu(F.conv2d(x, weight, shift, 1, conv.padding, 1, conv.groups), inplace=True)
