"""What one run's evaluation says: its metrics, and what they would have been with other test images.

`matches.npz`, which the run wrote, tells what it found, image by image. `draws.npz` holds what is computed from that,
once; it may be deleted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.stats import npz
from yolo_attn.stats.ap import METRICS, evaluate, instances
from yolo_attn.stats.bootstrap import REPLICATES, SEED, draws, image_weights
from yolo_attn.stats.matches import Matches
from yolo_attn.study.store import MATCHES

__all__ = ["DRAWS", "Measured", "measure"]

DRAWS = "draws.npz"
_VERSION = 2


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
    """

    values: NDArray[np.float64]
    classes: tuple[str, ...]
    instances: tuple[int, ...]
    images: int
    dataset: str
    draws: NDArray[np.float32]


def measure(folder: Path) -> Measured:
    """Return the numbers of a run from its stored matches; what took long is kept beside them.

    Args:
        folder: The run's folder.

    Raises:
        UserError: The matches are missing or damaged, or the folder cannot be written.
    """
    wanted = {"matches": npz.fingerprint(folder / MATCHES), "replicates": REPLICATES, "seed": SEED}
    return _kept(folder / DRAWS, wanted) or _compute(folder, wanted)


def _kept(path: Path, wanted: dict[str, Any]) -> Measured | None:
    """Return what was computed before, None when there is nothing that fits."""
    try:
        header, arrays = npz.load(path, _VERSION)
        if any(header.get(key) != value for key, value in wanted.items()):
            return None
        counts, classes = tuple(header["instances"]), tuple(header["classes"])
        return Measured(arrays["values"], classes, counts, header["images"], header["dataset"], arrays["draws"])
    except (UserError, KeyError, TypeError):
        return None


def _compute(folder: Path, wanted: dict[str, Any]) -> Measured:
    matches = Matches.load(folder / MATCHES)
    found = evaluate(matches)
    sample = draws(matches, image_weights(len(matches.images), REPLICATES, SEED))
    measured = Measured(
        values=np.array([*found["metrics"].values(), *found["per_class"].values()]),
        classes=matches.classes,
        instances=tuple(instances(matches).values()),
        images=len(matches.images),
        dataset=_dataset(matches),
        draws=np.concatenate([sample.metrics, sample.per_class], axis=1).astype(np.float32),
    )
    plain = {name: getattr(measured, name) for name in ("classes", "instances", "images", "dataset")}
    header = {"version": _VERSION, **wanted, "metrics": METRICS, **plain}
    npz.save(folder / DRAWS, header, {"values": measured.values, "draws": measured.draws})
    return measured


def _dataset(matches: Matches) -> str:
    """Return what tells datasets apart. Areas are no part of it: validators that pad differently round them so too."""
    digest = hashlib.sha256(repr((matches.images, matches.classes)).encode())
    for array in (matches.gt_image, matches.gt_class, matches.gt_crowd):
        digest.update(array.tobytes())
    return digest.hexdigest()
