"""Transfer of weights, each into its own layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks

from tests.host.helpers import base_key, build, build_as_its_class, equal_tensors, marked, with_row
from yolo_attn.graph import ModelGraph
from yolo_attn.host import transfer
from yolo_attn.host.documents import make_variant, model_yaml
from yolo_attn.host.model_files import without_letter
from yolo_attn.host.transfer import align_every_model, forget_transfer, last_transfer

BASES = ("yolo11n.yaml", "yolov8n.yaml")


@pytest.fixture(scope="module", params=[BASES[0], pytest.param(BASES[1], marks=pytest.mark.slow)])
def source(request: pytest.FixtureRequest):
    return request.param, marked(build(request.param, seed=9))


def test_a_base_changes_no_attention_tensor(source) -> None:
    name, base = source
    document, new = with_row(name, 4, "CBAM")
    fresh, loaded = build(document), build(document)
    loaded.load(base, verbose=False)
    for key, value in fresh.model[new].state_dict().items():
        assert torch.equal(value, loaded.model[new].state_dict()[key])


def test_an_alias_and_the_name_are_the_same_layer(source) -> None:
    name, _ = source
    one, other = (marked(build(with_row(name, 4, layer)[0], seed=seed)) for seed, layer in ((1, "CoordAtt"), (2, "CA")))
    other.load(one, verbose=False)
    assert all(torch.equal(value, other.model[5].state_dict()[key]) for key, value in one.model[5].state_dict().items())


def test_a_checkpoint_dictionary_and_its_ema(source) -> None:
    name, base = source
    document, new = with_row(name, 9, "SE")
    for weights in ({"model": base, "ema": None}, {"model": None, "ema": base}, {"model": base}):
        if weights.get("model") is None and _stock_ignores_ema():
            continue
        variant = build(document)
        variant.load(weights, verbose=False)
        assert equal_tensors(base, variant, new) == len(base.state_dict())


def _stock_ignores_ema() -> bool:
    import inspect

    from ultralytics.nn.tasks import BaseModel

    from yolo_attn.host.transfer import TRANSFER

    return "ema" not in inspect.getsource(TRANSFER.original or BaseModel.load)


def test_another_number_of_classes(source) -> None:
    name, base = source
    document, new = with_row(name, 4, "CBAM")
    plain, variant = build(name, nc=3), build(document, nc=3)
    for model in (plain, variant):
        torch.manual_seed(1)  # Ultralytics initializes the new class layers while loading
        model.load(base, verbose=False)
    there = variant.state_dict()
    assert all(torch.equal(value, there[base_key(key, new)]) for key, value in plain.state_dict().items())


def test_variant_to_variant_transfers_common_layers() -> None:
    document, new = with_row("yolo11n.yaml", 4, "CBAM")
    source = marked(build(document, seed=5))
    other = ModelGraph(document)
    extra = other.insert_after(10, "SE", [])
    target = build(other.to_document())
    target.load(source, verbose=False)
    assert equal_tensors(source, target, extra) == len(source.state_dict())
    report = last_transfer(target)
    assert report is not None
    assert report.new == (f"row {extra} SE",)
    assert report.attention_arrived == len(target.model[new].state_dict())


def test_a_copied_variant_has_the_report_of_its_original() -> None:
    """A trainer copies the model of `YOLO(variant).load(base)`, for another number of classes."""
    document, new = with_row("yolov8n.yaml", 4, "CBAM")
    base, variant, trained = marked(build("yolov8n.yaml", seed=1)), build(document, seed=2), build(document, nc=3)
    variant.load(base, verbose=False)
    trained.load(variant, verbose=False)
    first, report = last_transfer(variant), last_transfer(trained)
    assert first is not None and report is not None
    assert (first.arrived, report.base) == (first.base, first.base)
    assert 0 < report.base - report.arrived <= len(trained.model[-1].cv3.state_dict())  # for other classes
    copied, original = trained.model[new].state_dict(), variant.model[new].state_dict()
    assert all(torch.equal(value, original[key]) for key, value in copied.items())
    assert (report.attention_arrived, report.new) == (0, (f"row {new} CBAM",))
    forget_transfer(variant)  # as when its training begins
    trained.load(variant, verbose=False)
    report = last_transfer(trained)
    assert report is not None
    assert (report.attention_arrived, report.new) == (report.attention, ())


def test_variant_back_to_base() -> None:
    document, new = with_row("yolov8n.yaml", 4, "CBAM")
    source = marked(build(document, seed=5))
    base = build("yolov8n.yaml")
    base.load(source, verbose=False)
    there = source.state_dict()
    assert all(torch.equal(value, there[base_key(key, new)]) for key, value in base.state_dict().items())


def test_a_rows_own_checkpoint_round_trips() -> None:
    document, _ = with_row("yolo11n.yaml", 16, "GAM")
    source, target = marked(build(document, seed=2)), build(document)
    target.load(source, verbose=False)
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_the_source_is_not_changed() -> None:
    base = build("yolov8n.yaml", seed=9)
    before, rows = copy.deepcopy(base.state_dict()), len(base.model)
    build(with_row("yolov8n.yaml", 4, "CBAM")[0]).load(base, verbose=False)
    assert len(base.model) == rows
    assert all(torch.equal(value, base.state_dict()[key]) for key, value in before.items())


def test_identity_init_with_transferred_weights_gives_the_bases_outputs(source) -> None:
    name, _ = source
    base = build(name, seed=4).eval()
    x = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        expected = base(x)[0]
    for layer in (
        "SE",
        "ECA",
        "CBAM",
        "CA",
        "GAM",
        "SimAM",
        "SK",
        "ShuffleAttention",
        "S2",
        "NAM",
        "SOCA",
        "CrissCross",
    ):
        graph = ModelGraph(make_variant(name, f"{layer}@neck").yaml)
        for row in graph:
            if row.module == layer:
                row.args = [{"init": "identity"}]
        variant = build(graph.to_document(), seed=5).eval()
        variant.load(base, verbose=False)
        with torch.no_grad():
            assert torch.allclose(variant(x)[0], expected, atol=1e-5, rtol=1e-5), layer


@pytest.mark.parametrize("given", ["base", "own", "other"])
def test_another_number_of_classes_from_a_variant(given: str) -> None:
    """Equals the stock load() between two bases, for weights of a base, the variant itself and another variant."""
    document, other = (model_yaml(f"yolov8n.yaml+{layers}") for layers in ("SE@neck", "SE@neck+CBAM@after:4"))
    source = marked(build({"base": model_yaml("yolov8n.yaml"), "own": document, "other": other}[given], seed=5))
    bare = build("yolov8n.yaml", seed=5)
    stock = [i for i, row in enumerate(source.yaml["backbone"] + source.yaml["head"]) if row[2] not in ("SE", "CBAM")]
    bare.model.load_state_dict(
        {f"{n}.{key}": value for n, i in enumerate(stock) for key, value in source.model[i].state_dict().items()}
    )
    plain, variant = build("yolov8n.yaml", nc=3), build(document, nc=3)
    for model, weights in ((plain, bare), (variant, source)):
        torch.manual_seed(1)
        model.load(weights, verbose=False)
    rows = [i for i, row in enumerate(document["backbone"] + document["head"]) if row[2] != "SE"]
    for n, i in enumerate(rows):
        for (key, a), b in zip(
            plain.model[n].state_dict().items(), variant.model[i].state_dict().values(), strict=True
        ):
            assert torch.equal(a, b), (n, key)
    report = last_transfer(variant)
    assert report is not None and report.attention_arrived == (0 if given == "base" else report.attention)


@pytest.mark.parametrize(
    ("given", "wanted", "names"),
    [
        ("yolo11n.yaml", "yolo11n-seg.yaml", ("detect", "segment")),
        pytest.param("yolo11n-pose.yaml", "yolo11n-obb.yaml", ("pose", "obb"), marks=pytest.mark.slow),
        pytest.param("yolo11n-seg.yaml", "yolo11n.yaml", ("segment", "detect"), marks=pytest.mark.slow),
        ("yolo11n.yaml", "yolo11n-cls.yaml", ("detect", "classify")),
    ],
)
def test_weights_of_another_task(given: str, wanted: str, names: tuple[str, str], monkeypatch) -> None:
    """Tensors that fit are loaded as between two bases, each into its own layer, and both tasks are logged."""
    output: list[str] = []
    monkeypatch.setattr(transfer.tasks.LOGGER, "info", output.append)
    source = marked(build_as_its_class(model_yaml(given), seed=3))
    plain = build_as_its_class(model_yaml(wanted))
    document = model_yaml(f"{wanted}+CBAM@backbone")
    variant, fresh = build_as_its_class(document), build_as_its_class(document)
    plain.load(source, verbose=False)
    variant.load(source)
    line = f"yolo-attn: weights of a {names[0]} model for a {names[1]} model: tensors that fit are loaded"
    assert output.count(line) == 1
    rows = [i for i, row in enumerate(document["backbone"] + document["head"]) if row[2] != "CBAM"]
    offered = {n: row.state_dict() for n, row in enumerate(source.model)}
    for n, i in enumerate(rows):
        # The classifier's C2PSA is row 9, the detector's row 10: it is found here, but not by the stock load().
        found = wanted == "yolo11n-cls.yaml" and n == 9
        expected = offered[10] if found else plain.model[n].state_dict()
        for key, value in variant.model[i].state_dict().items():
            assert torch.equal(value, expected[key]), (n, key)
    untouched = [i for i in range(len(variant.model)) if i not in rows]
    assert all(
        torch.equal(a, b)
        for i in untouched
        for a, b in zip(variant.model[i].state_dict().values(), fresh.model[i].state_dict().values(), strict=True)
    )
    report = last_transfer(variant)
    assert report is not None and 0 < report.arrived <= report.base


FAMILIES = (
    ("yolov8n.yaml", "yolov8n-p2.yaml", "yolov8n-p6.yaml"),
    ("yolo26n.yaml", "yolo26n-p2.yaml", "yolo26n-p6.yaml"),
)
PAIRS = [(a, b) for family in FAMILIES for a in family for b in family if a != b] + [
    ("yolo11n.yaml", "yolov8n-p6.yaml")
]
THERE = [
    pytest.param(*pair, ("backbone", "neck")[number % 2], marks=[] if number == 1 else pytest.mark.slow)
    for number, pair in enumerate(PAIRS)
    if all(tasks.check_yaml(without_letter(name), hard=False) for name in pair)
]


@pytest.mark.parametrize(("given", "wanted", "sites"), THERE)
def test_rows_that_moved(given: str, wanted: str, sites: str) -> None:
    """From a plain model to its P2 and P6 ones, and back: rows are loaded in order, each completely or as in the base.

    All tensors that the stock load() copies into the base's own layers are copied into the variant's.
    """
    source, document = marked(build(given, seed=3)), model_yaml(f"{wanted}+CBAM@{sites}")
    plain, before = build(wanted, seed=4), build(wanted, seed=4)
    variant, fresh = build(document, seed=4), build(document, seed=4)
    plain.load(source, verbose=False)
    variant.load(source, verbose=False)
    stock = [i for i, row in enumerate(ModelGraph(document)) if row.module != "CBAM"]
    offered = [row.state_dict() for row in source.model]
    arrived, last = [], -1
    for n, i in enumerate(stock):
        own, untouched = variant.model[i].state_dict(), fresh.model[i].state_dict()
        if n < len(offered) and same(plain.model[n].state_dict(), offered[n]):
            assert same(own, offered[n]), n
        if all(torch.equal(own[key], untouched[key]) for key in own):
            continue
        row = next((j for j, tensors in enumerate(offered) if same(tensors, own)), n)
        assert same(own, (plain.model[n] if row == n else source.model[row]).state_dict()), n
        assert row > last
        last = row
        arrived.append((n, row))
    report = last_transfer(variant)
    assert report is not None and report.arrived >= count_arrived(plain, source)
    complete = sum(len(offered[row]) for _, row in arrived)
    assert report.arrived == complete or given.startswith("yolo11")
    assert [row for n, row in arrived if n < 7] == list(range(7)) or given.startswith("yolo11")
    with align_every_model():
        before.load(source, verbose=False)
    assert all(same(before.model[n].state_dict(), variant.model[i].state_dict()) for n, i in enumerate(stock))


def count_arrived(model: nn.Module, source: nn.Module) -> int:
    """Count the tensors of a model that the stock load() took from a source."""
    offered = source.state_dict()
    return sum(key in offered and torch.equal(value, offered[key]) for key, value in model.state_dict().items())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Return whether two rows of one kind have equal tensors."""
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def test_between_two_scales_nothing_pairs_by_chance() -> None:
    """Tensors that fit another row of a wider model are not loaded: a variant gets what its base gets."""
    source, document = marked(build("yolov8s.yaml")), model_yaml("yolov8n-p2.yaml+SE@neck")
    plain, variant = build("yolov8n-p2.yaml", seed=4), build(document, seed=4)
    plain.load(source, verbose=False)
    variant.load(source, verbose=False)
    stock = [i for i, row in enumerate(ModelGraph(document)) if row.module != "SE"]
    assert all(same(plain.model[n].state_dict(), variant.model[i].state_dict()) for n, i in enumerate(stock))


