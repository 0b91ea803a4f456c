"""Base classes of the layers, with the identity initialization and input checks.

- `Gate`: y = x * g(x). Implement `gate`.
- `Chain`: several gates in sequence, each applied to the output of the one before. Implement nothing.
- `Mixer`: y = f(x), any other mechanism that keeps the shape. Implement `mix`.
- `Block`: y = f(x), like `Mixer`, with the option `out_channels` for the number of output channels. Implement `mix`.
- `Convolution`: a `Block` in the place of a convolution, with `kernel_size` and `stride`. Implement `mix`.
- `Fusion`: y = f(x0, x1, ...), several inputs, the shape of the first. Implement `fuse`.

With `init="identity"` a zero-initialized gamma, one per channel, fades the mechanism in:
y = x * (1 + gamma * (g - 1)) for gates and y = x + gamma * (f(x) - x) for the others. Before training, y == x exactly.
Gamma is 1-D because some optimizers orthogonalize every 2-D and 4-D parameter as a matrix.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, nn

from yolo_attn.errors import RowError, UserError
from yolo_attn.layers.attention_values import AttentionValues, Reading, gate_values
from yolo_attn.layers.checks import check, check_choice, check_integer, check_odd, is_positive_integer
from yolo_attn.layers.numerics import one_dtype, saturate

__all__ = ["Block", "Chain", "Convolution", "Fusion", "Gate", "Layer", "Level", "Mixer"]

INITS = ("paper", "identity")
MAP_RANK = 4  # batch, channels, height, width


class Layer(nn.Module):
    """Common part of all base classes: the initialization and its gamma.

    Args:
        channels: Channels of the first input, which has the shape of the output with `init="identity"`.
        init: "paper" as published, or "identity" to begin as y = x.

    Raises:
        ValueError: `init` is unknown.
    """

    identity_at_init = False
    """Whether init="identity" needs no gamma, because the initial weights already give y = x."""
    no_attention_maps = "it has no gate and no weights to show"
    """Why the layer has no `attention_maps`, if it has none."""

    channels: int | list[int]
    gamma: nn.Parameter | None

    def __init__(self, channels: int, *, init: str) -> None:
        super().__init__()
        check_choice(self, "init", init, INITS)
        self.init = init
        fade_in = init == "identity" and not self.identity_at_init
        self.register_parameter("gamma", nn.Parameter(torch.zeros(channels)) if fade_in else None)

    def fade_in(self, x: Tensor, y: Tensor) -> Tensor:
        """Return y, or x + gamma (y - x) where there is a gamma, in the dtype of x, which autocast may have changed."""
        return y.to(x.dtype) if self.gamma is None else faded(x, y, self.gamma, x.dtype)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the layer's attention for one image, for viewing; none by default (see `no_attention_maps`).

        Args:
            inputs: The layer's inputs (1, C, H, W), as a list for one input too.
        """
        return []

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the layer's attention over positions for one image, for viewing; none by default.

        Args:
            inputs: The layer's inputs (1, C, H, W), as a list for one input too.
        """
        return []

    def extra_repr(self) -> str:
        """Return the channels and the initialization, which no submodule shows."""
        return f"{self.channels}" + (f", init={self.init!r}" if self.init != "paper" else "")


class SingleInputLayer(Layer):
    """Base of the layers with one input.

    Args:
        channels: Channels of the input.
        init: "paper" as published, or "identity" to begin as y = x.

    Raises:
        ValueError: `channels` is not a positive integer, or `init` is unknown.
    """

    channels: int

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        check(self, is_positive_integer(channels), "channels", channels, "a positive integer")
        super().__init__(channels, init=init)
        self.channels = channels

    def check_input(self, x: Tensor) -> None:
        """Raise UserError, a ValueError, unless x is a batch of maps with this layer's channels."""
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return  # shapes are tensors during a trace, and were checked before it
        if not isinstance(x, Tensor):
            raise _input_error(self, f"expects one tensor (B, {self.channels}, H, W), got {_describe(x)}")
        if x.ndim != MAP_RANK or x.shape[1] != self.channels:
            raise _input_error(
                self,
                f"expects (B, {self.channels}, H, W), got {tuple(x.shape)}; "
                f"build it with channels={x.shape[1] if x.ndim > 1 else '...'}",
            )


