"""Arguments of Ultralytics' commands: their keys, and checks of values that Ultralytics would misread.

Without these checks Ultralytics silently uses another value, or fails with a traceback after minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ultralytics import cfg

from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.graph import ModelRef
from yolo_attn.host.learning_rate import LR_ATTENTION, read_lr_attention
from yolo_attn.host.values import check_optimizer, check_values
from yolo_attn.system.files import is_file, is_folder

__all__ = [
    "CHECKS",
    "RECIPE",
    "SPECIAL",
    "TASKS",
    "VERBS",
    "check_words",
    "counts_one_class",
    "evaluated_splits",
    "find_task",
    "plain_word",
    "read_list",
    "read_words",
    "with_resumed_model",
]

VERBS = ("train", "val", "predict", "track", "export", "benchmark", "tune")
SPECIAL = ("settings", "checks", "cfg", "copy-cfg", "version", "solutions")
TASKS = ("detect", "segment", "classify", "pose", "obb", "semantic", "depth")
"""The tasks of all supported releases."""
RECIPE = "recipe"
"""A key of yolo-attn, which replaces it before Ultralytics reads the command."""

_BARE_FLAGS = ("half", "int8", "end2end", "nms")
_OTHER_KEYS = ("augmentations", "save_dir", "session")  # accepted in addition to the default configuration
_TUNE_KEYS = ("iterations", "space", "use_ray", "gpu_per_trial", "grace_period", "search_alg")
_EXAMPLE = "model=runs/detect/train/weights/last.pt"
_NO = ("false", "none")
_TASK_OF_SUFFIX = {"-seg": "segment", "-pose": "pose", "-obb": "obb", "-cls": "classify", "-sem": "semantic"}


# --- words --------------------------------------------------------------------------------------------------------


def read_list(value: str) -> list[str]:
    """Return the items of a list as Ultralytics reads it; [] for another value."""
    found = cfg.smart_value(value) if value.startswith("[") else None
    return [str(item) for item in found] if isinstance(found, list) else []


def plain_word(word: str) -> str:
    """Return a word of `yolo` without its trailing comma, and mode=train as train."""
    return word.removesuffix(",").removeprefix("mode=")


def read_words(words: Sequence[str]) -> list[str]:
    """Return a command's words as `key=value` and bare words.

    Raises:
        UserError: A key or word that `yolo` would not understand, a key without a value, or two commands.
    """
    merged = [plain_word(word) for word in cfg.merge_equals_args(list(words))]
    keys = (*cfg.DEFAULT_CFG_DICT, *_OTHER_KEYS, *(_TUNE_KEYS if "tune" in merged else ()))
    if {"train", "tune"} & set(merged):
        keys = (*keys, RECIPE, LR_ATTENTION)
    bare = (*cfg.TASKS, *cfg.MODES, "tune", *_BARE_FLAGS)
    for word in merged:
        key, equals, value = word.partition("=")
        if equals and key not in keys and not _was_known(key):
            raise UserError(f"unknown key {key!r}{did_you_mean(key, keys) or '; yolo-attn cfg lists them'}")
        if equals and not value.strip():
            raise UserError(f"{key}= is empty; give it a value, or leave it out")
        if not equals and key not in (*bare, *keys):
            raise UserError(f"{word!r} is not key=value{did_you_mean(key, bare)}")
    verbs = dict.fromkeys(word for word in merged if word in (*cfg.MODES, "tune"))  # tune() gives train mode=train
    if len(verbs) > 1:
        raise UserError(f"{' and '.join(verbs)}: give one command")
    return merged


def _was_known(key: str) -> bool:
    """Return True if Ultralytics still accepts a key of earlier releases."""
    current: dict[str, str] = cfg._handle_deprecation({key: "1"})
    return current != {key: "1"}


def check_words(words: Sequence[str]) -> None:
    """Check the numbers and lists among a command's words.

    Raises:
        UserError: A value that Ultralytics would misread.
    """
    values = dict(cfg.parse_key_value_pair(word) for word in words if "=" in word)
    stem = Path(str(values.get("model"))).stem.lower()
    if "world" in stem or "yoloe" in stem:  # their classes are words
        values.pop("classes", None)
    check_values(values, next((word for word in words if word in (*cfg.MODES, "tune")), "predict"))


def with_resumed_model(words: list[str]) -> list[str]:
    """Return the words with the model that `resume=path/last.pt` means; Ultralytics would take a default one.

    Raises:
        UserError: The training to resume is not given.
    """
    keys = dict(word.partition("=")[::2] for word in words)
    resumed = keys.get("resume", "False") or "True"
    if "train" not in words or "model" in keys or resumed.lower() in _NO:
        return words
    if not ModelRef.parse(resumed).is_checkpoint:
        raise UserError(f"train resume requires the run to resume: {_EXAMPLE}")
    return [*words, f"model={resumed}"]


def find_task(words: Sequence[str]) -> str:
    """Return the task of a command: the one it names, else its model's, else "detect"."""
    model = _value_of(words, "model")
    return _named_task(words) or (_task_of_model(model) if model else "") or "detect"


