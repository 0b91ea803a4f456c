"""Results computed from stored matches."""

from __future__ import annotations

import copy
import dataclasses
import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from benchmarks.simulation.images import Images
from yolo_attn.errors import UserError
from yolo_attn.stats import compare, power
from yolo_attn.stats.bootstrap import image_weights, replicate_metrics
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.matches import Matches, MatchesBuilder
from yolo_attn.study.comparison import Results
from yolo_attn.study.earlier import measured_noise
from yolo_attn.study.job import RunResult, RunState
from yolo_attn.study.report import write_reports
from yolo_attn.study.results import estimates, metrics
from yolo_attn.study.results.build import ArmRuns, TrainedBase, make_results
from yolo_attn.study.results.records import StudyInfo, StudyResults
from yolo_attn.study.results.storage import SCHEMA_FILE
from yolo_attn.system.files import as_json

MAIN = "mAP50-95"
INFO = StudyInfo(
    data="simulated",
    task="detect",
    recipe={"epochs": 1},
    versions={"yolo-attn": "1"},
    seeds=(0, 1, 2),
    device="cpu",
    threads=1,
    command="yolo-attn compare",
)


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Clear the caches, as in a new process."""
    estimates.forget()
    yield


class Made:
    """A study with simulated runs.

    Args:
        folder: Its folder.
        images: Number of images.
    """

    def __init__(self, folder: Path, images: int = 60) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(0)
        self.images = Images(self.rng, images)
        self.arms: list[ArmRuns] = []

    def add(self, name: str, kind: str, skill: float = 0.0, seeds: Sequence[int] = (0, 1, 2), like: str = "") -> None:
        """Add an arm; `like` is the name of an arm whose runs it shares."""
        runs = [self._run(like or name, seed, skill, made=not like) for seed in seeds]
        self.arms.append(ArmRuns(name, kind, f"runs/{name}.yaml", runs, (10, 12)))

    def _run(self, name: str, seed: int, skill: float, made: bool) -> RunState:
        folder = self.folder / "runs" / f"{name}-s{seed}"
        if made:
            folder.mkdir(parents=True)
            level = np.full(self.images.count, skill + self.rng.normal(0, 0.05))
            self.images.evaluate(level).save(folder / "matches.npz")
        other = {"mAP50-95": 0.5, "mAP50": 0.6, "mAP75": float("nan")}
        content = {
            "seed": seed,
            "status": "done",
            "error": None,
            "seconds": 10.0 + seed,
            "epochs": 1,
            "memory_mib": {"process": 100.0 + seed, "cuda": None},
            "metrics_best": other,
            "metrics_ultralytics": {**other, "precision": 0.9, "recall": 0.8},
            "params": 1000,
            "gflops": 1.5,
            "began": 1.7e9,
            "wall_seconds": 10.0 + seed,
            "environment": {"gpu": "NVIDIA A", "amp": True},
        }
        where = folder.relative_to(self.folder).as_posix()
        return RunState(seed, "done", where, result=RunResult.from_json(content))

    def results(self) -> Results:
        return Results(self.folder, make_results(self.folder, INFO, self.arms))

    def arm(self, name: str) -> dict[str, Any]:
        return next(arm for arm in self.results().to_dict()["arms"] if arm["name"] == name)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    study = Made(tmp_path_factory.mktemp("study"))
    study.add("base", "baseline")
    study.add("good", "variant", skill=1.5)
    study.add("bad", "variant", skill=-1.5)
    study.add("same", "variant", like="base")
    study.add("null", "control")
    study.results()
    return study


@pytest.fixture
def made(template: Made, tmp_path: Path) -> Made:
    """A study with a computed bootstrap."""
    study = copy.copy(template)
    study.folder, study.arms = tmp_path / "study", list(template.arms)
    shutil.copytree(template.folder, study.folder)
    return study


def check_schema(data: Any) -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(data)


def test_verdicts(made: Made) -> None:
    data = made.results().to_dict()
    assert {arm["name"]: arm["verdict"] for arm in data["arms"]} == {
        "base": None,
        "good": "better",
        "bad": "worse",
        "same": "equivalent",
        "null": "inconclusive",  # trained with noise of its own, so that it differs by chance
    }
    same = made.arm("same")["delta"][MAIN]
    assert (same["mean"], same["ci95"], same["p"], same["p_better"]) == (0.0, [0.0, 0.0], 1.0, 0.5)


def test_only_the_variants_are_corrected_for_their_number(made: Made) -> None:
    for metric in Matches.metrics:
        deltas = {arm["name"]: (arm["delta"] or {}).get(metric) for arm in made.results().to_dict()["arms"]}
        if metric in {"mAP-small", "mAP-medium"}:  # every object is large
            assert set(deltas.values()) == {None}
            continue
        for name in ("good", "bad", "same"):
            assert deltas[name]["p_adjusted"] == min(1.0, 3 * deltas[name]["p"])
            assert deltas[name]["level"] == pytest.approx(1 - 0.05 / 3)
        assert deltas["good"]["interval"][0] < deltas["good"]["ci95"][0]
        assert deltas["null"]["level"] == 0.95


def test_the_margin_decides_what_is_equivalent(made: Made) -> None:
    arm = made.arm("good")["delta"][MAIN]
    assert arm["interval"][0] > 0
    wide = dataclasses.replace(INFO, margin=2 * arm["interval"][1])
    found = make_results(made.folder, wide, made.arms)
    assert {item.name: item.verdict for item in found.variants} == dict.fromkeys(("good", "bad", "same"), "equivalent")
    narrow = dataclasses.replace(INFO, margin=1e-9)
    found = make_results(made.folder, narrow, made.arms)
    assert [item.verdict for item in found.variants] == ["better", "worse", "equivalent"]  # the last is the base itself


def test_looks_after_every_seed_widen_the_interval(made: Made) -> None:
    fixed, auto = (
        make_results(made.folder, dataclasses.replace(INFO, max_seeds=most), made.arms).arms[1].difference(MAIN)
        for most in (None, 12)
    )
    assert fixed.interval is not None
    assert auto.interval is not None
    assert auto.interval[0] < fixed.interval[0] < fixed.interval[1] < auto.interval[1]
    assert (auto.level, auto.ci95) == (fixed.level, fixed.ci95)
    assert auto.p_adjusted is None
    assert auto.p == fixed.p


@pytest.mark.parametrize(("given", "read"), [(12, 12), (2, None), (10**9, None), ("12", None), (None, None)])
def test_a_largest_number_of_seeds_that_no_study_has_is_not_read(given: object, read: int | None) -> None:
    """Computing the levels of a billion looks would never end."""
    assert StudyInfo.from_json({"max_seeds": given}).max_seeds == read


def test_an_arm_with_more_failed_seeds_than_the_baseline_is_not_better(made: Made) -> None:
    def with_run(arm: ArmRuns, status: str) -> ArmRuns:
        return dataclasses.replace(arm, runs=[*arm.runs, dataclasses.replace(arm.runs[0], seed=3, status=status)])

    (base, good, bad), failed = made.arms[:3], "failed"
    found = make_results(made.folder, INFO, [with_run(base, "done"), with_run(good, failed), with_run(bad, failed)])
    assert [arm.verdict for arm in found.arms] == [None, "inconclusive", "worse"]
    found = make_results(made.folder, INFO, [with_run(base, failed), with_run(good, failed), with_run(bad, "done")])
    assert [arm.verdict for arm in found.arms] == [None, "better", "inconclusive"]
    # An arm that was decided before the baseline failed stays decided.
    auto = dataclasses.replace(INFO, max_seeds=4)
    found = make_results(made.folder, auto, [with_run(base, failed), good, bad])
    assert [arm.verdict for arm in found.arms] == [None, "better", "worse"]


def test_one_base_that_is_left_of_several_gives_no_verdict(made: Made) -> None:
    lost = [RunState(seed, "failed", error="the base's training failed", base=seed - 2) for seed in (3, 4)]
    arms = [dataclasses.replace(arm, runs=[*arm.runs, *lost]) for arm in made.arms]
    bases = [TrainedBase(None, RunState(seed, status)) for seed, status in enumerate(("waiting", "failed", "failed"))]
    found = make_results(made.folder, INFO, arms, bases=bases).arms[1]
    assert (found.verdict, found.difference().ci95, found.difference().seeds) == (None, None, 3)


def test_variants_are_compared_with_the_width_control_and_with_each_other(made: Made) -> None:
    made.add("width", "control", skill=1.5)
    found = make_results(made.folder, INFO, made.arms)
    pairs = {(pair.arm, pair.reference): pair for pair in found.pairs}
    assert list(pairs) == [
        *((name, "width") for name in ("good", "bad", "same")),
        *(("good", "bad"), ("good", "same"), ("bad", "same")),
    ]
    assert pairs["good", "bad"].verdict == "better"
    assert pairs["bad", "same"].verdict == pairs["bad", "width"].verdict == "worse"
    assert pairs["good", "width"].verdict == "inconclusive"
    base = found.arms[1].difference(MAIN).mean
    assert pairs["good", "same"].difference.mean == base  # "same" has the runs of the baseline
    check_schema(found.to_json())


def test_few_images_give_no_verdict(tmp_path: Path) -> None:
    study = Made(tmp_path, images=compare.MIN_IMAGES - 1)
    study.add("base", "baseline")
    study.add("good", "variant", skill=3.0)
    data = study.results().to_dict()
    assert data["arms"][1]["verdict"] is None
    delta = data["arms"][1]["delta"][MAIN]
    assert delta["ci95"] is not None
    assert [delta[key] for key in ("interval", "p", "p_adjusted", "p_better")] == [
        None
    ] * 4  # no verdict by another name
    assert f"evaluate at least {compare.MIN_IMAGES}" in " ".join(data["notes"])


def test_numbers_are_computed_from_the_matches(made: Made) -> None:
    arm = made.arm("good")
    stored = {
        name: [Matches.load(made.folder / f"runs/{name}-s{seed}/matches.npz") for seed in range(3)]
        for name in ("base", "good")
    }
    found = [evaluate(matches) for matches in stored["good"]]
    assert [run["metrics"][MAIN] for run in arm["runs"]] == pytest.approx([one["metrics"][MAIN] for one in found])
    assert arm["metrics"][MAIN]["mean"] == pytest.approx(np.mean([one["metrics"][MAIN] for one in found]))
    weights = image_weights(made.images.count)
    shown = [len(set(made.images.gt_image[made.images.gt_class == number])) for number in range(2)]
    for column, name in enumerate(Matches.metrics[:3]):
        values = {key: np.array([[evaluate(m)["metrics"][name]] for m in runs]) for key, runs in stored.items()}
        sample = {
            key: np.stack([replicate_metrics(matches, weights).metrics[:, [column]] for matches in runs])
            for key, runs in stored.items()
        }
        support = compare.Support.of_means([shown], made.images.count)
        expected = compare.difference(
            compare.estimate(values["good"] - values["base"], sample["good"] - sample["base"], support)
        )
        delta = arm["delta"][name]
        for key in ("mean", "ci95", "p", "p_better", "sd_training", "se_images", "seeds"):
            assert delta[key] == pytest.approx(getattr(expected, key), rel=1e-4), key
    classes = [one["per_class"]["class1"] for one in found]
    base = [evaluate(matches)["per_class"]["class1"] for matches in stored["base"]]
    assert arm["per_class"]["class1"]["mean"] == pytest.approx(np.mean(classes))
    assert arm["per_class"]["class1"]["instances"] == (made.images.gt_class == 1).sum()
    assert arm["per_class"]["class1"]["delta"]["mean"] == pytest.approx(np.mean(classes) - np.mean(base))
    low, high = arm["per_class"]["class1"]["delta"]["ci95"]
    assert low < np.mean(classes) - np.mean(base) < high


def test_results_match_their_schema(made: Made) -> None:
    made.arms.append(ArmRuns("broken", "variant", None, [RunState(0, "failed", error="cannot be built")]))
    made.arms.append(ArmRuns("later", "variant", "m.yaml", [RunState(0, "waiting", "runs/later")]))
    results = made.results()
    check_schema(results.to_dict())
    assert json.loads(as_json(results.to_dict())) == results.to_dict()
    assert (results.to_dict()["images"], results.to_dict()["instances"]) == (60, len(made.images.gt_class))
    assert results.to_dict()["made"] == "2023-11-14T22:13:32Z"
    assert results.exit_status == 1
    assert results.of_status("failed")[0][0] == "broken"
    arm = results.to_dict()["arms"][1]
    assert (arm["seconds"], arm["memory_mib"], arm["transferred"]) == (11.0, {"process": 102.0, "cuda": None}, [10, 12])
    assert arm["metrics_best"]["mAP75"] == {"mean": None, "sd": None, "ci95": None}
    assert arm["metrics_best"][MAIN] == {"mean": 0.5, "sd": 0.0, "ci95": None}


def test_results_are_read_as_they_were_written(made: Made) -> None:
    data = made.results().to_dict()
    assert StudyResults.from_json(data).to_json() == data


def test_the_schema_lists_what_the_records_store(made: Made) -> None:
    """The keys of the JSON and of the schema are equal."""
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    data = made.results().to_dict()
    arm = data["arms"][1]
    assert set(data) == set(schema["properties"])
    for kind, record in (("arm", arm), ("run", arm["runs"][0]), ("difference", arm["delta"][MAIN])):
        assert set(record) == set(schema["$defs"][kind]["properties"]), kind
    assert set(arm["metrics"][MAIN]) == set(schema["$defs"]["estimate"]["properties"])


def test_results_do_not_import_reports() -> None:
    for path in SCHEMA_FILE.parent.glob("*.py"):
        assert "yolo_attn.study.report" not in path.read_text(encoding="utf-8"), path.name


def test_schema_rejects_invalid_results(made: Made) -> None:
    sound = made.results().to_dict()
    for change in (
        lambda data: data.update(schema=3),
        lambda data: data.pop("bootstrap"),
        lambda data: data["arms"][0].update(kind="variant"),
        lambda data: data["arms"][1].update(verdict="best"),
        lambda data: data["arms"][1]["delta"][MAIN].pop("interval"),
        lambda data: data["arms"][1]["metrics"][MAIN].update(ci95=[0.1]),
        lambda data: data["arms"][1]["runs"][0].update(metrics=None),
        lambda data: data["arms"][1]["runs"][0]["metrics"].update({MAIN: 41.2}),
    ):
        data = json.loads(as_json(sound))
        change(data)
        with pytest.raises(Exception, match=r"(?s).+") as caught:
            check_schema(data)
        assert type(caught.value).__name__ == "ValidationError"


def test_below_three_seeds_there_is_no_verdict(tmp_path: Path) -> None:
    study = Made(tmp_path)
    study.add("base", "baseline")
    study.add("two", "variant", skill=1.5, seeds=(0, 1))
    study.add("one", "variant", skill=1.5, seeds=(2,))
    study.add("other", "variant", skill=1.5, seeds=(7, 8, 9))
    data = study.results().to_dict()
    check_schema(data)
    two, one, other = data["arms"][1:]
    assert {arm["verdict"] for arm in (two, one, other)} == {None}
    assert two["delta"][MAIN]["ci95"] is not None
    assert (one["delta"][MAIN]["ci95"], one["metrics"][MAIN]["ci95"]) == (None, None)
    assert other["delta"] is None
    assert data["minimum_detectable"] is None
    assert "two seeds" in data["notes"][0]


def test_minimum_detectable_difference_uses_pooled_noise(made: Made) -> None:
    data = made.results().to_dict()
    arms = {arm["name"]: arm for arm in data["arms"]}
    deltas = [arms[name]["delta"][MAIN] for name in ("good", "bad")]  # not the base itself, not a control
    training, images = (
        math.sqrt(np.mean([delta[key] ** 2 for delta in deltas])) for key in ("sd_training", "se_images")
    )
    expected = power.minimum_detectable(3, training, images, alpha=0.05 / 3, image_df=data["noise"]["image_df"])
    assert data["minimum_detectable"][MAIN] == pytest.approx(expected)
    assert "mAP-small" not in data["minimum_detectable"]
    noise = data["noise"]
    assert (noise["training"], noise["images"], noise["bases"]) == (
        pytest.approx(training),
        pytest.approx(images),
        None,
    )
    assert 2 < noise["df"] < 4  # of two differences to one baseline, with two degrees of freedom each
    low, high = data["detectable_range"]
    assert low < expected < high


@pytest.mark.slow
def test_noise_with_bases_has_a_component_of_each(tmp_path: Path) -> None:
    """Six seeds that start from three bases in turn; what is detectable follows from the noise per base."""
    study = Made(tmp_path)
    for name, kind in (("base", "baseline"), ("other", "variant")):
        study.add(name, kind, seeds=range(6))
    study.arms = [
        dataclasses.replace(arm, runs=[dataclasses.replace(run, base=run.seed % 3) for run in arm.runs])
        for arm in study.arms
    ]
    data = study.results().to_dict()
    check_schema(data)
    delta, noise = data["arms"][1]["delta"][MAIN], data["noise"]
    assert [noise[key] for key in ("training", "images", "bases", "df")] == pytest.approx(
        [delta["sd_training"], delta["se_images"], delta["sd_bases"], 2.0]
    )
    values = [[run["metrics"][MAIN] for run in arm["runs"]] for arm in data["arms"]]
    per_base = np.subtract(values[1], values[0]).reshape(2, 3).mean(axis=0)
    sd = float(per_base.std(ddof=1))
    expected = power.minimum_detectable(3, sd, delta["se_images"], image_df=noise["image_df"])
    assert data["minimum_detectable"][MAIN] == pytest.approx(expected, rel=1e-4)


def test_one_seed_of_each_base(tmp_path: Path) -> None:
    """What a study knows of its noise, a plan of the same study knows too."""
    study = Made(tmp_path)
    for name, kind in (("base", "baseline"), ("other", "variant")):
        study.add(name, kind, seeds=range(3))
    study.arms = [
        dataclasses.replace(arm, runs=[dataclasses.replace(run, base=run.seed) for run in arm.runs])
        for arm in study.arms
    ]
    data = study.results().to_dict()
    check_schema(data)
    delta, noise = data["arms"][1]["delta"][MAIN], data["noise"]
    assert delta["sd_training"] is None
    assert [noise[key] for key in ("training", "images", "bases", "df")] == pytest.approx(
        [delta["sd_bases"], delta["se_images"], None, 2.0]
    )
    found = measured_noise(study.results().study, None, 1)
    assert found is not None and found.training == pytest.approx(delta["sd_bases"])
    assert measured_noise(study.results().study, None, 2) is None


def test_no_minimum_detectable_difference_without_noise(tmp_path: Path) -> None:
    study = Made(tmp_path)
    study.add("base", "baseline", skill=-50.0)
    study.add("other", "variant", skill=-50.0)
    data = study.results().to_dict()
    check_schema(data)
    assert data["arms"][0]["metrics"][MAIN]["mean"] == 0.0
    assert data["minimum_detectable"] is None
    assert "All metrics are 0 in all runs" in " ".join(data["notes"])


def test_one_test_image_gives_no_interval_and_no_verdict(tmp_path: Path) -> None:
    study = Made(tmp_path, images=1)
    study.add("base", "baseline")
    study.add("good", "variant", skill=3.0)
    data = study.results().to_dict()
    check_schema(data)
    assert {arm["verdict"] for arm in data["arms"]} == {None}
    assert data["arms"][1]["delta"][MAIN]["ci95"] is None
    assert data["arms"][1]["metrics"][MAIN]["ci95"] is None
    assert data["minimum_detectable"] is None
    assert "only one test image" in " ".join(data["notes"])


def test_areas_are_not_part_of_the_dataset(made: Made) -> None:
    path = made.folder / "runs/good-s1/matches.npz"
    before = made.arm("good")["delta"][MAIN]["mean"]
    matches = Matches.load(path)
    dataclasses.replace(matches, gt_area=np.nextafter(matches.gt_area, np.float32(np.inf))).save(path)
    assert made.arm("good")["delta"][MAIN]["mean"] == pytest.approx(before, abs=1e-3)


def test_latency_applies_only_to_its_run(made: Made) -> None:
    timed = {"median": 1.0, "p10": 0.9, "p90": 1.1, "device": "cpu"}
    figures = {"base": {**timed, "run": "runs/base-s0"}, "good": {**timed, "run": "runs/good-s0-of-another-recipe"}}
    (made.folder / "latency.json").write_text(json.dumps({"key": "k", "imgsz": 64, "arms": figures}))
    data = made.results().to_dict()
    check_schema(data)
    assert data["arms"][0]["latency_ms"]["median"] == 1.0
    assert data["arms"][1]["latency_ms"] is None


def test_gpu_and_precision_are_those_of_the_run(made: Made, tmp_path: Path) -> None:
    state = made.arms[1].runs[0]
    content = {"status": "done", "environment": {"gpu": "\x1b[31mNVIDIA B", "amp": "yes"}}
    other = dataclasses.replace(state, result=RunResult.from_json(content))
    made.arms[1] = dataclasses.replace(made.arms[1], runs=[other, *made.arms[1].runs[1:]])
    results = made.results()
    check_schema(results.to_dict())
    assert [(run.gpu, run.amp) for run in results.study.arms[1].runs[:2]] == [("NVIDIA B", None), ("NVIDIA A", True)]
    assert results.study.gpus == ["NVIDIA A", "NVIDIA B"]
    write_reports(made.folder, results.study, out=tmp_path)
    assert "Device: NVIDIA A and NVIDIA B." in (tmp_path / "results.md").read_text()
    assert "<dd>NVIDIA A, NVIDIA B, 1 thread</dd>" in (tmp_path / "report.html").read_text()


def test_the_bootstrap_is_computed_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made.results().to_dict()

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    estimates.forget()
    monkeypatch.setattr(metrics, "replicate_metrics", never)
    monkeypatch.setattr(Matches, "load", never)
    assert made.results().to_dict() == first


@pytest.mark.parametrize("content", [b"", b"PK nonsense", None])
def test_damaged_or_missing_cache_is_computed_again(made: Made, content: bytes | None) -> None:
    first = made.results().to_dict()
    path = made.folder / "runs/good-s1/draws.npz"
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    estimates.forget()
    assert made.results().to_dict() == first
    assert len(path.read_bytes()) == len(whole)


# --- untrained arms -------------------------------------------------------------------------------------------------


def blind(images: int, score: float = 0.004) -> Matches:
    """Return the matches of an untrained network on large objects: the whole image everywhere."""
    dice = np.random.default_rng(5)
    builder = MatchesBuilder(["a", "b"])
    whole = np.array([[0.0, 0.0, 100.0, 100.0]] * 2)
    for number in range(images):
        size = dice.uniform(60, 100, 2)
        corner = dice.uniform(0, 100 - size)
        iou = np.prod(size) / 1e4
        builder.add_image(
            f"{number:03}", gt_class=[number % 2], gt_area=[np.prod(size)], gt_box=[[*corner, *(corner + size)]],
            det_class=[0, 1], det_score=[score, score], det_area=[1e4, 1e4], det_box=whole, similarity=[[iou, iou]],
        )  # fmt: skip
    return builder.build()


def found_by(matches: Matches) -> Matches:
    """Return the matches of the same images with all objects found."""
    builder = MatchesBuilder(matches.classes)
    for number, name in enumerate(matches.images):
        mine = matches.gt_image == number
        box, area, kind = matches.gt_box[mine], matches.gt_area[mine], matches.gt_class[mine]
        builder.add_image(
            name, gt_class=kind, gt_area=area, gt_box=box, det_class=kind, det_score=[0.8], det_area=area,
            det_box=box + 3, similarity=[[0.88]],
        )  # fmt: skip
    return builder.build()


class Untrained(Made):
    """A study whose arms are untrained, except those with "seeing" in their name."""

    def _run(self, name: str, seed: int, skill: float, made: bool) -> RunState:
        run = super()._run(name, seed, skill, made)
        matches = blind(40)
        (found_by(matches) if "seeing" in name else matches).save(self.folder / str(run.folder) / "matches.npz")
        return run


@pytest.mark.slow
def test_study_without_learning_has_no_verdict(tmp_path: Path) -> None:
    study = Untrained(tmp_path / "s")
    study.add("base", "baseline")
    study.add("blind", "variant")
    study.add("null", "control")
    data = study.results().to_dict()
    check_schema(data)
    assert data["arms"][1]["metrics"]["mAP50"]["mean"] > 0.3  # although nothing was learned
    assert [arm["learnt"] for arm in data["arms"]] == [False] * 3
    assert [arm["verdict"] for arm in data["arms"]] == [None] * 3
    assert data["minimum_detectable"] is None
    delta = data["arms"][1]["delta"][MAIN]
    assert [delta[key] for key in ("ci95", "interval", "p", "p_adjusted", "p_better")] == [None] * 5
    assert all(run["learnt"] is False and run["chance"] > 0 for arm in data["arms"] for run in arm["runs"])
    study.results().write()
    text = study.results().table()
    assert text.count("not learned") == 3 and "Nothing was learned: base (all seeds: mAP50-95 " in text
    assert "inconclusive" not in text and "would be detected" not in text
    for name in ("report.html", "results.md", "results.tex"):
        assert "Nothing was learned" in (study.folder / name).read_text(encoding="utf-8")
    assert "Detectable differences" not in (study.folder / "report.html").read_text(encoding="utf-8")
    assert (study.folder / "results.csv").read_text().count(",False,runs/") == 9
    assert measured_noise(study.results().study) is None


def test_only_learning_arm_is_better(tmp_path: Path) -> None:
    study = Untrained(tmp_path / "s")
    study.add("seeing", "baseline")
    study.add("blind", "variant")
    study.add("seeing too", "variant", like="seeing")
    data = study.results().to_dict()
    assert [(arm["verdict"], arm["learnt"]) for arm in data["arms"]] == [
        (None, True),
        ("worse", False),
        ("equivalent", True),
    ]
    text = study.results().table()
    assert "worse, not learned" in text and "Not learned: blind (all seeds: " in text and "Nothing" not in text
    study = Untrained(tmp_path / "third")
    study.add("seeing", "baseline")
    study.add("blind", "variant")
    study.add("blind too", "variant", like="blind")
    (pair,) = study.results().to_dict()["pairs"]
    assert pair["verdict"] is None
    study = Untrained(tmp_path / "other")
    study.add("base", "baseline")
    study.add("seeing", "variant")
    study.add("blind", "variant")
    data = study.results().to_dict()
    assert [arm["verdict"] for arm in data["arms"]] == [None, "better", None]
    # The number of variants is known before the study, so an untested one counts.
    assert data["arms"][1]["delta"][MAIN]["p_adjusted"] == 2 * data["arms"][1]["delta"][MAIN]["p"]


def test_changed_matches_change_the_numbers(made: Made) -> None:
    before = made.arm("good")
    other = made.images.evaluate(np.full(made.images.count, 3.0))
    other.save(made.folder / "runs/good-s1/matches.npz")
    after = made.arm("good")
    assert after["runs"][0] == before["runs"][0]
    assert after["runs"][1]["metrics"][MAIN] > before["runs"][1]["metrics"][MAIN]
    assert after["delta"][MAIN]["mean"] > before["delta"][MAIN]["mean"]


def test_missing_damaged_or_different_matches_are_reported(made: Made, tmp_path: Path) -> None:
    path = made.folder / "runs/good-s1/matches.npz"
    sound = path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match=r"good-s1.matches.npz: missing; .* run it again"):
        made.results()
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(UserError, match=r"good-s1.matches.npz: damaged"):
        made.results()
    elsewhere = Images(np.random.default_rng(9), 60)
    elsewhere.evaluate(np.zeros(60)).save(path)
    with pytest.raises(UserError, match=r"good-s1.matches.npz: images, objects or classes differ"):
        made.results()


def test_full_disk_is_reported_and_nothing_is_lost(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (made.folder / "runs/good-s1/draws.npz").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(UserError, match=r"draws.npz: no space left"):
            made.results()
    assert not list(made.folder.glob("runs/*/.*"))
    check_schema(made.results().to_dict())
