"""Times of calls that take turns, and the memory of one."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count

import numpy as np
import torch

from yolo_attn.analysis.memory import LiveBytes

__all__ = ["Clock", "Run", "interleaved", "keep_heap", "peak_bytes", "quantiles"]

Run = Callable[[], object]

LEAST_ROUNDS, MOST_ROUNDS = 5, 1000
WARM_UP = 2
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGE = 2**25
"""Bytes from which glibc gives a tensor pages of its own, in a process that has freed one of that size."""


def keep_heap() -> None:
    """Keep the heap in the process, where the C library is glibc; larger tensors still have new pages in every call.

    By default the end of the heap returns to the system, and whichever layer has its tensors there waits for new pages
    in every call: for the gradients of SK at P5, a sixth of its time.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, -1)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)


class Clock:
    """Measures calls on one device, in milliseconds.

    On a GPU the time is that between two CUDA events, and everything in the L2 cache is replaced before each call, as
    the rows of a network between two calls of a layer do. On a CPU the caches stay as the last call left them, and with
    one thread the time is that of the processor, which excludes what other programs do meanwhile.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.now = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
        self.flush: torch.Tensor | None = None
        if device.type == "cuda":
            size = 2 * torch.cuda.get_device_properties(device).L2_cache_size
            self.flush = torch.empty(max(size, 2**26), dtype=torch.int8, device=device)

    def __call__(self, run: Run) -> float:
        """Return the time of one call."""
        if self.flush is None:
            began = self.now()
            run()
            return 1000 * (self.now() - began)
        with torch.cuda.device(self.device):  # events belong to the current device
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self.flush.zero_()
            begin.record()
            run()
            end.record()
            end.synchronize()
        return float(begin.elapsed_time(end))


def interleaved(runs: Mapping[str, Run], clock: Clock, seconds: float) -> dict[str, list[float]]:
    """Return the times of several runs, measured in turn, so that a change of the machine's load affects all of them.

    Args:
        runs: The runs by name.
        clock: Measures one.
        seconds: How long to measure, in rounds of one call each; there are at least five.
    """
    names = list(runs)
    times: dict[str, list[float]] = {name: [] for name in names}
    for run in runs.values():
        for _ in range(WARM_UP):
            run()
    ends = time.perf_counter() + seconds
    for turn in count():
        if turn >= LEAST_ROUNDS and (turn >= MOST_ROUNDS or time.perf_counter() > ends):
            return times
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(clock(runs[name]))
    raise AssertionError("unreachable: the rounds are unlimited")


def quantiles(values: list[float]) -> dict[str, float]:
    """Return the median and the 10th and 90th percentile, with four digits."""
    shown = zip(("median", "p10", "p90"), np.percentile(values, (50, 10, 90)), strict=True)
    return {name: float(f"{value:.4g}") for name, value in shown}


def peak_bytes(run: Run, device: torch.device, present: Iterable[torch.Tensor] = ()) -> int:
    """Return the most bytes that are live in one call, beyond those before it.

    On a GPU this is the peak of PyTorch's allocator, elsewhere the sum of the live tensors, which excludes temporary
    memory inside operators.

    Args:
        run: The call.
        device: Where it runs.
        present: Tensors that exist before it: weights and inputs, of which operators may return views.
    """
    run()  # creates what is created once
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with LiveBytes() as meter:
        for tensor in present:
            meter.count(tensor)
        before = meter.live
        run()
    return meter.peak - before
