"""A run's job (`run.json`) and its result (`result.json`), with reading, writing and validation.

The process that plans a study and the process that trains a run exchange these two files and nothing else. A study may
come from someone else, so values of a result are validated on reading: a value of the wrong form becomes None. A seal
shows whether this user's processes made a result (`security/seal.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from yolo_attn.errors import UserError
from yolo_attn.security.seal import is_sealed, seal
from yolo_attn.study.files import BOOTSTRAP, JOB, LOG, OUTPUTS, RESULT
from yolo_attn.system.files import as_json, file_hash, plain_value, read_json, write_atomically

__all__ = [
    "MAX_LAG",
    "STATUSES",
    "Inputs",
    "Job",
    "Measurements",
    "Platform",
    "RunResult",
    "RunSettings",
    "RunState",
    "Scores",
    "is_own_result",
    "lags",
    "read_key",
]

STATUSES = ("waiting", "running", "done", "failed", "interrupted")
"""The states of a run; "done" and "failed" have a result."""

Scores = Mapping[str, float | None]
"""Values by name of a metric or class; None where a value is undefined."""

MAX_LAG = 2.0
"""Lag in standard deviations above which batch norms lag; healthy ones have about 1 or less."""

_FINISHED = ("done", "failed")
_FILES, _SEAL = "files", "seal"
_SEALED = tuple(name for name in OUTPUTS if name not in (LOG, BOOTSTRAP, RESULT))  # the bootstrap has its own seal
_INPUTS_SCHEMA = 1
_MAX_NUMBER = 1e18  # larger than any time or size
_MOST_THREADS = 1024  # PyTorch crashes if it cannot start them
_MAX_TIME = 4e9  # seconds since 1970
_Kind = TypeVar("_Kind")


# --- the job --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Platform:
    """The part of a run's environment that its result depends on.

    Args:
        versions: Versions of yolo-attn, Ultralytics and torch.
        device: Kind of device: "cpu", "cuda", "mps", ....
        threads: CPU threads of a run. The order of sums, and so the result, depends on it.
        devices: Devices that a run is trained on.
    """

    versions: Mapping[str, str]
    device: str
    threads: int
    devices: int = 1

    def differences(self, installed: Mapping[str, str]) -> Iterator[tuple[str, str | None, str | None]]:
        """Yield the packages of which another version is installed, with both versions; None for a missing one.

        Args:
            installed: The installed versions.

        Yields:
            The package, its version in this platform, and the installed one.
        """
        for package in dict.fromkeys([*installed, *self.versions]):
            if self.versions.get(package) != installed.get(package):
                yield package, self.versions.get(package), installed.get(package)

    @classmethod
    def from_json(cls, content: Mapping[str, object], source: str) -> Platform:
        """Read a platform from the content of a `store.json` or of the inputs in a `run.json`.

        Raises:
            UserError: A value is missing or has the wrong type.
        """
        take = _Taker(content, source)
        threads = take("threads", int)
        if not 1 <= threads <= _MOST_THREADS:
            raise UserError(f"{source}: damaged ('threads' is not between 1 and {_MOST_THREADS})")
        return cls(take("versions", dict), take("device", str), threads, take("devices", int, 1))


@dataclass(frozen=True)
class Inputs:
    """Everything that a run's result depends on; the run's key is a hash of it.

    Args:
        data: Hash of the dataset.
        recipe: Ultralytics' training keys.
        platform: Versions, device and threads.
        model: The model YAML.
        weights: Hash of the checkpoint that training starts from, or the key of the run that trains it; None without.
        seed: The seed.
        layers: Hashes of the code of its layers, by name of the layer.
        lr_attention: Learning rate of attention layers, relative to that of the others.
    """

    data: str
    recipe: Mapping[str, object]
    platform: Platform
    model: Mapping[str, object]
    weights: str | None
    seed: int
    layers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    lr_attention: float = 1.0

    def to_json(self) -> dict[str, object]:
        """Return the inputs as stored in `run.json`. Any change of it changes the keys of all stored runs."""
        platform = self.platform
        several = {"devices": platform.devices} if platform.devices > 1 else {}
        return {
            "schema": _INPUTS_SCHEMA,
            "data": self.data,
            "recipe": dict(self.recipe),
            "versions": dict(platform.versions),
            "device": platform.device,
            "threads": platform.threads,
            **several,
            "model": dict(self.model),
            "weights": self.weights,
            "seed": self.seed,
            **({"layers": dict(self.layers)} if self.layers else {}),
            **({"lr_attention": self.lr_attention} if self.lr_attention != 1 else {}),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, object], source: str) -> Inputs:
        """Read inputs from the content of a `run.json`.

        Raises:
            UserError: A value is missing or has the wrong type.
        """
        take = _Taker(content, source)
        return cls(
            data=take("data", str),
            recipe=take("recipe", dict),
            platform=Platform.from_json(content, source),
            model=take("model", dict),
            weights=take.optional("weights", str),
            seed=take("seed", int),
            layers=take("layers", dict, {}),
            lr_attention=take("lr_attention", float, 1.0),
        )


@dataclass(frozen=True)
class RunSettings:
    """Settings that a run needs and its result does not depend on.

    Args:
        task: The task of the models.
        data: The dataset.
        device: The device, as Ultralytics takes it; None lets it choose.
        weights: Path of the checkpoint that training starts from.
        trust: Whether the run may execute code stored in checkpoints and data files.
        groups: How images are grouped in the bootstrap that the run computes and caches.
    """

    task: str
    data: str
    device: str | None = None
    weights: str | None = None
    trust: bool = False
    groups: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job(RunSettings):
    """The instructions for one run: the content of `run.json`.

    Args:
        key: The run's key.
        arm: Name of its arm.
        inputs: Its inputs.
        modules: Modules of custom layers, whose files are in the run's folder.
        node: Address of the cluster node that executes the run; None on this machine.
    """

    key: str
    arm: str
    inputs: Inputs
    modules: tuple[str, ...] = ()
    node: str | None = None

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.inputs.seed

    def to_json(self) -> dict[str, object]:
        """Return the content of `run.json`."""
        return {
            "key": self.key,
            "arm": self.arm,
            "seed": self.seed,
            "task": self.task,
            "data": self.data,
            "device": self.device,
            "weights": self.weights,
            **({"trust": True} if self.trust else {}),
            **({"groups": self.groups} if self.groups is not None else {}),
            "inputs": self.inputs.to_json(),
            **({"modules": list(self.modules)} if self.modules else {}),
            **({"node": self.node} if self.node is not None else {}),
        }

    def to_text(self) -> str:
        """Return the text of `run.json`."""
        return json.dumps(self.to_json(), indent=2) + "\n"

    @classmethod
    def from_json(cls, content: Mapping[str, object], source: str = JOB) -> Job:
        """Read a job from the content of a `run.json`.

        Args:
            content: The content.
            source: The file, for error messages.

        Raises:
            UserError: A value is missing or has the wrong type.
        """
        take = _Taker(content, source)
        return cls(
            key=take("key", str),
            arm=take("arm", str),
            task=take("task", str),
            data=take("data", str),
            device=take.optional("device", str),
            weights=take.optional("weights", str),
            trust=take("trust", bool, False),
            groups=take.optional("groups", str),
            inputs=Inputs.from_json(take("inputs", dict), source),
            modules=tuple(map(str, take("modules", list, []))),
            node=take.optional("node", str),
        )

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Read the job of a run folder.

        Raises:
            UserError: It is missing or damaged.
        """
        return cls.from_json(read_json(folder / JOB), str(folder / JOB))


