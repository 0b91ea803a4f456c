"""What a study is: one base, its variants, seeds, a dataset and a recipe, read from `key=value` arguments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_attn.data import find_recipe, list_datasets
from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.graph import ModelKind, ModelRef
from yolo_attn.study.files import LAYERS
from yolo_attn.study.specification.device import check_share, device_kind, read_device
from yolo_attn.study.specification.recipe import PINNED, check_recipe, parse_value, recipe_keys
from yolo_attn.system.files import read_yaml

if TYPE_CHECKING:
    from yolo_attn.layer_files import Sources

__all__ = ["CONTROLS", "DEFAULT_NAME", "DEFAULT_PROJECT", "DEFAULT_STUDY", "Arm", "Place", "Run", "Study"]

# The study of a `compare` without arguments: minutes on two CPU cores. Its recipe goes with its dataset.
DEFAULT_STUDY: dict[str, Any] = {
    "base": "yolo11n.yaml",
    "data": "digits",
    "variants": ["SE@neck", "CBAM@neck", "EMA@neck"],
    "controls": ["null"],
    # As many seeds as fit into a quarter of an hour on two CPU cores, and as few epochs as leave every arm something to
    # be compared by (mAP50 above 0.35).
    "seeds": 4,
}
# Maps as small as those of the default study gain little from a second thread, and lose much under other load.
DEFAULT_THREADS = 1
DEFAULT_BATCH = 16  # Ultralytics'
DEFAULT_PROJECT = "runs/compare"
DEFAULT_NAME = "compare"

CONTROLS = ("null", "width")
RUNNERS = ("local", "ray")
_STATEMENT_KEYS = ("base", "data", "variants", "controls", "seeds", "train")
_FILE_KEYS = (*_STATEMENT_KEYS, "recipe", LAYERS)
_STUDY_KEYS = (
    *_STATEMENT_KEYS[:5],
    *("recipe", LAYERS, "study", "project", "name", "exist_ok", "device", "threads", "retry", "workers", "runner"),
    "address",
    "trust",
)
_LISTS = ("variants", "controls", "seeds")
_MAX_SEED = 2**31
_MAX_COUNT = 1000
_MOST_THREADS = 256  # or as many as there are cores; PyTorch crashes where it cannot start them
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class Place:
    """Where a study is stored.

    Args:
        folder: `project/name`.
        explicit: The user named it, so that another one must not be taken instead.
        exist_ok: Add to the study that it holds.
    """

    folder: Path
    explicit: bool = False
    exist_ok: bool = False


@dataclass(frozen=True)
class Study:
    """A comparison, as the user gave it.

    Args:
        base: Model YAML name or path, or a checkpoint.
        data: Dataset name or data YAML.
        variants: Placements ("SE@neck") or model YAMLs, in the order of the report.
        controls: "null" (identity layers at the variants' sites), "width" (a base as large as the largest variant).
        seeds: One run per arm and seed.
        train: The recipe: Ultralytics training keys.
        place: The folder.
        device: From `read_device`; None chooses.
        threads: CPU threads of one run; None takes what the store holds, or what is usual.
        retry: Run again what failed.
        workers: Runs at once on this machine; None for as many as there are GPUs, or processors for their threads.
        runner: "local" or "ray".
        address: The Ray cluster.
        layers: Python files of layers.
        layers_asked: Whether the command names them, or a file that may come from someone else.
        trust: Whether files may run the code that they hold; None leaves that to the environment.
    """

    base: str
    data: str
    variants: tuple[str, ...]
    controls: tuple[str, ...]
    seeds: tuple[int, ...]
    train: Mapping[str, Any]
    place: Place
    device: str | None = None
    threads: int | None = None
    retry: bool = False
    workers: int | None = None
    runner: str = "local"
    address: str | None = None
    layers: tuple[str, ...] = ()
    layers_asked: bool = False
    trust: bool | None = None

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, object]) -> Study:
        """Read a study from arguments: those of a study, and Ultralytics' training keys for the recipe.

        Args:
            arguments: Keys and values; text is parsed as the command line's.

        Raises:
            UserError: A key or a value that does not fit, a study file that cannot be read.
        """
        settings = {key: value for key, value in arguments.items() if key in _STUDY_KEYS}
        training = {key: value for key, value in arguments.items() if key not in _STUDY_KEYS}
        _refuse_unknown(training)
        file = settings.pop("study", None)
        stated = {key: value for key, value in settings.items() if key in (*_STATEMENT_KEYS, LAYERS)}
        whole = (_from_file(Path(str(file))) if file is not None else _defaults(stated)) | stated
        runner = _runner(settings)
        device = read_device(settings.get("device"), here=runner == "local")
        amp = device_kind(device) != "cpu"
        named = _recipe(settings.get("recipe"))
        train = {**PINNED, "amp": amp, **check_recipe(whole["train"]), **named, **check_recipe(training)}
        check_share(device, int(train.get("batch", DEFAULT_BATCH)))
        return cls(
            base=_filled("base", whole["base"]),
            data=_filled("data", whole["data"]),
            variants=_variants(whole["variants"]),
            controls=_controls(whole["controls"]),
            seeds=_seeds(whole["seeds"]),
            train=dict(sorted(train.items())),
            place=_place(settings),
            device=device,
            threads=_count(settings, "threads"),
            retry=_flag(settings, "retry"),
            workers=_count(settings, "workers"),
            runner=runner,
            address=_text(settings, "address"),
            layers=_layer_files(whole.get(LAYERS)),
            layers_asked=LAYERS in settings,
            trust=_flag(settings, "trust") if "trust" in settings else None,
        )

    @property
    def statement(self) -> dict[str, Any]:
        """The study in the form of a study file."""
        return {
            "base": self.base,
            "data": self.data,
            "variants": list(self.variants),
            "controls": list(self.controls),
            "seeds": list(self.seeds),
            "train": dict(self.train),
        }

    @property
    def usual_threads(self) -> int | None:
        """The threads of a run that nobody has chosen; None for its share of the cores."""
        small = (self.base, self.data) == (DEFAULT_STUDY["base"], DEFAULT_STUDY["data"])
        return DEFAULT_THREADS if small else None

    @property
    def is_checkpoint(self) -> bool:
        """True when the base brings weights."""
        return ModelRef.parse(self.base).kind is ModelKind.CHECKPOINT

    def asks_the_same(self, statement: Mapping[str, Any]) -> bool:
        """Return True when a stored statement asks for the same runs, in whatever order."""
        mine, other = self.statement, dict(statement)
        return all(
            sorted(mine[key]) == sorted(other[key]) if key in _LISTS else mine[key] == other[key]
            for key in _STATEMENT_KEYS
        )

    def is_akin_to(self, statement: Mapping[str, Any]) -> bool:
        """Return True when a stored statement is of the same base, dataset and recipe."""
        mine = self.statement
        return all(mine[key] == statement[key] for key in ("base", "data", "train"))

    def added_to(self, statement: Mapping[str, Any]) -> Study:
        """Return the study of a folder after adding this one to it.

        The stored variants and seeds stay, and the new ones follow. A study of another base, dataset or recipe has
        nothing in common with the stored one and takes its place in the report.
        """
        if not self.is_akin_to(statement):
            return self
        mine = self.statement
        variants, controls, seeds = (tuple(dict.fromkeys([*statement[key], *mine[key]])) for key in _LISTS)
        return replace(self, variants=variants, controls=controls, seeds=seeds)


@dataclass(frozen=True)
class Arm:
    """One line of a study.

    Args:
        name: Its name in the report.
        kind: "baseline", "variant" or "control".
        model: The model YAML; empty when it could not be made.
        weights: A checkpoint to start from.
        error: Why the model could not be made.
    """

    name: str
    kind: str
    model: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    error: str | None = None


@dataclass(frozen=True)
class Run:
    """One arm trained with one seed.

    Args:
        arm: The arm.
        seed: The seed.
        inputs: Everything that decides the result.
        key: Their hash.
        sources: The files of layers that are not this package's own; None or empty without any.
    """

    arm: Arm
    seed: int
    inputs: Mapping[str, Any]
    key: str
    sources: Sources | None = None


def _refuse_unknown(training: Mapping[str, object]) -> None:
    """Suggest among all keys, a study's own too; what a study decides is left to the recipe's own message."""
    from yolo_attn.host.training_arguments import argument_names

    names = argument_names()
    for key in training:
        if key not in names:
            raise UserError(f"unknown key '{key}'{did_you_mean(key, [*_STUDY_KEYS, *sorted(recipe_keys())])}")


def _defaults(stated: Mapping[str, object]) -> dict[str, Any]:
    """Return the default study, with the recipe of its dataset where there is one, its controls only for its arms."""
    data = str(stated.get("data", DEFAULT_STUDY["data"]))
    own_arms = stated.keys().isdisjoint({"base", "variants"})
    entry = list_datasets().get(data)
    return {
        **DEFAULT_STUDY,
        "train": _recipe(data) if entry is not None and entry.recipe else {},
        "controls": DEFAULT_STUDY["controls"] if own_arms else [],
    }


def _recipe(name: object) -> dict[str, Any]:
    """Return the training arguments that `recipe=NAME` stands for in a study, which evaluates last.pt itself."""
    return {} if name is None else check_recipe({**find_recipe(str(name)), "val": False})


def _from_file(path: Path) -> dict[str, Any]:
    """Read a study file."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"study={path}: must hold the keys {', '.join(_FILE_KEYS)}")
    for key in content:
        if key not in _FILE_KEYS:
            raise UserError(f"study={path}: unknown key '{key}'{did_you_mean(str(key), _FILE_KEYS)}")
    for key in ("base", "data", "variants"):
        if content.get(key) is None:
            raise UserError(f"study={path}: the key '{key}' is missing")
    train = content.get("train") or {}
    if not isinstance(train, dict):
        raise UserError(f"study={path}: train must be a mapping of Ultralytics' training keys, such as {{epochs: 100}}")
    check_recipe(train, f"study={path}, train: ")
    train = {**_recipe(content.pop("recipe", None)), **train}
    # Files next to the study file are found from any folder.
    named = _layer_files(content.get(LAYERS))
    files = [str(path.parent / file) if (path.parent / file).exists() else file for file in named]
    others = {"controls": content.get("controls") or [], "train": train, LAYERS: files}
    return {"seeds": DEFAULT_STUDY["seeds"], **content, **others}


def _layer_files(value: object) -> tuple[str, ...]:
    """Return the files of layers that a study names."""
    from yolo_attn.layer_files import split_files

    return () if value is None else split_files(value)


def _filled(key: str, value: object) -> str:
    text = "" if value is None else str(value).strip()
    if not text:
        raise UserError(f"{key}= is empty; {key}={DEFAULT_STUDY[key]} is an example")
    return text


def _text(settings: Mapping[str, object], key: str) -> str | None:
    value = settings.get(key)
    if value is None or str(value).strip().lower() in {"", "none", "null"}:
        return None
    return str(value).strip()


def _variants(value: object) -> tuple[str, ...]:
    items = split_list(value) if isinstance(value, str) else value
    if not isinstance(items, Iterable):
        raise UserError(f"variants={value}: must be a list, such as variants=SE@neck,CBAM@neck")
    names = [str(item).strip() for item in items]
    if not names or not all(names):
        raise UserError("variants= is empty or has an empty item; variants=SE@neck,CBAM@neck is an example")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"variants: {name} is listed twice; a variant is compared once")
    return tuple(names)


