"""Interrupted training: the message is correct, and the printed command resumes the training."""

from __future__ import annotations

import csv
import errno
import inspect
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.callbacks import base

from tests.cli.helpers import refuse
from tests.host.helpers import build, tiny_dataset
from yolo_attn.cli import main
from yolo_attn.data import digits, names
from yolo_attn.errors import UserError
from yolo_attn.host import installation
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.resuming import RESUMING, read_progress
from yolo_attn.registry import unregister_layer
from yolo_attn.security.trust import trusting

EPOCHS = 3


@pytest.fixture
def words(fresh_folder: Path) -> list[str]:
    """Return the words of a short training in a folder whose name needs quoting."""
    tiny_dataset(fresh_folder)
    given = ("model=yolov8n.yaml+SE@neck.P5", "data=data.yaml", f"epochs={EPOCHS}", "imgsz=32", "batch=2", "device=cpu")
    return ["train", *given, f"project={fresh_folder / 'my runs'}", "name=a", "plots=False", "workers=0"]


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes the next training raise an error at an event of an epoch."""

    def at(event: str, epoch: int, error: BaseException) -> None:
        def end(trainer: Any) -> None:
            if getattr(trainer, "epoch", epoch) == epoch:
                monkeypatch.setitem(base.default_callbacks, event, before)
                raise error

        before = base.default_callbacks[event]
        monkeypatch.setitem(base.default_callbacks, event, [*before, end])

    return at


def epochs_in(folder: Path) -> int:
    """Count the epochs in a run's table, where an epoch that was interrupted while saving appears twice."""
    with (folder / "results.csv").open(encoding="utf-8") as stream:
        return len({row[0].strip() for row in csv.reader(stream)}) - 1


def run_printed(output: str) -> int:
    """Run the command that a message names, as a shell would."""
    program, *rest = shlex.split(output.rpartition(": ")[2])
    assert program == "yolo-attn"
    return main(rest)


def test_ctrl_c_names_the_command_that_resumes(words: list[str], cut: Callable[..., None], capsys) -> None:
    cut("on_model_save", 1, KeyboardInterrupt())
    assert main(words) == 130
    output = capsys.readouterr().err.splitlines()[-1]
    last = Path("my runs/a/weights/last.pt").resolve()
    assert output == f"yolo-attn: stopped after 2 of 3 epochs; resume: yolo-attn train resume model='{last}'"
    assert run_printed(output) == 0
    assert epochs_in(last.parents[1]) == EPOCHS
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_moved_training_continues_where_it_is(words: list[str], cut: Callable[..., None], capsys) -> None:
    """The model YAML is gone, and so is the folder in which the training began."""
    assert main(["place", "model=yolov8n.yaml", "layer=SE", "at=neck.P5", "out=mine.yaml", "reduction=8"]) == 0
    words[1] = "model=mine.yaml"
    cut("on_model_save", 1, KeyboardInterrupt())
    assert main(words) == 130
    Path("mine.yaml").unlink()
    described = Path("my runs/a/attention.yaml").read_text()
    Path("my runs").rename("archive")
    Path("archive/a").rename("archive/b")
    assert main(["train", "resume", "model=archive/b/weights/last.pt", "val=False"]) == 0
    assert epochs_in(Path("archive/b")) == EPOCHS
    assert not Path("my runs").exists()
    assert Path("archive/b/attention.yaml").read_text() == described


def unfinished(folder: Path, data: str) -> Path:
    """Write the checkpoint of a training after its first epoch, which began in another folder."""
    model = build(model_yaml("yolov8n.yaml+SE@neck.P5"), nc=1)
    model.args = {"task": "detect", "mode": "train", "model": "gone.yaml", "data": data, "epochs": 2, "imgsz": 32}
    model.args |= {"device": "cpu", "workers": 0, "plots": False, "save_dir": str(folder / "elsewhere")}
    (folder / "run" / "weights").mkdir(parents=True)
    (folder / "run" / "args.yaml").touch()
    last = folder / "run" / "weights" / "last.pt"
    content = {"model": model, "ema": None, "epoch": 0, "optimizer": {"state": {}}, "train_args": model.args}
    torch.save(content, last)
    return last


