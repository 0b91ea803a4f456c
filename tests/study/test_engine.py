from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.study.conftest import FAKE_WORKER, Fake, fake_arm
from yolo_attn.data import DataProblem, DataSummary, SplitSummary
from yolo_attn.errors import UserError
from yolo_attn.study import planning
from yolo_attn.study.engine import compare
from yolo_attn.study.report import make_report, sources
from yolo_attn.study.running import resources
from yolo_attn.study.running.dataset import Dataset
from yolo_attn.study.running.local import LocalRunner, child_environment
from yolo_attn.study.specification.arms import Arm
from yolo_attn.system import files
from yolo_attn.system.locks import FolderLock

ARMS = ("yolo11n", "A", "B")
forking = pytest.mark.skipif(sys.platform == "win32", reason="no fork")


def test_a_study_runs_reports_and_repeats_nothing(fake: Fake) -> None:
    first = fake.compare()
    assert first.exit_status == 0
    # Seed by seed, the baseline first.
    assert fake.starts() == [(arm, seed) for seed in ("0", "1") for arm in ARMS]
    stored = fake.stored()
    again = fake.compare()
    assert len(fake.starts()) == 6
    assert fake.stored() == stored
    assert again.to_dict() == first.to_dict() == fake.results()
    assert "6 runs, 6 of them done" in fake.output()


def test_the_log_holds_what_the_child_printed(fake: Fake) -> None:
    fake.compare(threads=3)
    (log,) = fake.folder.glob("runs/A-s1-*/train.log")
    assert "training A 3" in log.read_text()


def test_results_have_the_documented_shape(fake: Fake) -> None:
    fake.compare()
    data = fake.results()
    assert (data["schema"], data["baseline"], data["data"]) == (2, "yolo11n", "digits")
    assert data["recipe"]["epochs"] == 3
    assert set(data["versions"]) == {"yolo-attn", "ultralytics", "torch"}
    assert [(arm["name"], arm["kind"]) for arm in data["arms"]] == [
        ("yolo11n", "baseline"),
        ("A", "variant"),
        ("B", "variant"),
    ]
    arm = data["arms"][2]
    assert (arm["params"], arm["gflops"], arm["transferred"], arm["verdict"]) == (1000, 1.5, [499, 499], None)
    assert (fake.folder / arm["model"]).is_file()
    assert [(run["seed"], run["status"], run["error"]) for run in arm["runs"]] == [(0, "done", None), (1, "done", None)]
    # 28 of 40 objects are found, and the 12 wrong detections are ranked between them.
    values = [run["metrics"]["mAP50-95"] for run in arm["runs"]]
    assert 0.4 < min(values) <= max(values) < 0.7
    summary = arm["metrics"]["mAP50-95"]
    assert summary["mean"] == pytest.approx(sum(values) / 2)
    assert arm["delta"]["mAP50-95"]["mean"] > 0
    assert arm["per_class"]["two"]["mean"] is None  # not a number: it has no object


def test_three_seeds_give_verdicts(fake: Fake) -> None:
    data = fake.compare(variants="A,B,crippled", seeds=4).to_dict()
    base, same, better, worse = data["arms"]
    assert base["verdict"] is None
    assert (same["verdict"], same["delta"]["mAP50-95"]["mean"]) == ("equivalent", 0.0)
    assert (better["verdict"], worse["verdict"]) == ("better", "worse")
    assert better["delta"]["mAP50-95"]["ci95"][0] > 0
    assert data["minimum_detectable"]["mAP50-95"] > 0


@pytest.mark.slow
def test_there_are_no_verdicts_before_all_runs_are_finished(fake: Fake) -> None:
    """Testing after every run and stopping at a significant difference inflates the error rate."""
    finished = fake.compare(variants="B,crippled", seeds=4).to_dict()
    assert [arm["verdict"] for arm in finished["arms"]] == [None, "better", "worse"]
    known = fake.results()
    run = known["arms"][2]["runs"][3]
    run["status"] = "running"
    (fake.folder / run["folder"] / "result.json").unlink()
    (fake.folder / "results.json").write_text(json.dumps(known))
    make_report(fake.folder, Path("interim"))
    interim = json.loads(Path("interim/results.json").read_text())
    assert [arm["verdict"] for arm in interim["arms"]] == [None] * 3
    better = interim["arms"][1]["delta"]["mAP50-95"]
    assert [better[key] for key in ("p", "p_adjusted", "p_better", "interval")] == [None] * 4
    assert better["ci95"] == finished["arms"][1]["delta"]["mAP50-95"]["ci95"]
    assert "verdict" not in Path("interim/results.md").read_text().splitlines()[2]


