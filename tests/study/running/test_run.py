"""Planned runs and their keys."""

from __future__ import annotations

from dataclasses import replace

from tests.study.conftest import PLATFORM
from yolo_attn.study.job import Inputs
from yolo_attn.study.running.run import Run, plan_run
from yolo_attn.study.specification.arms import Arm

STOCK = {"backbone": [[-1, 1, "Conv", [8]]], "head": [[[0], 1, "Detect", [1]]]}
ROW = {**STOCK, "backbone": [[-1, 1, "Conv", [8]], [-1, 1, "SE", []]]}
INSIDE = {**STOCK, "backbone": [[-1, 1, "C3k2+CBAM", [8]]]}


def plan(model: dict[str, object], lr_attention: float = 1.0, base: Run | None = None, seed_offset: int = 0) -> Run:
    arm = Arm("A", "variant", model, seed_offset=seed_offset)
    return plan_run(arm, 3, data="d", recipe={"epochs": 2}, platform=PLATFORM, base=base, lr_attention=lr_attention)


def test_the_learning_rate_of_attention_layers_is_an_input_of_runs_that_have_some() -> None:
    assert plan(STOCK, 5.0).key == plan(STOCK).key
    for model in (ROW, INSIDE):
        faster = plan(model, 5.0)
        assert faster.key != plan(model).key
        assert "lr_attention" not in plan(model).inputs.to_json()
        assert Inputs.from_json(faster.inputs.to_json(), "run.json") == faster.inputs


def test_a_run_starts_from_the_key_of_its_base() -> None:
    base = plan(STOCK)
    run = plan(ROW, base=base)
    assert (run.inputs.weights, run.base_number, plan(ROW).base_number) == (base.key, 3, 0)
    assert run.key != plan(ROW).key
    other = replace(base, inputs=replace(base.inputs, seed=4), key="other")
    assert plan(ROW, base=other).key != run.key


def test_a_control_with_other_seeds_belongs_to_the_seeds_of_the_study() -> None:
    run = plan(STOCK, seed_offset=1000)
    assert (run.seed, run.inputs.seed) == (3, 1003)
    assert run.key != plan(STOCK).key
