"""Planning of a study: its arms, runs, dataset and platform. Everything is checked before anything is written."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from yolo_attn.data import resolve_data
from yolo_attn.errors import UserError
from yolo_attn.security.trust import trusts_files
from yolo_attn.stats.compare import MIN_IMAGES
from yolo_attn.stats.groups import FOLDER, check_groups
from yolo_attn.stats.tasks import EVALUATIONS, evaluation_of
from yolo_attn.study.job import Platform, RunSettings
from yolo_attn.study.results.looks import read_looks
from yolo_attn.study.results.records import StudyInfo
from yolo_attn.study.running.dataset import Dataset, read_dataset
from yolo_attn.study.running.key import package_versions
from yolo_attn.study.running.layer_code import layer_sources
from yolo_attn.study.running.resources import threads_per_run
from yolo_attn.study.running.run import Run, plan_run
from yolo_attn.study.specification.arms import Arm, build_arms
from yolo_attn.study.specification.device import count_devices, device_kind
from yolo_attn.study.specification.recipe import counts_one_class, recipe_split
from yolo_attn.study.specification.study import Study
from yolo_attn.study.store import Store, StoredStudy, read_study

if TYPE_CHECKING:
    from yolo_attn.layer_files import Sources

__all__ = ["Plan", "make_plan"]

_Bases = Mapping[str | None, Sequence[Run]]


@dataclass(frozen=True)
class Plan:
    """A study with all that its runs need.

    Args:
        study: The study.
        arms: Baseline, variants and controls.
        bases: Runs that train the weights that others start from, by the name of the only arm that starts from them;
            None for those of all others. Empty without.
        runs: The runs of the arms, in the order in which they start.
        settings: Settings that results do not depend on, the same for all runs.
        platform: Versions, device and threads of the runs.
        dataset: Hash and sizes of the dataset.
        sources: Source files of custom layers.
    """

    study: Study
    arms: Sequence[Arm]
    bases: _Bases
    runs: Sequence[Run]
    settings: RunSettings
    platform: Platform
    dataset: Dataset
    sources: Sources

    @property
    def baseline(self) -> Arm:
        """The arm that all others are compared with."""
        return self.arms[0]

    @property
    def trainable_arms(self) -> list[Arm]:
        """The arms whose models can be built."""
        return [arm for arm in self.arms if not arm.error]

    @property
    def tested(self) -> int:
        """The number of variants that are tested together; as in the results, one that cannot be built counts."""
        return sum(arm.kind == "variant" for arm in self.arms)

    @property
    def classes(self) -> int:
        """The number of classes that the models are trained for; 0 if it is not known."""
        return min(1, len(self.dataset.names)) if counts_one_class(self.study.train) else len(self.dataset.names)

    @property
    def untrained(self) -> bool:
        """Whether all arms start without trained weights."""
        return not self.settings.weights and not self.bases

    @property
    def lr_attention(self) -> float:
        """The learning rate of attention layers, relative to that of the others; 1 if no arm has any."""
        return next((run.inputs.lr_attention for run in self.runs if run.inputs.lr_attention != 1), 1.0)

    @property
    def seeds_per_base(self) -> int | None:
        """The seeds that start from each base in a study with several bases; None in others."""
        bases = self.study.design.bases
        return len(self.study.seeds) // bases if bases > 1 else None

    @property
    def base_runs(self) -> list[Run]:
        """The runs that train the weights that others start from."""
        return [run for runs in self.bases.values() for run in runs]

    @property
    def every_run(self) -> list[Run]:
        """The runs that train bases, then those of the arms."""
        return [*self.base_runs, *self.runs]

    def runs_of(self, arm: Arm) -> list[Run]:
        """Return the runs of an arm."""
        return [run for run in self.runs if run.arm is arm]

    def info(self, seeds: int, command: str) -> StudyInfo:
        """Return the setup for the results.

        Args:
            seeds: Number of seeds that are due.
            command: The command line.
        """
        study, settings, platform, design = self.study, self.settings, self.platform, self.study.design
        return StudyInfo(
            data=study.data,
            data_digest=self.dataset.digest,
            images=self.dataset.images,
            instances=self.dataset.instances,
            task=settings.task,
            weights=Path(settings.weights).name if settings.weights else None,
            recipe=study.train,
            versions=platform.versions,
            seeds=study.seeds[:seeds],
            device=platform.device,
            threads=platform.threads,
            command=command,
            margin=design.margin / 100,
            no_worse=design.no_worse,
            max_seeds=design.max_seeds,
            pretrain=design.pretrain or None,
            pretraining=study.pretraining,
            lr_attention=self.lr_attention if self.lr_attention != 1 else None,
            groups=design.groups,
        )


def make_plan(study: Study, store: Store, stream: TextIO, *, added: bool = True) -> Plan:
    """Plan a study.

    Args:
        study: The study.
        store: Its store.
        stream: Output for messages.
        added: Whether the study is added to the one that the store contains, if any; otherwise it replaces it.

    Raises:
        UserError: An argument is invalid, or the store is damaged, locked, or of other package versions.
    """
    from yolo_attn.layer_files import sources_of

    versions = package_versions()
    if store.exists and not study.plan_only:
        store.check_free()
    stored, earlier = _read_stored(store, versions)
    if stored is not None and added:
        study = study.added_to(stored.comparison, max((look.seeds for look in read_looks(store.folder)), default=0))
    modules = _load_layers(study, stored)
    arms: Sequence[Arm] = _build_arms(study, stored, store)
    task = _task_of(study, arms)
    data = resolve_data(study.data)
    platform = _choose_platform(study, versions, earlier)
    if earlier is not None:
        _report_device_change(store, earlier, platform, stream)
    dataset = read_dataset(data, task, recipe_split(study.train), single_class=counts_one_class(study.train))
    _check_groups(study, task, dataset)
    settings = RunSettings(
        task=task,
        data=data,
        device=study.device or ("cpu" if platform.device == "cpu" else None),
        weights=str(arms[0].weights) if arms[0].weights else None,
        trust=trusts_files(),
        groups=study.design.groups,
    )
    arms, bases, runs = _plan_runs(study, arms, dataset, platform)
    sources = functools.reduce(operator.or_, (run.sources for run in runs if run.sources), sources_of(modules))
    return Plan(study, arms, bases, runs, settings, platform, dataset, sources)


def _read_stored(store: Store, versions: Mapping[str, str]) -> tuple[StoredStudy | None, Platform | None]:
    """Return the study in a store, and the platform of its runs.

    Raises:
        UserError: The store is damaged, or of other package versions.
    """
    if not store.exists:
        return None, None
    platform = store.platform(versions)
    return read_study(store.folder), platform


def _task_of(study: Study, arms: Sequence[Arm]) -> str:
    """Return the task of a study.

    Raises:
        UserError: It is not supported, or a layer cannot be imported elsewhere, which is checked before data are
            downloaded.
    """
    from yolo_attn.host.model_kind import task_of

    for arm in arms:
        if not arm.error:
            layer_sources(arm.model)
    task = task_of(arms[0].model)
    if task not in EVALUATIONS:
        raise UserError(f"base={study.base}: a {task} model; compare supports {', '.join(EVALUATIONS)}")
    return task


def _plan_runs(
    study: Study, arms: Sequence[Arm], dataset: Dataset, platform: Platform
) -> tuple[Sequence[Arm], _Bases, list[Run]]:
    """Return the arms as they are trained, the runs that train their bases, and those of the arms.

    All arms of a seed come before the next seed: a study that is stopped early has complete comparisons.
    """
    plan = functools.partial(plan_run, data=dataset.digest, platform=platform)
    bases: _Bases = {}
    if study.design.pretrain:
        bases = _plan_bases(arms, study.design.bases, functools.partial(plan, recipe=study.pretraining))
        arms = _with_classes(arms, _classes(dataset, study.pretraining))
    runs = [
        plan(
            arm,
            seed,
            recipe=study.train,
            base=bases.get(arm.name, bases[None])[number % study.design.bases] if bases else None,
            lr_attention=study.design.lr_attention,
        )
        for number, seed in enumerate(study.seeds)
        for arm in arms
        if not arm.error
    ]
    return arms, bases, runs


def _plan_bases(arms: Sequence[Arm], number: int, plan: Callable[[Arm, int], Run]) -> _Bases:
    """Return the runs that train the weights that arms start from, as `Plan.bases`.

    Args:
        arms: The arms, the baseline first.
        number: Number of bases of each; their seeds are 0, 1, 2, ....
        plan: Plans the run of an arm with a seed.
    """
    models: dict[str | None, Arm] = {
        None: arms[0],
        **{arm.name: arm for arm in arms[1:] if arm.own_base and not arm.error},
    }
    bases = {name: Arm(f"{arm.name} pretraining", "base", arm.model) for name, arm in models.items()}
    return {name: [plan(base, seed) for seed in range(number)] for name, base in bases.items()}


def _classes(dataset: Dataset, recipe: Mapping[str, object]) -> int:
    """Return the number of classes of a model that was trained on a dataset.

    Raises:
        UserError: It is not known before training.
    """
    if not dataset.names:
        raise UserError("pretrain=: the classes of this dataset are not known before training; give its data YAML")
    return 1 if recipe.get("single_cls") else len(dataset.names)


def _with_classes(arms: Sequence[Arm], classes: int) -> list[Arm]:
    """Return arms whose models have a number of classes; otherwise the head of a trained base would not fit them."""
    return [arm if arm.error else replace(arm, model={**arm.model, "nc": classes}) for arm in arms]


def _check_groups(study: Study, task: str, dataset: Dataset) -> None:
    """Raise UserError if the study's groups of images are not sufficient for a verdict."""
    rule = study.design.groups
    if rule == FOLDER and evaluation_of(task).class_folders:
        raise UserError(
            f"groups={rule}: the folders are the classes of the images; give a pattern of the names of files that "
            "belong together"
        )
    if rule is not None and dataset.image_names:
        check_groups(dataset.image_names, rule, MIN_IMAGES)


