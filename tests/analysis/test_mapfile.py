"""Writing and reading a small file of maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolo_attn.analysis.letterbox import Frame
from yolo_attn.analysis.mapfile import LARGEST, load_maps, save_maps
from yolo_attn.analysis.maps import AttentionMap, ImageMaps, NoMap, Statistics
from yolo_attn.errors import UserError


def a_map(row: int, array: np.ndarray, *, name: str = "SE", part: str = "", stride: int = 8) -> AttentionMap:
    kind = "map" if array.ndim == 2 else "channels"
    height, width = (side * stride for side in array.shape) if array.ndim == 2 else (64, 64)
    return AttentionMap(
        row=row,
        name=name,
        layer="SE",
        part=part,
        stride=stride,
        unit="gate",
        kind=kind,
        array=array.astype(np.float32),
        statistics=Statistics.of(array),
        frame=Frame(height, width, 0, 0, height, width),
    )


def maps_of(name: str, *maps: AttentionMap) -> ImageMaps:
    return ImageMaps(name, np.zeros((64, 64, 3), np.uint8), maps, (NoMap(9, "PAM", "no weights"),))


def test_round_trip(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    planes, vectors = random.random((2, 8, 10)), random.random((2, 5))
    images = [
        maps_of(f"{n}.jpg", a_map(4, vectors[n], name="CBAM.channel"), a_map(4, planes[n], name="CBAM.spatial"))
        for n in range(2)
    ]
    save_maps(tmp_path / "maps.npz", images)
    stored = load_maps(tmp_path / "maps.npz")
    assert stored.images == ("0.jpg", "1.jpg")
    first, second = stored.layers  # the map over positions comes first
    assert (first.row, first.name, first.level, first.kind) == (4, "CBAM.spatial", "P3", "map")
    assert (second.row, second.name, second.kind) == (4, "CBAM.channel", "channels")
    for n in range(2):
        np.testing.assert_allclose(first.maps[n], planes[n], atol=1e-3)
        np.testing.assert_allclose(second.maps[n], vectors[n][None], atol=1e-3)
    assert first.statistics["mean"] == pytest.approx(planes.mean())
    assert first.statistics["dead"] is False


def test_names_and_shapes_of_the_arrays(tmp_path: Path) -> None:
    plane = np.linspace(0.2, 0.7, 80).reshape(8, 10)
    save_maps(tmp_path / "maps.npz", [maps_of("a.jpg", a_map(17, plane), a_map(17, plane, part="input 1"))])
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as arrays:
        assert {"map_17_0", "map_17.1_0", "name_17", "name_17.1", "image_0"} <= set(arrays.files)
        assert str(arrays["name_17.1"]) == "SE input 1"
        assert str(arrays["image_0"]) == "a.jpg"
        assert arrays["map_17_0"].dtype == np.float16
        np.testing.assert_allclose(arrays["map_17_0"], plane, atol=1e-3)  # a gate in [0, 1] is stored unchanged


def test_values_outside_0_to_1_share_a_range_at_all_rows_and_images(tmp_path: Path) -> None:
    low, high = np.full((4, 4), -3.0), np.full((8, 8), 5.0)
    images = [maps_of("a", a_map(1, low), a_map(2, high * 0.2)), maps_of("b", a_map(1, low * 0.5), a_map(2, high))]
    save_maps(tmp_path / "maps.npz", images)
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as arrays:
        assert arrays["range_1"].tolist() == arrays["range_2"].tolist() == [-3, 5]
        assert all(
            0 <= arrays[f"map_{row}_{n}"].min() <= arrays[f"map_{row}_{n}"].max() <= 1 for row in (1, 2) for n in (0, 1)
        )
    stored = load_maps(tmp_path / "maps.npz").layers
    assert [round(float(m.mean()), 1) for layer in stored for m in layer.maps] == [-3, -1.5, 1, 5]


def test_maps_are_aligned_with_the_image(tmp_path: Path) -> None:
    """The image is in rows 16 to 48 of 64."""
    plane = np.zeros((8, 8))
    plane[2:6] = 1
    found = a_map(3, plane)
    object.__setattr__(found, "frame", Frame(64, 64, 16, 0, 32, 64))
    save_maps(tmp_path / "maps.npz", [maps_of("a", found)])
    stored = load_maps(tmp_path / "maps.npz").layers[0].maps[0]
    assert stored.shape == (4, 8)
    assert stored[1:3].min() == 1


def test_a_file_stays_small(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [maps_of(f"{n}", *(a_map(row, random.random((160, 160))) for row in range(12))) for n in range(4)]
    save_maps(tmp_path / "maps.npz", images)
    assert (tmp_path / "maps.npz").stat().st_size < LARGEST == 300_000
    assert min(load_maps(tmp_path / "maps.npz").layers[0].maps[0].shape) >= 40


@pytest.mark.parametrize("content", [b"", b"no npz", None])
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "maps.npz"
    save_maps(path, [maps_of("a", a_map(1, np.ones((4, 4))))])
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(UserError, match="damaged"):
        load_maps(path)
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        load_maps(path)