def evaluated_splits(words: Sequence[str]) -> tuple[str, ...]:
    """Return the splits of the dataset whose images a command reads; predictions take only the names from it."""
    split = _value_of(words, "split") or "val"
    if {"train", "tune"} & set(words):
        return tuple(dict.fromkeys(("train", "val", split)))
    return () if {"predict", "track"} & set(words) else (split,)


def counts_one_class(words: Sequence[str]) -> bool:
    """Return whether a command counts all classes as one."""
    return _value_of(words, "single_cls").lower() == "true" or "single_cls" in words


def _named_task(words: Sequence[str]) -> str:
    return next((task for task in (word.removeprefix("task=") for word in words) if task in TASKS), "")


def _value_of(words: Sequence[str], key: str) -> str:
    return next((word.partition("=")[2] for word in words if word.startswith(f"{key}=")), "")


# --- checks of single keys ----------------------------------------------------------------------------------------


def _check_model(value: str, words: Sequence[str]) -> str | None:
    """Check that a model exists and fits the task that the command names; return the full name of a placed model."""
    named = _named_task(words)
    if not named:
        _check_model_file(value)
    elif (task := _task_of_model(value)) not in ("", named):
        raise UserError(f"model={value} is a {task} model, but the command is for {named}: give a {named} model")
    ref = ModelRef.parse(value)
    return ref.name if ref.is_placed else None


def _check_pretrained(value: str, words: Sequence[str]) -> None:
    """Check that `pretrained=` names a checkpoint, or is True or False."""
    ref = ModelRef.parse(value)
    if ref.is_yaml:
        raise UserError(f"pretrained={value}: pretrained= takes a checkpoint; write the layers in model=")
    if value.lower() in ("true", *_NO):
        return
    if not ref.is_checkpoint:
        problem = "a folder" if is_folder(value) else "not a checkpoint"
        raise UserError(f"pretrained={value}: {problem}; give a checkpoint's file (best.pt), or True or False")
    _check_model_file(value)


def _check_resume(value: str, words: Sequence[str]) -> None:
    """Check that a training can be resumed; Ultralytics would silently start or resume another one."""
    from yolo_attn.host.resuming import check_resumable

    if "train" not in words or value.lower() in _NO:
        return
    checkpoint = value if ModelRef.parse(value).is_checkpoint else _value_of(words, "model")
    if value.lower() not in ("", "true", checkpoint.lower()) or not ModelRef.parse(checkpoint).is_checkpoint:
        raise UserError(f"resume={value}: write resume=True and the run's checkpoint, {_EXAMPLE}")
    if not is_file(checkpoint):
        raise UserError(f"{checkpoint}: no such checkpoint")
    _check_model_file(checkpoint)
    check_resumable(checkpoint, _value_of(words, "data"))


def _check_optimizer(value: str, words: Sequence[str]) -> None:
    if value.lower() != "auto":
        check_optimizer(value)


def _check_freeze(value: str, words: Sequence[str]) -> str:
    """Return a list that Ultralytics can parse; it silently ignores [0,1,22.cv2]."""
    from yolo_attn.host.freezing import read_freeze

    return str(read_freeze(value))


def _check_lr_attention(value: str, words: Sequence[str]) -> None:
    read_lr_attention(value)


def _check_space(value: str, words: Sequence[str]) -> None:
    from yolo_attn.host.tuning import read_space

    read_space(value)


CHECKS: dict[str, Callable[[str, Sequence[str]], str | None]] = {
    "model": _check_model,
    "pretrained": _check_pretrained,
    "resume": _check_resume,
    "freeze": _check_freeze,
    "optimizer": _check_optimizer,
    LR_ATTENTION: _check_lr_attention,
    "space": _check_space,
}
"""Checks by key; each takes the value and the command's words, and returns a value to replace it, or None."""


def _check_model_file(value: str) -> None:
    """Check a model YAML completely, and a checkpoint's file without loading it."""
    from yolo_attn.host.checkpoint import check_checkpoint
    from yolo_attn.host.documents import model_yaml

    ref, path = ModelRef.parse(value), Path(value)
    if ref.is_yaml:
        model_yaml(ref)
    elif ref.is_checkpoint and "://" not in value:
        if path.parent != Path() and not is_folder(path) and not is_file(path):
            raise UserError(f"{value}: no such checkpoint")
        check_checkpoint(value)


def _task_of_model(value: str) -> str:
    """Return a model's task; for a checkpoint not yet downloaded, the task in its name, or ""."""
    from yolo_attn.host.documents import model_yaml
    from yolo_attn.host.model_kind import task_of

    _check_model_file(value)
    ref, path = ModelRef.parse(value), Path(value)
    if ref.is_yaml or (ref.is_checkpoint and is_file(path)):
        return task_of(model_yaml(ref))
    return next((task for suffix, task in _TASK_OF_SUFFIX.items() if suffix in path.stem), "")
