"""What one run's evaluation says: its metrics, and what they would have been with other test images.

`matches.npz`, which the run wrote, holds what it found, image by image; all numbers are computed from it. `draws.npz`
keeps them, because the bootstrap takes seconds to minutes, and may be deleted. It is believed only when it was written
by this user, from exactly these matches, by this version of the computation: its header names the SHA-256 of the
matches and all that the numbers depend on, and a seal covers header and arrays. Anything else is computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.security import seal
from yolo_attn.stats import npz
from yolo_attn.stats.ap import METRICS, evaluate, instances
from yolo_attn.stats.bootstrap import REPLICATES, SEED, draws, image_weights
from yolo_attn.stats.chance import Chance, find_chance
from yolo_attn.stats.matches import Matches
from yolo_attn.study.files import BOOTSTRAP, MATCHES

__all__ = ["Measured", "measure"]

_VERSION = 5
_ARRAYS = ("values", "draws")


@dataclass(frozen=True)
class Measured:
    """The numbers of one run; C columns: those of `METRICS`, then mAP50-95 of each class.

    Args:
        values: [C].
        classes: Names of the classes.
        instances: [K] number of objects of each.
        images: Number of images.
        dataset: Hash of images, classes and objects.
        draws: [R, C] the same numbers in the replicates of the bootstrap over images.
        chance: What of mAP50-95 is reached by chance; None where too few images have objects.
    """

    values: NDArray[np.float64]
    classes: tuple[str, ...]
    instances: tuple[int, ...]
    images: int
    dataset: str
    draws: NDArray[np.float32]
    chance: Chance | None = None

    @property
    def learnt(self) -> bool | None:
        """Whether the detections have to do with their images; None where that cannot be told."""
        return self.chance.learnt if self.chance else None


def measure(folder: Path, *, keep: bool = True) -> Measured:
    """Return the numbers of a run from its stored matches; what took long is kept beside them.

    Args:
        folder: The run's folder.
        keep: Whether what took long is kept there; otherwise nothing is written.

    Raises:
        UserError: The matches are missing or damaged, or the disk is full.
    """
    wanted = {"matches": npz.fingerprint(folder / MATCHES), "replicates": REPLICATES, "seed": SEED, "metrics": METRICS}
    path = folder / BOOTSTRAP
    if path.is_file():
        kept = _kept(path, wanted)
        if kept is not None:
            return kept
        _report_unfit(folder.parent)
    measured = _compute(folder)
    if keep:
        _keep(path, measured, wanted)
    return measured


def _kept(path: Path, wanted: Mapping[str, Any]) -> Measured | None:
    """Return what was computed before, None when there is nothing that fits."""
    try:
        header, arrays = npz.load(path, _VERSION)
        mark = header.pop("seal", None)
        known = json.loads(json.dumps(wanted))  # as a header has it: tuples are lists there
        if any(header.get(key) != value for key, value in known.items()):
            return None
        if not seal.is_sealed(mark, *_sealed(header, arrays)):
            return None
        counts, classes = tuple(header["instances"]), tuple(header["classes"])
        chance = Chance(*header["chance"]) if header["chance"] else None
        return Measured(arrays["values"], classes, counts, header["images"], header["dataset"], arrays["draws"], chance)
    except (UserError, KeyError, TypeError, ValueError):
        return None


@lru_cache(maxsize=256)
def _report_unfit(runs: Path) -> None:
    """Say once for a study that stored numbers are not used."""
    from yolo_attn.host.installation import LOGGER

    LOGGER.info(
        f"yolo-attn: {runs}: a {BOOTSTRAP} does not fit its matches or was not written by this user on this machine; "
        "such numbers are computed again from the matches"
    )


def _compute(folder: Path) -> Measured:
    matches = Matches.load(folder / MATCHES)
    found = evaluate(matches)
    sample = draws(matches, image_weights(len(matches.images), REPLICATES, SEED))
    return Measured(
        values=np.array([*found["metrics"].values(), *found["per_class"].values()]),
        classes=matches.classes,
        instances=tuple(instances(matches).values()),
        images=len(matches.images),
        dataset=_dataset(matches),
        draws=np.concatenate([sample.metrics, sample.per_class], axis=1).astype(np.float32),
        chance=find_chance(matches),
    )


def _keep(path: Path, measured: Measured, wanted: Mapping[str, Any]) -> None:
    """Write down what was computed, under this user's seal."""
    plain = {name: getattr(measured, name) for name in ("classes", "instances", "images", "dataset")}
    header = {"version": _VERSION, **wanted, **plain, "chance": measured.chance and astuple(measured.chance)}
    arrays = {name: getattr(measured, name) for name in _ARRAYS}
    npz.save(path, {**header, "seal": seal.seal(*_sealed(header, arrays))}, arrays)


def _sealed(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> list[bytes]:
    """Return what the seal covers."""
    shapes = [[name, str(arrays[name].dtype), list(arrays[name].shape)] for name in _ARRAYS]
    return [json.dumps([header, shapes], sort_keys=True).encode(), *(arrays[name].tobytes() for name in _ARRAYS)]


def _dataset(matches: Matches) -> str:
    """Return what tells datasets apart. Areas are no part of it: validators that pad differently round them so too."""
    digest = hashlib.sha256(repr((matches.images, matches.classes)).encode())
    for array in (matches.gt_image, matches.gt_class, matches.gt_crowd):
        digest.update(array.tobytes())
    return digest.hexdigest()
