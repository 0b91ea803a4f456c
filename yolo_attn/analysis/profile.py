"""Cost of models: parameters, operations, latency and memory, row by row and side by side."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import nn

from yolo_attn.analysis.flops import count_flops, flop_counter
from yolo_attn.analysis.latency import ROUNDS, measure_latency, synchronize
from yolo_attn.analysis.memory import peak_memory
from yolo_attn.analysis.models import (
    attention_layers,
    deploy,
    find_device,
    fitting_side,
    input_channels,
    network_of,
    row_name,
    rows,
    short_name,
)
from yolo_attn.errors import UserError
from yolo_attn.tables import align, html_table

__all__ = [
    "Profile",
    "Profiles",
    "RowCost",
    "as_dicts",
    "as_text",
    "count_flops",
    "measure_latency",
    "profile",
    "profile_all",
]

_ROW_PASSES = 10
_MAP_RANK = 4  # batch, channels, height, width


@dataclass(frozen=True)
class RowCost:
    """Cost of one row.

    Args:
        row: Index in the model YAML.
        module: Its name there, with the attention layers inside it.
        attention: Whether it is or contains an attention layer.
        params: Parameters, as trained.
        gflops: Billions of operations for one image, as deployed.
        shape: Shape of its output, or of the first of several tensors.
        stride: Image height over map height; None if the output is not a map.
        time_share: Its share of the total time of the rows, as deployed.
    """

    row: int
    module: str
    attention: bool
    params: int
    gflops: float
    shape: tuple[int, ...] | None
    stride: float | None
    time_share: float


@dataclass(frozen=True)
class Profile:
    """Cost of a model for one image of a given size.

    Args:
        name: The model.
        imgsz: Height and width of the image.
        params: Parameters as trained, as printed by Ultralytics before training.
        params_fused: Parameters as deployed, with batch norms fused and without training-only parts.
        gflops: Billions of operations as deployed, two for a multiply-add (see `flops`).
        latency_ms: Result of `measure_latency`: median, p10, p90, device, processor, threads, rounds.
        memory: Result of `peak_memory`: mib, measure.
        rows: Cost of each row.
    """

    name: str
    imgsz: int
    params: int
    params_fused: int
    gflops: float
    latency_ms: Mapping[str, Any]
    memory: Mapping[str, Any]
    rows: tuple[RowCost, ...] = field(repr=False)

    def _repr_html_(self) -> str:
        return Profiles((self,))._repr_html_()


@dataclass(frozen=True, repr=False)
class Profiles(Sequence[Profile]):
    """Cost of one or more models; the others are compared with the first.

    Args:
        models: Their profiles, measured in turn.
    """

    models: tuple[Profile, ...]

    def __len__(self) -> int:
        return len(self.models)

    @overload
    def __getitem__(self, index: int) -> Profile: ...

    @overload
    def __getitem__(self, index: slice) -> Profiles: ...

    def __getitem__(self, index: int | slice) -> Profile | Profiles:
        return Profiles(self.models[index]) if isinstance(index, slice) else self.models[index]

    def __str__(self) -> str:
        return as_text(self.models)

    def __repr__(self) -> str:
        return f"<Profiles of {', '.join(found.name for found in self.models)}>"

    def _repr_html_(self) -> str:
        single = len(self.models) == 1
        by_row = html_table(_row_cells(self.models[0]), left=(1, 4)) if single else ""
        return by_row + html_table(_figure_cells(self.models), (0,), _notes(self.models[0], rows_shown=single))

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary for each model, with its ratios to the first."""
        return [_figures(found, self.models[0]) for found in self.models]

    def to_dict(self) -> dict[str, Any]:
        """Return the complete profiles by name, with their rows."""
        return {found.name: dataclasses.asdict(found) for found in self.models}


def profile(
    model: str | Path | nn.Module, imgsz: int = 640, *, device: str | None = None, rounds: int = ROUNDS
) -> Profile:
    """Measure the cost of one model.

    Args:
        model: A model YAML, a checkpoint, a base with layers at sites, a network or a `YOLO(...)`.
        imgsz: Height and width of the image, rounded up to the model's stride.
        device: "cpu", "0", "mps"; None for the first GPU, or the CPU if there is none.
        rounds: Measured passes for the latency.

    Raises:
        UserError: The model or device does not exist.
    """
    name = "model" if isinstance(model, nn.Module) else short_name(model)
    return profile_all({name: network_of(model)}, imgsz, device=device, rounds=rounds)[0]


