"""What all layers share: the bases with the identity initialization, and checks that name layer, argument and cure.

Four bases cover the mechanisms:

- `Gate`: y = x * g(x). Write `gate`.
- `Chain`: several gates one after another, each seeing what the one before let through. Write none.
- `Mixer`: y = f(x), anything else that keeps the shape. Write `mix`.
- `Fusion`: y = f(x0, x1, ...), several inputs, the shape of the first. Write `fuse`.

With `init="identity"` a zero-initialized gamma, one per channel, fades the
mechanism in: y = x * (1 + gamma * (g - 1)) for gates, y = x + gamma * (f(x) - x) for mixers, so that before training
y == x exactly. Gamma stays 1-D: some optimizers treat every 2-D and 4-D parameter as a matrix to orthogonalise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import reduce
from math import gcd
from typing import Any, cast

import torch
from torch import Tensor, nn

from yolo_attn.errors import RowError, UserError
from yolo_attn.layers.numerics import one_dtype, saturate
from yolo_attn.system.files import as_yaml

__all__ = ["Chain", "Fusion", "Gate", "Mixer"]

INITS = ("paper", "identity")
MAP_RANK = 4  # batch, channels, height, width


class Layer(nn.Module):
    """Base of the bases: one input of known channels, and an initialization.

    Args:
        channels: Channels of the input.
        init: "paper" as published, or "identity" to begin as y = x.

    Raises:
        ValueError: `channels` is not a positive whole number, or `init` is unknown.
    """

    identity_at_init = False
    """Whether init="identity" needs no gamma: the published initialization, or `mix`, already begins as y = x."""

    gamma: nn.Parameter | None

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__()
        name = type(self).__name__
        check(
            isinstance(channels, int) and not isinstance(channels, bool) and channels > 0,
            name,
            "channels",
            channels,
            "one positive whole number",
        )
        check_choice(name, "init", init, INITS)
        self.channels = channels
        self.init = init
        fade_in = init == "identity" and not self.identity_at_init
        self.register_parameter("gamma", nn.Parameter(torch.zeros(channels)) if fade_in else None)

    def check_input(self, x: Tensor) -> None:
        """Raise UserError, a ValueError, unless x is a batch of maps with this layer's channels."""
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return  # shapes are tensors there, and were right before the trace began
        if not isinstance(x, Tensor):
            raise _input_error(self, f"expects one tensor (B, {self.channels}, H, W), got {_what(x)}")
        if x.ndim != MAP_RANK or x.shape[1] != self.channels:
            raise _input_error(
                self,
                f"expects (B, {self.channels}, H, W), got {tuple(x.shape)}; "
                f"build it with channels={x.shape[1] if x.ndim > 1 else '...'}",
            )

    def extra_repr(self) -> str:
        """Show the channels and the initialization, which no submodule shows."""
        return f"{self.channels}" + (f", init={self.init!r}" if self.init != "paper" else "")


class Gate(Layer):
    """A mechanism that scales its input: y = x * gate(x).

    Shape:
        x: (B, C, H, W), y the same; gate(x) broadcastable to x.
    """

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate as published, broadcastable to x."""
        raise NotImplementedError  # abstract

    def scale(self, x: Tensor) -> Tensor:
        """Return what x is multiplied by: the gate, faded in by gamma where there is one."""
        return self.fade(self.gate(x)).to(x.dtype)  # autocast may have changed it

    def fade(self, gate: Tensor) -> Tensor:
        """Return 1 + gamma (gate - 1), or the gate itself where there is no gamma."""
        return gate if self.gamma is None else _fade(1, gate, self.gamma, gate.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x by its gate."""
        self.check_input(x)
        return x * self.scale(x)


class Chain(nn.Sequential):
    """Gates one after another, each seeing what the one before let through; each has its own `init`.

    Args:
        gates: The gates by the names they get as children, in their order.
    """

    def __init__(self, **gates: Gate) -> None:
        super().__init__(OrderedDict(gates))

    def scale(self, x: Tensor) -> Tensor:
        """Return what x is multiplied by: the product of the scales, broadcastable to x."""
        scales: list[Tensor] = []
        for gate in self:
            scales.append(cast(Gate, gate).scale(x))
            x = x * scales[-1]
        return reduce(torch.mul, scales)


class Mixer(Layer):
    """A mechanism that replaces its input by something of the same shape: y = mix(x).

    Shape:
        x: (B, C, H, W), y the same.
    """

    def mix(self, x: Tensor) -> Tensor:
        """Return f(x), of the shape of x."""
        raise NotImplementedError  # abstract

    def forward(self, x: Tensor) -> Tensor:
        """Mix x, fading in from the identity with init="identity"."""
        self.check_input(x)
        y = self.mix(x)
        if self.gamma is not None:
            return _fade(x, y, self.gamma, x.dtype)
        return y.to(x.dtype)  # autocast may have changed it


