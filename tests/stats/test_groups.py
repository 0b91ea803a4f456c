"""Groups of images that are resampled together."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation.images import Images
from yolo_attn.errors import UserError
from yolo_attn.stats.behrens_fisher import upper_quantile
from yolo_attn.stats.bootstrap import group_weights, image_weights
from yolo_attn.stats.compare import Support
from yolo_attn.stats.groups import FOLDER, check_groups, compile_pattern, find_sequences, group_images
from yolo_attn.system import patterns

FRAMES = [f"clip{clip}_{frame:04}.jpg" for clip in range(4) for frame in range(0, 50, 5)]


@pytest.mark.parametrize(
    ("names", "rule", "expected"),
    [
        (["a/1.jpg", "a/2.jpg", "b/1.jpg", "1.jpg"], FOLDER, [0, 0, 1, 2]),
        (["a/x/1.jpg", "a/y/1.jpg", "a/x/2.jpg"], FOLDER, [0, 1, 0]),
        (["a1_1.jpg", "a2_1.jpg", "a1_2.jpg"], r"(a\d)_", [0, 1, 0]),  # the first parentheses
        (["a1_1.jpg", "a2_1.jpg", "a1_2.jpg"], r"a\d", [0, 1, 0]),  # the whole match
        (["a1.jpg", "b.jpg", "a2.jpg", "c.jpg"], "^(a)", [0, 1, 0, 2]),  # no match: a group of its own
        (["a/x1.jpg", "b/x2.jpg"], "(x|a)", [0, 0]),  # only the name of the file
        (["a1.jpg", "b1.jpg"], r"(c)?\d", [0, 0]),  # parentheses that match nothing
        (["b.jpg", "a.jpg"], None, [0, 1]),
        ([], FOLDER, []),
    ],
)
def test_group_of_each_image(names: list[str], rule: str | None, expected: list[int]) -> None:
    assert group_images(names, rule).tolist() == expected


@settings(max_examples=40, deadline=None)  # most patterns are matched in a process of their own
@given(st.lists(st.text("ab/1", min_size=1, max_size=4), unique=True), st.sampled_from([FOLDER, "a", "(b)1?", None]))
def test_groups_are_numbered_without_gaps_in_order(names: list[str], rule: str | None) -> None:
    groups = group_images(names, rule).tolist()
    firsts = list(dict.fromkeys(groups))
    assert firsts == list(range(len(firsts)))


def test_groups_that_cannot_be_used_are_errors() -> None:
    assert check_groups(FRAMES, r"(clip\d+)_", 4) == 4
    with pytest.raises(UserError, match=re.escape("the 40 images are 4 groups, and a verdict needs at least 5")):
        check_groups(FRAMES, r"(clip\d+)_", 5)
    with pytest.raises(UserError, match="the 40 images are 1 group,"):
        check_groups(FRAMES, FOLDER, 5)
    with pytest.raises(UserError, match=r"groups=video: matches none of 40 file names, such as clip0_0000\.jpg"):
        check_groups(FRAMES, "video", 1)
    with pytest.raises(UserError, match="neither folder nor a valid regular expression"):
        compile_pattern("(")
    compile_pattern("a" * 999)  # stored studies may have any pattern


@pytest.mark.parametrize("rule", ["(a+)+$", "(a|a)*$", ".*" * 12 + "x"])
def test_patterns_that_take_too_long_are_errors(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.3)
    with pytest.raises(UserError, match=r"matching takes longer than 0\.3 seconds for 2 file names; give a simpler"):
        group_images([f"{letter}{'a' * 60}!.jpg" for letter in "bc"], rule)


def test_a_failure_of_the_matching_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_PROGRAM", "raise MemoryError")
    with pytest.raises(UserError, match=r"^groups=a: the process that matches has failed: MemoryError$"):
        group_images(["of a failure.jpg"], "a")


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (FRAMES, 4),
        ([name.replace("_", "/") for name in FRAMES], 4),
        ([name.replace("_", "-frame") for name in FRAMES], 4),
        ([f"{name.removesuffix('.jpg')}_jpg.rf.0{number}d.jpg" for number, name in enumerate(FRAMES)], 4),
        ([*FRAMES, "photo.jpg"], 5),
        ([f"{number:06}.jpg" for number in range(50)], None),  # a single sequence
        ([f"Blood_{number:05}.png" for number in range(50)], None),
        (["first.jpg", "second.jpg", "third.jpg"], None),
        ([f"{stem}{number}.jpg" for stem in "abcdefgh" for number in (1, 2)], None),  # pairs
        ([*FRAMES, *(f"photo of {name}" for name in "abcdefgh" * 6)], None),  # most images are others
    ],
)
def test_names_of_frames_suggest_a_rule_that_groups_them(names: list[str], count: int | None) -> None:
    rule = find_sequences(names)
    assert (rule and len(set(group_images(names, rule).tolist()))) == count


def test_numbers_with_irregular_gaps_are_no_frames() -> None:
    """As in PASCAL VOC, whose names are year and number."""
    rng = np.random.default_rng(0)
    names = [f"{year}_{n:06}.jpg" for year in range(2007, 2013) for n in rng.choice(8000, 2000, replace=False)]
    assert find_sequences(names) is None


def test_images_of_a_group_have_the_same_weight() -> None:
    groups = group_images(FRAMES, r"(clip\d+)_")
    weights = group_weights(groups, 50, seed=3)
    assert np.array_equal(weights[:, ::10], image_weights(4, 50, seed=3))
    assert (weights.reshape(50, 4, 10) == weights[:, ::10, None]).all()


def test_images_that_are_groups_of_their_own_have_the_usual_weights() -> None:
    assert np.array_equal(group_weights(np.arange(30), 20), image_weights(30, 20))


def test_groups_with_labels_are_counted_by_area_and_class() -> None:
    found = Images(np.random.default_rng(0), 40, classes=3).evaluate(np.zeros(40))
    groups = np.arange(40) // 4
    counts = found.groups_with_labels(groups)
    assert [len(numbers) for numbers in counts] == [3, 3, 3, 0, 0, 3, 1, 1, 1]  # every object is large
    for number in range(3):
        images = set(groups[found.gt_image[found.gt_class == number]].tolist())
        assert counts[0][number] == counts[5][number] == counts[6 + number][0] == len(images)


def bootstrap_variances(rng: np.random.Generator, images: list[int], studies: int = 4000) -> np.ndarray:
    """Return the variances [studies] of bootstraps of the mean over parts with independent images of equal noise."""
    estimated = [rng.normal(size=(studies, count)).var(axis=1) / count for count in images]
    return np.asarray(np.sum(estimated, axis=0))


@pytest.mark.parametrize("images", [[20], [2, 2, 2], [30, 3], [2, 5, 40, 40], [3] * 20])
def test_support_of_a_mean_knows_the_uncertainty_of_its_variance(images: list[int]) -> None:
    variances = bootstrap_variances(np.random.default_rng(0), images)
    df = 2 * (variances.mean() / variances.std()) ** 2  # of a scaled chi-square with this mean and variance
    support = Support.of_means([images], total=1000)
    assert df / 1.7 < support.df[0] < 1.1 * df  # rounded down
    assert support.factor[0] == pytest.approx(1000 / 999)


@pytest.mark.parametrize(
    "images",
    [[20], [2] * 10, [5] * 4, [3] * 20, [1] * 10 + [10] * 5, [1, *[10] * 9], [1, 100], [1] * 20 + [2] * 10],
)
def test_false_alarms_of_a_mean_over_rare_classes(images: list[int]) -> None:
    """Means over classes whose images have no true effect; a class without images in a replicate is left out of it."""
    count, studies, replicates = sum(images), 3000, 200
    weights = image_weights(count, replicates)
    values = np.random.default_rng(1).normal(size=(studies, count))
    total, known, truth = np.zeros((studies, replicates)), np.zeros(replicates), np.zeros(studies)
    for mine in np.split(np.arange(count), np.cumsum(images)[:-1]):
        size = weights[:, mine].sum(axis=1)
        total += (values[:, mine] @ weights[:, mine].T) / np.maximum(size, 1)
        known += size > 0
        truth += values[:, mine].mean(axis=1) / len(images)
    support = Support.of_means([images], count)
    variance = (total / known).var(axis=1, ddof=1) * support.factor[0]
    distance = upper_quantile(0.025, 0.0, 2, support.df[0])
    assert np.mean(np.abs(truth) > distance * np.sqrt(variance)) < 0.065


@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=6), min_size=1, max_size=4))
def test_support_is_never_better_than_that_of_all_images(images: list[list[int]]) -> None:
    total = max(itertools.chain([2], *images))
    found, whole = Support.of_means(images, total), Support.of_images([total] * len(images))
    assert not (found.factor < whole.factor).any()
    assert (found.df <= whole.df).all()


def test_parts_without_images_are_not_in_the_mean() -> None:
    found = Support.of_means([[1, 10, 10], [0, 1, 10, 0, 10]], total=21)
    assert found.factor[0] == found.factor[1]
    assert found.df[0] == found.df[1]


def test_support_of_single_images_is_unknown() -> None:
    found = Support.of_means([[1, 1], [1], []], total=10)
    assert np.isnan(found.factor).all()


def test_a_part_with_a_single_image_has_most_of_the_noise() -> None:
    found = Support.of_means([[10, 10], [1, 10], [1, *[10] * 30]], total=100)
    assert found.factor[0] < found.factor[2] < found.factor[1]
    assert found.df[1] == 1 < found.df[2]
