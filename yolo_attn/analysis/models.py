"""Models for analysis: opening by name, the form in which they are deployed, and their rows."""

from __future__ import annotations

import copy
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import nn

from yolo_attn.errors import UserError, first_line
from yolo_attn.graph import ModelKind, ModelRef
from yolo_attn.host.installation import quiet_log
from yolo_attn.host.values import check_values
from yolo_attn.registry import list_layers
from yolo_attn.system.files import is_file

__all__ = [
    "attention_layers",
    "deploy",
    "find_device",
    "network_of",
    "networks_of",
    "open_model",
    "open_models",
    "processor_name",
    "row_name",
    "short_name",
]

Model: TypeAlias = "str | Path | nn.Module"

_DEFAULT_STRIDE = 32
_COMMA = re.compile(r",(?=[^,@]*\.(?:yaml|yml|pt)(?:\+|,|$))|,$")  # a comma before a model's file


def open_model(name: str | Path) -> nn.Module:
    """Return the network with a name, in float32 and evaluation mode.

    Args:
        name: A checkpoint (best.pt), a model YAML (yolo11n-cbam.yaml) or a base with layers at sites
            (yolo11n.yaml+CBAM@neck).

    Raises:
        UserError: The model does not exist or cannot be built.
    """
    import yolo_attn  # noqa: F401  (registers the layers in Ultralytics' parser)
    from yolo_attn.host.checkpoint import read_checkpoint

    ref = ModelRef.parse(name)
    with quiet_log():
        module = read_checkpoint(ref.base) if ref.is_checkpoint else _build(ref)
    return module.float().eval()


def network_of(model: str | Path | nn.Module) -> nn.Module:
    """Return the network with a name, the given network, or the network in a `YOLO(...)`.

    Raises:
        UserError: The model does not exist.
    """
    if isinstance(model, (str, Path)):
        return open_model(model)
    if not isinstance(model, nn.Module):
        raise UserError(f"model={model!r}: give a name, a file, a YOLO(...) or a torch module")
    inner = getattr(model, "model", None)
    return inner if isinstance(inner, nn.Module) and not isinstance(inner, nn.Sequential) else model


def _build(ref: ModelRef) -> nn.Module:
    """Return a freshly built network."""
    from yolo_attn.host.documents import model_yaml
    from yolo_attn.host.model_kind import load_yolo

    try:
        return cast(nn.Module, load_yolo(ref.text, model_yaml(ref)).model)
    except FileNotFoundError as error:
        raise UserError(first_line(error)) from error


def open_models(names: str, *, against: str | None = None) -> dict[str, nn.Module]:
    """Return several networks by short names, the one to compare with first.

    Args:
        names: Comma-separated names; a comma inside `Layer@P3,P4` or `Layer[a=1,b=2]` belongs to the name.
        against: The name of the network to compare with.

    Raises:
        UserError: A model does not exist, or is given twice.
    """
    several = [names] if is_file(names) else _COMMA.split(names)
    given = [*([against] if against else []), *(name for name in several if name)]
    if not given:
        raise UserError(f"model={names}: no model is given; use, for example, model=yolo11n-cbam.yaml,yolo11n-gam.yaml")
    twice = [name for name in given if given.count(name) > 1]
    if twice:
        raise UserError(f"model {twice[0]} is given twice")
    short = [short_name(name) for name in given]
    titles = short if len(set(short)) == len(short) else given
    return {title: open_model(name) for title, name in zip(titles, given, strict=True)}


def networks_of(
    models: Model | Iterable[Model] | Mapping[str, Model], *, against: Model | None = None
) -> dict[str, nn.Module]:
    """Return networks by short names, the one to compare with first.

    Args:
        models: Comma-separated names, one model, several models, or several models by their displayed names.
        against: The one to compare with.

    Raises:
        UserError: A model does not exist, or is given twice.
    """
    if isinstance(models, str) and (against is None or isinstance(against, str)):
        return open_models(models, against=against)
    if isinstance(models, Mapping):
        named = list(models.items())
    else:
        several = [models] if isinstance(models, (str, Path, nn.Module)) else models
        if not isinstance(several, Iterable):
            raise UserError(f"model={models!r}: give a name, a file, a YOLO(...), a torch module, or a list of these")
        named = [(_name_of(model), model) for model in several]
    named = ([] if against is None else [(_name_of(against), against)]) + named
    if not named:
        raise UserError("model=: no model is given")
    found: dict[str, nn.Module] = {}
    for name, model in named:
        title, number = name, 1
        while title in found:
            number += 1
            title = f"{name} ({number})"
        found[title] = network_of(model)
    return found