def split_list(text: str) -> list[str]:
    """Split at the commas that stand outside of brackets: "SE@neck,X[a=1,b=2]@neck" has two items."""
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    items, open_brackets = [""], []
    for sign in inner:
        if sign in _BRACKETS:
            open_brackets.append(_BRACKETS[sign])
        elif open_brackets and sign == open_brackets[-1]:
            open_brackets.pop()
        if sign == "," and not open_brackets:
            items.append("")
        else:
            items[-1] += sign
    return [item.strip().strip("'\"") for item in items]


def _seeds(value: object) -> tuple[int, ...]:
    parsed = parse_value(value)
    if isinstance(parsed, int) and not isinstance(parsed, bool):
        if parsed < 1:
            raise UserError(f"seeds={value}: at least 1; seeds=3 runs each arm with the seeds 0, 1 and 2")
        if parsed > _MAX_COUNT:
            raise UserError(f"seeds={value}: at most {_MAX_COUNT}; seeds={value}, (with a comma) runs that one seed")
        return tuple(range(parsed))
    if not isinstance(parsed, Sequence) or isinstance(parsed, str) or not parsed:
        raise UserError(f"seeds={value}: must be a count or a list, such as seeds=3 or seeds=0,1,2")
    for seed in parsed:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < _MAX_SEED:
            raise UserError(f"seeds={value}: {seed} is no seed; seeds are whole numbers from 0 to {_MAX_SEED - 1}")
        if list(parsed).count(seed) > 1:
            raise UserError(f"seeds={value}: {seed} is listed twice; the same seed gives the same run")
    return tuple(parsed)


