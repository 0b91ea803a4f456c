"""Dataset names: datasets.yaml is correct, and `data=` values resolve as documented."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from yolo_attn.data import (
    digits,
    find_recipe,
    find_val_images,
    list_datasets,
    names,
    resolve_data,
)
from yolo_attn.errors import UserError
from yolo_attn.host import installation
from yolo_attn.study.specification.study import Study


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make a small `digits` in a temporary folder and return the path of its data YAML."""
    few = {"train": 1, "val": 1, "test": 1}
    monkeypatch.setattr(names, "make_digits", lambda root: digits.make_digits(root, counts=few))
    monkeypatch.setattr(installation, "datasets_folder", lambda: tmp_path / "datasets")
    return tmp_path / "datasets" / "digits" / "digits.yaml"


@pytest.mark.parametrize("entry", list_datasets().values(), ids=lambda entry: entry.name)
def test_entries_match_the_data_yamls_of_the_installed_ultralytics(entry: names.DatasetInfo) -> None:
    assert entry.about.endswith(".")
    if entry.name == "digits":
        assert {"train": entry.train, "val": entry.val, "test": entry.test} == dict(digits.COUNTS)
    elif entry.task != "classify":
        path = installation.stock_data_yamls()[entry.name.casefold()]
        assert path.stem == entry.name
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert len(data["names"]) == entry.classes
        assert ("kpt_shape" in data) == (entry.task == "pose")


def test_entries_are_complete() -> None:
    entries = list_datasets()
    assert {entry.task for entry in entries.values()} == {"detect", "segment", "pose", "obb", "classify"}
    assert entries["VisDrone"] == names.DatasetInfo(
        name="VisDrone", task="detect", classes=10, train=6471, val=548, test=1610, download="2 GB",
        about=entries["VisDrone"].about,
    )  # fmt: skip
    assert all(entry.download for entry in entries.values() if entry.task != "classify")


@pytest.mark.parametrize("name", [entry.name for entry in list_datasets().values() if entry.recipe])
def test_ultralytics_accepts_the_recipes(name: str) -> None:
    from yolo_attn.study.specification.recipe import check_recipe

    assert check_recipe(find_recipe(name)) == find_recipe(name.upper())


@pytest.mark.parametrize("written", ["digits", "Digits", "digits.yaml", " DIGITS.yml "])
def test_a_dataset_is_found_in_every_form_that_is_resolved(written: str, fresh_folder: Path) -> None:
    """A study takes its split and recipe from it."""
    found = names.find_dataset(written)
    assert found is not None and (found.name, found.evaluate) == ("digits", "test")
    study = Study.from_arguments({"base": "yolo11n.yaml", "data": written, "variants": "SE@neck"})
    assert (study.train["split"], study.train["imgsz"]) == ("test", 128)


def test_a_file_with_the_name_of_a_dataset_is_not_that_dataset(fresh_folder: Path) -> None:
    Path("digits.yaml").write_text("path: .")
    assert names.find_dataset("digits.yaml") is None
    assert names.find_dataset("fruit") is None


def test_an_unknown_recipe_is_an_error() -> None:
    with pytest.raises(UserError, match=r"recipe=digit: datasets.yaml has a recipe for digits; did you mean digits\?"):
        find_recipe("digit")


def test_the_validation_images_of_a_dataset_are_found(few_digits: Path, tmp_path: Path) -> None:
    assert find_val_images("digits") == few_digits.parent / "images" / "val"
    with pytest.raises(UserError, match="coco8 are not at"):
        find_val_images("coco8")
    with pytest.raises(UserError, match=r"MNIST has no data YAML.*give their folder"):
        find_val_images("MNIST")


@pytest.mark.parametrize("written", ["digits", "Digits", "digits.yaml", " digits "])
def test_digits_is_made(few_digits: Path, written: str) -> None:
    assert resolve_data(written) == str(few_digits)
    assert few_digits.exists()


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("coco8", "coco8.yaml"),
        ("COCO8.yaml", "coco8.yaml"),
        ("voc", "VOC.yaml"),
        ("dotav1.5", "DOTAv1.5.yaml"),
        ("mnist", "mnist"),
        ("ImageNet", "imagenet"),
        ("https://host/data.zip", "https://host/data.zip"),
    ],
)
def test_names_that_ultralytics_knows_are_resolved(fresh_folder: Path, written: str, taken: str) -> None:
    assert resolve_data(written) == taken


def test_paths_become_absolute(fresh_folder: Path) -> None:
    (fresh_folder / "mine.yaml").write_text("")
    (fresh_folder / "coco8.yaml").write_text("")
    (fresh_folder / "photos").mkdir()
    assert resolve_data("mine.yaml") == str(fresh_folder / "mine.yaml")
    assert resolve_data("./coco8.yaml") == resolve_data("coco8.yaml") == str(fresh_folder / "coco8.yaml")
    assert resolve_data("photos") == str(fresh_folder / "photos")


def test_a_known_name_takes_precedence_over_a_folder(fresh_folder: Path) -> None:
    (fresh_folder / "coco8").mkdir()
    assert resolve_data("coco8") == "coco8.yaml"
    assert resolve_data(str(Path("coco8").absolute())) == str(fresh_folder / "coco8")


@pytest.mark.parametrize(
    ("written", "suggestion"), [("visdron", "VisDrone"), ("digit.yaml", "digits"), ("mnits", "mnist")]
)
def test_a_typo_in_a_name_gets_a_suggestion(fresh_folder: Path, written: str, suggestion: str) -> None:
    with pytest.raises(UserError, match=rf"^unknown dataset '{written}'; did you mean {suggestion}\?$"):
        resolve_data(written)


@pytest.mark.parametrize("written", ["birds", "cifar1000", "coco16"])
def test_an_unknown_name_without_a_suggestion_names_the_list(fresh_folder: Path, written: str) -> None:
    with pytest.raises(UserError, match=rf"^unknown dataset '{written}'; give a data YAML, or a name of ") as error:
        resolve_data(written)
    listed = Path(str(error.value).rpartition("name of ")[2])
    assert set(yaml.safe_load(listed.read_text())) == set(list_datasets())


def test_an_empty_name_is_an_error(fresh_folder: Path) -> None:
    with pytest.raises(UserError, match="unknown dataset ''"):
        resolve_data("  ")


def test_a_missing_file_is_reported_with_the_working_folder(fresh_folder: Path) -> None:
    with pytest.raises(UserError, match=r"there is no data YAML or dataset folder sets/mine\.yaml .*working folder: "):
        resolve_data("sets/mine.yaml")
