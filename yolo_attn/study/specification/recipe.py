"""The training recipe of a study: Ultralytics' training keys, the same for every run."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from typing import Any

from yolo_attn.errors import UserError, did_you_mean

__all__ = ["PINNED", "check_recipe", "parse_value", "recipe_keys"]

# What Ultralytics would otherwise decide by itself, and differently for different models or runs: optimizer=auto picks
# optimizer and learning rate from the number of classes and steps, and early stopping gives arms unequal training.
PINNED: dict[str, Any] = {"optimizer": "SGD", "lr0": 0.01, "deterministic": True, "patience": 0, "plots": False}

_OWNED = {
    "model": "base= names the baseline's model, variants= the others",
    "seed": "seeds= gives the seeds",
    "resume": "the same command again goes on where it was",
    "mode": "a study trains and evaluates",
    "task": "the task is read from the base",
    "save_dir": "project= and name= give the folder",
    "save": "a study always keeps last.pt and best.pt",
    "pretrained": "give a checkpoint as base=",
    "cfg": "study=FILE reads a study file",
    "time": "its number of epochs depends on the machine; use epochs=",
    "distill_model": "a study compares models, not teachers",
    "data": "it belongs beside train, not in it",
    "project": "it belongs on the command line",
    "name": "it belongs on the command line",
    "exist_ok": "it belongs on the command line",
    "device": "it belongs on the command line",
}
# Ultralytics' keys for what a study does not do; given here, they would change no result and yet start all runs anew.
_OTHER_MODES = {
    "predict": (
        *("source", "vid_stride", "stream_buffer", "visualize", "embed", "show", "save_frames", "save_txt"),
        *("save_conf", "save_crop", "show_labels", "show_conf", "show_boxes", "line_width"),
    ),
    "track": ("tracker",),
    "export": ("format", "keras", "optimize", "int8", "dynamic", "simplify", "opset", "workspace"),
}
_OWNED |= {key: f"it belongs to {mode}" for mode, keys in _OTHER_MODES.items() for key in keys}
_AT_LEAST = {"epochs": 1, "imgsz": 32, "batch": 1}
_WORDS = {"true": True, "false": False, "none": None, "null": None}


def recipe_keys() -> set[str]:
    """Return the keys that a recipe may have: Ultralytics' own, less those that a study decides."""
    from yolo_attn.host.training_arguments import argument_names

    return argument_names() - set(_OWNED)


def parse_value(value: object) -> Any:
    """Return a value as Python means it: "0.01" is a number, "True" a bool, "SGD" stays text."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    with contextlib.suppress(ValueError, SyntaxError):
        parsed = ast.literal_eval(text)
        return list(parsed) if isinstance(parsed, tuple) else parsed
    return text


def check_recipe(given: Mapping[str, object], where: str = "") -> dict[str, Any]:
    """Return a recipe with values parsed, after checking its keys and values against Ultralytics.

    Args:
        given: Training keys and values, text or not.
        where: What to put before an error, such as "study.yaml, train: ".

    Raises:
        UserError: A key that is unknown or that the study decides, or a value that does not fit.
    """
    known = recipe_keys()
    recipe: dict[str, Any] = {}
    for key, value in given.items():
        if key in _OWNED:
            raise UserError(f"{where}{key}={value} is not for a study to be given: {_OWNED[key]}")
        if key not in known:
            raise UserError(f"{where}unknown key '{key}'{did_you_mean(key, known)}")
        recipe[key] = parse_value(value)
    _check_values(recipe, where)
    return dict(sorted(recipe.items()))


def _check_values(recipe: Mapping[str, Any], where: str) -> None:
    from yolo_attn.host.freezing import read_freeze
    from yolo_attn.host.training_arguments import check_arguments
    from yolo_attn.host.values import check_optimizer, check_values

    for key, least in _AT_LEAST.items():
        value = recipe.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{where}{key}={value}: must be a whole number, {least} or more, the same for every arm")
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
