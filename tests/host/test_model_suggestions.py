"""Suggestions for missing models have the meaning of the name and can be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.graph import ModelRef
from yolo_attn.host.checkpoint import check_checkpoint
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.model_suggestions import suggest_checkpoint, suggest_model

MEANT = {
    "yolo12n-cbam.yaml": "yolo12n.yaml+CBAM@neck",
    "yolo11n-coordatt.yaml": "yolo11n-ca.yaml",
    "yolo11s-seg-cbam.yaml": "yolo11s-seg.yaml+CBAM@neck",
    "yolo11n-cbam-seg.yaml": "yolo11n-seg.yaml+CBAM@neck",
    "yolov11n.yaml": "yolo11n.yaml",
    "yolov12s.yaml": "yolo12s.yaml",
    "yolo8n.yaml": "yolov8n.yaml",
    "YOLO11n.yaml": "yolo11n.yaml",
    "yolo-v8n.yaml": "yolov8n.yaml",
    "yolov11m-simam.yaml": "yolo11m-simam.yaml",
    "yolov8n_cbam.yaml": "yolov8n-cbam.yaml",
    "yolov8x-CBAM.yml": "yolov8x-cbam.yaml",
    "yolo_11n_SE_Block.yaml": "yolo11n-se.yaml",
    "yolov8-C2f-EMA.yaml": "yolov8-ema-c2f.yaml",
    "yolov8s-C2f-CBAM.yaml": "yolov8s-cbam-c2f.yaml",
    "yolo11-C3k2-SEAttention.yaml": "yolo11-se-c3k2.yaml",
    "yolo11-C2PSA-CBAM.yaml": "yolo11.yaml+CBAM@inside:C2PSA",
    "yolo11n-mca-c3k2.yaml": "yolo11n.yaml+MCA@inside:C3k2",
    "yolo11n-gam-backbone.yaml": "yolo11n.yaml+GAM@backbone",
    "yolov8l-p2-eca.yaml": "yolov8l-p2.yaml+ECA@neck",
    "yolov10n-simam.yaml": "yolov10n.yaml+SimAM@neck",
    "yoloe-11s-seg-se.yaml": "yoloe-11s-seg.yaml+SE@neck",
    # typing errors
    "yolo11n-cbm.yaml": "yolo11n-cbam.yaml",
    "yolo11n-cbam-backbne.yaml": "yolo11n-cbam-backbone.yaml",
    "yolo11n-psoe.yaml": "yolo11n-pose.yaml",
    "rtdter-l.yaml": "rtdetr-l.yaml",
    # a folder that has no such file
    "nowhere/yolo11n-cbam.yaml": "yolo11n-cbam.yaml",
    # another mechanism, version or scale; a layer of several inputs; no model of YOLO's
    **dict.fromkeys(["yolo11n-dam.yaml", "yolov8-C2f-DCN.yaml"]),
    **dict.fromkeys(["yolo13n.yaml", "yolov7-cbam.yaml", "yolo11q-cbam.yaml", "yolo11n-bifpn.yaml", "mine.yaml"]),
}  # fmt: skip


@pytest.mark.parametrize(("given", "meant"), MEANT.items(), ids=MEANT)
def test_suggestions_for_missing_names(fresh_folder: Path, given: str, meant: str | None) -> None:
    if meant and not _has(meant):
        pytest.skip("not a model of this Ultralytics")
    assert suggest_model(given) == (meant or "")
    with pytest.raises(UserError) as caught:
        model_yaml(given)
    fix = f"did you mean {meant}?" if meant else "give a model YAML or checkpoint, or layers at sites of one, such as "
    assert str(caught.value).startswith(f"'{given}' does not exist; {fix}")
    with pytest.raises(FileNotFoundError, match=f"'{given}' does not exist"):
        tasks.check_yaml(given)
    if meant:
        model_yaml(meant)


def _has(model: str) -> bool:
    try:
        model_yaml(ModelRef.parse(model).base)
    except UserError:
        return False
    return True


def test_placed_layers_are_kept(fresh_folder: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean yolo11n\.yaml\+SE\[reduction=8\]@neck\.P3\+CBAM@backbone\?$"):
        model_yaml("yolov11n.yaml+SE[reduction=8]@neck.P3+CBAM@backbone")


def test_a_similar_file_in_the_folder_comes_first(fresh_folder: Path) -> None:
    Path("yolo11n-cbamm.yaml").write_text("")
    assert suggest_model("yolo11n-cbammm.yaml") == "yolo11n-cbamm.yaml"
    Path("custom.yml").write_text("")
    assert suggest_model("custom.yaml") == "custom.yml"
    Path("models").mkdir()
    Path("models/detector.yaml").write_text("")
    assert suggest_model("models/detectr.yaml") == "models/detector.yaml"


@pytest.mark.parametrize(
    ("given", "meant"),
    [("yolov11n.pt", "yolo11n.pt"), ("yolo8s-seg.pt", "yolov8s-seg.pt"), ("yolo11n-cbam.pt", ""), ("best.pt", "")],
)
def test_a_missing_checkpoint_of_ultralytics(fresh_folder: Path, given: str, meant: str) -> None:
    assert suggest_checkpoint(given) == meant
    if meant:
        with pytest.raises(UserError, match=f"^{given}: no such checkpoint; did you mean {meant}"):
            check_checkpoint(given)
    check_checkpoint(meant or given)  # it may be downloaded
