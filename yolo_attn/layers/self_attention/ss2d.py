"""SS2D: selective scan in two dimensions, a state-space model along rows and columns, of VMamba.

    [u'; z] = W x                               E channels each, at each position
    u = silu(DW u')                             DW: depthwise convolution
    In each of four directions, the positions form a sequence: by rows, by columns, and both backwards:
    [r; b; c] = P u                             R, S and S channels
    t = softplus(Q r + q)                       E channels
    h_l = exp(t_l A) h_(l-1) + t_l u_l b_l      E x S states, A = -exp(a): learned
    o_l = c_l . h_l + D u_l                     D: learned for each channel
    y = Wo (LN (sum of o over the directions) * silu(z))

Paper: Liu et al., "VMamba: Visual State Space Model", NeurIPS 2024, arXiv 2401.10166. In detectors: Wang et al., "Mamba
YOLO", AAAI 2025, arXiv 2406.05835.
Code: https://github.com/MzeroMiko/VMamba
Shapes: x (B, C, H, W), y the same.
Cost: 4 E S HW multiplications, in plain PyTorch: blocks of the sequences are scanned side by side, so the number of
sequential operations grows with the logarithm of HW. 8 million states are held at a time; in training, those of longer
sequences are computed again in the backward pass. Best at stride 16 or 32.
Deviations: none from the code's first form. The released models have no z (`gated=False`), one state and no bias in the
depthwise convolution. The scan is in float32. Exported graphs are exact for up to a million positions.
"""

from __future__ import annotations

from math import ceil, log

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer, check_odd, check_positive
from yolo_attn.layers.norms import normalize_channels
from yolo_attn.layers.numerics import is_traced, no_autocast, runs_on_cpu, saturate, widen
from yolo_attn.registry import register_layer

__all__ = ["SS2D"]

DIRECTIONS = 4
MAX_STATES = 2**23
"""Largest number of states computed at once, 32 MiB in float32; there are about eight copies."""
CACHED_STATES = 2**21
"""The same in inference on a CPU, 8 MiB: larger tensors have new pages in every chunk."""
BLOCK = 16
"""Steps of a block."""
LEVELS = 5
"""Levels of blocks in an exported graph, enough for BLOCK^LEVELS positions."""
STEP_MIN, STEP_MAX = 1e-3, 0.1
"""Range of the initial t."""


