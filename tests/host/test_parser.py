"""Attention rows through the stock parser."""

from __future__ import annotations

import copy
import functools
import io
import logging

import pytest
import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel

import yolo_attn
from tests.host.helpers import base_key, build, equal_tensors, marked, python, with_row
from yolo_attn import UserError, registry
from yolo_attn.graph import ModelGraph
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.transfer import last_transfer

BASES = {"yolo11n.yaml": 23, "yolov8n.yaml": 22}  # rows before the head


class WideBlock(nn.Module):
    """A custom layer that changes the channels."""

    def __init__(self, channels: int, *, out_channels: int = 64) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Blend(nn.Module):
    """A custom layer of several inputs."""

    def __init__(self, channels: list[int], *, weight: float = 0.5) -> None:
        super().__init__()
        self.match = nn.Conv2d(channels[1], channels[0], 1)
        self.weight = weight

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        return x[0] + self.weight * self.match(x[1])


@pytest.fixture
def user_layers():
    yolo_attn.register_layer(family="block", summary="changes the channels")(WideBlock)
    yolo_attn.register_layer(family="fusion", summary="adds two maps", inputs=2)(Blend)
    yield
    registry.unregister_layer("WideBlock")
    registry.unregister_layer("Blend")


@pytest.mark.parametrize(
    ("base", "after"),
    [
        pytest.param(base, after, marks=pytest.mark.slow if (after + 1) % 4 and after < rows - 1 else ())
        for base, rows in BASES.items()
        for after in range(-1, rows)
    ],
)
def test_a_row_at_every_position(base: str, after: int) -> None:
    """The model builds, stock layers keep their initial weights, consumers are redirected, and weights transfer."""
    document, new = with_row(base, after, "CBAM")
    plain, variant = _plain(base), build(document)
    total = len(plain.state_dict())
    assert equal_tensors(plain, variant, new) == total
    assert type(variant.model[new]).__name__ == "CBAM"
    assert torch.equal(variant.stride, plain.stride)
    own = sum(p.numel() for p in variant.model[new].parameters())
    assert sum(p.numel() for p in variant.parameters()) == own + sum(p.numel() for p in plain.parameters())
    consumers = [m.i for m in variant.model if new in _absolute(m)]
    assert len(consumers) == len([m for m in plain.model if after in _absolute(m)]) > 0

    source = _source(base)
    variant.load(source, verbose=False)
    assert equal_tensors(source, variant, new) == total
    report = last_transfer(variant)
    assert report is not None
    assert (report.arrived, report.base, report.new) == (total, total, (f"row {new} CBAM",))


@functools.cache
def _plain(base: str) -> DetectionModel:
    return build(base)


@functools.cache
def _source(base: str) -> nn.Module:
    return marked(_plain(base))


def _absolute(module: nn.Module) -> list[int]:
    sources = module.f if isinstance(module.f, list) else [module.f]
    return [module.i + s if s < 0 else s for s in sources]  # the image is -1, read by row 0


@pytest.mark.parametrize("scale", "nsmlx")
def test_channels_are_inferred_at_every_scale(scale: str) -> None:
    document, new = with_row(f"yolo11{scale}.yaml", 16, "SE")
    with torch.device("meta"):
        modules, _ = tasks.parse_model(copy.deepcopy(document), 3, False)
    assert modules[new].channels == {"n": 64, "s": 128, "m": 256, "l": 256, "x": 384}[scale]


@pytest.mark.slow
def test_a_model_without_attention_rows_is_unchanged() -> None:
    code = """
import sys, torch, hashlib
if sys.argv[1] == "with":
    import yolo_attn
from ultralytics.nn.tasks import DetectionModel
torch.manual_seed(3)
model = DetectionModel("yolo11n.yaml", verbose=False).eval()
digest = hashlib.sha256(repr(model).encode())
for key, value in model.state_dict().items():
    digest.update(key.encode() + value.numpy().tobytes())
digest.update(model(torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64))[0].detach().numpy().tobytes())
digest.update(torch.get_rng_state().numpy().tobytes())
print(digest.hexdigest(), model.save)
"""
    runs = [python(code, word).stdout for word in ("with", "without")]
    assert runs[0] == runs[1]


