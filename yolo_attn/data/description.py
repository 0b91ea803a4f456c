"""Reading a data YAML: class names, keypoints and where the images are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_attn.data.names import BUILT_IN
from yolo_attn.errors import UserError
from yolo_attn.system.files import YAML_SUFFIXES, parse_yaml

__all__ = [
    "class_names",
    "find_yaml",
    "image_root",
    "keypoint_shape",
    "read_description",
    "split_sources",
    "training_entries",
]

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".ndjson")  # what Ultralytics unpacks or converts itself
TRAINING_ENTRIES = ("channels", "flip_idx", "kpt_oks_sigmas", "kpt_shape")  # beside classes, images and labels
LOOKS_HERE = (8, 3, 134)  # from this release of Ultralytics on `path:` may be relative to the working folder


def find_yaml(data: str) -> Path | None:
    """Return the data YAML, or None when there is nothing here to look into: a URL, an archive, digits not made yet."""
    from yolo_attn.host.installation import datasets_folder, stock_data_yamls

    if "://" in data:
        return None
    path = Path(data).expanduser()
    if path.is_dir():
        return _only_yaml(path)
    if path.is_file():
        if path.suffix.lower() not in (*YAML_SUFFIXES, *ARCHIVES):
            raise UserError(f"{path} is not a data YAML; the file name has to end in .yaml")
        return path if path.suffix in YAML_SUFFIXES else None
    name = path.stem if path.suffix in YAML_SUFFIXES else data
    if name.casefold() == BUILT_IN:
        made = datasets_folder() / BUILT_IN / f"{BUILT_IN}.yaml"
        return made if made.exists() else None
    known = stock_data_yamls().get(name.casefold())
    if known is None:
        raise UserError(f"there is no data YAML {data} (from the folder {Path.cwd()})")
    return known


def _only_yaml(folder: Path) -> Path:
    """Return the one data YAML of a dataset folder."""
    found = sorted(folder.glob("*.yaml"))
    if len(found) != 1:
        raise UserError(f"the folder {folder} holds {len(found)} YAML files; give the path of the data YAML")
    return found[0]


def read_description(path: Path) -> dict[str, Any]:
    """Read a data YAML, which has to be a mapping."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read the data YAML {path}: {error.strerror}") from error
    # Ultralytics too leaves out control characters, which YAML does not allow
    entries = parse_yaml("".join(c for c in text if c.isprintable() or c.isspace()), path)
    if entries is None:
        raise UserError(f"{path} is empty; a data YAML has the keys path, train, val and names")
    if not isinstance(entries, dict):
        raise UserError(f"{path} is not a mapping; a data YAML has the keys path, train, val and names")
    if "validation" in entries:
        entries.setdefault("val", entries["validation"])  # Ultralytics takes either
    return entries


def class_names(entries: Mapping[str, Any], path: Path) -> dict[int, str]:
    """Return the class names by index, from `names` or else `nc`."""
    count = _class_count(entries, path)
    names = entries.get("names")
    if names is None and count is None:
        raise UserError(f"{path} has no names; list the class names, e.g. names: [cat, dog]")
    if names is None:
        names = [f"class_{index}" for index in range(count or 0)]
    if not isinstance(names, (list, dict)) or not names:
        raise UserError(f"{path}: names is {names!r}; it has to be a list or a mapping from index to name")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if count is not None and count != len(names):
        raise UserError(f"{path}: nc is {count} but there are {len(names)} names; correct one of them, or leave out nc")
    if not all(str(key).isdecimal() for key in names) or {int(key) for key in names} != set(range(len(names))):
        raise UserError(f"{path}: the keys of names have to be the whole numbers 0 to {len(names) - 1}")
    return {int(key): str(name) for key, name in names.items()}


def _class_count(entries: Mapping[str, Any], path: Path) -> int | None:
    """Return `nc`, None when it is not stated."""
    count = entries.get("nc")
    if count is None:
        return None
    digits = str(count).removesuffix(".0")
    if not digits.isdecimal() or int(digits) < 1:
        raise UserError(f"{path}: nc is {count!r}; it has to be the number of classes")
    return int(digits)


def image_root(entries: Mapping[str, Any], path: Path) -> Path:
    """Return the folder that the splits are relative to, found as the installed Ultralytics finds it."""
    from yolo_attn.host.installation import datasets_folder, release

    root = Path(str(entries.get("path") or path.absolute().parent))
    if root.is_absolute() or (release() >= LOOKS_HERE and root.exists()):
        return root.absolute()
    return (datasets_folder() / root).resolve()


def split_sources(entries: Mapping[str, Any], split: str, root: Path, path: Path) -> list[Path]:
    """Return the folders and list files that a split names."""
    value = entries.get(split)
    if value is None:
        raise UserError(f"{path}: has no {split} split; add a line such as {split}: images/{split}")
    parts = [value] if isinstance(value, str) else value
    if not parts or not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts):
        raise UserError(
            f"{path}: {split} is {value!r}; it has to be a folder of images, a list file, or a list of them"
        )
    sources = [(root / part).resolve() for part in parts]
    if isinstance(value, str) and value.startswith("../") and not sources[0].exists():
        sources = [(root / value[3:]).resolve()]  # as exported by labelling services; Ultralytics tries it too
    return sources


def keypoint_shape(entries: Mapping[str, Any], path: Path, task: str) -> tuple[int, int]:
    """Return kpt_shape, or (0, 0) where it is not stated and the task does not need it."""
    match entries.get("kpt_shape"):
        case [int(points), 2 | 3 as numbers]:
            return points, numbers
        case shape if task == "pose":
            raise UserError(f"{path}: kpt_shape is {shape!r}; task pose needs kpt_shape: [number of keypoints, 2 or 3]")
    return 0, 0


def training_entries(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stated entries, beside classes and splits, that change what is trained or how it is evaluated."""
    return {key: entries[key] for key in TRAINING_ENTRIES if entries.get(key) is not None}
