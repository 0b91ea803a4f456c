"""The training recipe of a study: Ultralytics' training keys and values, which are the same for all runs."""

from __future__ import annotations

from collections.abc import Mapping

from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.study.specification.arguments import parse_value

__all__ = ["PINNED", "check_recipe", "recipe_integer", "recipe_keys", "recipe_split"]

# Ultralytics' defaults would differ between models or runs: optimizer=auto chooses optimizer and learning rate by the
# number of classes and steps, and early stopping trains arms for different numbers of epochs.
PINNED: dict[str, object] = {"optimizer": "SGD", "lr0": 0.01, "deterministic": True, "patience": 0, "plots": False}

_OWNED = {
    "model": "base= names the baseline's model, variants= the others",
    "seed": "seeds= gives the seeds",
    "resume": "give the same command again to resume",
    "mode": "a study trains and evaluates",
    "task": "the task is read from the base",
    "save_dir": "project= and name= give the folder",
    "save": "a study always keeps last.pt and best.pt",
    "pretrained": "give a checkpoint as base=",
    "cfg": "study=FILE reads a study file",
    "time": "its number of epochs depends on the machine; use epochs=",
    "distill_model": "a study compares models, not teachers",
    "data": "it belongs next to train, not into it",
    "project": "it belongs on the command line",
    "name": "it belongs on the command line",
    "exist_ok": "it belongs on the command line",
    "device": "it belongs on the command line",
}
# Ultralytics' keys of other modes would change no result, but they would change the key of every run.
_OTHER_MODES = {
    "predict": (
        *("source", "vid_stride", "stream_buffer", "visualize", "embed", "show", "save_frames", "save_txt"),
        *("save_conf", "save_crop", "show_labels", "show_conf", "show_boxes", "line_width"),
    ),
    "track": ("tracker",),
    "export": ("format", "keras", "optimize", "int8", "dynamic", "simplify", "opset", "workspace"),
}
_OWNED |= {key: f"it belongs to {mode}" for mode, keys in _OTHER_MODES.items() for key in keys}
_MINIMUM = {"epochs": 1, "imgsz": 32, "batch": 1}
_DEFAULTS = {"epochs": 100, "imgsz": 640, "batch": 16}  # of Ultralytics


def recipe_keys() -> set[str]:
    """Return the keys that a recipe may have: Ultralytics' keys except those that a study sets itself."""
    from yolo_attn.host.training_arguments import argument_names

    return argument_names() - set(_OWNED)


def recipe_integer(recipe: Mapping[str, object], key: str) -> int:
    """Return the epochs, image size or batch size of a checked recipe, or Ultralytics' default.

    Args:
        recipe: The recipe.
        key: "epochs", "imgsz" or "batch".
    """
    value = recipe.get(key)
    return value if isinstance(value, int) else _DEFAULTS[key]


def recipe_split(recipe: Mapping[str, object]) -> str:
    """Return the split that a recipe evaluates."""
    return str(recipe.get("split", "val"))


def check_recipe(given: Mapping[str, object], where: str = "") -> dict[str, object]:
    """Return a recipe with values parsed, after checking its keys and values against Ultralytics.

    Args:
        given: Training keys and values; text is parsed.
        where: Prefix of error messages, such as "study.yaml, train: ".

    Raises:
        UserError: A key is unknown or is set by the study itself, or a value is invalid.
    """
    known = recipe_keys()
    recipe: dict[str, object] = {}
    for key, value in given.items():
        if key in _OWNED:
            raise UserError(f"{where}{key}={value}: not a key of a study: {_OWNED[key]}")
        if key not in known:
            raise UserError(f"{where}unknown key '{key}'{did_you_mean(key, known)}")
        recipe[key] = parse_value(value)
    _check_values(recipe, where)
    return dict(sorted(recipe.items()))


def _check_values(recipe: Mapping[str, object], where: str) -> None:
    from yolo_attn.host.freezing import read_freeze
    from yolo_attn.host.training_arguments import check_arguments
    from yolo_attn.host.values import check_optimizer, check_values

    for key, minimum in _MINIMUM.items():
        value = recipe.get(key, minimum)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise UserError(f"{where}{key}={value}: must be an integer of at least {minimum}, the same for every arm")
    check_values(recipe, "train", where)
    if recipe.get("freeze") is not None:
        read_freeze(str(recipe["freeze"]))
    if str(recipe.get("optimizer", "")).lower() == "auto":
        raise UserError(
            f"{where}optimizer=auto gives arms different optimizers; name one, such as optimizer=SGD lr0=0.01"
        )
    if "optimizer" in recipe:
        check_optimizer(str(recipe["optimizer"]), where)
    try:
        check_arguments(recipe)
    except UserError as error:
        raise UserError(f"{where}{error}") from None
