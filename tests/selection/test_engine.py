"""Searches with fake runs: the race, the confirmation, kills, budgets, failures."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.study.conftest import FAKE_WORKER, fake_study, in_background, read_journal, wait_for  # noqa: F401 (fixtures)
from yolo_attn.errors import UserError
from yolo_attn.registry import unregister_layer
from yolo_attn.selection import confirmation, engine, setup
from yolo_attn.selection.candidates import Candidate
from yolo_attn.selection.engine import search
from yolo_attn.selection.records import DROPPED, FAILED, FINALIST, LIMIT, UNTRIED, Costs
from yolo_attn.selection.results import SearchResults
from yolo_attn.selection.split import Carved
from yolo_attn.selection.stored import read_record
from yolo_attn.study import planning
from yolo_attn.study.running.local import LocalRunner
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.study import Study
from yolo_attn.study.times import RunSeconds

# What an arm detects is in its name: "hits12.x" finds 12 of 20 objects, the base 9.
NAMES = [
    "hits9.a",
    "hits9.b",
    "hits14.c",
    "hits10.d",
    "hits6.e",
    "hits9.f",
    "hits3.g",
    "hits9.h",
    "hits11.i",
    "hits8.j",
]


class FakeSearch:
    """Runs searches among fake candidates.

    Args:
        home: The working folder.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.stream, self.names = home, StringIO(), NAMES
        self.folder = home / "runs" / "search" / "s"

    def search(self, **arguments: Any) -> SearchResults:
        given = {"base": "yolo11n.yaml", "epochs": 3, "threads": 1, "device": "cpu", "name": "s", **arguments}
        runner = LocalRunner(2, command=(sys.executable, str(FAKE_WORKER)))
        return search({key: value for key, value in given.items() if value is not None}, runner, self.stream)

    def starts(self) -> list[tuple[str, str]]:
        """Return arm and seed of every run that was started."""
        return [(arm, seed) for event, arm, seed, _ in read_journal(self.home) if event == "start"]

    def jobs(self, study: str) -> list[dict[str, Any]]:
        """Return the jobs of the studies with this pattern."""
        return [json.loads(path.read_text()) for path in self.folder.glob(f"{study}/runs/*/run.json")]


