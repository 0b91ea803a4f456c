"""A planned run: one arm with one seed, its inputs and its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yolo_attn.study.job import Inputs, Platform
from yolo_attn.study.running.key import run_key
from yolo_attn.study.running.layer_code import layer_code, layer_sources
from yolo_attn.study.specification.arms import Arm
from yolo_attn.system.files import file_hash

if TYPE_CHECKING:
    from yolo_attn.layer_files import Sources

__all__ = ["Run", "plan_run"]


@dataclass(frozen=True)
class Run:
    """One arm trained with one seed.

    Args:
        arm: The arm.
        inputs: Everything its result depends on.
        key: The hash of its inputs.
        sources: Source files of its custom layers; None without any.
    """

    arm: Arm
    inputs: Inputs
    key: str
    sources: Sources | None = None

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.inputs.seed


def plan_run(arm: Arm, seed: int, *, data: str, recipe: Mapping[str, object], platform: Platform) -> Run:
    """Return a run with its key.

    Args:
        arm: Its arm.
        seed: Its seed.
        data: Hash of the dataset.
        recipe: Ultralytics' training keys.
        platform: Versions, device and threads.

    Raises:
        UserError: A custom layer of the arm is defined where no other process can import it.
    """
    weights = file_hash(arm.weights) if arm.weights else None
    inputs = Inputs(data, recipe, platform, arm.model, weights, seed, layer_code(arm.model))
    return Run(arm, inputs, run_key(inputs), layer_sources(arm.model))
