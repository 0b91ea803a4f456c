"""Tests that the advice in messages works when followed: rows, options, sites, keys, commands.

Suggested names have their own tests: tests/names/test_suggestions.py and tests/host/test_model_suggestions.py.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from tests.layers.representatives import others_slow
from yolo_attn import cards
from yolo_attn.cli import COMMANDS, main
from yolo_attn.cli import stock as stock_commands
from yolo_attn.cli.help import help_pages
from yolo_attn.errors import UserError
from yolo_attn.graph import ModelGraph
from yolo_attn.graph.rows import check_row
from yolo_attn.host.document_keys import find_key_problems
from yolo_attn.host.documents import make_variant, model_yaml
from yolo_attn.host.linting import lint
from yolo_attn.host.parser import build_rows
from yolo_attn.registry import LayerSpec, list_layers

LAYERS = list_layers()
SINGLE = [spec for spec in LAYERS if spec.inputs == 1 and not spec.more_inputs]
ids = {"ids": lambda spec: spec.name}


def document(row: list[Any]) -> dict[str, Any]:
    """Return a model with a row before the head: row 8, after eight rows of one size and width."""
    convs = [[-1, 1, "Conv", [256, 3, 2 if i == 0 else 1]] for i in range(8)]
    return {"nc": 2, "backbone": convs, "head": [row, [[8], 1, "Detect", ["nc"]]]}


def build(row: list[Any]) -> nn.Module:
    with torch.device("meta"):
        return build_rows(document(row), 3)[8]


def problem(row: list[Any]) -> str:
    """Return the message for an invalid row."""
    with pytest.raises(UserError) as caught:
        build(row)
    message = str(caught.value)
    assert "\n" not in message
    return message


def written(text: str) -> list[Any]:
    """Return the rows that a message recommends."""
    found = re.search(r"write (.*), not ", text)
    assert found, text
    return [yaml.safe_load(part) for part in found[1].split(" or ")]


def source(spec: LayerSpec) -> Any:
    return -1 if spec in SINGLE else [-1, *[6] * (max(spec.inputs, 2) - 1)]


@pytest.mark.parametrize("spec", LAYERS, **ids)
def test_the_rows_of_a_card_build(spec: LayerSpec) -> None:
    text = cards.card(spec)
    rows = [yaml.safe_load(line)[0] for line in text.splitlines() if line.startswith("  - [")]
    assert len(rows) == 2
    for row in rows:
        assert type(build(row)) is spec.cls
    options = text.partition("options and their defaults\n")[2].partition("\n\n")[0]
    defaults = yaml.safe_load(options)
    assert list(defaults) == list(spec.options)
    assert type(build([source(spec), 1, spec.name, [defaults]])) is spec.cls
    assert not re.search(r"\b(True|False|None)\b|\(\d", options)  # YAML, not Python


POSITIONAL: list[list[Any]] = [
    *([8], [16], [7], [3], [1], [4], [64], [256], [256, 8], [256, 256, 16], [False], ["x"], [0.5], [[3, 5]], [None]),
    *([8, 4], [{"init": "identity"}, {}], [8, {"init": "identity"}], [256, {"init": "identity"}]),
]


@pytest.mark.parametrize("spec", others_slow([spec for spec in LAYERS if not spec.replaces_conv]))
def test_the_message_for_positional_arguments_gives_valid_ones(spec: LayerSpec) -> None:
    for given in POSITIONAL:
        message = problem([source(spec), 1, spec.name, given])
        alternatives = written(message)
        assert len({str(args) for args in alternatives}) == len(alternatives)
        for args in alternatives:
            assert type(build([source(spec), 1, spec.name, args])) is spec.cls, (message, args)
            kept = [part for part in given if isinstance(part, dict)]
            assert all(args[0][key] == value for part in kept for key, value in part.items()), message


@pytest.mark.parametrize(
    ("layer", "given", "right"),
    [
        ("EMA", [8], "[{groups: 8}]"),
        ("EMA", [256, 8], "[{groups: 8}]"),
        ("EMA", [256], "[]"),
        ("NAM", [256], "[]"),
        ("NAM", [8], "[]"),
        ("ESE", [8], "[]"),
        ("ParNet", [8], "[]"),
        ("SE", [256, 16], "[{reduction: 16}]"),
        ("CBAM", [7], "[{reduction: 7}] or [{kernel_size: 7}]"),
        ("CBAM", [16], "[{reduction: 16}]"),
        ("SK", ["x"], "[{kernel_sizes: [3, 5]}]"),
        ("ShuffleAttention", [8, {"init": "identity"}], "[{groups: 8, init: identity}]"),
    ],
)
def test_a_single_positional_value_is_kept_under_its_possible_names(layer: str, given: list[Any], right: str) -> None:
    assert f": write {right}, not " in problem([-1, 1, layer, given])


# What follows "use" in the message about an option's value, and values that it means; {} is the layer's option.
PHRASES: dict[str, Callable[[re.Match[str]], list[Any]]] = {
    r"a positive integer": lambda m: [1, 8],
    r"an integer of at least (\d+)(, preferably a multiple of (\d+))?": lambda m: [int(m[1]), 2 * int(m[3] or m[1])],
    r"an integer from (\d+) to (\d+)": lambda m: [int(m[1]), int(m[2])],
    r"a divisor of (\d+) and (\d+), .*": lambda m: [1, math.gcd(int(m[1]), int(m[2]))],
    r"a number above 0": lambda m: [1, 2.0],
    r"a number of at least 1": lambda m: [1, 8],
    r"a number from 0 to 1": lambda m: [0, 0.5, 1],
    r"true or false": lambda m: [True, False],
    r"(?:.*, )?.*such as (.+)": lambda m: [yaml.safe_load(part) for part in m[1].split(" or ")],
    r"[^ ]+( or [^ ]+)*": lambda m: [yaml.safe_load(part) for part in m[0].split(" or ")],
}
WRONG: list[Any] = [None, -1, 0, 2, "x", [], [2], {}, 2.5, True, "8", [3, "x"], "", 50]


@pytest.mark.slow
@pytest.mark.parametrize("spec", LAYERS, **ids)
def test_the_message_for_an_invalid_value_gives_valid_ones(spec: LayerSpec) -> None:
    asked = 0
    for option in spec.options:
        for wrong in WRONG:
            try:
                build([source(spec), 1, spec.name, [{option: wrong}]])
            except UserError as error:
                message = str(error)
            else:
                continue
            found = re.fullmatch(rf"row 8: \w+: {option}=(.*); use (.*)", message)
            assert found, message
            assert yaml.safe_load(found[1]) == wrong
            match = next(m for phrase in PHRASES if (m := re.fullmatch(phrase, found[2])))
            for value in PHRASES[match.re.pattern](match):
                assert type(build([source(spec), 1, spec.name, [{option: value}]])) is spec.cls, (message, value)
                asked += 1
    assert asked


@pytest.mark.parametrize("spec", LAYERS, **ids)
def test_the_options_in_a_message_exist(spec: LayerSpec) -> None:
    message = problem([source(spec), 1, spec.name, [{"qqqq": 1}]])
    listed = message.partition("it takes ")[2].split(", ")
    assert listed == list(spec.options)


@pytest.mark.parametrize("args", [64, None, "x", {"reduction": 8}, True, {"kernel_sizes": (3, 5)}])
def test_args_that_are_not_a_list(args: Any) -> None:
    with pytest.raises(UserError) as caught:
        check_row(3, [-1, 1, "Conv", args])
    (right,) = written(str(caught.value))
    assert check_row(3, [-1, 1, "Conv", right])
    if isinstance(args, dict) and "reduction" in args:
        assert build([-1, 1, "SE", right])


def test_the_message_for_a_fusion_shows_its_row() -> None:
    for spec in LAYERS:
        if spec in SINGLE:
            continue
        message = problem([-1, 1, spec.name, []])
        (sources,) = re.findall(r"as in (\[.*\])", message)
        assert build([yaml.safe_load(re.sub(r"\b[NM]\b", "6", sources)), 1, spec.name, []])
        if spec.can_return_levels:
            continue  # tests/host/test_levels.py
        for name in (f"yolo11n.yaml+{spec.name}@neck",):
            with pytest.raises(UserError) as caught:
                model_yaml(name)
            (row,) = re.findall(r"write (\[\[.*\]) into", str(caught.value))
            assert build(yaml.safe_load(re.sub(r"\bN\b", "6", row)))


def test_the_message_for_an_invalid_from_lists_the_rows() -> None:
    for dangling in (9, 8, 20):
        message = problem([dangling, 1, "SE", []])
        first, last = re.search(r"a row can read rows (\d+) to (\d+), or -1", message).groups()  # type: ignore[union-attr]
        for row in (int(first), int(last), -1):
            document_ = document([row, 1, "SE", []])
            assert ModelGraph(document_)


LAYER_AT = {"replace:<row>": "RFAConv", "head": "DyHead[width=64]"}


@pytest.mark.parametrize("base", ["yolo11n.yaml", "yolov8n-p2.yaml", "yolo11n-cls.yaml", "rtdetr-l.yaml"])
def test_the_sites_in_a_message_exist(base: str) -> None:
    rows = ModelGraph(model_yaml(base)).rows
    conv = next(i for i, row in enumerate(rows) if row.module == "Conv" and len(row.args) <= 3)
    for wrong in ("nowhere", "inside:Nothing"):
        with pytest.raises(UserError) as caught:
            make_variant(base, f"SE@{wrong}")
        listed = str(caught.value).partition("it has ")[2].split(", ")
        assert len(listed) > 3
        for site in listed:
            if site == "inside:<block>":
                continue  # the other message lists them
            row = conv if site.startswith("replace") else 3
            assert make_variant(base, f"{LAYER_AT.get(site, 'SE')}@{site.replace('<row>', str(row))}")


KEYS: list[dict[str, Any]] = [
    *({"nc": None}, {"nc": "x"}, {"depth_multiple": 0}, {"width_multiple": "x"}, {"scales": [1]}, {"scales": {"n": 3}}),
    *({"activation": "Relu"}, {"activation": "nn.SiLU"}, {"activation": 3}, {"activation": "nn.LeakyReLU(x)"}),
    *({"activation": "Swish"}, {"activation": "nn.Conv2d()"}, {"text_model": "x.pt"}),
]


@pytest.mark.parametrize("wrong", KEYS, ids=str)
def test_the_message_for_an_invalid_key_gives_valid_values(wrong: dict[str, Any]) -> None:
    good = {"nc": 80, "scales": {"n": [0.5, 0.25, 1024]}}
    (message,) = find_key_problems({**good, **wrong})
    (key,) = wrong
    advice = re.search(r"(?:did you mean |such as |write )([^;]*?)\??$", message.replace(" or another", ""))
    assert advice, message
    for part in advice[1].removeprefix("one, such as ").split(" or "):
        text = part.rpartition("such as ")[2]
        pasted = yaml.safe_load(text) if text.startswith(f"{key}: ") else {key: yaml.safe_load(text)}
        if key == "scales":
            pasted = {"scales": pasted[key] if isinstance(pasted[key], dict) else {"n": pasted[key]}}
        assert list(find_key_problems({**good, **pasted})) == [], message


STUDIES: list[dict[str, Any]] = [{"seeds": "x"}, {"variants": 3}, {"optimizer": "auto"}, {"seeds": "0"}]


@pytest.mark.parametrize("wrong", STUDIES, ids=str)
def test_the_message_for_an_invalid_study_gives_valid_values(wrong: dict[str, Any]) -> None:
    from yolo_attn.study.specification.study import Study

    with pytest.raises(UserError) as caught:
        Study.from_arguments(wrong)
    examples = re.findall(
        r"\w+=[\w@,.]+", str(caught.value).partition(";")[2] or str(caught.value).partition("such as")[2]
    )
    assert examples
    for words in [[word] for word in examples if not word.startswith("lr0")]:
        assert Study.from_arguments(dict(word.split("=", 1) for word in words))


def test_the_freeze_value_in_a_message_is_valid() -> None:
    from yolo_attn.host.freezing import read_freeze

    with pytest.raises(UserError) as caught:
        read_freeze("[0,cv2]")
    (example,) = re.findall(r"\[[^\[]*\]$", str(caught.value))
    assert read_freeze(example) == ["0", "1", "22.cv2"]


def test_the_message_for_a_missing_head_gives_a_valid_row(tmp_path: Path) -> None:
    base = model_yaml("yolov8n.yaml")
    headless = {**base, "head": base["head"][:-1]}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(headless))
    message = next(str(f.message) for f in lint(file) if "not a head" in f.message)
    row = yaml.safe_load(re.search(r"such as (\[.*\])$", message)[1])  # type: ignore[index]
    file.write_text(yaml.safe_dump({**headless, "head": [*headless["head"], row]}))
    assert lint(file) == []


def commands() -> list[str]:
    """Return every complete command in the help pages and in the messages for missing keys."""
    texts = [page() for page in help_pages().values()]
    found = [
        line.strip()
        for text in texts
        for line in text.splitlines()
        if re.match(r" +yolo-attn \w+( \S+=\S+|$| \w+$)", line)
    ]
    found = [re.split(r"  +", line)[0] for line in found if "COMMAND" not in line and "key=value" not in line]
    for verb in ("place", "lint", "report", "profile", "maps"):
        with pytest.raises(UserError) as caught:
            COMMANDS[verb].run([])
        text = str(caught.value)
        found.append(text.partition("for example: ")[2])
    return sorted({*found, "yolo-attn layers CBAM"})  # which the list of layers names


def test_there_are_commands() -> None:
    assert len(commands()) >= 12 and all(commands())


@pytest.mark.parametrize("command", commands())
def test_the_commands_in_help_and_messages_are_valid(
    command: str, fresh_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training and measuring are replaced; words, models and data are checked."""
    import torch as pytorch

    from yolo_attn.analysis import profile, viewer
    from yolo_attn.host import command as stock
    from yolo_attn.study import engine, report

    ran: list[Any] = []
    monkeypatch.setattr(stock, "run_stock", ran.append)
    monkeypatch.setattr(engine, "compare", lambda keys, command: ran.append(keys) or type("", (), {"exit_status": 0}))
    monkeypatch.setattr(report, "make_report", lambda folder, out, data: folder / "report.html")
    monkeypatch.setattr(report, "read_results", lambda folder: {})
    monkeypatch.setattr(report, "text_table", lambda results: "")
    monkeypatch.setattr(viewer, "make_gallery", lambda *args, **options: ran.append(args))
    monkeypatch.setattr(profile, "profile_all", lambda models, *args, **options: [])
    monkeypatch.setattr(profile, "as_text", lambda found: "")
    monkeypatch.setattr(stock_commands, "_check_data", lambda value, words: None)
    _, verb, *words = shlex.split(command)
    for word in words:
        if word.endswith(".pt"):
            file = Path(word.partition("=")[2])
            file.parent.mkdir(parents=True, exist_ok=True)
            pytorch.save({"model": base_model()}, file)
    if verb == "lint":
        assert main(["place", "model=yolo11n.yaml", "layer=SE", "at=neck", f"out={words[0].partition('=')[2]}"]) == 0
    assert main([verb, *words]) == 0, capsys.readouterr().err


def base_model() -> nn.Module:
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel("yolo11n-cbam.yaml", verbose=False)