class Fusion(nn.Module):
    """A mechanism of several inputs that keeps the shape of the first: y = fuse(xs).

    Args:
        channels: Channels of each input.
        init: "paper" as published, or "identity" to begin as y = first input.

    Shape:
        xs: a list of (B, C_n, H_n, W_n); y the shape and dtype of the first. They are fused in a dtype that holds all.

    Raises:
        ValueError: Not a list of positive whole numbers, too few or too many of them, or `init` is unknown.
    """

    least = 2
    """The least number of inputs."""
    most: int | None = 2
    """The greatest number of inputs; None for any."""
    same_size = True
    """Whether all maps must have the height and width of the first."""

    gamma: nn.Parameter | None

    def __init__(self, channels: Sequence[int], *, init: str = "paper") -> None:
        super().__init__()
        name = type(self).__name__
        count = str(self.least) if self.most == self.least else f"{self.least} or more"
        good = isinstance(channels, (list, tuple)) and all(
            isinstance(c, int) and not isinstance(c, bool) and c > 0 for c in channels
        )
        check(good, name, "channels", channels, f"a list of {count} positive whole numbers, one for each input")
        enough = len(channels) >= self.least and (self.most is None or len(channels) <= self.most)
        check(enough, name, "channels", channels, f"{count} inputs")
        check_choice(name, "init", init, INITS)
        self.channels = list(channels)
        self.init = init
        self.register_parameter("gamma", nn.Parameter(torch.zeros(channels[0])) if init == "identity" else None)

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return f(xs), of the shape of the first input."""
        raise NotImplementedError  # abstract

    def forward(self, xs: list[Tensor]) -> Tensor:
        """Fuse the inputs, fading in from the first one with init="identity"."""
        self.check_inputs(xs)
        first = xs[0]
        y = self.fuse(one_dtype(xs))
        if self.gamma is not None:
            return _fade(first, y, self.gamma, first.dtype)
        return y.to(first.dtype)  # autocast may have changed it

    def check_inputs(self, xs: list[Tensor]) -> None:
        """Raise UserError, a ValueError, unless xs are maps of this layer's channels, of one size where it asks."""
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return  # shapes are tensors there, and were right before the trace began
        if not isinstance(xs, (list, tuple)) or len(xs) != len(self.channels):
            raise _input_error(self, f"expects a list of {len(self.channels)} tensors, got {_what(xs)}")
        for n, (x, channels) in enumerate(zip(xs, self.channels, strict=True)):
            if x.ndim != MAP_RANK or x.shape[1] != channels:
                raise _input_error(self, f"expects (B, {channels}, H, W) as input {n}, got {tuple(x.shape)}")
        sizes = [tuple(x.shape[2:]) for x in xs]
        if self.same_size and any(size != sizes[0] for size in sizes):
            raise _input_error(self, f"the inputs have sizes {sizes}; bring them to one, with nn.Upsample or a stride")

    def extra_repr(self) -> str:
        """Show the channels and the initialization, which no submodule shows."""
        return f"{self.channels}" + (f", init={self.init!r}" if self.init != "paper" else "")


def check(condition: bool, layer: str, argument: str, value: Any, cure: str) -> None:
    """Raise ValueError "Layer: argument=value; use cure" unless the condition holds; the value as a YAML holds it."""
    if not condition:
        raise ValueError(f"{layer}: {argument}={as_yaml(value)}; use {cure}")


def check_choice(layer: str, argument: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ValueError unless the value is one of the choices."""
    choices = tuple(choices)
    check(value in choices, layer, argument, value, " or ".join(map(as_yaml, choices)))


def check_positive(layer: str, **values: float) -> None:
    """Raise ValueError for the first value that is not a number above zero."""
    for argument, value in values.items():
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        check(good, layer, argument, value, "a number above 0")


def check_whole(layer: str, **values: int) -> None:
    """Raise ValueError for the first value that is not a whole number of at least 1."""
    for argument, value in values.items():
        check(is_whole(value), layer, argument, value, "a whole number of at least 1")


def check_odd(layer: str, **values: int) -> None:
    """Raise ValueError for the first kernel size that is not odd (an even one would shift the map)."""
    for argument, value in values.items():
        check(is_whole(value) and value % 2 == 1, layer, argument, value, "an odd whole number, such as 3 or 7")


def check_odd_list(layer: str, example: Sequence[int], **values: Sequence[int]) -> None:
    """Raise ValueError for the first value that is not a list of odd kernel sizes."""
    for argument, value in values.items():
        listed = isinstance(value, (list, tuple)) and len(value) > 0
        good = listed and all(is_whole(kernel) and kernel % 2 == 1 for kernel in value)
        check(good, layer, argument, value, f"a list of odd whole numbers, such as {as_yaml(example)}")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_flag(layer: str, **values: bool) -> None:
    """Raise ValueError for the first value that is not true or false."""
    for argument, value in values.items():
        check(isinstance(value, bool), layer, argument, value, "true or false")


def hidden_width(channels: int, reduction: float, minimum: int = 1) -> int:
    """Return channels / reduction rounded down, as published code does, but never less than `minimum`.

    With few channels that code would make a bottleneck of width zero, whose gate is a constant.
    """
    return max(minimum, int(channels // reduction))


def fitting_groups(channels: int, groups: int) -> int:
    """Return the largest group count that divides both channels and the wanted number of groups."""
    return gcd(channels, groups)


def _fade(first: Tensor | int, last: Tensor, gamma: Tensor, dtype: torch.dtype) -> Tensor:
    """Return first + gamma (last - first) in the given dtype; where gamma is 0, `first` even if `last` overflows.

    Gamma keeps its own type, under autocast float32: its gradient is a sum over the map, which float16 may not hold.
    """
    change = saturate(last - first, last.dtype, dtype)  # 0 times infinity is NaN
    return first + (gamma.view(1, -1, 1, 1) * change).to(dtype)


def _input_error(layer: nn.Module, fault: str) -> UserError:
    """Return what to raise for a wrong input, with the row of a layer in a model (the host numbers rows in `i`)."""
    row, message = getattr(layer, "i", None), f"{type(layer).__name__}: {fault}"
    return RowError(row, message) if isinstance(row, int) else UserError(message)


def _what(x: Any) -> str:
    return f"{len(x)} tensors" if isinstance(x, (list, tuple)) else type(x).__name__
