"""Parsing of `device=`, which is checked once for a whole study."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from yolo_attn.errors import UserError
from yolo_attn.study.specification.arguments import parse_positive

__all__ = ["check_share", "count_devices", "device_kind", "first_device", "parse_gpus", "read_device"]

_NUMBERS = re.compile(r"\d+(,\d+)*")
_OTHER_KINDS = re.compile(r"(npu|xpu)(:\d+(,\d+)*)?")
_AUTOMATIC = {"", "none", "null"}
_KNOWN = "cpu, mps, the number of a GPU (0) or several (0,1)"


def read_device(value: object, *, here: bool = True) -> str | None:
    """Return a device in the form that every Ultralytics release accepts: "cpu", "mps", "0", "0,1", ....

    Args:
        value: Text in any form that Ultralytics accepts, a number, or a list of numbers.
        here: Whether the runs are executed on this machine, which then must have the device.

    Returns:
        The device; None for an automatic choice.

    Raises:
        UserError: It is not a device, or this machine does not have it.
    """
    given = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value).strip()
    name = re.sub(r"[\s\[\]()'\"]|cuda:", "", given.lower())
    name = ",".join(part for part in name.split(",") if part)
    if name in _AUTOMATIC:
        return None
    name = {"cuda": "0", "mps:0": "mps"}.get(name, name)
    if "-1" in name.split(","):
        raise UserError(
            f"device={given}: every run would choose its own; omit device= to assign runs to all GPUs in turn"
        )
    if not (name in {"cpu", "mps"} or _NUMBERS.fullmatch(name) or _OTHER_KINDS.fullmatch(name)):
        raise UserError(f"device={given}: not a device; give {_KNOWN}")
    name = re.sub(r"\d+", lambda number: str(int(number[0])), name)
    numbers = re.findall(r"\d+", name)
    if len(set(numbers)) < len(numbers):
        raise UserError(f"device={given}: the same device is named twice")
    if here and (problem := _missing_device(name)):
        raise UserError(f"device={given}: {problem}; omit device=, or give device=cpu")
    return name


def _missing_device(name: str) -> str:
    """Return what this machine lacks for a device, "" if it has the device."""
    import torch

    kind = device_kind(name)
    if kind == "cpu":
        return ""
    if kind == "mps":
        return "" if torch.backends.mps.is_available() else "this machine has no MPS device"
    if kind != "cuda":
        from yolo_attn.host.training_arguments import device_problem

        return device_problem(kind, name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number in name.split(","):
        if _index(number, count) >= count:
            return f"there is no CUDA device {number} here (PyTorch finds {count})"
    return ""


def _index(number: str, count: int) -> int:
    """Return torch's index of a GPU; a number above torch's count can be one from CUDA_VISIBLE_DEVICES."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")][:count]
    return visible.index(number) if int(number) >= count and number in visible else int(number)


def check_share(device: str | None, batch: int) -> None:
    """Check that a batch can be divided among the devices of a run, if the installed Ultralytics requires it.

    Args:
        device: From `read_device`.
        batch: Images in a batch.

    Raises:
        UserError: It cannot be divided.
    """
    from yolo_attn.host.training_arguments import requires_even_batches

    count = count_devices(device)
    if batch % count and requires_even_batches():
        raise UserError(f"batch={batch}: cannot be divided among {count} devices; give a multiple of {count}")


def parse_gpus(settings: Mapping[str, object], runner: str, device: str | None) -> float | None:
    """Return the part of a GPU that each run requests from Ray, so that several share one; None if it is not given.

    Args:
        settings: The command's keys of a study.
        runner: "local" or "ray".
        device: From `read_device`.

    Raises:
        UserError: It is not between 0 and 1, or the runs are not executed on Ray, each on one GPU.
    """
    gpus = parse_positive(settings, "gpus")
    if gpus is None:
        return None
    given = f"gpus={settings['gpus']}"
    if gpus > 1:
        raise UserError(f"{given}: must be the part of a GPU for each run, at most 1; device=0,1 gives each run two")
    if runner != "ray":
        raise UserError(f"{given}: belongs to runner=ray; on this machine workers= sets the concurrent runs")
    if device_kind(device) != "cuda" or count_devices(device) > 1:
        raise UserError(f"{given}: is for runs on one GPU each; use device=0 with it")
    return gpus


def count_devices(device: str | None) -> int:
    """Return the number of devices that one run is trained on.

    Args:
        device: From `read_device`.
    """
    return (device or "").count(",") + 1


def device_kind(device: str | None) -> str:
    """Return the kind of device that Ultralytics uses: "cpu", "cuda", "mps", ....

    Args:
        device: From `read_device`.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.split(":")[0]
    return kind if kind.isalpha() else "cuda"


def first_device(device: str | None) -> str:
    """Return the first device of a study as torch names it: "cpu", "cuda:1", "mps"; "cuda" for an automatic GPU.

    Args:
        device: From `read_device`.
    """
    import torch

    kind = device_kind(device)
    numbers = re.findall(r"\d+", device or "")
    if not numbers:
        return kind
    return f"{kind}:{_index(numbers[0], torch.cuda.device_count()) if kind == 'cuda' else numbers[0]}"
