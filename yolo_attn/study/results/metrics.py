"""Metrics of one run, and their bootstrap replicates over the test images.

All numbers are computed from the run's `matches.npz`. `draws.npz` caches them, because the bootstrap takes seconds to
minutes, and may be deleted. The cache is used only if this user wrote it, from exactly these matches and with this
version of the computation: its header names the SHA-256 of the matches and all that the numbers depend on, and a seal
covers header and arrays. Otherwise the numbers are computed again.
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
from yolo_attn.stats.bootstrap import REPLICATES, SEED, image_weights, replicate_metrics
from yolo_attn.stats.chance import Chance
from yolo_attn.stats.evaluation import Evaluation, evaluate
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.study.files import BOOTSTRAP, MATCHES

__all__ = ["RunMetrics", "run_metrics"]

_VERSION = 5
_ARRAYS = ("values", "draws")  # names in the file


@dataclass(frozen=True)
class RunMetrics:
    """Metrics of one run in C columns: those of its kind of evaluation, then the first one of each class.

    Args:
        values: [C] the metrics.
        classes: Names of the classes.
        instances: [K] number of labels of each class.
        images: Number of images.
        dataset: Hash of images, classes and labels.
        replicates: [R, C] the metrics in the replicates of the bootstrap over images.
        chance: Part of the first metric that is reached by chance; None with too few images.
    """

    values: NDArray[np.float64]
    classes: tuple[str, ...]
    instances: tuple[int, ...]
    images: int
    dataset: str
    replicates: NDArray[np.float32]
    chance: Chance | None = None

    @property
    def learnt(self) -> bool | None:
        """Whether the predictions depend on their images; None when that cannot be decided."""
        return self.chance.learnt if self.chance else None


def run_metrics(folder: Path, task: str | None = None, *, keep: bool = True) -> RunMetrics:
    """Return the metrics of a run, from the cache or from its stored matches.

    Args:
        folder: The run's folder.
        task: The task of its model.
        keep: Whether to write the cache.

    Raises:
        UserError: The matches are missing or damaged, or the disk is full.
    """
    kind = evaluation_of(task)
    matches = npz.fingerprint(folder / MATCHES)
    inputs = {"matches": matches, "replicates": REPLICATES, "seed": SEED, "metrics": kind.metrics}
    path = folder / BOOTSTRAP
    if path.is_file():
        cached = _read_cache(path, inputs)
        if cached is not None:
            return cached
        _log_unusable_cache(folder.parent)
    found = _compute(kind.load(folder / MATCHES))
    if keep:
        _write_cache(path, found, inputs)
    return found


def _read_cache(path: Path, inputs: Mapping[str, object]) -> RunMetrics | None:
    """Return the cached metrics, None unless the cache is valid."""
    try:
        header, arrays = npz.load(path, _VERSION)
        mark = header.pop("seal", None)
        expected = json.loads(json.dumps(inputs))  # tuples are lists in a header
        if any(header.get(key) != value for key, value in expected.items()):
            return None
        if not seal.is_sealed(mark, *_sealed(header, arrays)):
            return None
        return RunMetrics(
            values=arrays["values"],
            classes=tuple(header["classes"]),
            instances=tuple(header["instances"]),
            images=header["images"],
            dataset=header["dataset"],
            replicates=arrays["draws"],
            chance=Chance(*header["chance"]) if header["chance"] else None,
        )
    except (UserError, KeyError, TypeError, ValueError):
        return None


@lru_cache(maxsize=256)
def _log_unusable_cache(runs: Path) -> None:
    """Log once for a study that cached numbers are not used."""
    from yolo_attn.host.installation import LOGGER

    LOGGER.info(
        f"yolo-attn: {runs}: a {BOOTSTRAP} does not belong to its {MATCHES} or was not written by this user "
        "on this machine; its numbers are computed again from the matches"
    )


def _compute(found: Evaluation) -> RunMetrics:
    values = evaluate(found)
    sample = replicate_metrics(found, image_weights(len(found.images), REPLICATES, SEED))
    return RunMetrics(
        values=np.array([*values["metrics"].values(), *values["per_class"].values()]),
        classes=found.classes,
        instances=found.counts(),
        images=len(found.images),
        dataset=_dataset_digest(found),
        replicates=np.concatenate([sample.metrics, sample.per_class], axis=1).astype(np.float32),
        chance=found.chance(),
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
