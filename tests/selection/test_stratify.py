"""Stratification: both parts get their share of everything, whatever the order of the units."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_attn.selection.stratify import stratify

Units = dict[str, dict[str, int]]

EXPECTED = ["1.jpg", "11.jpg", "13.jpg", "9.jpg"]

COUNTS = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)), min_size=8, max_size=30)


def long_tailed(images: int, classes: int, seed: int) -> Units:
    """Return images with a few objects each, of classes whose frequencies fall as 1/rank."""
    rng = np.random.default_rng(seed)
    frequencies = 1 / np.arange(1, classes + 1)
    units = {}
    for index in range(images):
        objects = Counter(rng.choice(classes, rng.geometric(0.3) - 1, p=frequencies / frequencies.sum()).tolist())
        counts = {"images": 1, **({} if objects else {"images without objects": 1})}
        for kind, count in objects.items():
            counts |= {f"images of {kind}": 1, f"objects of {kind}": count}
        units[f"{index}.jpg"] = counts
    return units


def total(units: Units, names: set[str]) -> Counter[str]:
    return sum((Counter(units[name]) for name in names), Counter())


@given(COUNTS, st.floats(0.05, 0.95), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_the_parts_have_enough_units_and_do_not_depend_on_their_order(
    counts: list[dict[str, int]], share: float, random: Random
) -> None:
    units = {f"{index}": {"images": 1, **of_unit} for index, of_unit in enumerate(counts)}
    least = len(units) // 2
    taken = stratify(units, share, least)
    assert taken <= set(units)
    assert least <= len(taken) <= len(units) - least
    names = random.sample(list(units), len(units))
    assert stratify({name: dict(reversed(units[name].items())) for name in names}, share, least) == taken


@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.05, 0.5))
def test_a_quantity_of_several_units_is_in_both_parts(few: int, many: int, share: float) -> None:
    units = {f"a{index}": {"a": 1} for index in range(few)} | {f"b{index}": {"b": 3} for index in range(many)}
    taken = stratify(units, share, 1)
    for kind, number in (("a", few), ("b", many)):
        got = sum(name.startswith(kind) for name in taken)
        assert 1 <= got < number
        assert abs(got - share * number) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_each_class_gets_its_share(seed: int) -> None:
    units = long_tailed(600, 15, seed)
    whole, got = total(units, set(units)), total(units, stratify(units, 0.2, 20))
    assert abs(got["images"] - 120) <= 3
    assert abs(got["images without objects"] / whole["images without objects"] - 0.2) < 0.03
    for quantity, number in whole.items():
        assert abs(got[quantity] - 0.2 * number) <= max(1.5, 0.03 * number), quantity


def test_an_only_unit_is_not_taken() -> None:
    units = {f"{index}": {"images": 1, **({"rare": 1} if index == 7 else {})} for index in range(50)}
    assert "7" not in stratify(units, 0.2, 10)


def test_large_units_are_balanced_by_small_ones() -> None:
    units = {f"{index}": {"images": 100 if index < 5 else 1} for index in range(105)}
    assert total(units, stratify(units, 0.2, 5))["images"] == pytest.approx(120, abs=3)


def test_the_result_is_the_same_on_each_machine() -> None:
    units = {f"{index}.jpg": {"images": 1, f"images of {index % 3}": 1} for index in range(20)}
    assert sorted(stratify(units, 0.2, 2)) == EXPECTED
