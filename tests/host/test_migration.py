"""`lint fix=True`: YAMLs in the style of forks and tutorials become those that `place` would have made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.host.helpers import build_as_its_class
from yolo_attn.cli import main
from yolo_attn.graph import ModelGraph, read_model
from yolo_attn.host.documents import with_scale
from yolo_attn.host.installation import stock_model_yamls
from yolo_attn.host.linting import lint
from yolo_attn.host.migration import migrate
from yolo_attn.host.transfer import last_transfer

STOCK = {path.name: path for path in stock_model_yamls()}
Text = Callable[[str], str]


def text_of(base: str) -> str:
    return STOCK[base].read_text(encoding="utf-8")


def after(index: int, *rows: str) -> Text:
    """Write rows after one row of a text, whose indices do not change: as most tutorials do."""

    def written(text: str) -> str:
        sections = yaml.compose(text, Loader=yaml.SafeLoader).value
        nodes = [row for key, node in sections if key.value in ("backbone", "head") for row in node.value]
        lines = text.splitlines(keepends=True)
        line = nodes[index].end_mark.line + 1
        return "".join([*lines[:line], *(f"  - {row}\n" for row in rows), *lines[line:]])

    return written


def replaced(*pairs: str) -> Text:
    """Replace texts, each of which occurs, by others."""

    def written(text: str) -> str:
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        return text

    return written


def block_style(text: str) -> str:
    """Write every row on several lines."""
    document = yaml.safe_load(text)
    rows = {key: document.pop(key) for key in ("backbone", "head")}
    return yaml.safe_dump(document, sort_keys=False) + "# rows\n" + yaml.safe_dump(rows, default_flow_style=False)


@dataclass(frozen=True)
class Habit:
    """One habit of forks and tutorials.

    Args:
        base: The stock model of the file.
        edits: The edits of its text that make the file.
        layers: The layers that it has after migration: the row of the base that they follow, with module and arguments.
        blocks: The blocks of the base's rows that contain a layer.
        name: The file's name.
        sources: The sources of rows that differ from those that `place` would give.
    """

    base: str
    edits: tuple[Text, ...]
    layers: tuple[tuple[int, str, list[Any]], ...] = ()
    blocks: Mapping[int, str] = ()  # type: ignore[assignment]
    name: str = "their.yaml"
    sources: Mapping[int, list[int]] = ()  # type: ignore[assignment]

    def write(self, folder: Path) -> Path:
        """Write the file."""
        text = text_of(self.base)
        for edit in self.edits:
            text = edit(text)
        path = folder / self.name
        path.write_text(text, encoding="utf-8", newline="")
        return path

    def rows(self) -> list[list[Any]]:
        """Return the rows, with absolute sources, that the migrated file should have."""
        graph = ModelGraph(read_model(STOCK[self.base]))
        for index, block in dict(self.blocks).items():
            graph.rows[index].module = block
        for shift, (index, module, args) in enumerate(self.layers):
            graph.insert_after(index + shift, module, args)
        for index, sources in dict(self.sources).items():
            graph.rows[index].sources = sources
        return rows_of(graph)


def rows_of(graph: ModelGraph) -> list[list[Any]]:
    return [[row.sources, row.repeats, row.module, row.args] for row in graph]


V8_SHIFTED = ("[[-1, 12], 1", "[[-1, 13], 1", "[[-1, 9], 1", "[[-1, 10], 1", "[[15, 18, 21], 1", "[[16, 19, 22], 1")
V5_OF_2020 = re.compile(r"scales:.*?\n\n", re.DOTALL)

HABITS: dict[str, Habit] = {
    "the width, no index shifted": Habit("yolov8.yaml", (after(9, "[-1, 1, CBAM, [1024]]"),), ((9, "CBAM", []),)),
    "the width, every index shifted": Habit(
        "yolov8.yaml", (replaced(*V8_SHIFTED), after(9, "[-1, 1, CBAM, [1024]]  # 10")), ((9, "CBAM", []),)
    ),
    "an option after the width": Habit(
        "yolov8.yaml", (after(9, "[-1, 1, SEAttention, [1024, 16]]"),), ((9, "SEAttention", [{"reduction": 16}]),)
    ),
    "channels of input and output, the neck's indices shifted": Habit(
        "yolo11.yaml",
        (replaced("[[-1, 10], 1, Concat", "[[-1, 11], 1, Concat"), after(6, "[-1, 1, CoordAtt, [512, 512]]")),
        ((6, "CoordAtt", []),),
    ),
    "at the inputs of the head, which reads past the layers": Habit(
        "yolo11.yaml",
        tuple(after(i, f"[-1, 1, EMA_attention, [{width}, 8]]") for i, width in ((22, 1024), (19, 512), (16, 256))),
        tuple((i, "EMA", [{"groups": 8}]) for i in (16, 19, 22)),
    ),
    "names in quotes": Habit("yolov8.yaml", (after(4, "[-1, 1, 'CBAMBlock', []]"),), ((4, "CBAM", []),)),
    "classes of blocks, C2f_CBAM": Habit(
        "yolov8.yaml",
        (replaced("C2f, [256]] # 15", "C2f_CBAM, [256]] # 15", "C2f, [512]] # 18", "C2f_CBAM, [512]] # 18"),),
        blocks={15: "C2f+CBAM", 18: "C2f+CBAM"},
    ),
    "classes of blocks, C2PSA_CGA": Habit(
        "yolo11.yaml",
        (replaced("C2PSA, [1024]", "C2PSA_CGA, [1024]"),),
        blocks={10: "C2PSA+CascadedGroupAttention"},
    ),
    "classes of blocks, C3STR": Habit(
        "yolov5.yaml",
        (replaced("C3, [1024]]", "C3STR, [1024]]"),),
        blocks={8: "C3+SwinWindow"},
    ),
    "classes of blocks, C3k2_EMA with options of the block": Habit(
        "yolo11.yaml",
        (replaced("C3k2, [512, False, 0.25]", "C3k2_EMA, [512, False, 0.25]"),),
        blocks={4: "C3k2+EMA"},
    ),
    "classes of blocks, SEC3": Habit("yolov5.yaml", (replaced("C3, [256]]", "SEC3, [256]]"),), blocks={4: "C3+SE"}),
    "sizes of maps, in the style of YOLOv5 with anchors": Habit(
        "yolov5.yaml",
        (
            lambda text: V5_OF_2020.sub("depth_multiple: 0.33\nwidth_multiple: 0.50\nanchors:\n  - [10,13]\n\n", text),
            replaced("Detect, [nc]]", "Detect, [nc, anchors]]"),
            after(9, "[-1, 1, MHSA, [1024, 14, 14, 4]]"),
        ),
        ((9, "MHSA", [{"heads": 4}]),),
    ),
    "a list of sizes": Habit(
        "yolov8.yaml", (after(9, "[-1, 1, DAttention, [1024, [20, 20]]]"),), ((9, "DAttention", []),)
    ),
    "heads and regions": Habit(
        "yolov8.yaml",
        (after(9, "[-1, 1, BiLevelRoutingAttention_nchw, [8, 7]]"),),
        ((9, "BRA", [{"heads": 8, "grid_size": 7}]),),
    ),
    "a scale in the file's name": Habit(
        "yolov10n.yaml", (after(22, "[-1, 1, LSKBlock, [1024]]"),), ((22, "LSKBlock", []),), name="yolov10n-lsk.yaml"
    ),
    "a number without its point": Habit(
        "yolo11.yaml", (after(8, "[-1, 1, SimAM, [1e-4]]"),), ((8, "SimAM", [{"e_lambda": 1e-4}]),)
    ),
    "repeats": Habit(
        "yolov8.yaml",
        (after(9, "[-1, 3, ECA, [1024, 3]]"),),
        ((9, "ECA", [{"kernel_size": 3}]),),
        name="yolov8n-e.yaml",
    ),
    "two layers one after the other, shifted by one": Habit(
        "yolov8.yaml",
        (replaced(*V8_SHIFTED), after(9, "[-1, 1, TripletAttention, []]", "[-1, 1, GAM_Attention, [1024, 1024]]")),
        ((9, "TripletAttention", []), (9, "GAM", [])),
    ),
    "a layer on a skip connection": Habit(
        "yolov8.yaml",
        (after(10, "[6, 1, CBAM, [512]]"), replaced("[[-1, 6], 1", "[[-2, -1], 1")),
        ((10, "CBAM", []),),
        sources={11: [6], 12: [10, 11]},
    ),
    "line ends of Windows, comments in Chinese": Habit(
        "yolov8.yaml",
        (after(9, "[-1, 1, ShuffleAttention, [1024, 16, 8]]  # 注意力"), lambda text: text.replace("\n", "\r\n")),
        ((9, "ShuffleAttention", [{"groups": 8}]),),
    ),
    "rows on several lines": Habit("yolov8.yaml", (after(9, "[-1, 1, CBAM, [1024]]"), block_style), ((9, "CBAM", []),)),
    "another task, all indices shifted by the number of layers": Habit(
        "yolov8-seg.yaml",
        (
            after(21, "[-1, 1, NAMAttention, [1024]]"),
            after(15, "[-1, 1, NAMAttention, [256]]"),
            replaced("[[-1, 12]", "[[-1, 14]", "[[-1, 9]", "[[-1, 11]", "[[15, 18, 21]", "[[17, 20, 23]"),
        ),
        ((15, "NAMAttention", []), (21, "NAMAttention", [])),
    ),
}
BUILT = [
    pytest.param(
        name, marks=() if name in ("the width, no index shifted", "rows on several lines") else pytest.mark.slow
    )
    for name in HABITS
]


@pytest.mark.parametrize("name", HABITS)
def test_a_file_becomes_the_one_of_place(name: str, fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    habit = HABITS[name]
    path = habit.write(fresh_folder)
    before = path.read_bytes()
    assert lint(path)
    assert main(["lint", f"model={path.name}", "fix=True", f"out=out-{path.name}"]) == 0
    out = fresh_folder / f"out-{path.name}"
    shown = capsys.readouterr().out
    assert path.read_bytes() == before
    assert rows_of(ModelGraph(read_model(out))) == habit.rows()
    assert lint(out) == []
    tensors = re.search(r"pretrained weights: (\d+)/(\d+) tensors", shown)
    assert tensors and tensors[1] == tensors[2]
    assert applied(shown, before.decode()) == out.read_bytes().decode()


def applied(diff: str, text: str) -> str:
    """Apply the hunks of a diff without context, as `patch` does."""
    lines = text.splitlines(keepends=True)
    end = "\r\n" if "\r\n" in text else "\n"
    for hunk in reversed(re.split(r"^(?=@@ )", diff, flags=re.MULTILINE)[1:]):
        head, *changed = hunk.splitlines()
        span = re.match(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@ row \d+: \S", head)
        assert span, head
        start, count = int(span[1]) - 1, int(span[2] or 1)
        assert [line[1:] for line in changed if line[0] == "-"] == [
            x.rstrip("\r\n") for x in lines[start : start + count]
        ]
        lines[start : start + count] = [f"{line[1:]}{end}" for line in changed if line[0] == "+"]
    return "".join(lines)


@pytest.mark.parametrize("name", BUILT)
def test_a_migrated_file_gets_every_tensor_of_its_base(name: str, fresh_folder: Path) -> None:
    habit = HABITS[name]
    path = habit.write(fresh_folder)
    migration = migrate(path)
    document = with_scale(yaml.safe_load(migration.text), migration.out, migration.out)
    base = read_model(STOCK[habit.base])
    base["scale"] = document.get("scale", "s")  # the multiples of YOLOv5s
    model = build_as_its_class(document)
    model.load(build_as_its_class(base, seed=1))
    report = last_transfer(model)
    assert report is not None
    assert (report.arrived, report.base) == (report.base, len(build_as_its_class(base).state_dict()))


def refusals(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Return what is reported of a file that cannot be migrated, after checking that nothing was written."""
    before = {path: path.read_bytes() for path in file.parent.iterdir()}
    assert main(["lint", f"model={file.name}", "fix=True", *words]) == 2
    assert {path: path.read_bytes() for path in file.parent.iterdir()} == before
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


