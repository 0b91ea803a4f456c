"""What a search needs before its first run: the carved data, the platform and the runner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TextIO

from yolo_attn.data import resolve_data
from yolo_attn.selection.confirmation import plan_confirmation
from yolo_attn.selection.files import SPLIT, rung_folder
from yolo_attn.selection.records import SearchInfo
from yolo_attn.selection.rungs import RungStudy
from yolo_attn.selection.specification import Search
from yolo_attn.selection.split import Carved, carve, shared_images
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.study.planning import Plan
from yolo_attn.study.preview import from_scratch, image_lines
from yolo_attn.study.results.paths import dataset_name, without_folders
from yolo_attn.study.running.latency import available_device
from yolo_attn.study.running.runner import Runner, make_runner
from yolo_attn.study.specification.device import first_device
from yolo_attn.study.specification.recipe import counts_one_class, recipe_integer, recipe_split
from yolo_attn.study.times import RunSeconds, RunTimes

__all__ = ["Setup", "set_up"]


@dataclass(frozen=True)
class Setup:
    """What a search needs before its first run.

    Args:
        carved: The images that it trains on and evaluates.
        probe: The plan of its base alone on them.
        confirmation: The plan of the base alone on the images of the confirmation.
        runner: Executes the runs of the rungs, with the carved data.
        given: The runner that the caller has given for all runs; None without one.
        info: The setup as it is reported.
        seconds: Expected seconds of a run of a rung with a number of epochs; None if unknown.
        confirm_seconds: The same for a run of the confirmation.
        notes: What limits the conclusions, in sentences.
    """

    carved: Carved
    probe: Plan
    confirmation: Plan
    runner: Runner
    info: SearchInfo
    seconds: Callable[[int], float | None]
    confirm_seconds: Callable[[int], float | None]
    given: Runner | None = None
    notes: tuple[str, ...] = ()


def set_up(search: Search, given: Runner | None, stream: TextIO, command: str) -> tuple[Search, Setup]:
    """Carve the data and choose platform and runner; return the search with its number of threads.

    Args:
        search: The search.
        given: Executes the runs; None for the runner that the search names.
        stream: Output for messages.
        command: The command line.

    Raises:
        UserError: The base or the dataset cannot be used, or the dataset is too small.
    """
    confirmation = plan_confirmation(search, (), search.seed_counts[0], stream)
    data, groups, task = resolve_data(search.study.data), search.study.design.groups, confirmation.settings.task
    carved = carve(
        data,
        task,
        search.folder.path / SPLIT,
        groups=groups,
        share=search.share,
        single_class=counts_one_class(search.study.train),
    )
    epochs = recipe_integer(search.study.train, "epochs")
    study = search.rung_study(rung_folder(1), carved.data, (), seeds=1, epochs=epochs)
    probe = RungStudy(study, stream).plan
    search = replace(search, study=replace(search.study, threads=probe.platform.threads))
    shared = shared_images(data, task, recipe_split(confirmation.study.train))
    info = replace(_info(search, carved, probe, confirmation, command), shared_images=shared)
    seconds = RunSeconds(probe, RunTimes())
    runner = given or make_runner(probe.study, probe.platform, stream)
    return search, Setup(
        carved=carved,
        probe=probe,
        confirmation=confirmation,
        runner=runner,
        info=info,
        seconds=lambda epochs: seconds.guess(epochs, probe.dataset),
        confirm_seconds=lambda epochs: seconds.guess(epochs, confirmation.dataset),
        given=given,
        notes=_notes(shared, probe, confirmation),
    )


def _info(search: Search, carved: Carved, probe: Plan, confirmation: Plan, command: str) -> SearchInfo:
    study = search.study
    return SearchInfo(
        base=without_folders(study.base),
        data=dataset_name(study.data),
        task=probe.settings.task,
        metric=evaluation_of(probe.settings.task).metrics[0],
        recipe=dict(study.train),
        train_images=carved.train_images,
        search_images=carved.search_images,
        confirm_images=confirmation.dataset.images,
        limits=search.limits.text or None,
        export=search.export,
        budget=search.budget,
        margin=study.design.margin / 100,
        lr_attention=study.design.lr_attention if study.design.lr_attention != 1 else None,
        versions=dict(probe.platform.versions),
        device=probe.platform.device,
        latency_device=_latency_device(probe),
        threads=probe.platform.threads,
        command=without_folders(command),
        given_data=without_folders(study.data),
        layer_files=tuple(map(without_folders, search.layer_files)),
    )


def _latency_device(probe: Plan) -> str:
    """Return the device on which latency is measured, if it is another one than that of the runs."""
    wanted = first_device(probe.study.device)
    found = available_device(wanted)
    return "" if found == wanted else found


def _notes(shared: int, probe: Plan, confirmation: Plan) -> tuple[str, ...]:
    """Return what limits the conclusions of a search."""
    notes = [*image_lines(confirmation), *(f"search split: {line}" for line in image_lines(probe))]
    if confirmation.untrained:
        notes.insert(0, from_scratch("candidates"))
    if shared:
        notes.insert(
            0,
            f"{shared} of the {confirmation.dataset.images} images of the confirmation are also training images, so "
            "the confirmation is not independent of the search.",
        )
    return tuple(notes)