@pytest.fixture
def fake(fake_study: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSearch:  # noqa: F811
    found = FakeSearch(fake_study)

    def candidates(*given: Any, **how: Any) -> list[Candidate]:
        return [Candidate(name, name, (name,), (f"after:{row}",)) for row, name in enumerate(found.names)]

    def costs(base: str, of: Any, *given: Any, **how: Any) -> tuple[Costs, dict[str, Costs]]:
        return Costs(params=1000), {one.name: Costs(params=1000 + 10 * n) for n, one in enumerate(of)}

    monkeypatch.setattr(engine, "list_candidates", candidates)
    monkeypatch.setattr(engine, "measure_costs", costs)
    monkeypatch.setattr(setup, "carve", lambda *given, **how: Carved("split.yaml", 80, 20, "split: 80 and 20 images"))
    monkeypatch.setattr(confirmation, "placed_rows", lambda *given: ())  # the names are no placements
    monkeypatch.setattr(setup, "shared_images", lambda *given: 0)
    monkeypatch.setattr(setup, "resolve_data", lambda data: data)
    return found


def states(results: SearchResults) -> dict[str, str]:
    return {one.name: one.status for one in results.record.candidates}


def test_the_best_candidate_is_found_and_confirmed(fake: FakeSearch) -> None:
    results = fake.search()
    assert results.exit_status == 0
    best = results.record.confirmed[0]
    assert (best.name, best.verdict) == ("hits14.c", "better")
    assert best.mean and best.low and best.low > 0
    assert states(results)["hits3.g"] == DROPPED
    assert [one.name for one in results.record.candidates if one.status == FINALIST] == [
        one.name for one in sorted(results.record.confirmed, key=lambda one: NAMES.index(one.name))
    ]
    raced = {job["seed"] for job in fake.jobs("rung*")}
    confirmed = {job["seed"] for job in fake.jobs("confirm")}
    assert len(confirmed) == results.record.confirm_seeds == 8  # for the noise of the fake runs
    assert "confirmation: 8 seeds; differences vary by 0." in fake.stream.getvalue()
    assert not raced & confirmed
    for name in ("search.json", "search.csv", "report.html", "confirm/results.json"):
        assert (fake.folder / name).is_file(), name


@pytest.mark.slow
def test_the_rungs_evaluate_the_carved_split_and_the_confirmation_the_dataset(fake: FakeSearch) -> None:
    fake.search(data="digits")
    data = {path.parts[-4]: json.loads(path.read_text())["data"] for path in fake.folder.glob("*/runs/*/run.json")}
    assert {name: value for name, value in data.items() if name != "confirm"} == {
        "rung1": "split.yaml",
        "rung2": "split.yaml",
    }
    assert data["confirm"] == "digits"


@pytest.mark.slow
def test_no_run_is_executed_twice(fake: FakeSearch) -> None:
    """A later rung takes the runs of an earlier one, and the same command starts none."""
    first = fake.search()
    starts = fake.starts()
    folders = {path.parent.parent.parent.name for path in fake.folder.glob("*/runs/*/result.json")}
    assert {"rung1", "rung2", "confirm"} <= folders
    keys = [job["key"] for job in fake.jobs("rung*")]
    assert len(set(keys)) < len(keys)  # rungs share runs
    confirmed = len(list(fake.folder.glob("confirm/runs/*")))
    assert len(starts) == len(set(keys)) + confirmed
    assert fake.search().to_dict() == first.to_dict()
    assert fake.starts() == starts


@pytest.mark.slow
def test_a_killed_search_continues_where_it_was(
    fake: FakeSearch,
    wait_for: Callable[[Callable[[], bool]], None],  # noqa: F811
) -> None:
    whole = FakeSearch(fake.home)
    for results in (5, 14):
        process = in_background(fake.search)
        wait_for(lambda results=results: len(list(fake.folder.glob("*/runs/*/result.json"))) >= results)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    finished = {str(path): path.stat().st_mtime_ns for path in fake.folder.glob("*/runs/*/result.json")}
    resumed = fake.search()
    assert finished.items() <= {str(p): p.stat().st_mtime_ns for p in fake.folder.glob("*/runs/*/result.json")}.items()
    whole.folder = fake.home / "runs" / "search" / "whole"
    undisturbed = whole.search(name="whole")
    assert resumed.record.candidates == undisturbed.record.candidates
    assert resumed.record.confirmed == undisturbed.record.confirmed


@pytest.mark.slow
def test_a_budget_counts_every_run(fake: FakeSearch) -> None:
    results = fake.search(runs=40, seeds=3)
    assert len(fake.starts()) <= 40
    assert results.record.confirmed


@pytest.mark.slow
def test_candidates_beyond_the_budget_are_the_last_ones(fake: FakeSearch) -> None:
    results = fake.search(runs=27, seeds=3, epochs=1)
    untried = [name for name, status in states(results).items() if status == UNTRIED]
    assert untried == NAMES[-len(untried) :]
    assert len(fake.starts()) <= 27


@pytest.mark.slow
def test_a_larger_budget_continues_a_finished_search(fake: FakeSearch) -> None:
    fake.search(runs=40, seeds=3)
    before = set(fake.starts())
    results = fake.search(runs=60, seeds=3)
    assert before < set(fake.starts())
    assert len(fake.starts()) == len(set(fake.starts())) <= 60
    assert results.record.confirmed[0].verdict == "better"


@pytest.mark.slow
def test_too_small_a_budget_names_the_least(fake: FakeSearch) -> None:
    with pytest.raises(UserError, match=r"runs=12: too few.*the least number to (\d+)") as error:
        fake.search(runs=12, seeds=3)
    least = int(str(error.value).rpartition(" ")[2])
    assert fake.search(runs=least, seeds=3).exit_status == 0
    assert len(fake.starts()) <= least


@pytest.mark.slow
def test_a_candidate_that_fails_is_dropped_with_its_reason(fake: FakeSearch) -> None:
    fake.names = ["fail.x", *NAMES]
    results = fake.search()
    failed = results.record.candidates[0]
    assert failed.status == FAILED
    assert "it broke" in (failed.reason or "")
    assert results.record.confirmed[0].name == "hits14.c"


@pytest.mark.slow
def test_a_run_that_is_killed_is_executed_again_once(fake: FakeSearch) -> None:
    fake.names = ["killed.x", "dies.y", *NAMES]
    results = fake.search(seeds=3)
    survivor, lost = results.record.candidates[:2]
    assert survivor.status == DROPPED and survivor.estimates
    assert lost.status == FAILED
    assert "was interrupted twice, seed 0" in (lost.reason or "")
    assert results.exit_status == 0


@pytest.mark.slow
def test_a_candidate_whose_batch_norms_lag_is_dropped_with_a_hint(fake: FakeSearch) -> None:
    fake.names = ["hits3.lags", *NAMES]
    lagging, *others = fake.search().record.candidates
    assert lagging.status == DROPPED
    hint = "; its batch norms lag, so try it with a smaller lr_attention="
    assert (lagging.reason or "").endswith(hint)
    assert not any(hint in (one.reason or "") for one in others)


def test_a_base_that_fails_stops_the_search(fake: FakeSearch) -> None:
    (fake.home / "fail.yaml").touch()
    with pytest.raises(UserError, match=r"the training of the base itself failed, seed 0: .*it broke"):
        fake.search(base="fail.yaml")


@pytest.mark.slow
def test_a_search_that_finds_nothing_says_what_it_could_have_found(fake: FakeSearch) -> None:
    fake.names = ["unsure.a", "hits9.b", "hits8.c"]
    results = fake.search()
    assert not any(one.verdict == "better" for one in results.record.confirmed)
    assert "No layer was found that is better than yolo11n" in results.table()
    assert results.record.confirm_detectable


def test_a_search_that_has_not_begun_is_replaced(fake: FakeSearch) -> None:
    fake.search(plan=True)
    assert fake.search(plan=True, at="neck.P4").exit_status == 0


@pytest.mark.slow
def test_a_confirmation_that_has_begun_keeps_its_seeds(fake: FakeSearch) -> None:
    first = fake.search(runs=60)
    assert "the base, 5 seeds, " in fake.stream.getvalue()  # a quarter of 60 runs is too few for more
    fake.search(runs=120, name="t", plan=True)
    assert "5 to 7 seeds, depending on the noise of the rungs" in fake.stream.getvalue()
    second = fake.search(runs=120)
    assert second.record.confirm_seeds == first.record.confirm_seeds == 5
    assert {job["seed"] for job in fake.jobs("confirm")} == {*range(100, 105)}


@pytest.mark.slow
def test_another_search_does_not_change_the_folder(fake: FakeSearch) -> None:
    fake.search(seeds=3)
    with pytest.raises(UserError, match="contains a search with no at=, epochs=3; give another name=NAME"):
        fake.search(at="neck.P4", epochs=4)


def test_a_damaged_search_is_passed_over_unless_it_is_named(fake: FakeSearch) -> None:
    fake.folder.with_name("search").mkdir(parents=True)
    (fake.folder.with_name("search") / "search.yaml").write_text("a: [")
    assert fake.search(plan=True, name=None).folder.name == "search2"
    with pytest.raises(UserError, match=r"search\.yaml: damaged; restore it, or give another name=NAME"):
        fake.search(plan=True, name="search")


def test_finalists_are_not_planned_beyond_the_candidates(fake: FakeSearch) -> None:
    fake.names = ["hits9.a"]
    with pytest.raises(UserError) as error:
        fake.search(runs=13)
    assert str(error.value) == (
        "runs=13: too few; the confirmation of 1 finalist takes 10, and the rungs of 1 candidate bring the least "
        "number to 14"
    )
    fake.search(runs=14, plan=True)
    assert "confirmation: up to 1 finalist and the base" in fake.stream.getvalue()


def test_candidates_that_cannot_be_built_are_an_error(fake: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Costs(error="row 5: unknown layer")
    monkeypatch.setattr(engine, "measure_costs", lambda base, of, *_, **__: (Costs(), {one.name: broken for one in of}))
    with pytest.raises(UserError, match=r"no candidate can be built, such as hits9\.a: row 5: unknown layer"):
        fake.search()


def test_a_search_in_which_no_run_succeeds_is_no_success(fake: FakeSearch) -> None:
    fake.names = ["fail.x"]
    assert fake.search().exit_status == 1


def test_runs_are_not_validated_during_training(fake: FakeSearch) -> None:
    fake.names = ["hits9.a"]
    fake.search()
    assert {job["inputs"]["recipe"]["val"] for job in fake.jobs("*")} == {False}


def test_an_untrained_base_is_stated_before_training(fake: FakeSearch) -> None:
    fake.search(plan=True)
    assert "all candidates are trained from scratch; with pretrain=EPOCHS" in fake.stream.getvalue()


def test_ctrl_c_before_training_says_how_to_resume(fake: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "measure_costs", interrupt)
    with pytest.raises(KeyboardInterrupt, match="stopped; run the same command again to resume"):
        fake.search()


def test_a_plan_trains_nothing(fake: FakeSearch) -> None:
    assert fake.search(plan=True).exit_status == 0
    assert not (fake.home / "journal").exists()
    output = fake.stream.getvalue()
    assert "10 candidates" in output
    assert "finalists and the base, 5 to 12 seeds, depending on the noise of the rungs, " in output


@pytest.mark.slow
def test_hours_are_planned_with_the_times_of_finished_runs(fake: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first guess is far too long, the fake runs take no time, so the last rung gets the most seeds."""
    monkeypatch.setattr(RunSeconds, "guess", lambda *_: 100.0)
    results = fake.search(hours=1, seeds=3)
    assert results.record.confirmed[0].name == "hits14.c"
    assert results.record.rungs[-1].seeds == 12
    assert results.record.info.budget == "hours=1"


def test_too_few_hours_are_an_error(fake: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunSeconds, "guess", lambda *_: 100.0)
    with pytest.raises(UserError, match=r"hours=0.1: too short; a search of 6 candidates takes about"):
        fake.search(hours=0.1)


@pytest.mark.slow
def test_pairs_of_the_best_join_before_the_last_rung(fake: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        engine, "pairs_of", lambda of: [Candidate("hits15.ab", "hits15.ab", ("a", "b"), ("neck", "p5"))]
    )
    results = fake.search(pairs=True, seeds=3)
    assert results.record.confirmed[0].name == "hits15.ab"
    assert [rung.pairs for rung in results.record.rungs] == [0, 1, 0]


@pytest.mark.slow
def test_pairs_that_are_all_over_a_limit_leave_the_single_ones(
    fake: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def costs(base: str, of: Any, *given: Any, **how: Any) -> tuple[Costs, dict[str, Costs]]:
        return Costs(params=1000), {one.name: Costs(params=1000 + 60 * len(one.layers)) for one in of}

    monkeypatch.setattr(engine, "measure_costs", costs)
    monkeypatch.setattr(
        engine, "pairs_of", lambda of: [Candidate("hits15.ab", "hits15.ab", ("a", "b"), ("neck", "p5"))]
    )
    results = fake.search(pairs=True, seeds=3, limit="params:+10%")
    assert states(results)["hits15.ab"] == LIMIT
    assert results.record.confirmed[0].name == "hits14.c"


@pytest.mark.slow
def test_pairs_count_in_the_budget(fake: FakeSearch) -> None:
    """Every run of a pair is new."""
    fake.names = [name.replace(".", f"{number}.") for number, name in enumerate(NAMES)]
    results = fake.search(pairs=True, seeds=3, runs=110)
    assert sum(rung.pairs for rung in results.record.rungs) == 15
    assert len(fake.starts()) <= 110


@pytest.mark.slow
def test_a_search_whose_last_rungs_add_no_seeds_finishes(fake: FakeSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of their runs are those of the rung before, and the base is not copied."""
    monkeypatch.setattr("yolo_attn.selection.racing._MOST_SEEDS", 2)
    fake.names = [f"hits{9 + number % 4}.{number}" for number in range(24)]
    results = fake.search(pretrain=2, seeds=3)
    assert [rung.seeds for rung in results.record.rungs] == [1, 2, 2]
    assert results.exit_status == 0


@pytest.mark.slow
def test_a_control_that_cannot_be_built_does_not_leave_the_search_unfinished(
    fake: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = planning.build_arms

    def with_broken_control(study: Study) -> list[Arm]:
        return [replace(arm, model={}, error="no room") if arm.kind == "control" else arm for arm in build(study)]

    monkeypatch.setattr(planning, "build_arms", with_broken_control)
    results = fake.search(seeds=3, controls="null")
    assert results.exit_status == 0
    assert results.record.confirmed[0].verdict == "better"


@pytest.mark.slow
def test_a_rung_contains_only_the_candidates_of_this_plan(fake: FakeSearch) -> None:
    """A smaller budget, after a command that was stopped, does not execute what only the larger one had planned."""
    fake.search(runs=60, seeds=3)
    results = fake.search(runs=30, seeds=3)
    for rung in results.record.rungs:
        estimates = [one for one in results.record.candidates for found in one.estimates if found.rung == rung.number]
        assert len(estimates) == rung.candidates
        assert rung.runs == (rung.candidates + 1) * rung.seeds


@pytest.mark.slow
def test_the_results_of_a_finished_search_remain_until_it_changes(
    fake: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.search(seeds=3)
    stored = (fake.folder / "search.json").read_text()

    def stop(*given: Any, **how: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "confirm", stop)
    with pytest.raises(KeyboardInterrupt, match="run the same command again"):
        fake.search(seeds=3)
    assert (fake.folder / "search.json").read_text() == stored
    with pytest.raises(KeyboardInterrupt):
        fake.search(seeds=3, runs=60)
    found = read_record(fake.folder)
    assert found and not found.finished
    assert sum(one.status == FINALIST for one in found.candidates) == 3


@pytest.mark.slow
def test_a_search_of_custom_layers_resumes(fake: FakeSearch) -> None:
    code = """from yolo_attn import register_layer
from yolo_attn.layers.base import Gate

@register_layer(family="channel", summary="for this test")
class ResumedGate(Gate):
    def gate(self, x):
        return x.mean((2, 3), keepdim=True).sigmoid()
"""
    (fake.home / "resumed_layers.py").write_text(code)
    try:
        fake.search(layers="resumed_layers.py", seeds=3, name=None)
        starts = fake.starts()
        assert fake.search(layers="resumed_layers.py", seeds=3, name=None).folder == Path("runs/search/search")
        assert fake.starts() == starts
    finally:
        unregister_layer("ResumedGate")
        sys.modules.pop("resumed_layers", None)


@pytest.mark.slow
def test_the_record_names_no_folders_of_this_machine(fake: FakeSearch) -> None:
    results = fake.search(data="/home/me/sets/fruit.yaml", base="/home/me/base.yaml", seeds=3)
    assert "/home/me" not in (fake.folder / "search.json").read_text()
    assert (results.record.info.base, results.record.info.given_data) == ("…/base.yaml", "…/fruit.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variants": "SE@neck"}, r"variants=SE@neck: not a key of a search: layers= and at= give the candidates"),
        ({"runs": 10, "hours": 1}, "runs=10 and hours=1: give one of them"),
        ({"finalists": 4}, "finalists=4: at most 3"),
        ({"share": 0.9}, "share=0.9: must be a share"),
        ({"seeds": "0,5,7"}, "seeds=0,5,7: the confirmation needs seeds that the search has not seen, from 100 on"),
        ({"seeds": 2}, "seeds=2: the confirmation has no verdict below 3 seeds"),
        ({"seeds": "auto"}, "seeds=auto: not in a search; give the number of seeds"),
        ({"limit": "speed:+5%"}, "speed"),
        ({"layer": "SE"}, "unknown key 'layer'"),
    ],
)
def test_invalid_arguments_are_one_line(fake: FakeSearch, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        fake.search(**arguments)
    assert "\n" not in str(error.value)
    assert not fake.folder.exists()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ("Own", "Other")),
        (("SE",), ("Own", "Other", "SE")),
        (("all",), ("Own", "Other", "all")),
        (("own[r=2]", "SE"), ("own[r=2]", "SE")),
        (("Alias",), ("Alias",)),
    ],
)
def test_layers_of_files_are_candidates_beside_other_names(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    own: Any = [SimpleNamespace(name="Own", aliases=("Alias",)), SimpleNamespace(name="Other", aliases=())]
    assert engine._with_own(names, own) == expected
