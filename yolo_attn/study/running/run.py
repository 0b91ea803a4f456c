"""A planned run: one arm with one seed, its inputs and its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yolo_attn.graph import ModelGraph
from yolo_attn.study.job import Inputs, Platform
from yolo_attn.study.running.key import run_key
from yolo_attn.study.running.layer_code import layer_code, layer_sources
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.recipe import recipe_integer
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
        base: The run that trains the weights that this one starts from; None if it starts untrained or from a
            checkpoint.
    """

    arm: Arm
    inputs: Inputs
    key: str
    sources: Sources | None = None
    base: Run | None = None

    @property
    def seed(self) -> int:
        """The seed of the study that it belongs to; a control may be trained with another one."""
        return self.inputs.seed - self.arm.seed_offset

    @property
    def base_number(self) -> int:
        """The number of the trained base that it starts from, which is the base's seed."""
        return self.base.seed if self.base else 0

    @property
    def epochs(self) -> int:
        """The epochs that it is trained for."""
        return recipe_integer(self.inputs.recipe, "epochs")


def plan_run(
    arm: Arm,
    seed: int,
    *,
    data: str,
    recipe: Mapping[str, object],
    platform: Platform,
    base: Run | None = None,
    lr_attention: float = 1.0,
) -> Run:
    """Return a run with its key.

    Args:
        arm: Its arm.
        seed: The study's seed that it belongs to.
        data: Hash of the dataset.
        recipe: Ultralytics' training keys.
        platform: Versions, device and threads.
        base: The run that trains the weights that it starts from.
        lr_attention: Learning rate of attention layers, relative to that of the others; without any it has no effect.

    Raises:
        UserError: A custom layer of the arm is defined where no other process can import it.
    """
    from yolo_attn.host.parser import has_layer

    weights = base.key if base else file_hash(arm.weights) if arm.weights else None
    attention = any(has_layer(row) for row in ModelGraph(dict(arm.model)))
    inputs = Inputs(
        data=data,
        recipe=recipe,
        platform=platform,
        model=arm.model,
        weights=weights,
        seed=seed + arm.seed_offset,
        layers=layer_code(arm.model),
        lr_attention=lr_attention if attention else 1.0,
    )
    return Run(arm, inputs, run_key(inputs), layer_sources(arm.model), base)
