"""Studies whose undecided arms get more seeds, and what looks at a study mean."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.study.conftest import Fake
from yolo_attn.errors import UserError
from yolo_attn.stats.sequential import error_rate, look_levels
from yolo_attn.study.report import make_report
from yolo_attn.study.results.looks import read_looks
from yolo_attn.study.running.progress import Progress
from yolo_attn.study.running.run import Run
from yolo_attn.study.times import RunSeconds

forking = pytest.mark.skipif(sys.platform == "win32", reason="no fork")


def seeds(fake: Fake) -> dict[str, list[int]]:
    """Return the seeds of each arm in the results."""
    return {arm["name"]: [run["seed"] for run in arm["runs"]] for arm in fake.results()["arms"]}


def verdicts(fake: Fake) -> dict[str, str | None]:
    return {arm["name"]: arm["verdict"] for arm in fake.results()["arms"][1:]}


def looks(fake: Fake) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fake.results()["looks"]
    assert json.loads((fake.folder / "looks.json").read_text())["looks"] == found
    return found


def notes(fake: Fake, word: str) -> list[str]:
    return [note for note in fake.results()["notes"] if word in note]


def test_each_arm_gets_seeds_until_it_is_decided(fake: Fake) -> None:
    arguments = {"variants": "hits20,hits6,unsure", "seeds": "auto", "max_seeds": 5}
    first = fake.compare(**arguments)
    assert first.exit_status == 0
    assert verdicts(fake) == {"hits20": "better", "hits6": "worse", "unsure": "inconclusive"}
    found = seeds(fake)
    assert found["yolo11n"] == found["unsure"] == [0, 1, 2, 3, 4]
    assert (found["hits20"], found["hits6"]) == ([0, 1, 2], [0, 1, 2, 3])
    assert len(fake.starts()) == len(list(fake.folder.glob("runs/*"))) == 17
    assert "3 to 5 seeds, 12 to 20 runs, 0 of them done" in fake.output()
    assert "look after 3 seeds: hits20 better, 2 of 3 variants undecided" in fake.output()
    assert "look after 4 seeds: hits6 worse, 1 of 3 variants undecided" in fake.output()
    assert "look after 5 seeds: no new verdict, 1 of 3 variants undecided" in fake.output()
    (note,) = notes(fake, "Seeds are added")
    assert note.endswith("at most 5: hits20 decided after 3; hits6 decided after 4; unsure undecided after 5.")
    # Each verdict has the error level of its number of seeds.
    levels = look_levels(0.05 / 3, 3, 5)
    assert [(look["seeds"], look["planned"], look["counts"]) for look in looks(fake)] == [
        (3, True, {"hits20": 3, "hits6": 3, "unsure": 3}),
        (4, True, {"hits20": 3, "hits6": 4, "unsure": 4}),
        (5, True, {"hits20": 3, "hits6": 4, "unsure": 5}),
    ]
    assert looks(fake)[2]["alphas"] == pytest.approx({"hits20": levels[3], "hits6": levels[4], "unsure": levels[5]})
    assert not notes(fake, "unplanned")
    # Nothing is repeated.
    before = fake.results()
    fake.compare(**arguments)
    make_report(fake.folder)
    assert fake.results() == before
    assert len(fake.starts()) == 17


@pytest.mark.slow
@forking
def test_a_killed_study_continues_with_the_same_result(
    fake: Fake, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    """It is killed during the first run of a seed, in the third case after a look."""
    arguments = {"base": "sleepy.x.yaml", "variants": "unsure", "seeds": "auto", "max_seeds": 4}
    for seed in ("0", "1", "3"):
        before = len(fake.starts())
        process = fake.in_background(**arguments)
        wait_for(lambda: ("sleepy.x", seed) in fake.starts()[before:])  # noqa: B023 (called at once)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert (fake.folder / "looks.json").exists() == (seed == "3")
    fake.compare(**arguments)
    assert [fake.starts().count(("sleepy.x", str(seed))) for seed in range(4)] == [2, 2, 1, 2]
    killed, counts = fake.results(), [look["counts"] for look in looks(fake)]
    fake.compare(**arguments, name="whole")
    fake.folder = fake.folder.with_name("whole")
    assert [arm["delta"] for arm in killed["arms"]] == [arm["delta"] for arm in fake.results()["arms"]]
    assert counts == [look["counts"] for look in looks(fake)] == [{"unsure": 3}, {"unsure": 4}]


@pytest.mark.slow
def test_hours_limit_the_seeds(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"hours=1e-09: too short for one seed of all arms; give more hours"):
        fake.compare(variants="unsure", seeds="auto", hours=1e-9)
    assert not fake.starts()

    def long(last: int) -> None:
        def needed(self: Progress, runs: Sequence[Run], workers: int) -> float:
            return 0.0 if runs[0].seed <= last else 3600.0

        monkeypatch.setattr(Progress, "seconds_until_done", needed)

    long(1)
    assert fake.compare(variants="unsure", seeds="auto", hours=0.9).exit_status == 0
    assert seeds(fake) == {"yolo11n": [0, 1], "unsure": [0, 1]}
    assert verdicts(fake) == {"unsure": None}
    assert "hours=0.9: no time for another seed" in fake.output()
    long(3)
    fake.compare(variants="unsure", seeds="auto", hours=0.9)
    assert seeds(fake) == {"yolo11n": [0, 1, 2, 3], "unsure": [0, 1, 2, 3]}
    assert verdicts(fake) == {"unsure": "inconclusive"}
    assert len(fake.starts()) == len(set(fake.starts())) == 8
    monkeypatch.undo()


def test_hours_that_a_first_guess_exceeds_start_nothing(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunSeconds, "__call__", lambda *_: 1800.0)  # two arms, one run at a time
    with pytest.raises(UserError, match=r"hours=0.9: too short for one seed of all arms, which takes about 1:00:00;"):
        fake.compare(variants="unsure", seeds="auto", max_seeds=3, hours=0.9)
    assert not fake.starts()
    assert fake.compare(variants="unsure", seeds="auto", max_seeds=3, hours=1.1).exit_status == 0


@pytest.mark.slow
def test_failed_and_interrupted_arms_do_not_stop_others(fake: Fake) -> None:
    arguments = {"variants": "fail.x,killed.x,B", "seeds": "auto", "max_seeds": 4}
    fake.compare(**arguments)
    assert verdicts(fake) == {"fail.x": None, "killed.x": None, "B": "better"}
    assert seeds(fake)["fail.x"] == seeds(fake)["killed.x"] == [0, 1, 2]
    assert [look["counts"] for look in looks(fake)][-1] == {"B": len(seeds(fake)["B"])}
    assert fake.compare(**arguments).exit_status == 1  # only because of the failed runs
    assert verdicts(fake)["killed.x"] == "equivalent"


@pytest.mark.slow
def test_seeds_added_by_hand_are_unplanned_looks(fake: Fake) -> None:
    fake.compare(variants="unsure", seeds=3)
    assert [(look["seeds"], look["planned"]) for look in looks(fake)] == [(3, True)]
    fake.compare(variants="unsure", seeds=3)
    assert not notes(fake, "unplanned")
    fake.compare(variants="unsure", seeds=4, exist_ok=True)
    fake.compare(variants="unsure", seeds=6, exist_ok=True)
    assert [(look["seeds"], look["planned"]) for look in looks(fake)] == [(3, True), (4, False), (6, False)]
    rate = error_rate({3: 0.05, 4: 0.05, 6: 0.05})
    (note,) = notes(fake, "unplanned")
    assert note.startswith(
        f"Verdicts after unplanned looks at 3, 4 and 6 seeds: false alarms up to {100 * rate:.1f}% instead of 5%."
    )
    assert note in fake.output()
    make_report(fake.folder)
    assert notes(fake, "unplanned") == [note]


@pytest.mark.slow
def test_looks_at_another_recipe_do_not_count(fake: Fake) -> None:
    fake.compare(variants="A", seeds=3)
    fake.compare(variants="A", seeds=4, epochs=4, exist_ok=True)
    assert not notes(fake, "unplanned")
    fake.compare(variants="A", seeds=4, epochs=3, exist_ok=True)
    assert notes(fake, "at 3 and 4 seeds")
    assert len(json.loads((fake.folder / "looks.json").read_text())["looks"]) == 3


def test_a_margin_that_changed_after_a_look_is_noted(fake: Fake) -> None:
    fake.compare(variants="unsure", seeds=3, margin=2)
    fake.compare(variants="unsure", seeds=3)
    assert (fake.results()["margin"], notes(fake, "margin")) == (0.02, [])  # as stored unless it is given
    fake.compare(variants="unsure", seeds=3, margin=90)
    (note,) = notes(fake, "margin")
    assert note.startswith("The margin was 2 points at the look at 3 seeds and is 90 now.")
    assert not notes(fake, "unplanned")


@pytest.mark.slow
def test_a_fixed_study_can_get_more_seeds(fake: Fake) -> None:
    fake.compare(variants="unsure", seeds=3)
    fake.compare(variants="unsure", seeds="auto", max_seeds=4, exist_ok=True)
    assert "earlier looks count: at 3 seeds" in fake.output()
    assert seeds(fake)["unsure"] == [0, 1, 2, 3]
    assert [look["counts"] for look in looks(fake)] == [{"unsure": 3}, {"unsure": 4}]
    # The first look had the whole level, and those of the plan come on top of it.
    rate = error_rate({3: 0.05, 4: look_levels(0.05, 3, 4)[4]})
    assert f"looks at 3 and 4 seeds: false alarms up to {100 * rate:.1f}%" in notes(fake, "unplanned")[0]


@pytest.mark.slow
def test_a_larger_number_of_seeds_after_the_last_look_is_unplanned(fake: Fake) -> None:
    fake.compare(variants="unsure", seeds="auto", max_seeds=4)
    assert not notes(fake, "unplanned")
    fake.compare(variants="unsure", seeds="auto", max_seeds=5, exist_ok=True)
    planned, longer = look_levels(0.05, 3, 4), look_levels(0.05, 3, 5)
    rate = error_rate({3: planned[3], 4: planned[4], 5: longer[5]})
    assert f"false alarms up to {100 * rate:.1f}%" in notes(fake, "unplanned")[0]


@pytest.mark.slow
def test_seeds_of_a_study_with_looks_can_be_fixed_later(fake: Fake) -> None:
    fake.compare(variants="hits20,unsure", seeds="auto", max_seeds=4)
    fake.compare(variants="hits20,unsure", seeds=2, exist_ok=True)
    assert seeds(fake) == {name: [0, 1, 2, 3] for name in ("yolo11n", "hits20", "unsure")}
    # The last look at the usual level comes on top of those of the plan.
    auto = look_levels(0.025, 3, 4)
    rate = error_rate({3: auto[3], 4: 0.025}) + error_rate({3: auto[3], 4: 0.025})
    assert f"up to {100 * rate:.1f}%" in notes(fake, "unplanned")[0]


@pytest.mark.slow
def test_more_seeds_and_variants_can_be_added_to_a_study_with_looks(fake: Fake) -> None:
    fake.compare(variants="B", seeds="auto", max_seeds=3)
    fake.compare(variants="unsure", max_seeds=4, seeds="auto", exist_ok=True)
    assert seeds(fake)["unsure"] == [0, 1, 2, 3]
    fake.compare(variants="A", seeds=None, exist_ok=True)
    assert fake.results()["max_seeds"] == 4
    assert verdicts(fake)["A"] == "equivalent"
    assert seeds(fake)["A"] == [0, 1, 2]


@pytest.mark.slow
def test_looks_are_kept_without_their_file(fake: Fake) -> None:
    fake.compare(variants="unsure", seeds=3)
    (fake.folder / "looks.json").unlink()
    fake.compare(variants="unsure", seeds=4, exist_ok=True)
    assert [look["seeds"] for look in looks(fake)] == [3, 4]
    assert notes(fake, "unplanned looks at 3 and 4 seeds")
    (fake.folder / "looks.json").unlink()
    fake.compare(variants="unsure", seeds=1, epochs=4, exist_ok=True)  # replaces the results
    assert [look.seeds for look in read_looks(fake.folder)] == [3, 4]


@pytest.mark.slow
def test_the_verdicts_of_an_early_version_are_the_first_look(fake: Fake) -> None:
    fake.compare(variants="unsure,B", seeds=3)
    (fake.folder / "looks.json").unlink()
    data = fake.results()
    for key in ("looks", "margin"):
        del data[key]
    data["schema"], data["arms"][1]["verdict"] = 1, "not shown"  # as it was called
    (fake.folder / "results.json").write_text(json.dumps(data))
    fake.compare(variants="unsure,B", seeds=4, exist_ok=True)
    first, second = looks(fake)
    assert (first["verdicts"], first["counts"]) == ({"unsure": "inconclusive", "B": "better"}, {"unsure": 3, "B": 3})
    assert (first["alphas"], second["seeds"]) == ({"unsure": 0.025, "B": 0.025}, 4)
    assert notes(fake, "unplanned looks at 3 and 4 seeds")


@pytest.mark.slow
def test_a_report_takes_the_looks_from_their_file(fake: Fake) -> None:
    fake.compare(variants="unsure", seeds=3)
    fake.compare(variants="unsure", seeds=4, exist_ok=True)
    before, data = fake.results(), fake.results()
    data["looks"] = data["looks"][1:]
    (fake.folder / "results.json").write_text(json.dumps(data))
    make_report(fake.folder)
    assert fake.results() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"looks": 5}', "{}"])
def test_damaged_looks_are_an_error(tmp_path: Path, content: str) -> None:
    assert read_looks(tmp_path) == []
    (tmp_path / "looks.json").write_text(content)
    with pytest.raises(UserError, match=r"looks\.json: damaged; restore it, or delete it: verdicts then"):
        read_looks(tmp_path)


def test_auto_needs_the_first_seeds(fake: Fake) -> None:
    fake.compare(variants="A", seeds="7,8")
    with pytest.raises(UserError, match=r"adds to the seeds 0, 1, 2, ..., but the study has the seeds 7,8"):
        fake.compare(variants="A", seeds="auto", exist_ok=True)


def test_a_study_with_looks_is_a_study_file(fake: Fake) -> None:
    fake.compare(variants="hits20", seeds="auto", max_seeds=4)
    fake.compare(study=fake.folder / "study.yaml", variants=None, seeds=None)
    assert len(fake.starts()) == 6
    assert "seeds: auto" in Path(fake.folder / "study.yaml").read_text()
