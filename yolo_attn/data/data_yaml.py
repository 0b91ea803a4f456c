"""Data YAMLs: the class names, keypoints and image locations of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_attn.data.labels import find_images
from yolo_attn.data.names import BUILT_IN
from yolo_attn.errors import UserError
from yolo_attn.system.files import YAML_SUFFIXES, expand_home, parse_yaml, without_yaml

__all__ = ["DataYaml"]

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".txz", ".tbz2", ".ndjson")  # Ultralytics unpacks these
TRAINING_ENTRIES = ("channels", "flip_idx", "kpt_oks_sigmas", "kpt_shape")  # in addition to classes, images and labels
DEFAULT_MASKS = "masks"
WORKING_FOLDER_RELEASE = (8, 3, 134)  # since this Ultralytics release, `path:` may be relative to the working folder


@dataclass(frozen=True)
class DataYaml:
    """A data YAML that exists on this machine.

    Args:
        path: The file.
        entries: Its content. `val` is set when the file uses the alternative key `validation`.
    """

    path: Path
    entries: Mapping[str, Any]

    @classmethod
    def find(cls, data: str) -> DataYaml | None:
        """Find and read the data YAML of a dataset.

        Args:
            data: The return value of `resolve_data`.

        Returns:
            None for a URL, an archive and the built-in dataset before it is made.

        Raises:
            UserError: There is no such file, or it is not a mapping.
        """
        path = _find_file(data)
        return None if path is None else cls(path, _read(path))

    @property
    def names(self) -> dict[int, str]:
        """Class names by index, from `names` or `nc`."""
        count = self._class_count()
        names = self.entries.get("names")
        if names is None and count is None:
            raise UserError(f"{self.path} has no names; list the class names, e.g. names: [cat, dog]")
        if names is None:
            names = [f"class_{index}" for index in range(count or 0)]
        if not isinstance(names, (list, dict)) or not names:
            raise UserError(f"{self.path}: names is {names!r}; it must be a list or a mapping from index to name")
        if isinstance(names, list):
            names = dict(enumerate(names))
        if count is not None and count != len(names):
            raise UserError(f"{self.path}: nc is {count} but there are {len(names)} names; correct one or remove nc")
        if not all(str(key).isdecimal() for key in names) or {int(key) for key in names} != set(range(len(names))):
            raise UserError(f"{self.path}: the keys of names must be the integers 0 to {len(names) - 1}")
        return {int(key): str(name) for key, name in names.items()}

    def _class_count(self) -> int | None:
        """Return `nc`, or None when it is not given."""
        count = self.entries.get("nc")
        if count is None:
            return None
        digits = str(count).removesuffix(".0")
        if not digits.isdecimal() or int(digits) < 1:
            raise UserError(f"{self.path}: nc is {count!r}; it must be the number of classes")
        return int(digits)

    @property
    def root(self) -> Path:
        """The folder that splits are relative to, resolved as the installed Ultralytics does."""
        from yolo_attn.host.installation import datasets_folder, release

        root = Path(str(self.entries.get("path") or self.path.absolute().parent))
        if root.is_absolute() or (release() >= WORKING_FOLDER_RELEASE and root.exists()):
            return root.absolute()
        return (datasets_folder() / root).resolve()

    def sources(self, split: str) -> list[Path]:
        """Return the folders and list files of a split, which may be missing.

        Args:
            split: A key of the file, such as "val".

        Raises:
            UserError: The split is missing from the file or invalid.
        """
        value = self.entries.get(split)
        if value is None:
            raise UserError(f"{self.path} has no {split} split; add a line such as {split}: images/{split}")
        parts = [value] if isinstance(value, str) else value
        if not parts or not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts):
            raise UserError(
                f"{self.path}: {split} is {value!r}; it must be a folder of images, a list file, or a list of them"
            )
        root = self.root
        sources = [(root / part).resolve() for part in parts]
        if isinstance(value, str) and value.startswith("../") and not sources[0].exists():
            sources = [(root / value[3:]).resolve()]  # labeling services export this prefix; Ultralytics drops it too
        return sources

    def images(self, split: str) -> list[str]:
        """Return the image files of a split, sorted. Sources that do not exist have none."""
        return sorted(image for source in self.sources(split) if source.exists() for image in find_images(source))

    def keypoint_shape(self, task: str) -> tuple[int, int]:
        """Return `kpt_shape`, or (0, 0) when it is not given and the task does not need it."""
        match self.entries.get("kpt_shape"):
            case [int(points), 2 | 3 as numbers]:
                return points, numbers
            case shape if task == "pose":
                raise UserError(
                    f"{self.path}: kpt_shape is {shape!r}; task pose needs kpt_shape: [number of keypoints, 2 or 3]"
                )
        return 0, 0

    @property
    def masks_folder(self) -> str | None:
        """The name of the folder of masks; None if the labels of semantic segmentation are polygons."""
        folder = self.entries.get("masks_dir")
        return str(folder) if folder else DEFAULT_MASKS if (self.root / DEFAULT_MASKS).is_dir() else None

    @property
    def training_entries(self) -> dict[str, Any]:
        """The entries, other than classes and splits, that change training or evaluation."""
        return {key: self.entries[key] for key in TRAINING_ENTRIES if self.entries.get(key) is not None}


def _find_file(data: str) -> Path | None:
    from yolo_attn.host.installation import datasets_folder, stock_data_yamls

    if "://" in data:
        return None
    path = expand_home(data)
    if path.is_dir():
        return _only_yaml(path)
    if path.is_file():
        if path.suffix.lower() not in (*YAML_SUFFIXES, *ARCHIVES):
            raise UserError(f"{path} is not a data YAML; its name must end in .yaml")
        return path if path.suffix.lower() in YAML_SUFFIXES else None
    name = without_yaml(data)
    if name.casefold() == BUILT_IN:
        made = datasets_folder() / BUILT_IN / f"{BUILT_IN}.yaml"
        return made if made.exists() else None
    known = stock_data_yamls().get(name.casefold())
    if known is None:
        raise UserError(f"there is no data YAML {data} (working folder: {Path.cwd()})")
    return known


def _only_yaml(folder: Path) -> Path:
    """Return the data YAML of a dataset folder: the only one, or that with the folder's name, as Ultralytics does."""
    patterns = ("*.yaml", "**/*.yaml", "*.yml", "**/*.yml")
    found = next((files for pattern in patterns if (files := sorted(folder.glob(pattern)))), [])
    named = [file for file in found if file.stem == folder.stem] if len(found) > 1 else found
    if len(named) != 1:
        raise UserError(f"the folder {folder} contains {len(found)} YAML files; give the path of the data YAML")
    return named[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read the data YAML {path}: {error.strerror}") from error
    # Ultralytics also removes control characters, which YAML does not allow
    entries = parse_yaml("".join(c for c in text if c.isprintable() or c.isspace()), path)
    if entries is None:
        raise UserError(f"{path} is empty; a data YAML has the keys path, train, val and names")
    if not isinstance(entries, dict):
        raise UserError(f"{path} is not a mapping; a data YAML has the keys path, train, val and names")
    if "validation" in entries:
        entries.setdefault("val", entries["validation"])  # Ultralytics accepts both
    return entries
