"""The command `tune`: `YOLO(model).tune(...)`, for which the `yolo` command has no verb."""

from __future__ import annotations

import functools
import math
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ultralytics import cfg
from ultralytics.engine import tuner

from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.host.binding import Binding
from yolo_attn.host.learning_rate import LR_ATTENTION
from yolo_attn.host.parser import check_safe
from yolo_attn.host.restricted import is_restricted
from yolo_attn.system.files import EXPONENT, as_yaml, parse_yaml

__all__ = ["read_space", "run_tune"]

_SPACE = "space={lr0: [0.0001, 0.01], lr_attention: [1, 20]}"
_ENDS = 2  # of an interval


def run_tune(words: Sequence[str]) -> None:
    """Search hyperparameters.

    Ultralytics trains each candidate in a process of its own (`yolo_attn.host.child_training`), or on Ray.

    Raises:
        UserError: No model is given, Ray Tune is missing, or no training succeeded.
    """
    from ultralytics import YOLO

    given = dict(cfg.parse_key_value_pair(word) for word in words if "=" in word)
    given |= {word: True for word in words if isinstance(cfg.DEFAULT_CFG_DICT.get(word), bool)}
    task = given.pop("task", next((word for word in words if word in cfg.TASKS), None))
    name = given.pop("model", None)
    if name is None:
        raise UserError("tune needs a model: model=yolo11n-cbam.yaml, or a checkpoint")
    if given.get("space"):
        given["space"] = read_space(given["space"])
    if given.get("use_ray"):
        _begin_ray(given)
    model = YOLO(name, task=task)
    if isinstance(document := getattr(model.model, "yaml", None), dict):
        check_safe(document)  # the processes of the candidates build it again
    with _fails_without_result():
        model.tune(**given)


def read_space(value: Any) -> dict[str, tuple[float, ...]]:
    """Return a search space: the smallest and largest value of each hyperparameter.

    Args:
        value: A mapping, or YAML text of one.

    Raises:
        UserError: It is something else, names no hyperparameter, or an interval is empty.
    """
    space = parse_yaml(value, "space=") if isinstance(value, str) else value
    if not isinstance(space, Mapping) or not space:
        raise UserError(f"space={value}: give the smallest and largest value of each hyperparameter: {_SPACE!r}")
    known = {*cfg.CFG_FLOAT_KEYS, *cfg.CFG_FRACTION_KEYS, *cfg.CFG_INT_KEYS, LR_ATTENTION}
    for key, ends in space.items():
        if key not in known:
            raise UserError(f"space: {key!r} is not a number that training takes{did_you_mean(str(key), known)}")
        if not (numbers := _numbers(ends)) or numbers[0] > numbers[1]:
            raise UserError(f"space: {key}: {as_yaml(ends)}: give its smallest and largest value: {_SPACE!r}")
        if key in cfg.CFG_INT_KEYS and math.ceil(numbers[0]) > math.floor(numbers[1]):
            raise UserError(f"space: {key}: {as_yaml(ends)}: {key} is an integer, and there is none between them")
    return {key: _numbers(ends) for key, ends in space.items()}


def _numbers(ends: Any) -> tuple[float, ...]:
    """Return an interval, and Ultralytics' optional gain after it, as numbers; () for anything else."""
    given = (
        [float(end) if EXPONENT.fullmatch(str(end)) else end for end in ends] if isinstance(ends, (list, tuple)) else []
    )
    numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) and abs(end) < math.inf for end in given)
    return tuple(given) if numbers and len(given) >= _ENDS else ()


def _begin_ray(given: dict[str, Any]) -> None:
    """Prepare a search on Ray: its processes open files as this one does, and relative paths keep their meaning.

    Args:
        given: The arguments of `tune`, in which the search space becomes one of Ray's.

    Raises:
        UserError: Ray Tune is not installed.
    """
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    try:
        import ray
        from ray import tune
    except ImportError as error:
        raise UserError(f'use_ray=True needs Ray Tune ({error}): pip install "ray[tune]" optuna') from None
    if "space" in given:
        given["space"] = {key: _distribution(tune, key, *ends[:_ENDS]) for key, ends in given["space"].items()}
    if is_restricted() and not ray.is_initialized():
        ray.init(runtime_env={"worker_process_setup_hook": "yolo_attn.host.restricted.restrict"})


def _distribution(tune: Any, key: str, smallest: float, largest: float) -> Any:
    """Return an interval of a hyperparameter as Ray's distribution; Ultralytics rounds only in its own search."""
    if key in cfg.CFG_INT_KEYS:
        return tune.randint(math.ceil(smallest), math.floor(largest) + 1)  # without the last
    return tune.uniform(smallest, largest)


@contextmanager
def _fails_without_result() -> Iterator[None]:
    """Raise UserError after a search of which no training succeeded; Ultralytics only logs it."""
    succeeded: list[bool] = []  # of the trainings that this call started; a continued search has earlier ones
    bindings = (
        Binding(tuner.Tuner, "__call__", lambda original: _wrap(original, succeeded)),
        Binding(subprocess, "run", lambda original: _wrap_run(original, succeeded)),
    )
    for binding in bindings:
        binding.install()
    try:
        yield
    finally:
        for binding in reversed(bindings):
            if binding.installed:
                binding.remove()


def _wrap(original: Callable[..., Any], succeeded: list[bool]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        original(self, *args, **kwargs)
        best = self.tune_dir / "best_hyperparameters.yaml"
        if not (any(succeeded) if succeeded else best.is_file()):
            raise UserError(f"tune: no training succeeded; their errors are above, and the folder is {self.tune_dir}")

    return __call__


def _wrap_run(original: Callable[..., Any], succeeded: list[bool]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(command: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a program, and note of a training whether it succeeds."""
        training = isinstance(command, list) and command[1:4] == ["-m", "yolo_attn", "train"]
        if training:
            succeeded.append(False)
        result = original(command, *args, **kwargs)
        if training:
            succeeded[-1] = result.returncode == 0
        return result

    return run