def test_unregister_restores_ultralytics_and_register_repeats() -> None:
    code = """
from ultralytics.nn import tasks
from ultralytics.utils import dist
names = 'parse_model', 'check_yaml', 'guess_model_scale'
held = lambda: ([getattr(tasks, n) for n in names], tasks.BaseModel.load, dist.generate_ddp_file)
before, known = held(), set(vars(tasks))
import yolo_attn
assert all(a is not b for a, b in zip((*before[0], *before[1:]), (*held()[0], *held()[1:])))
yolo_attn.register()
yolo_attn.unregister()
assert held() == before, held()
assert set(vars(tasks)) == known
from ultralytics import YOLO
try:
    YOLO("yolo11n-cbam.yaml")
except FileNotFoundError:
    pass
else:
    raise SystemExit("still registered")
yolo_attn.register()
YOLO("yolo11n-cbam.yaml", verbose=False)
"""
    python(code)


def test_attention_layers_depend_on_the_seed_and_keep_the_random_stream() -> None:
    document, new = with_row("yolo11n.yaml", 4, "SE")
    build(document, seed=1)
    state = torch.get_rng_state()
    build("yolo11n.yaml", seed=1)
    assert torch.equal(state, torch.get_rng_state())

    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in build(document, seed=seed).model[new].parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_the_same_layer_has_different_initial_weights_in_two_rows() -> None:
    graph = ModelGraph(model_yaml("yolov8n.yaml"))
    first = graph.insert_after(4, "SE", [])
    second = graph.insert_after(first, "SE", [])
    model = build(graph.to_document())
    pairs = zip(model.model[first].parameters(), model.model[second].parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_several_inputs(user_layers: None) -> None:
    graph = ModelGraph(model_yaml("yolo11n.yaml"))
    new = graph.insert_after(13, "Blend", [{"weight": 0.25}])
    graph.rows[new].sources, graph.rows[new].relative, graph.rows[new].several = [13, 6], [True, False], True
    model = build(graph.to_document())
    blend = model.model[new]
    assert (blend.f, blend.i, blend.weight) == ([-1, 6], new, 0.25)
    assert blend.match.in_channels == 128
    assert 6 in model.save
    assert model.model[-1].f[1] > new
    model(torch.zeros(1, 3, 64, 64))


def test_a_layer_that_changes_the_channels_scales_as_stock_rows_do(user_layers: None) -> None:
    for scale, width in {"n": 64, "x": 384}.items():
        document, new = with_row(f"yolo11{scale}.yaml", 16, "WideBlock", {"out_channels": 256})
        with torch.device("meta"):
            modules, _ = tasks.parse_model(document, 3, False)
        assert modules[new].conv.out_channels == width
    document, new = with_row("yolo11n.yaml", 16, "WideBlock", {"out_channels": 256})
    plain, variant = build("yolo11n.yaml"), build(document)
    there = dict(variant.named_parameters())  # the placeholder does not change the random state
    assert all(torch.equal(value, there[base_key(key, new)]) for key, value in plain.named_parameters())
    variant(torch.zeros(1, 3, 64, 64))


def test_the_table_shows_attention_layers() -> None:
    document, new = with_row("yolo11n.yaml", 4, "CBAM", {"reduction": 8})
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    tasks.LOGGER.addHandler(handler)
    try:
        DetectionModel(document, verbose=True)
    finally:
        tasks.LOGGER.removeHandler(handler)
    rows = [line for line in stream.getvalue().splitlines() if line[:3].strip().isdigit()]
    assert [int(line[:3]) for line in rows] == list(range(25))
    assert "yolo_attn.layers.hybrid.cbam.CBAM" in rows[new]
    assert "'reduction': 8" in rows[new]
    assert "Probe" not in stream.getvalue()
    assert "Identity" not in stream.getvalue()


def test_a_list_of_one_source_is_one_input() -> None:
    document, new = with_row("yolo11n.yaml", 4, "SE")
    document["backbone"][new][0] = [-1]
    assert build(document).model[new].f == -1


def _broken(**changes) -> dict:
    """Return YOLO11n with a changed attention row after row 4."""
    document, new = with_row("yolo11n.yaml", 4, "SE")
    row = document["backbone"][new]
    for key, value in changes.items():
        row[["source", "repeats", "module", "args"].index(key)] = value
    return document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (_broken(module="Cbam"), ["row 5", "'Cbam'", "did you mean CBAM?"]),
        (_broken(module="Conw"), ["row 5", "did you mean Conv?"]),
        (_broken(module="Zzzzz"), ["row 5", "'Zzzzz'", "yolo-attn layers"]),
        (_broken(args=[1024]), ["row 5", "SE", "by name", "write [], not [1024]"]),
        (_broken(args=[256, 16]), ["row 5", "by name", "write [{reduction: 16}], not"]),
        (_broken(args=[{"reductoin": 8}]), ["row 5", "'reductoin'", "did you mean reduction?"]),
        (_broken(args=[{"reduction": -1}]), ["row 5", "reduction=-1"]),
        (_broken(args=[{"reduction": "big"}]), ["row 5", "reduction=big"]),
        (_broken(args=[{"init": "zero"}]), ["row 5", "init=zero", "paper or identity"]),
        (_broken(source=40), ["row 5", "40", "forward"]),
        (_broken(source=5), ["row 5", "itself"]),
        (_broken(source=-9), ["row 5", "-9", "before the first"]),
        (_broken(source=[-1, 3]), ["row 5", "SE reads 1 input, not 2"]),
        (_broken(source="P3"), ["row 5", "got P3"]),
        (_broken(repeats=3), ["row 5", "cannot be repeated"]),
        (_broken(repeats=0), ["row 5", "repeats"]),
    ],
)
def test_invalid_rows_are_reported_with_row_and_fix(document: dict, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        build(document)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_the_row_is_reported_at_any_log_level(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.LOGGER, "level", level)
    tasks.LOGGER.manager._clear_cache()
    document = with_row("yolov8n.yaml", 4, "SE")[0]
    document["head"][3][2] = "nn.Conv2d"  # with the arguments of an Upsample
    try:
        with pytest.raises(UserError, match=r"^row 14: nn.Conv2d cannot be built"):
            build(document)
    finally:
        monkeypatch.undo()
        tasks.LOGGER.manager._clear_cache()


def test_numbers_with_an_exponent_are_numbers() -> None:
    """YAML 1.1 reads 1e-4, which has no point, as a string."""
    document = with_row("yolov8n.yaml", 4, "SimAM", {"e_lambda": "1e-5"})[0]
    document["backbone"][6 + 1] = [-1, 6, "C2f+SimAM", [512, True, {"e_lambda": "2E-5"}]]
    model = build(document)
    found = [m.e_lambda for m in model.modules() if type(m).__name__ == "SimAM"]
    assert found[0] == 1e-5 and set(found[1:]) == {2e-5}


def test_inputs_of_different_sizes_name_the_row() -> None:
    graph = ModelGraph(model_yaml("yolo11n.yaml"))
    new = graph.insert_after(13, "WeightedFusion", [])
    row = graph.rows[new]
    row.sources, row.relative, row.several = [13, 4], [True, False], True  # P4 and P3, both of 128 channels
    with pytest.raises(UserError, match=r"row 14: WeightedFusion: the inputs have sizes .*; resize them with"):
        build(graph.to_document())


def test_a_row_that_no_row_reads_is_an_error() -> None:
    document, _ = with_row("yolo11n.yaml", 22, "CBAM", redirect=False)  # just before a head that reads [16, 19, 22]
    with pytest.raises(UserError, match=r"row 23: CBAM is not read by any row"):
        build(document)


def test_a_layer_with_an_attribute_of_ultralytics_is_refused() -> None:
    class Clash(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.f = nn.Conv2d(channels, channels, 1)

    yolo_attn.register_layer(family="block", summary="uses f")(Clash)
    try:
        with pytest.raises(UserError, match=r"row 5: Clash has an attribute 'f'"):
            build(with_row("yolo11n.yaml", 4, "Clash")[0])
    finally:
        registry.unregister_layer("Clash")


def test_a_name_of_ultralytics_is_refused() -> None:
    class Conv(nn.Module):
        pass

    with pytest.raises(ValueError, match="'Conv' is reserved by the Ultralytics parser"):
        yolo_attn.register_layer(family="block", summary="taken")(Conv)


def test_ultralytics_without_a_channel_table_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from yolo_attn.host import UnsupportedHostError, parser

    def other_parser(d: dict, ch: int, verbose: bool = True) -> tuple[nn.Sequential, list[int]]:
        rows = [nn.Identity() for _ in d["backbone"] + d["head"]]
        return nn.Sequential(*rows), []

    document, _ = with_row("yolo11n.yaml", 4, "SE")
    with pytest.raises(UnsupportedHostError, match=r"supports Ultralytics 8\.3\.0"):
        parser._wrap(other_parser)(document, 3, False)


def test_keys_follow_the_shift() -> None:
    assert base_key("model.4.cv1.conv.weight", 5) == "model.4.cv1.conv.weight"
    assert base_key("model.5.conv.weight", 5) == "model.6.conv.weight"
