"""Detection scenes of handwritten digits over photo clutter, with the same pixels on every machine.

Pixels depend only on integer arithmetic, on a random stream that NumPy guarantees to keep, and on basic float64
operations that IEEE 754 defines to the last bit. Library functions for resizing, blurring and random distributions are
not used, because they change between releases.

A scene is a square crop of a photo, rotated, recolored and reduced in contrast. It contains a few scribbles, which are
digits with shuffled quarters used as distractors, and several digits in light, dark or faint ink. The digits are
rotated, stretched, of different sizes and partly overlapping. Blur and noise are added last.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Box", "Glyphs", "Pixels", "Scene", "compose"]

Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Spot = tuple[slice, slice]  # rows and columns

OPAQUE = 256  # alpha of full ink; integer alphas make blending exact
WHITE = 255
MASK = 96  # smallest alpha of the pixels that count as the digit and determine its box
CHANNEL_ORDERS = tuple(itertools.permutations(range(3)))


class Box(NamedTuple):
    """A digit and its bounding box: columns x0 to x1 - 1, rows y0 to y1 - 1."""

    label: int
    x0: int
    y0: int
    x1: int
    y1: int


class Scene(NamedTuple):
    """An image (size, size, 3) in BGR order and the boxes of its digits."""

    image: Pixels
    boxes: list[Box]


@dataclass(frozen=True)
class Glyphs:
    """Handwriting samples: images (n, 8, 8) with ink counts 0 to 16, and the sample indices of each label."""

    images: Pixels
    by_label: tuple[tuple[int, ...], ...]


class Dice:
    """Random integers from the raw bits of PCG64, a stream that NumPy keeps stable across releases."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def below(self, n: int) -> int:
        """Return an integer from 0 to n - 1."""
        return ((int(self._bits.random_raw()) >> 32) * n) >> 32

    def between(self, low: int, high: int) -> int:
        """Return an integer from low to high, inclusive."""
        return low + self.below(high - low + 1)

    def octets(self, n: int) -> Pixels:
        """Return n integers from 0 to 255."""
        words = self._bits.random_raw(-(-n // 8))
        return np.asarray(words, dtype="<u8").view(np.uint8)[:n]


def compose(grounds: Sequence[Pixels], glyphs: Glyphs, size: int, key: Sequence[int]) -> Scene:
    """Compose one scene.

    Args:
        grounds: Photo regions for backgrounds, each (height, width, 3) with sides of at least size.
        glyphs: The handwriting samples.
        size: Height and width of the scene in pixels.
        key: Integers that identify the scene, e.g. seed, split and index. A key always gives the same scene.
    """
    dice = Dice(*key)
    canvas = _background(grounds, size, dice)
    for _ in range(dice.below(3)):
        scribble = _stamp(_scribble(glyphs, dice), size, dice)
        _ink(canvas[_anywhere(canvas.shape, scribble.shape, dice)], scribble, dice)
    boxes: list[Box] = []
    owner = np.zeros((size, size), dtype=np.int64)  # number of the digit at each pixel, from 1; 0 for none
    drawn = [0]  # mask pixels of each digit
    for _ in range(dice.between(4, 10)):
        label = dice.below(len(glyphs.by_label))
        samples = glyphs.by_label[label]
        stamp = _stamp(glyphs.images[samples[dice.below(len(samples))]], size, dice)
        mask = stamp >= MASK
        spot = _free_spot(owner, drawn, mask, dice)
        if spot is None:
            continue  # the scene is full
        _ink(canvas[spot], stamp, dice)
        owner[spot][mask] = len(drawn)
        drawn.append(int(np.count_nonzero(mask)))
        rows, columns = spot
        boxes.append(Box(label, columns.start, rows.start, columns.stop, rows.stop))
    return Scene(_degrade(canvas, dice).astype(np.uint8), boxes)


def _background(grounds: Sequence[Pixels], size: int, dice: Dice) -> Ints:
    """Crop a square from a photo region, downscale it by an integer, rotate and recolor it, and reduce its contrast."""
    ground = grounds[dice.below(len(grounds))]
    zoom = dice.between(1, min(min(ground.shape[:2]) // size, 3))
    side = size * zoom
    y, x = (dice.between(0, extent - side) for extent in ground.shape[:2])
    crop = ground[y : y + side, x : x + side].astype(np.int64)
    crop = crop.reshape(size, zoom, size, zoom, 3).sum(axis=(1, 3)) // zoom**2
    crop = np.rot90(crop, dice.below(4))
    if dice.below(2):
        crop = crop[:, ::-1]
    crop = crop[..., CHANNEL_ORDERS[dice.below(len(CHANNEL_ORDERS))]]
    mean = int(crop.sum()) // crop.size
    flat: Ints = mean + ((crop - mean) * dice.between(6, 13) >> 4) + dice.between(-24, 24)
    return flat.clip(0, WHITE)


def _scribble(glyphs: Glyphs, dice: Dice) -> Pixels:
    """Return a sample with shuffled and mirrored quarters, a distractor that looks like digit ink."""
    image = glyphs.images[dice.below(len(glyphs.images))]
    quarters = [image[y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
    shift = dice.between(1, 3)
    a, b, c, d = (quarters[(i + shift) % 4][::-1, ::-1] for i in range(4))
    return np.block([[a, b], [c, d]])


def _stamp(glyph: Pixels, size: int, dice: Dice) -> Ints:
    """Render a glyph with a random size, rotation and stretch, cropped to its mask.

    Returns:
        Alphas 0 to OPAQUE (height, width). The first and last rows and columns each contain a pixel of the mask.
    """
    share = dice.between(0, 255)
    height = size * (36 + 56 * share * share // 65025) // 256  # 14 % to 36 % of the scene, mostly small
    width = height * dice.between(80, 115) // 100
    angle = math.radians(dice.between(-30, 30))
    cos, sin = (round(value * 4096) / 4096 for value in (math.cos(angle), math.sin(angle)))  # hides libm's last bit
    reach = height  # the rotated glyph fits into twice its height
    offset = np.arange(-reach, reach + 1, dtype=np.float64)
    dy, dx = offset[:, None], offset[None, :]
    rows = (cos * dy - sin * dx) * (8 / height) + 3.5
    columns = (cos * dx + sin * dy) * (8 / width) + 3.5
    ink = _sample(glyph, rows, columns) / 16
    alpha = np.floor(np.clip((ink - 0.2) / 0.45, 0, 1) * OPAQUE).astype(np.int64)  # gray becomes a stroke's edge
    ys, xs = np.nonzero(alpha >= MASK)
    return alpha[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]


def _sample(glyph: Pixels, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sample a glyph at fractional positions by cubic convolution (a = -1/2), with zero padding."""
    padded = np.pad(glyph, 4).astype(np.float64)
    rows, columns = np.clip(rows, -2, 9), np.clip(columns, -2, 9)
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    row_weights, column_weights = _cubic(rows - top), _cubic(columns - left)
    total = np.zeros(rows.shape)
    for i, wy in enumerate(row_weights):
        for j, wx in enumerate(column_weights):
            total += wy * wx * padded[top + i + 3, left + j + 3]
    return total


def _cubic(t: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the weights of the four neighbors of a point at distance t after the second one (Keys, 1981)."""
    return (
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )


def _free_spot(owner: Ints, drawn: Sequence[int], mask: npt.NDArray[np.bool_], dice: Dice) -> Spot | None:
    """Find a position where at least 80 % of every earlier digit stays visible; None when 12 attempts fail."""
    before = np.bincount(owner.ravel(), minlength=len(drawn))
    for _ in range(12):
        spot = _anywhere(owner.shape, mask.shape, dice)
        left = before - np.bincount(owner[spot][mask], minlength=len(drawn))
        if all(10 * pixels >= 8 * all_pixels for pixels, all_pixels in zip(left[1:], drawn[1:], strict=True)):
            return spot
    return None


def _anywhere(canvas: tuple[int, ...], stamp: tuple[int, ...], dice: Dice) -> Spot:
    """Return a random position for a stamp on a canvas, both given by their shapes."""
    y, x = (dice.between(0, canvas[axis] - stamp[axis]) for axis in (0, 1))
    return slice(y, y + stamp[0]), slice(x, x + stamp[1])


def _ink(patch: Ints, stamp: Ints, dice: Dice) -> None:
    """Blend slightly tinted ink, lighter or darker than the background, into a patch (height, width, 3) in place."""
    mask = stamp >= MASK
    ground = int(patch[mask].sum()) // (3 * int(mask.sum()))
    contrast = dice.between(55, 150)
    lighter = ground + contrast <= WHITE and (dice.below(2) == 1 or ground < contrast)
    level = ground + contrast if lighter else ground - contrast
    ink = np.clip([level + dice.between(-25, 25) for _ in range(3)], 0, WHITE)
    alpha = (stamp * dice.between(200, OPAQUE) // OPAQUE)[..., None]
    patch[...] = (patch * (OPAQUE - alpha) + ink * alpha) // OPAQUE


def _degrade(canvas: Ints, dice: Dice) -> Ints:
    """Blur up to twice with the binomial kernel, then add approximately normal noise."""
    for _ in range(dice.below(3)):
        for axis in (0, 1):
            before, after = (np.roll(canvas, shift, axis) for shift in (1, -1))
            first, last = ([slice(None)] * axis + [index] for index in (0, -1))
            before[tuple(first)] = canvas[tuple(first)]
            after[tuple(last)] = canvas[tuple(last)]
            canvas = (before + 2 * canvas + after + 2) >> 2
    strength = dice.below(11)
    octets = dice.octets(4 * canvas.size).reshape(4, *canvas.shape).astype(np.int64)
    noise = (octets.sum(axis=0) - 510) * strength // 148  # the sum of four octets has a standard deviation of 148
    noisy: Ints = canvas + noise
    return noisy.clip(0, WHITE)
