"""The built-in dataset `digits`: detection scenes with real handwriting, generated locally and identically everywhere.

The handwriting is the 1,797 samples of the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and
Kaynak, 1998, UCI, CC BY 4.0; digits-licence.txt). They come from 14 filled forms; the dataset's authors count 13
writers and do not state who filled which form. The labels repeat with each form, which marks the borders between them.
Each split uses its own forms, consecutive in the file, and its own regions of the background photos.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from yolo_attn.data.scenes import Glyphs, Pixels, Scene, compose
from yolo_attn.errors import UserError
from yolo_attn.system.files import expand_home

__all__ = ["COUNTS", "SIZE", "make_digits"]

log = logging.getLogger(__name__)

GENERATOR = 1  # increase it with every change, here or in scenes.py, that affects a pixel or a label
SIZE = 128  # height and width of a scene in pixels
# Validation during training takes time; a study evaluates the test split once, and its noise falls with more images.
COUNTS: Mapping[str, int] = {"train": 320, "val": 160, "test": 500}
FORMS: Mapping[str, range] = {"train": range(8), "val": range(8, 11), "test": range(11, 14)}
# Digest of the scenes with the default settings.
REFERENCE = "9f776e9b4a7a8b6a0f8852412ef662d95d226d8044c8241c89582815262f239e"

MANIFEST = "manifest.json"
HERE = Path(__file__).parent
STALE_SECONDS = 3600.0


class Region(NamedTuple):
    """A part of a photo that Ultralytics ships: rows top to bottom - 1, columns left to right - 1."""

    photo: str
    top: int
    bottom: int
    left: int
    right: int


REGIONS: Mapping[str, tuple[Region, ...]] = {
    "train": (
        Region("bus.jpg", 250, 900, 370, 810),
        Region("bus.jpg", 390, 900, 64, 330),  # excludes the numbers printed on the bus
        Region("zidane.jpg", 0, 720, 0, 560),
    ),
    "val": (Region("bus.jpg", 0, 235, 0, 810), Region("zidane.jpg", 0, 720, 560, 900)),
    "test": (Region("bus.jpg", 900, 1080, 0, 810), Region("zidane.jpg", 0, 720, 920, 1280)),
}


def make_digits(root: Path, *, counts: Mapping[str, int] = COUNTS, seed: int = 0) -> Path:
    """Make the dataset in `root/digits` if it does not exist, and return the path of its data YAML.

    A folder made by an older release, or one with missing files, is replaced. The new folder is built in a temporary
    folder next to it and moved in one step. An interrupted call therefore leaves no partial dataset, and several
    processes may make it at the same time.

    Args:
        root: The folder of datasets.
        counts: Number of scenes in each of the splits train, val and test.
        seed: Seed of the scenes.

    Raises:
        UserError: The folder contains files that this function did not write, or cannot be written.
    """
    folder = expand_home(root).absolute() / "digits"
    settings = {"generator": GENERATOR, "size": SIZE, "seed": seed, "counts": {split: counts[split] for split in FORMS}}
    try:
        if not _is_current(folder, settings):
            _remake(folder, settings)
        return _write_yaml(folder, folder)
    except OSError as error:
        fix = "choose another folder with: yolo settings datasets_dir=FOLDER"
        raise UserError(f"cannot make the dataset digits in {folder}: {error}; {fix}") from error


def _is_current(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Return whether the folder contains the complete, unchanged dataset of these settings.

    Raises:
        UserError: It contains other files, which would be lost if it were replaced.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return False
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, str] = dict(manifest["files"])
        made_with = manifest["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{folder} has no readable {MANIFEST}, so yolo-attn did not make it"
        raise UserError(f"{problem}; move it away and the dataset digits will be made there") from error
    from yolo_attn.host.dataset_files import IMAGE_SUFFIXES

    for path in sorted((folder / "images").rglob("*.*")):
        name = path.relative_to(folder).as_posix()
        # other files, such as cached images (.npy) and previews of file managers, are not read as images
        if name not in files and path.suffix[1:].lower() in IMAGE_SUFFIXES:
            raise UserError(f"{path} was added to the dataset digits; move it away")
    complete = True
    for name, digest in files.items():
        path = folder / name
        if not path.exists():
            complete = False
        elif _sha256(path.read_bytes()) != digest:
            raise UserError(f"{path} was changed; delete the folder {folder} and the dataset will be made again")
    return complete and bool(made_with == settings)


def _remake(folder: Path, settings: Mapping[str, Any]) -> None:
    """Build the dataset in a temporary folder next to its destination, then exchange the two."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    workspace = Path(tempfile.mkdtemp(prefix=".digits-", dir=folder.parent))
    try:
        log.info("making the dataset digits in %s, once", folder)
        _build(workspace / "new", folder, settings)
        if not _is_current(folder, settings):
            _swap(workspace, folder, settings)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove the workspaces of killed calls: those older than an hour, since a build takes seconds."""
    for workspace in root.glob(".digits-*"):
        with contextlib.suppress(FileNotFoundError):  # another process may remove it first
            if time.time() - workspace.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(workspace, ignore_errors=True)


def _swap(workspace: Path, folder: Path, settings: Mapping[str, Any]) -> None:
    """Move an existing dataset into the workspace, and the new dataset to its destination."""
    with contextlib.suppress(FileNotFoundError):  # there is none
        folder.rename(workspace / "old")
    try:
        (workspace / "new").rename(folder)
    except OSError:
        if not _is_current(folder, settings):  # otherwise another process finished first, with the same files
            raise


def _build(new: Path, final: Path, settings: Mapping[str, Any]) -> None:
    """Write images, labels, data YAML, license and finally the manifest.

    Args:
        new: The folder to write.
        final: The folder it will be moved to.
        settings: The settings that determine the content.
    """
    import cv2

    files: dict[str, str] = {}
    content = hashlib.sha256()

    def save(name: str, data: bytes) -> None:
        path = new / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files[name] = _sha256(data)

    for split, index, scene in _scenes(settings["counts"], settings["size"], settings["seed"]):
        label = _label(scene, settings["size"]).encode()
        content.update(scene.image.tobytes() + label)
        _, png = cv2.imencode(".png", scene.image)
        save(f"images/{split}/{index:04d}.png", png.tobytes())
        save(f"labels/{split}/{index:04d}.txt", label)
    if settings["counts"] == COUNTS and settings["seed"] == 0 and content.hexdigest() != REFERENCE:
        log.warning(
            "digits: the photos in this Ultralytics release differ, so the scenes are not those of other machines"
        )
    save("licence.txt", (HERE / "digits-licence.txt").read_bytes())
    _write_yaml(new, final)
    manifest = {"made_by": "yolo-attn", "settings": settings, "content": content.hexdigest(), "files": files}
    (new / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _scenes(counts: Mapping[str, int], size: int, seed: int) -> Iterator[tuple[str, int, Scene]]:
    """Yield split, index and scene. A scene depends on its split and index, not on the number of scenes."""
    for number, split in enumerate(FORMS):
        glyphs = _glyphs(split)
        grounds = _grounds(split)
        for index in range(counts[split]):
            yield split, index, compose(grounds, glyphs, size, (seed, number, index))


def _glyphs(split: str) -> Glyphs:
    """Return the samples of the split's forms."""
    with np.load(HERE / "digits.npz", allow_pickle=False) as data:
        chosen = np.isin(data["form"], list(FORMS[split]))
        images, labels = data["images"][chosen], data["labels"][chosen]
    return Glyphs(images, tuple(tuple(np.flatnonzero(labels == label).tolist()) for label in range(10)))


