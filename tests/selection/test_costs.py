"""The costs of candidates: measured once, in groups, and kept in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.selection.helpers import TINY
from yolo_attn.analysis import latency
from yolo_attn.analysis.profile import profile
from yolo_attn.errors import UserError
from yolo_attn.selection import costs as module
from yolo_attn.selection.candidates import Candidate, list_candidates
from yolo_attn.selection.costs import measure_costs
from yolo_attn.selection.limits import parse_limits
from yolo_attn.selection.records import Costs


@pytest.fixture
def base(tmp_path: Path) -> str:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return str(file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "costs.json"


def measure(base: str, candidates: list[Candidate], file: Path, **given: Any) -> tuple[Costs, dict[str, Costs]]:
    settings = {"imgsz": 64, "device": "cpu", "threads": 1, "log": lambda _: None, **given}
    return measure_costs(base, candidates, file, **settings)


class _Bench:
    """Replaces measurements by given latencies, and counts what is built and how often it runs.

    Args:
        milliseconds: Latency of a model by the layer in it, or of the base by "".
    """

    def __init__(self, milliseconds: Mapping[str, list[float]]) -> None:
        self.milliseconds = milliseconds
        self.built = 0
        self.rounds: dict[str, int] = {}
        self.groups: list[int] = []

    def build(self, bench: Any, document: dict[str, Any]) -> nn.Module:
        self.built += 1
        return _build(bench, document)

    def take_turns(self, models: Mapping[str, nn.Module], image: torch.Tensor, rounds: int) -> dict[str, list[float]]:
        self.groups.append(len(models))
        times = {}
        for name in models:
            done = self.rounds.get(name, 0)
            given = self.milliseconds[name.partition("[")[0]]
            times[name] = [given[n % len(given)] for n in range(done, done + rounds)]
            self.rounds[name] = done + rounds
        return times


_build = module._Bench._build


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> _Bench:
    fake = _Bench({"": [10.0], "SE": [10.5], "CBAM": [10.9, 11.1], "EMA": [30.0], "ECA": [10.2]})
    monkeypatch.setattr(module._Bench, "_build", lambda *given: fake.build(*given))  # noqa: PLW0108 (a method)
    monkeypatch.setattr(latency, "take_turns", fake.take_turns)
    return fake


def test_costs_are_those_of_profile(base: str, file: Path) -> None:
    (candidate,) = list_candidates(base, "CBAM", "neck")
    own, found = measure(base, [candidate], file, needs={"latency", "memory"})
    for costs, name in ((own, base), (found[candidate.name], f"{base}+{candidate.name}")):
        expected = profile(name, 64, device="cpu", rounds=1)
        assert costs.params == expected.params_fused
        assert costs.gflops == pytest.approx(expected.gflops)
        assert costs.memory_mib == pytest.approx(expected.memory["mib"])
        assert costs.latency_ms is not None
        assert costs.error is None
    assert own.latency_ratio == 1
    assert 0.5 < (found[candidate.name].latency_ratio or 0) < 20


def test_only_needed_costs_are_measured(base: str, file: Path, fake: _Bench) -> None:
    (candidate,) = list_candidates(base, "SE", "neck")
    own, found = measure(base, [candidate], file, limits=parse_limits("params:+5%"))
    assert fake.rounds == {}
    for costs in (own, found[candidate.name]):
        assert costs == Costs(params=costs.params, gflops=costs.gflops)
        assert costs.params
        assert costs.gflops


def test_latency_is_relative_to_the_base_in_the_same_rounds(base: str, file: Path, fake: _Bench) -> None:
    fake.milliseconds = {"": [10.0, 20.0], "SE": [11.0, 22.0]}
    (candidate,) = list_candidates(base, "SE", "neck")
    own, found = measure(base, [candidate], file, needs={"latency"})
    assert own.latency_ms == 15
    assert found[candidate.name].latency_ratio == pytest.approx(1.1)
    assert found[candidate.name].latency_ms == pytest.approx(16.5)


def test_candidates_near_the_limit_get_more_rounds(base: str, file: Path, fake: _Bench) -> None:
    candidates = list_candidates(base, "SE,CBAM,EMA,ECA", "neck.P3")
    measure(base, candidates, file, limits=parse_limits("latency:+10%"))
    rounds = {name.partition("[")[0]: number for name, number in fake.rounds.items() if name}
    assert rounds == {"SE": 10, "CBAM": 60, "EMA": 5, "ECA": 10}
    assert fake.rounds[""] == 10 + 60


def test_groups_bound_the_models_in_memory(
    base: str, file: Path, fake: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GROUP", 2)
    monkeypatch.setattr(module, "_EVERY", -1.0)
    lines: list[str] = []
    candidates = list_candidates(base, "SE,ECA", "neck.P3,neck.P4,backbone.P4")
    _, found = measure(base, candidates, file, needs={"latency"}, log=lines.append)
    assert list(found) == [candidate.name for candidate in candidates]
    assert max(fake.groups) == 3
    assert fake.built == 7
    assert lines == [
        "costs: 6 candidates, parameters, operations, latency at 64 pixels ...",
        *(f"costs: {done} of 6" for done in (2, 4, 6)),
    ]


def test_stored_costs_are_not_measured_again(base: str, file: Path, fake: _Bench) -> None:
    one, other = list_candidates(base, "SE,ECA", "neck")
    first = measure(base, [one], file, needs={"latency"})
    assert fake.built == 2
    assert measure(base, [one], file, needs={"latency"}) == first
    assert fake.built == 2
    assert measure(base, [one], file) == first  # needs less
    again = measure(base, [one, other], file, needs={"latency"})
    assert fake.built == 4  # the base, which takes turns, and the new one
    assert again[1][one.name] == first[1][one.name]
    measure(base, [one], file, needs={"memory"})
    assert fake.built == 6


@pytest.mark.parametrize("change", [{"imgsz": 96}, {"threads": 2}, {"classes": 4}], ids=str)
def test_costs_depend_on_the_settings(base: str, file: Path, fake: _Bench, change: dict[str, Any]) -> None:
    candidates = list_candidates(base, "SE", "neck")
    measure(base, candidates, file)
    measure(base, candidates, file, **change)
    assert fake.built == 4
    measure(base, candidates, file)  # the first ones are kept
    assert fake.built == 4


def test_costs_depend_on_versions_base_and_code(
    base: str, file: Path, fake: _Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = list_candidates(base, "SE", "neck")
    measure(base, candidates, file)
    monkeypatch.setattr(module, "layer_code", lambda document: {"SE": {"source": "other"}})
    measure(base, candidates, file)
    assert fake.built == 4
    monkeypatch.setattr(module, "package_versions", lambda: {"torch": "0"})
    measure(base, candidates, file)
    assert fake.built == 6
    Path(base).write_text(TINY.replace("nc: 3", "nc: 5"))
    measure(base, candidates, file)
    assert fake.built == 8


def test_the_path_of_the_base_does_not_matter(base: str, file: Path, tmp_path: Path, fake: _Bench) -> None:
    candidates = list_candidates(base, "SE", "neck")
    measure(base, candidates, file)
    moved = Path(base).rename(tmp_path / "other.yaml")
    measure(str(moved), candidates, file)
    assert fake.built == 2


def test_a_killed_measurement_continues(base: str, file: Path, fake: _Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GROUP", 2)
    candidates = list_candidates(base, "SE,ECA", "neck.P3,neck.P4")
    whole = module._Bench.measure_group

    def killed(bench: Any, documents: Mapping[str, Any], own: Costs) -> dict[str, Costs]:
        if "ECA" in next(iter(documents)):
            raise KeyboardInterrupt
        return whole(bench, documents, own)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(module._Bench, "measure_group", killed)
        measure(base, candidates, file)
    assert fake.built == 3
    _, found = measure(base, candidates, file)
    assert fake.built == 6  # the base again, and the two candidates that were not measured
    assert all(costs.error is None for costs in found.values())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 1, "costs": [1]}',
        '{"version": 1, "costs": {"a": {"params": "x"}}}',
    ],
)
def test_a_damaged_file_is_measured_again(base: str, file: Path, content: str) -> None:
    file.write_text(content)
    lines: list[str] = []
    _, found = measure(base, list_candidates(base, "SE", "neck"), file, log=lines.append)
    assert lines[0] == f"{file}: damaged; the costs are measured again"
    assert len(found) == 1
    assert len(json.loads(file.read_text())["costs"]) == 2


def test_a_candidate_that_cannot_be_built_has_an_error(base: str, file: Path, fake: _Bench) -> None:
    wrong = list_candidates(base, "SE[reduction=-1],SE", "neck")
    unknown = Candidate("SE@neck.P9", "SE@neck.P9", ("SE",), ("neck.P9",))
    _, found = measure(base, [*wrong, unknown], file, needs={"latency"})
    assert "reduction" in (found[wrong[0].name].error or "")
    assert found[wrong[1].name].error is None
    assert (found[unknown.name].error or "").startswith("no site 'neck.P9'")
    built = fake.built
    measure(base, wrong, file, needs={"latency"})
    assert fake.built == built + 1


def test_a_base_that_cannot_be_built_is_an_error(tmp_path: Path, file: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(TINY.replace("[[8, 11], 1, Detect", "[[8, 99], 1, Detect"))
    with pytest.raises(UserError):
        measure(str(broken), [], file)
    assert not file.exists()
