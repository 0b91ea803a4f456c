"""The costs of candidates, measured once and kept in a file.

Parameters and operations are those of the model as deployed, with batch norms fused. The latency is the median ratio to
the base, which takes turns with a few candidates at a time in one process. Candidates near the limit get more turns.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolo_attn.errors import UserError, counted, one_line
from yolo_attn.graph.placed_layers import parse_placed_layers
from yolo_attn.selection.candidates import Candidate
from yolo_attn.selection.limits import Limits
from yolo_attn.selection.records import Costs
from yolo_attn.study.running.key import package_versions
from yolo_attn.study.running.layer_code import layer_code
from yolo_attn.system.files import as_json, read_json, write_atomically

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["measure_costs"]

_VERSION = 1  # of the stored file
_GROUP = 8  # candidates that take turns with the base
_WARM_UP = 1  # after the pass in which operations are counted
_STEP = 5  # rounds at a time
_ROUNDS, _MOST_ROUNDS = 10, 60
_SECONDS = 5.0  # of one candidate, after which it gets no more than the usual rounds
_FAR = 1.5  # times the limit or, without one, the base: the exact ratio does not matter
_BASE = ""  # name of the base among candidates
_EVERY = 30.0  # seconds between lines
_DEFAULT_CLASSES = 80


def measure_costs(
    base: str,
    candidates: Sequence[Candidate],
    file: Path,
    *,
    imgsz: int,
    device: str | None,
    threads: int,
    needs: Collection[str] = (),
    limits: Limits | None = None,
    classes: int | None = None,
    log: Callable[[str], None],
) -> tuple[Costs, dict[str, Costs]]:
    """Measure the costs of a base and of candidates; those in the file are not measured again.

    The file is written after every few candidates, so an interrupted measurement continues.

    Args:
        base: A model YAML's name or a checkpoint.
        candidates: The candidates.
        file: The file with the costs, which is made unless it exists.
        imgsz: Height and width of the image in pixels, rounded up to the model's stride.
        device: As in `profile`.
        threads: CPU threads.
        needs: The costs to measure besides parameters and operations: "latency", "memory".
        limits: The limits, whose costs are measured too.
        classes: Number of classes of the dataset; by default that of the base.
        log: Prints a line.

    Returns:
        The costs of the base, and those of the candidates by name. A candidate that cannot be built has an error.

    Raises:
        UserError: The base or device does not exist, or the file cannot be written.
    """
    from yolo_attn.analysis.models import find_device
    from yolo_attn.host.documents import model_yaml
    from yolo_attn.host.timing import torch_threads

    limits = limits or Limits()
    document = _without_path(model_yaml(base))
    models, found = _documents(document, candidates)
    bench = _Bench(document, imgsz, find_device(device), classes, frozenset(needs) | limits.needs, limits)
    stored = _Stored(file, bench.key(threads), log)
    with torch_threads(threads):
        own = stored.find(document, bench.needs) or stored.add(document, bench.measure_base())
        found |= {name: costs for name, model in models.items() if (costs := stored.find(model, bench.needs))}
        due = {name: model for name, model in models.items() if name not in found}
        if due:
            what = ", ".join(["parameters", "operations", *sorted(bench.needs - {"params", "gflops"})])
            log(f"costs: {counted(len(due), 'candidate')}, {what} at {imgsz} pixels ...")
        said = time.monotonic()
        for names in _groups(due):
            measured = bench.measure_group({name: due[name] for name in names}, own)
            for name, costs in measured.items():
                found[name] = stored.add(due[name], costs)
            stored.write()
            if time.monotonic() - said > _EVERY:
                said = time.monotonic()
                log(f"costs: {sum(name in found for name in due)} of {len(due)}")
    stored.write()
    bench.release_memory()
    return own, {candidate.name: found[candidate.name] for candidate in candidates}


def _documents(
    base: dict[str, Any], candidates: Sequence[Candidate]
) -> tuple[dict[str, dict[str, Any]], dict[str, Costs]]:
    """Return the candidates' model YAMLs by name, and the errors of those that have none."""
    from yolo_attn.host.documents import with_layers

    documents: dict[str, dict[str, Any]] = {}
    errors: dict[str, Costs] = {}
    for candidate in candidates:
        try:
            documents[candidate.name] = with_layers(base, parse_placed_layers(candidate.name))
        except UserError as error:
            errors[candidate.name] = Costs(error=one_line(error))
    return documents, errors