def profile_all(
    models: Mapping[str, nn.Module],
    imgsz: int = 640,
    *,
    device: str | None = None,
    rounds: int = ROUNDS,
    progress: Callable[[int, int], None] | None = None,
) -> list[Profile]:
    """Measure the cost of several models, with latencies in turn.

    Args:
        models: Networks by name; they are not modified.
        imgsz: Height and width of the image, rounded up to the models' stride.
        device: As in `profile`.
        rounds: Measured passes of each model.
        progress: Called with (rounds done, rounds).

    Raises:
        UserError: The device does not exist, or the models take different numbers of channels.
    """
    target = find_device(device)
    channels = {input_channels(model) for model in models.values()}
    if len(channels) > 1:
        raise UserError(f"the models take different numbers of channels: {', '.join(map(str, sorted(channels)))}")
    side = max(fitting_side(model, imgsz) for model in models.values())
    shape = (channels.pop(), side, side)
    latency = measure_latency(models, shape, rounds=rounds, device=target, progress=progress)
    return [_profile(name, model, shape, target, latency[name]) for name, model in models.items()]


def _profile(
    name: str, model: nn.Module, shape: tuple[int, int, int], device: torch.device, latency: Mapping[str, Any]
) -> Profile:
    image = torch.zeros(1, *shape, device=device)
    deployed = deploy(model, device)
    costs, total = _count_rows(deployed, image)
    shares = _time_rows(deployed, image)
    trained = rows(model)
    return Profile(
        name=name,
        imgsz=shape[1],
        params=_count(model),
        params_fused=_count(deployed),
        gflops=total / 1e9,
        latency_ms=latency,
        memory=peak_memory(deployed, image),
        rows=tuple(
            RowCost(
                row=i,
                module=row_name(module),
                attention=bool(attention_layers(module)),
                params=_count(module),
                gflops=flops / 1e9,
                shape=output,
                stride=shape[1] / output[2] if output is not None and len(output) == _MAP_RANK else None,
                time_share=share,
            )
            for i, (module, (flops, output), share) in enumerate(zip(trained, costs, shares, strict=True))
        ),
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _count_rows(model: nn.Module, image: torch.Tensor) -> tuple[list[tuple[int, tuple[int, ...] | None]], int]:
    """Return operations and output shape of each row, and the total operations."""
    found: list[tuple[int, tuple[int, ...] | None]] = [(0, None)] * len(rows(model))
    before = [0]

    with torch.no_grad(), flop_counter() as counter:

        def start(row: int) -> None:
            before[0] = counter.get_total_flops()

        def end(row: int, output: Any) -> None:
            found[row] = (int(counter.get_total_flops()) - before[0], _shape(output))

        with _around_rows(model, start, end):
            model(image)
        return found, counter.get_total_flops()


def _time_rows(model: nn.Module, image: torch.Tensor) -> list[float]:
    """Return each row's share of the time, from medians over several passes."""
    seconds = np.zeros((_ROW_PASSES + 1, len(rows(model))))
    began = [0.0]
    turn = 0

    def start(row: int) -> None:
        synchronize(image.device)
        began[0] = time.perf_counter()

    def end(row: int, output: Any) -> None:
        synchronize(image.device)
        seconds[turn, row] = time.perf_counter() - began[0]

    with torch.no_grad(), _around_rows(model, start, end):
        for turn in range(_ROW_PASSES + 1):  # noqa: B007 (read by `end`)
            model(image)
    medians = np.median(seconds[1:], axis=0)  # the first pass warms up
    return [float(share) for share in medians / medians.sum()]


@contextmanager
def _around_rows(model: nn.Module, start: Callable[[int], None], end: Callable[[int, Any], None]) -> Iterator[None]:
    """Call `start(row)` before and `end(row, output)` after each row, by temporary hooks."""
    handles = []
    for i, module in enumerate(rows(model)):
        handles.append(module.register_forward_pre_hook(lambda _, __, i=i: start(i)))
        handles.append(module.register_forward_hook(lambda _, __, output, i=i: end(i, output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shape(output: Any) -> tuple[int, ...] | None:
    """Return the shape of an output, or of the first of several tensors."""
    tensors = [x for x in torch.utils._pytree.tree_leaves(output) if isinstance(x, torch.Tensor)]
    return tuple(tensors[0].shape) if tensors else None


# --- output ------------------------------------------------------------------------------------------------------


def as_dicts(profiles: Sequence[Profile]) -> list[dict[str, Any]]:
    """Return profiles as plain data, for programs."""
    return [dataclasses.asdict(found) for found in profiles]


def as_text(profiles: Sequence[Profile]) -> str:
    """Return profiles as text tables: one model row by row, several side by side with ratios to the first."""
    first = profiles[0]
    lines = [align(_row_cells(first), left=(1, 4)), ""] if len(profiles) == 1 else []
    lines += [align(_figure_cells(profiles), left=(0,)), "", *_notes(first, rows_shown=len(profiles) == 1)]
    return "\n".join(lines)


def _row_cells(found: Profile) -> list[tuple[str, ...]]:
    header = ("row", "module", "params", "GFLOPs", "output", "stride", "time")
    body = [
        (
            f"{'*' if r.attention else ' '}{r.row}",
            r.module,
            f"{r.params:,}",
            f"{r.gflops:.4f}",
            "-" if r.shape is None else " x ".join(map(str, r.shape[1:])),
            "-" if r.stride is None else f"{r.stride:g}",
            f"{100 * r.time_share:.1f} %",
        )
        for r in found.rows
    ]
    return [header, *body]


_FIGURES: tuple[tuple[str, Callable[[Profile], float], str], ...] = (
    ("parameters, as trained", lambda p: p.params, "{:,}"),
    ("parameters, fused", lambda p: p.params_fused, "{:,}"),
    ("GFLOPs", lambda p: p.gflops, "{:.3f}"),
    ("latency, median ms", lambda p: p.latency_ms["median"], "{:.2f}"),
    ("latency, p10 ms", lambda p: p.latency_ms["p10"], "{:.2f}"),
    ("latency, p90 ms", lambda p: p.latency_ms["p90"], "{:.2f}"),
    ("peak memory, MiB", lambda p: p.memory["mib"], "{:.1f}"),
)


def _figure_cells(profiles: Sequence[Profile]) -> list[tuple[str, ...]]:
    first, *others = profiles
    lines = [(f"{first.imgsz} x {first.imgsz}", first.name, *(cell for p in others for cell in (p.name, "ratio")))]
    for label, value, show in _FIGURES:
        base = value(first)
        more = (cell for p in others for cell in (show.format(value(p)), f"{value(p) / base:.3f}" if base else "-"))
        lines.append((label, show.format(base), *more))
    return lines


def _figures(found: Profile, first: Profile) -> dict[str, Any]:
    """Return the cost of a model as one row of a table, with ratios to the first."""
    latency, memory = found.latency_ms["median"], found.memory["mib"]
    plain = {key: getattr(found, key) for key in ("name", "imgsz", "params", "params_fused", "gflops")}
    ratios = {
        "params_ratio": found.params / first.params if first.params else None,
        "gflops_ratio": found.gflops / first.gflops if first.gflops else None,
        "latency_ratio": latency / first.latency_ms["median"],
    }
    return {**plain, "latency_ms": latency, "memory_mib": memory, **ratios}


def _notes(found: Profile, *, rows_shown: bool) -> list[str]:
    about = found.latency_ms
    threads = f", {about['threads']} thread{'s' * (about['threads'] != 1)}" if about["device"] == "cpu" else ""
    lines = [
        f"Latency: one image through the fused model in float32 on {about['device']} ({about['processor']}{threads}), "
        f"{about['rounds']} rounds, models in turn; without reading the image and without non-maximum suppression.",
        "GFLOPs: counted while the fused model runs, 2 per multiply-add; convolutions, linear layers, matrix products "
        "and attention, without elementwise operations.",
        f"Memory: peak of {found.memory['measure']}, weights included.",
    ]
    return [*(["* rows with attention layers; time: share of the rows' time."] if rows_shown else []), *lines]
