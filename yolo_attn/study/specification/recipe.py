"""The training recipe of a study: Ultralytics' training keys and values, which are the same for all runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from yolo_attn.data import find_recipe
from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.stats.matches import MAX_DETECTIONS
from yolo_attn.study.specification.arguments import parse_value

__all__ = [
    "PINNED",
    "RecipeKeys",
    "base_recipe",
    "check_recipe",
    "counts_one_class",
    "recipe_integer",
    "recipe_keys",
    "recipe_max_det",
    "recipe_split",
    "study_recipe",
]

# Ultralytics' defaults would differ between models or runs: optimizer=auto chooses optimizer and learning rate by the
# number of classes and steps, and early stopping trains arms for different numbers of epochs.
PINNED: dict[str, object] = {"optimizer": "SGD", "lr0": 0.01, "deterministic": True, "patience": 0, "plots": False}

_OWNED = {
    "model": "base= names the baseline's model, variants= the others",
    "seed": "seeds= gives the seeds",
    "resume": "run the same command again to resume",
    "mode": "a study trains and evaluates",
    "task": "the task is read from the base",
    "save_dir": "project= and name= give the folder",
    "save": "a study always keeps last.pt and best.pt",
    "pretrained": "give a checkpoint as base=",
    "cfg": "study=FILE reads a study file",
    "time": "its number of epochs depends on the machine; use epochs=",
    "distill_model": "a study compares models, not teachers",
    "save_json": "a study stores all predictions in matches.npz",
    "conf": "it discards detections before they are evaluated, which lowers average precision in all arms",
    "data": "it belongs next to train, not into it",
    "lr_attention": "it belongs next to train, not into it",
    "project": "it belongs on the command line",
    "name": "it belongs on the command line",
    "exist_ok": "it belongs on the command line",
    "device": "it belongs on the command line",
}
# Ultralytics' keys of other modes would change no result, but they would change the key of every run.
_OTHER_MODES = {
    "predict": (
        *("source", "vid_stride", "stream_buffer", "visualize", "embed", "show", "save_frames", "save_txt"),
        *("save_conf", "save_crop", "show_labels", "show_conf", "show_boxes", "line_width", "retina_masks", "augment"),
    ),
    "track": ("tracker",),
    "export": ("format", "keras", "optimize", "half", "int8", "quantize", "dynamic", "simplify", "opset", "workspace"),
    "exported models": ("dnn",),
}
_OWNED |= {key: f"it belongs to {mode}" for mode, keys in _OTHER_MODES.items() for key in keys}
# A fine-tuning is optimized in another way than a training from scratch; all other keys hold for both.
_OPTIMIZATION = frozenset(
    {
        *("epochs", "patience", "optimizer", "lr0", "lrf", "cos_lr", "momentum", "weight_decay", "freeze"),
        *("warmup_epochs", "warmup_momentum", "warmup_bias_lr", "close_mosaic"),
    }
)
_MINIMUM = {"epochs": 1, "imgsz": 32, "batch": 1}
_DEFAULTS = {"epochs": 100, "imgsz": 640, "batch": 16}  # of Ultralytics


@dataclass(frozen=True)
class RecipeKeys:
    """Training keys from one source, such as a study file or the command line.

    Args:
        name: A dataset whose recipe is used; None for none.
        keys: Ultralytics' training keys, which take precedence.
    """

    name: str | None = None
    keys: Mapping[str, object] = field(default_factory=dict)

    def read(self, *, finetune: bool) -> dict[str, object]:
        """Return the checked keys, without validation in each epoch, since a study evaluates last.pt itself.

        Raises:
            UserError: There is no such recipe, or a key or value is invalid.
        """
        named = {} if self.name is None else {**find_recipe(self.name, finetune=finetune), "val": False}
        return {**check_recipe(named), **check_recipe(self.keys)}


def study_recipe(sources: Iterable[RecipeKeys], *, amp: bool, finetune: bool) -> dict[str, object]:
    """Return the recipe of a study's arms.

    Args:
        sources: Training keys; later sources take precedence.
        amp: Whether mixed precision is used if no source says otherwise.
        finetune: Whether the arms start from trained weights.

    Raises:
        UserError: There is no such recipe, or a key or value is invalid.
    """
    recipe = {**PINNED, "amp": amp}
    for source in sources:
        recipe |= source.read(finetune=finetune)
    return dict(sorted(recipe.items()))


def base_recipe(
    sources: Iterable[RecipeKeys], own: Mapping[str, object], *, amp: bool, epochs: int
) -> dict[str, object]:
    """Return the recipe of the base's own training.

    It is that of the arms if they were trained from scratch. Keys of the optimization belong to the fine-tuning of the
    arms, and are only taken from a dataset's recipe.

    Args:
        sources: Training keys of the arms.
        own: Training keys of the base alone, which take precedence.
        amp: Whether mixed precision is used if no source says otherwise.
        epochs: Number of epochs.

    Raises:
        UserError: There is no such recipe, or a key or value is invalid.
    """
    shared = (RecipeKeys(source.name, _without_optimization(source.keys)) for source in sources)
    recipe = study_recipe(shared, amp=amp, finetune=False)
    return dict(sorted({**recipe, **check_recipe(own), "epochs": epochs}.items()))


def _without_optimization(keys: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in keys.items() if key not in _OPTIMIZATION}


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


def recipe_max_det(recipe: Mapping[str, object]) -> int:
    """Return the largest number of detections per image and class that a recipe evaluates."""
    value = recipe.get("max_det")
    return value if isinstance(value, int) else MAX_DETECTIONS


def recipe_split(recipe: Mapping[str, object]) -> str:
    """Return the split that a recipe evaluates."""
    return str(recipe.get("split", "val"))


def counts_one_class(recipe: Mapping[str, object]) -> bool:
    """Return whether a recipe counts all classes as one."""
    return recipe.get("single_cls") is True


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
