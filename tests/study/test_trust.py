"""A received study: numbers are computed from its matches, and files outside its folder are not read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.study.report.synthetic import make_study, stored
from yolo_attn.cli import main
from yolo_attn.errors import UserError
from yolo_attn.security import seal
from yolo_attn.stats import npz
from yolo_attn.stats.matches import _VERSION, Matches
from yolo_attn.study.report import make_report
from yolo_attn.study.results import estimates, metrics
from yolo_attn.system import patterns

ARMS = ("yolo11n", "SE@neck")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("received") / "s"
    make_study(folder, seeds=3, arms=ARMS, images=6, latency=False, photos=False, maps=False)
    make_report(folder)
    return folder


@pytest.fixture
def folder(template: Path, fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A finished study, with empty caches."""
    shutil.copytree(template, fresh_folder / "s")
    # The page takes seconds and is not tested here.
    monkeypatch.setattr("yolo_attn.study.report.page.as_html", lambda *_, **__: "page")
    forget()
    yield fresh_folder / "s"
    forget()


def forget() -> None:
    estimates.forget()
    metrics._log_unusable_cache.cache_clear()


def results(folder: Path) -> Any:
    forget()
    make_report(folder)
    return stored(folder)


def first_run(folder: Path, arm: int = 1) -> Path:
    return folder / str(stored(folder)["arms"][arm]["runs"][0]["folder"])


def change(folder: Path, edit: Callable[[Any], object]) -> None:
    """Edit results.json."""
    data = json.loads((folder / "results.json").read_text())
    edit(data)
    (folder / "results.json").write_text(json.dumps(data))


