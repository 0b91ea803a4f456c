"""The specification of a study: what it compares, and how and where it runs, read from `key=value` arguments."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from yolo_attn.data import find_dataset
from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.graph import ModelKind, ModelRef
from yolo_attn.study.files import LAYERS, STORE
from yolo_attn.study.specification.arguments import (
    AUTO,
    parse_controls,
    parse_flag,
    parse_points,
    parse_required,
    parse_text,
    parse_threads,
    parse_variants,
)
from yolo_attn.study.specification.controls import CONTROLS
from yolo_attn.study.specification.design import FINE_TUNING_LR_ATTENTION, Design, parse_hours, read_seeds
from yolo_attn.study.specification.device import check_share, device_kind, parse_gpus, read_device
from yolo_attn.study.specification.recipe import (
    RecipeKeys,
    base_recipe,
    check_recipe,
    recipe_integer,
    recipe_keys,
    study_recipe,
)
from yolo_attn.system.files import expand_home, parse_yaml, read_text, repeated_keys

__all__ = ["DEFAULT_NAME", "DEFAULT_PROJECT", "DEFAULT_STUDY", "Comparison", "Study", "StudyFolder"]

DEFAULT_STUDY: dict[str, object] = {
    "base": "yolo11n.yaml",
    "data": "digits",
    # The fewest epochs after which every arm is accurate enough for a comparison (mAP50 above 0.35, with a reserve).
    "pretrain": 15,
    "variants": ["SE[init=identity]@neck", "CBAM[init=identity]@neck", "EMA[init=identity]@neck", "CBAM@neck"],
    "controls": ["null", "aa"],
    # The seeds that fit into ten minutes on two CPU cores; three would seldom show equivalence within half a point.
    "seeds": 5,
}
"""The study of a `compare` without arguments: minutes on two CPU cores, with the recipe of its dataset."""
DEFAULT_THREADS = 1  # small feature maps gain little from a second thread and lose much on a busy machine
DEFAULT_PROJECT = "runs/compare"
DEFAULT_NAME = "compare"

RUNNERS = ("local", "ray")
_COMPARISON_KEYS = ("base", "data", "variants", "controls", "seeds", "train")
_DESIGN_KEYS = tuple(field.name for field in fields(Design))
_PRETRAINING = "pretraining"
_LR_ATTENTION = "lr_attention"
_FILE_KEYS = (*_COMPARISON_KEYS, *_DESIGN_KEYS, "recipe", _PRETRAINING, LAYERS)
_STUDY_KEYS = (
    *("base", "data", "variants", "controls", "seeds", *_DESIGN_KEYS, "recipe", LAYERS, "study", "project", "name"),
    *("exist_ok", "device", "threads", "retry", "workers", "runner", "address", "gpus", "trust", "hours", "plan"),
    "detect",
)


@dataclass(frozen=True)
class StudyFolder:
    """The folder that a study is stored in.

    Args:
        path: `project/name`.
        explicit: Whether the user named it; no other folder is used then.
        exist_ok: Whether the study may be added to the one in the folder.
    """

    path: Path
    explicit: bool = False
    exist_ok: bool = False


@dataclass(frozen=True)
class Comparison:
    """The compared models, data and recipe: the content of a study file.

    Args:
        base: Model YAML name or path, or a checkpoint.
        data: Dataset name or data YAML.
        variants: Placements ("SE@neck") or model YAMLs, in the order of the report.
        controls: Names from `CONTROLS`.
        seeds: One run per arm and seed.
        train: The recipe: Ultralytics' training keys.
        design: How it is started and judged.
        pretraining: The recipe of the base's own training; empty without one.
        given: Keys of the comparison and its design that its study file, or the command, gives.
    """

    base: str
    data: str
    variants: tuple[str, ...]
    controls: tuple[str, ...]
    seeds: tuple[int, ...]
    train: Mapping[str, object]
    design: Design = field(default_factory=Design)
    pretraining: Mapping[str, object] = field(default_factory=dict)
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def to_content(self) -> dict[str, object]:
        """Return the comparison as the content of a study file.

        A given learning rate of attention layers is part of it, even the default, and without one it is 1: files of
        early versions lack the key, whose default depends on the base now.
        """
        return {
            "base": self.base,
            "data": self.data,
            "variants": list(self.variants),
            "controls": list(self.controls),
            "seeds": list(self.seeds) if self.design.max_seeds is None else AUTO,
            "train": dict(self.train),
            **({_PRETRAINING: dict(self.pretraining)} if self.pretraining else {}),
            **({_LR_ATTENTION: self.design.lr_attention} if _LR_ATTENTION in self.given else {}),
            **self.design.to_content(),
        }

    @classmethod
    def from_content(cls, content: object) -> Comparison | None:
        """Read a comparison from the content of a stored study file; None if a key is missing or has a wrong type."""
        kinds = {"base": str, "data": str, "variants": list, "controls": list, "train": dict, _PRETRAINING: dict}
        if not isinstance(content, dict):
            return None
        given = frozenset(content)
        content = {"controls": [], _PRETRAINING: {}, **content}  # early versions had neither
        if not all(isinstance(content.get(key), kind) for key, kind in kinds.items()):
            return None
        try:
            design = Design.from_content(content)
            seeds = read_seeds(content.get("seeds"), design)
        except UserError:
            return None
        return cls(
            base=content["base"],
            data=content["data"],
            variants=tuple(map(str, content["variants"])),
            controls=tuple("null" if name is None else str(name) for name in content["controls"]),
            seeds=seeds,
            train=content["train"],
            design=design,
            pretraining=content[_PRETRAINING],
            given=given,
        )

    def is_same(self, other: Comparison) -> bool:
        """Whether another comparison has the same runs, in any order."""
        return (
            self.is_similar(other)
            and sorted(self.variants) == sorted(other.variants)
            and sorted(self.controls) == sorted(other.controls)
            and sorted(self.seeds) == sorted(other.seeds)
            and self.design.max_seeds == other.design.max_seeds
        )

    def is_similar(self, other: Comparison) -> bool:
        """Whether another comparison has the same base, dataset and recipe."""
        one, two = ((x.base, x.data, dict(x.train), dict(x.pretraining)) for x in (self, other))
        return one == two and self.design.is_similar(other.design)


@dataclass(frozen=True, kw_only=True)
class Study(Comparison):
    """A comparison, and how and where it runs.

    Args:
        folder: The folder that the study is stored in.
        device: From `read_device`; None for an automatic choice.
        threads: CPU threads of one run; None for the stored or the usual number.
        retry: Whether to run failed runs again.
        workers: Runs at once on this machine; None for one per GPU, or for as many as the cores allow.
        runner: "local" or "ray".
        address: Address of the Ray cluster.
        gpus: The part of a GPU that a run requests from Ray; None for one GPU per device.
        layers: Python files of custom layers.
        layers_trusted: Whether the command names these files, and not a study file, which may come from someone else.
        trust: Whether files may execute the code stored in them; None for the setting of the environment.
        hours: Time after which no further seed is started with `seeds=auto`; None without a limit.
        plan_only: Whether to print the plan and train nothing.
        detect: A difference in points, for which the plan names the cheapest design.
    """

    folder: StudyFolder
    device: str | None = None
    threads: int | None = None
    retry: bool = False
    workers: int | None = None
    runner: str = "local"
    address: str | None = None
    gpus: float | None = None
    layers: tuple[str, ...] = ()
    layers_trusted: bool = False
    trust: bool | None = None
    hours: float | None = None
    plan_only: bool = False
    detect: float | None = None

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, object]) -> Study:
        """Read a study from arguments: a study's own keys, and Ultralytics' training keys for the recipe.

        Args:
            arguments: Keys and values; text is parsed like the command line's.

        Raises:
            UserError: A key or a value is invalid, or a study file cannot be read.
        """
        settings = {key: value for key, value in arguments.items() if key in _STUDY_KEYS}
        training = {key: value for key, value in arguments.items() if key not in _STUDY_KEYS}
        _check_known(training)
        file = settings.pop("study", None)
        given = {key: value for key, value in settings.items() if key in (*_COMPARISON_KEYS, *_DESIGN_KEYS, LAYERS)}
        if file is None:
            return cls._read(_defaults(given) | given, settings, training, frozenset(given))
        content = _read_file(Path(str(file)))
        with _naming(file, content.keys() - given.keys()):
            read = _stored_defaults(Path(str(file))) | content | given
            return cls._read(read, settings, training, frozenset(content | given))

    @classmethod
    def _read(
        cls,
        content: Mapping[str, object],
        settings: Mapping[str, object],
        training: Mapping[str, object],
        given: frozenset[str],
    ) -> Study:
        """Read a study.

        Args:
            content: The comparison and its design, from a study file, the command and the defaults.
            settings: The command's keys of a study.
            training: The command's Ultralytics training keys.
            given: As in `Study`.

        Raises:
            UserError: A value is invalid.
        """
        runner = _parse_runner(settings)
        device = read_device(settings.get("device"), here=runner == "local")
        base = parse_required("base", content["base"], DEFAULT_STUDY["base"])
        design = Design.from_content(content)
        trained = _check_start(base, design)
        if trained and content.get("lr_attention") is None:
            design = replace(design, lr_attention=FINE_TUNING_LR_ATTENTION)
        data = parse_required("data", content["data"], DEFAULT_STUDY["data"])
        keys = [
            _evaluated_split(data),
            _recipe_keys(content.get("recipe"), content["train"]),
            _recipe_keys(settings.get("recipe"), training),
        ]
        train, pretraining = _recipes(keys, content.get(_PRETRAINING), device, design, finetune=trained)
        seeds = read_seeds(content["seeds"], design)
        return cls(
            base=base,
            data=data,
            variants=parse_variants(content["variants"]),
            controls=parse_controls(content["controls"], CONTROLS),
            seeds=seeds,
            train=train,
            design=design,
            pretraining=pretraining,
            folder=_parse_folder(settings),
            device=device,
            threads=parse_threads(settings, "threads"),
            retry=parse_flag(settings, "retry"),
            workers=parse_threads(settings, "workers"),
            runner=runner,
            address=parse_text(settings, "address"),
            gpus=parse_gpus(settings, runner, device),
            layers=_layer_files(content.get(LAYERS)),
            layers_trusted=LAYERS in settings,
            trust=parse_flag(settings, "trust") if "trust" in settings else None,
            hours=parse_hours(settings, design),
            plan_only=parse_flag(settings, "plan"),
            detect=_parse_detect(settings),
            given=given,
        )

    @property
    def usual_threads(self) -> int | None:
        """The threads of a run if the user gives none; None for its share of the cores."""
        is_default = (self.base, self.data) == (DEFAULT_STUDY["base"], DEFAULT_STUDY["data"])
        return DEFAULT_THREADS if is_default else None

    @property
    def is_checkpoint(self) -> bool:
        """Whether the base is a checkpoint."""
        return _is_checkpoint(self.base)

    def is_similar(self, other: Comparison) -> bool:
        """Whether another comparison has the same base, dataset and recipe.

        A learning rate of attention layers that neither gives is that of the other one, which an early version with
        another default may have stored.
        """
        if _LR_ATTENTION in self.given | other.given:
            return super().is_similar(other)
        design = replace(self.design, lr_attention=other.design.lr_attention)
        return Comparison.is_similar(replace(self, design=design), other)

    def added_to(self, stored: Comparison, used: int = 0) -> Study:
        """Return this study, added to the stored comparison of a folder.

        Stored variants, controls and seeds remain, and new ones follow. What neither the command nor its study file
        gives is as stored. A study of another base, dataset or recipe replaces the stored comparison.

        Args:
            stored: The stored comparison.
            used: Number of seeds of the stored study that have been looked at.

        Raises:
            UserError: `seeds=auto` is added to a study with other seeds than the first ones.
        """
        if not self.is_similar(stored):
            return self
        design = replace(
            self.design, **{key: value for key, value in vars(stored.design).items() if key not in self.given}
        )
        adaptive, seeds = self._added_seeds(stored, used)
        return replace(
            self,
            variants=tuple(dict.fromkeys([*stored.variants, *self.variants])),
            controls=tuple(dict.fromkeys([*stored.controls, *self.controls])),
            seeds=seeds,
            design=replace(design, max_seeds=len(seeds) if adaptive else None),
        )

    def _added_seeds(self, stored: Comparison, used: int) -> tuple[bool, tuple[int, ...]]:
        """Return whether undecided arms get more seeds, and all seeds."""
        was_adaptive = stored.design.max_seeds is not None
        if self.given.isdisjoint({"seeds", "max_seeds"}):
            return was_adaptive, stored.seeds
        if self.design.max_seeds is None:
            return False, tuple(dict.fromkeys([*(stored.seeds[:used] if was_adaptive else stored.seeds), *self.seeds]))
        if sorted(stored.seeds) != list(range(len(stored.seeds))):
            listed = ",".join(map(str, stored.seeds))
            raise UserError(f"seeds=auto: adds to the seeds 0, 1, 2, ..., but the study has the seeds {listed}")
        if "max_seeds" in self.given and len(self.seeds) < len(stored.seeds):
            raise UserError(f"max_seeds={len(self.seeds)}: the study has {len(stored.seeds)}, which can only grow")
        return True, max(stored.seeds, self.seeds, key=len)


def _check_known(training: Mapping[str, object]) -> None:
    """Check that all keys exist, with suggestions from a study's keys too; `check_recipe` checks the rest."""
    from yolo_attn.host.training_arguments import argument_names

    names = argument_names()
    for key in training:
        if key not in names:
            known = [*_STUDY_KEYS, *sorted(recipe_keys())]
            raise UserError(f"unknown key '{key}'{did_you_mean(key, known)}")


