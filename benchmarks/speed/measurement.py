"""Measurement of one layer, alone or beside a peer, on one map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from yolo_attn.registry import LayerSpec, get_layer, list_layers

from .floor import Floor, Machine
from .peers import PEERS, Peer, available
from .products import products_of
from .shapes import Level
from .timing import interleaved, peak_bytes, quantiles

__all__ = ["MODES", "Pair", "Settings", "measure", "pairs"]

MODES = ("forward", "train")
SMALL = 12  # the side of the map on which outputs are compared


@dataclass(frozen=True)
class Settings:
    """How layers are measured.

    Attributes:
        device: Where.
        dtype: Of weights and maps.
        compiled: Whether the layers are compiled with torch.compile.
        seconds: Time of a measurement.
        products: Whether convolutions and matrix products are also measured alone.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    compiled: bool = False
    seconds: float = 1.0
    products: bool = False


@dataclass(frozen=True)
class Pair:
    """A layer and, if there is one, the peer that it is measured beside."""

    spec: LayerSpec
    peer: Peer | None = None

    def build(self, channels: int, side: int) -> dict[str, nn.Module]:
        """Build our layer, and theirs with the same weights."""
        if self.peer is None:
            torch.manual_seed(0)
            width = channels if self.spec.inputs == 1 else [channels] * self.spec.inputs
            return {"ours": self.spec.cls(width)}
        ours = self.peer.ours(channels)
        return {"ours": ours, "theirs": self.peer.theirs(ours, channels, side)}

    def difference(self, channels: int) -> float | None:
        """Return the largest difference of the outputs over the largest one; None if they need not be equal."""
        if self.peer is None or self.peer.note:
            return None
        x = torch.randn(2, channels, SMALL, SMALL, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            ours, theirs = (layer.eval()(x.clone()) for layer in self.build(channels, SMALL).values())
        return float((ours - theirs).abs().max() / theirs.abs().max())


def pairs(names: list[str], *, peers_only: bool) -> list[Pair]:
    """Return layers with each of their installed peers, or alone.

    Args:
        names: Names of layers; all if empty.
        peers_only: Whether layers without an installed peer are left out.
    """
    specs = [get_layer(name) for name in names] or [spec for spec in list_layers() if spec.built_in]
    found = []
    for spec in specs:
        beside = [Pair(spec, peer) for peer in PEERS if peer.layer == spec.name and available(peer)]
        found += beside or ([] if peers_only else [Pair(spec)])
    return found


def measure(pair: Pair, level: Level, machine: Machine, settings: Settings, *, batch: int, mode: str) -> dict[str, Any]:
    """Measure a pair.

    Args:
        pair: The pair.
        level: Width and size of the map.
        machine: The device's speed.
        settings: How to measure.
        batch: Images in the batch.
        mode: "forward", or "train" with the backward pass.

    Returns:
        Times in milliseconds and memory in megabytes of "ours" and "theirs", their "ratio" and the "floor", and times
        of the "products" of ours alone. Without "theirs" if there is no peer, or it fails.
    """
    train = mode == "train"
    layers = {
        name: layer.to(settings.device, settings.dtype).train(train)
        for name, layer in pair.build(level.channels, level.side).items()
    }
    xs = _inputs(pair.spec.inputs, level, batch, settings, train)
    runs = {name: _run(_compiled(layer, settings), xs, train) for name, layer in layers.items()}
    found: dict[str, Any] = {"layer": pair.spec.name, "level": level.name, "batch": batch, "mode": mode}
    if pair.peer is not None:
        found |= {"peer": pair.peer.name, "note": pair.peer.note, "failure": _failure(runs["theirs"])}
        if found["failure"]:
            del layers["theirs"], runs["theirs"]
    if settings.products:
        runs["products"] = products_of(runs["ours"])
    times = interleaved(runs, machine.clock, settings.seconds)
    if settings.products:
        found["products"] = quantiles(times["products"])
    for name, layer in layers.items():
        found[name] = quantiles(times[name])
        if not settings.compiled or settings.device.type == "cuda":  # live tensors are not seen in compiled code
            bytes_ = peak_bytes(runs[name], settings.device, [*layer.parameters(), *layer.buffers(), *xs])
            found[name]["peak_mb"] = round(bytes_ / 1e6, 2)
    if pair.spec.inputs == 1:
        floor = Floor.of(layers["ours"], xs[0].detach(), train=train)
        found["floor"] = {
            "ms": float(f"{floor.milliseconds(machine, xs[0].nbytes):.4g}"),
            "bytes": floor.bytes,
            "flops": floor.flops,
        }
    if "theirs" in times:
        found["ratio"] = quantiles([a / b for a, b in zip(times["ours"], times["theirs"], strict=True)])
    return found


def _failure(run: Callable[[], object]) -> str:
    """Return why a peer cannot run: a batch norm of pooled vectors cannot train on one image."""
    try:
        run()
    except ValueError as error:
        return str(error)
    return ""


def _compiled(layer: nn.Module, settings: Settings) -> Callable[..., Tensor]:
    return torch.compile(layer, dynamic=False) if settings.compiled else layer


def _inputs(count: int, level: Level, batch: int, settings: Settings, train: bool) -> list[Tensor]:
    shape = (batch, level.channels, level.side, level.side)
    generator = torch.Generator().manual_seed(0)
    made = (torch.randn(shape, generator=generator) for _ in range(count))
    return [x.to(settings.device, settings.dtype).requires_grad_(train) for x in made]


def _run(layer: Callable[..., Tensor], xs: list[Tensor], train: bool) -> Callable[[], object]:
    given = xs[0] if len(xs) == 1 else xs
    return partial(_step, layer, given, torch.ones_like(xs[0])) if train else partial(_infer, layer, given)


def _infer(layer: Callable[..., Tensor], x: Tensor | list[Tensor]) -> None:
    with torch.no_grad():
        layer(x)


def _step(layer: Callable[..., Tensor], x: Tensor | list[Tensor], cotangent: Tensor) -> None:
    parameters = layer.parameters() if isinstance(layer, nn.Module) else ()
    for tensor in (*parameters, *([x] if isinstance(x, Tensor) else x)):
        tensor.grad = None
    layer(x).backward(cotangent)
