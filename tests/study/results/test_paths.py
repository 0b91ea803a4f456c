"""Dataset names and commands in results, without folders of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_attn.study.results.paths import dataset_name, without_folders


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("digits", "digits"),
        ("coco8.yaml", "coco8"),
        ("/home/me/sets/fruit.yaml", "fruit"),
        ("sets/fruit.YML", "fruit"),
        (r"C:\Users\me\fruit\data.yaml", "fruit"),
        ("/home/me/fruit/data.yaml", "fruit"),
        ("/data.yaml", "data"),
        ("~/fruit/dataset.yaml", "fruit"),
        ("/home/me/fruit", "fruit"),
        ("v1.2", "v1.2"),
    ],
)
def test_dataset_name_of_paths(data: str, name: str) -> None:
    assert dataset_name(data) == name
    assert dataset_name(name) == name  # results that are made again


def test_generic_file_is_named_by_its_folder(fresh_folder: Path) -> None:
    assert dataset_name("data.yaml") == dataset_name("./data.yaml") == fresh_folder.name


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("compare data=/home/me/sets/fruit.yaml seeds=3", "compare data=…/fruit.yaml seeds=3"),
        (r"compare data=C:\Users\me\fruit.yaml", "compare data=…/fruit.yaml"),
        ("compare variants=SE@neck,/tmp/x/my.yaml", "compare variants=SE@neck,…/my.yaml"),
        ("compare data=sets/fruit.yaml project=runs/x", "compare data=sets/fruit.yaml project=runs/x"),
        ("compare data=~/sets/fruit.yaml", "compare data=~/sets/fruit.yaml"),
        ("compare data=https://a.org/b/fruit.yaml", "compare data=https://a.org/b/fruit.yaml"),
        ("yolo-attn compare 'data=/mnt/x y/z.yaml'", "yolo-attn compare 'data=…/x y/z.yaml'"),
    ],
)
def test_command_keeps_names_without_absolute_folders(command: str, shown: str) -> None:
    assert without_folders(command) == shown
    assert without_folders(shown) == shown
