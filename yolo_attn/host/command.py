"""Run Ultralytics commands in this process."""

from __future__ import annotations

import copy
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ultralytics import cfg, utils

from yolo_attn.errors import UserError
from yolo_attn.graph.model_ref import ModelRef
from yolo_attn.host.binding import Binding
from yolo_attn.host.parser import check_safe
from yolo_attn.layer_files import loaded_files
from yolo_attn.security.trust import trusts_files

__all__ = ["run_stock", "run_tune"]


def run_stock(words: Sequence[str]) -> None:
    """Run `yolo WORDS`, which Ultralytics reads from the process's arguments."""
    with _arguments(["yolo", *words]), _child_processes_register():
        cfg.entrypoint("")


def run_tune(words: Sequence[str]) -> None:
    """Search hyperparameters with `YOLO(model).tune(...)`, for which the `yolo` command has no verb.

    Ultralytics trains each candidate in its own process, which registers the attention layers only when it loads a
    checkpoint that contains them. A model YAML is therefore saved as a checkpoint first.

    Raises:
        UserError: No model is given.
    """
    from ultralytics import YOLO

    overrides = dict(cfg.parse_key_value_pair(word) for word in words if "=" in word)
    task = overrides.pop("task", next((word for word in words if word in cfg.TASKS), None))
    name = overrides.pop("model", None)
    if name is None:
        raise UserError("tune needs a model: model=yolo11n-cbam.yaml, or a checkpoint")
    with tempfile.TemporaryDirectory() as folder:
        model = YOLO(name, task=task)
        if isinstance(document := getattr(model.model, "yaml", None), dict):
            check_safe(document)  # the processes of the candidates build it again
        ref = ModelRef.parse(name)
        if ref.is_yaml:
            model = YOLO(_as_checkpoint(model, Path(folder) / f"{ref.stem}.pt"), task=task)
        with _child_processes_register():
            model.tune(**overrides)


def _as_checkpoint(model: Any, file: Path) -> str:
    """Save a model with initial weights as a checkpoint."""
    train_args = {"task": model.task, "model": file.name}
    torch.save({"epoch": -1, "model": copy.deepcopy(model.model).half(), "ema": None, "train_args": train_args}, file)
    return str(file)


def _wrap_run(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(command: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a program; training that Ultralytics starts in a process of its own is started with yolo-attn."""
        if isinstance(command, (list, tuple)):
            for start in (["yolo"], [sys.executable, "-m", "ultralytics.cfg.__init__"]):
                if list(command[: len(start) + 1]) == [*start, "train"]:
                    command = [sys.executable, "-m", "yolo_attn", *command[len(start) :], *_common_words()]
                    kwargs["env"] = _environment(kwargs.get("env"))
        return original(command, *args, **kwargs)

    return run


def _environment(given: dict[str, str] | None) -> dict[str, str]:
    """Return an environment in which Python finds this package but does not search the working folder."""
    environment = dict(os.environ if given is None else given)
    paths = [str(Path(__file__).resolve().parents[2]), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONSAFEPATH": "1"}


def _common_words() -> list[str]:
    """Return the words that a command adds to the arguments of the training processes that it starts."""
    files = loaded_files()
    return [*([f"layers={','.join(files)}"] if files else []), f"trust={trusts_files()}"]


@contextmanager
def _child_processes_register() -> Iterator[None]:
    """Pass registered layers, layer files and trust to the processes in which Ultralytics trains."""
    binding = Binding(subprocess, "run", _wrap_run)
    binding.install()
    try:
        yield
    finally:
        if binding.installed:
            binding.remove()


@contextmanager
def _arguments(argv: list[str]) -> Iterator[None]:
    """Replace the content of every list that Ultralytics made from sys.argv."""
    lists = list({id(arguments): arguments for arguments in (sys.argv, cfg.ARGV, utils.ARGV)}.values())
    before = [list(arguments) for arguments in lists]
    for arguments in lists:
        arguments[:] = argv
    try:
        yield
    finally:
        for arguments, words in zip(lists, before, strict=True):
            arguments[:] = words
