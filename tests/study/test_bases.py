"""Studies whose arms start from a base that the study trains first."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.study.conftest import Fake
from yolo_attn.errors import UserError
from yolo_attn.study.job import Job
from yolo_attn.study.planning import make_plan
from yolo_attn.study.report import make_report
from yolo_attn.study.running.ray import files_of
from yolo_attn.study.specification.study import Study
from yolo_attn.study.store import Store
from yolo_attn.system.files import link_or_copy
from yolo_attn.system.locks import FolderLock

forking = pytest.mark.skipif(sys.platform == "win32", reason="no fork")
BASE = "yolo11n-pretraining"


def jobs(fake: Fake) -> dict[str, Job]:
    """Return the jobs by arm and seed."""
    found = [Job.read(path.parent) for path in sorted(fake.folder.glob("runs/*/run.json"))]
    return {f"{job.arm} {job.seed}": job for job in found}


def test_the_base_is_trained_first_and_every_arm_starts_from_it(fake: Fake) -> None:
    results = fake.compare(variants="A", pretrain=7)
    assert results.exit_status == 0
    arms = [(arm, seed) for seed in ("0", "1") for arm in ("yolo11n", "A")]
    assert fake.starts() == [(BASE, "0"), *arms]
    found = jobs(fake)
    base = found.pop("yolo11n pretraining 0")
    assert (base.weights, base.inputs.weights, base.inputs.recipe["epochs"]) == (None, None, 7)
    for job in found.values():
        assert Path(str(job.weights)).is_absolute()
        assert job.inputs.weights == base.key
        assert job.inputs.recipe["epochs"] == 3
        assert job.inputs.model["nc"] == 1  # of the dataset: the head of the base fits
    data = fake.results()
    (summary,) = data["bases"]
    assert (summary["seed"], summary["status"], summary["epochs"], summary["arm"]) == (0, "done", 3, None)
    assert summary["metric"] > 0
    assert (data["pretrain"], data["pretraining"]["epochs"], data["recipe"]["epochs"]) == (7, 7, 3)
    assert "5 runs, 0 of them done" in fake.output()
    assert "pretraining: 1 base, 7 epochs each, 1 to train" in fake.output()
    assert "[1/5] yolo11n pretraining seed 0: mAP50-95" in fake.output()


@pytest.mark.slow
def test_nothing_is_trained_again(fake: Fake) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    assert fake.compare(variants="A", pretrain=7, seeds=1).to_dict() == fake.results()
    assert len(fake.starts()) == 3
    fake.compare(variants="A,B", pretrain=7, seeds=2, exist_ok=True)
    assert fake.starts()[3:] == [("B", "0"), ("yolo11n", "1"), ("A", "1"), ("B", "1")]
    fake.compare(variants="A,B", pretrain=8, seeds=2, exist_ok=True)
    assert fake.starts()[7] == (BASE, "0")
    assert len(fake.starts()) == 14


def test_the_base_is_not_trained_for_runs_that_are_done(fake: Fake) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    (folder,) = fake.folder.glob(f"runs/{BASE}-*")
    for path in (folder / "result.json", folder / "train" / "weights" / "last.pt"):
        path.unlink()
    assert fake.compare(variants="A", pretrain=7, seeds=1).exit_status == 0
    assert len(fake.starts()) == 3


@pytest.mark.slow
def test_a_base_whose_weights_were_deleted_is_trained_again_for_new_runs(fake: Fake) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    (weights,) = fake.folder.glob(f"runs/{BASE}-*/train/weights/last.pt")
    weights.unlink()
    fake.compare(variants="A", pretrain=7, seeds=1)
    assert len(fake.starts()) == 3
    assert fake.compare(variants="A,B", pretrain=7, seeds=1, exist_ok=True).exit_status == 0
    assert fake.starts()[3:] == [(BASE, "0"), ("B", "0")]


def test_runs_start_from_the_same_weights_as_finished_ones(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base that is trained again on a GPU has other weights."""
    hashes: list[str] = []
    monkeypatch.setattr("yolo_attn.host.checkpoint.weights_hash", lambda path: hashes.append(path) or "retrained")
    fake.compare(variants="A", pretrain=7, seeds=1)
    assert not hashes  # nothing to compare with
    (result,) = fake.folder.glob("runs/A-s0-*/result.json")
    done = json.loads(result.read_text())
    result.write_text(json.dumps({**done, "start": "first"}))
    with pytest.raises(UserError, match=r"last\.pt: other weights than those that the finished runs started from"):
        fake.compare(variants="A,B", pretrain=7, seeds=1, exist_ok=True)
    assert len(fake.starts()) == 3
    result.write_text(json.dumps({**done, "start": "retrained"}))
    assert fake.compare(variants="A,B", pretrain=7, seeds=2, exist_ok=True).exit_status == 0
    assert len(hashes) == 2