@pytest.mark.parametrize(
    ("base", "edit", "expected"),
    [
        (
            "yolov8.yaml",
            after(9, "[-1, 1, DCNv2, [1024]]"),
            [": row 10: 'DCNv2' has no counterpart here; the nearest is DLKA, another mechanism"],
        ),
        (
            "yolov8.yaml",
            replaced("C2f, [256]] # 15", "C2f_Tripod, [256]] # 15", "C2f, [512]] # 18", "C2f_Qwxyz, [512]] # 18"),
            [
                ": row 15: 'C2f_Tripod' has no counterpart here; the nearest is Triplet, another mechanism",
                ": row 18: 'C2f_Qwxyz' has no counterpart here; yolo-attn layers lists those that exist",
            ],
        ),
        (
            "yolov8.yaml",
            after(9, "[-1, 1, Foo_Attention, [1024]]"),
            [": row 10: 'Foo_Attention' has no counterpart here; yolo-attn layers lists those that exist"],
        ),
        (
            "yolov8.yaml",
            after(9, "[-1, 1, ShuffleAttention, [1024, 16]]"),
            ["row 10: ShuffleAttention: [1024, 16] has several meanings; write [{groups: 16}] or []"],
        ),
        (
            "yolov8.yaml",
            after(9, "[-1, 1, SE, [1024, 17]]"),
            ["row 10: SE: [1024, 17] has no known meaning; write options by name: reduction, bias, init"],
        ),
        (
            "yolov8.yaml",
            after(9, "[-1, 1, SE, [1024, 512]]"),
            ["row 10: SE: [1024, 512] has no known meaning"],
        ),
        (
            "yolov8.yaml",
            after(9, "[-1, 3, CBAM, [1024]]"),
            ["row 10: CBAM is repeated 3 times, times the depth of the scale (n: 1, s: 1, m: 2, l: 3, x: 3); write 1"],
        ),
        (
            "yolo11.yaml",
            replaced("C3k2, [512, False, 0.25]", "C3k2_EMA, [512, 'chunk', 8]"),
            ["row 4: C3k2_EMA: chunk has no known meaning; after its channels C3k2 takes c3k, e, "],
        ),
        (
            "yolov8.yaml",
            lambda text: after(9, "[-1, 1, CBAM, []]")(text.replace("[[-1, 9], 1", "[[-1, 4], 1")),
            [
                "row 21: Concat reads row 4 (C2f), which no forgotten shift explains; "
                "write the row that is meant; as in yolov8.yaml, it is row 10 (CBAM)"
            ],
        ),
        (
            "yolov8.yaml",
            lambda text: after(12, "[7, 1, CBAM, []]")(after(4, "[-1, 1, SE, []]")(text.replace("-1, 4]", "-1, 5]"))),
            ["row 13: CBAM reads row 7, and other indices of the file were not shifted; write the row that is meant"],
        ),
        (
            "yolov8.yaml",
            replaced("[[-1, 6], 1", "[[-1, 16], 1"),
            ["row 11: Concat: from 16 points forward"],
        ),
        (
            "yolov8.yaml",
            replaced(
                "- [-1, 3, C2f, [512]] # 12",
                "- &row [-1, 3, C2f_CBAM, [512]] # 12",
                "- [-1, 3, C2f, [512]] # 18",
                "- *row # 18",
            ),
            ["row 12: the row shares a value with another one by a reference (*name); write both values"],
        ),
        (
            "yolov8.yaml",
            lambda text: replaced("C2f, [512]] # 12", "C2f, [*c]] # 12")(after(9, "[-1, 1, CBAM, [&c 512]]")(text)),
            ["row 10: the row shares a value with another one by a reference (*name); write both values"],
        ),
        ("yolov8.yaml", replaced("[[-1, 6], 1", "[[], 1"), ["row 11: Concat: from is an empty list; write the rows"]),
        (
            "yolov8.yaml",
            lambda text: f"{text}\nhead:\n  - [[15, 18, 21], 1, Detect, [nc]]\n",
            [": head: written in lines "],
        ),
    ],
)
def test_what_the_file_does_not_determine(
    base: str, edit: Text, expected: list[str], fresh_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Habit(base, (edit,)).write(fresh_folder)
    lines = refusals(file, capsys)
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True)), lines


