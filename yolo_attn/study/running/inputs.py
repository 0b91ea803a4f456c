"""What decides a run's result, and its hash: two runs with the same key give the same numbers."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import RowError, UserError, one_line
from yolo_attn.graph import ModelKind, ModelRef
from yolo_attn.study.specification.study import Arm, Run, Study

if TYPE_CHECKING:
    from yolo_attn.layer_files import Sources

__all__ = [
    "Dataset",
    "build_arms",
    "check_layers",
    "foreign_layers",
    "free_gpus",
    "layer_sources",
    "make_run",
    "read_dataset",
    "shared_start",
    "study_task",
    "versions",
    "weights_fingerprint",
]


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import torch

    import yolo_attn
    from yolo_attn.host.installation import ultralytics_version

    return {
        "yolo-attn": yolo_attn.__version__,
        "ultralytics": ultralytics_version(),
        "torch": str(torch.__version__),
    }


def study_task(model: Mapping[str, Any]) -> str:
    """Return the task of a model YAML."""
    from yolo_attn.host.model_kind import task_of

    return task_of(model)


def build_arms(study: Study) -> list[Arm]:
    """Return the baseline, the variants and the controls of a study, in the order of the report.

    A placement that is misspelt stops here, before anything is trained. A model that cannot be read or built becomes an
    arm with an error: it is shown with it, and the others run.

    Raises:
        UserError: A base or a placement that does not exist, or two arms with one name.
    """
    from yolo_attn.host.checkpoint import download_checkpoint
    from yolo_attn.host.documents import model_yaml

    base = ModelRef.parse(study.base)
    weights = download_checkpoint(base.base) if study.is_checkpoint else None
    arms = [Arm(base.stem, "baseline", _plain(model_yaml(base)), weights)]
    arms += [_variant(study.base, text, weights) for text in study.variants]
    arms += [_control(name, arms, weights) for name in study.controls]
    _refuse_equal_names(arms)
    return arms


def _variant(base: str, text: str, weights: Path | None) -> Arm:
    """Return a variant's arm; one that cannot be made is shown with its error."""
    from yolo_attn.host.documents import make_variant
    from yolo_attn.host.model_files import find_model_yaml

    ref = ModelRef.parse(text)
    is_file = ref.kind is ModelKind.YAML and not ref.is_placed
    try:
        variant = make_variant(base, text)
        fault = _fault(variant.yaml)
    except Exception as error:
        if isinstance(error, UserError) and not is_file:
            raise
        if is_file:
            find_model_yaml(text)  # a file that is not there is a slip of the pen as well
        return Arm(ref.stem if is_file else text, "variant", weights=weights, error=one_line(error))
    if fault:
        return Arm(variant.name, "variant", weights=weights, error=fault)
    return Arm(variant.name, "variant", _plain(variant.yaml), weights)


def _fault(model: Mapping[str, Any]) -> str | None:
    """Return why a model cannot be built, None when it can."""
    from yolo_attn.host.geometry import row_strides
    from yolo_attn.host.initialization import build_model

    try:
        row_strides(_plain(model))
    except Exception as first:  # quick, but there are layers that cannot be built without memory
        try:
            build_model(model, study_task(model), int(model.get("nc") or 80))
        except Exception as error:
            return one_line(first if isinstance(first, RowError) else error)
    return None


def _control(name: str, arms: Sequence[Arm], weights: Path | None) -> Arm:
    """Return a control arm; one that cannot be made is shown with its error."""
    from yolo_attn.host.geometry import model_cost
    from yolo_attn.study.specification.controls import null_model, widened_model

    variants = [arm.model for arm in arms[1:] if arm.model]
    try:
        if name == "null":
            return Arm(name, "control", null_model(arms[0].model, variants), weights)
        largest = max((model_cost(dict(model)).params for model in variants), default=0)
        return Arm(name, "control", widened_model(arms[0].model, largest), weights)
    except Exception as error:
        return Arm(name, "control", weights=weights, error=one_line(error))


def _refuse_equal_names(arms: list[Arm]) -> None:
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"variants: two arms have the name {name}; rename one of the files")


