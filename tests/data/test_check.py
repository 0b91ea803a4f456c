"""Checks of datasets: valid ones are counted, and each problem is one line with its location."""

from __future__ import annotations

import base64
import os
import re
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from yolo_attn.data import check_data, describe_data, drop_stale_caches, resolve_data
from yolo_attn.data.data_yaml import DataYaml
from yolo_attn.errors import UserError
from yolo_attn.host import installation
from yolo_attn.host.installation import datasets_folder

BOX = "1 0.5 0.5 0.2 0.2"
TRIANGLE = "0 0.1 0.1 0.9 0.1 0.5 0.9"
CORNERS = "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9"
# 10 x 10 pixels, byte by byte the same whatever writes images here.
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAAAAACoWZBhAAAAEElEQVR4nGOMYoABJgaaMwErDABuaONAZwAAAABJRU5ErkJggg=="
)
POINTS = "0 0.5 0.5 0.2 0.2 0.5 0.5 2 0 0 0"


class Dataset:
    """A dataset in a folder, with one image per label text; None means no label file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.yaml = root / "data.yaml"
        self.entries: dict[str, Any] = {
            "path": str(root),
            "train": "images/train",
            "val": "images/val",
            "names": ["a", "b"],
        }
        self.split("train", BOX, f"{BOX}\n{BOX.replace('1', '0', 1)}\n", "", None)
        self.split("val", BOX)

    def split(self, name: str, *labels: str | None) -> None:
        for kind in ("images", "labels"):
            (self.root / kind / name).mkdir(parents=True, exist_ok=True)
        for index, text in enumerate(labels):
            (self.root / "images" / name / f"{index}.jpg").write_bytes(IMAGE)
            if text is not None:
                (self.root / "labels" / name / f"{index}.txt").write_text(text)

    def check(self, task: str = "detect", **options: Any) -> Any:
        self.yaml.write_text(yaml.safe_dump(self.entries))
        return check_data(str(self.yaml), task, **options)

    def problems(self, split: str = "train", task: str = "detect") -> dict[str, str]:
        """Return the problems of a split by kind."""
        found = self.check(task).splits[split].problems
        return {f"{problem.noun} {problem.rest}".strip(): str(problem) for problem in found}

    def error(self, task: str = "detect") -> str:
        with pytest.raises(UserError) as error:
            self.check(task)
        message = str(error.value)
        assert "\n" not in message
        return message


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "set")


def _listing(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_valid_dataset_is_counted_and_not_modified(dataset: Dataset) -> None:
    dataset.check()
    (dataset.root / "labels" / "train.cache").write_bytes(b"a pickle that must not be opened")
    before = _listing(dataset.root)
    summary = check_data(str(dataset.yaml))
    assert summary.names == {0: "a", 1: "b"}
    train, val = summary.splits["train"], summary.splits["val"]
    assert (train.images, train.labeled, train.instances) == (4, 2, 3)
    assert (val.images, val.labeled, val.instances) == (1, 1, 1)
    assert summary.present
    assert _listing(dataset.root) == before


def test_the_digest_depends_on_labels_names_and_images_but_not_on_the_location(tmp_path: Path) -> None:
    first, second = Dataset(tmp_path / "a"), Dataset(tmp_path / "b")
    digests = [first.check().digest]
    assert second.check().digest == digests[0]
    second.split("val", BOX.replace("1", "0", 1))
    digests.append(second.check().digest)
    second.entries["names"] = ["a", "c"]
    digests.append(second.check().digest)
    (second.root / "images" / "val" / "0.jpg").write_bytes(IMAGE + b"more")
    digests.append(second.check().digest)
    assert len(set(digests)) == 4


def test_the_digest_is_stable_across_versions(dataset: Dataset) -> None:
    """Stored runs are looked up by it."""
    assert dataset.check().digest == "149b9fc72dd0fd84a16b398ca6d4a203e51fad47c67d30219c52f0b8ad277a20"


@pytest.mark.parametrize(
    "entry",
    [{"kpt_shape": [2, 3]}, {"flip_idx": [1, 0]}, {"channels": 1}, {"kpt_oks_sigmas": [0.1, 0.2]}],
    ids=lambda entry: next(iter(entry)),
)
def test_the_digest_changes_with_the_training_entries_of_the_data_yaml(dataset: Dataset, entry: dict[str, Any]) -> None:
    before = dataset.check().digest
    dataset.entries |= entry
    assert dataset.check().digest != before
    dataset.entries |= {"author": "me", **dict.fromkeys(entry)}
    assert dataset.check().digest == before


def as_jpeg(value: int, end: bytes = b"") -> bytes:
    image = np.full((32, 48, 3), value, dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1]) + end


@pytest.mark.parametrize("name", ["0.jpg", "0.png"])  # the content decides
def test_the_digest_does_not_change_when_ultralytics_repairs_a_jpeg(dataset: Dataset, name: str) -> None:
    (dataset.root / "images" / "train" / "0.jpg").unlink()
    image = dataset.root / "images" / "train" / name
    image.write_bytes(as_jpeg(90, end=b"\0\0"))
    before, first = dataset.check().digest, image.read_bytes()
    assert sorted(read_classes(dataset)) == [0, 1, 1]
    assert image.stat().st_size != len(first)
    assert dataset.check().digest == before
    image.write_bytes(np.random.default_rng(0).bytes(5000))
    assert dataset.check().digest != before


def test_an_image_that_ultralytics_cannot_repair_is_hashed_unchanged(dataset: Dataset) -> None:
    image = dataset.root / "images" / "train" / "0.jpg"
    for content in (as_jpeg(90)[:-60], b"\xff\xd8\xff"):
        image.write_bytes(content)
        before = dataset.check().digest
        assert image.read_bytes() == content
        image.write_bytes(content[:-1])
        assert dataset.check().digest != before


def read_classes(dataset: Dataset, task: str = "detect") -> list[int]:
    """Return the classes that Ultralytics reads for training, from its cache if it has one."""
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset

    data = {"names": {0: "a", 1: "b"}, "nc": 2, "channels": 3}
    folder = str(dataset.root / "images" / "train")
    read = YOLODataset(img_path=folder, data=data, task=task, imgsz=32, augment=False, hyp=get_cfg())
    return [int(number) for label in read.labels for number in label["cls"].ravel()]


def test_edited_labels_of_the_same_size_are_read_again(dataset: Dataset) -> None:
    for image in (dataset.root / "images" / "train").iterdir():
        image.write_bytes(as_jpeg(90))
    assert sorted(read_classes(dataset)) == [0, 1, 1]
    cache = dataset.root / "labels" / "train.cache"
    summary = dataset.check()
    assert summary.splits["train"].stale_cache is None
    drop_stale_caches(summary)
    assert cache.exists()

    time.sleep(0.02)  # longer than a tick of file system timestamps
    label = dataset.root / "labels" / "train" / "0.txt"
    label.write_text(BOX.replace("1", "0", 1))
    os.utime(label, (1, 1))  # copying may preserve an old date
    summary = dataset.check()
    assert summary.splits["train"].stale_cache == cache
    assert summary.splits["val"].stale_cache is None
    assert cache.exists()  # a check changes nothing
    drop_stale_caches(summary)
    assert not cache.exists()
    assert sorted(read_classes(dataset)) == [0, 0, 1]


def test_a_stale_cache_that_cannot_be_removed_is_logged(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ultralytics.utils import LOGGER

    cache = dataset.root / "labels" / "train.cache"
    cache.touch()
    os.utime(cache, (1, 1))

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(LOGGER, "propagate", True)
    drop_stale_caches(dataset.check())
    assert f"{cache} is older than the labels and cannot be removed (Permission denied); remove it" in caplog.text


@pytest.mark.parametrize(
    "names", [{"names": {0: "a", 1: "b"}}, {"names": {"0": "a", "1": "b"}, "nc": 2}, {"names": None, "nc": 2.0}]
)
def test_class_names_in_every_form(dataset: Dataset, names: dict[str, Any]) -> None:
    dataset.entries |= names
    assert list(dataset.check().names) == [0, 1]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"names": None}, "has no names"),
        ({"nc": 3}, "nc is 3 but there are 2 names"),
        ({"nc": "many"}, "nc is 'many'"),
        ({"nc": 0}, "nc is 0"),
        ({"names": "a"}, "names is 'a'; it must be a list"),
        ({"names": []}, r"names is \[\]"),
        ({"names": {1: "a", 2: "b"}}, "integers 0 to 1"),
        ({"train": None}, "has no train split"),
        ({"val": 3}, "val is 3"),
        ({"train": ["images/train", None]}, "train is .*None"),
        ({"train": "images/trian"}, "the images of train are not at .*images/trian; correct train or path"),
        ({"val": ["images/val", "more"]}, "the images of val are not at .*more"),
    ],
)
def test_an_invalid_entry_of_a_data_yaml_is_an_error(dataset: Dataset, entries: dict[str, Any], message: str) -> None:
    dataset.entries |= entries
    error = dataset.error()
    assert str(dataset.yaml) in error
    with pytest.raises(UserError, match=message):
        dataset.check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n- b\n", "is not a mapping"),
        ("path: x\nnames: [a, b\nval: y\n", r"data\.yaml, line 3, column 4: not valid YAML"),
        ("path: x\n\tval: y\n", r"line 2, column 1: not valid YAML"),
        ("day: 2024-13-45\n", "not valid YAML"),
        ("!!python/object:os.system x\n", "line 1, column 1: not valid YAML"),
    ],
)
def test_a_file_that_is_not_a_data_yaml_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        check_data(str(tmp_path / "data.yaml"))
    assert "\n" not in str(error.value)


def test_a_missing_data_yaml_and_a_file_of_another_type_are_errors(fresh_folder: Path) -> None:
    with pytest.raises(UserError, match=r"there is no data YAML no\.yaml"):
        check_data("no.yaml")
    (fresh_folder / "photo.jpg").write_text("")
    with pytest.raises(UserError, match="is not a data YAML"):
        check_data("photo.jpg")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2 0.5 0.5 0.2 0.2", "class 2 is not one of the classes 0 to 1"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 is not"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5 is not"),
        ("0 0.5 1.2 0.2 0.2", "the coordinate 1.2 is outside 0..1"),
        ("0 320 240 50 50", "the coordinate 320 is outside"),
        ("0 0.5 0.5 -0.2 0.2", "the coordinate -0.2 is outside"),
        ("0 nan 0.5 0.2 0.2", "the coordinate nan is outside"),
        ("0 0.5 0.5 0.2", "4 numbers; task detect takes"),
        ("0 0.5 0.5 0.2 0.2 0.9", "6 numbers; task detect takes"),
        ("cat 0.5 0.5 0.2 0.2", "'cat 0.5 0.5 0.2 0.2' is not a row of numbers"),
        ("0,0.5,0.5,0.2,0.2", "is not a row of numbers"),
        ("é" * 100, r"\.\.\.' is not a row of numbers"),
    ],
)
def test_an_invalid_label_row_is_reported_with_file_and_line(dataset: Dataset, row: str, message: str) -> None:
    dataset.split("train", BOX, f"{BOX}\n\n{row}\n{BOX}\n")
    found = dataset.problems()["bad label file"]
    assert found.startswith("1 bad label file (labels/train/1.txt, line 3: ") and re.search(message, found)
    train = dataset.check().splits["train"]
    assert (train.images, train.instances) == (3, 1)  # Ultralytics skips the whole image as well


OUTSIDE = "0 0.8 0.2 1.05 0.2 1.05 0.6 0.8 0.6"  # the center of its box is inside


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (OUTSIDE, ""),
        ("1 -0.1 0.2 0.5 0.2 0.5 0.6 -0.1 0.6", ""),
        ("0 0.9 0.2 1.3 0.2 1.3 0.6 0.9 0.6", "the coordinate 1.1 of the box around the polygon is outside 0..1"),
        ("0 90 20 130 20 130 60 90 60", "the coordinate 110 of the box around the polygon"),
    ],
)
@pytest.mark.parametrize("task", ["obb", "segment"])
def test_a_polygon_is_checked_by_its_box_as_in_ultralytics(
    dataset: Dataset, task: str, rows: str, problem: str
) -> None:
    """Cropping an aerial image leaves objects whose corners are outside."""
    dataset.split("train", *[CORNERS] * 5, rows)
    dataset.split("val", CORNERS)
    for image in (dataset.root / "images" / "train").iterdir():
        image.write_bytes(as_jpeg(90))
    found = dataset.check(task).splits["train"]
    assert found.images == len(read_classes(dataset, task)) == 6 - bool(problem)
    assert problem in " ".join(str(each) for each in found.problems)


def test_any_index_is_a_class_if_all_count_as_one(dataset: Dataset) -> None:
    dataset.entries["names"] = ["object"]
    dataset.split("train", BOX, BOX.replace("1", "7", 1), BOX.replace("1", "0", 1), "-1 0.5 0.5 0.2 0.2", "", "", "")
    found = dataset.check(single_class=True).splits["train"]
    assert (found.images, found.instances) == (6, 3)
    assert "class -1 is not the index of a class" in str(found.problems[0])
    assert "cannot be used" in dataset.error() or "class 1 is not" in dataset.error()


def test_boxes_with_and_without_keypoints_are_both_boxes(dataset: Dataset) -> None:
    dataset.entries["kpt_shape"] = [2, 3]
    dataset.split("train", f"{BOX}\n{POINTS}\n", BOX, BOX, BOX)
    assert dataset.check().splits["train"].instances == 5


def test_boxes_and_polygons_in_one_file_are_a_problem(dataset: Dataset) -> None:
    dataset.split("train", f"{BOX}\n{TRIANGLE}\n")
    assert "mixes boxes (5 numbers) and polygons" in dataset.problems()["bad label file"]


def test_every_kind_of_problem_is_counted_and_named(dataset: Dataset) -> None:
    good = [BOX] * 12
    dataset.split("train", *good)
    images, labels = dataset.root / "images" / "train", dataset.root / "labels" / "train"
    (images / "0.jpg").write_bytes(b"")
    (images / "1.jpg").write_bytes(as_jpeg(90)[:-60])
    (images / "2.jpg").write_bytes(b"text instead of an image")
    (images / "3.jpg").write_bytes(IMAGE[:-20])
    (labels / "4.txt").write_text("7 0.5 0.5 0.2 0.2\n")
    (labels / "5.txt").write_text(f"{BOX}\n{BOX.replace('0.5', '0.50')}\n{BOX}\n")
    (labels / "6.txt").unlink()
    (labels / "lost.txt").write_text(BOX)
    (labels / "classes.txt").write_text("a\nb\n")
    summary = dataset.check()
    train = summary.splits["train"]
    assert (train.images, train.labeled, train.instances) == (7, 6, 6)
    line = describe_data(summary)
    assert "\n" not in line
    assert line.startswith(
        "data: train 7 images, 6 objects; val 1 image, 1 object; "
        "skipped in train: 4 unreadable images (images/train/0.jpg: empty file; images/train/1.jpg: "
    )
    assert "images/train/2.jpg: not an image; ...), 1 bad label file (labels/train/4.txt, line 1: class 7 is" in line
    assert line.endswith(
        "; in train: 2 duplicated rows (labels/train/5.txt), 1 image without a label file (images/train/6.jpg), "
        "1 label file without an image (labels/train/lost.txt)"
    )


def test_a_valid_dataset_has_no_problems(dataset: Dataset) -> None:
    dataset.split("train", BOX, BOX, BOX, BOX)
    assert describe_data(dataset.check()) == (
        "data: train 4 images, 4 objects; val 1 image, 1 object; no problems found"
    )


def test_the_skipped_images_are_those_that_ultralytics_skips(dataset: Dataset) -> None:
    """The expected result is the installed release's own scan of the same files."""
    dataset.split("train", *[BOX] * 12)
    folder = dataset.root / "images" / "train"
    ones = np.full((12, 12, 3), 90, np.uint8)
    contents = [
        as_jpeg(90), as_jpeg(90)[:-60], as_jpeg(90, end=b"\0\0"), as_jpeg(90)[:1], b"\xff\xd8\xff", IMAGE, IMAGE[:-20],
        IMAGE[:30] + b"x" + IMAGE[31:], bytes(cv2.imencode(".bmp", ones)[1]), bytes(cv2.imencode(".png", ones[:5])[1]),
        bytes(cv2.imencode(".tiff", ones)[1]), as_jpeg(90) + b"\xff\xd9",
    ]  # fmt: skip
    for number, content in enumerate(contents):
        (folder / f"{number}.jpg").write_bytes(content)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = dataset.check().splits["train"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert found.images == len(read_classes(dataset)) == 12 - 6
    assert [problem.count for problem in found.problems] == [6]


@pytest.mark.filterwarnings("ignore:Truncated")
@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".webp"])
def test_a_format_without_checksums_is_decoded(dataset: Dataset, suffix: str) -> None:
    image = dataset.root / "images" / "train" / f"more{suffix}"
    content = bytes(cv2.imencode(suffix, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))[1])
    image.write_bytes(content)
    assert "unreadable image" not in dataset.problems()
    image.write_bytes(content[: len(content) // 2])
    assert f"images/train/more{suffix}: " in dataset.problems()["unreadable image"]


def test_an_unreadable_image_installs_nothing(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultralytics.utils.checks.check_requirements", lambda *_, **__: pytest.fail("installs"))
    for content in (b"nothing known", b"\xff\xd8 and no more", b"\x89PNG", b"BM", b"GIF89a"):
        (dataset.root / "images" / "train" / "0.jpg").write_bytes(content)
        assert "unreadable image" in dataset.problems()


def test_a_split_whose_images_are_mostly_skipped_is_an_error(dataset: Dataset) -> None:
    """One cause is class indices that start at 1."""
    dataset.split("train", *["2 0.5 0.5 0.2 0.2"] * 3, BOX)
    assert (
        "3 of 4 images of train cannot be used: 3 bad label files (labels/train/0.txt, line 1: class 2 is not one of "
        "the classes 0 to 1; labels/train/1.txt" in dataset.error()
    )
    dataset.split("train", *[BOX] * 4)
    (dataset.root / "images" / "val" / "0.jpg").write_bytes(b"")
    assert "1 of 1 image of val cannot be used: 1 unreadable image (images/val/0.jpg: empty file)" in dataset.error()
    dataset.split("val", "", BOX)
    (dataset.root / "images" / "val" / "1.jpg").write_bytes(b"")
    assert "no object in the 2 images of val: their label files leave none: 1 unreadable image" in dataset.error()


def test_labels_of_other_splits_and_other_texts_are_not_orphans(dataset: Dataset) -> None:
    """List files may divide one folder into splits, and a folder of images may contain any text files."""
    dataset.split("train", *[BOX] * 4)
    for split, numbers in (("train", (0, 1)), ("val", (2,))):
        (dataset.root / f"{split}.txt").write_text("".join(f"./images/train/{number}.jpg\n" for number in numbers))
        dataset.entries[split] = f"{split}.txt"
    assert dataset.problems() == {}
    flat = dataset.root / "flat"
    flat.mkdir()
    for name, text in (("a.jpg", None), ("a.txt", BOX), ("readme.txt", "hello")):
        (flat / name).write_bytes(IMAGE if text is None else text.encode())
    dataset.entries["train"] = "flat"
    assert dataset.problems() == {}


@pytest.mark.parametrize(
    ("task", "good", "bad"),
    [
        ("detect", (BOX, TRIANGLE, CORNERS, f"\ufeff{BOX}\r\n"), TRIANGLE + " 0.5"),
        ("segment", (TRIANGLE, CORNERS), BOX),
        ("obb", (CORNERS, CORNERS + " 0.5 0.5"), TRIANGLE),
        ("pose", (POINTS,), BOX),
    ],
)
def test_each_task_accepts_its_label_rows(dataset: Dataset, task: str, good: tuple[str, ...], bad: str) -> None:
    dataset.entries["kpt_shape"] = [2, 3]
    dataset.split("train", *good, *[""] * (4 - len(good)))
    dataset.split("val", good[0])
    assert dataset.check(task).splits["train"].instances == len(good)
    dataset.split("val", bad)
    assert f"task {task} takes" in dataset.error(task)


def test_keypoints_must_be_inside_the_image_but_visibility_is_unrestricted(dataset: Dataset) -> None:
    dataset.entries["kpt_shape"] = [2, 3]
    dataset.split("train", POINTS, POINTS, "", "")
    dataset.split("val", POINTS)
    dataset.check("pose")
    dataset.check("detect")  # the keypoints are dropped
    dataset.split("val", POINTS.replace("2 0 0 0", "2 0 1.5 0"))
    assert "the coordinate 1.5" in dataset.error("pose")
    del dataset.entries["kpt_shape"]
    assert "kpt_shape is None; task pose needs" in dataset.error("pose")


def test_splits_without_images_or_labels_are_errors(dataset: Dataset) -> None:
    dataset.split("empty")
    dataset.entries["val"] = "images/empty"
    assert "there are no images in val" in dataset.error()
    dataset.split("bare", None, None)
    dataset.entries["val"] = "images/bare"
    bare = dataset.root / "labels" / "bare" / "0.txt"
    assert (
        f"no object in the 2 images of val: their label files are missing, the first one is {bare}" in dataset.error()
    )
    dataset.split("bare", "", "")
    assert "their label files are all empty" in dataset.error()


def test_the_most_objects_of_a_class_in_an_image_are_counted(dataset: Dataset) -> None:
    rows = [f"{kind} {(index + 0.5) / 20} 0.5 0.02 0.2" for kind, count in ((0, 4), (1, 7)) for index in range(count)]
    dataset.split("val", BOX, "\n".join([*rows, rows[-1]]))
    assert dataset.check().splits["val"].most == 7  # without the repeated row
    assert dataset.check().splits["train"].most == 1


def test_only_images_are_counted_for_tasks_with_label_images(dataset: Dataset) -> None:
    dataset.split("train", "not a row of numbers")
    assert dataset.check("depth").splits["train"].images == 4


def test_lists_of_folders_list_files_and_the_validation_key_are_supported(dataset: Dataset) -> None:
    dataset.split("more/deep", BOX)
    listed = [dataset.root / "images" / "train" / "0.jpg", "./images/val/0.jpg", ""]
    (dataset.root / "list.txt").write_text("\n".join(map(str, listed)))
    dataset.entries["train"] = ["images/train", "images/more", "list.txt"]
    dataset.entries["validation"] = dataset.entries.pop("val")
    summary = dataset.check()
    assert summary.splits["train"].images == 4 + 1 + 2
    assert summary.splits["val"].images == 1
    (dataset.root / "list.txt").write_text("./images/val/lost.jpg")
    assert "images/val/lost.jpg: no such file or directory" in dataset.problems()["unreadable image"]


def test_only_the_requested_splits_are_checked(dataset: Dataset) -> None:
    dataset.entries["test"] = "images/val"
    assert list(dataset.check(splits=("test",)).splits) == ["test"]
    del dataset.entries["test"]
    with pytest.raises(UserError, match="has no test split"):
        dataset.check(splits=("test",))


def test_paths_in_the_datasets_folder_and_prefixes_of_labeling_services_are_resolved(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "datasets_folder", lambda: tmp_path)
    dataset.entries |= {"path": "set", "train": "../images/train"}
    assert dataset.check().splits["train"].images == 4
    del dataset.entries["path"]
    assert dataset.check().splits["val"].images == 1


@pytest.mark.parametrize(("release", "found"), [("8.3.133", False), ("8.3.134", True), ("8.4.190", True)])
def test_a_path_in_the_working_folder_is_resolved_as_in_the_installed_release(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, release: str, found: bool
) -> None:
    import ultralytics

    monkeypatch.setattr(ultralytics, "__version__", release)
    monkeypatch.chdir(dataset.root.parent)
    dataset.entries["path"] = "set"
    if found:
        assert dataset.check().present
    else:
        assert str(datasets_folder() / "set") in dataset.error()


def test_paths_are_resolved_as_ultralytics_does(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.data import utils

    monkeypatch.setattr(utils, "check_font", lambda font: None)  # it would download a font
    monkeypatch.setattr(installation, "datasets_folder", lambda: utils.DATASETS_DIR)
    monkeypatch.chdir(dataset.root.parent)
    for path in (str(dataset.root), "set", None):
        dataset.entries["path"] = path
        dataset.yaml.write_text(yaml.safe_dump(dataset.entries))
        try:
            expected = utils.check_det_dataset(str(dataset.yaml), autodownload=False)["path"]
        except FileNotFoundError:
            assert path == "set"
            continue
        found = DataYaml.find(str(dataset.yaml))
        assert found is not None
        assert os.path.realpath(found.root) == os.path.realpath(expected)


def test_a_dataset_that_has_to_be_downloaded_is_not_an_error(dataset: Dataset) -> None:
    dataset.entries |= {"path": "not/here", "download": "https://host/set.zip"}
    summary = dataset.check()
    assert not summary.present
    assert summary.names == {0: "a", 1: "b"}
    assert summary.splits == {}
    dataset.entries |= {"path": str(dataset.root), "val": "images/later"}
    assert not dataset.check().present
    dataset.entries |= {"val": "images/val", "train": "images/lost"}
    assert "the images of train are not at" in dataset.error()


@pytest.mark.parametrize("data", ["digits", "coco8.yaml", "Objects365", "https://host/set.zip"])
def test_missing_known_datasets_are_not_errors(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    monkeypatch.setattr(installation, "datasets_folder", lambda: fresh_folder / "datasets")
    assert not check_data(data).present


def test_folders_and_archives_are_accepted(dataset: Dataset) -> None:
    dataset.check()
    assert check_data(str(dataset.root)).data == str(dataset.yaml)
    (dataset.root / "second.yaml").write_text("")
    with pytest.raises(UserError, match="contains 2 YAML files"):
        check_data(str(dataset.root))
    named = dataset.root / f"{dataset.root.name}.yaml"
    named.write_text(dataset.yaml.read_text())
    assert check_data(str(dataset.root)).data == str(named)
    (dataset.root / "set.zip").write_bytes(b"")
    assert not check_data(str(dataset.root / "set.zip")).present
    assert not check_data(str(dataset.root / "set.zip"), "classify").present


def test_the_suffix_of_a_data_yaml_in_capitals(dataset: Dataset) -> None:
    digest = dataset.check().digest
    shouted = dataset.yaml.rename(dataset.root / "DATA.YAML")
    assert check_data(str(shouted)).digest == digest
    assert resolve_data(str(shouted)) == str(shouted)


def test_class_folders_that_ultralytics_knows_by_other_names(tmp_path: Path) -> None:
    for name in ("train/cat", "valid/cat"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(IMAGE)
    assert check_data(str(tmp_path), "classify").splits["val"].images == 1
    (tmp_path / "train" / "cat").rename(tmp_path / "cat")
    (tmp_path / "train").rmdir()
    undivided = describe_data(check_data(str(tmp_path), "classify", ("train",)))
    assert undivided == f"data: {tmp_path} has no folder train, so Ultralytics divides its images; not checked"


def test_the_hash_of_class_folders_covers_names_and_sizes(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "val/cat", "test/cat"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(IMAGE)
    before = check_data(str(tmp_path), "classify").digest
    assert len(before) == 64
    (tmp_path / "test" / "cat" / "1.png").unlink()  # not evaluated
    assert check_data(str(tmp_path), "classify").digest == before
    (tmp_path / "val" / "cat" / "1.png").rename(tmp_path / "val" / "cat" / "2.png")
    renamed = check_data(str(tmp_path), "classify").digest
    assert renamed != before
    (tmp_path / "train" / "dog" / "1.png").rename(tmp_path / "train" / "cat" / "2.png")
    assert check_data(str(tmp_path), "classify").digest not in {before, renamed}


def test_images_of_classes_that_are_not_trained_are_counted(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "val/cat", "val/dog", "val/fox"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").write_bytes(IMAGE)
    summary = check_data(str(tmp_path), "classify")
    assert summary.splits["val"].images == 2
    assert "skipped in val: 1 image of a class that train lacks (val/fox/1.png)" in describe_data(summary)


def test_classification_folders_are_checked(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "val/cat"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.jpg").write_bytes(IMAGE)
    summary = check_data(str(tmp_path), "classify")
    assert summary.names == {0: "cat", 1: "dog"}
    assert {split: found.images for split, found in summary.splits.items()} == {"train": 2, "val": 1}
    assert "no problems found" in describe_data(summary)
    assert not check_data("imagenette", "classify").present
    for wrong in ("no_such_set", "coco8"):
        with pytest.raises(UserError, match=f"there is no dataset folder {wrong}"):
            check_data(wrong, "classify")
    with pytest.raises(UserError, match="contains no folders"):
        check_data(str(tmp_path / "train" / "cat"), "classify")
    (tmp_path / "train" / "cat" / "1.jpg").write_bytes(b"")
    assert "skipped in train: 1 unreadable image (train/cat/1.jpg: empty file)" in describe_data(
        check_data(str(tmp_path), "classify")
    )
    (tmp_path / "train" / "dog" / "1.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 2 images cannot be used"):
        check_data(str(tmp_path), "classify")
    for image in (tmp_path / "train").rglob("*.jpg"):
        image.unlink()
    with pytest.raises(UserError, match="there are no images in"):
        check_data(str(tmp_path), "classify")
