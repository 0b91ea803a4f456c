"""The installed Ultralytics: its version, files, folders, settings and log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ultralytics
from ultralytics import utils
from ultralytics.utils import LOGGER
from ultralytics.utils.files import increment_path

__all__ = [
    "LOGGER",
    "assets_folder",
    "datasets_folder",
    "is_stock_data_yaml",
    "numbered_folder",
    "package_folder",
    "quiet_log",
    "release",
    "settings_folder",
    "stock_data_yamls",
    "stock_model_yamls",
    "switch_off_integrations",
    "ultralytics_version",
]


@contextmanager
def quiet_log() -> Iterator[None]:
    """Silence Ultralytics' log except for errors."""
    level = LOGGER.level
    LOGGER.setLevel("ERROR")
    try:
        yield
    finally:
        LOGGER.setLevel(level)


def ultralytics_version() -> str:
    """Return the version of Ultralytics."""
    return str(ultralytics.__version__)


def release() -> tuple[int, ...]:
    """Return the version of Ultralytics as numbers: (8, 3, 134)."""
    return tuple(int(number) for number in re.findall(r"\d+", ultralytics_version())[:3])


def package_folder() -> Path:
    """Return the folder of the installed package."""
    return Path(utils.ROOT)


def assets_folder() -> Path:
    """Return the folder with Ultralytics' sample images."""
    return Path(utils.ASSETS)


def settings_folder() -> Path:
    """Return the folder with the user's Ultralytics settings."""
    return Path(utils.USER_CONFIG_DIR)


def datasets_folder() -> Path:
    """Return the folder in which Ultralytics keeps datasets, which is one of the user's settings."""
    return Path(utils.SETTINGS["datasets_dir"])


def stock_model_yamls() -> list[Path]:
    """Return the model YAMLs of Ultralytics, sorted."""
    return sorted((package_folder() / "cfg" / "models").rglob("*.yaml"))


def stock_data_yamls() -> dict[str, Path]:
    """Return the data YAMLs of Ultralytics, by lower-case name without suffix."""
    return {path.stem.casefold(): path for path in sorted(_data_yamls_folder().glob("*.yaml"))}


def is_stock_data_yaml(path: str | Path) -> bool:
    """Return whether a data YAML is one of Ultralytics' own, whose scripts are as trusted as its code."""
    return Path(path).resolve().parent == _data_yamls_folder().resolve()


def _data_yamls_folder() -> Path:
    return package_folder() / "cfg" / "datasets"


def numbered_folder(folder: Path, *, exist_ok: bool) -> Path:
    """Return a folder that does not exist yet, numbered as Ultralytics numbers its own: runs/maps, runs/maps-2, ...

    Args:
        folder: The folder without a number.
        exist_ok: Return the folder itself, even if it exists.
    """
    return Path(increment_path(folder, exist_ok=exist_ok))


def switch_off_integrations(names: Iterable[str]) -> None:
    """Switch off integrations, such as experiment trackers, in this process only.

    Args:
        names: Their names in Ultralytics' settings; a name that the installed release does not have is ignored.
    """
    off = {name: False for name in names if name in utils.SETTINGS}
    dict.update(utils.SETTINGS, off | {"api_key": ""})  # the settings' own update would write the user's file
