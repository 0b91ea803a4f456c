"""Metrics of one run, and their bootstrap replicates over the test images.

All numbers are computed from the run's `matches.npz`. `draws.npz` caches them, because the bootstrap takes seconds to
minutes, and may be deleted. The cache is used only if this user wrote it, from exactly these matches and with this
version of the computation: its header names the SHA-256 of the matches and all that the numbers depend on, such as the
groups of images, and a seal covers header and arrays. Otherwise the numbers are computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.security import seal
from yolo_attn.stats import npz
from yolo_attn.stats.bootstrap import REPLICATES, SEED, group_weights, replicate_metrics
from yolo_attn.stats.chance import Chance
from yolo_attn.stats.compare import Support
from yolo_attn.stats.evaluation import Evaluation, evaluate
from yolo_attn.stats.groups import find_sequences, group_images
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.study.files import BOOTSTRAP, MATCHES

__all__ = ["RunMetrics", "run_metrics"]

_VERSION = 6
_ARRAYS = ("values", "draws")  # names in the file


@dataclass(frozen=True)
class RunMetrics:
    """Metrics of one run in C columns: those of its kind of evaluation, then the first one of each class.

    Args:
        values: [C] the metrics.
        classes: Names of the classes.
        instances: [K] number of labels of each class.
        images: Number of images.
        groups: Number of groups of images, or of images if they are independent.
        labeled_groups: [C] numbers of groups that each metric rests on, as `Evaluation.groups_with_labels`.
        dataset: Hash of images, classes and labels.
        replicates: [R, C] the metrics in the replicates of the bootstrap over images.
        chance: Part of the first metric that is reached by chance; None with too few images.
        sequences: Rule that groups the images if their names look like frames of videos; None if they do not.
        most_objects: Largest number of objects of one class in an image.
    """

    values: NDArray[np.float64]
    classes: tuple[str, ...]
    instances: tuple[int, ...]
    images: int
    groups: int
    labeled_groups: tuple[tuple[int, ...], ...]
    dataset: str
    replicates: NDArray[np.float32]
    chance: Chance | None = None
    sequences: str | None = None
    most_objects: int = 1

    @property
    def learnt(self) -> bool | None:
        """Whether the predictions depend on their images; None when that cannot be decided."""
        return self.chance.learnt if self.chance else None

    @property
    def support(self) -> Support:
        """The groups of images that the metrics rest on."""
        return Support.of_means(self.labeled_groups, self.groups)

    @property
    def class_groups(self) -> list[int]:
        """[K] number of groups of images with labels of each class."""
        return [sum(counts) for counts in self.labeled_groups[-len(self.classes) :]]


def run_metrics(folder: Path, task: str | None = None, *, groups: str | None = None, keep: bool = True) -> RunMetrics:
    """Return the metrics of a run, from the cache or from its stored matches.

    Args:
        folder: The run's folder.
        task: The task of its model.
        groups: How images are grouped, as `group_images`.
        keep: Whether to write the cache.

    Raises:
        UserError: The matches are missing or damaged, groups are invalid, or the disk is full.
    """
    kind = evaluation_of(task)
    matches = npz.fingerprint(folder / MATCHES)
    settings = {"replicates": REPLICATES, "seed": SEED, "groups": groups}
    inputs = {"matches": matches, "metrics": kind.metrics, **settings}
    path = folder / BOOTSTRAP
    if path.is_file():
        cached = _read_cache(path, inputs)
        if cached is not None:
            return cached
    found = _compute(kind.load(folder / MATCHES), groups)
    if keep:
        _write_cache(path, found, inputs)
    return found


def _read_cache(path: Path, inputs: Mapping[str, object]) -> RunMetrics | None:
    """Return the cached metrics, None unless the cache is valid; only other groups are no reason for a message."""
    try:
        header, arrays = npz.load(path, _VERSION)
        mark = header.pop("seal", None)
        expected = json.loads(json.dumps(inputs))  # tuples are lists in a header
        differing = {key for key, value in expected.items() if header.get(key) != value}
        if differing == {"groups"}:
            return None
        if differing or not seal.is_sealed(mark, *_sealed(header, arrays)):
            raise ValueError("another file, computation or user")
        return RunMetrics(
            values=arrays["values"],
            classes=tuple(header["classes"]),
            instances=tuple(header["instances"]),
            images=header["images"],
            groups=header["group_count"],
            labeled_groups=tuple(map(tuple, header["labeled_groups"])),
            dataset=header["dataset"],
            replicates=arrays["draws"],
            chance=Chance(*header["chance"]) if header["chance"] else None,
            sequences=header["sequences"],
            most_objects=header["most_objects"],
        )
    except (UserError, KeyError, TypeError, ValueError):
        _log_unusable_cache(path.parent.parent)
        return None


@lru_cache(maxsize=256)
def _log_unusable_cache(runs: Path) -> None:
    """Log once for a study that cached numbers are not used."""
    from yolo_attn.host.installation import LOGGER

    LOGGER.info(
        f"yolo-attn: {runs}: a {BOOTSTRAP} does not belong to its {MATCHES} or was not written by this user "
        "on this machine; its numbers are computed again from the matches"
    )


def _compute(found: Evaluation, rule: str | None) -> RunMetrics:
    values, groups = evaluate(found), group_images(found.images, rule)
    sample = replicate_metrics(found, group_weights(groups, REPLICATES, SEED))
    return RunMetrics(
        values=np.array([*values["metrics"].values(), *values["per_class"].values()]),
        classes=found.classes,
        instances=found.counts(),
        images=len(found.images),
        groups=len(set(groups.tolist())),
        labeled_groups=tuple(tuple(counts.tolist()) for counts in found.groups_with_labels(groups)),
        dataset=_dataset_digest(found),
        replicates=np.concatenate([sample.metrics, sample.per_class], axis=1).astype(np.float32),
        chance=found.chance(),
        sequences=None if found.class_folders else find_sequences(found.images),
        most_objects=found.most_objects(),
    )


def _write_cache(path: Path, found: RunMetrics, inputs: Mapping[str, object]) -> None:
    """Write metrics with this user's seal."""
    chance = found.chance
    header = {
        "version": _VERSION,
        **inputs,
        "classes": found.classes,
        "instances": found.instances,
        "images": found.images,
        "group_count": found.groups,
        "labeled_groups": found.labeled_groups,
        "sequences": found.sequences,
        "most_objects": found.most_objects,
        "dataset": found.dataset,
        "chance": chance and (chance.reached, chance.mean, chance.largest, chance.alike),
    }
    arrays: dict[str, NDArray[Any]] = {"values": found.values, "draws": found.replicates}
    npz.save(path, {**header, "seal": seal.seal(*_sealed(header, arrays))}, arrays)


def _sealed(header: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> list[bytes]:
    """Return what the seal covers."""
    shapes = [[name, str(arrays[name].dtype), list(arrays[name].shape)] for name in _ARRAYS]
    return [json.dumps([header, shapes], sort_keys=True).encode(), *(arrays[name].tobytes() for name in _ARRAYS)]


def _dataset_digest(found: Evaluation) -> str:
    """Return a hash of the dataset of an evaluation."""
    digest = hashlib.sha256(repr((found.images, found.classes)).encode())
    for array in found.labels():
        digest.update(array.tobytes())
    return digest.hexdigest()