def _grounds(split: str) -> list[Pixels]:
    """Return the split's photo regions, each (height, width, 3) in BGR order."""
    import cv2

    from yolo_attn.host.installation import assets_folder

    grounds = []
    for region in REGIONS[split]:
        path = assets_folder() / region.photo
        if not path.is_file():
            raise UserError(f"{path} is missing from the installed Ultralytics; reinstall it: pip install ultralytics")
        photo: Pixels = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR))
        grounds.append(photo[region.top : region.bottom, region.left : region.right])
    return grounds


def _label(scene: Scene, size: int) -> str:
    """Return the scene's label file: a row "label x y width height" per digit, as fractions of size."""
    rows = []
    for label, x0, y0, x1, y1 in scene.boxes:
        numbers = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
        rows.append(" ".join([str(label), *(f"{number / size:.6f}" for number in numbers)]))
    return "".join(row + "\n" for row in rows)


def _write_yaml(folder: Path, final: Path) -> Path:
    """Write the data YAML of a folder that will be at `final`, unless it is up to date.

    It contains an absolute path, so it is rewritten after the folder was moved.
    """
    path = folder / "digits.yaml"
    entries = {
        "path": str(final),
        **{split: f"images/{split}" for split in FORMS},
        "names": {label: str(label) for label in range(10)},
    }
    text = "# Handwritten digits over photo clutter, made by yolo-attn; see licence.txt\n"
    text += yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        temporary = folder / f".digits.yaml.{os.getpid()}"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    return path


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
