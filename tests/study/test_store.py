from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.study.conftest import fake_arm
from yolo_attn.errors import UserError
from yolo_attn.study.running.inputs import make_run
from yolo_attn.study.specification.study import Arm, Run, Study
from yolo_attn.study.store import SCHEMA, Store, choose_folder, slug

VERSIONS = {"yolo-attn": "1", "ultralytics": "2", "torch": "3"}
COMMON: dict[str, Any] = {
    "data": "d",
    "recipe": {"epochs": 1},
    "versions": VERSIONS,
    "device": "cpu",
    "threads": 1,
}
STATE = {"versions": VERSIONS, "threads": 1, "device": "cpu"}


def study(**arguments: object) -> Study:
    return Study.from_arguments({"device": "cpu", "variants": "A", **arguments})


def begin(of: Study) -> Path:
    folder = choose_folder(of)
    with Store(folder).opened(of, STATE):
        pass
    return folder


def run(**changes: Any) -> Run:
    return make_run(fake_arm("A"), 0, {**COMMON, **changes})


def test_the_key_is_of_everything_that_decides_the_result(tmp_path: Path) -> None:
    key = run().key
    assert run().key == key
    assert run(recipe={"epochs": 2}).key != key
    assert run(data="e").key != key
    assert run(versions={**VERSIONS, "torch": "4"}).key != key
    assert run(device="cuda").key != key
    assert run(threads=2).key != key
    assert make_run(fake_arm("A"), 1, COMMON).key != key
    assert make_run(Arm("A", "variant", {**fake_arm("A").model, "scale": "s"}), 0, COMMON).key != key
    assert run(devices=2).key != key
    # The name and the place in the report decide nothing.
    assert make_run(Arm("renamed", "baseline", fake_arm("A").model), 0, COMMON).key == key
    weights = tmp_path / "a.pt"
    weights.write_bytes(b"1")
    with_weights = make_run(Arm("A", "variant", fake_arm("A").model, weights), 0, COMMON).key
    weights.write_bytes(b"2")
    assert len({key, with_weights, make_run(Arm("A", "variant", fake_arm("A").model, weights), 0, COMMON).key}) == 3


def test_a_run_that_is_forgotten_keeps_the_state_that_its_retry_goes_on_from(fresh_folder: Path) -> None:
    asked = study()
    store = Store(choose_folder(asked))
    with store.opened(asked, STATE):
        folder = store.prepare(run(), {})
        for name in ("result.json", "state.pt"):
            (folder / name).write_text("{}")
        store.forget(run())
    assert not (folder / "result.json").exists()
    assert (folder / "state.pt").exists()


def test_the_order_of_a_recipe_does_not_change_the_key() -> None:
    assert run(recipe={"a": 1, "b": 2}).key == run(recipe={"b": 2, "a": 1}).key


