"""The built-in dataset: deterministic, split by writer, written atomically."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from yolo_attn.data import check_data, digits
from yolo_attn.data.digits import COUNTS, FORMS, REGIONS, SIZE, make_digits
from yolo_attn.errors import UserError

FEW = {"train": 3, "val": 2, "test": 2}
FEW_CONTENT = "b588fd9e09130fa8640c7142b9fe3979606a54308ce971c2f7078501f09a6c19"


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "digits.yaml"
    }


def _content(folder: Path) -> str:
    return str(json.loads((folder / "manifest.json").read_text())["content"])


def test_generation_is_deterministic(tmp_path: Path) -> None:
    first, second = (make_digits(tmp_path / name, counts=FEW).parent for name in ("a", "b"))
    assert _hashes(first) == _hashes(second)
    assert len(_hashes(first)) == 2 * sum(FEW.values()) + 2  # and the license and the manifest
    assert _content(first) == FEW_CONTENT


def test_scenes_depend_on_the_seed_but_not_on_their_number(tmp_path: Path) -> None:
    few = make_digits(tmp_path / "few", counts=FEW).parent
    more = make_digits(tmp_path / "more", counts={"train": 4, "val": 2, "test": 2}).parent
    other = make_digits(tmp_path / "other", counts=FEW, seed=1).parent
    name = "images/val/0001.png"
    assert (few / name).read_bytes() == (more / name).read_bytes()
    assert (few / name).read_bytes() != (other / name).read_bytes()


def test_the_samples_are_those_of_the_uci_dataset() -> None:
    with np.load(digits.HERE / "digits.npz", allow_pickle=False) as data:
        images, labels, form = data["images"], data["labels"], data["form"]
    assert images.shape == (1797, 8, 8)
    assert images.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as UCI lists them
    assert form.tolist() == sorted(form.tolist())
    starts = [labels[form == number][:5].tolist() for number in range(14)]
    assert starts == [[1, 2, 3, 4, 5] if number == 7 else [0, 1, 2, 3, 4] for number in range(14)]


def test_splits_share_no_form_and_no_photo_region() -> None:
    forms = [number for split in FORMS for number in FORMS[split]]
    assert sorted(forms) == list(range(14))
    taken: dict[str, np.ndarray] = {}
    for regions in REGIONS.values():
        for region in regions:
            photo = taken.setdefault(region.photo, np.zeros((1080, 1280), bool))
            area = photo[region.top : region.bottom, region.left : region.right]
            assert not area.any()
            area[:] = True
            assert min(area.shape) >= SIZE


def test_ultralytics_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.cfg import get_cfg
    from ultralytics.data import build, utils

    monkeypatch.setattr(utils, "check_font", lambda font: None)  # it would download a font
    path = make_digits(tmp_path, counts=FEW)
    data = utils.check_det_dataset(str(path), autodownload=False)
    assert data["nc"] == 10
    summary = check_data(str(path), splits=("train", "val", "test"))
    for split in FORMS:
        found = build.build_yolo_dataset(get_cfg(overrides={"imgsz": SIZE}), data[split], 2, data, mode="val")
        assert len(found) == FEW[split] == summary.splits[split].images
        assert sum(len(label["cls"]) for label in found.labels) == summary.splits[split].instances
    assert make_digits(tmp_path, counts=FEW) == path  # Ultralytics' .cache files are ignored


def test_images_have_the_documented_size_and_boxes_contain_ink(tmp_path: Path) -> None:
    folder = make_digits(tmp_path, counts=FEW).parent
    for path in (folder / "images").rglob("*.png"):
        image = cv2.imread(str(path))
        assert image.shape == (SIZE, SIZE, 3)
        rows = (folder / "labels" / path.parent.name / f"{path.stem}.txt").read_text().splitlines()
        assert rows
        for row in rows:
            label, x, y, width, height = (float(number) for number in row.split())
            assert label in range(10)
            left, right, top, bottom = ((c + s * e / 2) * SIZE for c, e in ((x, width), (y, height)) for s in (-1, 1))
            for edge in (left, right, top, bottom):
                assert abs(edge - round(edge)) < 1e-3  # whole pixels
                assert 0 <= round(edge) <= SIZE
            assert image[round(top) : round(bottom), round(left) : round(right)].std() > 2


def test_the_data_yaml_is_updated_after_the_folder_was_moved(tmp_path: Path) -> None:
    folder = make_digits(tmp_path / "here", counts=FEW).parent
    (tmp_path / "there").mkdir()
    folder.rename(tmp_path / "there" / "digits")
    path = make_digits(tmp_path / "there", counts=FEW)
    assert yaml.safe_load(path.read_text())["path"] == str(tmp_path / "there" / "digits")
    assert not list(path.parent.glob(".*"))


def test_an_unchanged_folder_is_not_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_digits(tmp_path, counts=FEW)
    monkeypatch.setattr(digits, "_build", lambda *args: pytest.fail("built again"))
    assert make_digits(tmp_path, counts=FEW) == path


def test_an_interrupted_build_leaves_no_files_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(digits, "_write_yaml", interrupted)  # the images are written, the manifest is not
        with pytest.raises(KeyboardInterrupt):
            make_digits(tmp_path, counts=FEW)
    assert list(tmp_path.iterdir()) == []
    assert _content(make_digits(tmp_path, counts=FEW).parent) == FEW_CONTENT


def test_old_workspaces_of_killed_processes_are_removed(tmp_path: Path) -> None:
    old, young = tmp_path / ".digits-old", tmp_path / ".digits-young"
    for folder in (old, young):
        (folder / "new").mkdir(parents=True)
    hours_ago = time.time() - 2 * digits.STALE_SECONDS
    os.utime(old, (hours_ago, hours_ago))
    make_digits(tmp_path, counts=FEW)
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize("lost", ["images/train/0001.png", "labels/val/0000.txt"])
def test_incomplete_and_older_datasets_are_rebuilt(tmp_path: Path, lost: str) -> None:
    folder = make_digits(tmp_path, counts=FEW).parent
    (folder / lost).unlink()
    assert (make_digits(tmp_path, counts=FEW).parent / lost).exists()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["settings"]["generator"] = 0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    make_digits(tmp_path, counts=FEW)
    assert json.loads((folder / "manifest.json").read_text())["settings"]["generator"] == digits.GENERATOR
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_added_and_changed_files_are_reported_and_kept(tmp_path: Path) -> None:
    folder = make_digits(tmp_path, counts=FEW).parent
    for name in ("Thumbs.db", "desktop.ini", "0001.npy", ".DS_Store"):  # of file managers, and cached images
        (folder / "images" / "train" / name).write_bytes(b"")
    assert make_digits(tmp_path, counts=FEW).parent == folder
    extra = folder / "images" / "train" / "mine.jpg"
    extra.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"mine\.jpg was added to the dataset digits; move it away"):
        make_digits(tmp_path, counts=FEW)
    assert extra.exists()
    extra.rename(folder / "images" / "train" / "0000.npy")  # cache=disk writes such files
    make_digits(tmp_path, counts=FEW)
    label = folder / "labels" / "train" / "0000.txt"
    label.write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(UserError, match=r"0000\.txt was changed; delete the folder"):
        make_digits(tmp_path, counts=FEW)


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"files": 3}'])
def test_an_unrelated_folder_is_not_modified(tmp_path: Path, manifest: str | None) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match="yolo-attn did not make it; move it away"):
        make_digits(tmp_path, counts=FEW)
    assert (folder / "thesis.txt").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert make_digits(tmp_path, counts=FEW).exists()


def test_a_datasets_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot make the dataset digits in .*yolo settings datasets_dir=FOLDER"
    ) as error:
        make_digits(tmp_path / "file", counts=FEW)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_concurrent_processes_make_the_same_dataset(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from yolo_attn.data.digits import make_digits; " + (
        f"print(make_digits(Path(sys.argv[1]), counts={FEW}))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=120)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert printed == [str(tmp_path / "digits" / "digits.yaml")] * 2
    assert _content(tmp_path / "digits") == FEW_CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_second_process_uses_the_dataset_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = digits._build

    def build_after_another(new: Path, final: Path, settings: dict[str, object]) -> None:
        build(new, final, settings)
        with monkeypatch.context() as patch:
            patch.setattr(digits, "_build", build)
            make_digits(tmp_path, counts=FEW)

    monkeypatch.setattr(digits, "_build", build_after_another)
    assert _content(make_digits(tmp_path, counts=FEW).parent) == FEW_CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_different_photos_in_ultralytics_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(digits, "COUNTS", FEW)
    monkeypatch.setattr(digits, "REFERENCE", "that of other photos")
    make_digits(tmp_path, counts=FEW)
    assert "photos in this Ultralytics release differ" in caplog.text


@pytest.mark.slow
def test_the_complete_dataset_has_the_reference_digest(tmp_path: Path) -> None:
    folder = make_digits(tmp_path).parent
    assert _content(folder) == digits.REFERENCE
    summary = check_data(str(folder / "digits.yaml"), splits=tuple(FORMS))
    assert {split: found.images for split, found in summary.splits.items()} == dict(COUNTS)
