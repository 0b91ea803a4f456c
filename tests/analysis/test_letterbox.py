"""Letterboxed images, and maps resized back onto the image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.data.augment import LetterBox

from yolo_attn.analysis.letterbox import letterbox, read_image, to_tensor
from yolo_attn.analysis.sources import find_sources
from yolo_attn.errors import UserError


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.sampled_from([64, 96, 160]), st.sampled_from([32, 64]))
def test_the_image_is_letterboxed_as_predict_does_it(height: int, width: int, imgsz: int, stride: int) -> None:
    image = np.random.default_rng(height * 1000 + width).integers(0, 255, (height, width, 3), np.uint8)
    padded, frame = letterbox(image, imgsz, stride)
    reference = LetterBox((imgsz, imgsz), auto=True, stride=stride)(image=image)
    np.testing.assert_array_equal(padded, reference)
    assert (frame.height, frame.width) == padded.shape[:2]
    inside = padded[frame.top : frame.top + frame.inner_height, frame.left : frame.left + frame.inner_width]
    assert inside.shape[:2] == (frame.inner_height, frame.inner_width)


@pytest.mark.parametrize("shape", [(90, 200), (200, 90), (500, 330), (64, 64)])
def test_an_off_center_blob_keeps_its_position(shape: tuple[int, int]) -> None:
    """The mean brightness of each position stands in for the model's map."""
    height, width = shape
    image = np.zeros((height, width, 3), np.uint8)
    y, x = round(0.3 * height), round(0.72 * width)
    cv2.circle(image, (x, y), 8, (255, 255, 255), -1)
    padded, frame = letterbox(image, 256, 32)
    padded[: frame.top] = padded[frame.top + frame.inner_height :] = 0
    padded[:, : frame.left] = padded[:, frame.left + frame.inner_width :] = 0
    size = (frame.width // 8, frame.height // 8)
    values = cv2.resize(padded[..., 0].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    found = frame.onto_image(values, height, width)
    assert found.shape == (height, width)
    weight = found / found.sum()
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    center = (weight.sum(1) @ rows, weight.sum(0) @ columns)
    pixel = max(shape) / 256
    assert center == pytest.approx((y + 0.5, x + 0.5), abs=0.5 * pixel)


def test_positions_that_overlap_the_image() -> None:
    _, frame = letterbox(np.zeros((40, 128, 3), np.uint8), 128, 32)  # 40 rows in 64
    assert (frame.top, frame.left, frame.height, frame.width) == (12, 0, 64, 128)
    assert frame.positions(8, 16) == (slice(1, 7), slice(0, 16))  # rows 12 to 52, at a stride of 8
    _, frame = letterbox(np.zeros((128, 40, 3), np.uint8), 128, 32)
    assert frame.positions(16, 8) == (slice(0, 16), slice(1, 7))


def test_the_image_is_rgb_in_0_to_1() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 0] = 255  # blue: the order is BGR
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor[0, :, 0, 0].tolist() == [0, 0, 1]
    assert to_tensor(image[..., 0]).shape == (1, 1, 2, 3)


def test_images_are_found_and_read(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "über.png"):
        ok, data = cv2.imencode(".png", np.full((4, 5, 3), 7, np.uint8))
        assert ok
        (tmp_path / name).write_bytes(data.tobytes())
    (tmp_path / "notes.txt").write_text("no image")
    assert [shown.name for each in find_sources(tmp_path) for shown in each.images(3)] == ["a.JPG", "b.png", "über.png"]
    assert read_image(tmp_path / "über.png").shape == (4, 5, 3)
    assert read_image(tmp_path / "über.png", channels=1).shape == (4, 5)
    with pytest.raises(UserError, match="takes images of 4 channels"):
        read_image(tmp_path / "b.png", channels=4)
    with pytest.raises(UserError, match="not an image"):
        read_image(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images in this folder"):
        find_sources(tmp_path / "empty")
    with pytest.raises(UserError, match=r"did you mean b\.png\?"):
        find_sources(tmp_path / "bb.png")