def _name_of(model: Any) -> str:
    """Return the short name of a model: that of its file, if it has one."""
    if isinstance(model, (str, Path)):
        return short_name(model)
    names = ("model_name", "ckpt_path") if getattr(model, "cfg", None) else ("ckpt_path", "model_name")
    file = next((name for name in (getattr(model, key, None) for key in names) if name), None)  # cfg: built from a YAML
    return short_name(file) if isinstance(file, (str, Path)) and str(file) else "model"


def short_name(name: str | Path) -> str:
    """Return a model's name for a table: yolo11n-cbam.yaml is yolo11n-cbam, runs/x/weights/best.pt is x/best."""
    ref = ModelRef.parse(name)
    path = Path(ref.base)
    run = path.parent.parent.name if ref.kind is ModelKind.CHECKPOINT and path.parent.name == "weights" else ""
    stem = f"{run}/{path.stem}" if run else path.stem
    return f"{stem}+{ref.placed}" if ref.is_placed else stem


def deploy(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy as deployed: on a device, in evaluation mode, with batch norms fused into their convolutions.

    Ultralytics' `fuse` also merges or removes training-only parts: parallel convolutions and, in later versions, the
    second head of end-to-end models.
    """
    model = copy.deepcopy(model).float().eval().requires_grad_(False)
    fuse = getattr(model, "fuse", None)
    if callable(fuse):
        with quiet_log():
            model = fuse(verbose=False)
    return model.to(device)


def find_device(name: str | None) -> torch.device:
    """Return a device by its Ultralytics name: "cpu", "0" for the first GPU, "mps"; None for the best available.

    Raises:
        UserError: The device is not available.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not name:
        return torch.device("cuda:0" if gpus else "cpu")
    text = f"cuda:{name}" if name.isdigit() else name
    try:
        device = torch.device(text)
    except RuntimeError:
        raise UserError(f"device={name}: use cpu, mps, or the number of a GPU, such as 0") from None
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise UserError(f"device={name}: PyTorch finds {gpus or 'no'} GPU{'s' * (gpus != 1)}; use cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps: not available on this machine; use cpu")
    if device.type not in {"cpu", "cuda", "mps"}:
        raise UserError(f"device={name}: use cpu, mps, or the number of a GPU, such as 0")
    return device


def processor_name(device: torch.device) -> str:
    """Return the name of a device's processor, such as "NVIDIA H200"."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def input_channels(model: nn.Module) -> int:
    """Return the number of channels of a model's images."""
    from yolo_attn.host import model_kind

    document: Any = getattr(model, "yaml", None)
    if not isinstance(document, dict):
        return 3
    return model_kind.input_channels(document)


def max_stride(model: nn.Module) -> int:
    """Return the model's largest stride, at least 32, of which the sides of its images are multiples."""
    stride = getattr(model, "stride", None)
    return max(_DEFAULT_STRIDE, int(stride.max())) if isinstance(stride, torch.Tensor) else _DEFAULT_STRIDE


def fitting_side(model: nn.Module, imgsz: int) -> int:
    """Return an image's side rounded up to a multiple of the model's stride, as in Ultralytics.

    Raises:
        UserError: The side is invalid.
    """
    check_values({"imgsz": imgsz})
    stride = max_stride(model)
    return max(1, -(-imgsz // stride)) * stride


def rows(model: nn.Module) -> list[nn.Module]:
    """Return the modules of a model's rows; a module that is not a YOLO model is one row."""
    inner = getattr(model, "model", None)
    return list(inner) if isinstance(inner, nn.Sequential) else [model]


def row_name(module: nn.Module) -> str:
    """Return the name of a module in a YAML row, with the attention layers inside it: C3k2+EMA."""
    given = getattr(module, "type", None)  # set by Ultralytics' parser; a method of other modules
    kind = given.rpartition(".")[2] if isinstance(given, str) else type(module).__name__
    names = attention_layers(module)
    own = {spec.cls: spec.name for spec in list_layers()}.get(type(module))
    return own or "+".join([kind, *(name for name in names if name not in kind.split("+"))])


def attention_layers(module: nn.Module) -> list[str]:
    """Return the names of the outermost registered layers in a module, each once."""
    names = {spec.cls: spec.name for spec in list_layers()}
    found: dict[str, None] = {}

    def search(module: nn.Module) -> None:
        if type(module) in names:
            found[names[type(module)]] = None
        else:
            for child in module.children():
                search(child)

    search(module)
    return list(found)
