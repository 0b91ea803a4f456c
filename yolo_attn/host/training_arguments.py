"""The training arguments, optimizers and devices that the installed Ultralytics accepts."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import DEFAULT_CFG_DICT, torch_utils

from yolo_attn.errors import UserError, first_line
from yolo_attn.host.installation import quiet_log

__all__ = [
    "argument_names",
    "check_arguments",
    "device_problem",
    "known_optimizers",
    "requires_even_batches",
]


def argument_names() -> set[str]:
    """Return the names of Ultralytics' arguments."""
    return set(DEFAULT_CFG_DICT)


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check the types and ranges of arguments.

    Raises:
        UserError: Ultralytics refuses a value.
    """
    try:
        get_cfg(overrides=dict(arguments))
    except (TypeError, ValueError, SyntaxError, KeyError, AssertionError) as error:
        raise UserError(first_line(error)) from None


def known_optimizers(name: str) -> set[str] | None:
    """Return the optimizers of Ultralytics if the given one is not among them, else None.

    Args:
        name: The optimizer's name.
    """
    try:
        with quiet_log():  # Ultralytics logs every optimizer that it builds
            BaseTrainer.build_optimizer(None, nn.Linear(1, 1), name=name, lr=0.01, momentum=0.9)
    except NotImplementedError as error:
        return set(re.findall(r"\w+", "".join(re.findall(r"[\[{](.*?)[\]}]", str(error)))))
    except Exception:  # noqa: S110 (the name is known; the failure is due to the stand-in for a model)
        pass
    return None


def device_problem(kind: str, name: str) -> str:
    """Return why Ultralytics cannot train on a device that is neither a CPU nor a GPU; "" if it can.

    Args:
        kind: The kind of device, such as "mps" or "npu".
        name: The device as given.
    """
    if not hasattr(torch_utils, "get_torch_device_backend"):
        return f"the installed Ultralytics does not train on {kind}"
    try:
        torch_utils.select_device(name, verbose=False)
    except Exception as error:
        return first_line(error)
    return ""


def requires_even_batches() -> bool:
    """Return whether the batch must be a multiple of the number of GPUs, as early releases require."""
    return "batch" in inspect.signature(torch_utils.select_device).parameters
