"""Opening what someone else sent without running code in it: checkpoints, label caches, data YAMLs.

Our commands and their child processes do everything inside `restricted()`; `trust=True` makes that do nothing. Outside
of our commands Ultralytics opens files as it always does.
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

_NAMED = 3  # classes of a refused checkpoint in its message


def restricts_checkpoints() -> bool:
    """Whether the installed PyTorch can open checkpoints restricted."""
    return hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint")


# --- checkpoints ------------------------------------------------------------------------------------------------


def _wrap_torch_load(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(f: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_own(f):
            return original(f, *args, **kwargs)
        kwargs = {**kwargs, "weights_only": True}  # whatever the caller says: Ultralytics says False
        safe_load.allow()  # layers may have been registered since
        allow_parts(_unknown_names(f))
        try:
            return original(f, *args, **kwargs)
        except pickle.UnpicklingError as error:
            names = _refused_names(f, str(error))
            if not names:
                raise  # damaged bytes; Ultralytics knows what to say of those
            raise UserError(_refusal(f, names)) from error

    return load


def _is_own(file: Any) -> bool:
    """Whether a process of this user wrote a file for its multi-GPU workers: it holds a trainer and its callbacks."""
    return isinstance(file, (str, Path)) and Path(file).resolve().parent == (settings_folder() / "DDP").resolve()


def _unknown_names(file: Any) -> list[str]:
    """Return what a checkpoint names that PyTorch does not know as safe; [] for an old format or damaged bytes."""
    start = file.tell() if hasattr(file, "seek") else None
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # damaged bytes may read as anything
        return []
    finally:
        if start is not None:
            file.seek(start)


def _refused_names(file: Any, reason: str) -> list[str]:
    """Return the classes and functions that a checkpoint names and that are not known ones."""
    return (
        sorted(_unknown_names(file))
        or re.findall(r"(?:GLOBAL|unsafe|unrecognized function|instance for) (\S+)", reason)[:1]
    )


def _refusal(file: Any, names: list[str]) -> str:
    name = file if isinstance(file, (str, Path)) else "a checkpoint"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"{name}: not opened, because that could run code: it names {', '.join(names[:_NAMED])}{more}; if that is a "
        f"layer of yours, give its file, layers=FILE; if you trust who made it, add {TRUST_OPTIONS}; see: yolo-attn "
        "help trust"
    )


# --- datasets ---------------------------------------------------------------------------------------------------


def _wrap_cache(original: Callable[..., Any]) -> Callable[..., Any]:
    def load_dataset_cache_file(path: Path) -> Any:
        """Return the labels of a cache that holds nothing else; Ultralytics makes any other again."""
        try:
            return read_cache(path)
        except CacheError as error:
            LOGGER.warning(f"yolo-attn: not a plain label cache, so it is made again: {error}")
            raise

    return load_dataset_cache_file


def _wrap_read_yaml(original: Any) -> Any:
    """Wrap the reader of data YAMLs: a function in early releases, a class later."""
    if not isinstance(original, type):
        return lambda *args, **kwargs: _without_script(original(*args, **kwargs))

    class YAML(original):  # type: ignore[misc, valid-type]
        """Ultralytics' reader, which leaves out what a data YAML would run."""

        @classmethod
        def load(cls, *args: Any, **kwargs: Any) -> Any:
            """Read a file."""
            return _without_script(original.load(*args, **kwargs))

    return YAML


def _without_script(entries: Any) -> Any:
    """Put a refusal in the place of a script: it is raised when, and only when, the script would have been run."""
    if not isinstance(entries, dict) or not is_script(entries.get("download")):
        return entries
    path = str(entries.get("yaml_file", "data YAML"))
    if is_stock_data_yaml(path):
        return entries
    return {**entries, "download": f"from yolo_attn.security.trust import refuse_script; refuse_script({path!r})"}


# --- all of it --------------------------------------------------------------------------------------------------

_READER = "YAML" if hasattr(data_utils, "YAML") else "yaml_load"
_BINDINGS = (
    Binding(dataset, "load_dataset_cache_file", _wrap_cache),
    Binding(data_utils, _READER, _wrap_read_yaml),
    *([Binding(torch, "load", _wrap_torch_load)] if restricts_checkpoints() else []),
)
_lock = threading.RLock()
_depth = 0
_safe_load_before: Any = None


@contextlib.contextmanager
def restricted() -> Iterator[None]:
    """Let no file run code for as long as this lasts, unless files are trusted (`yolo_attn.security.trust`)."""
    if trusts_files():
        yield
        return
    restrict()
    try:
        yield
    finally:
        _release()


def restrict() -> None:
    """Let no file run code from now on."""
    global _depth, _safe_load_before  # noqa: PLW0603
    with _lock:
        _depth += 1
        if _depth > 1:
            return
        for binding in _BINDINGS:
            binding.install()
        if restricts_checkpoints() and hasattr(tasks, "SAFE_LOAD"):
            _safe_load_before, tasks.SAFE_LOAD = tasks.SAFE_LOAD, True


def _release() -> None:
    global _depth  # noqa: PLW0603
    with _lock:
        _depth -= 1
        if _depth:
            return
        for binding in _BINDINGS:
            if binding.installed:  # otherwise other code has replaced it meanwhile, and would call ours
                binding.remove()
        if restricts_checkpoints() and hasattr(tasks, "SAFE_LOAD"):
            tasks.SAFE_LOAD = _safe_load_before


def is_restricted() -> bool:
    """Whether no file may run code now."""
    return _depth > 0