def test_a_base_outside_the_study_is_not_read(fake: Fake) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    data = fake.results()
    data["bases"][0]["folder"] = "../elsewhere"
    (fake.folder / "results.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="outside the study's folder"):
        make_report(fake.folder)


@pytest.mark.slow
def test_seeds_start_from_the_bases_in_turn(fake: Fake) -> None:
    fake.workers = 2
    fake.compare(variants="A", pretrain=7, bases=3, seeds=6)
    starts = fake.starts()
    assert sorted(starts[:2]) == [(BASE, "0"), (BASE, "1")]
    for seed in range(6):
        assert starts.index(("A", str(seed))) > starts.index((BASE, str(seed % 3)))
    found = jobs(fake)
    keys = {number: found[f"yolo11n pretraining {number}"].key for number in range(3)}
    assert len(set(keys.values())) == 3
    for seed in range(6):
        assert found[f"A {seed}"].inputs.weights == found[f"yolo11n {seed}"].inputs.weights == keys[seed % 3]
    data = fake.results()
    assert [base["seed"] for base in data["bases"]] == [0, 1, 2]
    assert [run["base"] for run in data["arms"][1]["runs"]] == [0, 1, 2, 0, 1, 2]
    make_report(fake.folder)
    assert fake.results() == data


@pytest.mark.parametrize("bases", [1, 3])
def test_a_base_that_fails_ends_the_runs_that_need_it(fake: Fake, bases: int) -> None:
    results = fake.compare(base="basefail.x.yaml", variants="A", pretrain=7, bases=bases, seeds=3)
    assert results.exit_status == 1
    assert {arm for arm, _ in fake.starts()} == {"basefail.x-pretraining"}
    data = fake.results()
    assert {base["status"] for base in data["bases"]} == {"failed"}
    for arm in data["arms"]:
        assert {run["status"] for run in arm["runs"]} == {"failed"}
        assert {run["error"] for run in arm["runs"]} == {
            "the base's training failed: ValueError: it broke in two lines"
        }
        assert arm["verdict"] is None and arm["delta"] is None
    assert fake.output().count("log of basefail.x pretraining seed") == bases
    fake.compare(base="basefail.x.yaml", variants="A", pretrain=7, bases=bases, seeds=3)
    assert len(fake.starts()) == bases
    fake.compare(base="basefail.x.yaml", variants="A", pretrain=7, bases=bases, seeds=3, retry=True)
    assert len(fake.starts()) == 2 * bases


@pytest.mark.slow
def test_one_of_three_bases_that_fails_leaves_no_verdict(fake: Fake) -> None:
    """The units of training noise are the bases, and two are too few."""
    given = {"variants": "B", "pretrain": 7, "bases": 3, "seeds": 6}
    data = fake.compare(base="basefail1.x.yaml", **given).to_dict()
    assert [base["status"] for base in data["bases"]] == ["done", "failed", "done"]
    assert [run["status"] for run in data["arms"][1]["runs"]] == ["done", "failed", "done"] * 2
    assert (data["arms"][1]["delta"]["mAP50-95"]["seeds"], data["arms"][1]["verdict"]) == (4, None)
    whole = fake.compare(name="whole", **given).to_dict()
    assert whole["arms"][1]["verdict"] == "better"


@pytest.mark.slow
def test_a_failed_base_can_be_retried(fake: Fake) -> None:
    given = {"base": "basefailonce.x.yaml", "variants": "A", "pretrain": 7, "seeds": 1}
    assert fake.compare(**given).exit_status == 1
    assert fake.compare(**given, retry=True).exit_status == 0
    assert fake.starts() == [("basefailonce.x-pretraining", "0")] * 2 + [("basefailonce.x", "0"), ("A", "0")]


@forking
def test_a_killed_base_ends_the_study_and_is_resumed(fake: Fake) -> None:
    given = {"base": "basekilled.x.yaml", "variants": "A", "pretrain": 7, "seeds": 1}
    (run,) = fake.compare(**given).to_dict()["arms"][1]["runs"]
    assert run["status"] == "interrupted"
    assert run["error"].startswith("the base's training was interrupted: killed by SIGKILL")
    assert fake.compare(**given).exit_status == 0


@pytest.mark.slow
@forking
def test_a_study_killed_at_any_moment_repeats_no_base(
    fake: Fake, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    """It is killed when each base has started."""
    given = {"base": "baseslow.x.yaml", "variants": "slow.1", "pretrain": 7, "bases": 3, "seeds": 3}
    kept: dict[str, str] = {}
    for seed in ("0", "1", "2"):
        before = len(fake.starts())
        process = fake.in_background(**given)
        wait_for(lambda: ("baseslow.x-pretraining", seed) in fake.starts()[before:])  # noqa: B023 (called at once)
        process.kill()
        process.join()
        stored = fake.stored()
        assert len(stored) >= int(seed)
        assert {name: stored[name] for name in kept} == kept, "a finished run was run again"
        kept = stored
    assert fake.compare(**given).exit_status == 0
    assert {name: fake.stored()[name] for name in kept} == kept
    assert len(fake.stored()) == 9


def test_another_study_of_the_project_uses_the_trained_base(fake: Fake) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    fake.compare(variants="B", pretrain=7, seeds=1, epochs=2, name="other")
    assert fake.starts()[3:] == [("yolo11n", "0"), ("B", "0")]
    assert "yolo11n pretraining seed 0: copied from" in fake.output()
    (here,), (there,) = (fake.folder.parent.glob(f"{name}/runs/{BASE}-*") for name in ("s", "other"))
    assert (there / "result.json").read_text() == (here / "result.json").read_text()
    fake.compare(variants="B", pretrain=7, seeds=1, epochs=2, project="elsewhere", name="other")
    assert fake.starts()[5] == (BASE, "0")


@pytest.mark.parametrize("changed", [pytest.param("nothing", marks=pytest.mark.slow), "train/weights/last.pt"])
def test_only_bases_that_this_user_has_trained_are_copied(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """A neighboring folder may be a study from someone else, whose base would be the start of all arms."""
    with monkeypatch.context() as user:
        if changed == "nothing":
            user.setenv("FAKE_SETTINGS", str(tmp_path / "theirs"))
            (tmp_path / "theirs").mkdir()
        fake.compare(variants="A", pretrain=7, seeds=1)
    (base,) = fake.folder.glob(f"runs/{BASE}-*")
    if changed != "nothing":
        (base / changed).write_bytes((base / changed).read_bytes() + b" ")
    assert fake.compare(variants="B", pretrain=7, seeds=1, name="other", plan=True).done == 0
    assert fake.compare(variants="B", pretrain=7, seeds=1, name="other").exit_status == 0
    assert fake.starts()[3:] == [(BASE, "0"), ("yolo11n", "0"), ("B", "0")]
    assert f"not copied from {base.relative_to(fake.home)}: no valid seal of this user (" in fake.output()
    assert "pretraining seed 0: copied from" not in fake.output()
    # The new one is this user's, and is used.
    fake.compare(variants="C", pretrain=7, seeds=1, name="third")
    assert "pretraining seed 0: copied from" in fake.output()


def fill_disk(source: Path, path: Path) -> None:
    """Copy all files but the last."""
    if path.name == "result.json":
        raise OSError(errno.ENOSPC, "No space left on device")
    link_or_copy(source, path)


def test_nothing_is_copied_while_a_process_works_on_the_base_or_to_a_full_disk(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier command that was killed can leave a rank of a multi-GPU training."""
    fake.compare(variants="A", pretrain=7, seeds=1)
    given = {"base": "yolo11n.yaml", "variants": "B", "pretrain": 7, "seeds": 1, "epochs": 3, "threads": 1}
    store = Store(fake.folder.with_name("other"))
    plan = make_plan(Study.from_arguments({**given, "device": "cpu", "name": "other"}), store, fake.stream)
    (base,) = plan.base_runs
    here = store.prepare(base, plan.settings)
    (here / "state.pt").write_text("of the earlier process")
    other = store.find_elsewhere(base)
    assert other is not None
    for name in (".lock", ".rank0.lock"):
        with FolderLock(here, name):
            assert not store.adopt(base, other)
        assert (here / "state.pt").exists()
    with monkeypatch.context() as full, pytest.raises(UserError, match="no space left on the disk"):
        full.setattr("yolo_attn.study.store.link_or_copy", fill_disk)
        store.adopt(base, other)
    assert (here / "state.pt").exists()
    assert not (here / "result.json").exists()
    assert store.adopt(base, other)
    assert not (here / "state.pt").exists()
    assert not store.adopt(base, other)  # it has a result


def test_a_base_without_the_files_that_no_arm_needs_is_copied(fake: Fake) -> None:
    """They may be deleted to save space."""
    fake.compare(variants="A", pretrain=7, seeds=1)
    (here,) = fake.folder.glob(f"runs/{BASE}-*")
    (here / "train" / "results.csv").unlink()
    fake.compare(variants="B", pretrain=7, seeds=1, name="other")
    assert "yolo11n pretraining seed 0: copied from" in fake.output()
    assert fake.starts()[3:] == [("yolo11n", "0"), ("B", "0")]


def test_a_run_that_was_copied_shares_no_file_that_changes_in_place(fake: Fake) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    (here,) = fake.folder.glob(f"runs/{BASE}-*")
    before = (here / "train.log").read_bytes()
    fake.compare(variants="B", pretrain=7, seeds=1, name="other")
    (there,) = fake.folder.parent.glob(f"other/runs/{BASE}-*")
    (there / "train" / "weights" / "last.pt").unlink()
    (here / "result.json").unlink()  # it cannot be copied again
    fake.compare(variants="B,C", pretrain=7, seeds=1, name="other", exist_ok=True)
    assert fake.starts()[5] == (BASE, "0")
    assert (here / "train.log").read_bytes() == before


def test_links_out_of_another_study_are_not_followed(fake: Fake, tmp_path: Path) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    (here,) = fake.folder.glob(f"runs/{BASE}-*")
    (here / "train").rename(tmp_path / "secret")
    (here / "train").symlink_to(tmp_path / "secret")
    fake.compare(variants="B", pretrain=7, seeds=1, name="other")
    assert fake.starts()[3] == (BASE, "0")
    assert "copied from" not in fake.output()


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["train/weights/last.pt", "matches.npz", "result.json", "run.json"])
def test_an_incomplete_base_of_another_study_is_not_used(fake: Fake, missing: str) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    (folder,) = fake.folder.glob(f"runs/{BASE}-*")
    (folder / missing).unlink()
    fake.compare(variants="B", pretrain=7, seeds=1, name="other")
    assert fake.starts()[3] == (BASE, "0")


def test_the_width_control_has_a_base_of_its_own(fake: Fake) -> None:
    fake.compare(variants="A", controls="width", pretrain=7, seeds=1)
    assert fake.starts()[:2] == [(BASE, "0"), ("width-pretraining", "0")]
    found = jobs(fake)
    assert found["width 0"].inputs.weights == found["width pretraining 0"].key
    assert found["A 0"].inputs.weights == found["yolo11n pretraining 0"].key
    assert [(base["arm"], base["status"]) for base in fake.results()["bases"]] == [(None, "done"), ("width", "done")]


@pytest.mark.slow
def test_an_arm_with_one_base_of_its_own_has_no_verdict(fake: Fake) -> None:
    """Its difference contains the luck of two trainings, and one base each does not show how much that is."""
    given = {"variants": "B", "controls": "width", "pretrain": 7, "seeds": 3}
    for name, bases, expected in (("one", {}, False), ("three", {"bases": 3}, True)):
        data = fake.compare(**given, **bases, name=name).to_dict()
        variant, width = data["arms"][1:]
        (pair,) = (pair for pair in data["pairs"] if pair["reference"] == "width")
        assert variant["verdict"] == "better"
        for verdict, found in (
            (width["verdict"], width["delta"]["mAP50-95"]),
            (pair["verdict"], pair["difference"]),
        ):
            assert (verdict is not None) == (found["p"] is not None) == (found["interval"] is not None) == expected
            assert found["ci95"] is not None


@pytest.mark.slow
def test_other_seeds_of_the_base_are_a_control(fake: Fake) -> None:
    fake.compare(variants="A", controls="aa", pretrain=7, seeds=2)
    found = jobs(fake)
    assert {"aa 1000", "aa 1001"} < found.keys()
    assert found["aa 1000"].inputs.weights == found["yolo11n 0"].inputs.weights
    data = fake.results()
    assert [run["seed"] for run in data["arms"][2]["runs"]] == [0, 1]
    assert data["arms"][2]["delta"]["mAP50-95"]["seeds"] == 2
    make_report(fake.folder)
    assert fake.results() == data
    result = fake.folder / data["arms"][2]["runs"][0]["folder"] / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "seed": 0}))
    with pytest.raises(UserError, match=r"has seed 0, but results\.json lists it with seed 1000"):
        make_report(fake.folder)


def test_the_weights_of_the_base_travel_to_a_cluster_node(fake: Fake) -> None:
    fake.compare(variants="A", pretrain=7, seeds=1)
    (folder,) = fake.folder.glob("runs/A-s0-*")
    (base,) = fake.folder.glob(f"runs/{BASE}-*")
    assert files_of(folder)["weights.pt"] == (base / "train" / "weights" / "last.pt").read_bytes()
    assert "weights.pt" not in files_of(base)


def test_a_learning_rate_for_attention_without_attention_is_reported(fake: Fake) -> None:
    fake.compare(variants="A", seeds=1, lr_attention=5)
    assert "lr_attention=5 has no effect: no arm has an attention layer" in fake.output()
    assert fake.results()["lr_attention"] is None
