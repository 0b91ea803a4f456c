"""The commands as Python functions: `compare`, `search`, `place`, `profile` and `attention_maps`.

Their keywords are the keys of the commands. Their results print like the command, display as a table in a notebook, and
provide plain data: `to_dict()` returns all of it, `rows()` one dictionary for each row, for `pandas.DataFrame`. Invalid
input raises a `UserError` with a message of one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from yolo_attn.errors import UserError
from yolo_attn.security.trust import trusting
from yolo_attn.system.files import expand_home

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from yolo_attn.analysis.gallery import Gallery
    from yolo_attn.analysis.profile import Profiles
    from yolo_attn.analysis.queries import Points
    from yolo_attn.host.placement import Placement
    from yolo_attn.selection.results import SearchResults
    from yolo_attn.study.comparison import Results
    from yolo_attn.study.forecast import Forecast

    Model: TypeAlias = "str | Path | nn.Module"
    Files: TypeAlias = "str | Path | Iterable[str | Path]"

__all__ = ["attention_maps", "compare", "place", "profile", "search"]


def compare(
    *,
    study: str | Path | None = None,
    base: str | Path | None = None,
    data: str | Path | None = None,
    variants: str | Iterable[str | Path] | None = None,
    controls: str | Iterable[str] | None = None,
    seeds: int | Iterable[int] | str | None = None,
    max_seeds: int | None = None,
    hours: float | None = None,
    pretrain: int | None = None,
    bases: int | None = None,
    lr_attention: float | None = None,
    margin: float | None = None,
    no_worse: bool | str | None = None,
    groups: str | None = None,
    recipe: str | None = None,
    layers: Files | None = None,
    plan: bool | str = False,
    detect: float | None = None,
    project: str | Path | None = None,
    name: str | None = None,
    exist_ok: bool | str = False,
    retry: bool | str = False,
    device: str | int | Iterable[int] | torch.device | None = None,
    threads: int | str | None = None,
    workers: int | str | None = None,
    runner: str | None = None,
    address: str | None = None,
    gpus: float | None = None,
    trust: bool | None = None,
    **train: object,
) -> Results | Forecast:
    """Train a base, its variants and controls from common initial weights with common seeds, and compare them.

    Progress is printed. A second call with the same arguments resumes and repeats no run. Each run is a separate
    process that does not execute the calling script; only a script that names itself in `layers` requires
    `if __name__ == "__main__":` around the call.

    Args:
        study: A study file; the other arguments take precedence over it.
        base: A model YAML (`yolo11n.yaml`) or a checkpoint (`yolo11n.pt`).
        data: `digits`, a name from datasets.yaml, or a data YAML.
        variants: Layers at sites of the base (`"SE@neck"`, `"CBAM[reduction=8]@backbone.P5"`) or model YAMLs.
        controls: Names of controls, such as `"null"`; `yolo-attn help compare` lists them.
        seeds: The number of seeds (3 means 0, 1, 2), the seeds, or `"auto"`: from 3 on, undecided arms get more.
        max_seeds: The largest number of seeds with `seeds="auto"` (12).
        hours: Time after which `seeds="auto"` starts no further seed.
        pretrain: Epochs for which the base is trained once; all arms are then fine-tuned from it. 0 trains all arms
            from scratch.
        bases: Number of bases that are trained with different seeds; the study's seeds start from them in turn.
        lr_attention: Learning rate of the attention layers, relative to that of the other layers; ten by default where
            arms are fine-tuned from a trained base, else one.
        margin: Smallest difference that matters, in points; arms that certainly differ by less are "equivalent".
        no_worse: Whether "no worse" is a verdict.
        groups: `"folder"`, or a regular expression for names of images; images with the same folder or match, such as
            the frames of a video, are resampled together.
        recipe: Name of a dataset with recommended training arguments.
        layers: Python files with custom layers, which are sent to the runs.
        plan: Whether to train nothing, and to return what the study would train, take and show.
        detect: A difference in points, for which the plan names the cheapest study.
        project: Folder for studies (`runs/compare`).
        name: The study's folder in it.
        exist_ok: Whether to add to the study in the folder.
        retry: Whether to run failed runs again.
        device: As in Ultralytics: `"cpu"`, 0, or `[0, 1]` for multi-GPU training inside each run.
        threads: CPU threads of a run.
        workers: Concurrent runs on this machine.
        runner: `"ray"` for a Ray cluster.
        address: The cluster.
        gpus: The part of a GPU for each run on the cluster, such as 0.25 for four at once on one GPU.
        trust: Whether files from others may run the code that they contain; None for the environment's setting.
        train: Ultralytics' training arguments: `epochs=100`, `imgsz=640`, `batch=16`, `lr0=0.01`.

    Returns:
        The results: `table()`, `rows()`, `to_dict()` (the content of results.json), and `folder`, with report.html.
        With `plan=True` the forecast: `table()`, `rows()` with a row for each number of seeds, and `to_dict()`.

    Raises:
        UserError: Invalid arguments, a folder in use by another process, or a full disk. Finished work is kept.
    """
    from yolo_attn.study.engine import compare as run_study

    given: dict[str, object] = {
        "study": study,
        "base": base,
        "data": data,
        "max_seeds": max_seeds,
        "hours": hours,
        "pretrain": pretrain,
        "bases": bases,
        "lr_attention": lr_attention,
        "margin": margin,
        "no_worse": no_worse,
        "groups": groups,
        "recipe": recipe,
        "layers": layers,
        "plan": plan or None,
        "detect": detect,
        "project": project,
        "name": name,
        "variants": _as_list(variants),
        "controls": _as_list(controls),
        "seeds": _as_list(seeds),
        "exist_ok": exist_ok or None,
        "retry": retry or None,
        "device": _device(device),
        "threads": threads,
        "workers": workers,
        "runner": runner,
        "address": address,
        "gpus": gpus,
        "trust": trust,
    }
    arguments = _given(given) | _plain_values(train)
    return run_study(arguments, command=_as_call("compare", arguments))


def search(
    *,
    base: str | Path | None = None,
    data: str | Path | None = None,
    layers: str | Iterable[str | Path] | None = None,
    at: str | Iterable[str] | None = None,
    limit: str | None = None,
    export: str | None = None,
    pairs: bool | str = False,
    runs: int | None = None,
    hours: float | None = None,
    finalists: int | None = None,
    share: float | None = None,
    seeds: int | Iterable[int] | None = None,
    controls: str | Iterable[str] | None = None,
    pretrain: int | None = None,
    lr_attention: float | None = None,
    margin: float | None = None,
    groups: str | None = None,
    recipe: str | None = None,
    plan: bool | str = False,
    project: str | Path | None = None,
    name: str | None = None,
    retry: bool | str = False,
    device: str | int | Iterable[int] | torch.device | None = None,
    threads: int | str | None = None,
    workers: int | str | None = None,
    runner: str | None = None,
    address: str | None = None,
    gpus: float | None = None,
    trust: bool | None = None,
    **train: object,
) -> SearchResults:
    """Search the layer and the site that help a base most, and confirm the best on images that the search has not seen.

    Progress is printed. A second call with the same arguments resumes and repeats no run; a larger budget continues a
    finished search.

    Args:
        base: A checkpoint (`yolo11n.pt`), or a model YAML with `pretrain`.
        data: `digits`, a name from datasets.yaml, or a data YAML.
        layers: Names of layers with options (`"SE[reduction=8]"`), families, `"all"`, and Python files with custom
            layers.
        at: Sites; by default the neck, its levels, the last levels and the end of the backbone, and the inside of the
            base's main block.
        limit: Largest costs, relative to the base or absolute: `"latency:+10%,params:3M"`.
        export: A format that candidates must be exportable to, such as `"onnx"`.
        pairs: Whether to search pairs of the best placements too.
        runs: Largest number of runs, the confirmation included.
        hours: Time of the search, instead of `runs`.
        finalists: Largest number of candidates that are confirmed (3).
        share: Share of the training images that the search evaluates (0.2).
        seeds: Number of seeds of the confirmation; by default 5, and up to 12 if the runs of the rungs are noisy.
        controls: Controls of the confirmation, as in `compare`.
        pretrain: Epochs for which the base is trained once, as in `compare`.
        lr_attention: As in `compare`.
        margin: Smallest difference that matters, in points.
        groups: As in `compare`; whole groups are assigned to the images that the search evaluates.
        recipe: Name of a dataset with recommended training arguments.
        plan: Whether to train nothing, and to print what the search would train and take.
        project: Folder for searches (`runs/search`).
        name: The search's folder in it.
        retry: Whether to run failed runs again.
        device: As in Ultralytics.
        threads: CPU threads of a run.
        workers: Concurrent runs on this machine.
        runner: `"ray"` for a Ray cluster.
        address: The cluster.
        gpus: The part of a GPU for each run on the cluster.
        trust: Whether files from others may run the code that they contain; None for the environment's setting.
        train: Ultralytics' training arguments: `epochs=5`, `imgsz=640`, `batch=16`, `lr0=0.001`.

    Returns:
        The results: `table()`, `rows()` with a row for each candidate, `to_dict()` (the content of search.json), and
        `folder`, with report.html.

    Raises:
        UserError: Invalid arguments, a folder in use by another process, a base that cannot be trained, or a full disk.
            Finished work is kept.
    """
    from yolo_attn.selection.engine import search as run_search

    given: dict[str, object] = {
        "base": base,
        "data": data,
        "layers": _as_list(layers),
        "at": _as_list(at),
        "limit": limit,
        "export": export,
        "pairs": pairs or None,
        "runs": runs,
        "hours": hours,
        "finalists": finalists,
        "share": share,
        "seeds": _as_list(seeds),
        "controls": _as_list(controls),
        "pretrain": pretrain,
        "lr_attention": lr_attention,
        "margin": margin,
        "groups": groups,
        "recipe": recipe,
        "plan": plan or None,
        "project": project,
        "name": name,
        "retry": retry or None,
        "device": _device(device),
        "threads": threads,
        "workers": workers,
        "runner": runner,
        "address": address,
        "gpus": gpus,
        "trust": trust,
    }
    arguments = _given(given) | _plain_values(train)
    return run_search(arguments, command=_as_call("search", arguments))


def _given(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments that are given, as Python's own types."""
    return _plain_values({key: value for key, value in arguments.items() if value is not None})