class Gate(SingleInputLayer):
    """A mechanism that scales its input: y = x * gate(x).

    Shape:
        x: (B, C, H, W), y the same; gate(x) broadcastable to x.
    """

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate as published, broadcastable to x."""
        raise NotImplementedError  # abstract

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return tensors of the dtype of x whose product is the gate, so that none has to be as large as x."""
        gate = self.gate(x)
        # Autocast may have changed the dtype. Otherwise the conversion would take 3 % of the time of a small gate.
        return (gate if gate.dtype == x.dtype else gate.to(x.dtype),)

    def scale(self, x: Tensor) -> Tensor:
        """Return the factor of x: the gate, faded in by gamma where there is one."""
        return self.fade(self.gate(x)).to(x.dtype)  # autocast may have changed it

    def fade(self, gate: Tensor) -> Tensor:
        """Return 1 + gamma (gate - 1), or the gate itself where there is no gamma."""
        return gate if self.gamma is None else faded(1, gate, self.gamma, gate.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x by its gate."""
        self.check_input(x)
        return product(x, *(self.gates(x) if self.gamma is None else (self.scale(x),)))

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gate as faded in by gamma: 1 everywhere where the layer is the identity."""
        return [gate_values(self.scale(inputs[0]), inputs[0])]


def product(x: Tensor, *gates: Tensor) -> Tensor:
    """Return the product of x and its gates, with one new tensor if nothing is derived from it."""
    first, *others = gates
    y = x * first
    for gate in others:
        y = y * gate if y.requires_grad or torch.jit.is_tracing() else y.mul_(gate)  # type: ignore[attr-defined, no-untyped-call]
    return y


class Chain(nn.Sequential):
    """Gates in sequence, each applied to the output of the one before; each has its own `init`.

    Args:
        gates: The gates in order, by their names as submodules.
    """

    def __init__(self, **gates: Gate) -> None:
        super().__init__(OrderedDict(gates))

    def scale(self, x: Tensor) -> Tensor:
        """Return the factor of x: the product of the scales, broadcastable to x."""
        scales: list[Tensor] = []
        for gate in self:
            scales.append(cast(Gate, gate).scale(x))
            x = x * scales[-1]
        return reduce(torch.mul, scales)


class Block(SingleInputLayer):
    """A mechanism that replaces its input and may change the number of channels: y = mix(x).

    Args:
        channels: Channels of the input.
        out_channels: Channels of the output; None keeps those of the input.
        init: "paper", or "identity" if the number of channels does not change.

    Shape:
        x: (B, C, H, W), y: (B, out_channels, H, W).

    Raises:
        ValueError: An argument is out of range, or `init` is "identity" and the number of channels changes.
    """

    def __init__(self, channels: int, *, out_channels: int | None = None, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.out_channels = channels if out_channels is None else out_channels
        check_integer(self, out_channels=self.out_channels)
        valid = f"init=paper, because the identity cannot change {channels} channels to {out_channels}"
        check(self, init == "paper" or self.out_channels == channels, "init", init, valid)

    def mix(self, x: Tensor) -> Tensor:
        """Return f(x), of the height and width of x."""
        raise NotImplementedError  # abstract

    def forward(self, x: Tensor) -> Tensor:
        """Mix x, faded in from the identity with init="identity"."""
        self.check_input(x)
        return self.fade_in(x, self.mix(x))


class Mixer(Block):
    """A mechanism that replaces its input by a map of the same shape: y = mix(x).

    It has no option `out_channels`, which every subclass without an `__init__` would otherwise inherit from `Block`.

    Args:
        channels: Channels of the input and of the output.
        init: "paper" as published, or "identity" to begin as y = x.

    Shape:
        x: (B, C, H, W), y the same.
    """

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)


class Convolution(Block):
    """A mechanism in the place of a convolution, which may change channels and size: y = mix(x).

    Args:
        channels: Channels of the input.
        out_channels: Channels of the output; None keeps those of the input.
        kernel_size: Side of the kernel, odd.
        stride: Step between the positions of the output.
        init: "paper", or "identity" if neither channels nor size change.

    Shape:
        x: (B, C, H, W), y: (B, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ValueError: An argument is out of range, or `init` is "identity" and the shape changes.
    """

    def __init__(
        self,
        channels: int,
        *,
        out_channels: int | None = None,
        kernel_size: int = 3,
        stride: int = 1,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, out_channels=out_channels, init=init)
        check_odd(self, kernel_size=kernel_size)
        check_integer(self, stride=stride)
        valid = f"init=paper, because the identity cannot have stride {stride}"
        check(self, init == "paper" or stride == 1, "init", init, valid)
        self.kernel_size = kernel_size
        self.stride = stride

    def extra_repr(self) -> str:
        """Return the channels, the output's channels, kernel size and stride, and the initialization."""
        shape = f"{self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        return f"{self.channels}, {shape}" + (f", init={self.init!r}" if self.init != "paper" else "")


class Fusion(Layer):
    """A mechanism of several inputs that keeps the shape of the first: y = fuse(xs).

    Args:
        channels: Channels of each input.
        init: "paper" as published, or "identity" to begin as y = first input.

    Shape:
        xs: a list of (B, C_n, H_n, W_n); y the shape and dtype of the first. The computation uses a dtype that can
            represent all of them.

    Raises:
        ValueError: Not a list of positive integers, too few or too many of them, or `init` is unknown.
    """

    least = 2
    """The least number of inputs."""
    most: int | None = 2
    """The greatest number of inputs; None for any."""
    same_size = True
    """Whether all maps must have the height and width of the first."""
    can_return_levels = False
    """Whether a row may have an output for each input: the class is then called with True as its second argument."""

    channels: list[int]

    def __init__(self, channels: Sequence[int], *, init: str = "paper") -> None:
        others = {None: " or more", self.least: ""}
        count = f"{self.least}{others.get(self.most, f' to {self.most}')}"
        good = isinstance(channels, (list, tuple)) and all(map(is_positive_integer, channels))
        check(self, good, "channels", channels, f"a list of {count} positive integers, one for each input")
        enough = len(channels) >= self.least and (self.most is None or len(channels) <= self.most)
        check(self, enough, "channels", channels, f"{count} inputs")
        super().__init__(channels[0], init=init)
        self.channels = list(channels)

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return f(xs), of the shape of the first input."""
        raise NotImplementedError  # abstract

    def forward(self, xs: list[Tensor]) -> Tensor:
        """Fuse the inputs, faded in from the first one with init="identity"."""
        self.check_inputs(xs)
        return self.fade_in(xs[0], self.fuse(one_dtype(xs)))

    def check_inputs(self, xs: list[Tensor]) -> None:
        """Raise UserError, a ValueError, unless xs are maps of this layer's channels and, if required, of one size."""
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return  # shapes are tensors during a trace, and were checked before it
        if not isinstance(xs, (list, tuple)) or len(xs) != len(self.channels):
            raise _input_error(self, f"expects a list of {len(self.channels)} tensors, got {_describe(xs)}")
        for n, (x, channels) in enumerate(zip(xs, self.channels, strict=True)):
            if x.ndim != MAP_RANK or x.shape[1] != channels:
                raise _input_error(self, f"expects (B, {channels}, H, W) as input {n}, got {tuple(x.shape)}")
        sizes = [tuple(x.shape[2:]) for x in xs]
        if self.same_size and any(size != sizes[0] for size in sizes):
            raise _input_error(self, f"the inputs have sizes {sizes}; resize them with nn.Upsample or a stride")


def faded(first: Tensor | int, last: Tensor, gamma: Tensor, dtype: torch.dtype) -> Tensor:
    """Return first + gamma (last - first) in the given dtype; where gamma is 0, `first` even if `last` overflows.

    Gamma keeps its own dtype, float32 under autocast, because its gradient is a sum over the map that float16 may not
    represent.
    """
    change = saturate(last - first, last.dtype, dtype)  # 0 times infinity is NaN
    return first + (gamma.view(1, -1, 1, 1) * change).to(dtype)


def _input_error(layer: nn.Module, problem: str) -> UserError:
    """Return the error for an invalid input, with the row of a layer in a model (the host numbers rows in `i`)."""
    row, message = getattr(layer, "i", None), f"{type(layer).__name__}: {problem}"
    return RowError(row, message) if isinstance(row, int) else UserError(message)


def _describe(x: Any) -> str:
    return f"{len(x)} tensors" if isinstance(x, (list, tuple)) else type(x).__name__


class Level(nn.Module):
    """One of the maps of a row that returns several.

    Args:
        number: Its number, from 0 for the first.

    Shape:
        xs: a list of maps; y: one of them.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, xs: list[Tensor]) -> Tensor:
        """Return the map."""
        return xs[self.number]

    def extra_repr(self) -> str:
        """Return the number."""
        return str(self.number)
