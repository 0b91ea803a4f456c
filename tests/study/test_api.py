"""`yolo_attn.compare`: a study by Python values, and its results as an object."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import yolo_attn
from tests.study.conftest import FAKE_WORKER
from yolo_attn import UserError
from yolo_attn.cli import main
from yolo_attn.study import engine
from yolo_attn.study.running.local import LocalRunner


@pytest.fixture
def runs_at_once(fake_study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study whose runs take no time."""
    runner = LocalRunner(1, command=(sys.executable, str(FAKE_WORKER)))
    monkeypatch.setattr(engine, "make_runner", lambda *_: runner)
    return fake_study


def test_compare_takes_python_values_and_returns_its_table(
    runs_at_once: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = yolo_attn.compare(
        base="yolo11n.yaml",
        variants=["A", "B"],
        seeds=range(2),
        epochs=3,
        threads=1,
        device="cpu",
        project=Path("studies"),
        name="s",
    )
    assert results.folder == Path("studies/s")
    assert (results.folder / "report.html").exists() or (results.folder / "results.csv").exists()
    assert str(results) == results.table()
    assert str(results) in capsys.readouterr().out
    rows = {row["name"]: row for row in results.rows()}
    assert list(rows) == ["yolo11n", "A", "B"]
    assert (rows["yolo11n"]["kind"], rows["yolo11n"]["difference"], rows["A"]["seeds"]) == ("baseline", None, 2)
    arm = results.to_dict()["arms"][2]
    assert rows["B"]["mAP50-95"] == arm["metrics"]["mAP50-95"]["mean"]
    assert rows["B"]["difference"] == arm["delta"]["mAP50-95"]["mean"]
    assert [rows["B"]["low"], rows["B"]["high"]] == arm["delta"]["mAP50-95"]["ci95"]  # two seeds: no verdict
    assert rows["B"]["verdict"] is None  # two seeds
    assert json.loads((results.folder / "results.json").read_text())["command"].startswith(
        "yolo_attn.compare(base='yolo11n.yaml', project='studies', name='s', variants=['A', 'B'], seeds=[0, 1], "
        "device='cpu', threads=1"
    )
    page = results._repr_html_()
    assert page.count("<tr>") == 4
    assert ">vs base</th>" in page
    assert repr(results) == "<Results of studies/s: yolo11n, A, B>"


def test_compare_and_the_command_are_one_study(runs_at_once: Path) -> None:
    yolo_attn.compare(base="yolo11n.yaml", variants=["A"], seeds=1, epochs=3, threads=1, device="cpu", name="s")
    done = [line for line in (runs_at_once / "journal").read_text().splitlines() if line.startswith("start")]
    assert (
        main(["compare", "base=yolo11n.yaml", "variants=A", "seeds=1", "epochs=3", "threads=1", "device=cpu", "name=s"])
        == 0
    )
    assert [line for line in (runs_at_once / "journal").read_text().splitlines() if line.startswith("start")] == done


def test_a_plan_is_returned_instead_of_results(runs_at_once: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"base": "yolo11n.yaml", "variants": ["A"], "epochs": 3, "threads": 1, "device": "cpu"}
    found = yolo_attn.compare(**arguments, seeds=3, plan=True, detect=0.5)
    assert str(found) == found.table()
    assert str(found) in capsys.readouterr().out
    assert [(row["seeds"], row["runs"]) for row in found.rows()][:2] == [(3, 6), (4, 8)]
    assert found.to_dict()["detect"] == 0.005
    words = ["base=yolo11n.yaml", "variants=A", "epochs=3", "threads=1", "device=cpu"]
    assert main(["compare", *words, "seeds=3", "plan=True", "detect=0.5"]) == 0
    assert str(found) in capsys.readouterr().out
    assert list(runs_at_once.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"variant": "SE@neck"}, "unknown key 'variant'; did you mean variants"),
        ({"seeds": 0}, "seeds=0: at least 1"),
        ({"margin": 0}, "margin=0: must be a number above 0"),
        ({"plan": "maybe"}, "plan=maybe: must be True or False"),
        ({"layers": ""}, "layers= is empty"),
        ({"layers": "nowhere.py"}, "layers=nowhere.py: no such file"),
        ({"study": Path("nowhere.yaml")}, "nowhere.yaml"),
    ],
)
def test_an_invalid_argument_is_a_user_error(fresh_folder: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        yolo_attn.compare(device="cpu", **arguments)
