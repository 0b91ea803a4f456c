"""A killed training resumes to exactly the result of an uninterrupted one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset
from ultralytics.data import build_dataloader
from ultralytics.nn import tasks

from yolo_attn.host.model_files import without_letter
from yolo_attn.host.repeatable import STATE, STATE_SECONDS, check_state, find_trainer, fix_workers, load_one_epoch
from yolo_attn.study.files import TRAINING_STATE

slow = pytest.mark.slow

TRAIN = """
import os, signal, sys
from pathlib import Path
import torch
import yolo_attn
from ultralytics import YOLO
from yolo_attn.data.digits import make_digits
from yolo_attn.host.model_files import without_letter
from yolo_attn.host.repeatable import find_trainer

model, kill_in, nbs, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
data = Path("digits/digits.yaml").resolve()
if not data.exists():
    make_digits(Path.cwd(), counts={"train": 20, "val": 8, "test": 2})
torch.set_num_threads(1)
yolo = YOLO(model)
def kill(trainer):
    if trainer.start_epoch == 0 and trainer.epoch == kill_in:
        os.kill(os.getpid(), signal.SIGKILL)
def kill_at_the_end(trainer):
    if kill_in == 4 and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
yolo.add_callback("on_train_batch_end", kill)
yolo.add_callback("on_train_end", kill_at_the_end)
yolo.train(trainer=find_trainer("detect"), data=str(data), epochs=4, imgsz=64, batch=4, nbs=nbs, seed=seed,
    optimizer="SGD", lr0=0.01, lr_attention=3, warmup_epochs=1.5, close_mosaic=1, patience=0, plots=False,
    pretrained=False, device="cpu", workers=0, project=str(Path.cwd()), name="train", exist_ok=True)
"""


def train(folder: Path, *arguments: object) -> int:
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(TRAIN)
    environment = {**os.environ, STATE_SECONDS: "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    (folder / "log").open("a").write(done.stdout + done.stderr)
    return done.returncode


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "train" / "weights" / name, weights_only=False)
    return checkpoint["model"].state_dict()


def table(folder: Path) -> list[str]:
    """Return the log of each epoch without the second column, the time, and the padding of early releases."""
    lines = (folder / "train" / "results.csv").read_text().replace(" ", "").splitlines()
    return [",".join(line.split(",")[:1] + line.split(",")[2:]) for line in lines]


# nbs above the batch size leaves gradients of unfinished steps; YOLO26 has a loss whose weights follow the epoch.
@slow
@pytest.mark.parametrize(
    ("model", "kill_in", "nbs"),
    [
        ("yolo11n-cbam.yaml", 2, 12),
        ("yolo26n.yaml", 3, 4),
        ("yolo11n.yaml+DyHead[width=16]@head", 2, 12),
        ("yolo11n.yaml+RFAConv@replace:3", 1, 4),
    ],
)
def test_killed_and_resumed_is_the_same_training(tmp_path: Path, model: str, kill_in: int, nbs: int) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    if not tasks.check_yaml(without_letter(model.partition("+")[0]), hard=False):
        pytest.skip(f"this Ultralytics has no {model}")
    assert train(whole, model, 99, nbs, 0) == 0, (whole / "log").read_text()[-2000:]
    assert train(cut, model, kill_in, nbs, 0) != 0
    assert (cut / STATE).exists()
    assert train(cut, model, kill_in, nbs, 0) == 0, (cut / "log").read_text()[-2000:]
    assert f"resumes after epoch {kill_in}" in (cut / "log").read_text()
    assert table(cut) == table(whole)
    for name in ("last.pt", "best.pt"):
        one, other = weights(whole, name), weights(cut, name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@slow
def test_killed_after_the_last_epoch_no_epoch_is_added(tmp_path: Path) -> None:
    assert train(tmp_path / "cut", "yolo11n.yaml", 4, 4, 0) != 0
    assert train(tmp_path / "cut", "yolo11n.yaml", 4, 4, 0) == 0
    assert [line.split(",")[0] for line in table(tmp_path / "cut")[1:]] == ["1", "2", "3", "4"]


@slow
def test_the_seed_changes_the_data_order_and_the_initial_weights(tmp_path: Path) -> None:
    for seed in (0, 1):
        assert train(tmp_path / str(seed), "yolo11n.yaml", 99, 4, seed) == 0
    assert table(tmp_path / "0") != table(tmp_path / "1")


def test_the_state_file_has_the_name_in_the_study() -> None:
    assert STATE == TRAINING_STATE


def write_state(folder: Path) -> Path:
    torch.save({"elapsed": 12.5, "model": {"weight": torch.ones(5000)}}, folder / STATE)
    return folder / STATE


def test_a_state_contains_its_training_time(tmp_path: Path) -> None:
    assert check_state(tmp_path) == 0.0
    path = write_state(tmp_path)
    assert check_state(tmp_path) == 12.5
    assert path.exists()


@pytest.mark.parametrize("damage", ["empty", "cut short", "zeros", "other bytes", "zeros in a tensor", "another file"])
def test_a_damaged_state_is_removed(tmp_path: Path, damage: str) -> None:
    path = write_state(tmp_path)
    whole = path.read_bytes()
    damaged = {
        "empty": b"",
        "cut short": whole[:-100],
        "zeros": bytes(len(whole)),
        "other bytes": whole[:200] + b"x" * 50 + whole[250:],
        "zeros in a tensor": whole[:10_000] + bytes(512) + whole[10_512:],  # torch.load does not detect this
        "another file": b"a text",
    }
    path.write_bytes(damaged[damage])
    assert check_state(tmp_path) == 0.0
    assert not path.exists()


def test_without_validation_the_last_epoch_is_not_validated_either(tmp_path: Path) -> None:
    """Stock training would, although the study evaluates last.pt itself."""
    trainer = a_trainer(tmp_path)
    trainer.validator = None
    assert trainer.validate() == ({}, 0.1)
    trainer.args.val, trainer.world_size = True, 1
    with pytest.raises(TypeError, match="not callable"):
        trainer.validate()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_state_that_cannot_be_opened_is_not_damaged(tmp_path: Path) -> None:
    path = write_state(tmp_path)
    path.chmod(0)
    with pytest.raises(PermissionError):
        check_state(tmp_path)
    assert path.exists()


def test_a_state_is_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a power failure could replace a valid file by an empty one."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("replace"), replace(old, new)))
    a_trainer(tmp_path)._save_state()
    assert done == ["sync", "replace"]
    assert check_state(tmp_path) > 0


def a_trainer(folder: Path) -> Any:
    """Return a trainer after its third epoch, with the attributes of a state only."""
    trainer = object.__new__(find_trainer("detect"))
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    (folder / "results.csv").write_text("epoch\n")
    vars(trainer).update(
        epoch=2,
        train_time_start=time.time() - 7.0,
        model=model,
        ema=SimpleNamespace(ema=model, updates=3),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        metrics={},
        fitness=0.1,
        best_fitness=0.1,
        stopper=SimpleNamespace(),
        csv=folder / "results.csv",
        save_dir=folder / "train",
        args=SimpleNamespace(val=False),
    )
    return trainer


class Noise(Dataset[torch.Tensor]):
    """Images with a random number of Python, as augmentations have."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, random.random()])