def _is_checkpoint(base: str) -> bool:
    return ModelRef.parse(base).kind is ModelKind.CHECKPOINT


def _check_start(base: str, design: Design) -> bool:
    """Return whether the arms start from trained weights: those of a checkpoint, or of the base's own training.

    Raises:
        UserError: Both are asked for.
    """
    if _is_checkpoint(base) and design.pretrain:
        raise UserError(
            f"pretrain={design.pretrain} and base={base}: the base is trained already; omit pretrain=, or give a model "
            "YAML as base="
        )
    return _is_checkpoint(base) or design.pretrain > 0


def _defaults(given: Mapping[str, object]) -> dict[str, object]:
    """Return the default study with the recipe of the given dataset.

    Controls are only for the default arms, and a given base is not trained first unless that is asked for.
    """
    data = str(given.get("data", DEFAULT_STUDY["data"]))
    default_arms = given.keys().isdisjoint({"base", "variants"})
    entry = find_dataset(data)
    return {
        **DEFAULT_STUDY,
        "pretrain": 0 if "base" in given else DEFAULT_STUDY["pretrain"],
        "train": {},
        "recipe": entry.name if entry is not None and entry.recipe else None,
        "controls": DEFAULT_STUDY["controls"] if default_arms else [],
    }


def _evaluated_split(data: str) -> RecipeKeys:
    """Return the split of a dataset that studies evaluate, unless it is the usual one."""
    entry = find_dataset(data)
    return RecipeKeys(keys={"split": entry.evaluate} if entry is not None and entry.evaluate != "val" else {})