def _plain_values(arguments: Mapping[str, object]) -> dict[str, object]:
    return {key: _plain(value) for key, value in arguments.items()}


def _plain(value: object) -> Any:
    """Return numbers and arrays of NumPy and PyTorch as Python's own, a range as a list, and a device as text."""
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, range):
        return list(value)
    return value.tolist() if isinstance(value, (np.generic, np.ndarray, torch.Tensor)) else value


def _as_call(function: str, arguments: Mapping[str, object]) -> str:
    """Return the call of a function of this package as text."""
    shown = ", ".join(f"{key}={str(value) if isinstance(value, Path) else value!r}" for key, value in arguments.items())
    return f"yolo_attn.{function}({shown})"


def place(
    model: str | Path,
    layer: str,
    at: str = "neck",
    *,
    out: str | Path | None = None,
    exist_ok: bool = False,
    layers: Files | int | None = None,
    trust: bool | None = None,
    **options: object,
) -> Placement:
    """Place a layer at sites of a model: rows are inserted, indices shifted, and consumers of a site read the new row.

    Args:
        model: A model YAML, a checkpoint, or either with layers (`yolo11n.yaml+SE@neck`).
        layer: The layer's name.
        at: Sites with commas between them, such as `"neck"` or `"backbone.P5,inside:C3k2"`; `yolo-attn help place`
            lists their forms.
        out: The YAML to write; None writes none.
        exist_ok: Whether `out` may be replaced.
        layers: Python files with custom layers. A number is the option `layers` of a layer such as TransformerEncoder.
        trust: Whether files from others may run the code that they contain; None for the environment's setting.
        options: The layer's options: `init="identity"`, `reduction=8`.

    Returns:
        The changes: `summary()` describes them, `document` is the model YAML as a mapping, `text()` as text, and
        `save(file)` writes it.

    Raises:
        UserError: Unknown layer, option or site, a model that cannot be built, or an existing file.
    """
    from yolo_attn.host.placement import place_layer

    if isinstance(layers, int):
        options, layers = {**options, "layers": layers}, None
    _load_layers(layers)
    with trusting(trust):
        placed = place_layer(str(model), layer, at, _plain_values(options))
    placed.summary()  # builds the model, to write only a file that can be built
    if out is not None:
        placed.save(out, exist_ok=exist_ok)
    return placed


