"""Model YAMLs by bare name, and their scales."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ultralytics import YOLO
from ultralytics.nn import tasks

from yolo_attn import UserError
from yolo_attn.host import model_bindings
from yolo_attn.host.documents import make_variant, model_yaml, without_dataset
from yolo_attn.host.linting import lint
from yolo_attn.host.model_files import find_model_yaml, without_letter
from yolo_attn.host.placement import model_file
from yolo_attn.system.paths import config_folder


def test_a_ready_config_resolves_from_any_folder_at_any_scale(fresh_folder: Path) -> None:
    for scale in "nsmlx":
        document = tasks.yaml_model_load(f"yolo11{scale}-cbam.yaml")
        assert document["scale"] == scale
        assert sum(row[2] == "CBAM" for row in document["backbone"] + document["head"]) == 3


def test_the_letter_is_in_the_name_of_the_file_not_of_a_folder(fresh_folder: Path) -> None:
    Path("v2s").mkdir()
    Path("v2s/yolo11-mine.yaml").write_text(yaml.safe_dump({**model_yaml("yolo11n-se.yaml"), "scale": None}))
    assert find_model_yaml("v2s/yolo11s-mine.yaml") == Path("v2s/yolo11-mine.yaml")
    assert model_yaml("v2s/yolo11s-mine.yaml")["scale"] == "s"
    assert without_letter("v2s\\yolo11s-mine.yaml") == "v2s\\yolo11-mine.yaml"


def test_a_file_in_the_home_folder(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(fresh_folder))
    monkeypatch.setenv("USERPROFILE", str(fresh_folder))
    Path("mine.yaml").write_text(yaml.safe_dump(model_yaml("yolo11n-se.yaml")))
    assert find_model_yaml("~/mine.yaml") == fresh_folder / "mine.yaml"
    assert model_file("~/other.yaml") == fresh_folder / "other.yaml"
    assert model_file("~nobody-here/other.yaml") == Path("~nobody-here/other.yaml")
    with pytest.raises(UserError, match="does not exist"):
        find_model_yaml("~nobody-here/mine.yaml")


def test_a_file_in_the_working_folder_comes_first(fresh_folder: Path) -> None:
    document = model_yaml("yolo11n-se.yaml")
    (fresh_folder / "yolo11-cbam.yaml").write_text(yaml.safe_dump(document))
    assert any(row[2] == "SE" for row in model_yaml("yolo11n-cbam.yaml")["head"])


def test_an_existing_file_comes_before_a_ready_config(fresh_folder: Path) -> None:
    """Early releases search for the name without its scale letter first, which is a ready config."""
    document = model_yaml("yolo11n-se.yaml")
    Path("yolo11n-cbam.yaml").write_text(yaml.safe_dump(document))

    def early(path: str) -> dict:
        found = tasks.check_yaml(without_letter(path), hard=False) or tasks.check_yaml(path)
        return yaml.safe_load(Path(found).read_text(encoding="utf-8"))

    load = model_bindings._wrap_yaml_model_load(early)
    assert any(row[2] == "SE" for row in load("yolo11n-cbam.yaml")["head"])
    assert any(row[2] == "CBAM" for row in load("yolo11s-cbam.yaml")["head"])  # a ready config
    assert any(row[2] == "SE" for row in tasks.yaml_model_load("yolo11n-cbam.yaml")["head"])


@pytest.mark.parametrize("layer", ["", "  - [-1, 1, SE, []]\n"])
def test_comments_in_another_encoding(layer: str, fresh_folder: Path) -> None:
    text = (
        f"# \u6ce8\u610f\nnc: 3\nbackbone:\n  - [-1, 1, Conv, [16, 3, 2]]\n{layer}head:\n  - [[-1], 1, Detect, [nc]]\n"
    )
    Path("mine.yaml").write_bytes(text.encode("gbk"))
    assert tasks.yaml_model_load("mine.yaml")["nc"] == 3
    assert tasks.guess_model_scale("mine.yaml") == ""
    assert len(YOLO("mine.yaml", verbose=False).model.model) == 2 + bool(layer)
    assert lint("mine.yaml") == []


def test_other_files_are_left_to_ultralytics(fresh_folder: Path) -> None:
    Path("mine.yaml").write_text("nc: [")
    assert tasks.guess_model_scale("mine.yaml") == ""
    with pytest.raises(UserError, match="not the name of a model YAML"):
        find_model_yaml("best.onnx")


def test_a_stated_scale_counts(fresh_folder: Path) -> None:
    document = model_yaml("yolo11n-se.yaml")
    document["scale"] = "s"
    Path("mine.yaml").write_text(yaml.safe_dump(document))
    assert tasks.yaml_model_load("mine.yaml")["scale"] == "s"
    Path("yolo11se.yaml").write_text(yaml.safe_dump({**document, "scale": "m"}))  # the name alone means s
    assert tasks.yaml_model_load("yolo11se.yaml")["scale"] == "m"


@pytest.mark.parametrize("scale", ["s", ""])
def test_a_scale_without_scales_is_that_of_a_built_model(scale: str, fresh_folder: Path) -> None:
    """Ultralytics stores one in every model, and reads it only where there are scales."""
    document = {key: value for key, value in model_yaml("yolo11n.yaml").items() if key != "scales"}
    Path("mine.yaml").write_text(yaml.safe_dump({**document, "scale": scale}))
    assert tasks.yaml_model_load("mine.yaml")["backbone"] == document["backbone"]
    assert "scale" not in without_dataset({**document, "scale": scale})


def test_the_letter_in_the_name_counts_where_the_file_is_shared_by_all_scales(fresh_folder: Path) -> None:
    document = model_yaml("yolo11n-se.yaml")
    Path("yolo11-mine.yaml").write_text(yaml.safe_dump({**document, "scale": "m"}))
    assert tasks.yaml_model_load("yolo11x-mine.yaml")["scale"] == "x"
    assert tasks.yaml_model_load("yolo11-mine.yaml")["scale"] == "m"


def test_an_unknown_scale_is_an_error(fresh_folder: Path) -> None:
    document = model_yaml("yolo11n-se.yaml")
    Path("mine.yaml").write_text(yaml.safe_dump({**document, "scale": "q"}))
    with pytest.raises(UserError, match=r"mine.yaml: scale: 'q' is not one of its scales \("):
        tasks.yaml_model_load("mine.yaml")


def test_a_letter_that_is_part_of_a_word_is_logged(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = model_yaml("yolo11n-se.yaml")
    del document["scale"]
    Path("yolov8se.yaml").write_text(yaml.safe_dump(document))
    warnings: list[str] = []
    monkeypatch.setattr(tasks.LOGGER, "warning", warnings.append)
    assert tasks.guess_model_scale("yolov8se.yaml") == "s"
    assert "scale 's'" in warnings[0]


def test_a_missing_file_suggests_a_ready_one(fresh_folder: Path) -> None:
    with pytest.raises(UserError, match=r"yolo11n-cbm.yaml.*did you mean yolo11n-cbam.yaml\?"):
        model_yaml("yolo11n-cbm.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a model YAML"),
        ("- 1\n- 2\n", "not a model YAML"),
        ("nc: 80\nbackbone: [\n", "line 3, column 1: not valid YAML"),
        (f"nc: 80\nbackbone: {'[' * 5000}", "nested too deeply"),
        ("nc: 80\nbackbone: []\nhead: []\n", "no list of rows 'backbone'"),
        (
            "nc: 80\nbackbone: 5\nhead: [[-1, 1, Detect, [nc]]]\n",
            "broken.yaml: not a model YAML: it has no list of rows 'b",
        ),
        (
            "nc: 80\nbackbone: [[-1, 1, Conv, [8]]]\nhead:\n",
            "broken.yaml: not a model YAML: it has no list of rows 'head'",
        ),
        ("nc: 80\nbackbone: [[-1, 1, Conv]]\nhead: [[-1, 1, Detect, [nc]]]\n", "row 0: expected"),
    ],
)
def test_a_broken_yaml_is_one_line(fresh_folder: Path, text: str, words: str) -> None:
    Path("broken.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        model_yaml("broken.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["backbone", "head"])
def test_a_section_that_is_no_list_of_rows(fresh_folder: Path, section: str) -> None:
    for value in (5, None, []):
        document = {**model_yaml("yolo11n-se.yaml"), section: value}
        Path("mine.yaml").write_text(yaml.safe_dump(document))
        with pytest.raises(UserError) as caught:
            lint("mine.yaml")
        assert str(caught.value) == f"mine.yaml: not a model YAML: it has no list of rows {section!r}"
        with pytest.raises(UserError, match=f"not a model YAML: it has no list of rows '{section}'"):
            tasks.parse_model(document, 3, False)


def test_variants_by_short_name() -> None:
    variant = make_variant("yolo11n.yaml", "SE@neck+CBAM@backbone.P5")
    names = [row[2] for row in variant.yaml["backbone"] + variant.yaml["head"]]
    assert (names.count("SE"), names.count("CBAM")) == (3, 1)
    assert variant.yaml["scale"] == "n"
    assert make_variant("yolo11n.yaml", "SEAttention@neck.P3").yaml["head"][6][2] == "SE"  # by its registered name


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("SE@nek", "did you mean neck?"),
        ("SE@neck.P9", "backbone.P2"),
        ("Se2@neck", "unknown layer 'Se2'"),
        ("SE", "write Layer@site"),
        ("SE@after:23", "0 to 22"),
        ("nowhere.yaml", "does not exist"),
    ],
)
def test_invalid_variants(variant: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        make_variant("yolo11n.yaml", variant)
    assert words in str(caught.value)


def test_invalid_bases(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a model YAML"):
        model_yaml("yolo11n")
    empty = tmp_path / "empty.pt"
    empty.touch()
    with pytest.raises(UserError, match="empty"):
        model_yaml(str(empty))


def test_configs_are_where_the_package_looks() -> None:
    assert len(list(config_folder().glob("*.yaml"))) >= 45
