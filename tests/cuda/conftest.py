"""Settings of the tests on a GPU: skipped without one, exact float32, and a time limit for each test."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent
SECONDS = 90
"""Time limit of a test."""
LONG = {"test_training": 240, "test_command": 240, "test_study": 300, "test_ray": 240}
"""Time limits of tests that compile whole models or start processes, by the beginning of their names."""

# Several workers compile at once, and each would start a process for every core.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "2")


@pytest.hookimpl(trylast=True)  # after the selection by markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a GPU, keep one of these tests, which is skipped: pytest reports it in one line."""
    here = [item for item in items if HERE in item.path.parents]
    if not here or torch.cuda.is_available():
        return
    here[0].add_marker(pytest.mark.skip(reason=f"{len(here)} tests require an NVIDIA GPU"))
    items[:] = [item for item in items if item not in here[1:]]
    config.hook.pytest_deselected(items=here[1:])


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """Compute float32 in float32: TF32 has a mantissa of ten bits."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(autouse=True)
def _no_cache() -> Iterator[None]:
    """Return unused memory after each test: several workers share a GPU."""
    yield
    torch.cuda.empty_cache()


@pytest.fixture(autouse=True)
def _time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the process of a test that hangs: a wait inside CUDA cannot be interrupted. xdist starts another process."""
    seconds = next((limit for name, limit in LONG.items() if request.node.name.startswith(name)), SECONDS)
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def device() -> torch.device:
    """The first GPU."""
    return torch.device("cuda", 0)