def test_trust_depends_on_the_command_and_not_on_the_study(fake: Fake) -> None:
    def trust() -> list[bool | None]:
        return [json.loads(path.read_text()).get("trust") for path in sorted(fake.folder.glob("runs/*/run.json"))]

    fake.compare(variants="A,killed", seeds=1, trust=True)
    keys = {path.name for path in fake.folder.glob("runs/*")}
    assert trust() == [True] * 3
    fake.compare(variants="A,killed", seeds=1)  # like a study from someone else
    assert trust() == [None] * 3
    assert {path.name for path in fake.folder.glob("runs/*")} == keys  # it has no influence on results
    assert "trust" not in (fake.folder / "study.yaml").read_text()


@pytest.mark.slow
def test_parallel_runs_give_the_same_results(fake: Fake) -> None:
    fake.workers = 3
    side = fake.compare(name="side", variants="meets.1,meets.2", seeds=2)
    events = "".join(event[0] for event, *_ in fake.journal())
    assert "ss" in events  # one started before another had finished
    fake.workers = 1
    one = fake.compare(name="one", variants="meets.1,meets.2", seeds=2)
    assert [arm["metrics"] for arm in side.to_dict()["arms"]] == [arm["metrics"] for arm in one.to_dict()["arms"]]
    assert len(fake.starts()) == 12


def test_a_failed_latency_measurement_does_not_affect_results(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory\nand more")

    monkeypatch.setattr("yolo_attn.study.running.latency.measure", fail)
    assert fake.compare(seeds=1).exit_status == 0
    assert "latency: not measured (CUDA out of memory)" in fake.output()
    assert fake.results()["arms"][0]["metrics"]["mAP50-95"]["mean"] > 0


@pytest.mark.slow
def test_the_detectable_difference_is_printed_before_training(fake: Fake) -> None:
    fake.compare(seeds=3)
    output = fake.output()
    assert output.index("minimum detectable difference") < output.index("[1/9]")
    assert "unknown until 3 seeds" in output
    assert "tensors initialized as in the base of the same seed: yolo11n 499/499, A 499/499, B 499/499" in output
    fake.compare(seeds=4, exist_ok=True)
    assert "points, in earlier runs of this study)" in fake.output()
    fake.compare(seeds=1, name="one")
    assert "no verdict below 3" in fake.output()


def test_arms_with_the_same_model_share_their_runs(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fake_arm("A").model
    arms = [fake_arm("base", "baseline"), Arm("A", "variant", model), Arm("twin", "variant", model)]
    monkeypatch.setattr(planning, "build_arms", lambda study: arms)
    data = fake.compare(seeds=3).to_dict()
    assert len(fake.starts()) == 6
    assert data["arms"][1]["metrics"] == data["arms"][2]["metrics"]
    assert [run["status"] for run in data["arms"][2]["runs"]] == ["done"] * 3


def test_every_format_is_written(fake: Fake) -> None:
    fake.compare(variants="A,fail.1", seeds=1)
    lines = (fake.folder / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 3
    assert lines[0].startswith("arm,kind,seed,status,mAP50-95,")
    assert lines[3].startswith("fail.1,variant,0,failed,,")
    assert "fail.1, seed 0: failed: ValueError: it broke in two lines" in (fake.folder / "results.md").read_text()
    assert "toprule" in (fake.folder / "results.tex").read_text()


def test_output_of_a_failed_run_contains_no_terminal_sequences(fake: Fake) -> None:
    fake.compare(variants="A,colors.1,exits.1", seeds=1)
    (broken,) = fake.results()["arms"][2]["runs"]
    assert broken["error"] == "ValueError: train: it broke"
    # A result of an earlier version.
    path = fake.folder / broken["folder"] / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"error": "\x1b[31mtrain: \x1b[0mit broke before"}))
    make_report(fake.folder)
    for name in ("results.json", "results.csv", "results.md", "results.tex"):
        text = (fake.folder / name).read_text()
        assert "train: it broke before" in text and "Segmentation of something" in text
        assert "\x1b" not in text and "u001b" not in text


