"""`plan=True`: what a study would train, take and show; and the noise that earlier studies have measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.study.conftest import Fake
from yolo_attn.data import DataSummary, SplitSummary
from yolo_attn.stats.power import Noise, minimum_detectable_range
from yolo_attn.study.earlier import measured_noise
from yolo_attn.study.forecast import Forecast
from yolo_attn.study.results.judging import Rules
from yolo_attn.study.results.records import ArmSummary, BaseSummary, Difference, RunSummary, StudyInfo, StudyResults


def plan(fake: Fake, **arguments: Any) -> Forecast:
    """Return the forecast of a study, which must write nothing."""
    before = sorted(Path().rglob("*"))
    found = fake.compare(plan=True, **arguments)
    assert sorted(Path().rglob("*")) == before
    assert isinstance(found, Forecast)
    assert found.exit_status == 0
    assert str(found) in fake.output()
    return found


def line(found: Forecast, start: str) -> str:
    """Return the only line of a forecast with a beginning."""
    (text,) = [text for text in str(found).splitlines() if text.startswith(start)]
    return text


# --- what is planned --------------------------------------------------------------------------------------------------


def test_a_plan_lists_arms_and_runs_and_trains_nothing(fake: Fake) -> None:
    found = plan(fake, variants="A,B", seeds=5)
    assert fake.starts() == []
    assert line(found, "plan:") == "plan: 3 arms, seeds=5, 15 runs; nothing is trained"
    assert (line(found, "baseline:"), line(found, "variant:")) == ("baseline: yolo11n", "variant: A, B")
    assert [(row["seeds"], row["runs"]) for row in found.rows()] == [(n, 3 * n) for n in (3, 4, 5, 6, 8, 10, 12)]
    assert found._repr_html_().count("<tr>") == 8
    assert repr(found) == "<Forecast of 15 runs: yolo11n, A, B>"
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_number_of_seeds_of_the_study_is_in_the_table(fake: Fake) -> None:
    assert [row["seeds"] for row in plan(fake, seeds=7).rows()] == [3, 4, 5, 6, 7, 8, 10, 12]


def test_too_few_seeds_for_a_verdict_are_noted(fake: Fake) -> None:
    note = "no verdict below 3, because an effect cannot be separated from chance"
    assert line(plan(fake, seeds=2), "2 seeds") == f"2 seeds: {note}"
    assert note not in str(plan(fake, seeds=3))


def test_the_trainings_of_the_base_are_counted(fake: Fake) -> None:
    found = plan(fake, variants="A", pretrain=7, seeds=3)
    assert line(found, "plan:").startswith("plan: 2 arms, seeds=3, 7 runs (1 of the base);")
    assert [row["runs"] for row in found.rows()][:2] == [7, 9]
    found = plan(fake, variants="A", pretrain=7, bases=3, seeds=6)
    assert found.size.runs == 15
    assert [(row["bases"], row["seeds"], row["runs"]) for row in found.rows()][:2] == [(3, 6, 15), (4, 8, 20)]
    assert "6 from 3 bases" in str(found)


def test_finished_runs_are_not_planned_again_and_tell_the_time(fake: Fake) -> None:
    fake.compare(variants="A", pretrain=7, seeds=2)
    for path in fake.folder.glob("runs/*/result.json"):
        seconds = {"A": 20.0, "yolo11n": 10.0}.get(path.parent.name.partition("-s")[0], 100.0)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"wall_seconds": seconds}))
    found = plan(fake, variants="A", pretrain=7, seeds=3, exist_ok=True)
    assert (found.done, found.size.runs, found.seconds) == (5, 7, 30.0)
    assert line(found, "expected time") == "expected time: 0:30"
    assert [row["seconds"] for row in found.rows()][:2] == [190.0, 220.0]
    fake.workers = 2
    found = plan(fake, variants="A", pretrain=7, seeds=4, exist_ok=True)
    assert line(found, "expected time") == "expected time: 0:30, 2 runs at a time"


def test_a_base_that_another_study_has_trained_is_done(fake: Fake) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    assert plan(fake, variants="B", pretrain=7, seeds=3, name="other").done == 1


def test_a_damaged_result_is_an_error_as_without_plan(fake: Fake) -> None:
    from yolo_attn.errors import UserError

    fake.compare(variants="A", seeds=1)
    next(fake.folder.glob("runs/A-*/result.json")).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        fake.compare(variants="A", seeds=1, plan=True)


# --- noise ------------------------------------------------------------------------------------------------------------


def test_without_earlier_results_the_noise_is_unknown_and_a_pilot_is_suggested(fake: Fake) -> None:
    found = plan(fake, detect=5)
    assert line(found, "noise").startswith(
        "noise of a difference: unknown; measure it in a pilot: the same command with"
    )
    assert line(found, "detect=5") == "detect=5: unknown without a measurement of the noise"
    assert {row["low"] for row in found.rows()} == {None}
    fake.compare(seeds=3, name="pilot")
    found = plan(fake, seeds=5)
    assert line(found, "noise").endswith("points of mAP50-95 (runs/compare/pilot)")


@pytest.mark.slow
def test_the_detectable_range_follows_from_the_noise_of_earlier_runs(fake: Fake) -> None:
    fake.compare(variants="B,crippled", seeds=4)
    found = plan(fake, variants="B,crippled", seeds=6, exist_ok=True)
    assert found.noise is not None
    assert (found.noise.source, found.noise.changes) == ("earlier runs of this study", ())
    rows = {row["seeds"]: row for row in found.rows()}
    expected = minimum_detectable_range(6, found.noise.noise, alpha=0.05 / 2)
    assert (rows[6]["low"], rows[6]["high"]) == pytest.approx(expected)
    assert rows[3]["high"] > rows[12]["high"]
    fake.compare(variants="B,crippled", seeds=6, exist_ok=True)
    text = (
        f"minimum detectable difference: {100 * expected[0]:.2f} to {100 * expected[1]:.2f} points of mAP50-95 with 6"
    )
    assert text in fake.output()


@pytest.mark.slow
def test_seeds_auto_accounts_for_its_looks(fake: Fake) -> None:
    fake.compare(variants="B,crippled", seeds=4, name="pilot")
    found = plan(fake, variants="B,crippled", seeds="auto", max_seeds=8)
    assert line(found, "plan:").startswith("plan: 3 arms, seeds=3 to 8, at most 24 runs;")
    rows = {row["seeds"]: row for row in found.rows()}
    for seeds in (3, 8):
        factor = Rules(0.005, max_seeds=8).look_factor(0.025, seeds)
        assert factor > 1
        assert found.noise is not None
        expected = minimum_detectable_range(seeds, found.noise.noise, alpha=0.05 / 2, look_factor=factor)
        assert (rows[seeds]["low"], rows[seeds]["high"]) == pytest.approx(expected)


@pytest.mark.slow
def test_the_most_similar_study_is_used_and_its_differences_are_named(fake: Fake) -> None:
    fake.compare(variants="B", seeds=3, name="best")
    changed = {"near": {"epochs": 9}, "unlike": {"epochs": None}, "far": {"epochs": 9, "lr0": 0.5}}
    for name, recipe in changed.items():
        folder = Path("runs/compare") / name
        shutil.copytree("runs/compare/best", folder)
        content = json.loads((folder / "results.json").read_text())
        content["recipe"] |= recipe
        (folder / "results.json").write_text(json.dumps(content))
    named = {"best": "", "near": ", which has epochs=9", "unlike": ", which has no epochs"}
    for name, changes in {**named, "far": ", which has epochs=9, lr0=0.5"}.items():
        assert line(plan(fake, variants="B"), "noise").endswith(f"(runs/compare/{name}{changes})")
        shutil.rmtree(Path("runs/compare") / name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "other", [{"data": "mine.yaml"}, {"groups": "."}, {"pretrain": 7}, {"seeds": 2}, {"project": "elsewhere"}]
)
def test_studies_that_say_nothing_about_the_noise_are_not_used(fake: Fake, other: dict[str, Any]) -> None:
    """Other images or groups of them, another kind of start, too few seeds, or another project."""
    fake.compare(**{"variants": "B", "seeds": 3, "name": "other", **other})
    assert plan(fake, variants="B").noise is None


def test_damaged_results_of_other_studies_are_ignored(fake: Fake) -> None:
    Path("runs/compare/other").mkdir(parents=True)
    Path("runs/compare/other/results.json").write_text("{")
    assert plan(fake, variants="B").noise is None


@pytest.mark.slow
def test_impossible_noise_of_other_studies_is_ignored(fake: Fake) -> None:
    fake.compare(variants="B", seeds=3, name="other")
    path = Path("runs/compare/other/results.json")
    data = json.loads(path.read_text())
    assert plan(fake, variants="B").noise is not None
    data["arms"][1]["delta"]["mAP50-95"]["sd_training"] = 1e100
    path.write_text(json.dumps(data))
    assert plan(fake, variants="B").noise is None


def results(bases: int = 1, **noise: Any) -> StudyResults:
    delta = {"mAP50-95": Difference(**{"sd_training": 0.03, "se_images": 0.01, "seeds": 3, **noise})}
    runs = [RunSummary(seed, "done", base=seed % bases) for seed in range(6)]
    arms = [ArmSummary("a", "baseline", runs=runs), ArmSummary("b", "variant", runs=runs, delta=delta)]
    return StudyResults(StudyInfo(), arms, bases=[BaseSummary(seed, "done") for seed in range(bases)])


def test_noise_is_that_of_the_variants_with_enough_seeds() -> None:
    assert measured_noise(results()) == Noise(0.03, 0.01, 2.0)
    assert measured_noise(results(seeds=2)) is None
    assert measured_noise(results(se_images=None)) is None
    assert measured_noise(results(sd_training=0.0, se_images=0.0)) is None
    arms = [ArmSummary("a", "baseline"), ArmSummary("b", "variant")]
    assert measured_noise(StudyResults(StudyInfo(), arms)) is None


def test_noise_of_the_planned_variants_is_preferred() -> None:
    study = results()
    other = ArmSummary("c", "variant", delta={"mAP50-95": Difference(sd_training=0.09, se_images=0.01, seeds=3)})
    study = StudyResults(StudyInfo(), [*study.arms, other])
    assert measured_noise(study, ["b"]) == Noise(0.03, 0.01, 2.0)
    pooled = measured_noise(study, ["d"])
    assert pooled is not None and 0.03 < pooled.training < 0.09


def test_the_noise_of_bases_is_known_only_from_studies_with_several() -> None:
    assert measured_noise(results(), None, 2) is None
    found = measured_noise(results(bases=3, sd_bases=0.04, seeds=6), None, 9)
    assert found == Noise(pytest.approx(0.0412, abs=1e-4), 0.01, 2.0)


# --- detect -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_cheapest_study_for_a_difference_is_named(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {"train": SplitSummary(8, 8, 9), "val": SplitSummary(40, 40, 40)}
    monkeypatch.setattr(
        "yolo_attn.data.check_data", lambda data, *_, **__: DataSummary(data, "detect", {0: "one"}, splits, digest="d")
    )
    monkeypatch.setattr("yolo_attn.study.times.guess_epoch_seconds", lambda *_, **__: 10.0)
    fake.compare(variants="B,crippled", seeds=4, name="pilot", data="mine.yaml")
    large = plan(fake, variants="B,crippled", detect=60, data="mine.yaml")
    assert line(large, "detect=60").startswith("detect=60: seeds=3: 9 runs, ")
    small = plan(fake, variants="B,crippled", detect=10, data="mine.yaml")
    assert small.required is not None and small.required.images is not None and small.required.images > 40
    text = line(small, "detect=10")
    assert text.startswith("detect=10: no number of seeds suffices with 40 test images; seeds=")
    assert f"with {small.required.images} images" in text
