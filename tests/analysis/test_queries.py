"""Weights of self-attention for points of an image: positions, layers, numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import yolo_attn
from yolo_attn.analysis.letterbox import Frame, letterbox, to_tensor
from yolo_attn.analysis.maps import image_maps
from yolo_attn.analysis.models import open_model
from yolo_attn.analysis.panels import Canvas, paint_image, paint_query, weight_limits
from yolo_attn.analysis.queries import DETECTIONS, Query, QueryMap, parse_points
from yolo_attn.errors import UserError
from yolo_attn.host.detector import Detection

from .test_maps import image, inputs_of_row

TWO = (Query(120, 80), Query(300, 200))


@pytest.mark.parametrize(
    "value",
    ["120,80,300,200", "120,80;300,200", "(120,80),(300,200)", "[120, 80, 300, 200]", [(120, 80), (300, 200)]],
)
def test_points_can_be_written_in_several_ways(value: Any) -> None:
    assert parse_points(value) == TWO
    assert parse_points((120, 80)) == TWO[:1]
    assert parse_points(np.array([[120, 80], [300, 200]])) == TWO  # type: ignore[arg-type]
    assert parse_points("detections") == DETECTIONS


@pytest.mark.parametrize("value", ["", "120", "120,80,3", "x,y", "nan,1", "120;80;1", [(1,)], "detection"])
def test_other_points_are_errors(value: Any) -> None:
    with pytest.raises(UserError, match="use x,y in pixels of the image") as error:
        parse_points(value)
    assert ("did you mean detections?" in str(error.value)) == (value == "detection")


@pytest.mark.parametrize("shape", [(90, 160), (160, 90), (128, 128), (37, 300)])
def test_a_point_is_at_the_position_that_shows_it(shape: tuple[int, int]) -> None:
    """A single bright block of an image is at the position of the map with the largest mean."""
    height, width = shape
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = int(rng.integers(8, width - 8)), int(rng.integers(8, height - 8))
        image = np.zeros((height, width, 3), np.uint8)
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
        padded, frame = letterbox(image, 128, 32)
        bright = np.where(padded == 114, 0, padded)[..., 0].astype(float)
        means = bright.reshape(padded.shape[0] // 4, 4, padded.shape[1] // 4, 4).mean((1, 3))
        row, column = frame.position(x, y, shape, means.shape)
        best = np.unravel_index(means.argmax(), means.shape)
        assert abs(row - best[0]) <= 1 and abs(column - best[1]) <= 1
        left, right, bottom, top = frame.extent(height, width)
        pixels = 4 * max(shape) / 128  # of the image in a position
        center = (
            left + (column + 0.5) / means.shape[1] * (right - left),
            top + (row + 0.5) / means.shape[0] * (bottom - top),
        )
        assert center == pytest.approx((x, y), abs=0.55 * pixels + 1)


def test_corners_of_an_image_are_inside() -> None:
    padded, frame = letterbox(image(45, 128), 128, 32)
    size = padded.shape[0] // 8, padded.shape[1] // 8
    assert frame.position(0, 0, (45, 128), size) == (int(frame.top / 8), 0)
    assert frame.position(127, 44, (45, 128), size) == (int((frame.top + 44.5) / 8), 15)


@pytest.mark.parametrize("layer", ["MHSA", "NonLocal", "DAttention"])
def test_maps_equal_the_readings_of_the_layer(layer: str) -> None:
    model = open_model(f"yolo11n.yaml+{layer}@neck.P4")
    found = image_maps(model, image(), imgsz=128, queries=(Query(10, 20), Query(100, 50)))
    assert [each.number for each in found.queries] == [0, 1]
    assert {(each.row, each.name, each.title) for each in found.queries} == {(20, layer, f"row 20 {layer} (P4)")}
    padded, _ = letterbox(image(), 128, 32)
    x = inputs_of_row(model, to_tensor(padded), 20)
    with torch.no_grad():
        (reading,) = model.model[20].readings([x])
    expected = reading.on_map(reading.weights([(1, 0), (3, 6)]), 4, 8).numpy()
    for each in found.queries:
        np.testing.assert_allclose(each.heads, expected[each.number], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(each.array, expected[each.number].mean(0), rtol=1e-4, atol=1e-7)
        assert each.on_image(64, 128).shape == (64, 128)
    if layer == "DAttention":
        x, y, weights = found.queries[0].points_on_image(64, 128)
        assert len(x) == len(y) == len(weights) == 32
        assert weights.mean() == pytest.approx(1)


def test_points_of_an_unshifted_grid_are_the_centers_of_the_outermost_positions() -> None:
    model = open_model("yolo11n.yaml+DAttention[stride=1]@neck.P4")
    with torch.no_grad():
        model.model[20].offset_proj.weight.zero_()
    found = image_maps(model, image(), imgsz=128, queries=(Query(10, 20),)).queries[0]
    x, y, _ = found.points_on_image(64, 128)
    assert (x.min(), x.max(), y.min(), y.max()) == pytest.approx((7.5, 119.5, 7.5, 55.5))
    np.testing.assert_allclose(found.heads.sum((1, 2)), 1, rtol=1e-4)


def test_padding_of_windows_is_left_out() -> None:
    model = open_model("yolo11n.yaml+iRMB@neck.P4")  # pads 4 x 8 positions to 7 x 14
    (found,) = image_maps(model, image(), imgsz=128, queries=(Query(10, 20),)).queries
    assert found.heads.shape[1:] == (4, 8)
    assert 0 < found.heads.sum((1, 2)).max() < 1  # the rest is on the padding


def test_attention_to_another_map_has_its_size(fresh_folder: Path) -> None:
    rows = "{backbone: [[-1, 1, Conv, [16, 3, 2]], [-1, 1, Conv, [16, 3, 2]], [[0, 1], 1, CrossAttention, []]],"
    Path("cross.yaml").write_text(rows + " head: [[[2], 1, Detect, [nc]]], nc: 2, scales: {n: [1, 1, 64]}}")
    (found,) = image_maps(open_model("cross.yaml"), image(64, 64), imgsz=64, queries=(Query(10, 20),)).queries
    assert found.heads.shape[1:] == (16, 16) and found.stride == 4


def test_layers_inside_other_layers_are_found() -> None:
    model = open_model("yolo11n-dualattention.yaml")
    found = image_maps(model, image(), imgsz=128, queries=(Query(5, 5),))
    assert {each.name for each in found.queries} == {"DualAttention.position"}
    assert {each.name for each in found.maps} == {"DualAttention.channel"}


def query_map(weights: list[list[float]], frame: Frame | None = None) -> QueryMap:
    """Return weights of a query by row of the map, for one head."""
    heads = np.array([weights], np.float32)
    height, width = (8 * side for side in heads.shape[1:])
    layer = {"row": 0, "name": "X", "layer": "X", "part": "", "stride": 8, "number": 0, "query": Query(0, 0)}
    frame = frame or Frame(height, width, 0, 0, height, width)
    return QueryMap(**layer, heads=heads, frame=frame)  # type: ignore[arg-type]


def test_half_of_the_weight() -> None:
    assert query_map([[0.25, 0.25], [0.25, 0.25]]).focus == 2
    assert query_map([[0.6, 0.2], [0.1, 0.1]]).focus == 1
    assert query_map([[0.4, 0.3], [0.2, 0.1]]).focus == 2


def test_padding_has_no_part_in_half_of_the_weight_and_in_the_colors() -> None:
    padded = query_map([[0.7, 0.0], [0.05, 0.05], [0.1, 0.1]], Frame(24, 16, 8, 0, 16, 16))  # rows 1 and 2
    assert (padded.focus, padded.positions) == (2, 4)
    np.testing.assert_allclose(padded.shown(), np.array([[0.3, 0.3], [0.6, 0.6]]), rtol=1e-6)  # of six positions


def test_the_color_scale_of_weights_shows_negative_ones() -> None:
    assert weight_limits([np.array([0.0, 1.0, 2.0])]) == pytest.approx((0, 2), abs=0.02)
    assert weight_limits([np.array([0.0, 1.0]), np.array([-4.0, 0.0])]) == pytest.approx((-4, 4), abs=0.1)
    assert weight_limits([np.array([-1e-9, 1.0])])[0] == 0  # a rounding error
    assert weight_limits([np.zeros(3)]) == (0, 1)
    found = query_map([[-0.5, 0.0], [0.0, 1.5]])
    panel = Figure().add_subplot()
    painted = paint_query(panel, Canvas.of(np.full((16, 16, 3), 90, np.uint8), 16), found, None, (-6, 6))
    low, zero, high = (painted.to_rgba(value)[:3] for value in (-2, 0, 6))
    assert np.std(zero) < 0.05 < np.std(low) and low[2] > low[0] and high[0] > high[2]  # white, purple, orange


def test_boxes_count_from_the_edge_of_the_first_pixel_and_queries_from_its_center() -> None:
    canvas = Canvas.of(np.zeros((8, 16, 3), np.uint8), 8)  # half as many pixels
    panel = Figure().add_subplot()
    paint_image(panel, canvas, [Detection((0, 0, 16, 8), "all", 1.0)], [("", Query(0, 0))])
    assert panel.patches[0].get_bbox().extents.tolist() == [-0.5, -0.5, 7.5, 3.5]
    assert panel.lines[0].get_xydata().tolist() == [[-0.25, -0.25]]


def test_a_point_outside_is_an_error_and_in_a_folder_skips_the_image(fresh_folder: Path) -> None:
    for name, shape in (("small.png", (64, 64)), ("large.png", (64, 128))):
        cv2.imwrite(name, image(*shape))
    with pytest.raises(
        UserError, match=r"^point=100,20: outside of small.png, which has 64 x 64 pixels \(x from 0 to 63"
    ):
        yolo_attn.attention_maps("yolo11n-pam.yaml", "small.png", point=(100, 20), imgsz=64)
    found = yolo_attn.attention_maps("yolo11n-pam.yaml", ".", point=(100, 20), imgsz=64)
    assert (found.images, len(found.queries)) == (1, 3)
    assert found.skipped[0].startswith("point=100,20: outside of small.png")


def test_the_table_names_half_of_the_weight(fresh_folder: Path) -> None:
    cv2.imwrite("street.png", image())
    found = yolo_attn.attention_maps("yolo11n-mhsa.yaml", "street.png", point=[(10, 20), (100, 50)], imgsz=128)
    assert found.without == ()
    numbers = [each["half_of_the_weight_on"] for each in found.to_dict()["queries"]]
    assert numbers == [[each.focus for each in found.queries if each.row == row] for row in (17, 21, 25)]
    share = 100 * np.mean(numbers[0]) / 128
    line = f"queries: row 17 MHSA (P3): half of the weight is on {share:.3g} % of 128 positions (mean of 2 queries)"
    assert line in str(found)
    cv2.imwrite("tall.png", image(128, 96))
    found = yolo_attn.attention_maps("yolo11n-mhsa.yaml", ".", point=(10, 20), imgsz=128)
    assert found.to_dict()["queries"][0]["positions"] == [128, 192]
    assert " % of 128 to 192 positions (mean of 2 queries)" in str(found)