@pytest.mark.usefixtures("fresh_folder")
class TestFolder:
    def test_the_same_study_goes_on_in_its_folder(self) -> None:
        assert begin(study()) == choose_folder(study())

    def test_another_default_study_takes_the_next_free_name(self) -> None:
        first = begin(study())
        second = begin(study(epochs=99))
        assert (first.name, second.name) == ("compare", "compare2")
        assert choose_folder(study(epochs=98)).name == "compare3"
        assert choose_folder(study()) == first
        assert choose_folder(study(epochs=99)) == second

    def test_without_a_name_a_study_is_added_to_the_one_of_its_base_data_and_recipe(self) -> None:
        first, second = begin(study()), begin(study(base="yolov8n.yaml"))
        assert (first.name, second.name) == ("compare", "compare2")
        assert choose_folder(study(base="yolov8n.yaml", seeds=9, exist_ok=True)) == second
        assert choose_folder(study(variants="B", exist_ok=True)) == first
        # Where there is none of its kind it is a new study, not another one's end.
        for other in ({"epochs": 99}, {"base": "yolov5n.yaml"}, {"data": "coco8.yaml"}):
            assert choose_folder(study(exist_ok=True, **other)).name == "compare3"

    def test_a_study_that_could_be_added_to_several_is_refused_unless_one_is_this_very_study(self) -> None:
        begin(study())
        second = begin(study(variants="B"))
        with pytest.raises(UserError, match=r"compare and compare2 hold studies of this base.*name=NAME"):
            choose_folder(study(variants="C", exist_ok=True))
        assert choose_folder(study(variants="B", exist_ok=True)) == second
        assert choose_folder(study(variants="C", exist_ok=True, name="compare2")) == second

    @pytest.mark.parametrize("named", [{"name": "x"}, {"project": "p"}])
    def test_a_named_folder_with_another_study_is_refused_with_both_cures(self, named: dict[str, str]) -> None:
        begin(study(**named))
        with pytest.raises(UserError, match=r"name=NAME.*exist_ok=True"):
            choose_folder(study(epochs=99, **named))
        assert choose_folder(study(epochs=99, exist_ok=True, **named)).exists()

    def test_a_folder_with_other_files_is_refused(self) -> None:
        Path("runs/compare/x").mkdir(parents=True)
        Path("runs/compare/x/holiday.jpg").touch()
        with pytest.raises(UserError, match="other files"):
            choose_folder(study(name="x"))
        Path("runs/compare/y").touch()
        with pytest.raises(UserError, match="a file"):
            choose_folder(study(name="y"))

    @pytest.mark.parametrize("left", [".lock", ".study.yaml.12.tmp", "store.json"])
    def test_what_a_start_that_was_cut_short_leaves_does_not_matter(self, left: str) -> None:
        Path("runs/compare/x").mkdir(parents=True)
        Path("runs/compare/x", left).write_text("{")
        assert begin(study(name="x")) == Path("runs/compare/x")
        assert json.loads(Path("runs/compare/x/store.json").read_text())["schema"] == SCHEMA
        assert not list(Path("runs/compare/x").glob("*.tmp"))

    @pytest.mark.parametrize("content", ["", "variants: [", "base: 3", "- a", "\x00"])
    def test_a_damaged_plan_is_told_and_kept(self, content: str) -> None:
        folder = begin(study(name="x"))
        (folder / "study.yaml").write_text(content)
        with pytest.raises(UserError, match=r"damaged.*nothing was overwritten"):
            choose_folder(study(name="x"))
        assert (folder / "study.yaml").read_text() == content

    def test_a_store_of_other_versions_is_refused(self) -> None:
        store = Store(begin(study()))
        assert store.state(VERSIONS)["threads"] == 1
        with pytest.raises(UserError, match=r"torch 3, installed is 4.*torch==3.*name=NAME"):
            store.state({**VERSIONS, "torch": "4"})
        state = json.loads((store.folder / "store.json").read_text())
        (store.folder / "store.json").write_text(json.dumps({**state, "schema": 99}))
        with pytest.raises(UserError, match="schema 99"):
            store.state(VERSIONS)
        (store.folder / "store.json").write_text("{")
        with pytest.raises(UserError, match="damaged"):
            store.state(VERSIONS)

    def test_a_study_that_another_process_changed_meanwhile_is_not_overwritten(self) -> None:
        early = Store(choose_folder(study(name="x")))
        folder = begin(study(name="x"))
        with pytest.raises(UserError, match="meanwhile"), early.opened(study(epochs=99), STATE):
            pass
        assert Store(folder).exists


def test_a_run_is_found_by_its_key_whatever_its_arm_was_called(tmp_path: Path) -> None:
    first = Store(tmp_path).prepare(run(), {})
    renamed = make_run(Arm("B", "variant", fake_arm("A").model), 0, COMMON)
    store = Store(tmp_path)
    assert store.prepare(renamed, {"data": "/moved"}) == first
    assert json.loads((first / "run.json").read_text())["data"] == "/moved"
    assert store.prepare(make_run(fake_arm("A"), 1, COMMON), {}) != first


@pytest.mark.parametrize("content", ["{", '{"key": "other", "status": "done"}', '{"status": "done"}'])
def test_a_damaged_result_is_told(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path)
    folder = store.prepare(run(), {})
    assert store.result(run()) is None
    (folder / "result.json").write_text(content)
    with pytest.raises(UserError, match="damaged"):
        store.result(run())


def test_slugs_are_file_names() -> None:
    assert slug("SE@neck+CBAM@backbone.P5") == "SE-neck-CBAM-backbone.P5"
    assert slug("../../etc") == "etc"
    assert slug("注意") == "arm"


def test_a_store_of_an_earlier_version_is_told_by_its_schema(fresh_folder: Path) -> None:
    folder = begin(study(name="x"))
    plan = yaml.safe_load((folder / "study.yaml").read_text())
    del plan["controls"]  # which earlier versions did not know
    (folder / "study.yaml").write_text(yaml.safe_dump(plan))
    (folder / "store.json").write_text(json.dumps({**STATE, "schema": 1}))
    assert choose_folder(study(name="x")) == folder
    with pytest.raises(UserError, match=f"store schema 1, this yolo-attn has {SCHEMA}"):
        Store(folder).state(VERSIONS)