class _Taker:
    """Takes typed values from JSON content."""

    def __init__(self, content: Mapping[str, object], source: str) -> None:
        self._content, self._source = content, source

    def __call__(self, key: str, kind: type[_Kind], default: _Kind | None = None) -> _Kind:
        value = self._content.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UserError(f"{self._source}: damaged ({key!r} is missing or is not of type {kind.__name__})")
        return value

    def optional(self, key: str, kind: type[_Kind]) -> _Kind | None:
        return None if self._content.get(key) is None else self(key, kind)


def read_key(folder: Path) -> str | None:
    """Return the key in a folder's `run.json`, None without the file; older versions' files have a key as well.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / JOB
    return _text(read_json(path).get("key")) if path.is_file() else None


# --- the result -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurements:
    """Measurements of a done run; None for a value that is unknown.

    Args:
        seconds: Time of training, including earlier attempts that it resumed from.
        epochs: Trained epochs.
        metrics: Metrics of last.pt.
        metrics_best: Metrics of best.pt.
        metrics_ultralytics: Metrics of last.pt from Ultralytics' validator.
        per_class: Main metric by class.
        learnt: Whether the predictions are better than chance.
        images: Images of the evaluated split.
        instances: Labels in them.
        params: Parameters of the model.
        gflops: Operations for one image, in units of 10^9; a multiplication and an addition count as two.
        memory_mib: Peak memory in MiB: "process" and "cuda".
        environment: Python, platform, hardware, and whether training was in mixed precision.
        start: Hash of the weights that it started from (`host.checkpoint.weights_hash`); None without any.
        norm_lag: Largest lag of its batch norms on evaluated images (`analysis.norm_lag`), in standard deviations.
    """

    seconds: float | None = None
    epochs: int | None = None
    metrics: Scores | None = None
    metrics_best: Scores | None = None
    metrics_ultralytics: Scores | None = None
    per_class: Scores | None = None
    learnt: bool | None = None
    images: int | None = None
    instances: int | None = None
    params: int | None = None
    gflops: float | None = None
    memory_mib: Scores | None = None
    environment: Mapping[str, object] | None = None
    start: str | None = None
    norm_lag: float | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Measurements:
        """Read measurements from the content of a `result.json`; a value of the wrong form becomes None."""
        return cls(
            seconds=_number(content.get("seconds")),
            epochs=_count(content.get("epochs")),
            metrics=_each(_fraction, content.get("metrics")),
            metrics_best=_each(_fraction, content.get("metrics_best")),
            metrics_ultralytics=_each(_fraction, content.get("metrics_ultralytics")),
            per_class=_each(_fraction, content.get("per_class")),
            learnt=_flag(content.get("learnt")),
            images=_count(content.get("images")),
            instances=_count(content.get("instances")),
            params=_count(content.get("params")),
            gflops=_number(content.get("gflops")),
            memory_mib=_each(_number, content.get("memory_mib")),
            environment=_mapping(content.get("environment")),
            start=_text(content.get("start")),
            norm_lag=_number(content.get("norm_lag")),
        )


def lags(norm_lag: float | None) -> bool:
    """Return whether the batch norms of a run normalize with statistics that are not those of its images.

    Args:
        norm_lag: Their largest lag; None where it is unknown.
    """
    return norm_lag is not None and norm_lag > MAX_LAG


@dataclass(frozen=True)
class RunResult:
    """The result of a run that is done or has failed: the content of `result.json`.

    Args:
        key: The run's key.
        seed: The run's seed; None in a file without it.
        status: "done" or "failed".
        error: Why the run failed, in one line.
        measurements: Measurements of a done run.
        began: When the run's last attempt began, in seconds since 1970.
        wall_seconds: Duration of that attempt.
        node: Address of the cluster node that executed the run; None on this machine.
    """

    key: str | None
    seed: int | None
    status: str
    error: str | None = None
    measurements: Measurements = field(default_factory=Measurements)
    began: float | None = None
    wall_seconds: float | None = None
    node: str | None = None

    @property
    def total_seconds(self) -> float | None:
        """Duration of all attempts: the last one's, or that of training if it resumed; None if unknown."""
        known = [seconds for seconds in (self.wall_seconds, self.measurements.seconds) if seconds is not None]
        return None if self.wall_seconds is None else max(known)

    def to_json(self) -> dict[str, object]:
        """Return the content of `result.json`; a failed run has no measurements there."""
        measured = {item.name: getattr(self.measurements, item.name) for item in fields(self.measurements)}
        return {
            "key": self.key,
            "seed": self.seed,
            "status": self.status,
            "error": self.error,
            **(measured if self.status == "done" else {}),
            "began": self.began,
            "wall_seconds": self.wall_seconds,
            "node": self.node,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, object], source: str = RESULT) -> RunResult:
        """Read a result from the content of a `result.json`.

        Args:
            content: The content. Unknown keys are ignored, and a value of the wrong form becomes None.
            source: The file, for error messages.

        Raises:
            UserError: The status is neither "done" nor "failed".
        """
        status, seed = content.get("status"), content.get("seed")
        if status not in _FINISHED:
            raise UserError(f"{source}: damaged (its status is neither done nor failed)")
        return cls(
            key=_text(content.get("key")),
            seed=seed if isinstance(seed, int) else None,
            status=str(status),
            error=_text(content.get("error")),
            measurements=Measurements.from_json(content),
            began=_time(content.get("began")),
            wall_seconds=_time(content.get("wall_seconds")),
            node=_text(content.get("node")),
        )

    @classmethod
    def read(cls, folder: Path) -> RunResult:
        """Read the result in a run folder.

        Raises:
            UserError: It is missing or damaged.
        """
        return cls.from_json(read_json(folder / RESULT), str(folder / RESULT))

    def write(self, folder: Path) -> None:
        """Write `result.json` atomically, with this user's seal; a number that is not finite becomes null.

        The other files of the run come before, because the seal covers them.

        Raises:
            UserError: The disk is full or cannot be written.
        """
        content = {**self.to_json(), _FILES: _hashes(folder)}
        write_atomically(folder / RESULT, as_json({**content, _SEAL: seal(_sealed(content))}))