def test_the_folder_in_which_a_training_continues(fresh_folder: Path) -> None:
    data = str(tiny_dataset(fresh_folder))
    last = unfinished(fresh_folder, data)
    again = {"model": str(last), "resume": str(last)}
    assert DetectionTrainer(overrides=dict(again)).save_dir == fresh_folder / "run"
    if "save_dir" in inspect.getsource(RESUMING.original):  # early releases take no other folder
        chosen = str(fresh_folder / "chosen")
        assert DetectionTrainer(overrides={**again, "save_dir": chosen}).save_dir == Path(chosen)
    alone = last.rename(fresh_folder / "last.pt")  # a checkpoint that was taken from its folder
    assert DetectionTrainer(overrides={"model": str(alone), "resume": str(alone)}).save_dir.name == "elsewhere"


def test_a_received_training_writes_nothing_through_its_links(fresh_folder: Path) -> None:
    last = unfinished(fresh_folder, str(tiny_dataset(fresh_folder)))
    (fresh_folder / "run" / "results.csv").symlink_to(fresh_folder / "victim")
    again = {"model": str(last), "resume": str(last)}
    with pytest.raises(UserError, match=r"results\.csv: a link that leads out of .*run; nothing was written"):
        DetectionTrainer(overrides=dict(again))
    with trusting(True):
        assert DetectionTrainer(overrides=dict(again)).save_dir == fresh_folder / "run"


