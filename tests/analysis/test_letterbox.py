"""Letterboxed images, and maps resized back onto the image."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.data.augment import LetterBox, classify_transforms

from yolo_attn.analysis.letterbox import check_image, letterbox, read_image, stretch, to_tensor
from yolo_attn.analysis.maps import image_maps
from yolo_attn.analysis.models import open_model
from yolo_attn.analysis.queries import Query
from yolo_attn.analysis.sources import find_sources
from yolo_attn.errors import UserError
from yolo_attn.host.detector import Detector

RTDETR = """
nc: 2
scales: {n: [1, 1, 64]}
backbone: [[-1, 1, Conv, [16, 3, 8]], [-1, 1, Conv, [16, 3, 2]], [-1, 1, SE, []], [-1, 1, Conv, [16, 3, 2]]]
head: [[[0, 2, 3], 1, RTDETRDecoder, [nc, 32, 10, 4, 4, 1]]]
"""


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


@pytest.mark.parametrize(("name", "size"), [("yolo11n-se.yaml", (32, 64)), ("small-rtdetr.yaml", (64, 64))])
def test_a_model_sees_the_image_of_predict(name: str, size: tuple[int, int], fresh_folder: Path) -> None:
    """RT-DETR stretches images, and the others pad them."""
    Path("small-rtdetr.yaml").write_text(RTDETR)
    model: Any = open_model(name)
    seen: list[torch.Tensor] = []
    model.model[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    image = np.random.default_rng(0).integers(0, 255, (48, 128, 3), np.uint8)
    found = image_maps(model, image, imgsz=64)
    mine = seen[-1]
    Detector(model, imgsz=64, conf=0.25)(image)
    assert torch.equal(mine, seen[-1]) and mine.shape[2:] == size
    assert found.frame is not None and (found.frame.height, found.frame.width) == size


@pytest.mark.parametrize("shape", [(48, 128), (150, 90), (64, 64), (301, 100)])
def test_a_classification_model_sees_the_central_square(shape: tuple[int, int]) -> None:
    model: Any = open_model("yolo11n-cls.yaml+SE@after:4")
    seen: list[torch.Tensor] = []
    model.model[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    noise = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), 4)
    found = image_maps(model, picture, imgsz=64)
    expected = classify_transforms(64)(PIL.Image.fromarray(picture[..., ::-1]))
    assert seen[-1].shape == (1, 3, 64, 64)
    assert (seen[-1][0] - expected).abs().mean() < 0.01
    side = min(shape)
    assert found.image.shape == (side, side, 3)
    assert found.frame is not None and (found.frame.height, found.frame.width) == (64, 64)


def test_points_of_a_classification_model_are_those_of_the_image() -> None:
    model = open_model("yolo11n-cls.yaml+MHSA@after:4")
    picture = np.zeros((64, 128, 3), np.uint8)
    found = image_maps(model, picture, imgsz=64, queries=[Query(40, 10)])
    assert [(str(each.query), each.query.x, each.query.y) for each in found.queries[:1]] == [("x=40, y=10", 8, 10)]
    outside = r"^point x=20, y=10: outside of the central square, .* \(x from 32 to 95, y from 0 to 63\)$"
    with pytest.raises(UserError, match=outside):
        image_maps(model, picture, imgsz=64, queries=[Query(20, 10)])


def test_a_stretched_map_covers_the_image() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    image[:, 50:] = 255
    stretched, frame = stretch(image, 64)
    values = cv2.resize(stretched[..., 0].astype(np.float32), (8, 8), interpolation=cv2.INTER_AREA)
    found = frame.onto_image(values, 50, 100)
    assert found[:, :40].max() < 1 and found[:, 60:].min() > 254
    assert frame.position(99, 49, (50, 100), (8, 8)) == (7, 7)
    assert frame.extent(50, 100) == (-0.5, 99.5, 49.5, -0.5)


@pytest.mark.parametrize(
    ("array", "channels", "use"),
    [
        (np.zeros((4, 5, 4), np.uint8), 3, "(H, W, 3), uint8, BGR as OpenCV reads it"),
        (np.zeros((4, 5, 3)), 3, "(H, W, 3), uint8, BGR as OpenCV reads it"),
        (np.zeros((4, 5), np.uint8), 3, "(H, W, 3), uint8, BGR as OpenCV reads it"),
        (np.zeros((0, 5, 3), np.uint8), 3, "(H, W, 3), uint8, BGR as OpenCV reads it"),
        (np.zeros((4, 5, 3), np.uint8), 1, "(H, W), uint8"),
        (np.zeros(4, np.uint8), 1, "(H, W), uint8"),
    ],
)
def test_other_arrays_are_errors(array: Any, channels: int, use: str) -> None:
    with pytest.raises(UserError) as error:
        check_image(array, channels)
    assert str(error.value) == f"source: an array of shape {array.shape} and type {array.dtype}; use {use}"
    with pytest.raises(UserError, match="source: an array of shape"):
        list(find_sources(array)[0].images(channels))
    check_image(np.zeros((4, 5, 3), np.uint8), 3)
    check_image(np.zeros((4, 5), np.uint8), 1)


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


def test_an_image_with_too_many_pixels_is_an_error(tmp_path: Path) -> None:
    """Mosaics of satellites have more than OpenCV reads."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    path = tmp_path / "mosaic.png"
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b""))
    with pytest.raises(UserError, match=r"mosaic\.png: cannot be read \(.*give a smaller image$"):
        read_image(path)


def test_images_are_found_and_read(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.mpo", "über.png"):
        ok, data = cv2.imencode(".png", np.full((4, 5, 3), 7, np.uint8))
        assert ok
        (tmp_path / name).write_bytes(data.tobytes())
    (tmp_path / "notes.txt").write_text("no image")
    names = [shown.name for each in find_sources(tmp_path) for shown in each.images(3)]
    assert names == ["a.JPG", "b.png", "c.mpo", "über.png"]
    assert read_image(tmp_path / "über.png").shape == (4, 5, 3)
    assert read_image(tmp_path / "über.png", channels=1).shape == (4, 5)
    with pytest.raises(UserError, match="takes images of 4 channels"):
        read_image(tmp_path / "b.png", channels=4)
    with pytest.raises(UserError, match="not an image"):
        read_image(tmp_path / "notes.txt")
    assert cv2.imwrite(str(tmp_path / "depth.tif"), np.zeros((4, 5), np.float32))
    with pytest.raises(UserError, match=r"depth\.tif: .*; save it with 8 or 16 bits per channel"):
        read_image(tmp_path / "depth.tif")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images in this folder"):
        find_sources(tmp_path / "empty")
    with pytest.raises(UserError, match=r"did you mean b\.png\?"):
        find_sources(tmp_path / "bb.png")
