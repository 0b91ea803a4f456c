"""Layers inside stock blocks: position, unchanged tensors, checkpoints and export.

The formulas below are written from the papers' figures, independently of how the layer gets there: each residual block
by itself, with the layer where SE-ResNet has it, on the branch and before the add.
"""

from __future__ import annotations

import copy
import inspect
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
import yaml
from torch import Tensor, nn
from torch.nn.functional import relu
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv

from tests.host.helpers import build, exports_onnx, marked, python
from yolo_attn import UserError
from yolo_attn.graph import ModelGraph, list_blocks
from yolo_attn.host import blocks
from yolo_attn.host.blocks import CHILD, count_inside
from yolo_attn.host.documents import make_variant, model_yaml
from yolo_attn.host.geometry import build_on_meta, row_strides
from yolo_attn.host.linting import lint
from yolo_attn.host.placement import place_layer
from yolo_attn.host.transfer import forget_transfer, last_transfer

# Rows on a map of 64 channels, and how many layers go inside each: every module of the stock YAMLs, and the rest.
ROWS: list[tuple[str, int, list[Any], int]] = [
    ("Bottleneck", 1, [64], 1),
    ("Bottleneck", 3, [64, False], 3),
    ("BottleneckCSP", 2, [64], 2),
    ("C1", 2, [64], 1),
    ("C2", 2, [64, True], 2),
    ("C2f", 2, [64, True], 2),
    ("C2f", 2, [64], 2),  # without shortcuts
    ("C3", 2, [64], 2),
    ("C3x", 1, [64], 1),
    ("C3TR", 1, [64], 1),
    ("C3Ghost", 2, [64], 2),
    ("C3k2", 2, [64, False], 2),
    ("C3k2", 2, [64, True], 4),  # C3k of two each
    ("C3k2", 1, [64, True, 0.5, True], 2),  # a bottleneck and a PSABlock
    ("C2fCIB", 1, [64, True, True], 1),
    ("C2fCIB", 1, [64], 1),
    ("C2PSA", 2, [64, 1.0], 2),
    ("C2fPSA", 1, [64, 1.0], 1),
    ("PSA", 1, [64, 1.0], 1),
    ("A2C2f", 1, [64, True, 1], 2),
    ("A2C2f", 1, [64, True, 1, True], 2),
    ("A2C2f", 1, [64, False, -1], 2),
    ("RepC3", 2, [64], 1),
    ("RepNCSPELAN4", 1, [64, 64, 32, 2], 4),
    ("ELAN1", 1, [64, 64, 32], 1),
    ("GhostBottleneck", 1, [64, 3, 1], 1),
    ("GhostConv", 2, [64], 2),
    ("HGBlock", 2, [16, 64, 3, True, True], 1),
    ("HGBlock", 1, [16, 64, 3], 1),
    ("ResNetLayer", 1, [64, 16, 1, False, 2], 2),
    ("SPP", 1, [64], 1),
    ("SPPF", 1, [64, 5], 1),
    ("SPPF", 1, [64, 5, 3, True], 1),
    ("SPPELAN", 1, [64, 32], 1),
    ("AIFI", 1, [64, 4], 1),
    ("DWConv", 1, [64, 3], 1),
    ("Conv", 2, [64, 3], 2),
    ("Focus", 1, [64], 1),
    ("AConv", 1, [64], 1),
    ("ADown", 1, [64], 1),
    ("SCDown", 1, [64, 3, 2], 1),
]
GATE, MIXER = "CBAM", "A2"
STOCK = sorted(p.name for p in (Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
NO_MAP = ("CBLinear", "TorchVision", "ImagePoolingAttn")  # these may return several maps or text features


def known(row: tuple[str, int, list[Any], int]) -> bool:
    """Return whether this Ultralytics has a row's block, with all arguments of recent releases."""
    name, _, args, _ = row
    newer = {"SPPF": ("shortcut", 4), "C3k2": ("attn", 4)}.get(name, ("", 0))
    if not hasattr(tasks, name):
        return False
    return len(args) < newer[1] or newer[0] in ("", *inspect.signature(getattr(tasks, name)).parameters)


def document(rows: list[tuple[str, int, list[Any]]]) -> dict[str, Any]:
    """Return a small model YAML with these rows from row 2 on."""
    written = [[-1, repeats, name, copy.deepcopy(args)] for name, repeats, args in rows]
    stem = [[-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Conv", [64, 3, 2]]]
    size = {"scales": {"n": [1.0, 1.0, 1024]}, "scale": "n"}  # some blocks of early releases need one
    return {"nc": 2, **size, "backbone": [*stem, *written], "head": [[[-1], 1, "Detect", ["nc"]]]}


def inside(base: dict[str, Any], layer: str, **options: Any) -> dict[str, Any]:
    """Return a document of `document` with a layer inside each of its rows."""
    variant = copy.deepcopy(base)
    for row in variant["backbone"][2:]:
        row[2] += f"+{layer}"
        row[3] += [options] if options else []
    return variant


ROWS = [row for row in ROWS if known(row)]
IDS = [f"{name}-{'-'.join(map(str, args))}" for name, _, args, _ in ROWS]
ALL = document([row[:3] for row in reversed(ROWS)])  # those of stride 2 first


def skip(block: Any, x: Tensor) -> Tensor | int:
    return x if getattr(block, "add", False) else 0


def bottleneck(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    return skip(b, x) + layer(b.cv2(b.cv1(x)))


def cib(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    return skip(b, x) + layer(b.cv1(x))


def ghost_bottleneck(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    return layer(b.conv(x)) + b.shortcut(x)


def resnet_block(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    return relu(layer(b.cv3(b.cv2(b.cv1(x)))) + b.shortcut(x))


def psa_block(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    x = x + b.attn(x)
    return x + layer(b.ffn(x))


def psa(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    kept, x = b.cv1(x).chunk(2, 1)
    return b.cv2(torch.cat((kept, psa_block(b, layer, x)), 1))


def area_block(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    x = x + b.attn(x)
    return x + layer(b.mlp(x))


def hg_block(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    maps = [x]
    for conv in b.m:
        maps.append(conv(maps[-1]))
    return layer(b.ec(b.sc(torch.cat(maps, 1)))) + skip(b, x)


def sppf(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    maps = [b.cv1(x)]
    for _ in range(3):
        maps.append(b.m(maps[-1]))
    return layer(b.cv2(torch.cat(maps, 1))) + skip(b, x)


def c1(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    x = b.cv1(x)
    return layer(b.m(x)) + x


def rep_c3(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    return b.cv3(layer(b.m(b.cv1(x))) + b.cv2(x))


def at_output(b: Any, layer: nn.Module, x: Tensor) -> Tensor:
    return layer(b(x))


FORMULAS = {
    "Bottleneck": bottleneck,
    "RepBottleneck": bottleneck,
    "CIB": cib,
    "GhostBottleneck": ghost_bottleneck,
    "ResNetBlock": resnet_block,
    "PSABlock": psa_block,
    "PSA": psa,
    "ABlock": area_block,
    "HGBlock": hg_block,
    "SPPF": sppf,
    "C1": c1,
    "RepC3": rep_c3,
}


class Reference(nn.Module):
    """A residual block of a base with a layer on its branch, by its formula."""

    def __init__(self, block: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.block, self.layer = block, layer
        self.formula = FORMULAS.get(type(block).__name__, at_output)

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(self.block, self.layer, x)


def residual_blocks(row: nn.Module) -> list[str]:
    """Return the paths of the residual blocks in a base's row, or of its repeats where it has none."""
    repeats = [name for name, _ in row.named_children()] if type(row) is nn.Sequential else [""]
    return [path for path, part in row.named_modules() if type(part).__name__ in FORMULAS] or repeats


def by_formula(row: nn.Module, variant: nn.Module, layer: str) -> nn.Module:
    """Return a base's row whose residual blocks are replaced by their formulas, with the variant's layers."""
    holder = nn.ModuleDict({"row": copy.deepcopy(row)})
    for path in residual_blocks(row):
        there = variant.get_submodule(path)
        ends = tuple(f".{CHILD}.{name}" for name in layer.split("+"))
        own = nn.Sequential(*(m for name, m in there.named_modules() if f".{name}".endswith(ends)))
        assert len(own) == len(ends)
        parent, _, name = f"row.{path}".rstrip(".").rpartition(".")
        owner = holder.get_submodule(parent)
        owner._modules[name] = Reference(owner._modules[name], own)
    return holder["row"]


def trained(model: nn.Module) -> nn.Module:
    """Give a model statistics and scales other than zero and one."""
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.uniform_(-0.5, 0.5)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("layer", [GATE, MIXER])
@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_layer_is_on_each_branch_before_the_add(row: tuple[str, int, list[Any], int], layer: str) -> None:
    base = document([row[:3]])
    before = trained(tasks.parse_model(copy.deepcopy(base), 3, False)[0])[2]
    after = tasks.parse_model(inside(base, layer), 3, False)[0].eval()[2]
    after.load_state_dict({**after.state_dict(), **before.state_dict()})
    assert count_inside(after, layer) == len(residual_blocks(before)) == row[3]
    x = torch.randn(2, 64, 16, 16)
    with torch.no_grad():
        expected = by_formula(before, after, layer)(x)
        assert torch.allclose(after(x), expected, atol=1e-5)
        assert not torch.allclose(expected, before(x), atol=1e-3)


def test_layers_of_a_chain_follow_one_another_on_each_branch() -> None:
    """In every kind of place: a bottleneck's convolution, a sequence, a whole block, a repeated one."""
    for row in (row for row in ROWS if row[0] in ("C3k2", "C2PSA", "Focus", "Conv")):
        base = document([row[:3]])
        before = trained(tasks.parse_model(copy.deepcopy(base), 3, False)[0])[2]
        chained = inside(base, "SE+CBAM+SE")
        chained["backbone"][2][3] += [{"reduction": 4}, {"kernel_size": 3}, {"init": "identity"}]
        after = tasks.parse_model(chained, 3, False)[0].eval()[2]
        after.load_state_dict({**after.state_dict(), **before.state_dict()})
        layers = {name: part for name, part in after.named_modules() if f".{name}".endswith(f".{CHILD}.SE_")}
        assert count_inside(after, "SE") == count_inside(after, "CBAM") == len(layers) == row[3]
        x = torch.randn(2, 64, 16, 16)
        with torch.no_grad():
            assert torch.allclose(after(x), by_formula(before, after, "SE+CBAM+SE_")(x), atol=1e-5)
            reverse = by_formula(before, after, "SE+CBAM+SE_")
            for part in [part for part in reverse.modules() if type(part) is nn.Sequential and len(part) == 3]:
                part[0], part[1] = part[1], part[0]
            assert not torch.allclose(after(x), reverse(x), atol=1e-5)


@pytest.mark.parametrize("layer", [GATE, "SE+CBAM"])
def test_a_chain_transfers_like_its_layers(layer: str, tmp_path: Path) -> None:
    """The base's tensors and those of the layers that the source has arrive; the file, too, is the same model."""
    source = marked(build(model_yaml("yolov8n.yaml+CBAM@inside:C2f")))
    model = build(model_yaml(f"yolov8n.yaml+{layer}@inside:C2f"))
    model.load(source, verbose=False)
    report = last_transfer(model)
    assert report is not None
    assert report.arrived == report.base == len(build(model_yaml("yolov8n.yaml")).state_dict())
    gates = sum(".CBAM." in key for key in model.state_dict())
    assert report.attention_arrived == gates > 0
    assert len(report.new) == (8 if layer != GATE else 0)


@pytest.mark.parametrize("layer", [GATE, pytest.param(MIXER, marks=pytest.mark.slow)])
def test_all_blocks_in_one_model(layer: str) -> None:
    """Names, initial weights and random stream equal the base's, and with identity layers the outputs too."""
    base = build(ALL)
    drawn = torch.rand(1)
    variant = build(inside(ALL, layer, init="identity"))
    assert torch.equal(torch.rand(1), drawn)
    own, given = variant.state_dict(), base.state_dict()
    assert all(torch.equal(own[key], tensor) for key, tensor in given.items())
    assert all(f".{CHILD}.{layer}." in key for key in own.keys() - given.keys())

    trained(base)
    variant.load(marked(base), verbose=False)
    report = last_transfer(variant)
    assert report is not None
    assert report.arrived == report.base == len(given)
    assert (report.attention, report.attention_arrived) == (len(own) - len(given), 0)
    variant.load(base, verbose=False)
    variant.eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(variant(x)[0], base(x)[0], atol=1e-5)

    started = trained(build(inside(ALL, layer)))
    fused = copy.deepcopy(started).fuse(verbose=False)
    assert not any(hasattr(m, "bn") for m in fused.modules() if isinstance(m, Conv))
    with torch.no_grad():
        expected = started.double()(x.double())[0]
        assert (fused.double()(x.double())[0] - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_checkpoint_can_name_every_class() -> None:
    assert all(getattr(blocks, cls.__name__) is cls for cls in blocks.CLASSES.values())


def test_each_layer_of_a_row_has_its_own_initial_weights() -> None:
    layers = [m for m in build(inside(document([ROWS[1][:3]]), "SE")).modules() if type(m).__name__ == "SE"]
    weights = [next(layer.parameters()) for layer in layers]
    assert len(weights) == 3
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])


@pytest.mark.slow
@pytest.mark.parametrize("base", STOCK)
def test_every_block_of_every_stock_model(base: str) -> None:
    """All blocks at once: tensors keep names and shapes, strides stay, and only the layers' tensors are new."""
    document = model_yaml(base)
    names = [block for block in list_blocks(ModelGraph(document)) if block not in NO_MAP]
    if not names:
        pytest.skip("it has no block that puts out one map")
    variant = place_layer(base, "SE", ",".join(f"inside:{block}" for block in names)).document
    assert row_strides(variant) == row_strides(document)
    own, given = (build_on_meta(d).state_dict() for d in (variant, document))
    assert all(own[key].shape == tensor.shape for key, tensor in given.items())
    assert all(f".{CHILD}.SE." in key for key in own.keys() - given.keys())
    assert len(own) > len(given)


@pytest.mark.parametrize("scale", ["n", pytest.param("l", marks=pytest.mark.slow)])
def test_repeats_and_scales_apply_to_blocks(scale: str) -> None:
    for base, block in (("yolov8", "C2f"), ("yolo11", "C3k2")):
        with torch.device("meta"):
            plain, _ = tasks.parse_model(model_yaml(f"{base}{scale}.yaml"), 3, False)
            variant, _ = tasks.parse_model(make_variant(f"{base}{scale}.yaml", f"ECA@inside:{block}").yaml, 3, False)
        bottlenecks = sum(
            type(m).__name__ == "Bottleneck" for row in plain if type(row).__name__ == block for m in row.modules()
        )
        assert count_inside(variant, "ECA") == bottlenecks
        assert [type(row) for row in variant] == [type(row) for row in plain]


def test_the_table_shows_the_block_and_its_parameters() -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    tasks.LOGGER.addHandler(handler)
    try:
        base = document([("Conv", 1, [64, 3]), ("C2f", 2, [64, True])])
        model = tasks.DetectionModel(inside(base, "SE", reduction=4), verbose=True)
    finally:
        tasks.LOGGER.removeHandler(handler)
    row = model.model[3]
    assert row.np == sum(p.numel() for p in row.parameters())
    (line,) = [line for line in lines if line.startswith("  3 ")]
    words = f"3 -1 2 {row.np} ultralytics.nn.modules.block.C2f+SE [64, 64, 2, True] {{'reduction': 4}}"
    assert line.split() == words.split()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """A stock checkpoint of a model with a layer inside every block, and its outputs."""
    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "all.yaml").write_text(yaml.safe_dump(inside(ALL, GATE)))
    model = YOLO(folder / "all.yaml", task="detect", verbose=False)
    model.model.args = {"task": "detect", "model": "all.yaml", "imgsz": 64}
    trained(model.model)
    half = copy.deepcopy(model.model).half()
    torch.save({"model": half, "ema": None, "train_args": {"task": "detect", "imgsz": 64}}, folder / "all.pt")
    with torch.no_grad():
        answer = half.float()(torch.full((1, 3, 64, 64), 0.5))[0]
    torch.save(answer, folder / "answer.pt")
    return folder / "all.pt", folder / "answer.pt"


@pytest.mark.slow
@pytest.mark.parametrize("restricted", ["0", "1"])
def test_a_fresh_process_loads_and_fuses_it(checkpoint: tuple[Path, Path], restricted: str) -> None:
    code = """
import sys, torch
from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv
load = getattr(tasks, "load_checkpoint", None) or tasks.attempt_load_one_weight
if sys.argv[3] == "1":
    import yolo_attn  # restricted loading imports nothing by itself
model, _ = load(sys.argv[1])
expected, x = torch.load(sys.argv[2]), torch.full((1, 3, 64, 64), 0.5)
with torch.no_grad():
    for m in (model.eval(), model.fuse(verbose=False)):
        assert torch.allclose(m(x)[0], expected, rtol=1e-3, atol=1e-3), (m(x)[0] - expected).abs().max()
"""
    python(code, *map(str, checkpoint), restricted, ULTRALYTICS_SAFE_LOAD=restricted)


def test_plain_torch_loads_it_weights_only(checkpoint: tuple[Path, Path]) -> None:
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        pytest.skip("this torch cannot list a checkpoint's classes")
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(str(checkpoint[0]))
    assert not [name for name in unsafe if name.startswith("yolo_attn")]


@pytest.mark.skipif(not exports_onnx(), reason="this Ultralytics predates the ONNX exporter of this PyTorch")
def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    base = document([("C3k2", 1, [64, False]), ("C2f", 1, [64, True]), ("Conv", 1, [64, 3, 2])])
    model = trained(build(inside(base, "EMA", groups=4)))
    torch.save({"model": model, "ema": None, "train_args": {"task": "detect", "imgsz": 64}}, tmp_path / "model.pt")
    exported = YOLO(tmp_path / "model.pt").export(format="onnx", imgsz=64, dynamic=True, simplify=False, device="cpu")
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    for size in ((64, 64), (96, 64)):
        x = torch.rand(1, 3, *size)
        (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            expected = model.float()(x)[0]
        assert (torch.from_numpy(y) - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ("source", "target", "classes", "attention_counts"),
    [
        ("", "EMA@inside:C3k2", 80, (66, 0)),
        pytest.param("", "EMA@inside:C3k2", 3, (66, 0), marks=pytest.mark.slow),
        pytest.param("EMA@inside:C3k2", "", 80, None, marks=pytest.mark.slow),
        ("EMA@inside:C3k2", "EMA@inside:C3k2", 3, (66, 66)),
        pytest.param("SE@inside:C3k2", "EMA@inside:C3k2", 80, (66, 0), marks=pytest.mark.slow),
        ("EMA@inside:C3k2", "EMA@inside:8,neck.P3", 80, (18, 12)),  # the row in the neck is new
        ("SE@neck", "SE@neck+EMA@inside:backbone.C3k2", 80, (42, 6)),
    ],
)
def test_every_base_tensor_arrives(
    source: str, target: str, classes: int, attention_counts: tuple[int, int] | None
) -> None:
    """Any variant transfers to any other the tensors that stock loading transfers between their bases."""

    def model(variant: str, seed: int, nc: int) -> Any:
        return build(make_variant("yolo11n.yaml", variant).yaml if variant else model_yaml("yolo11n.yaml"), seed, nc)

    base, giver, taker = marked(model("", 0, 80)), model(source, 1, 80), model(target, 2, classes)
    reference = model("", 2, classes)
    giver.load(base, verbose=False)
    forget_transfer(giver)  # as if trained since
    for receiver, given in ((reference, base), (taker, giver)):
        torch.manual_seed(4)  # recent releases rebuild the class branch for other classes
        receiver.load(given, verbose=False)
    rows = {m.i for m in taker.model if type(m).__name__ in ("SE", "EMA")}
    stock = [t for k, t in taker.state_dict().items() if int(k.split(".")[1]) not in rows and f".{CHILD}." not in k]
    expected = list(reference.state_dict().values())
    assert len(stock) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(stock, expected, strict=True))
    report = last_transfer(taker)
    assert report is not None
    assert (report.attention, report.attention_arrived) == (attention_counts or (0, 0))
    if attention_counts and attention_counts[1] < attention_counts[0]:
        assert "C3k2+EMA" in str(report) or "row 17 EMA" in str(report)
    if classes == 80:
        assert report.arrived == report.base == len(expected)


def test_place_summarizes_changed_rows_and_writes_a_clean_file(tmp_path: Path) -> None:
    placed = place_layer("yolo11n.yaml", "CBAM", "inside:C3k2,neck.P4", {"reduction": 8})
    summary = placed.summary()
    assert "row   6: C3k2 -> C3k2+CBAM, 2 layers inside" in summary
    assert "row  20: CBAM at neck.P4, reads row 19, read by 2 rows" in summary
    built = build(placed.document)
    assert f"499/499 base tensors transfer into their own layers, {len(built.state_dict()) - 499} new" in summary
    file = tmp_path / "mine.yaml"
    file.write_text(placed.text())
    assert "with CBAM at neck.P4, inside:C3k2" in file.read_text()
    assert "  - [-1, 2, C3k2+CBAM, [256, False, 0.25, {reduction: 8}]] # 2\n" in file.read_text()
    assert lint(file) == []
    assert placed.after.params == sum(p.numel() for p in built.parameters())


def test_lint_compares_a_model_with_layers_inside_blocks_with_its_base(tmp_path: Path) -> None:
    document = make_variant("yolo11n.yaml", "EMA@inside:C3k2").yaml
    document["head"][4][0] = [-1, 3]  # row 15 reads row 4 in the base
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
    (finding,) = [f.text for f in lint(tmp_path / "mine.yaml")]
    assert finding.startswith("row 15: Concat reads row 3 (Conv); in yolo11.yaml it reads the C3k2 that is row 4")


@pytest.mark.parametrize(
    ("module", "args", "words"),
    [
        ("C3k3+EMA", [64], "row 2: unknown block 'C3k3' in 'C3k3+EMA'; did you mean C3k2?"),
        ("C2f+EMMA", [64], "row 2: unknown layer 'EMMA' in 'C2f+EMMA'; did you mean EMA?"),
        (
            "C2f+",
            [64],
            "row 2: unknown layer '' in 'C2f+'; yolo-attn layers lists the layers, and layers=FILE adds custom ones",
        ),
        ("C2f+SE+EMMA", [64], "row 2: unknown layer 'EMMA' in 'C2f+SE+EMMA'; did you mean EMA?"),
        ("C2f+SE+EMA", [64, {"reduction": 8}], "row 2: C2f+SE+EMA has 2 layers and 1 mapping of options; write one"),
        ("C2f+SE+GMU", [64], "row 2: 'C2f+SE+GMU': GMU reads several rows, but a block has one map"),
        (
            "C2f+SE+SEBasicBlock+EMA",
            [64, {}, {"out_channels": 32}, {}],
            "row 2: 'C2f+SE+SEBasicBlock+EMA': a layer inside a block keeps the shape of the map, so SEBasicBlock",
        ),
        ("SE+EMA", [], "row 2: 'SE+EMA': SE is not a block of Ultralytics; write a separate row for each layer"),
        ("nn.Upsample+EMA", [None, 2, "nearest"], "row 2: 'nn.Upsample+EMA': a layer cannot go inside nn.Upsample"),
        ("C2f+GMU", [64], "row 2: 'C2f+GMU': GMU reads several rows, but a block has one map"),
        ("C2f+SEBasicBlock", [64, {"out_channels": 32}], "a layer inside a block keeps the shape of the map"),
        ("C2f+SE", [64, {"reductoin": 8}], "row 2: SE has no option 'reductoin'; did you mean reduction?"),
        ("C2f+SE", [64, {"reduction": -1}], "row 2: SE: reduction=-1"),
        ("C2f+SCSA", [16, True, 1, 0.375], "row 2: SCSA: channels=6; use a multiple of 4"),
    ],
)
def test_invalid_rows(module: str, args: list[Any], words: str, tmp_path: Path) -> None:
    wrong = document([(module, 1, args)])
    with pytest.raises(UserError) as caught:
        build(wrong)
    assert words in str(caught.value)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(wrong))
    assert words in str(lint(tmp_path / "mine.yaml")[0])


def test_the_head_cannot_contain_a_layer() -> None:
    wrong = document([("Conv", 1, [64])])
    wrong["head"][0][2] = "Detect+SE"
    with pytest.raises(UserError, match=r"row 3: .*not inside the head"):
        build(wrong)


def test_a_row_of_several_maps_cannot_contain_a_layer() -> None:
    rows = [[-1, 1, "CBLinear+SE", [[64]]], [[2, 1], 1, "CBFuse", [[0]]]]
    wrong = document([])
    wrong["backbone"] += rows
    with pytest.raises(UserError, match="row 2: CBLinear returns several maps, and a layer inside a block reads one"):
        build(wrong)
    wrong["backbone"][2:] = [[-1, 1, "CBLinear", [[64]]], [-1, 1, "SE", []], [[2, 3, 1], 1, "CBFuse", [[0, 0]]]]
    with pytest.raises(UserError, match="row 3: row 2 CBLinear returns several maps, and SE reads one"):
        build(wrong)
    wrong["backbone"][2:] = [[-1, 1, "CBLinear", [[64]]], [[2, 1], 1, "CBFuse", [[0]]], [-1, 1, "SE", []]]
    assert build(wrong)