def _load_layers(study: Study, stored: StoredStudy | None) -> list[str]:
    """Import the files of custom layers that a study names or its folder contains, and return their modules.

    Raises:
        UserError: The command does not name the files, and files are not trusted: a study file and a study's folder may
            come from someone else.
    """
    from yolo_attn.layer_files import load_layers, module_of

    stored_files = stored.layers if stored is not None and not study.layers else ()
    files = [*study.layers, *map(str, stored_files)]
    if not study.layers_trusted:
        files = [file for file in files if module_of(Path(file))[0] not in sys.modules]
        if files and not trusts_files():
            named = ",".join(files)
            raise UserError(f"the study's layers are Python files, which are not run unasked; add layers={named}")
    return load_layers(files)


def _build_arms(study: Study, stored: StoredStudy | None, store: Store) -> list[Arm]:
    """Return the arms of a study.

    Raises:
        UserError: As `build_arms`; the message also names stored custom layers that were not imported.
    """
    from yolo_attn.layer_files import module_of

    try:
        return build_arms(study)
    except UserError as error:
        files = stored.layers if stored is not None else ()
        missing = [str(file) for file in files if file.is_file() and module_of(file)[0] not in sys.modules]
        if not missing:
            raise
        named = ",".join([*study.layers, *missing])
        raise UserError(
            f"{error}; {store.folder} contains layers that are not run unasked: give layers={named}"
        ) from None


def _choose_platform(study: Study, versions: dict[str, str], stored: Platform | None) -> Platform:
    device = device_kind(study.device)
    stored_threads = stored.threads if stored is not None else None
    threads = study.threads or stored_threads or study.usual_threads or threads_per_run(study, device)
    return Platform(versions, device, threads, count_devices(study.device))


def _report_device_change(store: Store, before: Platform, now: Platform, stream: TextIO) -> None:
    """Print that a study continues on another device, where none of its earlier runs can be used."""
    old, new = (f"{platform.devices} {platform.device}" for platform in (before, now))
    if new != old:
        print(
            f"{store.folder}: last trained on {old}, now on {new}; runs of different devices are not mixed, and runs "
            f"that are missing on {new} are trained",
            file=stream,
            flush=True,
        )
