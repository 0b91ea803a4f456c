from __future__ import annotations

import dataclasses
import errno
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stats.scenes import random_scene, to_matches
from yolo_attn.errors import UserError
from yolo_attn.stats import npz
from yolo_attn.stats.evaluation import evaluate
from yolo_attn.stats.matches import _VERSION, MAX_DETECTIONS, Matches, MatchesBuilder

ALL, SMALL, MEDIUM, LARGE = range(4)
BIG = 100.0**2


def one_image(similarity: list[list[float]], scores: list[float], **given: Any) -> Matches:
    """One image and class; objects and detections are large, unless their areas are given."""
    objects, detections = len(similarity), len(scores)
    builder = MatchesBuilder(["thing", "other"])
    arrays = {
        "gt_class": [0] * objects,
        "gt_area": [BIG] * objects,
        "gt_box": np.zeros((objects, 4)),
        "det_class": [0] * detections,
        "det_score": scores,
        "det_area": [BIG] * detections,
        "det_box": np.zeros((detections, 4)),
        "similarity": similarity,
    }
    builder.add_image("image", **(arrays | given))
    return builder.build()


def as_words(matches: Matches, area: int, threshold: int = 0) -> list[str]:
    hit, ignored = matches.hit[area, threshold], matches.ignored[area, threshold]
    assert not (hit & ignored).any()
    return ["hit" if h else "ignored" if i else "wrong" for h, i in zip(hit, ignored, strict=True)]


def test_object_is_matched_once_by_the_highest_score() -> None:
    matches = one_image([[0.6, 0.9, 0.7]], [0.5, 0.7, 0.9])
    # By falling score: 0.9 (IoU 0.7), 0.7 (IoU 0.9), 0.5 (IoU 0.6).
    assert as_words(matches, ALL) == ["hit", "wrong", "wrong"]
    assert as_words(matches, ALL, 6) == ["wrong", "hit", "wrong"]  # at 0.8 the first one is not similar enough
    assert matches.found[:, 0].tolist() == [True] * 9 + [False]


def test_similarity_at_the_threshold_counts() -> None:
    assert as_words(one_image([[0.5]], [0.9]), ALL) == ["hit"]
    assert as_words(one_image([[np.nextafter(0.5, 0)]], [0.9]), ALL) == ["wrong"]


def test_crowd_matches_any_number_and_counts_for_none() -> None:
    matches = one_image([[0.9, 0.9, 0.2]], [0.9, 0.8, 0.7], gt_crowd=[True])
    assert as_words(matches, ALL) == ["ignored", "ignored", "wrong"]


def test_counted_object_precedes_a_more_similar_crowd() -> None:
    matches = one_image([[0.9], [0.6]], [0.9], gt_crowd=[True, False])
    assert as_words(matches, ALL) == ["hit"]
    assert as_words(matches, ALL, 3) == ["ignored"]  # at 0.65 only the crowd is similar enough


def test_object_of_another_area_is_ignored_and_matched_once() -> None:
    small = 20.0**2
    matches = one_image([[0.9, 0.8]], [0.9, 0.8], gt_area=[small])
    assert as_words(matches, SMALL) == ["hit", "ignored"]  # the second is large itself and belongs to nothing
    assert as_words(matches, LARGE) == ["ignored", "wrong"]
    assert as_words(matches, MEDIUM) == ["ignored", "ignored"]


def test_limit_of_two_areas_is_in_both() -> None:
    matches = one_image([[0.9]], [0.9], gt_area=[32.0**2])
    assert [as_words(matches, area)[0] for area in (SMALL, MEDIUM, LARGE)] == ["hit", "hit", "ignored"]


def test_last_of_equally_similar_objects_is_matched() -> None:
    matches = one_image([[0.9], [0.9], [0.4]], [0.9])
    assert matches.found[0].tolist() == [False, True, False]