def _plain(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model YAML without the note of where it was read, which would make equal models differ."""
    return {key: value for key, value in model.items() if key != "yaml_file"}


def weights_fingerprint(path: Path | None) -> str | None:
    """Return the hash of a checkpoint's content."""
    if path is None:
        return None
    state = path.stat()
    return _hash_file(path, state.st_mtime_ns, state.st_size)


@dataclass(frozen=True)
class Dataset:
    """What a study needs to know of its dataset.

    Args:
        digest: Hash of classes, images and labels; it does not change with place or dates.
        names: Names of the classes.
        images: Images of the split that is evaluated.
        instances: Objects in them.
        train_images: Images of the training split.
        account: In one line what it holds and what is wrong with it.
    """

    digest: str
    names: Mapping[int, str]
    images: int | None = None
    instances: int | None = None
    train_images: int | None = None
    account: str = ""


def read_dataset(data: str, task: str, split: str = "val") -> Dataset:
    """Check a dataset and return what a study needs of it.

    Args:
        data: Resolved dataset; Ultralytics downloads it when it is not there.
        task: What its labels are for.
        split: The split that is evaluated.

    Raises:
        UserError: The dataset cannot be had, or has a fault.
    """
    from yolo_attn.data import check_data, describe_data, drop_stale_caches
    from yolo_attn.host.dataset_files import download_dataset

    splits = tuple(dict.fromkeys(["train", split]))
    summary = check_data(data, task, splits)
    if not summary.present:
        download_dataset(data)
        summary = check_data(data, task, splits)
    drop_stale_caches(summary)
    trained, evaluated = summary.splits.get("train"), summary.splits.get(split)
    return Dataset(
        summary.digest or data,  # an archive or a URL is not looked into
        summary.names,
        evaluated.images if evaluated else None,
        evaluated.instances if evaluated else None,
        trained.images if trained else None,
        describe_data(summary),
    )


def shared_start(arm: Arm, baseline: Arm, task: str, classes: int) -> list[int] | None:
    """Return how many of the base's tensors an arm starts with, and of how many; None when it cannot be built."""
    from yolo_attn.host.initialization import shared_tensors

    try:
        return list(shared_tensors(baseline.model, arm.model, task, classes, arm.weights))
    except Exception:
        return None  # its run will fail, with the same error, and show it


def free_gpus() -> list[str]:
    """Return the CUDA devices that this process sees, by the numbers that its children may use."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [name for name in (visible or "").split(",") if name]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def foreign_layers(model: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return what the code is of those layers in a model YAML that are not this package's own.

    Returns:
        By the layer's name: `source`, the hashes of the files that hold its class and those that it is derived from;
        `package`, name and version of the distribution that brought it. Empty for models without any.
    """
    return {name: _code_of(cls) for name, cls in _foreign_classes(model).items()}


def layer_sources(model: Mapping[str, Any]) -> Sources:
    """Return what another process needs to import those layers of a model YAML that are not this package's own.

    Raises:
        UserError: A layer is defined where no other process can import it: in a script or a notebook.
    """
    from yolo_attn.layer_files import can_be_found, sources_of

    modules: list[str] = []
    for name, cls in _foreign_classes(model).items():
        own = _own_modules(cls)
        for module in own:
            if not can_be_found(module):
                where = "a script or notebook (__main__)" if module == "__main__" else module
                raise UserError(
                    f"layer {name} is defined in {where}, which the processes that train cannot import; put its class "
                    "into a file and give layers=FILE, or into a package with an entry point in yolo_attn.layers"
                )
        modules += own
    return sources_of(modules)


def _foreign_classes(model: Mapping[str, Any]) -> dict[str, type]:
    """Return the classes of those layers in a model YAML that are not this package's own, by the layers' names."""
    from yolo_attn.graph import block_of, layer_in
    from yolo_attn.layer_files import package_of
    from yolo_attn.registry import get_layer, is_layer

    rows = [*(model.get("backbone") or []), *(model.get("head") or [])]
    modules = [str(row[2]) for row in rows]
    names = {name for module in modules for name in (block_of(module), layer_in(module)) if is_layer(name)}
    specs = {get_layer(name).name: get_layer(name).cls for name in sorted(names)}
    return {name: cls for name, cls in specs.items() if package_of(cls.__module__) != "yolo_attn"}


def _own_modules(cls: type) -> list[str]:
    """Return the modules of a class and its bases, the class's first, without those whose versions a run's key has."""
    from yolo_attn.layer_files import package_of

    versioned = {"yolo_attn", "torch", "ultralytics", *sys.stdlib_module_names} - {"__main__"}
    modules = dict.fromkeys(base.__module__ for base in cls.__mro__)
    return [module for module in modules if package_of(module) not in versioned]


def check_layers(inputs: Mapping[str, Any]) -> None:
    """Check that the layers here are the ones that a run was planned with.

    Args:
        inputs: The run's inputs.

    Raises:
        UserError: One was edited since, or this node of a cluster has another version of it.
    """
    planned, found = inputs.get("layers", {}), foreign_layers(inputs["model"])
    for name in sorted(planned.keys() | found.keys()):
        if planned.get(name) != found.get(name):
            raise UserError(f"layer {name}: its code is not the one that the study was planned with; compare again")


def _code_of(cls: type) -> dict[str, str]:
    """Return a hash of a class's source, and the distribution that it is from, as far as they can be found."""
    from yolo_attn.layer_files import distribution_of, package_of, sources_of

    hashes, modules = [], sorted(_own_modules(cls))
    for module in modules:
        file = getattr(sys.modules.get(module), "__file__", None)
        if file and Path(file).is_file():
            state = Path(file).stat()
            hashes.append(_hash_file(Path(file), state.st_mtime_ns, state.st_size))
    carried = sources_of(modules).digest  # with the helpers that they import
    package = distribution_of(package_of(cls.__module__))
    return {"source": " ".join([*hashes, *filter(None, [carried])]), **({"package": package} if package else {})}


@functools.lru_cache(maxsize=64)
def _hash_file(path: Path, changed: int, size: int) -> str:
    """Return a file's hash, computed once for all runs that start from it, as long as it does not change."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def make_run(arm: Arm, seed: int, common: Mapping[str, Any]) -> Run:
    """Return a run with its key.

    Args:
        arm: Its arm.
        seed: Its seed.
        common: What all runs of the study share: data, recipe, versions, device and threads.

    Raises:
        UserError: A layer of the arm is defined where no other process can import it.
    """
    layers = foreign_layers(arm.model)
    inputs = {
        **common,
        "model": arm.model,
        "weights": weights_fingerprint(arm.weights),
        "seed": seed,
        **({"layers": layers} if layers else {}),  # without any, a key is what it was before there was this entry
    }
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Run(arm, seed, inputs, hashlib.sha256(text.encode()).hexdigest(), layer_sources(arm.model))
