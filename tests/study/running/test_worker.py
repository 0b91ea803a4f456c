from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.study.conftest import make_job
from yolo_attn.errors import UserError
from yolo_attn.study import job as job_module
from yolo_attn.study.job import Job, Measurements
from yolo_attn.study.running import worker
from yolo_attn.system.files import file_hash
from yolo_attn.system.locks import FolderLock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text(make_job().to_text())
    return tmp_path


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def test_a_result_is_written_with_its_key(folder: Path) -> None:
    assert worker.main([str(folder)], lambda *_: Measurements(metrics={"mAP50-95": float("nan")})) == 0
    written = result(folder)
    assert (written["status"], written["key"], written["seed"], written["error"]) == ("done", "k", 3, None)
    assert written["metrics"]["mAP50-95"] is None


def test_a_run_with_a_result_is_not_run_again(folder: Path) -> None:
    (folder / "result.json").write_text("{}")
    assert worker.main([str(folder)], lambda *_: pytest.fail("ran again")) == 0


def test_remains_of_an_earlier_attempt_are_removed(folder: Path) -> None:
    for name in ("train", "val-last", "val-best"):
        (folder / name / "weights").mkdir(parents=True)

    def perform(folder: Path, job: Job) -> Measurements:
        assert [path.name for path in folder.iterdir() if path.is_dir()] == []
        return Measurements()

    assert worker.main([str(folder)], perform) == 0


@pytest.mark.parametrize("trust", [True, False])
def test_files_of_a_run_execute_no_code_unless_the_command_trusts_them(
    trust: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yolo_attn.host.restricted import is_restricted

    monkeypatch.delenv("YOLO_ATTN_TRUST", raising=False)
    restricted = []

    def perform(*_: object) -> Measurements:
        restricted.append(is_restricted())
        return Measurements()

    monkeypatch.setattr("yolo_attn.study.running.training.train_and_measure", perform)
    monkeypatch.setattr(worker, "_check_inputs", lambda job: job)
    (folder / "run.json").write_text(make_job(trust=trust).to_text())
    assert worker.main([str(folder)]) == 0
    assert restricted == [not trust]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (UserError("row 5: unknown layer"), "row 5: unknown layer"),
        (SystemExit("enough"), "SystemExit: enough"),
        (RuntimeError(), "RuntimeError: no message"),
    ],
)
def test_an_exception_is_a_failed_run(folder: Path, error: BaseException, message: str) -> None:
    def perform(*_: object) -> Measurements:
        raise error

    assert worker.main([str(folder)], perform) == 1
    assert (result(folder)["status"], result(folder)["error"]) == ("failed", message)


def test_a_result_that_cannot_be_written_is_not_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> None:
        raise UserError("cannot be written (stale file handle)")

    monkeypatch.setattr(job_module, "write_atomically", refuse)
    assert worker.main([str(folder)], lambda *_: Measurements()) == 73


def test_a_run_is_not_trained_on_images_that_have_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "yolo_attn.study.running.dataset.read_dataset", lambda *_, **__: SimpleNamespace(digest="another one")
    )
    assert worker.main([str(folder)]) == 1
    assert "images or labels have changed since the study was planned" in result(folder)["error"]


def test_a_full_disk_leaves_no_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> None:
        raise UserError("no space") from OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(job_module, "write_atomically", refuse)
        assert worker.main([str(folder)], lambda *_: Measurements()) == 74

    def perform(*_: object) -> Measurements:
        raise RuntimeError("file write failed")  # torch.save does not report the reason

    monkeypatch.setattr(worker, "_MIN_FREE_BYTES", 2**70)
    assert worker.main([str(folder)], perform) == 74
    assert not (folder / "result.json").exists()


def test_a_failed_run_keeps_its_training_state(folder: Path) -> None:
    state = folder / "state.pt"

    def trains_and_fails(*_: object) -> dict[str, Any]:
        state.write_bytes(b"epoch 5")
        raise RuntimeError("out of memory")

    assert worker.main([str(folder)], trains_and_fails) == 1
    assert state.read_bytes() == b"epoch 5"
    assert result(folder)["error"] == "RuntimeError: out of memory"


def test_a_state_without_progress_is_reported_and_removed_when_the_run_is_done(folder: Path) -> None:
    state = folder / "state.pt"
    state.write_bytes(b"epoch 5")

    def fails(*_: object) -> Measurements:
        raise RuntimeError("not a number")

    assert worker.main([str(folder)], fails) == 1
    assert state.exists()
    assert "not a number (it resumed from state.pt and made no progress; delete that file" in result(folder)["error"]
    (folder / "result.json").unlink()
    assert worker.main([str(folder)], lambda *_: Measurements()) == 0
    assert not state.exists()


def test_a_run_waits_for_the_ranks_of_an_earlier_attempt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_ORPHAN_SECONDS", 0.2)
    with FolderLock(folder, ".rank1.lock"):
        assert worker.main([str(folder)], lambda *_: pytest.fail("ran")) == 75
    assert worker.main([str(folder)], lambda *_: Measurements()) == 0


def test_a_folder_locked_by_an_orphan_is_not_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_ORPHAN_SECONDS", 0.2)
    (folder / "train").mkdir()
    with FolderLock(folder):
        assert worker.main([str(folder)], lambda *_: pytest.fail("ran")) == 75
    assert (folder / "train").exists()


def test_a_run_does_not_start_from_a_checkpoint_that_has_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as last.pt of a training that continues."""
    monkeypatch.setattr(worker, "_digest", lambda job: job.inputs.data)
    weights = folder / "base.pt"
    weights.write_bytes(b"1")
    job = make_job(weights=str(weights))
    planned = replace(job, inputs=replace(job.inputs, weights=file_hash(weights)))
    assert worker._check_inputs(planned) == planned
    weights.write_bytes(b"22")
    with pytest.raises(UserError, match=r"base\.pt: has changed since the study was planned"):
        worker._check_inputs(planned)


def test_a_run_starts_from_the_weights_of_a_base_that_the_study_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_digest", lambda job: job.inputs.data)
    weights = folder / "train" / "weights" / "last.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"1")
    job = make_job(weights=str(weights))
    planned = replace(job, inputs=replace(job.inputs, weights="k"))  # the key in run.json of the folder
    assert worker._check_inputs(planned) == planned
    with pytest.raises(UserError, match="has changed"):
        worker._check_inputs(replace(planned, inputs=replace(job.inputs, weights="that of another run")))