def _without_path(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model YAML without the path it was read from, on which no cost depends."""
    return {key: value for key, value in document.items() if key != "yaml_file"}


def _groups(names: Collection[str]) -> Iterator[list[str]]:
    given = list(names)
    return (given[start : start + _GROUP] for start in range(0, len(given), _GROUP))


# --- measurement ----------------------------------------------------------------------------------------------------


@dataclass
class _Bench:
    """What candidates are measured with.

    Args:
        document: The model YAML of the base.
        imgsz: Height and width of the image.
        device: The device.
        classes: Number of classes; None for that of the base.
        needs: The costs to measure.
        limits: The limits.
    """

    document: dict[str, Any]
    imgsz: int
    device: torch.device
    classes: int | None
    needs: frozenset[str]
    limits: Limits
    _base: nn.Module | None = field(default=None, init=False)

    def key(self, threads: int) -> list[object]:
        """Return everything that the costs depend on besides the model and the code of its custom layers."""
        from yolo_attn.analysis.models import processor_name

        machine = [str(self.device), processor_name(self.device), threads]
        return [_VERSION, self.document, self.imgsz, self.classes, *machine, package_versions()]

    def measure_base(self) -> Costs:
        """Return the costs of the base.

        Raises:
            UserError: It cannot be built or run.
        """
        try:
            costs = self._costs_of(self.base)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the base cannot be built or run: {one_line(error)}") from error
        if "latency" not in self.needs:
            return costs
        milliseconds = self._take_turns({_BASE: self.base}, _ROUNDS)[_BASE]
        return dataclasses.replace(costs, latency_ms=float(np.median(milliseconds)), latency_ratio=1.0)

    def measure_group(self, documents: Mapping[str, dict[str, Any]], base: Costs) -> dict[str, Costs]:
        """Return the costs of a few candidates.

        Args:
            documents: Their model YAMLs by name.
            base: The costs of the base.
        """
        models: dict[str, nn.Module] = {}
        found: dict[str, Costs] = {}
        for name, document in documents.items():
            try:
                models[name] = self._build(document)
                found[name] = self._costs_of(models[name])
            except Exception as error:
                models.pop(name, None)
                found[name] = Costs(error=one_line(error))
        if "latency" in self.needs and base.latency_ms is not None:
            bound = self.limits.largest_latency_ratio(base.latency_ms)
            for name, ratio in self._latency_ratios(models, bound).items():
                milliseconds = ratio * base.latency_ms
                found[name] = dataclasses.replace(found[name], latency_ms=milliseconds, latency_ratio=ratio)
        return found

    def release_memory(self) -> None:
        """Return the memory of the models and of the device, which the runs need."""
        import torch

        self._base = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def base(self) -> nn.Module:
        """The base as deployed, built once."""
        if self._base is None:
            self._base = self._build(self.document)
        return self._base

    def _build(self, document: dict[str, Any]) -> nn.Module:
        """Return a model as deployed."""
        from yolo_attn.analysis.models import deploy
        from yolo_attn.host.initialization import build_model
        from yolo_attn.host.model_kind import task_of

        given = document.get("nc")
        classes = self.classes or (given if isinstance(given, int) else _DEFAULT_CLASSES)
        return deploy(build_model(document, task_of(document), classes), self.device)

    def _costs_of(self, model: nn.Module) -> Costs:
        """Return the costs of one model other than its latency, after which it is warm."""
        import torch

        from yolo_attn.analysis.flops import count_flops
        from yolo_attn.analysis.memory import peak_memory

        image = self._image()
        gflops = count_flops(model, image) / 1e9
        if "latency" in self.needs:
            with torch.no_grad():
                for _ in range(_WARM_UP):
                    model(image)
        return Costs(
            params=sum(parameter.numel() for parameter in model.parameters()),
            gflops=gflops,
            memory_mib=float(peak_memory(model, image)["mib"]) if "memory" in self.needs else None,
        )

    def _image(self) -> torch.Tensor:
        import torch

        from yolo_attn.analysis.models import fitting_side, input_channels

        side = fitting_side(self.base, self.imgsz)
        image = torch.rand(1, input_channels(self.base), side, side, generator=torch.Generator().manual_seed(0))
        return image.to(self.device)

    def _take_turns(self, models: Mapping[str, nn.Module], rounds: int) -> dict[str, list[float]]:
        from yolo_attn.analysis.latency import take_turns

        return take_turns(models, self._image(), rounds)

    def _latency_ratios(self, models: Mapping[str, nn.Module], bound: float | None) -> dict[str, float]:
        """Return the median ratios of models to the base.

        Args:
            models: The models by name.
            bound: The largest allowed ratio; None without a limit.
        """
        times: dict[str, list[float]] = {name: [] for name in (_BASE, *models)}
        unknown = list(models)
        while unknown:
            turns = {_BASE: self.base, **{name: models[name] for name in unknown}}
            for name, milliseconds in self._take_turns(turns, _STEP).items():
                times[name] += milliseconds
            unknown = [name for name in unknown if not _is_known(times[name], times[_BASE], bound)]
        return {name: float(np.median(_ratios(times[name], times[_BASE]))) for name in models}


def _ratios(times: Sequence[float], base: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the ratios of a candidate's times to those of the base in the same rounds, in order of size."""
    return np.sort(np.array(times) / np.array(base[: len(times)]))


def _is_known(times: Sequence[float], base: Sequence[float], bound: float | None) -> bool:
    """Return whether a candidate's ratio is known well enough, or it has had its most rounds.

    Args:
        times: Its milliseconds in each round.
        base: Those of the base.
        bound: The largest allowed ratio; None without a limit.
    """
    ratios, rounds = _ratios(times, base), len(times)
    beyond = max(0, int(rounds / 2 - rounds**0.5))  # ranks outside a 95 % interval of the median
    low, high = ratios[beyond], ratios[rounds - 1 - beyond]
    if low > _FAR * (bound or 1.0):
        return True
    if rounds < _ROUNDS:
        return False
    decided = bound is None or not low <= bound <= high
    return decided or rounds >= _MOST_ROUNDS or sum(times) > 1000 * _SECONDS


# --- the file -------------------------------------------------------------------------------------------------------


class _Stored:
    """The costs in a file, by the hash of everything that they depend on; a damaged file is measured again.

    Args:
        file: The file.
        key: What all costs depend on.
        log: Prints a line.
    """

    def __init__(self, file: Path, key: list[object], log: Callable[[str], None]) -> None:
        self._file, self._key, self._changed = file, key, False
        try:
            self._costs = _read(file)
        except UserError:
            self._costs = {}
            log(f"{file}: damaged; the costs are measured again")

    def find(self, document: Mapping[str, Any], needs: Collection[str]) -> Costs | None:
        """Return the stored costs of a model; None if one of those needed is missing."""
        found = self._costs.get(self._hash(document))
        if found is None or found.params is None or found.gflops is None:
            return None
        has = {"latency": found.latency_ms and found.latency_ratio, "memory": found.memory_mib}
        return None if any(need in needs and value is None for need, value in has.items()) else found

    def add(self, document: Mapping[str, Any], costs: Costs) -> Costs:
        """Keep the costs of a model and return them; an error, which may pass, is not kept."""
        if costs.error is None:
            self._costs[self._hash(document)], self._changed = costs, True
        return costs

    def write(self) -> None:
        """Write the file if something was added."""
        if self._changed:
            write_atomically(self._file, as_json({"version": _VERSION, "costs": self._costs}))
            self._changed = False

    def _hash(self, document: Mapping[str, Any]) -> str:
        text = json.dumps([self._key, _without_path(document), layer_code(document)], sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(file: Path) -> dict[str, Costs]:
    """Return the stored costs, none of a file of another version.

    Raises:
        UserError: The file is damaged.
    """
    if not file.exists():
        return {}
    content = read_json(file)
    if content.get("version") != _VERSION:
        return {}
    try:
        return {key: _costs(entry) for key, entry in content["costs"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{file}: damaged") from error


def _costs(entry: Mapping[str, object]) -> Costs:
    """Return costs from a file.

    Raises:
        TypeError: A value is not a number, or not that of a cost.
    """
    for name, value in entry.items():
        if name != "error" and value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise TypeError(name)
    return Costs(**entry)  # type: ignore[arg-type]
