"""Model YAMLs by bare name, and their scale.

`yolo11n-cbam.yaml` resolves to the ready config `yolo11-cbam.yaml` at scale n from any folder, unless the working
folder or Ultralytics has such a file. The scale is a top-level `scale:` in the YAML or the letter in its name.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.host.binding import Binding
from yolo_attn.host.model_suggestions import suggest_model
from yolo_attn.system.files import YAML_SUFFIXES, is_file, read_yaml
from yolo_attn.system.paths import config_folder

__all__ = [
    "MODEL_FILES",
    "SCALES",
    "find_model_yaml",
    "literal_first",
    "model_scale",
    "scale_letter",
    "without_letter",
]

_SCALE_LETTER = re.compile(r"(\d+)([nslmx])([^/\\]+)?$")
_RUN_ON = re.compile(r"yolo(?:e-)?v?\d+([nslmx][a-z])")  # a letter that begins a word


def without_letter(name: str) -> str:
    """Return a model's file name or path without its scale letter, as Ultralytics derives it from the name."""
    return _SCALE_LETTER.sub(r"\1\3", name)


def _wrap_check_yaml(original: Callable[..., Any]) -> Callable[..., Any]:
    def check_yaml(file: str | Path, suffix: tuple[str, ...] = YAML_SUFFIXES, hard: bool = True) -> Any:
        """Find a YAML: the user's, Ultralytics' or a ready config, in this order."""
        found = original(file, suffix, hard=False)
        if found:
            return found
        if Path(file).name == str(file) and not _literal_exists.get():
            config = config_folder() / Path(file).name
            if config.is_file():
                return str(config)
        if not hard:
            return []
        raise FileNotFoundError(_missing(str(file)))

    return check_yaml


_FIX = "give a model YAML or checkpoint, or layers at sites of one, such as yolo11n.yaml+CBAM@neck"


def _missing(name: str, placed: str = "") -> str:
    """Return the error message for a missing model YAML, with a suggestion.

    Args:
        name: Its name or path.
        placed: The layers placed in it, such as "+CBAM@neck".
    """
    meant = suggest_model(name)
    return f"'{name}' does not exist; {f'did you mean {meant}{placed}?' if meant else _FIX}"


def _wrap_guess_scale(original: Callable[..., str]) -> Callable[..., str]:
    def guess_model_scale(model_path: str | Path) -> str:
        """Return the scale that the YAML states, or else the one in its file name."""
        path = Path(model_path)
        return _stated_scale(path, _read_named(path)) or _scale_in_name(original, model_path)

    return guess_model_scale


def model_scale(name: str | Path, file: Path, document: dict[str, Any]) -> str:
    """Return the scale of a model YAML that has been read: the one it states, or else the one in its name.

    Args:
        name: The model's name.
        file: The file that it means, from `find_model_yaml`.
        document: The file's content.
    """
    path = Path(name)
    stated = _stated_scale(path, document) if file.name == path.name else None
    return stated or _scale_in_name(SCALES.original or tasks.guess_model_scale, name)


def _scale_in_name(original: Callable[..., str], name: str | Path) -> str:
    """Return the scale that Ultralytics reads in a name, with a warning if the letter begins a word of a file's."""
    letter = original(name)
    run_on = _RUN_ON.search(Path(name).stem)
    if letter and run_on and is_file(name):
        tasks.LOGGER.warning(
            f"{name}: the letter in '{run_on[0]}' is read as scale '{letter}'. "
            f"Write `scale: {letter}`, or another scale, into the file if this is not intended."
        )
    return letter


def scale_letter(name: str | Path) -> str:
    """Return the scale letter in a model's name; "" if it has none, or if the letter begins a word."""
    return "" if _RUN_ON.search(Path(name).stem) else (SCALES.original or tasks.guess_model_scale)(name)


def _read_named(path: Path) -> Any:
    """Return the content of a YAML that exists under exactly this name; None if there is none or it is not YAML."""
    found = tasks.check_yaml(path, hard=False) if path.suffix in YAML_SUFFIXES else None
    if not found or Path(found).name != path.name:
        return None
    try:
        return read_yaml(found, lenient=True)
    except UserError:
        return None  # loading the file will raise the error


def _stated_scale(path: Path, document: Any) -> str | None:
    """Return the `scale:` of a model YAML; None if it has none.

    Ultralytics stores one in every model that it builds, and reads it only where there are scales.
    """
    scales = document.get("scales") if isinstance(document, dict) else None
    if not isinstance(scales, dict) or not document.get("scale"):
        return None
    scale = document["scale"]
    if str(scale) not in map(str, scales):
        raise UserError(f"{path}: scale: {scale!r} is not one of its scales ({', '.join(map(str, scales))})")
    return str(scale)


_literal_exists: ContextVar[bool] = ContextVar("yolo_attn_literal_exists", default=False)


@contextlib.contextmanager
def literal_first(name: str | Path) -> Iterator[None]:
    """Skip ready configs while a model YAML is loaded that exists under exactly its name.

    Early releases (up to 8.3.200 at least) search for the name without its scale letter first.

    Args:
        name: The model YAML's name or path.
    """
    token = _literal_exists.set(is_file(name))
    try:
        yield
    finally:
        _literal_exists.reset(token)


MODEL_FILES = Binding(tasks, "check_yaml", _wrap_check_yaml)
SCALES = Binding(tasks, "guess_model_scale", _wrap_guess_scale)


def find_model_yaml(name: str | Path, placed: str = "") -> Path:
    """Return the file of a model YAML's name, with or without its scale letter.

    Args:
        name: Its name or path.
        placed: The layers placed in it, such as "+CBAM@neck", for the message.

    Raises:
        UserError: There is no such file, or the name does not end like a YAML's.
    """
    if Path(name).suffix not in YAML_SUFFIXES:
        raise UserError(f"{name}: not the name of a model YAML, such as yolo11n.yaml or yolo11n.yaml+CBAM@neck")
    path = os.path.expanduser(name)  # noqa: PTH111 (Path.expanduser raises for an unknown user)
    found = tasks.check_yaml(path, hard=False) or tasks.check_yaml(without_letter(path), hard=False)
    if not found:
        raise UserError(_missing(str(name), placed))
    return Path(found)