def test_references_to_values_that_do_not_change_are_kept(fresh_folder: Path) -> None:
    edit = replaced("C2f, [512]] # 12", "C2f_CBAM, &w [512]] # 12", "C2f, [512]] # 18", "C2f_CBAM, *w] # 18")
    migrated = migrate(Habit("yolov8.yaml", (edit,)).write(fresh_folder))
    assert [hunk.new for hunk in migrated.hunks] == [
        ("  - [-1, 3, C2f+CBAM, &w [512]] # 12",),
        ("  - [-1, 3, C2f+CBAM, *w] # 18 (P4/16-medium)",),
    ]


def test_a_repeated_layer_at_a_known_scale(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = after(9, "[-1, 3, CBAM, [1024]]")
    (line,) = refusals(Habit("yolov8.yaml", (edit,), name="yolov8m-their.yaml").write(fresh_folder), capsys)
    assert "(m: 2); write 1" in line


def test_an_existing_file_is_kept(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = HABITS["the width, no index shifted"].write(fresh_folder)
    Path("their-fixed.yaml").write_text("mine")
    for words, expected in (
        ((), "their-fixed.yaml exists and was kept; give another out=FILE, or exist_ok=True to replace it"),
        (("out=their.yaml",), "out=their.yaml: this is the file itself, which is kept; give another one"),
        (("out=their.yaml", "exist_ok=True"), "this is the file itself"),
        (("out=mine.txt",), "out=mine.txt: the name of a model YAML ends in .yaml; write out=mine.yaml"),
    ):
        (line,) = refusals(file, capsys, *words)
        assert expected in line
    assert main(["lint", "model=their.yaml", "fix=True", "exist_ok=True"]) == 0
    assert Path("their-fixed.yaml").read_text() != "mine"


def test_comments_in_another_encoding(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = after(9, "[-1, 1, CBAM, [1024]]  # \u6ce8\u610f\u529b")(text_of("yolov8.yaml"))
    Path("their.yaml").write_bytes(text.encode("gbk", errors="ignore"))
    assert main(["lint", "model=their.yaml", "fix=True"]) == 0
    assert "  - [-1, 1, CBAM, []]  # \u6ce8\u610f\u529b" in Path("their-fixed.yaml").read_text(encoding="utf-8")
    Path("their-fixed.yaml").unlink()
    Path("their.yaml").write_bytes(text.encode("utf-8") + b"# \xff\n")
    capsys.readouterr()
    (line,) = refusals(Path("their.yaml").resolve(), capsys)
    assert line.endswith("their.yaml: neither UTF-8 nor GB 18030, so comments would be lost; save it as UTF-8")


def test_the_first_row_of_early_yolov9(fresh_folder: Path) -> None:
    edit = replaced("nn.Identity, []", "Silence, []")
    migrated = migrate(Habit("yolov9e.yaml", (edit, after(9, "[-1, 1, CBAM, [1024]]"))).write(fresh_folder))
    assert migrated.hunks[0].reason == "row 0: Silence is nn.Identity in present releases"
    assert migrated.base == "yolov9e.yaml"


def test_a_scale_in_the_name_is_kept(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = after(9, "[-1, 1, CBAM, [1024]]")
    file = Habit("yolov8.yaml", (edit,), name="yolov8s-their.yaml").write(fresh_folder)
    for out in ("fixed.yaml", "yolov8-fixed.yaml"):
        (line,) = refusals(file, capsys, f"out={out}")
        assert line.endswith(f"out={out}: yolov8s-their.yaml has scale s by its name; write out=yolov8s-{out}")
    assert main(["lint", f"model={file.name}", "fix=True", "out=yolov8s-fixed.yaml"]) == 0


def test_a_correct_file_is_not_written_again(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "model=yolov8n.yaml", "fix=True", "out=mine.yaml"]) == 0
    assert "nothing to change" in capsys.readouterr().out
    assert not Path("mine.yaml").exists()


def test_changes_as_json(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = HABITS["classes of blocks, SEC3"].write(fresh_folder)
    assert main(["lint", f"model={file.name}", "fix=True", "format=json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["out"], report["base"], report["unknown"]) == ("their-fixed.yaml", "yolov5.yaml", [])
    (change,) = report["changes"]
    assert change["reason"] == "row 4: SEC3 is C3+SE here"
    assert change["new"] == ["  - [-1, 6, C3+SE, [256]]"]
    Path("bad.yaml").write_text(Habit("yolov8.yaml", (after(9, "[-1, 1, DCNv2, []]"),)).write(fresh_folder).read_text())
    assert main(["lint", "model=bad.yaml", "fix=True", "format=json"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert (report["out"], report["changes"], report["unknown"][0]["row"]) == (None, [], 10)


def test_channels_after_a_convolution_of_attention_are_its_own(fresh_folder: Path) -> None:
    text = text_of("yolo11.yaml").replace("[-1, 1, Conv, [256, 3, 2]]", "[-1, 1, RFAConv, [48, 3, 2]]", 1)
    file = fresh_folder / "rfa-yolo11n.yaml"
    file.write_text(after(3, "[-1, 1, CBAM, [48]]")(text))
    assert main(["lint", f"model={file}", "fix=True", "out=fixed-yolo11n.yaml"]) == 0
    assert "- [-1, 1, CBAM, []]" in (fresh_folder / "fixed-yolo11n.yaml").read_text()