def profile(
    model: Model | Iterable[Model] | Mapping[str, Model],
    *,
    against: Model | None = None,
    imgsz: int = 640,
    device: str | int | torch.device | None = None,
    rounds: int = 30,
    layers: Files | None = None,
    trust: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Profiles:
    """Measure the cost of models: parameters, operations, latency (in turns) and memory.

    Args:
        model: A model YAML, a checkpoint, a base with layers at sites, a `YOLO(...)` or a torch module; several as a
            list, or as a mapping from the names for the table.
        against: The model to compare with.
        imgsz: Height and width of the image, rounded up to the models' stride.
        device: `"cpu"` or the number of a GPU; None for the first GPU, or the CPU without one.
        rounds: Timed passes of each model.
        layers: Python files with custom layers.
        trust: Whether files from others may run the code that they contain; None for the environment's setting.
        progress: Called with (rounds done, rounds).

    Returns:
        A sequence of `Profile`, `against` first: `params`, `gflops`, `latency_ms`, `memory`, and the model's `rows`.

    Raises:
        UserError: No such model or device.
    """
    from yolo_attn.analysis.models import networks_of
    from yolo_attn.analysis.profile import Profiles, profile_all

    _load_layers(layers)
    sizes = {"imgsz": _positive("imgsz", imgsz), "rounds": _positive("rounds", rounds)}
    with trusting(trust):
        networks = networks_of(model, against=against)
    return Profiles(tuple(profile_all(networks, **sizes, device=_device(device), progress=progress)))


def attention_maps(
    model: Model | Iterable[Model] | Mapping[str, Model],
    source: str | Path | NDArray[np.uint8],
    *,
    split: str | None = None,
    point: Points | None = None,
    heads: bool = False,
    cam: bool = False,
    conf: float = 0.25,
    imgsz: int | None = None,
    vid_stride: int | None = None,
    folder: str | Path | None = None,
    exist_ok: bool = False,
    save: str | Iterable[str] | None = None,
    figure: str = "image",
    dpi: int = 100,
    layers: Files | None = None,
    trust: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gallery:
    """Compute the attention maps of a model's layers on images.

    Args:
        model: A checkpoint, a model YAML (untrained), a `YOLO(...)` or a torch module; for figures of several models,
            a list or a mapping from the names for the figures.
        source: An image, a video, a folder, a dataset's name (its validation images), or one image as an array
            (H, W, 3) in BGR order, as in OpenCV.
        split: The split of a dataset: `"train"`, `"val"` (default) or `"test"`.
        point: Queries for the weights of self-attention: x and y in pixels of the image, several in a list, or
            `"detections"` for the centers of the first model's detections.
        heads: Whether figures show each head of self-attention for the points, not only their mean.
        cam: Whether figures show Ultralytics' class activation map (LayerCAM), too.
        conf: Least confidence of a detection.
        imgsz: Pixels of the longer side; None for the size in training, or 640 if the model does not store it.
        vid_stride: Distance of the frames of a video; None for every frame if a video is written, else one a second.
        folder: Where to write the files; None keeps the maps in memory instead.
        exist_ok: Whether to write into an existing folder; otherwise a number is added to its name.
        save: Kinds of files for each image: `"png"`, `"pdf"`, `"svg"`, `"npz"` (arrays), `"html"` for one page of all,
            and `"video"` for a video of each video; None for a video of each video and a PNG of each other image.
        figure: `"image"` for one figure with all layers, `"layer"` for one of each layer.
        dpi: Pixels per inch of the figures.
        layers: Python files with custom layers.
        trust: Whether files from others may run the code that they contain; None for the environment's setting.
        progress: Called with (images done, images).

    Returns:
        The statistics of every gate (`rows()`), and the layers without a map, with the reasons (`without`). Without a
        folder also `maps`, each with its `array`, `on_image(height, width)` and `statistics`, and `queries`, each with
        the weights by head (`heads`), their mean (`array`) and `on_image(height, width)`.

    Raises:
        UserError: No such model or image, no attention layers, or a point outside of the image.
    """
    from yolo_attn.analysis.models import networks_of
    from yolo_attn.analysis.queries import parse_points
    from yolo_attn.analysis.viewer import Request, check_attention, make_gallery, new_folder
    from yolo_attn.analysis.writer import MapWriter, Style, parse_figure, parse_files
    from yolo_attn.data import find_split

    _load_layers(layers)
    queries = None if point is None else parse_points(point)
    if heads and queries is None:
        raise UserError("heads=True: shows the heads of self-attention for points; add point=x,y or point=detections")
    side = None if imgsz is None else _positive("imgsz", imgsz)
    every = None if vid_stride is None else _positive("vid_stride", vid_stride)
    kinds, by_layer = parse_files(save), parse_figure(figure)
    style = Style(heads=heads, dpi=_positive("dpi", dpi))
    images = find_split(source, split) if isinstance(source, str) else source
    with trusting(trust):
        networks = networks_of(model)
    check_attention(networks, model)
    writer = None
    if folder is not None:
        writer = MapWriter(new_folder(expand_home(folder), exist_ok=exist_ok), kinds, style, by_layer=by_layer)
    request = Request(imgsz=side, queries=queries, conf=_share("conf", conf), cam=cam, every=every)
    return make_gallery(networks, images, writer, request, progress=progress)


def _load_layers(layers: Files | None) -> None:
    """Import files with custom layers."""
    if layers is not None:
        from yolo_attn.layer_files import load_layers, split_files

        load_layers(split_files(layers))


def _as_list(value: Iterable[object] | int | None) -> object:
    """Return text, a number or None unchanged, and any other value as a list."""
    value = _plain(value)
    return value if value is None or isinstance(value, (str, int)) else list(value)


def _device(value: str | int | Iterable[int] | torch.device | None) -> str | None:
    """Return a device as text: 0 as "0", [0, 1] as "0,1"."""
    plain = _plain(value)
    if plain is None or isinstance(plain, str):
        return plain
    return str(plain) if isinstance(plain, int) else ",".join(map(str, plain))


def _positive(key: str, value: object) -> int:
    """Return a value that is a positive integer.

    Raises:
        UserError: It is not.
    """
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{key}={value}: use a positive integer")
    return value


def _share(key: str, value: object) -> float:
    """Return a value that is a number from 0 to 1.

    Raises:
        UserError: It is not.
    """
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UserError(f"{key}={value}: use a number from 0 to 1")
    return float(value)
