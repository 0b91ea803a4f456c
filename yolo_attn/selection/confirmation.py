"""The confirmation: a study of the finalists with seeds and images that the search has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from yolo_attn.graph import layers_in, read_model
from yolo_attn.graph.document import to_flow
from yolo_attn.graph.placed_layers import parse_placed_layers
from yolo_attn.registry import get_layer
from yolo_attn.selection.files import CONFIRM
from yolo_attn.selection.records import Confirmed
from yolo_attn.selection.specification import Search
from yolo_attn.study.comparison import Results
from yolo_attn.study.engine import run_plan
from yolo_attn.study.files import LAST_WEIGHTS
from yolo_attn.study.planning import Plan, make_plan
from yolo_attn.study.results.records import ArmSummary
from yolo_attn.study.running.runner import Runner, make_runner
from yolo_attn.study.store import Store

__all__ = ["base_weights", "confirm", "confirmed", "placed_rows", "plan_confirmation"]


def plan_confirmation(search: Search, finalists: Sequence[str], seeds: int, stream: TextIO) -> Plan:
    """Plan the confirming study.

    Args:
        search: The search.
        finalists: Names of the finalists.
        seeds: Number of seeds, if they are not given.
        stream: Output for messages.

    Raises:
        UserError: As `make_plan`.
    """
    study = search.confirm_study(CONFIRM, finalists, seeds)
    return make_plan(study, Store(study.folder.path), stream)


def confirm(
    search: Search, finalists: Sequence[str], seeds: int, *, given: Runner | None, stream: TextIO, command: str
) -> Results:
    """Execute the confirming study.

    Args:
        search: The search.
        finalists: Names of the finalists.
        seeds: Number of seeds, if they are not given.
        given: Executes the runs; None for the runner that the search names.
        stream: Output for progress and table.
        command: The command line.

    Raises:
        UserError: As `compare`.
    """
    store = Store(search.folder.path / CONFIRM)
    plan = plan_confirmation(search, finalists, seeds, stream)
    runner = given or make_runner(plan.study, plan.platform, stream)
    try:
        return run_plan(plan, store, runner, stream, command)
    finally:
        runner.close()


def base_weights(results: Results) -> str | None:
    """Return the checkpoint of the base that the confirming study has trained; None if the base was given trained."""
    trained = [base for base in results.study.bases if base.arm is None and base.folder]
    return str(results.folder / str(trained[0].folder) / LAST_WEIGHTS) if trained else None


def confirmed(results: Results, finalists: Sequence[str]) -> tuple[Confirmed, ...]:
    """Return what the confirming study says about the finalists.

    Args:
        results: Its results.
        finalists: Names of the finalists, the best of the search first.
    """
    arms = {arm.name: arm for arm in results.study.variants}
    return tuple(_confirmed(arms[name], results.folder) for name in finalists if name in arms)


def _confirmed(arm: ArmSummary, folder: Path) -> Confirmed:
    found = arm.difference()
    return Confirmed(
        name=arm.name,
        mean=found.mean,
        low=found.shown.low,
        high=found.shown.high,
        verdict=arm.verdict,
        p=found.p_adjusted,
        seeds=found.seeds,
        rows=placed_rows(folder / arm.model, arm.name) if arm.model else (),
    )


def placed_rows(file: Path, name: str) -> tuple[str, ...]:
    """Return the rows of a variant's model YAML that contain its layers, as text with their numbers.

    Args:
        file: The model YAML.
        name: The variant, such as "SE[init=identity]@neck.P4".

    Raises:
        UserError: The file or the name cannot be read.
    """
    layers = {get_layer(placed.layer).name for placed in parse_placed_layers(name)}
    document = read_model(file)
    return tuple(
        f"- {to_flow(row)} # {number}"
        for number, row in enumerate([*document["backbone"], *document["head"]])
        if layers & {row[2], *layers_in(row[2])}
    )
