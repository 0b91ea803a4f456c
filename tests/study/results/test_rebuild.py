"""`yolo-attn report` never replaces results by incomplete ones."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import jsonschema
import pytest

from tests.study.report.synthetic import make_study, stored
from yolo_attn.cli import main
from yolo_attn.errors import UserError
from yolo_attn.study.report import make_report
from yolo_attn.study.results import estimates
from yolo_attn.study.results.looks import read_looks
from yolo_attn.system.locks import FolderLock

FILES = ("results.json", "results.csv", "results.md", "results.tex", "report.html")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with its reports, which is copied."""
    folder = tmp_path_factory.mktemp("finished") / "s"
    options = {"latency": False, "photos": False, "maps": False}
    make_study(folder, seeds=2, arms=("yolo11n", "SE@neck"), images=6, **options)
    make_report(folder)
    return folder


@pytest.fixture
def folder(fresh_folder: Path, finished: Path) -> Path:
    """A finished study with its reports, in a working folder of its own."""
    return Path(shutil.copytree(finished, fresh_folder / "s"))


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def refuse(folder: Path, out: Path | None = None) -> str:
    before = contents(folder)
    with pytest.raises(UserError) as caught:
        make_report(folder, out)
    assert contents(folder) == before
    return str(caught.value)


def test_missing_runs_leave_the_results_unchanged(folder: Path) -> None:
    shutil.rmtree(folder / "runs")
    message = refuse(folder)
    first = stored(folder)["arms"][0]["runs"][0]["folder"]
    assert message.startswith(
        f"{folder / first / 'result.json'}: missing, though yolo11n, seed 0 was done (and 3 more)"
    )
    assert "\n" not in message and "restore" in message and "out=DIR" in message


def test_first_missing_run_is_named(folder: Path) -> None:
    run = stored(folder)["arms"][1]["runs"][1]
    (folder / run["folder"] / "result.json").unlink()
    assert "SE@neck, seed 1 was done;" in refuse(folder)


def test_remaining_runs_can_be_written_elsewhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stored(folder)["arms"][1]["runs"][1]
    shutil.rmtree(folder / run["folder"])
    before = contents(folder)
    assert main(["report", f"from={folder}", "out=left"]) == 0
    assert "Interim: 3 of 4 runs finished; verdicts follow when all are." in capsys.readouterr().out
    assert contents(folder) == before
    assert [run["status"] for run in stored(Path("left"))["arms"][1]["runs"]] == ["done", "waiting"]


def test_run_that_was_never_done_is_not_missing(folder: Path) -> None:
    data = stored(folder)
    data["arms"][1]["runs"][0] |= {"status": "failed", "error": "it broke", "folder": None}
    data["arms"][1]["runs"][1] |= {"status": "waiting"}
    shutil.rmtree(folder / data["arms"][1]["runs"][1]["folder"])
    (folder / "results.json").write_text(json.dumps(data))
    make_report(folder)
    assert [run["status"] for run in stored(folder)["arms"][1]["runs"]] == ["failed", "waiting"]


def test_report_can_be_written_elsewhere_during_a_compare(folder: Path) -> None:
    data = stored(folder)
    data["arms"][1]["runs"][1]["status"] = "running"
    (folder / data["arms"][1]["runs"][1]["folder"] / "result.json").unlink()
    (folder / "results.json").write_text(json.dumps(data))
    before = contents(folder)
    with FolderLock(folder):
        page = make_report(folder, Path("there"))
        with pytest.raises(UserError, match=rf"a compare \(process {os.getpid()}\) is running in it.*give out=DIR"):
            make_report(folder)
    assert contents(folder) == before
    assert "Interim results: 3 of 4 runs finished." in page.read_text(encoding="utf-8")
    assert [run["status"] for run in stored(Path("there"))["arms"][1]["runs"]] == ["done", "running"]


def test_a_report_elsewhere_only_reads_the_study(folder: Path) -> None:
    """A received study, for example: its cached numbers are not used and its folder is not written."""
    for draws in folder.glob("runs/*/draws.npz"):
        draws.write_bytes(b"of another user")
    estimates.forget()  # as in a new process
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    make_report(folder, Path("there"))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert (Path("there") / "results.csv").read_bytes() == (folder / "results.csv").read_bytes()


def test_schema_is_next_to_the_results(folder: Path) -> None:
    for place in (folder, make_report(folder, Path("there")).parent):
        data = json.loads((place / "results.json").read_text(encoding="utf-8"))
        schema = json.loads((place / data["$schema"]).read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(schema).validate(data)
        assert data["schema"] == schema["properties"]["schema"]["const"]


def test_results_name_the_dataset_and_no_folder_of_this_machine(folder: Path) -> None:
    data = stored(folder)
    data |= {"data": "/home/me/sets/fruit.yaml", "command": "yolo-attn compare data=/home/me/sets/fruit.yaml seeds=2"}
    (folder / "results.json").write_text(json.dumps(data))
    make_report(folder)
    for name in ("results.json", "results.md", "results.tex", "report.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "fruit" in text and "/home/me" not in text
    assert "<title>yolo11n and its variants on fruit</title>" in (folder / "report.html").read_text(encoding="utf-8")


def test_another_study_is_not_overwritten(folder: Path) -> None:
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    (other / "study.yaml").write_text("base: yolo11n.yaml")
    message = refuse(folder, other)
    assert "another study" in message and contents(other) == contents(folder)


def test_arm_without_runs_is_damaged(folder: Path) -> None:
    data = stored(folder)
    del data["arms"][1]["runs"]
    (folder / "results.json").write_text(json.dumps(data))
    assert "damaged" in refuse(folder)


@pytest.mark.slow
def test_a_report_in_the_folder_of_the_study_records_the_look(tmp_path: Path) -> None:
    make_study(tmp_path / "s", seeds=3, images=8, arms=("yolo11n", "SE@neck"), maps=False)
    make_report(tmp_path / "s", tmp_path / "elsewhere")
    assert not list(tmp_path.rglob("looks.json"))
    make_report(tmp_path / "s")
    (tmp_path / "s" / "results.json").unlink()
    assert [look.seeds for look in read_looks(tmp_path / "s")] == [3]


def test_looks_in_forged_results_are_not_computed(tmp_path: Path) -> None:
    """An error level after a billion seeds takes forever, and a baseline without runs has no look."""
    data = make_study(tmp_path, seeds=3, images=8, arms=("yolo11n", "SE@neck"))
    assert [look.seeds for look in read_looks(tmp_path)] == [3]
    baseline = {**data["arms"][0], "runs": []}
    (tmp_path / "results.json").write_text(json.dumps({**data, "arms": [baseline, data["arms"][1]]}))
    assert read_looks(tmp_path) == []
    for difference in data["arms"][1]["delta"].values():
        difference["seeds"] = 10**9
    (tmp_path / "results.json").write_text(json.dumps({**data, "max_seeds": 100}))
    assert read_looks(tmp_path) == []