def test_a_hand_made_head_gets_what_its_base_gets() -> None:
    """With one row of the neck replaced, the variant gets what the stock load() gives its base."""
    base = model_yaml("yolo11n.yaml")
    base["head"][5] = [-1, 2, "C2f", [256]]
    graph = ModelGraph(base)
    graph.insert_after(16, "SE", [])
    source = marked(build("yolo11n.yaml", seed=3))
    plain, variant = build(base, seed=4), build(graph.to_document(), seed=4)
    plain.load(source, verbose=False)
    variant.load(source, verbose=False)
    assert all(same(row.state_dict(), variant.model[n + (n > 16)].state_dict()) for n, row in enumerate(plain.model))


def p2_of_another_depth() -> dict[str, Any]:
    return {**model_yaml("yolov8n-p2.yaml"), "scales": {"n": [0.67, 0.25, 1024]}}


def with_dropout_and_a_deeper_row() -> dict[str, Any]:
    graph = ModelGraph(model_yaml("yolo11n.yaml"))
    graph.insert_after(10, "nn.Dropout2d", [0.1])
    graph.rows[2].repeats = 4
    return graph.to_document()


@pytest.mark.parametrize(
    ("base", "given", "least"),
    [
        (p2_of_another_depth, "yolov8n.yaml", 0),
        (lambda: model_yaml("yolo11n.yaml"), "yolov8n.yaml", 0),
        (with_dropout_and_a_deeper_row, "yolo11n.yaml", 498),  # all but the convolution that joins the deeper row
    ],
)
def test_rows_that_fit_in_part_are_loaded_as_in_the_base(
    base: Callable[[], dict[str, Any]], given: str, least: int
) -> None:
    """A variant gets at least as many tensors as its base, also where rows between them have moved."""
    document, source = base(), marked(build(given, seed=3))
    graph = ModelGraph(document)
    graph.insert_after(graph.head_index - 1, "SE", [])
    plain, variant = build(document, seed=4), build(graph.to_document(), seed=4)
    plain.load(source, verbose=False)
    variant.load(source, verbose=False)
    report = last_transfer(variant)
    assert report is not None and report.arrived >= max(least, count_arrived(plain, source))


