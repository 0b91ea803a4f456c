from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.study.conftest import PLATFORM, Fake, fake_arm
from yolo_attn.errors import UserError
from yolo_attn.study.job import RunResult, RunSettings, is_own_result
from yolo_attn.study.running.run import Run, plan_run
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.study import Study
from yolo_attn.study.store import SCHEMA, Neighbor, Store, choose_folder, read_study, slug

VERSIONS = PLATFORM.versions
SETTINGS = RunSettings("detect", "digits", "cpu")
RUN_FOLDERS = ("runs/A-s0-1", "runs/A-s0-1/train", "runs/A-s0-1/train/weights")


def study(**arguments: object) -> Study:
    return Study.from_arguments({"device": "cpu", "variants": "A", **arguments})


def begin(of: Study) -> Path:
    folder = choose_folder(of)
    with Store(folder).opened(of, PLATFORM):
        pass
    return folder


def run(arm: Arm | None = None, seed: int = 0, **changes: Any) -> Run:
    given = {"data": "d", "recipe": {"epochs": 1}, "platform": PLATFORM, **changes}
    return plan_run(arm or fake_arm("A"), seed, **given)


def test_the_key_depends_on_everything_that_decides_the_result(tmp_path: Path) -> None:
    key = run().key
    assert run().key == key
    assert run(recipe={"epochs": 2}).key != key
    assert run(data="e").key != key
    for changed in ({"versions": {**VERSIONS, "torch": "4"}}, {"device": "cuda"}, {"threads": 2}, {"devices": 2}):
        assert run(platform=replace(PLATFORM, **changed)).key != key
    assert run(seed=1).key != key
    assert run(Arm("A", "variant", {**fake_arm("A").model, "scale": "s"})).key != key
    # The name and the position in the report have no influence.
    assert run(Arm("renamed", "baseline", fake_arm("A").model)).key == key
    weights = tmp_path / "a.pt"
    weights.write_bytes(b"1")
    first = run(Arm("A", "variant", fake_arm("A").model, weights)).key
    weights.write_bytes(b"2")
    second = run(Arm("A", "variant", fake_arm("A").model, weights)).key
    assert len({key, first, second}) == 3


def test_a_failed_run_keeps_the_state_from_which_its_retry_resumes(fresh_folder: Path) -> None:
    new = study()
    store = Store(choose_folder(new))
    with store.opened(new, PLATFORM):
        folder = store.prepare(run(), SETTINGS)
        for name in ("result.json", "state.pt"):
            (folder / name).write_text("{}")
        store.remove_result(run())
    assert not (folder / "result.json").exists()
    assert (folder / "state.pt").exists()