def test_hundred_highest_scores_of_each_class_are_matched() -> None:
    rng = np.random.default_rng(0)
    scores = rng.permutation(300) / 1000
    classes = np.arange(300) % 2
    matches = one_image([], list(scores), det_class=classes)
    kept = {int(name): matches.det_score[matches.det_class == name] for name in (0, 1)}
    for name, values in kept.items():
        strongest = np.sort(scores[classes == name])[::-1][:MAX_DETECTIONS]
        assert values == pytest.approx(strongest)


def test_images_are_sorted_by_name() -> None:
    builders = [MatchesBuilder(["a"]), MatchesBuilder(["a"])]
    for builder, names in zip(builders, (["b", "a", "c"], ["c", "b", "a"]), strict=True):
        for name in names:
            score = ord(name) / 200
            builder.add_image(
                name,
                gt_class=[],
                gt_area=[],
                gt_box=[],
                det_class=[0],
                det_score=[score],
                det_area=[1.0],
                det_box=[[0, 0, 1, 1]],
                similarity=[],
            )
    first, second = (builder.build() for builder in builders)
    assert first.images == ("a", "b", "c")
    assert_equal(first, second)


def test_repeated_image_or_inconsistent_arrays_are_rejected() -> None:
    builder = MatchesBuilder(["a"])
    empty: dict[str, Any] = {key: [] for key in ("gt_class", "gt_area", "gt_box", "det_area", "det_box", "similarity")}
    with pytest.raises(ValueError, match="det_score has 1 entries, not 0"):
        builder.add_image("x", **empty, det_class=[], det_score=[0.5])
    builder.add_image("x", **empty, det_class=[], det_score=[])
    with pytest.raises(ValueError, match="'x': added twice"):
        builder.add_image("x", **empty, det_class=[], det_score=[])


def assert_equal(one: Matches, other: Matches) -> None:
    for field in dataclasses.fields(Matches):
        mine, other_value = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == other_value.dtype
            assert np.array_equal(mine, other_value), field.name
        else:
            assert mine == other_value


@pytest.mark.parametrize("count", [0, 1, 7])
def test_saved_matches_load_unchanged(count: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(count)
    matches = to_matches([random_scene(rng, 3) for _ in range(count)], 3)
    path = tmp_path / "matches.npz"
    matches.save(path)
    assert_equal(Matches.load(path), matches)
    assert list(tmp_path.iterdir()) == [path]
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def test_any_name_is_preserved(tmp_path: Path) -> None:
    names = ["ä/ö.png", "日本.png", os.fsdecode(b"not-utf8-\xff.png"), "a\x00"]
    builder = MatchesBuilder(["klaße", "a,b"])
    empty: dict[str, Any] = {key: [] for key in ("gt_class", "gt_area", "gt_box", "det_area", "det_box", "similarity")}
    for name in names:
        builder.add_image(name, **empty, det_class=[], det_score=[])
    builder.build().save(tmp_path / "m.npz")
    loaded = Matches.load(tmp_path / "m.npz")
    assert loaded.images == tuple(sorted(names))
    assert loaded.classes == ("klaße", "a,b")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "matches.npz"
    to_matches([random_scene(rng, 3) for _ in range(5)], 3).save(path)
    return path


def test_truncated_file_is_damaged(stored: Path) -> None:
    whole = stored.read_bytes()
    for length in {0, 1, 10, *range(100, len(whole), 97), len(whole) - 1}:
        stored.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"damaged .*run it again"):
            Matches.load(stored)


def test_flipped_byte_is_damage_or_has_no_effect(stored: Path) -> None:
    whole = stored.read_bytes()
    sound = Matches.load(stored)
    rng = np.random.default_rng(1)
    for position in rng.integers(0, len(whole), 100):
        stored.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        try:
            assert_equal(Matches.load(stored), sound)
        except UserError as error:
            assert str(stored) in str(error)


