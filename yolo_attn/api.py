"""The commands as Python functions: `compare`, `place`, `profile` and `attention_maps`.

Their keywords are the keys of the commands, their results are objects that print as the command does, show as a table
in a notebook, and give plain data: `to_dict()` all of it, `rows()` one dictionary for each line, as
`pandas.DataFrame` takes them. A mistake in what is given is a `UserError` with one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from yolo_attn.errors import UserError
from yolo_attn.security.trust import trusting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from yolo_attn.analysis.gallery import Gallery
    from yolo_attn.analysis.profile import Profiles
    from yolo_attn.host.placement import Placement
    from yolo_attn.study.results.results import Results

    Model: TypeAlias = "str | Path | nn.Module"
    Files: TypeAlias = "str | Path | Iterable[str | Path]"

__all__ = ["attention_maps", "compare", "place", "profile"]


def compare(
    *,
    study: str | Path | None = None,
    base: str | Path | None = None,
    data: str | Path | None = None,
    variants: str | Iterable[str | Path] | None = None,
    controls: str | Iterable[str] | None = None,
    seeds: int | Iterable[int] | str | None = None,
    recipe: str | None = None,
    layers: Files | None = None,
    project: str | Path | None = None,
    name: str | None = None,
    exist_ok: bool | str = False,
    retry: bool | str = False,
    device: str | int | Iterable[int] | None = None,
    threads: int | str | None = None,
    workers: int | str | None = None,
    runner: str | None = None,
    address: str | None = None,
    trust: bool | None = None,
    **train: Any,
) -> Results:
    """Train a base, its variants and controls from common starts with common seeds, and compare them.

    Progress is printed. Called again with the same arguments it resumes: no run is done twice. Each run is a process of
    its own, which does not run the calling script again; only a script that names itself in `layers` needs
    `if __name__ == "__main__":` around the call.

    Args:
        study: A study file; the other arguments come before what it says.
        base: A model YAML (`yolo11n.yaml`) or a checkpoint (`yolo11n.pt`).
        data: `digits`, a name from datasets.yaml, or a data YAML.
        variants: Layers at sites of the base (`"SE@neck"`, `"CBAM[reduction=8]@backbone.P5"`) or model YAMLs.
        controls: `"null"` and `"width"`.
        seeds: How many (3 means 0, 1, 2), or which.
        recipe: A dataset's name: the training arguments that suit it.
        layers: Python files of your own layers, which travel with the runs.
        project: Folder for studies (`runs/compare`).
        name: The study's folder in it.
        exist_ok: Whether to add to the study that the folder holds.
        retry: Whether to run failed runs again.
        device: As Ultralytics takes it: `"cpu"`, 0, or `[0, 1]` for multi-GPU training inside each run.
        threads: CPU threads of a run.
        workers: Runs at once on this machine.
        runner: `"ray"` for a Ray cluster.
        address: The cluster.
        trust: Whether files from someone else may run the code that they hold; None asks the environment.
        train: Ultralytics' training arguments: `epochs=100`, `imgsz=640`, `batch=16`, `lr0=0.01`.

    Returns:
        The results: `table()`, `rows()`, `to_dict()` (the content of results.json), and `folder`, where report.html is.

    Raises:
        UserError: A mistake in the arguments, a folder that another process holds, a full disk. What was done is kept.
    """
    from yolo_attn.study import compare as run_study

    given = {
        **{"study": study, "base": base, "data": data, "recipe": recipe, "layers": layers, "project": project},
        **{"name": name, "variants": _listed(variants), "controls": _listed(controls)},
        **{"seeds": _listed(seeds), "exist_ok": exist_ok or None, "retry": retry or None},
        **{"device": _device(device), "threads": threads, "workers": workers, "runner": runner, "address": address},
        "trust": trust,
    }
    arguments = {key: value for key, value in given.items() if value is not None} | train
    shown = ", ".join(f"{key}={str(value) if isinstance(value, Path) else value!r}" for key, value in arguments.items())
    return run_study(arguments, command=f"yolo_attn.compare({shown})")


def place(
    model: str | Path,
    layer: str,
    at: str = "neck",
    *,
    out: str | Path | None = None,
    exist_ok: bool = False,
    layers: Files | None = None,
    trust: bool | None = None,
    **options: Any,
) -> Placement:
    """Put a layer into a model at sites: rows are inserted, indices shift, and who read a site reads the new row.

    Args:
        model: A model YAML, a checkpoint, or either with layers (`yolo11n.yaml+SE@neck`).
        layer: The layer's name.
        at: `neck`, `neck.P3`, `backbone.P5`, `backbone.end`, `after:12`, `inside:C3k2`; several with commas.
        out: The YAML to write; None writes none.
        exist_ok: Whether `out` may be replaced.
        layers: Python files of your own layers.
        trust: Whether files from someone else may run the code that they hold; None asks the environment.
        options: The layer's options: `init="identity"`, `reduction=8`.

    Returns:
        What it changes: `account()` in words, `document` the model YAML as a mapping, `text()` as text, `save(file)`.

    Raises:
        UserError: Unknown layer, option or site, a model that cannot be built, or a file that is there already.
    """
    from yolo_attn.host.placement import place_layer

    _load(layers)
    with trusting(trust):
        placed = place_layer(str(model), layer, at, options)
    placed.account()  # builds it: a mistake is found here, and a file is written only of what can be built
    if out is not None:
        placed.save(out, exist_ok=exist_ok)
    return placed


def profile(
    model: Model | Iterable[Model] | Mapping[str, Model],
    *,
    against: Model | None = None,
    imgsz: int = 640,
    device: str | int | None = None,
    rounds: int = 30,
    layers: Files | None = None,
    trust: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Profiles:
    """Measure what models cost: parameters, operations, latency and memory, in turns.

    Args:
        model: A model YAML, a checkpoint, a base with layers at sites, a `YOLO(...)` or a torch module; several as a
            list, or as a mapping from the names that the table is to show.
        against: The model that the others are compared with.
        imgsz: Height and width of the image, rounded up to the models' stride.
        device: `"cpu"` or the number of a GPU; None for the first GPU, or the CPU where there is none.
        rounds: Measured passes of each model.
        layers: Python files of your own layers.
        trust: Whether files from someone else may run the code that they hold; None asks the environment.
        progress: Is called with (rounds done, rounds).

    Returns:
        A sequence of `Profile`, `against` first: `params`, `gflops`, `latency_ms`, `memory`, and `rows` one by one.

    Raises:
        UserError: No such model or device.
    """
    from yolo_attn.analysis.models import networks_of
    from yolo_attn.analysis.profile import Profiles, profile_all

    _load(layers)
    sizes = {"imgsz": _whole("imgsz", imgsz), "rounds": _whole("rounds", rounds)}
    with trusting(trust):
        networks = networks_of(model, against=against)
    return Profiles(tuple(profile_all(networks, **sizes, device=_device(device), progress=progress)))


def attention_maps(
    model: Model,
    source: str | Path | NDArray[np.uint8],
    *,
    imgsz: int | None = None,
    folder: str | Path | None = None,
    exist_ok: bool = False,
    layers: Files | None = None,
    trust: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gallery:
    """Look at what the attention layers of a model do on images.

    Args:
        model: A checkpoint, a model YAML (untrained then), a `YOLO(...)` or a torch module.
        source: An image, a folder of images, a dataset's name (its validation images), or one image as an array
            (H, W, 3) in OpenCV's order of colours.
        imgsz: Pixels of the longer side; None for as in training where the model tells, else 640.
        folder: Where to write a PNG for each image; None keeps the maps in memory instead.
        exist_ok: Whether to write into a folder that is there; otherwise it gets a number.
        layers: Python files of your own layers.
        trust: Whether files from someone else may run the code that they hold; None asks the environment.
        progress: Is called with (images done, images).

    Returns:
        The statistics of every gate (`rows()`), the `maps` where no folder was given (each with its `array`,
        `on_image(height, width)` and `statistics`), and what has no map and why (`without`).

    Raises:
        UserError: No such model or image, or a model without attention layers.
    """
    from yolo_attn.analysis.gallery import make_gallery, new_folder
    from yolo_attn.analysis.models import network_of
    from yolo_attn.data import find_source

    _load(layers)
    source = find_source(source) if isinstance(source, str) else source
    with trusting(trust):
        network = network_of(model)
    where = None if folder is None else new_folder(Path(folder).expanduser(), exist_ok=exist_ok)
    side = None if imgsz is None else _whole("imgsz", imgsz)
    return make_gallery(network, source, where, imgsz=side, progress=progress)


def _load(layers: Files | None) -> None:
    """Import files of layers."""
    if layers is not None:
        from yolo_attn.layer_files import load_layers, split_files

        load_layers(split_files(layers))


def _listed(value: Any) -> Any:
    """Return text, a number or nothing as it is, anything else as a list."""
    return value if value is None or isinstance(value, (str, int)) else list(value)


def _device(value: str | int | Iterable[int] | None) -> str | None:
    """Return a device as text: 0 as "0", [0, 1] as "0,1"."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else ",".join(map(str, value))


def _whole(key: str, value: Any) -> int:
    """Return a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{key}={value}: use a whole number of at least 1")
    return value
