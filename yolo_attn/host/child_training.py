"""Registration of layers in the training processes that Ultralytics starts with its own command line.

A search for hyperparameters (`tune`) and training on several datasets (`data=[a.yaml,b.yaml]`) start `yolo train` in
new processes. They are started as `yolo-attn train` instead, with the custom layers and the trust of this process.
Where they receive the model of this process in a checkpoint, they also receive the report on what was loaded into it.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from torch import nn
from ultralytics.engine import trainer, tuner

from yolo_attn.errors import UserError
from yolo_attn.host.binding import Binding
from yolo_attn.host.learning_rate import LR_ATTENTION
from yolo_attn.host.restricted import is_restricted
from yolo_attn.host.transfer import INHERITED, last_transfer
from yolo_attn.registry import list_layers
from yolo_attn.system.files import is_file
from yolo_attn.system.paths import child_paths

__all__ = ["CHILD_TRAINING", "refuse_script_layers"]


def _wrap_tuner(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Search hyperparameters, of which the learning rate of attention layers is one."""
        if LR_ATTENTION in self.space and not hasattr(self.args, LR_ATTENTION):
            setattr(self.args, LR_ATTENTION, 1.0)  # the value of the first iteration
        refuse_script_layers(getattr(self, "model", None), "tune")
        with _started_as_yolo_attn():
            return original(self, *args, **kwargs)

    return __call__


def _wrap_several(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def train(self: Any) -> Any:
        """Train on one dataset after the other."""
        if self.trainer is None:  # otherwise in this process
            refuse_script_layers(self.model, "training on several datasets")
        with _started_as_yolo_attn(_transfer_into(self.model, self.args.get("pretrained", True))):
            return original(self)

    return train


def _transfer_into(model: Any, pretrained: Any) -> dict[str, str]:
    """Return the environment of a process that trains a model of this one, with the report on its weights.

    The process opens the model as a checkpoint, of which all tensors arrive, those with initial weights as well. Its
    own report is right if the model is that of a checkpoint, or if it loads other weights or none.

    Args:
        model: The model.
        pretrained: The argument of training.
    """
    report = last_transfer(model) if isinstance(model, nn.Module) else None
    checkpoint = getattr(model, "pt_path", None)  # of a model with placed layers it is a name for exports, and no file
    if pretrained not in (True, None) or (report is None and checkpoint and is_file(checkpoint)):
        return {}
    return {INHERITED: str(report or "")}


CHILD_TRAINING = (
    Binding(tuner.Tuner, "__call__", _wrap_tuner),
    *([Binding(trainer.MultiTrainer, "train", _wrap_several)] if hasattr(trainer, "MultiTrainer") else []),
)
"""The functions of Ultralytics that start `yolo train`."""


def refuse_script_layers(model: Any, what: str) -> None:
    """Raise UserError if a model has a layer that is defined in the script or notebook that trains it.

    Args:
        model: The model.
        what: Whose processes cannot import it, such as "multi-GPU training".
    """
    classes = {type(module) for module in model.modules()} if isinstance(model, nn.Module) else set()
    for spec in list_layers():
        if spec.cls.__module__ == "__main__" and spec.cls in classes:
            raise UserError(
                f"layer {spec.name} is defined in a script or notebook (__main__), which the processes of {what} "
                "cannot import; put its class into a file, and import it or give layers=FILE"
            )


@contextmanager
def _started_as_yolo_attn(variables: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Start training in other processes with yolo-attn inside this context, with more environment variables."""
    binding = Binding(subprocess, "run", lambda original: _wrap_run(original, variables))
    binding.install()
    try:
        yield
    finally:
        if binding.installed:
            binding.remove()


def _wrap_run(original: Callable[..., Any], variables: Mapping[str, str]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(command: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a program; training that Ultralytics starts in a process of its own is started with yolo-attn."""
        if isinstance(command, (list, tuple)):
            for start in (["yolo"], [sys.executable, "-m", "ultralytics.cfg.__init__"]):
                if list(command[: len(start) + 1]) == [*start, "train"]:
                    command = [sys.executable, "-m", "yolo_attn", *command[len(start) :], *_common_words()]
                    kwargs["env"] = {**_environment(kwargs.get("env")), **variables}
        return original(command, *args, **kwargs)

    return run


def _environment(given: dict[str, str] | None) -> dict[str, str]:
    """Return an environment in which Python finds this package.

    The working folder, where the modules of a user may be, is searched only if files are trusted anyway.
    """
    environment = dict(os.environ if given is None else given)
    paths = child_paths(environment)
    if not is_restricted():
        paths = {key: value for key, value in paths.items() if key != "PYTHONSAFEPATH"}
    return {**environment, **paths}


def _common_words() -> list[str]:
    """Return the words that a training process needs in addition to its arguments."""
    files = _custom_files()
    return [*([f"layers={','.join(files)}"] if files else []), f"trust={not is_restricted()}"]


def _custom_files() -> list[str]:
    """Return the files of registered layers that a new process does not find by itself."""
    from yolo_attn.layer_files import distribution_of, package_of

    modules = {spec.cls.__module__ for spec in list_layers() if not spec.built_in} - {"__main__"}
    files = {
        getattr(sys.modules.get(name), "__file__", None) for name in modules if not distribution_of(package_of(name))
    }
    return sorted(filter(None, files))
