"""Every layer inside whole models: rows at n and x, training steps, EMA, saving, Ultralytics' export."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG
from ultralytics.utils.torch_utils import ModelEMA

from tests.host.helpers import build
from yolo_attn import cards
from yolo_attn.graph import ModelGraph
from yolo_attn.host.documents import model_yaml
from yolo_attn.registry import LayerSpec, layer_names, list_layers
from yolo_attn.registry import get_layer as spec_of

SPECS = [s for s in list_layers() if s.cls.__module__.startswith("yolo_attn.layers.")]
GROUP = 6  # layers in one model: whole models are slow to build and export
COUNT = -(-len(SPECS) // GROUP)
GROUPS = [SPECS[i::COUNT] for i in range(COUNT)]
"""Layers of several families each, because layers that multiply features leave little of a gradient."""


def put(graph: ModelGraph, spec: LayerSpec, after: int) -> int:
    """Insert one layer after the backbone; further inputs are an earlier row of the same size."""
    new = graph.insert_after(after, spec.name, [])
    if spec.inputs > 1 or spec.more_inputs:
        earlier = max(i for i, row in enumerate(graph.rows[:after]) if row.module in ("C2f", "C3k2"))
        row = graph.rows[new]
        row.sources = [after, *[earlier] * (spec.inputs - 1)]
        row.relative, row.several = [True] * spec.inputs, True
    return new


def model_with(specs: list[LayerSpec], base: str = "yolov8n.yaml") -> dict[str, Any]:
    """Return a YOLOv8 with these layers one after another, following the backbone, where the map is smallest."""
    graph = ModelGraph(model_yaml(base))
    after = graph.backbone_length - 1
    for spec in specs:
        after = put(graph, spec, after)
    return graph.to_document()


NAMES = sorted(layer_names())


@pytest.mark.parametrize("names", [NAMES[first : first + 16] for first in range(0, len(NAMES), 16)], ids=lambda n: n[0])
@pytest.mark.parametrize("scale", ["n", pytest.param("x", marks=pytest.mark.slow)])
def test_every_name_makes_a_row_of_yolo11(names: list[str], scale: str) -> None:
    graph, after, made = ModelGraph(model_yaml(f"yolo11{scale}.yaml")), 10, {}
    for name in names:
        after = put(graph, spec_of(name), after)
        graph.rows[after].module = name
        made[after] = name
    with torch.device("meta"):
        modules, _ = tasks.parse_model(graph.to_document(), 3, False)
    assert {row: type(modules[row]) for row in made} == {row: spec_of(name).cls for row, name in made.items()}


def norms_keep_their_constants(model: DetectionModel, specs: list[LayerSpec]) -> None:
    """Building a model overwrites eps and momentum of plain batch norms; those of attention layers equal the cards."""
    for module in model.model:
        for spec in specs:
            if type(module) is spec.cls:
                parts = dict(module.named_modules())
                for norm in cards.norms(spec):
                    part = parts[norm["name"]]
                    assert (part.eps, getattr(part, "momentum", None)) == (norm["eps"], norm["momentum"]), spec.name


@pytest.mark.parametrize("specs", GROUPS, ids=lambda specs: "-".join(s.name for s in specs))
def test_training_steps_ema_and_fusing(specs: list[LayerSpec]) -> None:
    model = build(model_with(specs), nc=10)
    model.args = SimpleNamespace(**{**vars(DEFAULT_CFG), "box": 7.5, "cls": 0.5, "dfl": 1.5})
    norms_keep_their_constants(model, specs)
    ema = ModelEMA(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step in range(2):
        loss, _ = model(_batch(step))
        optimizer.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        ema.update(model)
        assert torch.isfinite(loss).all()
    attention = {m.i for m in model.model if type(m) in [s.cls for s in specs]}
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        if int(name.split(".")[1]) in attention:
            assert parameter.grad is not None, name
    # After a chain of layers that multiply small features, a gradient may be too small to change a parameter.
    reached = {int(n.split(".")[1]) for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {i for i in attention if list(model.model[i].parameters())} <= reached

    trained = copy.deepcopy(ema.ema).eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        plain = trained(x)[0]
        fused = trained.fuse(verbose=False)(x)[0]
    assert torch.isfinite(plain).all()
    assert torch.allclose(plain, fused, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_mixed_precision_training_in_the_neck(spec: LayerSpec) -> None:
    """Two steps as in Ultralytics' trainer with amp=True, which it rejects on a CPU."""
    model = build(_in_the_neck(spec), nc=10)
    model.args = SimpleNamespace(**{**vars(DEFAULT_CFG), "box": 7.5, "cls": 0.5, "dfl": 1.5})
    attention = [module for module in model.modules() if type(module) is spec.cls]
    assert len(attention) == 3
    seen: set[torch.dtype] = set()
    for module in attention:
        module.register_forward_hook(lambda _m, inputs, y: seen.update({_first(inputs[0]).dtype, y.dtype}))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    for step in range(2):
        # oneDNN's bfloat16 gradient of a kernel larger than the map (7 x 7 on 2 x 2) is uninitialized memory.
        with torch.backends.mkldnn.flags(enabled=False):
            with torch.autocast("cpu", torch.bfloat16):
                loss, _ = model(_batch(step))
            optimizer.zero_grad()
            scaler.scale(loss.sum()).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        scaler.step(optimizer)
        scaler.update()
    assert seen == {torch.bfloat16}
    assert scaler.get_scale() == 256.0, "a step was skipped because of a gradient that is not finite"
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
    assert all(parameter.grad is not None for module in attention for parameter in module.parameters())


def _in_the_neck(spec: LayerSpec) -> dict[str, Any]:
    """Return yolo11n with a layer at the end of each level of the neck; a fusion reads that level twice."""
    graph = ModelGraph(model_yaml("yolo11n.yaml"))
    for row in sorted(graph.rows[-1].sources, reverse=True):
        new = graph.insert_after(row, spec.name, [])
        if spec.inputs > 1:
            graph.rows[new].sources, graph.rows[new].relative = [row] * spec.inputs, [True] * spec.inputs
            graph.rows[new].several = True
    return graph.to_document()


def _first(inputs: Any) -> torch.Tensor:
    return inputs if isinstance(inputs, torch.Tensor) else inputs[0]


def _batch(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "img": torch.rand(2, 3, 64, 64, generator=generator),
        "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
        "cls": torch.tensor([[1.0], [2.0], [3.0]]),
        "bboxes": torch.rand(3, 4, generator=generator) * 0.4 + 0.3,
    }
