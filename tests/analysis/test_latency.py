"""Latency: models take turns, and the results are those of the clock."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from yolo_attn.analysis import latency
from yolo_attn.analysis.latency import measure_latency


class _Clock:
    """A clock advanced only by models."""

    now = 0.0
    calls: list[str]

    def perf_counter(self) -> float:
        return self.now


class _Model(nn.Module):
    """A model whose n-th call takes the n-th of the given milliseconds."""

    def __init__(self, clock: _Clock, name: str, milliseconds: list[float]) -> None:
        super().__init__()
        self.clock, self.name, self.milliseconds = clock, name, milliseconds

    def __deepcopy__(self, memo: dict) -> _Model:
        return _Model(self.clock, f"{self.name}'", list(self.milliseconds))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert x.shape == (1, 3, 32, 64)
        self.clock.calls.append(self.name)
        self.clock.now += self.milliseconds.pop(0) / 1000
        return x


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    clock.calls = []
    monkeypatch.setattr(latency, "time", clock)
    return clock


def test_models_take_turns_in_random_order(clock: _Clock) -> None:
    models = {name: _Model(clock, name, [1.0] * 9) for name in "abc"}
    calls: list[tuple[int, int]] = []
    found = measure_latency(models, (3, 32, 50), rounds=4, warm_up=2, progress=lambda *done: calls.append(done))
    warm = ["a'", "a'", "b'", "b'", "c'", "c'"]
    assert clock.calls[:6] == warm  # copies: the models themselves were not run
    rounds = [clock.calls[start : start + 3] for start in range(6, 18, 3)]
    assert all(sorted(one) == ["a'", "b'", "c'"] for one in rounds) and len(clock.calls) == 18
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(found) == ["a", "b", "c"]


def test_no_model_always_follows_the_same_one(clock: _Clock) -> None:
    """A model that follows a large one finds none of its weights in the caches."""
    measure_latency({name: _Model(clock, name, [1.0] * 60) for name in "abcd"}, (3, 32, 64), rounds=60, warm_up=0)
    pairs = Counter(itertools.pairwise(clock.calls))
    following = [count for (first, second), count in pairs.items() if first != second]
    assert len(following) == 12 and max(following) < 2.5 * min(following)


def test_median_and_percentiles_without_the_warm_up(clock: _Clock) -> None:
    slow_at_first = [1000.0, 900.0, *range(10, 0, -1), 0.0]
    found = measure_latency({"m": _Model(clock, "m", slow_at_first)}, (3, 32, 64), rounds=11, warm_up=2)["m"]
    assert found["median"] == pytest.approx(5)
    assert found["p10"] == pytest.approx(1)
    assert found["p90"] == pytest.approx(9)
    assert found["rounds"] == 11
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()


def test_the_fused_model_is_measured() -> None:
    class Fusing(nn.Module):
        fused = False
        seen: list[bool] = []  # noqa: RUF012 (shared with the copy)

        def fuse(self, verbose: bool = True) -> Fusing:
            self.fused = True
            return self

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.append(self.fused)
            return x

    model = Fusing().train()
    measure_latency({"m": model}, (3, 8, 8), rounds=1, warm_up=1)
    assert model.seen == [True, True]
    assert not model.fused
    assert model.training


def test_a_gpu_is_timed_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """With events on the image's device, recorded when its queue is empty, and read when the last one has passed."""
    calls: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            calls.append("record")

        def synchronize(self) -> None:
            calls.append("wait for the event")

        def elapsed_time(self, end: Event) -> float:
            calls.append("read")
            return 2.5

    class Image:
        device = torch.device("cuda", 1)

    @contextmanager
    def current(device: torch.device) -> Iterator[None]:
        calls.append(str(device))
        yield

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", current)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait for the queue"))
    model: Any = lambda image: calls.append("model")  # noqa: E731
    image: Any = Image()
    assert latency._milliseconds(model, image) == 2.5
    marked = ["record", "model", "record", "wait for the event", "read"]
    assert calls == ["cuda:1", "wait for the queue", *marked]