def rewritten(path: Path, header: dict[str, Any] | None = None, **arrays: Any) -> None:
    old_header, old = npz.load(path, _VERSION)
    npz.save(path, old_header | (header or {}), old | arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": {"version": 700}}, f"written in format 700, this yolo-attn reads {_VERSION}"),
        ({"header": {"images": ["a"]}}, "gt_image has an index outside the 1 entries"),
        ({"header": {"classes": 3}}, "damaged"),
        ({"det_score": np.zeros(3, np.float32)}, r"det_score has shape \(3,\)"),
        ({"hit": np.zeros((4, 10, 1), np.uint8)}, "hit has shape|damaged"),
        ({"gt_box": np.array(["x"])}, "damaged"),
        ({"header": {"images": [1, 2, 3, 4, 5]}}, "list of names"),
        ({"header": {"images": ["a"] * 5}}, "is repeated"),
        ({"header": {"classes": ["a", "b", "a"]}}, "is repeated"),
    ],
)
def test_inconsistent_content_is_reported(stored: Path, change: dict[str, Any], message: str) -> None:
    rewritten(stored, **change)
    with pytest.raises(UserError, match=message):
        Matches.load(stored)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("det_score", lambda v: np.full_like(v, np.nan), "is not finite"),
        ("gt_area", lambda v: np.full_like(v, np.inf), "is not finite"),
        ("det_score", lambda v: v[::-1], "scores are not descending"),
        ("det_image", lambda v: v[::-1], "not in the order of the images"),
        ("hit", lambda v: np.full_like(v, 255), "correct"),
        ("gt_class", lambda v: np.full_like(v, 2), "correct without an object"),
        ("gt_crowd", np.ones_like, "more correct detections than objects"),
    ],
)
def test_invalid_numbers_are_reported(stored: Path, name: str, change: Any, message: str) -> None:
    """Each would silently give an average precision that is NaN, above one, or wrong."""
    rewritten(stored, **{name: change(npz.load(stored, _VERSION)[1][name])})
    with pytest.raises(UserError, match=f"damaged.*{message}"):
        Matches.load(stored)


def test_missing_or_different_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"matches.npz: missing"):
        Matches.load(tmp_path / "matches.npz")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
        file.writestr("readme", "hello")
    with pytest.raises(UserError, match="damaged"):
        Matches.load(tmp_path / "other.npz")


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", header=np.array([print], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        Matches.load(tmp_path / "evil.npz")


def test_a_full_disk_leaves_the_old_file(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="no space left"):
        Matches.load(stored).save(stored)
    assert stored.read_bytes() == before
    assert list(stored.parent.iterdir()) == [stored]


def test_fingerprint_depends_on_the_content(stored: Path) -> None:
    first = npz.fingerprint(stored)
    Matches.load(stored).save(stored)
    assert npz.fingerprint(stored) == first
    rewritten(stored, det_score=npz.load(stored, _VERSION)[1]["det_score"] / 2)
    assert npz.fingerprint(stored) != first


def test_classes_of_one_name_get_distinct_names() -> None:
    assert MatchesBuilder(["8", "9", "8", "8 (2)"]).classes == ("8", "9", "8 (2)", "8 (2) (3)")


@pytest.mark.parametrize(("most", "value"), [(100, 2 / 3), (150, 1.0)])
def test_detections_beyond_the_limit_do_not_count(most: int, value: float) -> None:
    """A perfect detector of 150 objects of one class in an image."""
    boxes = np.stack([np.array([index, 0, index + 1, 1]) for index in range(150)])
    builder = MatchesBuilder(["a", "b"], most)
    own = np.ones(150)
    builder.add_image(
        "image",
        gt_class=np.zeros(150),
        gt_area=own,
        gt_box=boxes,
        det_class=np.zeros(150),
        det_score=np.linspace(1, 0.5, 150),
        det_area=own,
        det_box=boxes,
        similarity=np.eye(150),
    )
    matches = builder.build()
    assert len(matches.det_score) == most
    assert evaluate(matches)["metrics"]["mAP50-95"] == pytest.approx(value, abs=0.01)
    assert matches.most_objects() == 150