def refuse(folder: Path, **options: Any) -> str:
    before = sorted((path, path.read_bytes()) for path in folder.glob("*.*"))
    with pytest.raises(UserError) as caught:
        make_report(folder, **options)
    assert sorted((path, path.read_bytes()) for path in folder.glob("*.*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the cache of the bootstrap -------------------------------------------------------------------------------------


def forge(folder: Path, edit: Callable[[dict[str, Any], dict[str, Any]], object]) -> None:
    """Edit the cached numbers of every run of the variant."""
    for run in stored(folder)["arms"][1]["runs"]:
        path = folder / run["folder"] / "draws.npz"
        header, arrays = npz.load(path, metrics._VERSION)
        edit(header, arrays)
        npz.save(path, header, arrays)


def add(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    arrays["values"] = arrays["values"] + 0.1
    arrays["draws"] = arrays["draws"] + np.float32(0.1)


def add_and_sign(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    add(header, arrays)
    header.pop("seal")
    header["seal"] = seal.seal(*metrics._sealed(header, arrays))


def narrow(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    arrays["draws"] = np.broadcast_to(arrays["values"], arrays["draws"].shape).astype(np.float32)


def rename(header: dict[str, Any], arrays: dict[str, Any]) -> None:
    header["dataset"], header["images"] = "another", 7


@pytest.mark.parametrize("edit", [add, narrow, rename], ids=lambda edit: edit.__name__)
def test_forged_cache_is_ignored(folder: Path, edit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.utils import LOGGER

    honest = results(folder)
    sound = (first_run(folder) / "draws.npz").read_bytes()
    forge(folder, edit)
    lines: list[str] = []
    monkeypatch.setattr(LOGGER, "info", lines.append)
    assert results(folder) == honest
    assert (first_run(folder) / "draws.npz").read_bytes() == sound
    assert lines == [
        f"yolo-attn: {folder / 'runs'}: a draws.npz does not belong to its matches.npz or was not written by this user "
        "on this machine; its numbers are computed again from the matches"
    ]


def test_cache_sealed_by_another_user_is_ignored(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = results(folder)
    (tmp_path / "other_value").mkdir()
    with monkeypatch.context() as other:
        other.setattr("ultralytics.utils.USER_CONFIG_DIR", tmp_path / "other_value")
        forge(folder, add_and_sign)
    assert results(folder) == honest


def test_cache_of_other_matches_is_ignored(folder: Path) -> None:
    honest = results(folder)
    mine, base = first_run(folder) / "draws.npz", first_run(folder, 0) / "draws.npz"
    shutil.copy(base, mine)
    assert results(folder) == honest


def test_valid_cache_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = results(folder)
    monkeypatch.setattr(metrics, "replicate_metrics", lambda *_: pytest.fail("computed again"))
    assert results(folder) == honest


# --- results.json ---------------------------------------------------------------------------------------------------


def test_stored_numbers_are_ignored(folder: Path) -> None:
    honest = results(folder)

    def lie(data: Any) -> None:
        for arm in data["arms"]:
            arm["metrics"]["mAP50-95"] = {"mean": 0.99, "sd": 0.0, "ci95": [0.99, 0.99]}
            arm["verdict"], arm["delta"], arm["per_class"], arm["params"] = "better", {"mAP50-95": {"mean": 1}}, {}, 1
            for run in arm["runs"]:
                run["metrics"], run["seconds"] = {"mAP50-95": 0.99}, 1.0
        data |= {"images": 10**6, "instances": 0, "minimum_detectable": {"mAP50-95": 1e-9}, "notes": ["all is well"]}

    change(folder, lie)
    assert results(folder) == honest


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data["arms"].reverse(), "the first arm, and no other, has to be the baseline"),
        (lambda data: data["arms"][1].update(name="yolo11n"), "missing or repeated"),
        (lambda data: data["arms"][1].update(name=7), "names of arms"),
        (lambda data: data["arms"][1]["runs"][0].update(seed=1), "SE@neck: two runs have the same seed"),
        (lambda data: data["arms"][1]["runs"][0].update(seed="0"), "has no seed"),
        (lambda data: data["arms"][1]["runs"][0].update(seed=10**400), "has no seed"),
        (lambda data: data["arms"][1]["runs"][0].update(status="fine"), "status"),
        (lambda data: data["arms"][1]["runs"][0].update(folder=["x"]), "folder of a run is not a string"),
        (lambda data: data["arms"][1]["runs"].append(7), "it has no runs"),
        (lambda data: data["arms"][1].update(transferred=["many", 3]), "transferred"),
        (lambda data: data.update(recipe="fast"), "recipe"),
        (lambda data: data.update(arms={"a": 1}), "it has no arms"),
    ],
)
def test_invalid_results_are_reported_in_one_line(folder: Path, edit: Any, message: str) -> None:
    change(folder, edit)
    error = refuse(folder)
    assert message in error and error.startswith(f"{folder / 'results.json'}: damaged")


def test_run_cannot_be_listed_twice(folder: Path) -> None:
    def repeat(data: Any) -> None:
        runs = data["arms"][1]["runs"]
        runs[1]["folder"] = runs[0]["folder"]

    change(folder, repeat)
    assert "two runs have the same folder" in refuse(folder)
    change(folder, lambda data: data["arms"][1]["runs"].pop(1))
    change(folder, lambda data: data["arms"][1]["runs"][0].update(seed=9))
    assert "has seed 0, but results.json lists it with seed 9" in refuse(folder)


@pytest.mark.parametrize("text", ["[" * 10**5, "{", "", "[]", '{"schema": 1e999}', "\xff"])
def test_unreadable_results_are_reported_in_one_line(folder: Path, text: str) -> None:
    (folder / "results.json").write_text(text, encoding="latin-1")
    refuse(folder)


# --- results of runs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        *("seconds", "memory_mib", "metrics_best"),
        *(
            pytest.param(key, marks=pytest.mark.slow)
            for key in ("epochs", "params", "gflops", "began", "wall_seconds", "error")
        ),
    ],
)
def test_invalid_values_of_a_run_are_ignored(folder: Path, key: str) -> None:
    path, honest = first_run(folder) / "result.json", stored(folder)
    for value in ("<b>", [1], {"a": {}}, -1, 10**400, 1e308, True, None):
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
        found = results(folder)
        assert [arm["delta"] for arm in found["arms"]] == [arm["delta"] for arm in honest["arms"]]


def test_result_of_another_run_is_reported(folder: Path) -> None:
    run = first_run(folder)
    (run / "run.json").write_text(json.dumps({"key": "another"}))
    assert f"{run / 'result.json'}: not the result of the run that run.json" in refuse(folder)


@pytest.mark.parametrize("content", [{"arms": {"SE@neck": 3}}, {"arms": {"SE@neck": {"run": []}}}, {"arms": []}, []])
def test_invalid_latencies_are_ignored(folder: Path, content: Any) -> None:
    (folder / "latency.json").write_text(json.dumps(content))
    assert [arm["latency_ms"] for arm in results(folder)["arms"]] == [None, None]


# --- paths outside the study ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["absolute", "dots", "link", "file"])
def test_files_outside_the_study_are_not_accessed(folder: Path, how: str) -> None:
    run, outside = first_run(folder), folder.parent / "outside"
    shutil.copytree(run, outside)
    (outside / "draws.npz").unlink()
    before = sorted(path.name for path in outside.iterdir())
    named = {"absolute": str(outside), "dots": "../outside", "link": "runs/link", "file": str(run.relative_to(folder))}
    if how == "link":
        (folder / "runs" / "link").symlink_to(outside)
    if how == "file":
        (run / "matches.npz").unlink()
        (run / "matches.npz").symlink_to(outside / "matches.npz")
    change(folder, lambda data: data["arms"][1]["runs"][0].update(folder=named[how]))
    assert f"outside the study's folder {folder}" in refuse(folder)
    assert sorted(path.name for path in outside.iterdir()) == before


def test_linked_lock_does_not_truncate_its_target(folder: Path) -> None:
    victim = folder.parent / "precious"
    victim.write_text("content")
    (folder / ".lock").unlink(missing_ok=True)
    (folder / ".lock").symlink_to(victim)
    with pytest.raises(UserError, match=r"\.lock"):
        make_report(folder)
    assert victim.read_text() == "content"


def test_oversized_matches_are_reported_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MOST_BYTES", 2**20)
    run = first_run(folder)
    header, arrays = npz.load(run / "matches.npz", _VERSION)
    npz.save(run / "matches.npz", header, {**arrays, "more": np.zeros(2**20, np.uint8)})
    assert "it unpacks to" in refuse(folder)


def test_nan_in_the_matches_is_reported_in_one_line(folder: Path) -> None:
    run = first_run(folder)
    Matches.load(run / "matches.npz")
    header, arrays = npz.load(run / "matches.npz", _VERSION)
    npz.save(run / "matches.npz", header, {**arrays, "det_score": np.full_like(arrays["det_score"], np.nan)})
    assert f"{run / 'matches.npz'}: damaged" in refuse(folder)


def test_a_pattern_of_groups_that_takes_too_long_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "SECONDS", 0.3)
    run = first_run(folder)
    header, arrays = npz.load(run / "matches.npz", _VERSION)
    npz.save(run / "matches.npz", {**header, "images": [f"{image}{'a' * 60}!.jpg" for image in range(6)]}, arrays)
    change(folder, lambda data: data.update(groups="(a+)+$"))
    assert "groups=(a+)+$: matching takes longer than 0.3 seconds for 6 file names" in refuse(folder)


def test_command_reports_the_problem_with_status_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder, lambda data: data["arms"][1]["runs"][0].update(folder="/etc"))
    assert main(["report", f"from={folder}"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and f"{os.sep}etc: outside" in message
