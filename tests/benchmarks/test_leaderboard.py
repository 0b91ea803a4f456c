"""The leaderboard: its parts with fake runs, its record, outdated rows, what is written from it, and its order."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.board import command, part, record
from benchmarks.board.command import Options, measure
from benchmarks.board.page import as_html
from benchmarks.board.placements import WIDELY_USED, code_of, list_placements
from benchmarks.board.record import as_text, store
from benchmarks.board.table import DOCUMENT, with_tables
from benchmarks.board.text import board_facts
from tests.study.conftest import FAKE_WORKER, fake_study, in_background, read_journal, wait_for  # noqa: F401 (fixtures)
from yolo_attn import cards, leaderboard
from yolo_attn.errors import UserError
from yolo_attn.leaderboard import MARGIN, Board, Row, Setup, layer_scores, read_boards, stored_boards
from yolo_attn.registry import get_layer, list_layers
from yolo_attn.selection.candidates import Candidate, named_layers
from yolo_attn.selection.ordering import leaderboard_order
from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.stats.moderation import LEAST
from yolo_attn.stats.spread import measure_spread
from yolo_attn.study.results.records import DEFAULT_MARGIN
from yolo_attn.study.running.local import LocalRunner

NAMES = ["hits9.a", "hits16.b", "hits6.c"]


class FakeBoard:
    """Measures fake placements, whose names say what they detect.

    Args:
        home: The working folder.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.stream, self.names = home, StringIO(), NAMES
        self.record = home / "leaderboard.json"

    def placements(self, base: str) -> list[Candidate]:
        return [Candidate(name, name, (name,), ("neck",)) for name in self.names]

    def measure(self, **given: Any) -> None:
        keys = {"epochs": 3, "threads": 1, "device": "cpu", "part": 2, "record": self.record, "pretrain": 0, **given}
        measure(Options.read(keys), LocalRunner(2, command=(sys.executable, str(FAKE_WORKER))), self.stream)

    def board(self) -> Board:
        return stored_boards(self.record)["digits"]

    def starts(self) -> list[str]:
        """Return the arm of every run that was started."""
        return [arm for event, arm, *_ in read_journal(self.home) if event == "start"]


