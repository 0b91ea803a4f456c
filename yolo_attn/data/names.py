"""Dataset names: resolution of `data=` values, and the entries of datasets.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from yolo_attn.data.digits import make_digits
from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.names.suggestions import suggest_word
from yolo_attn.system.files import expand_home, without_yaml
from yolo_attn.system.paths import shipped

__all__ = [
    "BUILT_IN",
    "DatasetInfo",
    "find_dataset",
    "find_recipe",
    "known_data",
    "list_datasets",
    "resolve_data",
]

BUILT_IN = "digits"


@dataclass(frozen=True)
class DatasetInfo:
    """An entry of datasets.yaml.

    Args:
        name: The name that `data=` takes.
        task: The task of its labels: detect, segment, pose, obb or classify.
        classes: Number of classes.
        about: One-line description.
        train: Number of training images; None, here and for the other splits, when it is not known.
        val: Number of validation images.
        test: Number of test images.
        evaluate: Split that a study evaluates.
        download: Download size, e.g. "20.3 GB" or "none"; empty when it is not known.
        recipe: Recommended training arguments; empty when Ultralytics' defaults are suitable.
        finetune: Arguments that replace those of the recipe when training starts from trained weights.
    """

    name: str
    task: str
    classes: int
    about: str
    train: int | None = None
    val: int | None = None
    test: int | None = None
    evaluate: str = "val"
    download: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    finetune: Mapping[str, Any] = field(default_factory=dict)


def list_datasets() -> dict[str, DatasetInfo]:
    """Return the entries of datasets.yaml by name."""
    entries = yaml.safe_load(shipped("datasets.yaml").read_text(encoding="utf-8"))
    return {name: DatasetInfo(name=name, **entry) for name, entry in entries.items()}


def find_dataset(data: str) -> DatasetInfo | None:
    """Return the entry of datasets.yaml that a value of `data=` names, as `resolve_data` reads it; None for another."""
    known = {entry.name.casefold(): entry for entry in list_datasets().values()}
    return None if expand_home(data.strip()).is_file() else known.get(without_yaml(data.strip()).casefold())


def find_recipe(name: str, *, finetune: bool = False) -> dict[str, Any]:
    """Return the recommended training arguments of a dataset from datasets.yaml.

    Args:
        name: The dataset's name, in any case.
        finetune: Whether training starts from trained weights.

    Raises:
        UserError: There is no recipe of that name.
    """
    recipes = {entry.name.casefold(): entry for entry in list_datasets().values() if entry.recipe}
    if name.casefold() not in recipes:
        hint = did_you_mean(name, recipes)
        raise UserError(f"recipe={name}: datasets.yaml has a recipe for {', '.join(recipes)}{hint}")
    found = recipes[name.casefold()]
    return {**found.recipe, **(found.finetune if finetune else {})}


def resolve_data(data: str) -> str:
    """Resolve the value of `data=`.

    A known name takes precedence over a folder of that name, and an existing YAML file over a known name.

    Args:
        data: `digits`, which is made if it does not exist; a name in datasets.yaml or a data YAML of Ultralytics, with
            or without .yaml, in any case; the path of a data YAML, a dataset folder or an archive; or a URL.

    Returns:
        An absolute path, a name that Ultralytics resolves (`coco8.yaml`, `mnist`), or the URL.

    Raises:
        UserError: There is no such name or file.
    """
    from yolo_attn.host.installation import datasets_folder, stock_data_yamls

    text = data.strip()
    if "://" in text:
        return text
    path = expand_home(text)
    if path.is_file():
        return str(path.absolute())
    name = without_yaml(text)
    known = _known_names()
    if name.casefold() == BUILT_IN:
        return str(make_digits(datasets_folder()))
    if name.casefold() in known:
        return known[name.casefold()]
    if text and path.is_dir():
        return str(path.absolute())
    if len(path.parts) > 1:
        raise UserError(f"there is no data YAML or dataset folder {text} (working folder: {Path.cwd()})")
    suggestion = suggest_word(name, [*list_datasets(), *(path.stem for path in stock_data_yamls().values())])
    hint = f"did you mean {suggestion}?" if suggestion else f"give a data YAML, or a name of {shipped('datasets.yaml')}"
    raise UserError(f"unknown dataset {text!r}; {hint}")


def known_data(data: Any, task: str | None = None) -> Any:
    """Resolve a name of datasets.yaml and return any other value unchanged.

    Files and folders of that name, and Ultralytics' own names, take precedence. Unknown names raise no error here,
    because Ultralytics reports missing datasets itself.

    Args:
        data: The `data` argument of a run.
        task: The run's task. Classification takes folders, the other tasks take data YAMLs.
    """
    from yolo_attn.host.installation import datasets_folder, stock_data_yamls

    if isinstance(data, (list, tuple)):
        return [known_data(item, task) for item in data]
    if not isinstance(data, (str, Path)) or Path(data).name != str(data) or Path(data).exists():
        return data
    name = without_yaml(str(data)).casefold()
    if task == "classify":
        folders = {entry.name.casefold(): entry.name for entry in list_datasets().values() if entry.task == task}
        return data if (datasets_folder() / data).exists() else folders.get(name, data)
    if name in stock_data_yamls():
        return stock_data_yamls()[name].name
    return str(make_digits(datasets_folder())) if name == BUILT_IN else data


def _known_names() -> dict[str, str]:
    """Return Ultralytics' names of its datasets by lower-case name without suffix."""
    from yolo_attn.host.installation import stock_data_yamls

    folders = {entry.name: entry.name for entry in list_datasets().values() if entry.task == "classify"}
    return {name: path.name for name, path in stock_data_yamls().items()} | folders
