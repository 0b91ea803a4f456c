"""Scenes are deterministic, and their boxes fit the digits."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_attn.data import scenes
from yolo_attn.data.scenes import MASK, Box, Dice, Glyphs, compose

SIZE = 96


@pytest.fixture(scope="module")
def glyphs() -> Glyphs:
    """Return two labels: a bar with an empty top row, and a hook."""
    bar, hook = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    bar[1:, 3:5] = 16
    hook[1:7, 2] = hook[6, 2:6] = 16
    return Glyphs(np.stack([bar, hook]), ((0,), (1,)))


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    return np.arange(200 * 240 * 3, dtype=np.int64).reshape(200, 240, 3).astype(np.uint8)


def test_the_random_stream_is_stable() -> None:
    dice = Dice(0, 1, 2)
    assert [dice.below(1000) for _ in range(4)] == [881, 289, 871, 125]
    assert dice.octets(3).tolist() == [102, 99, 160]


@pytest.mark.parametrize(("low", "high"), [(0, 0), (3, 7), (-24, 24)])
def test_between_returns_all_values_of_its_range(low: int, high: int) -> None:
    dice = Dice(5)
    assert {dice.between(low, high) for _ in range(1000)} == set(range(low, high + 1))


def test_a_scene_is_determined_by_its_key(glyphs: Glyphs, ground: np.ndarray) -> None:
    first, again, other = (compose([ground], glyphs, SIZE, key) for key in ((1, 2, 3), (1, 2, 3), (1, 2, 4)))
    assert np.array_equal(first.image, again.image)
    assert first.boxes == again.boxes
    assert not np.array_equal(first.image, other.image)


def test_all_digits_are_inside_the_image(glyphs: Glyphs, ground: np.ndarray) -> None:
    for index in range(20):
        image, boxes = compose([ground], glyphs, SIZE, (index,))
        assert image.shape == (SIZE, SIZE, 3)
        assert image.dtype == np.uint8
        assert boxes
        for box in boxes:
            assert 0 <= box.x0 < box.x1 <= SIZE
            assert 0 <= box.y0 < box.y1 <= SIZE
            assert box.label in (0, 1)


def test_a_stamp_is_cropped_exactly_to_its_mask(glyphs: Glyphs) -> None:
    for seed in range(50):
        mask = scenes._stamp(glyphs.images[seed % 2], SIZE, Dice(seed)) >= MASK
        assert mask[0].any()
        assert mask[-1].any()
        assert mask[:, 0].any()
        assert mask[:, -1].any()


def test_boxes_enclose_the_pixels_changed_by_the_digit(
    glyphs: Glyphs, ground: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    inked: list[np.ndarray] = []
    original = scenes._ink

    def record(patch: np.ndarray, stamp: np.ndarray, dice: Dice) -> None:
        before = patch.base.copy()
        original(patch, stamp, dice)
        inked.append((patch.base != before).any(axis=2))

    monkeypatch.setattr(scenes, "_ink", record)
    _, boxes = compose([ground], glyphs, SIZE, (11,))
    for box, changed in zip(boxes, inked[-len(boxes) :], strict=True):
        ys, xs = np.nonzero(changed)
        assert Box(box.label, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == box


def test_digits_stay_mostly_visible(glyphs: Glyphs) -> None:
    owner, mask = np.zeros((20, 20), np.int64), np.ones((20, 20), bool)
    owner[2:8, 2:8] = 1
    assert scenes._free_spot(owner, [0, 36], mask, Dice(0)) is None
    assert scenes._free_spot(owner, [0, 36], np.ones((4, 4), bool), Dice(0)) is not None


def test_fractional_sampling_reproduces_a_linear_ramp() -> None:
    glyph = np.tile(np.arange(8, dtype=np.uint8) * 2, (8, 1))
    rows, columns = np.full((1, 4), 4.0), np.array([[2.0, 2.5, 3.0, 3.25]])
    assert scenes._sample(glyph, rows, columns).tolist() == [[4.0, 5.0, 6.0, 6.5]]
    assert scenes._sample(glyph, np.array([[-9.0]]), np.array([[50.0]])).tolist() == [[0.0]]


def test_blur_preserves_the_mean_of_a_constant_image() -> None:
    for seed in range(8):
        flat = scenes._degrade(np.full((16, 16, 3), 100, np.int64), Dice(seed))
        assert abs(float(flat.mean()) - 100) < 2