@pytest.fixture
def fake(fake_study: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBoard:  # noqa: F811
    found = FakeBoard(fake_study)
    monkeypatch.setattr(command, "list_placements", found.placements)
    for module in (part, record):
        monkeypatch.setattr(module, "code_of", lambda layer: f"code of {layer}")
    return found


def row(layer: str, mean: float, *, site: str = "neck", error: float = 0.001, **changes: Any) -> Row:
    about = {"seeds": 3, "training_df": 2, "image_df": 200.0, "share": 0.4, "params": 1000, "latency": 1.05}
    about |= {"variant": f"{layer}[init=identity]@{site}", "code": "c", "command": f"yolo-attn compare of {layer}"}
    return Row(layer=layer, site=site, mean=mean, error=error, **{**about, **changes})


def board_of(*rows: Row, data: str = "digits", **changes: Any) -> Board:
    setup = {"images": 500, "base": "yolo11n.yaml", "recipe": {"epochs": 5}, "seeds": (0, 1, 2), **changes}
    return Board(Setup(data, f"digest of {data}", **setup), rows)


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> dict[str, Board]:
    """A record with two datasets, which the package is given."""
    found = {
        "digits": board_of(
            row("SE", 0.02),
            row("CBAM", 0.0, error=0.0003),
            row("ECA", -0.02),
            row("CA", 0.001),
            row("SE", 0.004, site="backbone.P5"),
            Row("GAM", "neck", "GAM[init=identity]@neck", "c", problem="seed 0 failed: it broke"),
        ),
        "bccd": board_of(row("SE", 0.001), row("CBAM", 0.03), row("ECA", -0.004), data="bccd"),
    }
    for module in (cards, leaderboard):
        monkeypatch.setattr(module, "read_boards", lambda: found)
    return found


def test_the_noise_of_many_rows_is_that_of_all() -> None:
    """A row with three seeds alone has an interval many times as wide, or far too narrow by chance."""
    values = np.random.default_rng(0).normal(0, 0.002, (60, 3))
    rows = [
        row(f"L{n}", float(one.mean()), error=float(one.std(ddof=1)) / 3**0.5, share=1.0, values=one.tolist())
        for n, one in enumerate(values)
    ]
    many, few = board_of(*rows), board_of(*rows[: LEAST - 1])
    widths = np.array([np.diff(many.interval(one) or (0, 0))[0] for one in rows])
    alone = np.array([np.diff(one.interval(many.level) or (0, 0))[0] for one in rows])
    assert widths.max() < 4 * widths.min()
    assert alone.max() > 10 * alone.min()
    assert np.median(widths) < 0.4 * np.median(alone)
    assert few.moderated is None and few.interval(rows[0]) == rows[0].interval(few.level)
    failed = Row("GAM", "neck", "GAM[init=identity]@neck", "c", problem="seed 0 failed: it broke")
    broken = row("SK", -0.3, values=[-0.3, -0.31, -0.29], learnt=False)
    other = board_of(*rows, failed, broken)
    assert other.moderated is not None and many.moderated is not None
    assert other.moderated.common == many.moderated.common
    assert other.interval(failed) is None
    assert other.interval(broken) == broken.interval(other.level)


def test_the_spread_is_that_of_the_main_site() -> None:
    values = np.random.default_rng(0).normal(0, 0.001, (20, 3))
    rows = [row(f"L{n}", float(one.mean()), values=one.tolist()) for n, one in enumerate(values)]
    far = row("L0", 0.1, site="backbone.P5", values=[0.1, 0.1, 0.1])
    assert board_of(*rows, far).spread == board_of(*rows).spread == measure_spread(values)
    assert board_of(*rows[: LEAST - 1]).spread is None
    about = dict(board_facts(board_of(*rows)))
    assert (
        "20 layers at the neck" in about["Differences between layers"]
        and "(p 0." in about["Differences between layers"]
    )
    assert "points of standard deviation of a run" in about["Noise"]
    same = dict(board_facts(board_of(*(row(f"L{n}", 0.0, values=[0.0, 0.0, 0.0]) for n in range(20)))))
    assert same["Differences between layers"].endswith("alone") and "Noise" not in same


# --- measuring ------------------------------------------------------------------------------------------------------


def test_parts_are_measured_and_stored(fake: FakeBoard) -> None:
    fake.measure()
    board = fake.board()
    assert [one.layer for one in board.rows] == NAMES
    best = board.by_difference[0]
    assert best.layer == "hits16.b"
    assert board.verdict(best) == "better"
    assert best.seeds == 3
    assert best.params == 0
    assert best.seconds is not None
    assert best.command.startswith("yolo-attn compare")
    assert "variants=hits16.b" in best.command
    assert "project" not in best.command
    assert (board.setup.data, board.setup.images, board.setup.seeds) == ("digits", 40, [0, 1, 2])


@pytest.mark.slow
def test_the_base_is_trained_once_for_all_parts(fake: FakeBoard) -> None:
    fake.measure(pretrain=2)
    assert fake.starts().count("yolo11n-pretraining") == 1
    assert fake.starts().count("yolo11n") == 3
    assert len(fake.starts()) == 1 + 3 + 3 * len(NAMES)


@pytest.mark.slow
def test_a_row_is_what_compare_says(fake: FakeBoard) -> None:
    """The stored estimate has the interval of the study's results at the same level."""
    fake.measure(part=3)
    (path,) = (fake.home / "runs" / "leaderboard").glob("*/results.json")
    arms = {arm["name"]: arm for arm in json.loads(path.read_text())["arms"]}
    board = fake.board()
    for one in board.rows:
        found = arms[one.layer]["delta"]["mAP50-95"]
        assert one.mean == pytest.approx(found["mean"])
        assert board.level == pytest.approx(found["level"])
        assert board.interval(one) == pytest.approx(tuple(found["interval"]))
        assert one.sd_training == pytest.approx(found["sd_training"])
        assert one.se_images == pytest.approx(found["se_images"])


def test_what_is_measured_is_not_measured_again(fake: FakeBoard) -> None:
    fake.names = NAMES[:1]
    fake.measure()
    starts = fake.starts()
    fake.measure()
    assert fake.starts() == starts
    fake.names = NAMES[:2]
    fake.measure()
    assert [one.layer for one in fake.board().rows] == NAMES[:2]
    assert set(fake.starts()[len(starts) :]) == {"hits16.b"}


@pytest.mark.slow
def test_without_the_folders_only_the_missing_rows_are_measured(fake: FakeBoard) -> None:
    import shutil

    fake.names = NAMES[:1]
    fake.measure()
    shutil.rmtree(fake.home / "runs")
    (fake.home / "journal").unlink()
    fake.names = NAMES[:2]
    fake.measure()
    assert set(fake.starts()) == {"yolo11n", "hits16.b"}


@pytest.mark.slow
def test_an_interrupted_part_is_resumed(
    fake: FakeBoard,
    wait_for: Callable[[Callable[[], bool]], None],  # noqa: F811
) -> None:
    fake.names = [*NAMES[:2], "sleepy.c"]  # of which the last one's runs take a second each
    process = in_background(fake.measure, part=1)
    wait_for(lambda: "sleepy.c" in fake.starts())
    time.sleep(0.2)  # Python ignores what is raised right after a fork
    os.kill(process.pid or 0, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    stored = stored_boards(fake.record)["digits"].rows
    assert len(stored) == 2
    finished = set(fake.home.glob("runs/leaderboard/*/runs/*/result.json"))
    fake.measure(part=1)
    assert finished <= set(fake.home.glob("runs/leaderboard/*/runs/*/result.json"))
    assert [one.layer for one in fake.board().rows] == fake.names
    assert fake.board().rows[: len(stored)] == stored


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def test_the_time_ends_a_part_and_the_command(fake: FakeBoard, handler: Any) -> None:
    fake.names = ["hang.a"]
    before = signal.signal(signal.SIGINT, handler)  # a shell's background processes ignore Ctrl-C
    try:
        fake.measure(hours=1.5 / 3600)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not fake.record.exists()
    assert "the time is over; the same command resumes this part" in fake.stream.getvalue()


@pytest.mark.slow
def test_a_part_shrinks_to_the_remaining_time(fake: FakeBoard) -> None:
    fake.names = NAMES[:1]
    fake.measure()
    slow = {"digits": Board(fake.board().setup, tuple(replace(one, seconds=60.0) for one in fake.board().rows))}
    fake.record.write_text(as_text(slow))
    fake.names = NAMES
    fake.measure(hours=0.05)  # 180 s: 5 runs of 69 s, two at once, which is the base alone
    assert "2 placements left: no part fits the remaining time" in fake.stream.getvalue()
    fake.measure(hours=0.07)  # 252 s: 7 runs, the base and one placement
    assert "part: hits16.b\n" in fake.stream.getvalue()


def test_a_layer_that_fails_has_a_row_with_the_reason(fake: FakeBoard) -> None:
    fake.names = ["fail.x", NAMES[0]]
    fake.measure()
    failed = fake.board().failed
    assert [(one.layer, one.mean) for one in failed] == [("fail.x", None)]
    assert "it broke" in failed[0].problem
    assert fake.board().comparisons == 1


@pytest.mark.slow
def test_rows_of_another_setup_are_not_mixed(fake: FakeBoard) -> None:
    fake.names = NAMES[:1]
    fake.measure()
    before = fake.record.read_text()
    with pytest.raises(UserError, match=r"digits: 1 row outdated: epochs 3, now 4; give again=True") as error:
        fake.measure(epochs=4)
    assert "\n" not in str(error.value)
    assert fake.record.read_text() == before
    fake.measure(epochs=4, again=True)
    assert fake.board().setup.recipe["epochs"] == 4
    assert len(fake.board().rows) == 1
    before = len(fake.starts())
    fake.measure(epochs=4, again=True)
    assert fake.starts()[before:] == [NAMES[0]] * 3


def test_a_row_of_a_layer_that_changed_is_measured_again(fake: FakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.names = NAMES[:2]
    fake.measure()
    for module in (part, record):
        monkeypatch.setattr(module, "code_of", lambda layer: "new" if layer == NAMES[1] else f"code of {layer}")
    before = len(fake.starts())
    fake.measure()
    assert "digits: 1 row outdated, the code of the layer changed: hits16.b" in fake.stream.getvalue()
    assert [one.code for one in fake.board().rows] == ["code of hits9.a", "new"]
    assert fake.starts()[before:] == [NAMES[1]] * 3  # with its new code, but the base not again


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"variants": "SE@neck"}, "variants=SE@neck: not a key of the leaderboard"),
        ({"only": "SEE"}, "SEE"),
        ({"only": "SE"}, "only=SE: no layer that the leaderboard measures"),
        ({"part": 0}, "part=0: must be an integer"),
        ({"hours": -1}, "hours=-1: must be a number above 0"),
    ],
)
def test_invalid_arguments_are_one_line(given: dict[str, Any], message: str, fake: FakeBoard) -> None:
    with pytest.raises(UserError, match=message) as error:
        fake.measure(**given)
    assert "\n" not in str(error.value)