def is_own_result(folder: Path) -> bool:
    """Whether this user's processes made the files of a finished run; some may have been deleted since.

    Raises:
        UserError: The result is missing or damaged.
        OSError: A file cannot be read.
    """
    content = read_json(folder / RESULT)
    if not is_sealed(content.pop(_SEAL, None), _sealed(content)):
        return False
    made = content.get(_FILES)
    return isinstance(made, dict) and _hashes(folder).items() <= made.items()


def _sealed(content: Mapping[str, object]) -> bytes:
    """Return what the seal of a result covers: its content, with the hashes of the run's files."""
    return json.dumps(plain_value(content), sort_keys=True).encode()


def _hashes(folder: Path) -> dict[str, str]:
    return {name: file_hash(folder / name) for name in _SEALED if (folder / name).is_file()}


@dataclass(frozen=True)
class RunState:
    """The state of one run at some moment.

    Args:
        seed: The run's seed.
        status: One of `STATUSES`.
        folder: The run's folder, relative to the study's; None for an arm whose model cannot be built.
        error: Why the run failed or was interrupted.
        result: The result of a run that is done or has failed.
        base: Number of the pretrained base that the run starts from.
    """

    seed: int
    status: str
    folder: str | None = None
    error: str | None = None
    result: RunResult | None = None
    base: int = 0

    @property
    def measurements(self) -> Measurements:
        """The measurements of the result, all None without one."""
        return self.result.measurements if self.result else Measurements()


# --- validation -----------------------------------------------------------------------------------------------------


def _number(value: object) -> float | int | None:
    """Return a finite number of at least 0, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value < _MAX_NUMBER and math.isfinite(value) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and _number(value) is not None else None


def _time(value: object) -> float | int | None:
    known = _number(value)
    return known if known is not None and known <= _MAX_TIME else None


def _fraction(value: object) -> float | int | None:
    known = _number(value)
    return known if known is not None and known <= 1 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _mapping(value: object) -> Mapping[str, object] | None:
    return value if isinstance(value, dict) else None


def _each(form: Callable[[object], float | None], value: object) -> Scores | None:
    return {str(key): form(item) for key, item in value.items()} if isinstance(value, dict) else None