@register_layer(
    family="self_attention",
    summary="scans rows and columns in both directions with a state-space model; heavy, but linear in the map",
    paper="VMamba: Visual State Space Model, NeurIPS 2024",
    year=2024,
    url="https://arxiv.org/abs/2401.10166",
    repository="https://github.com/MzeroMiko/VMamba",
    cost="O(C^2 HW + C S HW)",
    renamed={"d_state": "states", "ssm_ratio": "expansion", "expand": "expansion", "d_conv": "kernel_size"},
)
class SS2D(Mixer):
    """Selective scan in four directions.

    Args:
        channels: Channels of the input.
        states: S, number of states of each channel.
        expansion: E / C, expansion ratio of the scanned features.
        kernel_size: Kernel size of the depthwise convolution, odd.
        gated: Whether the result is multiplied by silu(z).
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        states: int = 16,
        expansion: float = 2,
        kernel_size: int = 3,
        gated: bool = True,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, states=states)
        check_positive(self, expansion=expansion)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, gated=gated)
        width, self.rank = max(1, int(channels * expansion)), ceil(channels / 16)
        self.width = width
        self.states = states
        self.gated = gated
        self.expand = nn.Conv2d(channels, 2 * width if gated else width, 1, bias=False)
        self.dwconv = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.features = nn.Parameter(_uniform(DIRECTIONS, self.rank + 2 * states, width, limit=width**-0.5))
        self.step_weight = nn.Parameter(_uniform(DIRECTIONS, width, self.rank, limit=self.rank**-0.5))
        self.step_bias = nn.Parameter(_initial_steps(DIRECTIONS * width))
        self.decay = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(DIRECTIONS, width, 1))
        self.skip_scale = nn.Parameter(torch.ones(DIRECTIONS * width))
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Conv2d(width, channels, 1, bias=False)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected sum of the four scans."""
        expanded = self.expand(x)
        u = F.silu(saturate(self.dwconv(expanded[:, : self.width])))
        with no_autocast(x):
            scanned = normalize_channels(self.norm, self._scan_map(widen(u)))
        scanned = scanned.to(u.dtype)
        y: Tensor = self.proj(
            saturate(scanned * F.silu(saturate(expanded[:, self.width :]))) if self.gated else scanned
        )
        return y

    def _scan_map(self, u: Tensor) -> Tensor:
        """Return the sum of the scans of a map (B, E, H, W) in the four directions."""
        b, _, height, width = u.shape
        rows, columns = u.permute(2, 3, 0, 1).flatten(0, 1), u.permute(3, 2, 0, 1).flatten(0, 1)  # (HW, B, E)
        scanned = self._scan(torch.stack([rows, columns, rows.flip(0), columns.flip(0)]))
        rows, columns = scanned[0] + scanned[2].flip(0), scanned[1] + scanned[3].flip(0)
        by_row = rows.reshape(height, width, b, -1) + columns.reshape(width, height, b, -1).transpose(0, 1)
        return by_row.permute(2, 3, 0, 1)

    def _scan(self, u: Tensor) -> Tensor:
        """Return the outputs of sequences (4, N, B, E), in chunks if the states of all would take too much memory."""
        state = u.new_zeros(*u.shape[:1], *u.shape[2:], self.states)
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return self._scan_chunk(u, state)[0]  # the number of chunks would be constant in a trace
        cached = runs_on_cpu(u) and not torch.is_grad_enabled()
        size = max(1, (CACHED_STATES if cached else MAX_STATES) // state.numel())
        if u.shape[1] <= size:
            return self._scan_chunk(u, state)[0]
        outputs = []
        for chunk in torch.split(u, size, 1):
            if torch.is_grad_enabled():
                found = checkpoint(self._scan_chunk, chunk, state, use_reentrant=False, preserve_rng_state=False)
                output, state = found
            else:
                output, state = self._scan_chunk(chunk, state)
            outputs.append(output)
        return torch.cat(outputs, 1)

    def _scan_chunk(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs of sequences (4, N, B, E) and their last states, given those before, (4, B, E, S)."""
        size = (DIRECTIONS, 1, 1, -1)
        sizes = [self.rank, self.states, self.states]
        rank, enter, read = torch.split(_each(u, self.features), sizes, 3)
        step = F.softplus(_each(rank, self.step_weight) + widen(self.step_bias).reshape(size))
        decay = torch.exp(step[..., None] * -widen(self.decay).exp()[:, None, None])  # (4, N, B, E, S)
        states = linear_scan(decay, (step * u)[..., None] * enter[..., None, :], state)
        output = (states @ read[..., None])[..., 0] + widen(self.skip_scale).reshape(size) * u
        return output, states[:, -1]


def _each(x: Tensor, weight: Tensor) -> Tensor:
    """Return x (4, N, B, any) times a matrix of each direction, (4, out, any)."""
    y = x.flatten(1, 2) @ widen(weight).transpose(1, 2)
    return y.reshape(*x.shape[:3], -1)


def linear_scan(decay: Tensor, enter: Tensor, first: Tensor, level: int = 1) -> Tensor:
    """Return h_l = decay_l h_(l-1) + enter_l along the second dimension.

    Blocks of steps are scanned side by side from zero, then the states at their ends in the same way; each state lacks
    only the state before its block, times the product of the decays since. No quotients are formed, so nothing
    overflows.

    Args:
        decay: (K, N, ...), from 0 to 1.
        enter: (K, N, ...).
        first: h before the first step, (K, ...).
        level: Level of the blocks, for exported graphs.
    """
    length = decay.shape[1]
    decays, enters = (_blocks(t) for t in (decay, enter))
    product, state = decays[0], enters[0]
    products, states = [product], [state]
    for step, new in zip(decays[1:], enters[1:], strict=True):
        product, state = product * step, state * step + new
        products.append(product)
        states.append(state)
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    before = first[:, None]
    if level < LEVELS if tracing else length > BLOCK:
        ends = linear_scan(product, state, first, level + 1)
        before = torch.cat([before, ends[:, :-1]], 1)
    found = torch.addcmul(torch.stack(states, 2), torch.stack(products, 2), before[:, :, None])
    return found.flatten(1, 2)[:, :length]


def _blocks(x: Tensor) -> tuple[Tensor, ...]:
    """Return the steps of the blocks of a sequence (K, N, ...): tensors (K, blocks, ...)."""
    missing = -x.shape[1] % BLOCK
    if is_traced() or missing:  # padding by nothing is a copy
        x = F.pad(x, [0, 0] * (x.ndim - 2) + [0, missing])
    return x.reshape(x.shape[0], -1, BLOCK, *x.shape[2:]).unbind(2)


def _uniform(*shape: int, limit: float) -> Tensor:
    return (2 * torch.rand(shape) - 1) * limit


def _initial_steps(count: int) -> Tensor:
    """Return q such that softplus(q) is log-uniform from STEP_MIN to STEP_MAX."""
    step = torch.exp(log(STEP_MIN) + torch.rand(count) * log(STEP_MAX / STEP_MIN))
    return step + torch.log(-torch.expm1(-step))