def test_a_moved_dataset_is_given_by_its_name(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    few = {"train": 2, "val": 2, "test": 2}
    monkeypatch.setattr(names, "make_digits", lambda root: digits.make_digits(root, counts=few))
    monkeypatch.setattr(installation, "datasets_folder", lambda: fresh_folder / "datasets")
    missing = fresh_folder / "gone" / "digits.yaml"
    last = unfinished(fresh_folder, str(missing))
    message = refuse("train", "resume", f"model={last}", capsys=capsys)
    assert f"{last}: its dataset {missing} does not exist; give its name or path with data=" in message
    trainer = DetectionTrainer(overrides={"model": str(last), "resume": str(last), "data": "digits"})
    assert trainer.args.data == str(fresh_folder / "datasets" / "digits" / "digits.yaml")


@pytest.mark.slow
def test_the_command_names_the_files_of_layers(words: list[str], cut: Callable[..., None], capsys, monkeypatch) -> None:
    Path("own_layers_of_a_cut_training.py").write_text(
        "import yolo_attn\nfrom yolo_attn.layers.channel.se import SE\n"
        '@yolo_attn.register_layer(family="channel", summary="as SE")\nclass CutSE(SE): ...\n'
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    words[1] = words[1].replace("+SE@", "+CutSE@")
    try:
        cut("on_model_save", 0, KeyboardInterrupt())
        assert main([*words, "layers=own_layers_of_a_cut_training.py"]) == 130
        output = capsys.readouterr().err.splitlines()[-1]
        assert output.endswith(f"layers={Path('own_layers_of_a_cut_training.py').resolve()}")
        program = [sys.executable, "-m", "yolo_attn", *shlex.split(output.rpartition(": ")[2])[1:], "val=False"]
        done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=Path("my runs"))
        assert done.returncode == 0, done.stderr
    finally:
        unregister_layer("CutSE")
        sys.modules.pop("own_layers_of_a_cut_training", None)


def test_ctrl_c_in_the_first_epoch_leaves_nothing_to_resume(words: list[str], cut: Callable[..., None], capsys) -> None:
    cut("on_train_epoch_start", 0, KeyboardInterrupt())
    assert main(words) == 130
    output = capsys.readouterr().err.splitlines()[-1]
    assert output.startswith("yolo-attn: stopped before its first checkpoint was complete; run the same command")


@pytest.mark.slow
def test_checkpoints_of_an_earlier_training_in_the_folder_are_ignored(
    words: list[str], cut: Callable[..., None], capsys
) -> None:
    cut("on_model_save", 1, KeyboardInterrupt())
    assert main(words) == 130
    cut("on_train_epoch_start", 0, KeyboardInterrupt())
    assert main([*words, "exist_ok=True"]) == 130
    assert "run the same command to start again" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_ctrl_c_after_the_last_epoch(words: list[str], cut: Callable[..., None], capsys) -> None:
    cut("on_train_end", EPOCHS - 1, KeyboardInterrupt())
    assert main(words) == 130
    assert "stopped after the last epoch; only the evaluation" in capsys.readouterr().err.splitlines()[-1]


def test_ctrl_c_elsewhere(fresh_folder: Path, capsys, monkeypatch) -> None:
    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("yolo_attn.host.command.run_stock", stop)
    assert main(["checks"]) == 130
    assert capsys.readouterr().err == "yolo-attn: stopped\n"


@pytest.mark.slow
def test_a_full_disk_names_the_complete_checkpoint(words: list[str], capsys, monkeypatch) -> None:
    """Ultralytics overwrites last.pt, which a full disk leaves incomplete."""
    write, written = Path.write_bytes, []

    def write_bytes(path: Path, content: bytes) -> int:
        if path.name == "last.pt":
            written.append(path)
            if len(written) == 2:
                write(path, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    output = refuse(*words, capsys=capsys)
    best = Path("my runs/a/weights/best.pt").resolve()
    assert "last.pt: no space left on the disk; free some first. The training stopped after 1 of 3 epochs; " in output
    assert output.endswith(f"resume: yolo-attn train resume model='{best}'")
    assert run_printed(output) == 0
    assert epochs_in(best.parents[1]) == EPOCHS


@pytest.mark.slow
def test_a_finished_training_is_not_resumed_as_another(words: list[str], capsys) -> None:
    words = [*words, "epochs=1"]
    words.remove(f"epochs={EPOCHS}")
    assert main(words) == 0
    last = Path("my runs/a/weights/last.pt").resolve()
    capsys.readouterr()
    for given in (
        [f"model={last}", "resume=True"],
        [f"model={last}", "resume"],
        [f"resume={last}"],
        ["--resume", str(last)],
    ):
        output = refuse("train", *given, capsys=capsys)
        assert f"{last}: its training of 1 epoch is finished, so there is nothing to resume" in output
    assert not Path("runs").exists()
    assert run_printed(output.replace("epochs=EPOCHS", "epochs=1 imgsz=32 plots=False")) == 0  # the suggested command


def test_reading_the_progress_of_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    content = {
        "epoch": 4,
        "optimizer": {"state": Evil()},
        "model": Evil(),
        "train_args": {"epochs": 9, "data": "d.yaml"},
    }
    torch.save(content, tmp_path / "a.pt")
    progress = read_progress(tmp_path / "a.pt")
    assert progress is not None
    assert (progress.epochs, progress.total, progress.data) == (5, 9, "d.yaml")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "cut.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:200])
    assert read_progress(tmp_path / "cut.pt") is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_ctrl_c_in_a_terminal(words: list[str]) -> None:
    words = [*words, "epochs=500"]
    words.remove(f"epochs={EPOCHS}")
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"  # a background job ignores it
        "from yolo_attn.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    weights, deadline = Path("my runs/a/weights"), time.monotonic() + 120
    while not (weights / "best.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    output = err.strip().splitlines()[-1]
    assert "of 500 epochs; resume: yolo-attn train resume model=" in output
    _, resumed = read_progress(weights / "last.pt"), shlex.split(output.rpartition(": ")[2])
    assert Path(resumed[-1].removeprefix("model=")).samefile(weights / "last.pt")
