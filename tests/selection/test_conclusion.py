"""The answer of a search, its recommendations, and that their commands work when they are pasted."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.selection.synthetic import candidate, confirm, costs, make_record, nothing_trained, placed, unfinished
from yolo_attn.cli import main
from yolo_attn.graph import read_model
from yolo_attn.graph.placed_layers import parse_value
from yolo_attn.host.documents import make_variant
from yolo_attn.host.placement import place_layer
from yolo_attn.selection.conclusion import conclusion, expected_shrinkage
from yolo_attn.selection.confirmation import placed_rows
from yolo_attn.selection.recommendations import recommendations
from yolo_attn.selection.records import FINALIST, Costs, SearchRecord


def with_finalists(*finalists: tuple[str, str | None, Costs]) -> SearchRecord:
    """Return a search with given finalists: name, verdict and costs."""
    record = make_record()
    added = [replace(candidate(name, FINALIST, (0.02, 0.02, 0.02)), costs=cost) for name, _, cost in finalists]
    return replace(
        record,
        candidates=(*record.candidates, *added),
        confirmed=tuple(confirm(name, verdict) for name, verdict, _ in finalists),
    )


BETTER, CHEAP, UNSURE = placed("GE", "neck"), placed("RFAConv", "replace:3"), placed("GCT", "neck")


def test_a_found_layer_is_named_with_its_interval_and_the_estimate_that_it_was_selected_by() -> None:
    text = " ".join(conclusion(with_finalists((BETTER, "better", costs()), (UNSURE, "inconclusive", costs()))))
    assert text.startswith("GE@neck is better than yolo11n on digits: +0.90 [+0.30, +1.50] points of mAP50-95 ")
    assert "(5 seeds, p = 0.004)" in text
    assert "The search had estimated +2.00 in rung 3, which contains the luck of having been selected." in text
    assert "GCT@neck: inconclusive." in text


def test_nothing_found_names_the_size_that_would_have_been_found() -> None:
    record = with_finalists((UNSURE, "inconclusive", costs()))
    assert conclusion(record)[0] == "No layer was found that is better than yolo11n on digits."
    assert "a true gain of 0.60 to 1.10 points with a probability of 80%" in conclusion(record)[-1]
    assert "±0.60 points" in conclusion(replace(record, confirm_detectable=None))[-1]


@pytest.mark.parametrize(
    ("record", "part"),
    [
        (unfinished(make_record(), 0), "rung 1 of 3 has not begun."),
        (unfinished(make_record(), 2), "rung 2 of 3, "),
        (unfinished(make_record(), 4), "the 3 rungs are done, and the confirmation of "),
        (nothing_trained(), "Nothing was trained: of 24 candidates, 24 over a limit."),
        (replace(nothing_trained(), candidates=()), "There is no candidate for yolo11n"),
    ],
)
def test_other_answers(record: SearchRecord, part: str) -> None:
    sentences = conclusion(record)
    assert part in " ".join(sentences)
    assert 1 <= len(sentences) <= 4
    assert recommendations(record) == []


@pytest.mark.parametrize("verdict", ["better", "worse", "equivalent", "inconclusive", None])
def test_every_verdict_has_an_answer(verdict: str | None) -> None:
    sentences = conclusion(with_finalists((BETTER, verdict, costs())))
    assert 1 <= len(sentences) <= 4
    assert ("GE@neck is better" in sentences[0]) == (verdict == "better")


# --- recommendations ------------------------------------------------------------------------------------------------


def recommended(*finalists: tuple[str, str | None, Costs]) -> list[tuple[str, str]]:
    return [(one.title, one.candidate) for one in recommendations(with_finalists(*finalists))]


def test_the_best_and_the_cheapest_are_recommended() -> None:
    found = recommended(
        (BETTER, "better", costs(ratio=1.08)),
        (UNSURE, "inconclusive", costs(ratio=0.5)),
        (CHEAP, "equivalent", costs(ratio=0.9)),
    )
    assert found == [("The most accurate", "GE@neck"), ("The cheapest that is not worse", "RFAConv@replace:3")]


def test_a_candidate_that_is_not_worse_must_be_cheaper_than_the_base() -> None:
    assert recommended((CHEAP, "equivalent", costs(ratio=1.01))) == [("Keep the base", "yolo11n")]
    assert recommended((CHEAP, "equivalent", costs(ratio=0.9)))[-1][1] == "RFAConv@replace:3"
    assert recommended((CHEAP, "equivalent", costs(params=1_000_000, ratio=None)))[-1][1] == "RFAConv@replace:3"


@pytest.mark.parametrize("verdict", ["inconclusive", "worse", None])
def test_a_layer_without_a_good_verdict_is_never_recommended(verdict: str | None) -> None:
    assert recommended((UNSURE, verdict, costs(ratio=0.5))) == [("Keep the base", "yolo11n")]


def test_one_candidate_that_is_best_and_cheapest_is_recommended_once() -> None:
    (one,) = recommendations(with_finalists((BETTER, "better", costs())))
    assert one.candidate == "GE@neck" and "also the cheapest" in one.why


def test_the_cheapest_counts_those_that_are_no_gain() -> None:
    """An equivalent finalist that costs more than the base is not recommended, but cheaper than the best."""
    (one,) = recommendations(
        with_finalists((BETTER, "better", costs(ratio=1.3)), (CHEAP, "equivalent", costs(ratio=1.02)))
    )
    assert one.candidate == "GE@neck" and "cheapest" not in one.why


def test_shrinkage_is_explained() -> None:
    text = expected_shrinkage(with_finalists((BETTER, "better", costs())))
    assert text and "smaller for 1 of 1 finalist" in text


# --- commands -------------------------------------------------------------------------------------------------------


NAMES = (
    "SE[init=identity]@neck.P4",
    "CBAM[reduction=8,init=identity]@backbone.P4,backbone.P5",
    "EMA[init=identity]@inside:neck.C3k2",
    "SE[init=identity]@neck.P4+CBAM[init=identity]@neck.P4",
    "SE[init=identity]@after:4+ECA@after:4",
    "SE[init=identity]@after:16+ECA@after:4",
    "ECA@after:4+SE[init=identity]@after:16",
    "SE[init=identity]@neck+EMA@inside:8",
    "EMA@inside:C3k2+SE[init=identity]@inside:C3k2",
    "RFAConv[activation=silu]@replace:3+SE[init=identity]@neck.P5",
)


@pytest.mark.parametrize("name", NAMES)
def test_commands_place_the_layers_of_the_candidate(name: str, fresh_folder: Path) -> None:
    (one,) = recommendations(with_finalists((name, "better", costs())))
    assert len(one.commands) == 2 + name.count("+")
    for command in one.commands[:-1]:
        program, verb, *words = shlex.split(command)
        given = dict(word.split("=", 1) for word in words)
        assert (program, verb) == ("yolo-attn", "place")
        model, layer, at, out = (given.pop(key) for key in ("model", "layer", "at", "out"))
        place_layer(model, layer, at, {key: parse_value(value) for key, value in given.items()}).save(out)
    assert f" model={out} " in one.commands[-1]
    written, wanted = read_model(out), make_variant("yolo11n.yaml", name).yaml
    assert all(written[section] == wanted[section] for section in ("backbone", "head"))


@pytest.mark.slow
def test_pasted_commands_work(
    fresh_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ultralytics import YOLO

    trained: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(YOLO, "train", lambda self, **words: trained.append((self.model.yaml, words)))
    name = "SE[init=identity]@neck.P4+CBAM[reduction=8]@after:10"
    (one,) = recommendations(with_finalists((name, "better", costs())))
    for command in one.commands:
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr()
    ((model, words),) = trained
    written, wanted = read_model(words["model"]), make_variant("yolo11n.yaml", name).yaml
    assert all(written[section] == wanted[section] for section in ("backbone", "head"))
    assert (model["scale"], words["epochs"], words["optimizer"], words["amp"]) == ("n", 20, "SGD", False)


@pytest.mark.slow
def test_the_command_to_keep_the_base_trains_it(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics import YOLO

    trained: list[dict[str, Any]] = []
    monkeypatch.setattr(YOLO, "train", lambda self, **words: trained.append(words))
    (one,) = recommendations(with_finalists((UNSURE, "worse", costs())))
    assert main(shlex.split(one.commands[0])[1:]) == 0
    assert trained[0]["model"] == "yolo11n.yaml"


def commands_of(**info: object) -> tuple[str, ...]:
    record = with_finalists((BETTER, "better", costs()))
    return recommendations(replace(record, info=replace(record.info, **info)))[0].commands  # type: ignore[arg-type]


def test_weights_learning_rate_data_and_custom_layers_are_in_the_commands() -> None:
    train = commands_of(base="yolo11n.pt")[-1]
    assert " pretrained=yolo11n.pt " in train
    assert " pretrained=base.pt " in commands_of(weights="base.pt")[-1]
    assert commands_of(lr_attention=5.0)[-1].endswith(" lr_attention=5")
    place, train = commands_of(given_data="sets/fruit.yaml", layer_files=("mine.py",))
    assert " data=sets/fruit.yaml " in train
    assert place.endswith(" layers=mine.py") and train.endswith(" layers=mine.py")
    assert " data=digits " in commands_of(given_data="…/fruit.yaml")[-1]


def test_a_received_search_adds_no_other_arguments_and_no_shell_commands() -> None:
    commands = commands_of(
        recipe={"layers": "evil.py", "trust": True, "epochs": "1; rm x"}, data="$(x)", base="a b.yaml", command="'"
    )
    words = [shlex.split(command) for command in commands]
    assert words[0][:3] == ["yolo-attn", "place", "model=a b.yaml"]
    assert words[1][2:] == [words[1][2], "data=$(x)", "epochs=1; rm x"]
    assert not any("evil" in command or "trust" in command for command in commands)
    assert recommendations(with_finalists(("no layer; rm x", "better", costs())))[0].commands == ()


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_variant(name: str, fresh_folder: Path) -> None:
    document = make_variant("yolo11n.yaml", name).yaml
    Path("model.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    rows = placed_rows(Path("model.yaml"), name)
    everything = [*document["backbone"], *document["head"]]
    assert rows
    for row in rows:
        text, _, number = row.removeprefix("- ").rpartition(" # ")
        assert yaml.safe_load(text) == everything[int(number)]
