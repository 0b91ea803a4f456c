"""Masks of semantic segmentation: the check skips the same images as Ultralytics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from ultralytics.data import dataset as stock

from yolo_attn.data import check_data, describe_data
from yolo_attn.data.masks import Masks, find_mask, mask_problem, read_mapping
from yolo_attn.errors import UserError

SIZE = (20, 30)  # height, width


def values(*numbers: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    for row, number in enumerate(numbers):
        mask[row] = number
    return mask


def palette(colored: bool) -> Image.Image:
    mask = Image.fromarray(values(0, 1), "L").convert("P")
    mask.putpalette([index if not colored or part == 0 else 255 - index for index in range(256) for part in range(3)])
    return mask


MASKS: dict[str, Any] = {
    "classes": values(0, 1, 2),
    "ignored": values(0, 255),
    "gray": cv2.cvtColor(values(1, 2), cv2.COLOR_GRAY2BGR),
    "deep": values(0, 1).astype(np.uint16),
    "bits": Image.fromarray(values(255)).convert("1"),
    "gray palette": palette(colored=False),
    "colored palette": palette(colored=True),
    "unknown": values(0, 3, 9),
    "too deep": values(0, 1).astype(np.uint16) * 300,
    "small": values(0, size=(19, 30)),
    "turned": values(0, size=SIZE[::-1]),
    "empty": b"",
    "text": b"0 1 2",
    "missing": None,
}
SKIPPED = {
    "unknown": "pixels of 3, 9, which is no class",
    "too deep": "pixels of 300, which is no class",
    "small": "30 x 19 pixels, its image 30 x 20",
    "turned": "20 x 30 pixels, its image 30 x 20",
    "empty": "cannot identify image file",
    "text": "cannot identify image file",
}


def write(path: Path, mask: Any) -> None:
    if isinstance(mask, Image.Image):
        mask.save(path)
    elif isinstance(mask, bytes):
        path.write_bytes(mask)
    elif mask is not None:
        path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())


def make(root: Path, masks: dict[str, Any], split: str = "train") -> None:
    for folder in ("images", "masks"):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        cv2.imwrite(str(root / "images" / split / f"{name}.png"), np.full((*SIZE, 3), 90, np.uint8))
        write(root / "masks" / split / f"{name}.png", mask)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make(tmp_path, {f"{name} {copy}": values(0, 1) for name in "abcdefgh" for copy in (1, 2)} | MASKS)
    make(tmp_path, {"a": values(0, 1)}, "val")
    return write_yaml(tmp_path)


def write_yaml(root: Path, **entries: Any) -> Path:
    content = {"path": str(root), "train": "images/train", "val": "images/val", "names": ["a", "b", "c"], **entries}
    path = root / "data.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_images_without_a_usable_mask_are_counted(data: Path) -> None:
    summary = check_data(str(data), "semantic")
    assert summary.splits["train"].images == 16 + len(MASKS) - len(SKIPPED) - 1
    text = describe_data(summary)
    assert "skipped in train: 1 missing mask (masks/train/missing.png), 6 bad masks (" in text
    assert "in train: 1 missing mask" in text and "without a label file" not in text


@pytest.mark.parametrize("name", MASKS)
def test_problems_are_named(name: str, tmp_path: Path) -> None:
    make(tmp_path, {name: MASKS[name]})
    image = str(tmp_path / "images" / "train" / f"{name}.png")
    masks = Masks("masks", read_mapping(None, 3, Path("data.yaml")))
    path = Path(find_mask(image, masks.folder))
    assert path == tmp_path / "masks" / "train" / f"{name}.png"
    if name != "missing":
        assert mask_problem(image, path.read_bytes(), masks).startswith(SKIPPED.get(name, ""))
        assert bool(mask_problem(image, path.read_bytes(), masks)) == (name in SKIPPED)


@pytest.mark.skipif(not hasattr(stock, "SemanticDataset"), reason="this Ultralytics has no semantic segmentation")
@pytest.mark.parametrize("name", MASKS)
def test_ultralytics_skips_the_same_images(name: str, tmp_path: Path) -> None:
    from ultralytics.data.utils import verify_image_mask

    make(tmp_path, {name: MASKS[name]})
    invalid = np.array([number not in (0, 1, 2, 255) for number in range(256)], np.uint8)
    image, mask = (str(tmp_path / folder / "train" / f"{name}.png") for folder in ("images", "masks"))
    assert (verify_image_mask((image, mask, "", invalid))[0] is None) == (name in {*SKIPPED, "missing"})


def test_a_mask_may_have_another_suffix(tmp_path: Path) -> None:
    make(tmp_path, {"a": values(0, 1)})
    (tmp_path / "masks" / "train" / "a.png").rename(tmp_path / "masks" / "train" / "a.bmp")
    assert find_mask(str(tmp_path / "images" / "train" / "a.png"), "masks").endswith("masks/train/a.bmp")


def test_the_hash_covers_masks_and_their_mapping(data: Path) -> None:
    def digest() -> str:
        return check_data(str(data), "semantic").digest

    before = digest()
    assert digest() == before
    mask = data.parent / "masks" / "val" / "a.png"
    old = mask.read_bytes()
    write(mask, values(0, 2))
    assert digest() != before
    mask.write_bytes(old)
    assert digest() == before
    write_yaml(data.parent, label_mapping={0: 0, 1: 1, 2: 2, 255: "ignore_label"})
    assert digest() != before


def test_a_mapping_translates_values(data: Path) -> None:
    assert read_mapping({7: 0, "9": "ignore_label", 2: 8, 5: None}, 2, data) == {0, 1, 5, 7, 9, 255}
    assert read_mapping(None, 1, data) == {0, 1, 255}
    for wrong in ([1, 2], {"a": 0}, {1: "road"}):
        with pytest.raises(UserError, match=r"data.yaml: label_mapping must map numbers"):
            read_mapping(wrong, 2, data)


def test_most_masks_missing_is_an_error(data: Path) -> None:
    (data.parent / "masks" / "val" / "a.png").unlink()
    with pytest.raises(UserError, match=r"1 of 1 image of val cannot be used: 1 missing mask \(masks/val/a.png\)"):
        check_data(str(data), "semantic")


def test_polygons_are_checked_without_a_folder_of_masks(tmp_path: Path) -> None:
    make(tmp_path, {"a": None}, "train")
    make(tmp_path, {"a": None}, "val")
    for split in ("train", "val"):
        (tmp_path / "masks" / split).rmdir()
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.1 0.1 0.9 0.1 0.5 0.9")
    (tmp_path / "masks").rmdir()
    data = write_yaml(tmp_path)
    assert check_data(str(data), "semantic").splits["train"].instances == 1
    (tmp_path / "labels" / "val" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(UserError, match=r"labels/val/a.txt, line 1: 5 numbers"):
        check_data(str(data), "semantic")
