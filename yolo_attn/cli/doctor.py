"""`yolo-attn doctor`: the installed versions, and whether they fit together."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from yolo_attn.cli.command import Command
from yolo_attn.cli.words import parse_format, parse_keys

__all__ = ["COMMAND", "as_text", "examine", "versions"]

_PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "onnx", "onnxruntime")
_FORMATTED = ("yolo-attn", "ultralytics", "supported", "bindings", "problems")  # `as_text` formats these separately


def examine() -> dict[str, Any]:
    """Return the findings by name; "problems" lists what does not fit, each with its fix."""
    import torch

    import yolo_attn
    from yolo_attn.host import BINDINGS, SUPPORTED
    from yolo_attn.host.installation import datasets_folder, package_folder, ultralytics_version
    from yolo_attn.host.startup_file import examine as examine_startup
    from yolo_attn.registry import list_layers
    from yolo_attn.system.paths import config_folder

    bindings = {repr(binding): binding.installed for binding in BINDINGS}
    configs = len(list(config_folder().glob("*.yaml")))
    problems = [
        f"{name} is not the function of yolo-attn: other code replaced it after yolo_attn was imported"
        for name, installed in bindings.items()
        if not installed
    ]
    problems += [binding.problem for binding in BINDINGS if binding.problem]
    startup = examine_startup()
    problems += startup.problems
    if not configs:
        problems.append(f"no ready configs in {config_folder()}: reinstall yolo-attn")
    return {
        "yolo-attn": yolo_attn.__version__,
        "yolo-attn from": str(Path(yolo_attn.__file__).parent),
        "ultralytics": ultralytics_version(),
        "ultralytics from": str(package_folder()),
        "supported": SUPPORTED,
        "python": f"{platform.python_version()} ({sys.executable})",
        **{name: _version(name) for name in _PACKAGES},
        "devices": _devices(),
        "threads": torch.get_num_threads(),
        "layers": len(list_layers()),
        "configs": f"{configs} in {config_folder()}",
        "datasets folder": str(datasets_folder()),
        "checkpoints": _checkpoints(),
        "stock yolo": str(startup),
        "bindings": bindings,
        "problems": problems,
    }


def versions() -> str:
    """Return the versions of yolo-attn and of the imported Ultralytics in one line."""
    import yolo_attn
    from yolo_attn.host.installation import ultralytics_version

    return _versions({"yolo-attn": yolo_attn.__version__, "ultralytics": ultralytics_version()})


def as_text(report: Mapping[str, Any]) -> str:
    """Return the findings of `examine` as text."""
    plain = {key: str(value) for key, value in report.items() if key not in _FORMATTED}
    bindings = {name: "registered" if ok else "NOT registered" for name, ok in report["bindings"].items()}
    lines = [f"{_versions(report)} (supported: {report['supported']})", *_columns(plain), *_columns(bindings)]
    lines += [f"problem: {problem}" for problem in report["problems"]] or ["no problems found"]
    return "\n".join(lines)


def _versions(report: Mapping[str, Any]) -> str:
    return f"yolo-attn {report['yolo-attn']} with Ultralytics {report['ultralytics']}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> str:
    import torch

    if torch.cuda.is_available():
        return ", ".join(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))
    mps = getattr(torch.backends, "mps", None)
    return "mps" if mps is not None and mps.is_available() else "cpu only"


def _checkpoints() -> str:
    """Return how the commands open checkpoints."""
    from yolo_attn.host.restricted import restricts_checkpoints
    from yolo_attn.security.trust import RESTRICTED_FROM, TRUST, trusts_files

    if not restricts_checkpoints():
        return f"opened with the code they contain; from {RESTRICTED_FROM} on without (see: yolo-attn help trust)"
    if trusts_files():
        return f"opened with the code they contain: {TRUST} is set (see: yolo-attn help trust)"
    return "opened without the code they contain (see: yolo-attn help trust)"


def _columns(pairs: Mapping[str, str]) -> list[str]:
    """Return names and values as lines, with the values aligned after the longest name."""
    width = max(map(len, pairs), default=0) + 2
    return [f"{name:<{width}}{value}" for name, value in pairs.items()]


def _help() -> str:
    return """\
yolo-attn doctor [format=json]

Shows the versions, which Ultralytics is imported and from where, whether the layers are registered in it and in stock
yolo (yolo-attn enable-yolo), the devices, and the folders in use. The exit status is 1 if something does not fit.
"""


def _run(words: list[str]) -> int:
    keys = parse_keys(words, ("format",))
    report = examine()
    print(json.dumps(report, indent=2) if parse_format(keys) == "json" else as_text(report))
    return 1 if report["problems"] else 0


COMMAND = Command(
    name="doctor",
    run=_run,
    summary="show the installed versions and whether they fit together",
    keys="[format=json]",
    help=_help,
    opens_files=False,
    takes_layers=False,
)
