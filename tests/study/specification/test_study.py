from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from yolo_attn.data import find_recipe
from yolo_attn.errors import UserError
from yolo_attn.study.specification.arguments import split_list
from yolo_attn.study.specification.design import FINE_TUNING_LR_ATTENTION, Design
from yolo_attn.study.specification.study import DEFAULT_STUDY, Comparison, Study


def study(**arguments: object) -> Study:
    return Study.from_arguments({"device": "cpu", **arguments})


def test_without_arguments_it_is_the_default_study() -> None:
    plain = study()
    assert (plain.base, plain.data) == (DEFAULT_STUDY["base"], DEFAULT_STUDY["data"])
    assert plain.variants == tuple(DEFAULT_STUDY["variants"])
    assert plain.seeds == tuple(range(DEFAULT_STUDY["seeds"]))
    recipe = {**find_recipe("digits", finetune=True), "val": False, "split": "test"}
    assert {key: plain.train[key] for key in recipe} == recipe
    assert plain.design == Design(pretrain=DEFAULT_STUDY["pretrain"], lr_attention=FINE_TUNING_LR_ATTENTION)
    assert plain.folder.path == Path("runs/compare/compare")
    assert not plain.folder.explicit


def test_the_default_recipe_goes_with_its_dataset() -> None:
    assert "epochs" not in study(data="coco8.yaml").train
    assert study(data="digits", epochs=3).train["epochs"] == 3


def test_a_recipe_can_be_named_by_its_dataset(tmp_path: Path) -> None:
    base = "yolo11n.yaml"
    mine = study(base=base, data="coco8.yaml", recipe="Digits", epochs=3).train
    assert {**mine, "split": "test"} == study(base=base, data="digits", epochs=3).train
    file = tmp_path / "study.yaml"
    file.write_text("{base: yolo11n.yaml, data: coco8.yaml, variants: [SE@neck], recipe: digits, train: {batch: 4}}")
    assert study(study=file, epochs=3).train == {**mine, "batch": 4}
    with pytest.raises(UserError, match=r"recipe=coco8: datasets.yaml has a recipe for digits"):
        study(recipe="coco8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: yolo11n.yaml\nbase: yolo11s.yaml\n", "base is written in lines 1 and 2; keep one"),
        ("train:\n  epochs: 3\n  batch: 4\n  epochs: 5\n", "train: epochs is written in lines 2 and 4; keep one"),
    ],
)
def test_a_study_file_has_each_key_once(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=words):
        study(study=file)


def test_the_evaluated_split_belongs_to_the_dataset() -> None:
    assert study(data="digits").train["split"] == "test"
    assert "split" not in study(data="coco8.yaml", recipe="digits").train
    assert study(data="digits", split="val").train["split"] == "val"
    assert study(base="yolo11n.yaml", data="digits", pretrain=9).pretraining["split"] == "test"


def test_only_the_default_base_is_trained_first() -> None:
    assert study().design.pretrain == study(variants="SE@neck").design.pretrain == DEFAULT_STUDY["pretrain"]
    assert study(base="yolo11n.yaml").design == study(base="yolo11n.yaml", variants="SE@neck").design == Design()
    assert study(base="yolo11n.pt").design.pretrain == 0
    assert study(pretrain=0).train["epochs"] > study().train["epochs"]
    assert study(pretrain=0).design == study(pretrain="0").design == Design()
    assert study(pretrain=9).design.pretrain == study(base="yolo11n.yaml", pretrain=9).design.pretrain == 9


@pytest.mark.parametrize(
    "start", [{}, {"pretrain": 9}, {"base": "yolo11n.yaml", "pretrain": 9}, {"base": "yolo11n.pt"}]
)
def test_attention_layers_learn_faster_in_a_fine_tuning(start: dict[str, object]) -> None:
    assert study(**start).design.lr_attention == FINE_TUNING_LR_ATTENTION
    assert study(**start, lr_attention=3).design.lr_attention == 3


def test_a_stored_study_keeps_the_learning_rate_of_its_attention_layers(tmp_path: Path) -> None:
    for factor in (1, 3, FINE_TUNING_LR_ATTENTION):
        first = study(base="yolo11n.pt", lr_attention=factor)
        assert study(study=write(tmp_path, first.to_content())).design == first.design


