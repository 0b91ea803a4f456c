"""What is installed, and whether it fits together."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["as_text", "examine", "versions"]

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "onnx", "onnxruntime")
_ELSEWHERE = ("yolo-attn", "ultralytics", "supported", "bindings", "problems")  # not in the list of plain findings


def examine() -> dict[str, Any]:
    """Return the findings; `problems` lists what does not fit, each with its cure."""
    import torch

    import yolo_attn
    from yolo_attn.host import BINDINGS, SUPPORTED
    from yolo_attn.host.installation import datasets_folder, package_folder, ultralytics_version
    from yolo_attn.registry import list_layers
    from yolo_attn.system.paths import config_folder

    bindings = {repr(b): b.installed for b in BINDINGS}
    configs = len(list(config_folder().glob("*.yaml")))
    problems = [
        f"{name} is not ours: other code replaced it after yolo_attn was imported"
        for name, ok in bindings.items()
        if not ok
    ]
    if not configs:
        problems.append(f"no ready configs in {config_folder()}: reinstall yolo-attn")
    return {
        "yolo-attn": yolo_attn.__version__,
        "yolo-attn from": str(Path(yolo_attn.__file__).parent),
        "ultralytics": ultralytics_version(),
        "ultralytics from": str(package_folder()),
        "supported": SUPPORTED,
        "python": f"{platform.python_version()} ({sys.executable})",
        **{name: _version(name) for name in PACKAGES},
        "devices": _devices(torch),
        "threads": torch.get_num_threads(),
        "layers": len(list_layers()),
        "configs": f"{configs} in {config_folder()}",
        "datasets folder": str(datasets_folder()),
        "checkpoints": _checkpoints(),
        "bindings": bindings,
        "problems": problems,
    }


def _checkpoints() -> str:
    """Return how our commands open checkpoints."""
    from yolo_attn.host.restricted import restricts_checkpoints
    from yolo_attn.security.trust import RESTRICTED_FROM, TRUST, trusts_files

    if not restricts_checkpoints():
        return f"opened with the code they hold; from {RESTRICTED_FROM} on without (see: yolo-attn help trust)"
    if trusts_files():
        return f"opened with the code they hold: {TRUST} is set (see: yolo-attn help trust)"
    return "opened without the code they hold (see: yolo-attn help trust)"


def versions() -> str:
    """Return our version beside that of the Ultralytics that is imported, on one line."""
    import yolo_attn
    from yolo_attn.host.installation import ultralytics_version

    return _versions({"yolo-attn": yolo_attn.__version__, "ultralytics": ultralytics_version()})


def _versions(report: Mapping[str, Any]) -> str:
    return f"yolo-attn {report['yolo-attn']} with Ultralytics {report['ultralytics']}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _devices(torch: Any) -> str:
    if torch.cuda.is_available():
        return ", ".join(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))
    mps = getattr(torch.backends, "mps", None)
    return "mps" if mps is not None and mps.is_available() else "cpu only"


def as_text(report: dict[str, Any]) -> str:
    """Return the findings as lines to read."""
    told = {key: str(value) for key, value in report.items() if key not in _ELSEWHERE}
    bindings = {name: "registered" if ok else "NOT registered" for name, ok in report["bindings"].items()}
    lines = [f"{_versions(report)} (supported: {report['supported']})", *_columns(told), *_columns(bindings)]
    lines += [f"problem: {p}" for p in report["problems"]] or ["everything fits together"]
    return "\n".join(lines)


def _columns(pairs: Mapping[str, str]) -> list[str]:
    """Return names and what stands behind them, aligned to the longest name."""
    width = max(map(len, pairs), default=0) + 2
    return [f"{name:<{width}}{value}" for name, value in pairs.items()]