def _controls(value: object) -> tuple[str, ...]:
    items = split_list(value) if isinstance(value, str) else value
    if not isinstance(items, Iterable):
        raise UserError(f"controls={value}: must be a list of {' and '.join(CONTROLS)}")
    # YAML reads an unquoted null as nothing, and it is the name of a control here.
    names = ["null" if item is None else str(item).strip() for item in items]
    names = [name for name in names if name]
    for name in names:
        if name not in CONTROLS:
            raise UserError(f"controls: unknown control '{name}'{did_you_mean(name, CONTROLS)} ({', '.join(CONTROLS)})")
        if names.count(name) > 1:
            raise UserError(f"controls: {name} is listed twice")
    return tuple(names)


def _runner(settings: Mapping[str, object]) -> str:
    runner = str(settings.get("runner", "local")).strip()
    if runner not in RUNNERS:
        raise UserError(f"runner={runner}: must be local or ray{did_you_mean(runner, RUNNERS)}")
    if runner == "local" and settings.get("address") is not None:
        raise UserError(f"address={settings['address']}: belongs to runner=ray")
    if runner == "ray" and settings.get("workers") is not None:
        raise UserError("workers=: the cluster's processors and GPUs tell how many runs go at once; leave it out")
    return runner


def _count(settings: Mapping[str, object], key: str) -> int | None:
    parsed, most = parse_value(settings.get(key)), max(os.cpu_count() or 1, _MOST_THREADS)
    if parsed is None or (isinstance(parsed, int) and not isinstance(parsed, bool) and 1 <= parsed <= most):
        return parsed
    raise UserError(f"{key}={settings[key]}: must be a whole number from 1 to {most}")


def _flag(settings: Mapping[str, object], key: str) -> bool:
    parsed = parse_value(settings.get(key, False))
    if not isinstance(parsed, bool):
        raise UserError(f"{key}={settings[key]}: must be True or False")
    return parsed


def _place(settings: Mapping[str, object]) -> Place:
    project, name = (settings.get(key) for key in ("project", "name"))
    for key, value in (("project", project), ("name", name)):
        if value is not None and not str(value).strip():
            raise UserError(f"{key}= is empty; the default is {DEFAULT_PROJECT if key == 'project' else DEFAULT_NAME}")
    folder = Path(str(project or DEFAULT_PROJECT)).expanduser() / str(DEFAULT_NAME if name is None else name)
    return Place(folder, project is not None or name is not None, _flag(settings, "exist_ok"))
