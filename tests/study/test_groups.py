"""`groups=` of a study: checked before training, passed to the runs, and changed later without training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.study.conftest import Fake
from yolo_attn.data import SplitSummary
from yolo_attn.errors import UserError
from yolo_attn.study.job import Job
from yolo_attn.study.running.dataset import read_dataset
from yolo_attn.study.store import read_study


@pytest.fixture
def files(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the evaluated images, which a test may change."""
    names = [f"/data/{image}.png" for image in range(40)]
    split = SplitSummary(40, 40, 40, files=names)
    splits = {"val": split, "test": split}
    summary = SimpleNamespace(present=True, digest="of it", names={0: "one"}, splits=splits, path="/data")
    monkeypatch.setattr("yolo_attn.data.check_data", lambda *_, **__: summary)
    monkeypatch.setattr("yolo_attn.data.describe_data", lambda _: "a dataset")
    return names


def jobs(fake: Fake) -> list[Job]:
    return [Job.read(path.parent) for path in sorted(fake.folder.glob("runs/*/run.json"))]


def test_too_few_groups_are_an_error_before_anything_is_written(fake: Fake, files: list[str]) -> None:
    with pytest.raises(UserError, match=r"groups=\(\\d\): the 40 images are 10 groups, and a verdict needs at least"):
        fake.compare(groups=r"(\d)")
    with pytest.raises(UserError, match=r"groups=video: matches none of 40 file names, such as 0\.png"):
        fake.compare(groups="video")
    with pytest.raises(UserError, match="groups=folder: the 40 images are 1 group"):
        fake.compare(groups="folder")
    assert not fake.folder.exists()


def test_runs_cache_the_bootstrap_of_the_groups(fake: Fake, files: list[str]) -> None:
    fake.compare(variants="A", seeds=1, groups=r"(\d+)")
    assert {job.groups for job in jobs(fake)} == {r"(\d+)"}
    assert r"groups=(\d+): 40 images in 40 groups of 1" in fake.output()


def test_groups_are_given_later_and_then_kept(fake: Fake, files: list[str]) -> None:
    before = fake.compare(variants="A", seeds=1).to_dict()
    keys = [job.key for job in jobs(fake)]
    after = fake.compare(variants="A", seeds=1, groups=r"(\d+)", exist_ok=True).to_dict()
    assert len(fake.starts()) == 2
    assert [job.key for job in jobs(fake)] == keys
    assert (before["groups"], after["groups"]) == (None, r"(\d+)")
    assert fake.compare(variants="A", seeds=1, exist_ok=True).to_dict()["groups"] == r"(\d+)"
    assert read_study(fake.folder).comparison.design.groups == r"(\d+)"
    assert len(fake.starts()) == 2


def test_few_images_and_names_of_frames_are_printed_before_training(fake: Fake, files: list[str]) -> None:
    files[:] = [f"/data/clip{clip}_{frame}.png" for clip in range(3) for frame in range(3)]
    fake.compare(variants="A", seeds=1)
    before, started, _ = fake.output().partition("[1/2]")
    assert started
    assert "There are no verdicts, because 9 test images" in before
    assert r"groups='(.*?)\d+\.'" in before


def test_names_of_images_are_relative_to_their_common_folder(fake: Fake, files: list[str]) -> None:
    files[:] = ["/data/val/a/1.png", "/data/val/b/1.png"]
    assert read_dataset("digits", "detect").image_names == ["a/1.png", "b/1.png"]
    files[:] = ["/data/val/a/1.png", "/data/val/a/2.png"]
    assert read_dataset("digits", "detect").image_names == ["1.png", "2.png"]


def test_folders_of_a_classification_dataset_are_no_groups(
    fake: Fake, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_attn.host.model_kind.task_of", lambda _: "classify")
    with pytest.raises(UserError, match="groups=folder: the folders are the classes of the images"):
        fake.compare(groups="folder")


def test_more_objects_than_detections_are_printed_before_training(
    fake: Fake, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = SplitSummary(40, 40, 6000, files=files, most=150)
    splits = {"val": split, "test": split}
    summary = SimpleNamespace(present=True, digest="of it", names={0: "one"}, splits=splits, path="/data")
    monkeypatch.setattr("yolo_attn.data.check_data", lambda *_, **__: summary)
    fake.compare(variants="A", seeds=1)
    assert "An image has 150 objects of one class, but only 100 detections" in fake.output()