@pytest.mark.usefixtures("fresh_folder")
class TestFolder:
    def test_the_same_study_resumes_in_its_folder(self) -> None:
        assert begin(study()) == choose_folder(study())

    def test_another_default_study_takes_the_next_free_name(self) -> None:
        first = begin(study())
        second = begin(study(epochs=99))
        assert (first.name, second.name) == ("compare", "compare2")
        assert choose_folder(study(epochs=98)).name == "compare3"
        assert choose_folder(study()) == first
        assert choose_folder(study(epochs=99)) == second

    def test_without_a_name_a_study_is_added_to_a_similar_one(self) -> None:
        first, second = begin(study()), begin(study(base="yolov8n.yaml"))
        assert (first.name, second.name) == ("compare", "compare2")
        assert choose_folder(study(base="yolov8n.yaml", seeds=9, exist_ok=True)) == second
        assert choose_folder(study(variants="B", exist_ok=True)) == first
        # Without a similar study it is a new one.
        for other in ({"epochs": 99}, {"base": "yolov5n.yaml"}, {"data": "coco8.yaml"}):
            assert choose_folder(study(exist_ok=True, **other)).name == "compare3"

    @pytest.mark.parametrize("named", [{}, {"name": "x"}])
    def test_a_fine_tuning_of_an_early_version_continues_in_its_folder(self, named: dict[str, str]) -> None:
        """Its study file has no learning rate of attention layers, which was 1."""
        new = study(pretrain=9, **named)
        path = begin(new) / "study.yaml"
        content = {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "lr_attention"}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        for again in (new, new, Study.from_arguments({"device": "cpu", "study": path, **named})):
            assert choose_folder(again) == path.parent
            with Store(path.parent).opened(again.added_to(read_study(path.parent).comparison), PLATFORM):
                assert yaml.safe_load(path.read_text()) == content

    def test_an_ambiguous_addition_is_an_error_unless_one_study_is_the_same(self) -> None:
        begin(study())
        second = begin(study(variants="B"))
        with pytest.raises(UserError, match=r"compare and compare2 contain studies of this base.*name=NAME"):
            choose_folder(study(variants="C", exist_ok=True))
        assert choose_folder(study(variants="B", exist_ok=True)) == second
        assert choose_folder(study(variants="C", exist_ok=True, name="compare2")) == second

    @pytest.mark.parametrize("named", [{"name": "x"}, {"project": "p"}])
    def test_a_named_folder_with_another_study_is_an_error_with_both_solutions(self, named: dict[str, str]) -> None:
        begin(study(**named))
        with pytest.raises(UserError, match=r"name=NAME.*exist_ok=True"):
            choose_folder(study(epochs=99, **named))
        assert choose_folder(study(epochs=99, exist_ok=True, **named)).exists()

    def test_a_folder_with_other_files_is_an_error(self) -> None:
        Path("runs/compare/x").mkdir(parents=True)
        Path("runs/compare/x/holiday.jpg").touch()
        with pytest.raises(UserError, match="other files"):
            choose_folder(study(name="x"))
        Path("runs/compare/y").touch()
        with pytest.raises(UserError, match="a file"):
            choose_folder(study(name="y"))

    @pytest.mark.parametrize("left", [".lock", ".study.yaml.12.tmp", "store.json"])
    def test_remains_of_an_interrupted_first_write_do_not_matter(self, left: str) -> None:
        Path("runs/compare/x").mkdir(parents=True)
        Path("runs/compare/x", left).write_text("{")
        assert begin(study(name="x")) == Path("runs/compare/x")
        assert json.loads(Path("runs/compare/x/store.json").read_text())["schema"] == SCHEMA
        assert not list(Path("runs/compare/x").glob("*.tmp"))

    @pytest.mark.parametrize("name", [".looks.json.12.tmp", *(f"{part}/.x.12.tmp" for part in RUN_FOLDERS)])
    def test_temporary_files_of_killed_processes_are_removed(self, name: str) -> None:
        begin(study(name="x"))
        path = Path("runs/compare/x", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        begin(study(name="x"))
        assert not path.exists()

    @pytest.mark.parametrize("content", ["", "variants: [", "base: 3", "- a", "\x00"])
    def test_a_damaged_study_file_is_an_error_and_kept(self, content: str) -> None:
        folder = begin(study(name="x"))
        (folder / "study.yaml").write_text(content)
        with pytest.raises(UserError, match=r"damaged.*nothing was overwritten"):
            choose_folder(study(name="x"))
        assert (folder / "study.yaml").read_text() == content

    def test_a_store_of_other_versions_is_an_error(self) -> None:
        store = Store(begin(study()))
        assert store.platform(VERSIONS) == PLATFORM
        with pytest.raises(UserError, match=r"torch 3, installed is 4.*torch==3.*name=NAME"):
            store.platform({**VERSIONS, "torch": "4"})
        state = json.loads((store.folder / "store.json").read_text())
        (store.folder / "store.json").write_text(json.dumps({**state, "schema": 99}))
        with pytest.raises(UserError, match="schema 99"):
            store.platform(VERSIONS)
        (store.folder / "store.json").write_text("{")
        with pytest.raises(UserError, match="damaged"):
            store.platform(VERSIONS)

    def test_a_study_changed_by_another_process_is_not_overwritten(self) -> None:
        early = Store(choose_folder(study(name="x")))
        folder = begin(study(name="x"))
        with pytest.raises(UserError, match="in the meantime"), early.opened(study(epochs=99), PLATFORM):
            pass
        assert Store(folder).exists


def test_a_run_is_found_by_its_key_and_not_by_its_name(tmp_path: Path) -> None:
    first = Store(tmp_path).prepare(run(), SETTINGS)
    renamed = run(Arm("B", "variant", fake_arm("A").model))
    store = Store(tmp_path)
    assert store.prepare(renamed, replace(SETTINGS, data="/moved")) == first
    assert json.loads((first / "run.json").read_text())["data"] == "/moved"
    assert store.prepare(run(seed=1), SETTINGS) != first


@pytest.mark.parametrize("content", ["{", '{"key": "other", "status": "done"}', '{"status": "done"}'])
def test_a_damaged_result_is_an_error(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path)
    folder = store.prepare(run(), SETTINGS)
    assert store.result(run()) is None
    (folder / "result.json").write_text(content)
    with pytest.raises(UserError, match="damaged"):
        store.result(run())


def test_slugs_are_file_names() -> None:
    assert slug("SE@neck+CBAM@backbone.P5") == "SE-neck-CBAM-backbone.P5"
    assert slug("../../etc") == "etc"
    assert slug("注意") == "arm"


def test_a_store_of_an_earlier_schema_is_an_error(fresh_folder: Path) -> None:
    folder = begin(study(name="x"))
    content = yaml.safe_load((folder / "study.yaml").read_text())
    del content["controls"]  # which earlier versions did not have
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    (folder / "store.json").write_text(json.dumps({"versions": VERSIONS, "threads": 1, "device": "cpu", "schema": 1}))
    assert choose_folder(study(name="x")) == folder
    with pytest.raises(UserError, match=f"store schema 1, this yolo-attn has {SCHEMA}"):
        Store(folder).platform(VERSIONS)


def test_a_run_of_another_study_that_disappears_is_passed_over(
    fresh_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look at it and the check of its seal."""
    with Store(fresh_folder / "one").opened(study(), PLATFORM):
        other = Store(fresh_folder / "one").prepare(run(), SETTINGS)
    (other / "train" / "weights").mkdir(parents=True)
    for name in ("train/weights/last.pt", "matches.npz"):
        (other / name).touch()
    RunResult(run().key, 0, "done").write(other)
    store = Store(fresh_folder / "two")
    assert store.find_elsewhere(run()) == Neighbor(other, own=True)

    def check(folder: Path) -> bool:
        (folder / "result.json").unlink()
        return is_own_result(folder)

    monkeypatch.setattr("yolo_attn.study.store.is_own_result", check)
    assert store.find_elsewhere(run()) is None


@pytest.mark.parametrize("linked", ["train/weights/best.pt", "train/results.csv", "train.log", "layers", ""])
def test_a_received_study_writes_nothing_through_its_links(linked: str, fake: Fake) -> None:
    """Training resumes by writing into the folder of a run, and it clears the remains of an interrupted one."""
    fake.compare(variants="killed.x", seeds=1)
    (run,) = fake.folder.glob("runs/killed.x-*")
    victim = fake.home / "victim"
    victim.mkdir()
    path = run / linked
    if path.is_dir():
        path.rename(victim / "moved")
    else:
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim / "file" if linked else victim / "moved")
    before = sorted(victim.rglob("*"))
    with pytest.raises(UserError, match="a link that leads out of"):
        fake.compare(variants="killed.x", seeds=1)
    assert sorted(victim.rglob("*")) == before


def test_links_within_a_study_are_followed(fake: Fake) -> None:
    fake.compare(variants="killed.x", seeds=1)
    (run,) = fake.folder.glob("runs/killed.x-*")
    run.rename(fake.folder / "moved")
    run.symlink_to(fake.folder / "moved")
    assert fake.compare(variants="killed.x", seeds=1).exit_status == 0


def test_remains_of_an_interrupted_first_write_do_not_matter(fresh_folder: Path) -> None:
    folder = begin(study(name="s"))
    (folder / "study.yaml").unlink()
    (folder / "layers").mkdir()
    (folder / ".study.yaml.12.tmp").touch()
    assert choose_folder(study(name="s")) == folder
    (folder / "store.json").unlink()
    with pytest.raises(UserError, match="contains other files, not a study"):
        choose_folder(study(name="s"))


@pytest.mark.parametrize("exist_ok", [False, True])
def test_a_damaged_study_file_is_an_error(exist_ok: bool, fresh_folder: Path) -> None:
    folder = begin(study(name="s"))
    (folder / "study.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"study\.yaml: damaged; restore it, .* \(nothing was overwritten\)"):
        choose_folder(study(name="s", exist_ok=exist_ok))


def test_packages_that_change_training_must_be_the_same(fresh_folder: Path) -> None:
    store = Store(begin(study(name="s")))
    assert store.platform(VERSIONS) is not None
    with pytest.raises(UserError, match=r"run without albumentations, and .*; uninstall albumentations, or"):
        store.platform({**VERSIONS, "albumentations": "2.0.8"})
    with pytest.raises(UserError, match=r"run with torch 3, installed is None, and .*; install torch==3, or"):
        store.platform({key: VERSIONS[key] for key in ("yolo-attn", "ultralytics")})


@pytest.mark.parametrize("threads", [0, -5, 10**9])
def test_a_number_of_threads_that_crashes_pytorch_is_an_error(threads: int, fresh_folder: Path) -> None:
    folder = begin(study(name="s"))
    content = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**content, "threads": threads}))
    with pytest.raises(UserError, match=r"damaged \('threads' is not between 1 and 1024\)"):
        Store(folder).platform(VERSIONS)