def test_a_part_has_a_folder_for_each_data_and_recipe(fake: FakeBoard) -> None:
    def folder(names: list[str], **given: Any) -> Path:
        placements = [Candidate(name, name, (name,), ("neck",)) for name in names]
        return part.Part({"epochs": 3, "project": "runs", **given}, placements, fake.stream).study.folder.path

    first = folder(NAMES)
    assert folder(NAMES, workers=2) == first
    others = [folder(NAMES[:2]), folder(NAMES, data="coco128"), folder(NAMES, epochs=4), folder(NAMES, seeds=2)]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (UserError("it failed"), 2), (None, 0)])
def test_the_documents_are_written_however_it_ends(
    error: Any, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []

    def end(options: Options) -> None:
        if error:
            raise error

    monkeypatch.setattr(command, "measure", end)
    monkeypatch.setattr(command, "write_documents", lambda record, **how: written.append((record, how["docs"])))
    assert command.main(["--only", "SE,CBAM", "hours=1"]) == status
    assert command.main(["record=trial.json"]) == status
    assert written == [(leaderboard.RECORD, True), (Path("trial.json"), False)]
    assert len(capsys.readouterr().err.strip().splitlines()) == 2 * bool(error)


def test_placements_are_all_layers_at_the_neck_and_some_elsewhere() -> None:
    found = list_placements("yolo11n.yaml")
    sites = {site: [one.layers[0] for one in found if one.sites == (site,)] for one in found for site in one.sites}
    assert list(sites) == ["neck", "backbone.P5", "inside:C3k2"]
    assert set(sites["neck"]) == {
        spec.name
        for spec in list_layers()
        if spec.input_count == "1" and "init" in spec.options and not spec.replaces_conv
    }
    assert sites["backbone.P5"] == sites["inside:C3k2"] == list(WIDELY_USED)
    assert found[0].sites == ("neck",)
    assert all("init=identity" in one.name for one in found)


def test_the_code_of_a_layer_is_that_without_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code(text: str) -> str:
        (tmp_path / "layer.py").write_text(text)
        monkeypatch.setattr("inspect.getfile", lambda cls: str(tmp_path / "layer.py"))
        return code_of("SE")

    first = code('"""A layer."""\n\nx = "text"\n\n\ndef f():\n    """Do."""\n    return x  # a comment\n')
    assert code('"""Another."""\nx = "text"\n# why\ndef f():\n    return x\n') == first
    assert code('x = "other"\ndef f():\n    return x\n') != first


# --- the record -----------------------------------------------------------------------------------------------------


def test_intervals_hold_over_all_rows() -> None:
    board = board_of(row("SE", 0.01), row("CBAM", 0.0))
    assert board.level == 1 - 0.05 / 2
    more = board.with_rows([row("ECA", 0.0), row("CA", 0.0)])
    assert more.level == 1 - 0.05 / 4
    one = board.rows[0]
    low, high = board.interval(one) or (0, 0)
    wider = more.interval(one) or (0, 0)
    assert wider[0] < low < 0.01 < high < wider[1]


def test_a_verdict_needs_seeds_images_and_learning() -> None:
    sure = row("SE", 0.1)
    assert board_of(sure).verdict(sure) == "better"
    few = replace(sure, seeds=MIN_SEEDS - 1)
    assert board_of(few).verdict(few) is None
    assert board_of(sure, images=10).verdict(sure) is None
    unlearned = replace(sure, learnt=False)
    assert board_of(unlearned).verdict(unlearned) is None
    one_seed = Row("SE", "neck", "SE@neck", "c", mean=0.1, seeds=1)
    assert board_of(one_seed).interval(one_seed) is None


def test_the_margin_is_that_of_compare() -> None:
    assert MARGIN == DEFAULT_MARGIN


def test_a_record_is_read_as_it_was_written(tmp_path: Path, boards: dict[str, Board]) -> None:
    path = tmp_path / "record.json"
    for board in boards.values():
        store(path, board.setup, board.rows)
    found = stored_boards(path)
    assert {name: board.rows for name, board in found.items()} == {name: board.rows for name, board in boards.items()}
    assert not any(found[name].setup.changes(board.setup) for name, board in boards.items())
    assert all(len(line) < 2000 for line in path.read_text().splitlines())


def test_a_row_replaces_the_one_of_its_layer_and_site(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    board = board_of(row("SE", 0.1), row("SE", 0.2, site="backbone.P5"))
    store(path, board.setup, board.rows)
    store(path, board.setup, [row("SE", 0.3)])
    assert [one.mean for one in stored_boards(path)["digits"].rows] == [0.3, 0.2]


def test_no_temporary_file_and_no_half_record_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    board = board_of(row("SE", 0.1))
    store(path, board.setup, board.rows)
    before = path.read_text()

    def interrupt(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store(path, board.setup, [row("CBAM", 0.1)])
    assert path.read_text() == before


# --- what is written from it ----------------------------------------------------------------------------------------


def test_the_documents_are_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == with_tables(text, read_boards()), "run: python benchmarks/leaderboard.py --docs"


def test_an_empty_record_says_so() -> None:
    text = with_tables("a\n<!-- leaderboard -->\nold\n<!-- end of leaderboard -->\nb\n", {})
    assert "Nothing has been measured yet." in text
    assert "old" not in text
    assert "Nothing has been measured yet." in as_html({})


def test_the_tables(boards: dict[str, Board]) -> None:
    text = with_tables("<!-- leaderboard -->\n<!-- end of leaderboard -->", boards)
    digits, bccd = text.split("## digits")[1].split("## bccd")
    rows = re.findall(
        r"^\| (\w+) \| (\S+) \| ([+-]\S+) \| \[(\S+), (\S+)\] \| ([\w ]+) \| 1.05 \| \+1,000 \|", digits, re.M
    )
    assert [(name, site) for name, site, *_ in rows] == [
        ("SE", "neck"),
        ("SE", "backbone.P5"),
        ("CA", "neck"),
        ("CBAM", "neck"),
        ("ECA", "neck"),
    ]
    assert [verdict for *_, verdict in rows] == ["better", "inconclusive", "inconclusive", "equivalent", "worse"]
    assert "99% each, 95% for all 5 together" in digits
    assert "- GAM@neck: seed 0 failed: it broke" in digits
    assert "yolo-attn compare of SE" in digits
    assert len(re.findall(r"^\| \w+ \| neck", bccd, re.M)) == 3


def test_the_page_needs_no_other_file(boards: dict[str, Board]) -> None:
    page = as_html(boards)
    assert page.count('class="sortable"') == 2
    assert 'data-value="0.02"' in page
    assert "▲" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "GAM@neck: seed 0 failed: it broke" in page


@pytest.mark.parametrize("width", [80, 100, 123, 160, 200])
def test_the_list_of_layers_has_the_differences(width: int, boards: dict[str, Board]) -> None:
    text = cards.listing(list_layers(), width)
    assert max(map(len, text.splitlines())) <= width
    joined = " ".join(text.split())
    assert "+2.00 >" in joined
    assert "? inconclusive" in joined
    assert ("[digits +2.00 >, bccd +0.10 ?]" in joined) == (width < 120)


def test_the_card_has_all_sites(boards: dict[str, Board]) -> None:
    text = " ".join(cards.card(get_layer("SE"), 80).split())
    assert "compared digits neck +2.00 [" in text
    assert "] better; digits backbone.P5 +0.40 [" in text
    assert "] inconclusive; bccd neck +0.10 [" in text
    assert "bccd" not in cards.card(get_layer("CA"), 80).partition("rows to paste")[0]
    entry = cards.as_dict(get_layer("SE"))["leaderboard"]["digits"]
    assert [(one["site"], one["verdict"]) for one in entry] == [("neck", "better"), ("backbone.P5", "inconclusive")]


def test_the_overview_has_a_column_for_each_dataset(boards: dict[str, Board]) -> None:
    lines = cards.as_markdown().splitlines()
    assert "| digits | bccd |" in next(line for line in lines if line.startswith("| layer"))
    assert next(line for line in lines if line.startswith("| **SE**")).endswith("| +2.00 better | +0.10 inconclusive |")
    assert next(line for line in lines if line.startswith("| **GAM**")).endswith("| - | - |")


def test_without_a_leaderboard_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "read_boards", dict)
    assert "?" not in cards.listing([get_layer("SE")], 80)
    assert "compared" not in cards.card(get_layer("SE"))
    assert "leaderboard" not in cards.as_markdown()


# --- the order of a search ------------------------------------------------------------------------------------------


def candidates(*labels: str) -> list[Candidate]:
    parts = [label.split("@") for label in labels]
    return [Candidate(label, label, (layer,), (site,)) for label, (layer, site) in zip(labels, parts, strict=True)]


def ordered(*labels: str, **how: Any) -> list[str]:
    return [one.name for one in leaderboard_order(candidates(*labels), **how)]


def test_the_score_is_the_mean_of_standardized_differences(boards: dict[str, Board]) -> None:
    scores = layer_scores(boards)
    assert list(scores) == ["SE", "CBAM", "ECA", "CA"]
    assert scores["CBAM"] > scores["SE"] > scores["CA"] > scores["ECA"]
    scaled = [replace(one, mean=10 * (one.mean or 0) + 0.5) for one in boards["bccd"].rows]
    again = layer_scores({**boards, "bccd": Board(boards["bccd"].setup, tuple(scaled))})
    assert again == pytest.approx(scores)
    assert layer_scores({"digits": board_of(row("SE", 0.1), row("CBAM", 0.2))}) == {}
    uncertain = boards["digits"].with_rows([row("NAM", 9.0, learnt=False), row("MHSA", 9.0, error=None, seeds=1)])
    assert layer_scores({**boards, "digits": uncertain}) == pytest.approx(scores)


def test_a_layer_that_fails_does_not_hide_the_order_of_the_others() -> None:
    rows = [row(name, mean) for name, mean in (("SE", 0.3), ("CBAM", 0.1), ("ECA", 0.2), ("CA", -0.1), ("NAM", 0.0))]
    before = layer_scores({"digits": board_of(*rows)})
    after = layer_scores({"digits": board_of(*rows[:-1], row("NAM", -0.9))})
    assert after["SE"] - after["CBAM"] == pytest.approx(before["SE"] - before["CBAM"], rel=0.5)
    assert after["NAM"] < 3 * min(score for layer, score in after.items() if layer != "NAM")


def test_candidates_follow_the_leaderboard(boards: dict[str, Board]) -> None:
    labels = ("ECA@neck", "ECA@backbone.P5", "GAM@neck", "SE@neck", "SE@backbone.P5", "CBAM@neck", "NAM@neck")
    assert ordered(*labels) == [
        "CBAM@neck",
        "SE@neck",
        "SE@backbone.P5",
        "GAM@neck",
        "NAM@neck",
        "ECA@neck",
        "ECA@backbone.P5",
    ]


def test_named_layers_come_first_in_their_order(boards: dict[str, Board]) -> None:
    named = named_layers(["eca[kernel_size=5]", "GAM", "channel", "*Conv"])
    assert named == {"ECA", "GAM"}
    assert ordered("SE@neck", "ECA@neck", "CBAM@neck", "GAM@neck", named=named) == [
        "ECA@neck",
        "GAM@neck",
        "CBAM@neck",
        "SE@neck",
    ]


def test_an_empty_leaderboard_keeps_the_order() -> None:
    assert ordered("GAM@neck", "SE@neck", "ECA@neck", scores={}) == ["GAM@neck", "SE@neck", "ECA@neck"]
