"""The split of a search: a dataset that Ultralytics reads, carved from the training images of another one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.data.test_check import BOX, CORNERS, IMAGE, POINTS, TRIANGLE
from yolo_attn.data import check_data, list_images, make_digits
from yolo_attn.data.labels import label_path
from yolo_attn.errors import UserError
from yolo_attn.selection import split
from yolo_attn.selection.split import MIN_IMAGES, Carved, carve, shared_images
from yolo_attn.study.running.dataset import read_dataset

OTHER = BOX.replace("1", "0", 1)


class Dataset:
    """A dataset in a folder, with 60 training images: every third has an object, and every twelfth two more."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entries: dict[str, Any] = {"train": "images/train", "val": "images/val", "names": ["a", "b"]}
        for index in range(60):
            text = "\n".join([OTHER] * (index % 3 == 0) + [BOX, f"{BOX}1"] * (index % 12 == 0))
            self.add(f"images/train/{index:03}.jpg", text)
        self.add("images/val/0.jpg", f"{BOX}\n{OTHER}")

    def add(self, name: str, text: str | None) -> Path:
        """Add an image; None means no label file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(IMAGE)
        if text is not None:
            label = Path(label_path(str(path)))
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text)
        return path

    @property
    def yaml(self) -> str:
        path = self.root / "data.yaml"
        path.write_text(yaml.safe_dump(self.entries, allow_unicode=True), encoding="utf-8")
        return str(path)

    def carve(self, task: str = "detect", folder: str = "split", **options: Any) -> Carved:
        return carve(self.yaml, task, self.root.parent / folder, **options)

    def error(self, task: str = "detect", **options: Any) -> str:
        with pytest.raises(UserError) as error:
            self.carve(task, **options)
        message = str(error.value)
        assert "\n" not in message
        return message


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "set")


def sources(carved: Carved, part: str) -> set[str]:
    """Return the original files of the images of a part."""
    return {os.path.realpath(file) for file in list_images(carved.data, part)}


def modified(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in folder.rglob("*")}


# --- detection and other tasks with label files ---------------------------------------------------------------------


def test_the_parts_are_a_stratified_partition_of_the_training_images(dataset: Dataset) -> None:
    carved = dataset.carve(share=1 / 3)
    train, val = sources(carved, "train"), sources(carved, "val")
    assert (carved.train_images, carved.search_images) == (len(train), len(val)) == (40, 20)
    assert not train & val
    assert train | val == {str(file) for file in (dataset.root / "images/train").resolve().iterdir()}
    found = check_data(carved.data, "detect")
    assert [found.splits[part].instances for part in ("train", "val")] == pytest.approx([20, 10], abs=1)
    assert [found.splits[part].labeled for part in ("train", "val")] == pytest.approx([13, 7], abs=1)
    assert carved.summary == "search split: 40 images to train on and 20 to evaluate, of the 60 training images"


def test_ultralytics_reads_it(dataset: Dataset) -> None:
    from ultralytics.data.utils import check_det_dataset

    dataset.entries |= {
        "names": {0: "猫", 1: "b c"},
        "kpt_shape": [2, 3],
        "flip_idx": [1, 0],
        "channels": 3,
        "path": str(dataset.root),
        "test": "images/val",
        "download": "https://example.com/a.zip",
    }
    carved = dataset.carve()
    found = check_det_dataset(carved.data)
    for key in ("names", "kpt_shape", "flip_idx", "channels"):
        assert found[key] == dataset.entries[key]
    assert [Path(found[part]) for part in ("train", "val")] == [
        Path(carved.data).parent / f"images/{part}" for part in ("train", "val")
    ]
    assert not found.get("test") and not found.get("download")


@pytest.mark.parametrize(
    ("task", "row", "entries"),
    [
        ("segment", TRIANGLE, {}),
        ("semantic", TRIANGLE, {}),
        ("obb", CORNERS, {}),
        ("pose", POINTS, {"kpt_shape": [2, 3], "flip_idx": [1, 0]}),
    ],
)
def test_other_tasks(dataset: Dataset, task: str, row: str, entries: Mapping[str, Any]) -> None:
    dataset.entries |= entries
    for label in dataset.root.rglob("*.txt"):
        label.write_text(row)
    carved = dataset.carve(task)
    found = check_data(carved.data, task)
    assert [found.splits[part].instances for part in ("train", "val")] == [40, 20]


def test_the_parts_have_caches_of_their_own(dataset: Dataset) -> None:
    from ultralytics.data import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    carved = dataset.carve()
    data = check_det_dataset(carved.data)
    files = {part: YOLODataset(data[part], data=data, imgsz=32, augment=False).im_files for part in ("train", "val")}
    assert {part: len(found) for part, found in files.items()} == {"train": 40, "val": 20}
    caches = sorted(
        path.relative_to(Path(carved.data).parent).as_posix() for path in dataset.root.parent.rglob("*.cache")
    )
    assert caches == ["labels/train.cache", "labels/val.cache"]


@pytest.mark.parametrize("kind", ["folders", "list", "mixed"])
def test_any_form_of_train(dataset: Dataset, kind: str, fresh_folder: Path) -> None:
    names = [f"{place}/images/train/图 {index}.v{index}.jpg" for place in ("A", "B 空/c") for index in range(30)]
    files = [dataset.add(name, BOX) for name in names]
    lines = [f"./{name}" for name in names[:20]] + [str(file) for file in files[20:]]
    (dataset.root / "all.txt").write_text("\n".join(lines), encoding="utf-8")
    (dataset.root / "B.txt").write_text("\n".join(lines[30:]), encoding="utf-8")
    forms = {"folders": ["A/images", "B 空"], "list": "all.txt", "mixed": ["A/images/train", "B.txt", "all.txt"]}
    dataset.entries |= {"train": forms[kind], "path": "set"}
    carved = dataset.carve()
    assert sources(carved, "train") | sources(carved, "val") == {str(file.resolve()) for file in files}
    assert carved.train_images + carved.search_images == 60
    found = check_data(carved.data, "detect")
    assert [found.splits[part].instances for part in ("train", "val")] == [40, 20]


def test_labels_may_be_next_to_their_images(dataset: Dataset) -> None:
    for index in range(60):
        dataset.add(f"flat/{index}.jpg", BOX)
    dataset.entries["train"] = "flat"
    found = check_data(dataset.carve().data, "detect")
    assert [found.splits[part].instances for part in ("train", "val")] == [40, 20]


def test_skipped_images_are_in_no_part(dataset: Dataset) -> None:
    for index in range(0, 60, 4):
        (dataset.root / f"images/train/{index:03}.jpg").write_bytes(b"")
    (dataset.root / "labels/train/001.txt").write_text("9 9")
    carved = dataset.carve()
    assert carved.train_images + carved.search_images == 44
    assert "16 unusable images skipped" in carved.summary
    assert not any(part.problems for part in check_data(carved.data, "detect").splits.values())


def test_classes_in_one_part_are_named(dataset: Dataset) -> None:
    dataset.entries["names"] = ["a", "b", "unique", "absent"]
    (dataset.root / "labels/train/001.txt").write_text(BOX.replace("1", "2", 1))
    assert dataset.carve().summary.endswith("not evaluated, because too few images have it: class unique")


def add_mask(image: Path, folder: str) -> Path:
    mask = Path(str(image).replace("images", folder)).with_suffix(".png")
    mask.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (10, 10), 1).save(mask)
    return mask


def test_masks(dataset: Dataset) -> None:
    shutil.rmtree(dataset.root / "labels")
    masks = [add_mask(image, "masks") for image in sorted(dataset.root.rglob("*.jpg"))]
    masks[0].unlink()
    carved = dataset.carve("semantic")
    assert carved.train_images + carved.search_images == 59
    found = check_data(carved.data, "semantic")
    assert not any(part.problems for part in found.splits.values())
    assert yaml.safe_load(Path(carved.data).read_text())["masks_dir"] == "masks"


def test_masks_are_not_taken_for_images(dataset: Dataset) -> None:
    for place in ("A", "B"):
        for index in range(30):
            add_mask(dataset.add(f"{place}/images/{index}.jpg", None), "truth")
    dataset.entries |= {"masks_dir": "truth", "train": ["A/images", "B/images"]}
    found = check_data(dataset.carve("semantic").data, "semantic")
    assert [found.splits[part].images for part in ("train", "val")] == [40, 20]
    assert not any(part.problems for part in found.splits.values())


# --- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", ["folder", r"(v\d+)_"])
def test_groups_are_not_divided(dataset: Dataset, groups: str) -> None:
    files = [
        dataset.add(f"images/videos/{video}/v{video}_{frame}.jpg", BOX)
        for video in range(50)
        for frame in range(1 + video % 4)
    ]
    dataset.entries["train"] = "images/videos"
    carved = dataset.carve(groups=groups)
    videos = [{Path(file).parent.name for file in sources(carved, part)} for part in ("train", "val")]
    assert not videos[0] & videos[1]
    assert min(map(len, videos)) >= MIN_IMAGES
    assert carved.search_images == pytest.approx(0.4 * len(files), abs=3)
    assert f"divided by groups={groups}" in carved.summary


def test_groups_of_which_there_are_too_few(dataset: Dataset) -> None:
    assert "train has 60 usable images in 1 group, and a search needs at least 40 groups" in dataset.error(
        groups="folder"
    )
    assert "matches none" in dataset.error(groups="video")


# --- stability ------------------------------------------------------------------------------------------------------


def test_again_changes_nothing(dataset: Dataset) -> None:
    carved = dataset.carve()
    before = modified(Path(carved.data).parent)
    assert dataset.carve() == carved
    assert modified(Path(carved.data).parent) == before


def test_the_digest_depends_on_no_path(dataset: Dataset) -> None:
    carved = dataset.carve()
    digest = read_dataset(carved.data, "detect").digest
    moved = Path(carved.data).parent.rename(dataset.root.parent / "elsewhere")
    assert read_dataset(str(moved / "data.yaml"), "detect").digest == digest
    assert read_dataset(dataset.carve().data, "detect").digest == digest
    dataset.root = dataset.root.rename(dataset.root.parent / "renamed")
    assert read_dataset(dataset.carve(folder="elsewhere").data, "detect").digest == digest  # the links are renewed


def test_a_killed_search_completes_its_split(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dataset.carve(folder="whole")
    calls: Iterator[int] = iter(range(30))
    link = split._link

    def killed(source: str, path: Path) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        link(source, path)

    monkeypatch.setattr(split, "_link", killed)
    with pytest.raises(KeyboardInterrupt):
        dataset.carve()
    monkeypatch.setattr(split, "_link", link)
    carved = dataset.carve()
    for part in ("train", "val"):
        assert sources(carved, part) == sources(whole, part)
    assert read_dataset(carved.data, "detect").digest == read_dataset(whole.data, "detect").digest


@pytest.mark.parametrize("change", ["image", "label", "added", "names", "groups"])
def test_a_changed_dataset_needs_a_new_search(dataset: Dataset, change: str) -> None:
    before = modified(Path(dataset.carve().data).parent)
    options = {}
    match change:
        case "image":
            Image.new("L", (99, 99)).save(dataset.root / "images/train/001.jpg")
        case "label":
            (dataset.root / "labels/train/000.txt").write_text(OTHER)
        case "added":
            dataset.add("images/train/new.jpg", None)
        case "names":
            dataset.entries["names"] = ["a", "c"]
        case "groups":
            options = {"groups": r"(\d+)"}
            for index in range(60):  # pairs
                dataset.add(f"images/train/{index:03}b.jpg", None)
    assert "have changed since the search" in (message := dataset.error(**options))
    assert "give another name=" in message
    assert modified(dataset.root.parent / "split") == before


@pytest.mark.parametrize("hard", [True, False])
def test_without_symbolic_links(dataset: Dataset, monkeypatch: pytest.MonkeyPatch, hard: bool) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(1, "not permitted")

    digest = read_dataset(dataset.carve(folder="links").data, "detect").digest
    monkeypatch.setattr(Path, "symlink_to", refused)
    if not hard:
        monkeypatch.setattr(os, "link", refused)
    carved = dataset.carve()
    assert not any(path.is_symlink() for path in Path(carved.data).parent.rglob("*"))
    assert read_dataset(carved.data, "detect").digest == digest
    before = modified(Path(carved.data).parent)
    dataset.carve()
    assert modified(Path(carved.data).parent) == before


# --- classification -------------------------------------------------------------------------------------------------


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    root = tmp_path / "classes"
    for kind, count in {"猫": 30, "b c": 60, "one": 1, "none": 0}.items():
        (root / "train" / kind / "sub").mkdir(parents=True)
        (root / "val" / kind).mkdir(parents=True)
        for index in range(count):
            (root / "train" / kind / ("sub" if index % 2 else "") / f"{index}.png").write_bytes(IMAGE)
        (root / "val" / kind / "0.png").write_bytes(IMAGE)
    (root / "train/猫/bad.png").write_bytes(b"")
    return root


def test_class_folders(class_folders: Path) -> None:
    folder = class_folders.parent / "split"
    carved = carve(str(class_folders), "classify", folder, share=0.3)
    assert carved.data == str(folder)
    assert not sources(carved, "train") & sources(carved, "val")
    counts = {
        part: {kind: len(list((folder / part / kind).rglob("*.png"))) for kind in ("猫", "b c", "one", "none")}
        for part in ("train", "val")
    }
    assert counts == {
        "train": {"猫": 21, "b c": 42, "one": 1, "none": 0},
        "val": {"猫": 9, "b c": 18, "one": 0, "none": 0},
    }
    assert "1 unusable image skipped; not evaluated, because too few images have it: class one" in carved.summary
    found = check_data(carved.data, "classify")
    assert found.names == check_data(str(class_folders), "classify").names
    assert not any(part.problems for part in found.splits.values())
    before = modified(folder)
    assert carve(str(class_folders), "classify", folder, share=0.3) == carved
    assert modified(folder) == before


def test_ultralytics_reads_class_folders(class_folders: Path) -> None:
    from ultralytics.cfg import get_cfg
    from ultralytics.data import ClassificationDataset
    from ultralytics.data.utils import check_cls_dataset

    carved = carve(str(class_folders), "classify", class_folders.parent / "split")
    found = check_cls_dataset(carved.data)
    assert found["names"] == dict(enumerate(sorted(["猫", "b c", "one", "none"])))
    read = ClassificationDataset(str(found["val"]), get_cfg(overrides={"imgsz": 32}), augment=False)
    assert len(read) == carved.search_images
    assert {Path(file).relative_to(found["val"]).parts[0]: kind for file, kind, *_ in read.samples} == {
        "b c": 0,
        "猫": 3,
    }


def test_groups_that_separate_the_classes(tmp_path: Path) -> None:
    for kind in range(50):
        (tmp_path / "classes/train" / str(kind)).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "classes/train" / str(kind) / f"{index}.png").write_bytes(IMAGE)
    with pytest.raises(UserError, match="no class would have objects both to train on and to evaluate"):
        carve(str(tmp_path / "classes"), "classify", tmp_path / "split", groups="folder")


# --- invalid input --------------------------------------------------------------------------------------------------


def test_too_few_images(dataset: Dataset) -> None:
    for index in range(39, 60):
        (dataset.root / f"images/train/{index:03}.jpg").unlink()
    assert "train has 39 usable images, and a search needs at least 40 images, 20 to train on" in dataset.error()
    assert not (dataset.root.parent / "split").exists()


def test_images_elsewhere(dataset: Dataset, tmp_path: Path) -> None:
    dataset.entries["train"] = "images/missing"
    assert "not on this machine" in dataset.error()
    with pytest.raises(UserError, match="not on this machine"):
        carve("https://example.com/a.zip", "detect", tmp_path / "split")
    with pytest.raises(UserError, match="not on this machine"):
        carve("mnist160", "classify", tmp_path / "split")


def test_invalid_values(dataset: Dataset, tmp_path: Path) -> None:
    assert "share=1.5" in dataset.error(share=1.5)
    assert "task depth" in dataset.error("depth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no folder train"):
        carve(str(tmp_path / "empty"), "classify", tmp_path / "split")


def test_a_folder_that_cannot_be_written(dataset: Dataset) -> None:
    (dataset.root.parent / "file").write_text("")
    assert "cannot be written" in dataset.error(folder="file/split")


# --- independence of the confirmation -------------------------------------------------------------------------------


def test_shared_images(dataset: Dataset) -> None:
    assert shared_images(dataset.yaml) == 0
    os.link(dataset.root / "images/train/001.jpg", dataset.root / "images/val/copy.jpg")
    assert shared_images(dataset.yaml) == 1
    dataset.entries["val"] = "images/train"
    assert shared_images(dataset.yaml) == 60


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_training_on_it(fresh_folder: Path) -> None:
    from ultralytics import YOLO

    data = str(make_digits(fresh_folder, counts={"train": 60, "val": 2, "test": 2}))
    carved = carve(data, "detect", fresh_folder / "search/split")
    used: dict[str, list[str]] = {}
    model = YOLO("yolo11n.yaml")
    model.add_callback("on_train_start", lambda trainer: used.update(train=trainer.train_loader.dataset.im_files))
    model.add_callback("on_val_end", lambda validator: used.update(val=validator.dataloader.dataset.im_files))
    model.train(
        data=carved.data,
        epochs=1,
        imgsz=64,
        batch=20,
        workers=0,
        device="cpu",
        plots=False,
        project=str(fresh_folder / "runs"),
    )
    for part, files in used.items():
        assert {os.path.realpath(file) for file in files} == sources(carved, part)
    assert set(used) == {"train", "val"}
    assert not list((fresh_folder / "digits").rglob("*.cache"))


# --- siblings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_classes_that_count_as_one_may_have_any_index(task: str, dataset: Dataset) -> None:
    row = {"detect": BOX, "segment": TRIANGLE}[task]
    for index in range(60):
        dataset.add(f"images/train/{index:03}.jpg", row.replace("1", str(index % 5), 1))
    dataset.add("images/val/0.jpg", row.replace("1", "4", 1))
    dataset.entries["names"] = ["item"]
    carved = dataset.carve(task, single_class=True)
    assert carved.summary == "search split: 40 images to train on and 20 to evaluate, of the 60 training images"
    found = read_dataset(carved.data, task, single_class=True)
    assert (found.train_images, found.images, found.instances) == (40, 20, 20)


def test_folders_named_images_get_names_of_their_own(dataset: Dataset) -> None:
    for folder in ("images", "images_", "imgs"):
        for index in range(10):
            dataset.add(f"images/train/t/{folder}/{index}.jpg", None)
    carved = dataset.carve()
    assert carved.train_images + carved.search_images == 90
    assert len(sources(carved, "train") | sources(carved, "val")) == 90
    assert read_dataset(carved.data, "detect").train_images == carved.train_images


def test_images_on_two_drives_are_one_line(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(paths: object) -> str:
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", refuse)
    assert "the training images are on several drives" in dataset.error()


def test_classes_of_one_name_are_counted_together() -> None:
    names = {0: "a", 1: "a"}
    text = f"{OTHER}\n{BOX}\n{BOX}".encode()
    assert split._objects(text, names, single_class=False) == {"a": 3}
    assert split._objects(text, names, single_class=True) == {"any": 3}


@pytest.mark.parametrize("val", ["val", "validation", "valid"])
def test_shared_images_of_classification(val: str, tmp_path: Path) -> None:
    for part in ("train", val):
        (tmp_path / part / "cat").mkdir(parents=True)
        (tmp_path / part / "cat" / f"{part}.jpg").write_bytes(IMAGE)
    (tmp_path / "notes.yaml").write_text("a: 1")
    assert shared_images(str(tmp_path), "classify") == 0
    (tmp_path / val / "cat" / "same.jpg").symlink_to(tmp_path / "train" / "cat" / "train.jpg")
    assert shared_images(str(tmp_path), "classify") == 1
