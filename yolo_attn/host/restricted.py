"""Restricted loading: third-party checkpoints, label caches and data YAMLs are opened without running their code.

The commands of yolo-attn and their child processes run inside `restricted()`, which has no effect with `trust=True`.
Outside these commands Ultralytics opens files as usual.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from ultralytics.data import dataset
from ultralytics.data import utils as data_utils
from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.host import safe_load
from yolo_attn.host.binding import Binding
from yolo_attn.host.checkpoint_parts import allow_parts
from yolo_attn.host.installation import LOGGER, is_stock_data_yaml, settings_folder
from yolo_attn.host.label_cache import CacheError, read_cache
from yolo_attn.security.trust import TRUST_OPTIONS, is_script, trusts_files

__all__ = ["is_restricted", "restrict", "restricted", "restricts_checkpoints"]

_NAMED = 3  # number of refused classes in a message


def restricts_checkpoints() -> bool:
    """Return whether the installed PyTorch supports restricted loading of checkpoints."""
    return hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint")


# --- checkpoints ------------------------------------------------------------------------------------------------


def _wrap_torch_load(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(f: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_own(f):
            return original(f, *args, **kwargs)
        kwargs = {**kwargs, "weights_only": True}  # Ultralytics passes False
        safe_load.allow()  # layers may have been registered since the last call
        allow_parts(_unknown_names(f))
        try:
            return original(f, *args, **kwargs)
        except pickle.UnpicklingError as error:
            names = _refused_names(f, str(error))
            if not names:
                raise  # damaged bytes, which Ultralytics reports
            raise UserError(_refusal(f, names)) from error

    return load


def _is_own(file: Any) -> bool:
    """Return whether a file was written by this user's process for its multi-GPU workers; it contains a trainer."""
    return isinstance(file, (str, Path)) and Path(file).resolve().parent == (settings_folder() / "DDP").resolve()


def _unknown_names(file: Any) -> list[str]:
    """Return the names in a checkpoint that PyTorch does not consider safe; [] for an old format or damaged bytes."""
    start = file.tell() if hasattr(file, "seek") else None
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # damaged bytes may read as anything
        return []
    finally:
        if start is not None:
            file.seek(start)


def _refused_names(file: Any, reason: str) -> list[str]:
    """Return the classes and functions in a checkpoint that are refused."""
    return (
        sorted(_unknown_names(file))
        or re.findall(r"(?:GLOBAL|unsafe|unrecognized function|instance for) (\S+)", reason)[:1]
    )


def _refusal(file: Any, names: list[str]) -> str:
    name = file if isinstance(file, (str, Path)) else "a checkpoint"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"{name}: not opened, because that could run code: it names {', '.join(names[:_NAMED])}{more}; for a custom "
        f"layer, give its file, layers=FILE; if you trust the author, add {TRUST_OPTIONS}; see: yolo-attn help trust"
    )


# --- datasets ---------------------------------------------------------------------------------------------------


def _wrap_cache(original: Callable[..., Any]) -> Callable[..., Any]:
    def load_dataset_cache_file(path: Path) -> Any:
        """Return the labels of a cache; Ultralytics rebuilds a cache with any other content."""
        try:
            return read_cache(path)
        except CacheError as error:
            LOGGER.warning(f"yolo-attn: not a plain label cache, so it is rebuilt: {error}")
            raise

    return load_dataset_cache_file


def _wrap_read_yaml(original: Any) -> Any:
    """Wrap the reader of data YAMLs, which is a function in early releases and a class in later ones."""
    if not isinstance(original, type):
        return lambda *args, **kwargs: _without_script(original(*args, **kwargs))

    class YAML(original):  # type: ignore[misc, valid-type]
        """Ultralytics' reader of YAMLs, without the scripts of data YAMLs."""

        @classmethod
        def load(cls, *args: Any, **kwargs: Any) -> Any:
            """Read a file."""
            return _without_script(original.load(*args, **kwargs))

    return YAML


def _without_script(entries: Any) -> Any:
    """Replace a script by a refusal, which is raised only where the script would have been run."""
    if not isinstance(entries, dict) or not is_script(entries.get("download")):
        return entries
    path = str(entries.get("yaml_file", "data YAML"))
    if is_stock_data_yaml(path):
        return entries
    refusal = f"refuse_script({path!r}, {str(entries['download'])!r})"
    return {**entries, "download": f"from yolo_attn.security.trust import refuse_script; {refusal}"}


# --- bindings ---------------------------------------------------------------------------------------------------

_READER = "YAML" if hasattr(data_utils, "YAML") else "yaml_load"
_BINDINGS = (
    Binding(dataset, "load_dataset_cache_file", _wrap_cache),
    Binding(data_utils, _READER, _wrap_read_yaml),
    *([Binding(torch, "load", _wrap_torch_load)] if restricts_checkpoints() else []),
)
_lock = threading.RLock()
_depth = 0
_previous_safe_load: Any = None


@contextlib.contextmanager
def restricted() -> Iterator[None]:
    """Open files without running their code inside this context, unless they are trusted."""
    if trusts_files():
        yield
        return
    restrict()
    try:
        yield
    finally:
        _release()


def restrict() -> None:
    """Open files without running their code from now on."""
    global _depth, _previous_safe_load  # noqa: PLW0603
    with _lock:
        _depth += 1
        if _depth > 1:
            return
        for binding in _BINDINGS:
            binding.install()
        if restricts_checkpoints() and hasattr(tasks, "SAFE_LOAD"):
            _previous_safe_load, tasks.SAFE_LOAD = tasks.SAFE_LOAD, True


def _release() -> None:
    global _depth  # noqa: PLW0603
    with _lock:
        _depth -= 1
        if _depth:
            return
        for binding in _BINDINGS:
            if binding.installed:  # otherwise other code has replaced it and may call this replacement
                binding.remove()
        if restricts_checkpoints() and hasattr(tasks, "SAFE_LOAD"):
            tasks.SAFE_LOAD = _previous_safe_load


def is_restricted() -> bool:
    """Return whether files are opened without running their code."""
    return _depth > 0