@pytest.mark.parametrize(("after", "width"), [(4, 512), (16, 256)])
def test_a_convolution_of_another_stride_is_another_layer(after: int, width: int) -> None:
    """Its tensors have the shapes of the next stock row, which has stride 2."""
    graph = ModelGraph(model_yaml("yolo11n.yaml"))
    own = graph.insert_after(after, "Conv", [width, 3, 1])
    graph.insert_after(own, "SE", [])
    source, variant, fresh = marked(build("yolo11n.yaml")), build(graph.to_document()), build(graph.to_document())
    variant.load(source, verbose=False)
    assert same(variant.model[own].state_dict(), fresh.model[own].state_dict())
    assert same(variant.model[own + 2].state_dict(), source.model[after + 1].state_dict())
    report = last_transfer(variant)
    assert report is not None and report.arrived == len(source.state_dict())


def test_load_through_the_public_api(tmp_path) -> None:
    base = YOLO("yolov8n.yaml", verbose=False)
    base.model = marked(base.model)
    base.model.names = {i: str(i) for i in range(80)}
    base.ckpt = {}
    file = tmp_path / "base.pt"
    torch.save({"model": base.model, "ema": None, "train_args": {}}, file)
    variant = YOLO("yolov8n-cbam.yaml", verbose=False).load(str(file))
    report = last_transfer(variant.model)
    assert report is not None
    assert report.arrived == report.base == len(base.model.state_dict())
    assert "base tensors arrived" in str(report)


def test_a_checkpoint_contains_only_stock_classes_and_attention_layers(tmp_path) -> None:
    source = build("yolov8n.yaml")
    variant = build(with_row("yolov8n.yaml", 4, "CBAM")[0])
    variant.load(source, verbose=False)
    torch.save({"model": variant}, tmp_path / "variant.pt")
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "variant.pt")
    assert not [name for name in unsafe if not name.startswith(("torch.", "ultralytics.nn."))]
