"""Placing a layer: the file, the summary, and every site of the stock models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from ultralytics.nn import tasks

from tests.host.helpers import build
from yolo_attn import UserError
from yolo_attn.cli import main
from yolo_attn.graph import ModelGraph, list_sites, read_model
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.geometry import model_cost, row_strides
from yolo_attn.host.placement import place_layer
from yolo_attn.host.transfer import last_transfer

BASES = [
    f"{name}.yaml"
    for name in (
        "yolov8n-seg",
        "yolov10n",
        "yolov3-tiny",
        "yolov5n",
        "yolov6n",
        "yolov9t",
        "yolo11n-pose",
        "yolo11n-obb",
    )
]


@pytest.mark.parametrize("base", [BASES[0], *(pytest.param(base, marks=pytest.mark.slow) for base in BASES[1:])])
def test_sites_of_a_stock_model(base: str) -> None:
    """The model builds, strides stay, consumers are redirected, no row is dead, and parameters add up."""
    document = model_yaml(base)
    strides = row_strides(document)
    for site, row in list(list_sites(ModelGraph(document), strides).items())[::4]:  # all: test_all_models.py
        placed = place_layer(base, "SE", site)
        graph, before = ModelGraph(placed.document), ModelGraph(document)
        (insertion,) = placed.insertions
        assert insertion.consumers == len(before.consumers(row)) > 0
        assert graph.dead_rows() == []
        with torch.device("meta"):
            modules, _ = tasks.parse_model(placed.document, 3, False)
        own = sum(p.numel() for p in modules[insertion.row].parameters())
        assert placed.after.params == placed.before.params + own
        after = row_strides(placed.document)
        assert [s for i, s in enumerate(after) if i != insertion.row] == strides
        assert after[insertion.row] == strides[row]


def test_costs_equal_the_published_ones() -> None:
    for name, params, gflops in (("yolo11n", 2_624_080, 6.5), ("yolo11x", 56_966_176, 196.0)):
        cost = model_cost(model_yaml(f"{name}.yaml"))
        assert cost.params == params
        assert cost.gflops == pytest.approx(gflops, rel=0.02)


def test_the_file_records_its_origin_and_takes_the_weights_of_the_base(fresh_folder: Path, capsys) -> None:
    words = [
        "place",
        "model=yolo11n.yaml",
        "layer=CBAMChannel",
        "at=neck.P4,backbone.P3",
        "init=identity",
        "reduction=8",
    ]
    assert main(words) == 0
    out = capsys.readouterr().out
    text = Path("yolo11-cbamchannel-neck-p4-backbone-p3.yaml").read_text()
    assert "from yolo11n.yaml: CBAMChannel at neck.P4,backbone.P3 with init=identity, reduction=8" in text
    rows = [row for row in yaml.safe_load(text)["backbone"] + yaml.safe_load(text)["head"] if row[2] == "CBAMChannel"]
    assert rows == [[-1, 1, "CBAMChannel", [{"init": "identity", "reduction": 8}]]] * 2
    assert "row   5: CBAMChannel at backbone.P3, reads row 4, read by 2 rows" in out
    assert "+" in out and "GFLOPs at 640" in out

    placed = model_yaml("yolo11n-cbamchannel-neck-p4-backbone-p3.yaml")
    base, variant = build("yolo11n.yaml").eval(), build(placed, seed=1).eval()
    variant.load(base, verbose=False)
    report = last_transfer(variant)
    assert report is not None and report.arrived == report.base == len(base.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(variant(x)[0], base(x)[0], atol=1e-5)


def test_the_stated_scale_is_the_bases_and_the_name_changes_it(fresh_folder: Path) -> None:
    main(["place", "model=yolo11s.yaml", "layer=SE", "at=neck"])
    assert model_yaml("yolo11-se-neck.yaml")["scale"] == "s"
    assert model_yaml("yolo11m-se-neck.yaml")["scale"] == "m"


def test_the_name_of_the_file_has_no_other_scale(fresh_folder: Path) -> None:
    placed = place_layer("yolo11.yaml", "SE", "neck.P5")
    with pytest.raises(UserError) as caught:
        placed.save("yolo11s-mine.yaml")
    assert str(caught.value) == (
        "out=yolo11s-mine.yaml: the name requires scale s, but the model has scale n; "
        "write out=yolo11-mine.yaml, or give the model at scale s"
    )
    assert list(fresh_folder.iterdir()) == []
    for name in ("yolo11n-mine.yaml", "yolo11-mine.yaml", "yolo11se.yaml", "mine.yaml"):
        placed.save(name)


@pytest.mark.parametrize("base", ["yolov9t", "yolov10n"])
def test_the_letter_of_a_family_without_scales_stays_in_the_name(base: str) -> None:
    assert place_layer(f"{base}.yaml", "SE", "neck.P5").file_name == f"{base}-se-neck-p5.yaml"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["layer=CBAM", "at=neck"], "place requires model="),
        (["model=yolo11n.yaml", "at=neck"], "place requires layer="),
        (["model=yolo11n.yaml", "layer=Cbam", "at=neck"], "did you mean CBAM?"),
        (["model=yolo11n.yaml", "layer=CBAM", "at=nek"], "did you mean neck?"),
        (["model=yolo11n.yaml", "layer=CBAM", "at=neck", "reductoin=8"], "did you mean reduction?"),
        (["model=yolo11n.yaml", "layer=CBAM", "at=neck", "reduction=-1"], "reduction=-1"),
        (["model=yolo11n.yaml", "layer=CBAM", "at=neck", "reduction=["], "is not a valid YAML value"),
        (["model=yolo11n.yaml", "layer=GMU", "at=neck"], "GMU reads several rows"),
        (["model=yolo12345.yaml", "layer=CBAM", "at=neck"], "does not exist"),
        (["model=coco8.yaml", "layer=CBAM", "at=neck"], "not a model YAML"),
    ],
)
def test_invalid_placements(words: list[str], expected: str, fresh_folder: Path, capsys) -> None:
    assert main(["place", *words]) == 2
    assert expected in capsys.readouterr().err
    assert list(fresh_folder.iterdir()) == []


def test_several_layers_are_refused_with_words_that_work(fresh_folder: Path, capsys) -> None:
    assert main(["place", "model=yolo11n.yaml", "layer=SE+CBAM", "at=neck", "out=both.yaml"]) == 2
    message = capsys.readouterr().err
    assert "'SE+CBAM' is several layers, and one is placed at a time" in message
    assert not Path("both.yaml").exists()
    words = message.rpartition("with the model: ")[2].split()
    assert main(["place", *words, "out=both.yaml"]) == 0
    modules = [row.module for row in ModelGraph(read_model(Path("both.yaml")))]
    assert (modules.count("SE"), modules.count("CBAM")) == (3, 3)
    assert all(modules[index + 1] == "CBAM" for index, module in enumerate(modules) if module == "SE")


def test_an_existing_file_is_kept(fresh_folder: Path, capsys) -> None:
    Path("mine.yaml").write_text("mine")
    words = ["place", "model=yolo11n.yaml", "layer=SE", "at=neck", "out=mine.yaml"]
    assert main(words) == 2
    assert "mine.yaml exists and was kept" in capsys.readouterr().err
    assert Path("mine.yaml").read_text() == "mine"
    assert main([*words, "exist_ok=True"]) == 0
    assert "SE" in Path("mine.yaml").read_text()


def test_a_layer_of_several_inputs_cannot_be_placed_at_a_site() -> None:
    with pytest.raises(UserError, match="GMU reads several rows"):
        place_layer("yolo11n.yaml", "GMU", "neck")


def test_a_smaller_model_has_a_negative_change() -> None:
    summary = place_layer("yolo11n.yaml", "GLSA", "neck", {"out_channels": 64}).summary()
    before, after = (int(word.replace(",", "")) for word in summary.split("parameters ")[1].split()[:3:2])
    assert after < before and f"({after - before:,}, -" in summary