def test_the_images_do_not_depend_on_the_cores_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics lowers the number of loader processes, each of which has its own random numbers, to that of cores."""

    def epoch(cores: int, workers: int = 3) -> torch.Tensor:
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        torch.manual_seed(0)
        loader = build_dataloader(Noise(), 4, workers, shuffle=False)
        fix_workers(loader, workers)
        loader.reset()
        loader.generator.manual_seed(0)
        batches = torch.cat(list(loader))
        assert loader.num_workers == workers
        return batches

    assert torch.equal(epoch(cores=8), epoch(cores=2))
    assert torch.equal(epoch(cores=8), epoch(cores=0))
    assert not torch.equal(epoch(cores=8), epoch(cores=8, workers=2))


def test_a_training_on_a_cpu_has_no_loader_processes() -> None:
    loader = build_dataloader(Noise(), 4, 0, shuffle=False)
    fix_workers(loader, 0)
    assert loader.num_workers == 0


class Recorded(Noise):
    """Images whose numbers the processes that load them write into a file, once there is one."""

    file: Path | None = None

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.file:
            with self.file.open("a") as stream:
                stream.write(f"{index}\n")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_image_of_the_next_epoch_is_loaded(tmp_path: Path, workers: int) -> None:
    """And those of an epoch are the ones that Ultralytics' loader yields."""

    def epoch(restart: Callable[[Any], None], file: Path) -> torch.Tensor:
        dataset = Recorded()
        loader = build_dataloader(dataset, 4, workers)
        fix_workers(loader, workers)
        dataset.file = file  # early releases start processes with the loader
        loader.generator.manual_seed(0)
        random.seed(0)
        restart(loader)
        batches = torch.cat(list(loader))
        time.sleep(0.3)  # the processes of Ultralytics' loader go on at once
        return batches

    ours = epoch(load_one_epoch, tmp_path / "ours")
    assert torch.equal(ours, epoch(lambda loader: loader.reset(), tmp_path / "stock"))
    assert len((tmp_path / "ours").read_text().split()) == len(Noise())


def test_an_epoch_is_followed_by_another() -> None:
    loader = build_dataloader(Noise(), 4, 2)
    for _ in range(2):
        load_one_epoch(loader)
        assert sorted(torch.cat(list(loader))[:, 0].tolist()) == [*range(24)]