def test_a_summary_of_the_dataset_is_printed_before_training(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = DataProblem("unreadable image", "", 2, ["images/train/a.jpg: empty file", "..."], skipped=True)
    splits = {"train": SplitSummary(8, 8, 9, problems=[problem]), "val": SplitSummary(4, 4, 5)}
    monkeypatch.setattr(
        "yolo_attn.data.check_data", lambda data, *_, **__: DataSummary(data, "detect", {0: "one"}, splits, digest="d")
    )
    fake.compare(variants="A", seeds=1, imgsz=32)  # a few training steps are timed
    line = (
        "data: train 8 images, 9 objects; val 4 images, 5 objects; skipped in train: 2 unreadable images "
        "(images/train/a.jpg: empty file; ...)"
    )
    assert 0 < fake.output().index(line) < fake.output().index("[1/")


def test_the_path_of_the_dataset_is_stored_but_not_in_the_results(fake: Fake) -> None:
    fake.compare(variants="A", seeds=1, data="/home/me/set.yaml")
    assert sources._remembered(fake.folder) == ("/home/me/set.yaml", "val")
    assert fake.results()["data"] == "set"


def test_the_report_recomputes_every_number(fake: Fake) -> None:
    fake.compare(seeds=3)
    known = fake.results()
    forged = json.loads(json.dumps(known))
    for arm in forged["arms"]:
        arm["metrics"]["mAP50-95"]["mean"], arm["verdict"], arm["delta"] = 0.99, "better", None
    (fake.folder / "results.json").write_text(json.dumps(forged))
    for cache in fake.folder.glob("runs/*/draws.npz"):
        cache.unlink()
    make_report(fake.folder)
    assert fake.results() == known
    assert len(fake.starts()) == 9
    with FolderLock(fake.folder), pytest.raises(UserError, match="is running in it"):
        make_report(fake.folder)


def test_a_failed_arm_does_not_stop_others_and_needs_retry(fake: Fake) -> None:
    results = fake.compare(variants="failonce.x,A")
    assert results.exit_status == 1
    assert [run["status"] for run in fake.results()["arms"][1]["runs"]] == ["failed", "failed"]
    assert [run["status"] for run in fake.results()["arms"][2]["runs"]] == ["done", "done"]
    assert "ValueError: it broke in two lines" in fake.output()
    assert "retry=True" in fake.output()
    fake.compare(variants="failonce.x,A")
    assert len(fake.starts()) == 6
    assert fake.compare(variants="failonce.x,A", retry=True).exit_status == 0
    assert fake.starts()[6:] == [("failonce.x", "0"), ("failonce.x", "1")]


@forking
def test_a_killed_child_leaves_no_result_and_runs_again(fake: Fake) -> None:
    results = fake.compare(variants="killed.x,A", seeds=1)
    assert results.exit_status == 1
    (run,) = results.to_dict()["arms"][1]["runs"]
    assert (run["status"], run["metrics"]) == ("interrupted", None)
    assert "SIGKILL" in run["error"]
    assert results.to_dict()["arms"][2]["runs"][0]["status"] == "done"
    assert "Run the same command again to resume the interrupted runs" in fake.output()
    assert fake.compare(variants="killed.x,A", seeds=1).exit_status == 0
    assert fake.starts()[3:] == [("killed.x", "0")]


def test_a_child_without_a_result_is_reported_with_its_last_line(fake: Fake) -> None:
    (run,) = fake.compare(variants="exits.x", seeds=1).to_dict()["arms"][1]["runs"]
    assert run["status"] == "interrupted"
    assert run["error"] == "ended with status 3 and no result: Segmentation of something"


def test_a_full_disk_stops_the_study(fake: Fake) -> None:
    with pytest.raises(UserError, match="no space left"):
        fake.compare(variants="full.x,A", seeds=1)
    assert [run["status"] for arm in fake.results()["arms"] for run in arm["runs"]] == [
        "done",
        "waiting",
        "waiting",
    ]
    assert len(fake.stored()) == 1
    assert fake.compare(variants="full.x,A", seeds=1).exit_status == 0
    assert fake.starts() == [("yolo11n", "0"), ("full.x", "0"), ("full.x", "0"), ("A", "0")]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_report_that_cannot_be_written_stops_the_study(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.replace

    def refuse(source: Path, target: Path) -> None:
        if target.name == "results.json" and '"done"' in source.read_text():
            raise OSError(number, os.strerror(number))
        real(source, target)

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(UserError, match=r"results\.json"):
        fake.compare()
    assert fake.results()["arms"][0]["runs"][0]["status"] == "running"  # as it was written before, whole
    monkeypatch.setattr(files.os, "replace", real)
    assert fake.compare().exit_status == 0
    assert len(fake.starts()) == 6


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_error(fake: Fake) -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="no permission"):
        fake.compare(project="locked")


def test_a_project_inside_a_file_is_an_error(fake: Fake) -> None:
    Path("file").touch()
    with pytest.raises(UserError, match="project="):
        fake.compare(project="file/p")


def test_a_model_that_cannot_be_built_is_a_failed_arm(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = [fake_arm("base", "baseline"), Arm("broken", "variant", error="row 5: dead"), fake_arm("A")]
    monkeypatch.setattr(planning, "build_arms", lambda study: arms)
    results = fake.compare(seeds=1)
    assert results.exit_status == 1
    (run,) = results.to_dict()["arms"][1]["runs"]
    assert (run["status"], run["error"]) == ("failed", "row 5: dead")
    assert results.to_dict()["arms"][2]["runs"][0]["status"] == "done"


def test_adding_arms_and_seeds_runs_only_new_runs(fake: Fake) -> None:
    fake.compare(variants="A", seeds=1)
    with pytest.raises(UserError, match="exist_ok=True"):
        fake.compare(variants="A,B", seeds=2)
    results = fake.compare(variants="B", seeds=2, exist_ok=True)
    assert [arm["name"] for arm in results.to_dict()["arms"]] == ["yolo11n", "A", "B"]
    assert len(fake.starts()) == len(set(fake.starts())) == 6
    # The folder now contains the wider study.
    assert fake.compare(variants="A,B", seeds=2).exit_status == 0
    assert len(fake.starts()) == 6


def test_another_recipe_trains_again(fake: Fake) -> None:
    fake.compare(variants="A", seeds=1)
    fake.compare(variants="A", seeds=1, epochs=4, exist_ok=True)
    assert len(fake.starts()) == 4
    assert "2 earlier runs" in fake.output()
    fake.compare(variants="A", seeds=1, epochs=3, exist_ok=True)
    assert len(fake.starts()) == 4


def test_a_changed_dataset_trains_again(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.compare(variants="A", seeds=1)
    monkeypatch.setattr(planning, "read_dataset", lambda *_, **__: Dataset("edited", {0: "one"}))
    fake.compare(variants="A", seeds=1)
    assert len(fake.starts()) == 4


def test_the_number_of_parallel_runs_does_not_change_keys(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "cpu_cores", lambda: 4)
    study = {"data": "mine.yaml", "variants": "A", "seeds": 1, "threads": None}
    fake.compare(**study, workers=2)
    assert fake.results()["threads"] == 2
    done = fake.stored()
    for workers in (1, 4, None):
        fake.compare(**study, workers=workers)
    assert fake.stored() == done
    assert len(fake.starts()) == 2


def test_the_number_of_threads_is_stored(fake: Fake) -> None:
    fake.compare(variants="A", seeds=1, threads=2)
    fake.compare(variants="A", seeds=1, threads=None)
    assert len(fake.starts()) == 2


def test_a_locked_folder_is_an_error_before_planning(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.compare(variants="A", seeds=1)
    monkeypatch.setattr(planning, "build_arms", lambda study: pytest.fail("planned"))
    with FolderLock(fake.folder), pytest.raises(UserError, match=f"process {os.getpid()}"):
        fake.compare(variants="A", seeds=1)


def test_a_plan_leaves_a_study_that_is_running_alone(fake: Fake) -> None:
    fake.compare(variants="A", seeds=1)
    before = sorted(fake.folder.rglob("*"))
    with FolderLock(fake.folder):
        fake.compare(variants="A", seeds=1, plan=True)
    assert sorted(fake.folder.rglob("*")) == before


def test_an_invalid_argument_leaves_no_folder(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(study: object) -> None:
        raise UserError("unknown site")

    monkeypatch.setattr(planning, "build_arms", refuse)
    with pytest.raises(UserError, match="unknown site"):
        fake.compare()
    assert not fake.folder.exists()


def test_a_model_of_another_task_is_an_error(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_attn.host.model_kind.task_of", lambda _: "depth")
    with pytest.raises(UserError, match=r"base=yolo11n\.yaml: a depth model; compare supports detect, .*classify"):
        fake.compare()


class Interrupted(LocalRunner):
    """A runner that is interrupted when the second run starts."""

    def has_room(self, running: int, memory: Mapping[str, float]) -> bool:
        if running:
            raise KeyboardInterrupt
        return True


def test_an_interrupt_stops_the_children_and_the_same_command_resumes(fake: Fake) -> None:
    run = {"epochs": 3, "threads": 1, "device": "cpu"}
    arguments = {"base": "yolo11n.yaml", "variants": "A", "seeds": 1, "name": "s", **run}
    runner = Interrupted(command=(sys.executable, str(FAKE_WORKER)))
    with pytest.raises(KeyboardInterrupt, match="stopped with 0 of 2 runs done; run the same command again to resume"):
        compare(arguments, runner, fake.stream)
    assert [run["status"] for arm in fake.results()["arms"] for run in arm["runs"]] == ["waiting", "waiting"]
    assert fake.compare(variants="A", seeds=1).exit_status == 0


@pytest.mark.parametrize(("place", "done"), [("preview_lines", 0), ("Reporter.measure_latency", 2)])
def test_an_interrupt_before_and_after_the_runs(
    place: str, done: int, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(f"yolo_attn.study.engine.{place}", interrupt)
        with pytest.raises(KeyboardInterrupt, match=f"stopped with {done} of 2 runs done; run the same command again"):
            fake.compare(variants="A", seeds=1)
    assert fake.compare(variants="A", seeds=1).exit_status == 0
    assert len(fake.starts()) == 2


@forking
def test_ctrl_c_leaves_no_child(fake: Fake, wait_for: Callable[[Callable[[], bool]], None]) -> None:
    process = fake.in_background(variants="hang.x", seeds=1)
    wait_for(lambda: ("hang.x", "0") in fake.starts())
    child = int(fake.journal()[-1][3])
    for _ in range(3):  # a signal that comes during garbage collection is lost in hypothesis' callback there
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGINT)
            process.join(20)
    assert process.exitcode == 130
    assert not alive(child)


@forking
def test_a_child_ends_with_its_killed_parent(fake: Fake, wait_for: Callable[[Callable[[], bool]], None]) -> None:
    process = fake.in_background(variants="hang.x", seeds=1)
    wait_for(lambda: ("hang.x", "0") in fake.starts())
    child = int(fake.journal()[-1][3])
    assert alive(child)
    process.kill()
    wait_for(lambda: not alive(child))


def alive(pid: int) -> bool:
    """Whether a process is running; an ended process that was not waited for is not alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@forking
def test_a_study_killed_at_any_moment_resumes_and_repeats_nothing(
    fake: Fake, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    """It is killed when the first, the third and the second of its runs has started, and those before are finished."""
    arguments = {"variants": "slow.1,slow.2,A", "seeds": 2}
    kept: dict[str, str] = {}
    for number in (1, 3, 2):
        before = len(fake.starts())
        process = fake.in_background(**arguments)
        wait_for(lambda: len(fake.starts()) >= before + number)  # noqa: B023 (called at once)
        process.kill()
        process.join()
        stored = fake.stored()
        assert len(stored) >= len(kept) + number - 1
        assert {name: stored[name] for name in kept} == kept, "a finished run was run again"
        started = {f"{arm}-s{seed}" for arm, seed in fake.starts()[before:]}
        assert not started & {name.rpartition("-")[0] for name in kept}
        kept = stored
    assert fake.compare(**arguments).exit_status == 0
    stored = fake.stored()
    assert {name: stored[name] for name in kept} == kept
    assert len(stored) == 8
    assert not list(fake.folder.rglob("*.tmp"))


def test_a_run_has_fixed_threads_and_uploads_nothing() -> None:
    environment = child_environment(3, {"PATH": "p", "ULTRALYTICS_API_KEY": "secret", "OMP_NUM_THREADS": "64"})
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["WANDB_MODE"] == "disabled"
    assert "ULTRALYTICS_API_KEY" not in environment