def _recipes(
    keys: Sequence[RecipeKeys], of_base: object, device: str | None, design: Design, *, finetune: bool
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return the recipe of the arms, and that of the base's own training, which is empty without one.

    Args:
        keys: The keys of both, from the weakest to the strongest.
        of_base: The keys of the base's own training alone.
        device: The device.
        design: The design of the study.
        finetune: Whether the arms start from trained weights.
    """
    amp = device_kind(device) != "cpu"
    train = study_recipe(keys, amp=amp, finetune=finetune)
    check_share(device, recipe_integer(train, "batch"))
    if not design.pretrain:
        return train, {}
    return train, base_recipe(keys, _recipe_keys(None, of_base).keys, amp=amp, epochs=design.pretrain)


def _recipe_keys(name: object, keys: object) -> RecipeKeys:
    return RecipeKeys(None if name is None else str(name), keys if isinstance(keys, dict) else {})


def _read_file(path: Path) -> dict[str, object]:
    """Read a study file."""
    text = read_text(path)
    content = parse_yaml(text, path)
    for key, lines in repeated_keys(text):
        raise UserError(f"study={path}: {key} is written in lines {' and '.join(map(str, lines))}; keep one")
    if not isinstance(content, dict):
        raise UserError(f"study={path}: must be a mapping with the keys {', '.join(_FILE_KEYS)}")
    for key in content:
        if key in _STUDY_KEYS and key not in _FILE_KEYS:
            raise UserError(f"study={path}: '{key}' is not part of a study file; give {key}= in the command")
        if key not in _FILE_KEYS:
            raise UserError(f"study={path}: unknown key '{key}'{did_you_mean(str(key), _FILE_KEYS)}")
    for key in ("base", "data", "variants"):
        if content.get(key) is None:
            raise UserError(f"study={path}: the key '{key}' is missing")
    for key in ("train", _PRETRAINING):
        keys = content.get(key) or {}
        if not isinstance(keys, dict):
            raise UserError(
                f"study={path}: {key} must be a mapping of Ultralytics' training keys, such as {{epochs: 100}}"
            )
        check_recipe(keys, f"study={path}, {key}: ")
    if content.get(_PRETRAINING) and not content.get("pretrain"):
        raise UserError(f"study={path}: {_PRETRAINING} is the recipe of the base's own training; add pretrain: EPOCHS")
    # Files next to the study file are found from any folder.
    named = _layer_files(content.get(LAYERS))
    files = [str(path.parent / file) if (path.parent / file).exists() else file for file in named]
    return {
        "seeds": DEFAULT_STUDY["seeds"],
        **content,
        "controls": content.get("controls") or [],
        "train": content.get("train") or {},
        LAYERS: files,
    }


def _stored_defaults(path: Path) -> dict[str, object]:
    """Return the values of missing keys that are not the defaults of now, because a study was stored with them."""
    return {_LR_ATTENTION: Design.lr_attention} if path.with_name(STORE).exists() else {}


@contextlib.contextmanager
def _naming(file: object, keys: Collection[str]) -> Iterator[None]:
    """Add a study file to the message of an error in one of its keys."""
    try:
        yield
    except UserError as error:
        key = re.match(r"\w*", str(error))
        if key is None or key[0] not in keys:
            raise
        raise UserError(f"study={file}: {error}") from None


def _layer_files(value: object) -> tuple[str, ...]:
    """Return the files of custom layers that a study names."""
    from yolo_attn.layer_files import split_files

    return () if value is None else split_files(value)


def _parse_runner(settings: Mapping[str, object]) -> str:
    runner = str(settings.get("runner", "local")).strip()
    if runner not in RUNNERS:
        raise UserError(f"runner={runner}: must be local or ray{did_you_mean(runner, RUNNERS)}")
    if runner == "local" and settings.get("address") is not None:
        raise UserError(f"address={settings['address']}: belongs to runner=ray")
    if runner == "ray" and settings.get("workers") is not None:
        raise UserError("workers=: with runner=ray the cluster's processors and GPUs limit the runs at once; omit it")
    return runner


def _parse_detect(settings: Mapping[str, object]) -> float | None:
    detect = parse_points(settings, "detect")
    if detect is not None and not parse_flag(settings, "plan"):
        raise UserError(f"detect={detect:g}: belongs to plan=True, which names the cheapest study for it")
    return detect


def _parse_folder(settings: Mapping[str, object]) -> StudyFolder:
    project, name = settings.get("project"), settings.get("name")
    for key, value, default in (("project", project, DEFAULT_PROJECT), ("name", name, DEFAULT_NAME)):
        if value is not None and not str(value).strip():
            raise UserError(f"{key}= is empty; the default is {default}")
    path = expand_home(str(project or DEFAULT_PROJECT)) / str(DEFAULT_NAME if name is None else name)
    return StudyFolder(path, project is not None or name is not None, parse_flag(settings, "exist_ok"))
