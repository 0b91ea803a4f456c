"""Every layer on a GPU: results of the CPU, half precision, memory formats, compilers, graphs, waiting, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.layers import device_checks
from tests.layers.cases import call, cases
from tests.layers.memory import peak_bytes

pytestmark = pytest.mark.cuda

Record = Callable[[str, Any], None]

each = pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
each_layer = pytest.mark.parametrize("case", cases(options=False), ids=lambda case: case.id)
LARGE = (1, 64, 160, 160)
# Workspaces of cuDNN and cuBLAS, and blocks that the allocator does not split.
WORKSPACE = 256 * 2**20


@each
def test_float32_equals_the_cpu(case: Any, device: torch.device, record_property: Record) -> None:
    record_property("difference", device_checks.equals_the_cpu(case, device))


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_autocast(case: Any, dtype: torch.dtype, device: torch.device, record_property: Record) -> None:
    record_property("difference", device_checks.autocast_matches(case, device, dtype))


@each
def test_half(case: Any, device: torch.device, record_property: Record) -> None:
    record_property("difference", device_checks.half_matches(case, device))


@each
def test_channels_last(case: Any, device: torch.device) -> None:
    device_checks.channels_last_matches(case, device)


@each
def test_forward_does_not_wait_for_the_gpu(case: Any, device: torch.device) -> None:
    layer, xs = case.trained().to(device), device_checks.on(device, case.inputs(20, 20))
    for training in (False, True):
        call(layer.train(training), xs)  # loads kernels and creates handles
        with _waiting_is_an_error():
            call(layer, xs)
            with torch.autocast("cuda", torch.float16):
                call(layer, xs)


def test_waiting_is_found(device: torch.device) -> None:
    x = torch.ones(3, device=device)
    with _waiting_is_an_error(), pytest.raises(RuntimeError, match="synchroniz"):
        x.sum().item()


@each
def test_cuda_graph(case: Any, device: torch.device) -> None:
    device_checks.graph_matches(case, device, _capture)


@each_layer
def test_memory_of_inference_on_a_large_map(case: Any, device: torch.device, record_property: Record) -> None:
    counted = peak_bytes(lambda: case.build(64), *[LARGE] * case.spec.inputs, device="cuda")
    layer, xs = case.build(64).eval().to(device), [torch.rand(LARGE, device=device) for _ in range(case.spec.inputs)]
    with torch.no_grad():
        call(layer, xs)
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call(layer, xs)
        torch.cuda.synchronize(device)
    measured = torch.cuda.max_memory_allocated(device) - before
    record_property("counted_mib", counted / 2**20)
    record_property("measured_mib", measured / 2**20)
    assert measured < 1.25 * counted + WORKSPACE


# Last, because each test takes seconds.
@each_layer
def test_compiled(case: Any, device: torch.device, record_property: Record) -> None:
    difference = device_checks.compiled_matches(
        case, device, lambda layer: torch.compile(layer, fullgraph=True), (20, 20)
    )
    record_property("difference", difference)


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _capture(compute: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """Capture a function in a CUDA graph, after a warm-up on another stream, as PyTorch's documentation asks for."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            compute()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = compute()
    return output, graph.replay