def test_only_the_default_study_has_a_usual_number_of_threads() -> None:
    assert study().usual_threads == 1
    assert study(data="coco8.yaml").usual_threads is None
    assert study(base="yolo11x.yaml").usual_threads is None


def test_automatic_choices_of_ultralytics_are_pinned() -> None:
    train = study(data="coco8.yaml").train
    assert (train["optimizer"], train["lr0"], train["deterministic"], train["patience"]) == ("SGD", 0.01, True, 0)
    assert train["amp"] is False  # on a CPU
    assert study(device="0", runner="ray").train["amp"] is True
    assert study(device="CPU").train == study().train
    assert (
        study(optimizer="AdamW", lr0="1e-3", patience=5).train | {"optimizer": "AdamW", "lr0": 0.001}
        == study(optimizer="AdamW", lr0=0.001, patience="5").train
    )


@pytest.mark.parametrize(
    ("given", "seeds"),
    [("3", (0, 1, 2)), (2, (0, 1)), ("0,7,42", (0, 7, 42)), ([4, 2], (4, 2)), ("5,", (5,)), ("[1, 2]", (1, 2))],
)
def test_seeds(given: object, seeds: tuple[int, ...]) -> None:
    assert study(seeds=given).seeds == seeds


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("SE@neck,CBAM@backbone.P3", ["SE@neck", "CBAM@backbone.P3"]),
        ("SE@neck+CBAM@backbone.P5, configs/yolo11-gam.yaml", ["SE@neck+CBAM@backbone.P5", "configs/yolo11-gam.yaml"]),
        ("SE[reduction=8,init=identity]@neck,CA(1,2)@neck", ["SE[reduction=8,init=identity]@neck", "CA(1,2)@neck"]),
        ("[SE@neck, 'CBAM@neck']", ["SE@neck", "CBAM@neck"]),
    ],
)
def test_lists_are_split_at_commas_outside_brackets(text: str, items: list[str]) -> None:
    assert split_list(text) == items


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epoch": 3}, "did you mean epochs?"),
        ({"variant": "SE@neck"}, "did you mean variants?"),
        ({"qwertyuiop": 1}, "unknown key 'qwertyuiop'"),
        ({"model": "yolo11n.yaml"}, "base="),
        ({"seed": 3}, "seeds="),
        ({"resume": True}, "same command again"),
        ({"mode": "val"}, "mode"),
        ({"task": "detect"}, "task"),
        ({"save_dir": "x"}, "unknown key 'save_dir'"),
        ({"pretrained": "yolo11n.pt"}, "base="),
        ({"time": 1}, "epochs="),
        ({"optimizer": "auto"}, "optimizer=SGD"),
        ({"optimizer": "foo"}, "optimizer=foo: unknown to Ultralytics (Adam, "),
        ({"optimizer": "AdamX"}, "; did you mean Adam"),
        ({"optimizer": None}, "optimizer=None"),
        ({"source": "a.jpg"}, "source=a.jpg: not a key of a study: it belongs to predict"),
        ({"tracker": "botsort.yaml"}, "it belongs to track"),
        ({"conf": 0.25}, "conf=0.25: not a key of a study: it discards detections before they are evaluated"),
        ({"format": "onnx"}, "it belongs to export"),
        ({"device": "gpu"}, "device=gpu: not a device"),
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": "many"}, "epochs=many"),
        ({"batch": -1}, "batch=-1"),
        ({"batch": "0.5"}, "batch=0.5"),
        ({"imgsz": "640,480"}, "imgsz="),
        ({"lr0": "fast"}, "lr0"),
        ({"mosaic": 3.5}, "mosaic"),
        ({"seeds": 0}, "at least 1"),
        ({"seeds": "0,1,0"}, "0 is listed twice"),
        ({"seeds": "0,-1"}, "-1 is not a seed"),
        ({"seeds": "a"}, "seeds=a"),
        ({"seeds": "True"}, "seeds=True"),
        ({"seeds": 10**9}, "at most"),
        ({"seeds": "1.5"}, "seeds=1.5"),
        ({"variants": ""}, "variants= is empty"),
        ({"variants": "SE@neck,,CA@neck"}, "empty item"),
        ({"variants": "SE@neck,SE@neck"}, "SE@neck is listed twice"),
        ({"variants": 3}, "variants=3"),
        ({"base": " "}, "base= is empty"),
        ({"data": None}, "data= is empty"),
        ({"name": ""}, "name= is empty"),
        ({"exist_ok": "perhaps"}, "exist_ok=perhaps"),
        ({"retry": 3}, "retry=3"),
        ({"threads": 0}, "threads=0"),
        ({"study": "nothing.yaml"}, "nothing.yaml: No such file"),
    ],
)
def test_invalid_arguments_are_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        study(**arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSProp", "NAdam"])
def test_known_optimizers_print_nothing(optimizer: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert study(optimizer=optimizer).train["optimizer"] == optimizer
    assert not "".join(capfd.readouterr())


FILE: dict[str, Any] = {"base": "yolov8n.yaml", "data": "coco8", "variants": ["SE@neck", "CA@neck"], "seeds": [1, 5]}


def write(folder: Path, content: object) -> Path:
    path = folder / "study.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_arguments_override_a_study_file(tmp_path: Path) -> None:
    path = write(tmp_path, {**FILE, "train": {"epochs": 7, "imgsz": 96}})
    read = study(study=path, imgsz=64, seeds=2)
    assert (read.base, read.data, read.variants) == ("yolov8n.yaml", "coco8", ("SE@neck", "CA@neck"))
    assert read.seeds == (0, 1)
    assert (read.train["epochs"], read.train["imgsz"]) == (7, 64)


def test_a_comparison_is_a_study_file(tmp_path: Path) -> None:
    first = study(epochs=3, variants="SE@neck", seeds="4,2")
    again = study(study=write(tmp_path, first.to_content()))
    assert again == first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**FILE, "varaints": []}, "did you mean variants?"),
        ({"base": "yolo11n.yaml"}, "'data' is missing"),
        ({**FILE, "train": [1]}, "train must be a mapping"),
        ({**FILE, "train": {"epoch": 3}}, "did you mean epochs?"),
        ({**FILE, "train": {"name": "x"}}, "command line"),
        ({**FILE, "hours": 2}, "study.yaml: 'hours' is not part of a study file; give hours= in the command"),
        ({**FILE, "margin": -1}, "study.yaml: margin=-1: must be a number above 0"),
        ({**FILE, "controls": ["nul"]}, "study.yaml: controls: unknown control 'nul'; did you mean null?"),
        ({**FILE, "variants": []}, "variants= is empty"),
        ("base: [", "not valid YAML"),
        ("- 1", "must be a mapping with the keys"),
        ("", "must be a mapping with the keys"),
    ],
)
def test_invalid_study_files_are_errors(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        study(study=write(tmp_path, content))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_of_the_command_do_not_name_the_study_file(tmp_path: Path) -> None:
    file = write(tmp_path, {**FILE, "margin": 1})
    for given in ({"margin": -1}, {"bases": 3}):
        with pytest.raises(UserError, match=f"^{next(iter(given))}="):
            study(study=file, **given)


@pytest.mark.parametrize("value", ["none", "None", " ", "", None])
def test_groups_can_be_taken_back(value: str | None) -> None:
    assert study(groups=value).design.groups is None
    assert study(groups=value).added_to(study(groups="folder")).design.groups is None


@pytest.mark.parametrize("arguments", [{"margin": 100}, {"margin": 1e9}, {"plan": True, "detect": 100}])
def test_differences_are_points_of_a_metric(arguments: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"(margin|detect)=\d+(\.0)?: must be a number of points below 100"):
        study(**arguments)
    assert study(margin=99.5).design.margin == 99.5


def test_the_order_of_variants_and_seeds_does_not_matter() -> None:
    first = study(variants="SE@neck,CA@neck", seeds="0,1")
    assert study(variants="CA@neck,SE@neck", seeds="1,0").is_same(first)
    assert not study(variants="CA@neck", seeds="1,0").is_same(first)
    assert not study(variants="SE@neck,CA@neck", seeds="0,1", epochs=99).is_same(first)


def test_adding_keeps_stored_variants_and_seeds() -> None:
    first = study(variants="SE@neck,CA@neck", seeds="0,1")
    more = study(variants="CBAM@neck,SE@neck", seeds=3).added_to(first)
    assert more.variants == ("SE@neck", "CA@neck", "CBAM@neck")
    assert more.seeds == (0, 1, 2)
    other = study(variants="CBAM@neck", seeds=3, epochs=99)
    assert other.added_to(first) == other


def test_a_fine_tuning_has_its_own_recipe() -> None:
    scratch, tuned = find_recipe("digits"), find_recipe("digits", finetune=True)
    assert scratch["lr0"] > tuned["lr0"]
    plain = study(data="digits", pretrain=0)
    assert (plain.train["lr0"], plain.pretraining) == (scratch["lr0"], {})
    trained = study(data="digits", pretrain=40)
    assert {key: trained.train[key] for key in tuned} == tuned
    assert trained.pretraining == {**plain.train, "epochs": 40}
    assert study(data="digits", base="yolo11n.pt", variants="SE@neck").train == trained.train


def test_keys_of_the_optimization_belong_to_the_fine_tuning() -> None:
    given = study(data="digits", pretrain=40, lr0=0.02, epochs=5, optimizer="SGD", imgsz=64, fliplr=0.5)
    assert [given.train[key] for key in ("lr0", "epochs", "imgsz", "fliplr")] == [0.02, 5, 64, 0.5]
    expected = {**find_recipe("digits"), "imgsz": 64, "fliplr": 0.5, "epochs": 40}
    assert {key: given.pretraining[key] for key in expected} == expected


def test_a_study_file_can_state_the_recipe_of_the_base(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    start = "base: yolo11n.yaml, data: digits, variants: [SE@neck]"
    file.write_text(f"{{{start}, recipe: digits, train: {{epochs: 5}}, pretrain: 30, pretraining: {{lr0: 0.01}}}}")
    read = study(study=file)
    assert (read.train["epochs"], read.pretraining["epochs"], read.pretraining["lr0"]) == (5, 30, 0.01)
    file.write_text(yaml.safe_dump(read.to_content()))
    assert study(study=file).is_same(read)
    assert Comparison.from_content(read.to_content()) == Comparison(
        *(getattr(read, name) for name in ("base", "data", "variants", "controls", "seeds", "train", "design")),
        read.pretraining,
    )
    file.write_text(f"{{{start}, pretraining: {{lr0: 0.01}}}}")
    with pytest.raises(UserError, match="add pretrain: EPOCHS"):
        study(study=file)
    file.write_text(f"{{{start}, pretrain: 30, pretraining: {{lr: 0.01}}}}")
    with pytest.raises(UserError, match=r"study\.yaml, pretraining: unknown key 'lr'"):
        study(study=file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"pretrain": 40, "base": "yolo11n.pt"},
            "pretrain=40 and base=yolo11n.pt: .*; omit pretrain=, or give a model",
        ),
        ({"bases": 3, "pretrain": 0}, "bases=3: the number of bases that pretrain= trains; add pretrain=EPOCHS"),
        ({"pretrain": 4, "bases": 2}, "two bases"),
        ({"pretrain": 4, "bases": 3, "seeds": 4}, "multiple"),
        ({"pretrain": -1}, "pretrain=-1: must be an integer from 0"),
    ],
)
def test_what_arms_start_from_is_checked(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        study(**arguments)


def test_a_study_of_an_early_version_keeps_the_learning_rate_that_it_was_stored_without(tmp_path: Path) -> None:
    new = study(base="yolo11n.pt")
    content = {key: value for key, value in new.to_content().items() if key != "lr_attention"}
    early = Comparison.from_content(content)
    assert early is not None
    assert (new.design.lr_attention, early.design.lr_attention) == (FINE_TUNING_LR_ATTENTION, 1)
    assert new.is_same(early)
    assert new.added_to(early).to_content() == content
    for explicit in (FINE_TUNING_LR_ATTENTION, 3):
        assert not study(base="yolo11n.pt", lr_attention=explicit).is_similar(early)
    one = Comparison.from_content(study(base="yolo11n.pt", lr_attention=1).to_content())
    assert one is not None
    assert not new.is_similar(one)
    # Its file is that of a stored study only in the folder of one.
    path = write(tmp_path, content)
    assert study(study=path).design.lr_attention == FINE_TUNING_LR_ATTENTION
    (path.parent / "store.json").touch()
    assert study(study=path).design.lr_attention == 1
    assert study(study=path).to_content() == content
