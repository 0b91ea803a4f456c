"""The key of a run: a hash of everything its result depends on. Two runs with the same key give the same numbers."""

from __future__ import annotations

import contextlib
import hashlib
import json
from importlib import metadata
from importlib.util import find_spec

from yolo_attn.study.job import Inputs

__all__ = ["package_versions", "run_key"]


def run_key(inputs: Inputs) -> str:
    """Return the SHA-256 of a run's inputs as canonical JSON."""
    text = json.dumps(inputs.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on.

    Albumentations is one of them where it is installed, because Ultralytics then augments images with it.
    """
    import torch

    import yolo_attn
    from yolo_attn.host.installation import ultralytics_version

    return {
        "yolo-attn": yolo_attn.__version__,
        "ultralytics": ultralytics_version(),
        "torch": str(torch.__version__),
        **_albumentations(),
    }


def _albumentations() -> dict[str, str]:
    """Return name and version of the distribution that `import albumentations` finds; {} without any."""
    if find_spec("albumentations") is None:
        return {}
    for name in ("albumentations", "albumentationsx"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return {name: metadata.version(name)}
    return {"albumentations": "of unknown version"}
