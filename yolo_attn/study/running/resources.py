"""CPU cores and GPUs of this machine, and their division among runs."""

from __future__ import annotations

import math
import os

from yolo_attn.study.specification.study import Study
from yolo_attn.system.container import cpu_limit

__all__ = ["cpu_cores", "gpus_to_share", "threads_per_run", "visible_gpus"]


def cpu_cores() -> int:
    """Return the number of CPU cores that this process may use, also in a container or a job of a scheduler."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = cpu_limit()
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def visible_gpus() -> list[str]:
    """Return the CUDA devices of this process, by the numbers that child processes can use."""
    import torch

    count = torch.cuda.device_count()
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if any(name.startswith("MIG-") for name in visible):
        return visible  # a process sees one of them
    return visible[:count] or [str(number) for number in range(count)]  # CUDA ignores names from an unknown one on


def gpus_to_share(study: Study, device: str) -> list[str]:
    """Return the GPUs to which runs are assigned in turn; none if the user chose the device.

    Args:
        study: The study.
        device: The kind of device.
    """
    return visible_gpus() if study.device is None and device == "cuda" else []


def threads_per_run(study: Study, device: str) -> int:
    """Return the CPU threads of each run of a new study: the cores, divided by the runs that are trained at once.

    The number of threads is part of every run's key, because it changes the order of sums and so the results. A study
    keeps the number that it began with. The number of runs trained at once can change later and affects no result.

    Args:
        study: The study.
        device: The kind of device.
    """
    if study.runner == "ray":
        return cpu_cores()
    return max(1, cpu_cores() // (study.workers or max(1, len(gpus_to_share(study, device)))))
