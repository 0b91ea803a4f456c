"""Repeatable trainers: every epoch depends on seed and number alone, and interrupted runs resume bit-exactly.

Stock training carries random states, gradients of unfinished steps and the data order from one epoch to the next, and
its checkpoints contain half-precision weights only. A resumed stock training is therefore another training. Here an
epoch begins with random states and a data order derived from (seed, epoch, rank) and ends without remaining gradients.
The whole state is written in full precision next to the stock checkpoints.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import nn
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.obb import OBBTrainer
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.utils import LOGGER, RANK

from yolo_attn.system.failures import is_disk_full
from yolo_attn.system.locks import DATASET_SECONDS, FolderLock

__all__ = ["STATE", "STATE_SECONDS", "check_state", "find_trainer", "fix_workers", "load_one_epoch"]

STATE = "state.pt"
"""The file of the whole training state, in the project folder of the training."""
STATE_SECONDS = "YOLO_ATTN_STATE_SECONDS"
"""Environment variable with the minimum number of seconds between two writes of the state."""
_DEFAULT_STATE_SECONDS = 30.0
_PREFETCHED = 4  # batches of a loader process, as in Ultralytics


class _Repeatable:
    """Mixin for Ultralytics' trainers."""

    trains_controls = True
    """Whether identities in a model are rows of a control, which `freeze` does not count."""
    _in_epoch = False
    _pending = 0
    _accumulate = 1
    _elapsed = 0.0  # seconds trained before this process
    _saved_at: float | None = None

    # Methods that Ultralytics calls.

    def run_callbacks(self: Any, event: str) -> None:
        """Handle an event, then run the stock callbacks."""
        if event == "on_pretrain_routine_end":
            self._restore_state()
        elif event == "on_train_start":
            self._saved_at = time.monotonic()
            self.train_time_start -= self._elapsed
        elif event == "on_train_epoch_start":
            self._begin_epoch()
        elif event == "on_train_epoch_end":
            self._end_epoch()
        super().run_callbacks(event)  # type: ignore[misc]

    @property
    def accumulate(self) -> int:
        """Number of batches for one optimizer step.

        Ultralytics counts batches in a local variable, which a resumed training could not restore. Therefore it steps
        after every batch, and `optimizer_step` counts.
        """
        return 1 if self._in_epoch else self._accumulate

    @accumulate.setter
    def accumulate(self, value: int) -> None:
        self._accumulate = value

    def optimizer_step(self: Any) -> None:
        """Step if enough batches were processed since the last step."""
        self._pending += 1
        if self._pending >= self._accumulate:
            self._pending = 0
            super().optimizer_step()  # type: ignore[misc]

    def save_model(self: Any) -> Any:
        """Save the stock checkpoints and, at intervals, the whole state."""
        saved = super().save_model()  # type: ignore[misc]
        finished = self.stop or self.epoch + 1 >= self.epochs  # nothing left to resume but the evaluation
        if not finished and time.monotonic() - (self._saved_at or 0.0) >= _state_seconds():
            self._save_state()
        return saved

    def validate(self: Any) -> tuple[Any, Any]:
        """Validate unless `val=False`; stock training validates the last epoch even then, as the study does itself."""
        if self.args.val:
            return super().validate()  # type: ignore[misc,no-any-return]
        return self.metrics, self.fitness

    def get_dataloader(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Build a data loader; one run of a study at a time scans the dataset and writes its label cache."""
        lock = FolderLock(self.run_folder.parent) if RANK in {-1, 0} else None
        if lock is None:
            return super().get_dataloader(*args, **kwargs)  # type: ignore[misc]
        lock.acquire(DATASET_SECONDS)
        with lock:
            return super().get_dataloader(*args, **kwargs)  # type: ignore[misc]

    def final_eval(self: Any) -> None:
        """Strip the checkpoints, which the study evaluates itself."""
        from ultralytics.utils.torch_utils import strip_optimizer

        if RANK in {-1, 0}:
            for checkpoint in (self.last, self.best):
                if checkpoint.exists():
                    strip_optimizer(checkpoint)

    def _build_train_pipeline(self: Any) -> None:
        """Build the loaders once; Ultralytics builds them again only to halve the batch."""
        if self._in_epoch:
            raise RuntimeError(
                f"out of memory with batch={self.args.batch * 2}: Ultralytics would continue with half of it, and this "
                "run would be trained differently from the others; use a smaller batch= for all of them"
            )
        super()._build_train_pipeline()  # type: ignore[misc]

    def _close_dataloader_mosaic(self: Any) -> None:
        """Close the mosaic and restart the epoch's data order, which makes closing it twice harmless."""
        super()._close_dataloader_mosaic()  # type: ignore[misc]
        self._seed_loader()

    # Epochs that depend on seed and number alone.

    def _begin_epoch(self: Any) -> None:
        self._in_epoch = True
        self._pending = 0
        seed = self._epoch_seed("global")
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 (Ultralytics uses the global stream)
        torch.manual_seed(seed)
        _forget_images(self.train_loader.dataset)
        self._seed_loader()
        fix_workers(self.train_loader, self.args.workers)
        load_one_epoch(self.train_loader)

    def _end_epoch(self: Any) -> None:
        if self._pending:
            self._pending = 0
            super().optimizer_step()  # type: ignore[misc]
        self._in_epoch = False

    def _seed_loader(self: Any) -> None:
        loader = self.train_loader
        sampler: Any = getattr(loader, "sampler", None)
        if hasattr(sampler, "set_epoch"):  # multi-GPU: the sampler has its own seed, which stock training never sets
            sampler.seed = self.args.seed
            sampler.set_epoch(self.epoch if self._in_epoch else self.start_epoch)
        if getattr(loader, "generator", None) is not None:
            loader.generator.manual_seed(self._epoch_seed("loader"))

    def _epoch_seed(self: Any, what: str) -> int:
        epoch = self.epoch if self._in_epoch else self.start_epoch
        text = f"{what} {self.args.seed} {epoch} {RANK}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")

    # The whole state.

    def _save_state(self: Any) -> None:
        state = {
            "epoch": self.epoch + 1,
            "elapsed": time.time() - self.train_time_start,
            "model": _plain(self.model).state_dict(),
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {k: v for k, v in self.scheduler.state_dict().items() if k != "lr_lambdas"},
            "scaler": self.scaler.state_dict(),
            "metrics": _numbers(self.metrics),
            "fitness": _number(self.fitness),
            "best_fitness": _number(self.best_fitness),
            "stopper": _numbers(vars(self.stopper)),
            "csv": self.csv.read_text(encoding="utf-8"),
            "best": _file_tensor(self.best) if self.args.val else None,
        }
        path = self._state_path()
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as stream:
                torch.save(_without_numpy(state), stream)
                stream.flush()
                os.fsync(stream.fileno())  # after a power failure the file is either the old or the new state
            os.replace(temporary, path)  # noqa: PTH105
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            if is_disk_full(error):
                raise
            LOGGER.warning(f"yolo-attn: {path} could not be written ({error}) and will be tried again")
        self._saved_at = time.monotonic()

    def _restore_state(self: Any) -> None:
        path = self._state_path()
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        _plain(self.model).load_state_dict(state["model"])
        if self.ema:
            self.ema.ema.load_state_dict(state["ema"])
            self.ema.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.__dict__.update(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.start_epoch = state["epoch"]
        self.fitness, self.best_fitness = state["fitness"], state["best_fitness"]
        self.stopper.__dict__.update(state["stopper"])
        self._elapsed = state["elapsed"]
        self._restore_loss(state["epoch"])
        if self.args.close_mosaic and self.start_epoch > self.epochs - self.args.close_mosaic:
            self._close_dataloader_mosaic()
        if RANK in {-1, 0}:
            self.metrics = state["metrics"]
            self.csv.write_text(state["csv"], encoding="utf-8")
            if state["best"] is not None:
                self.best.write_bytes(state["best"].numpy().tobytes())
        LOGGER.info(f"yolo-attn: resumes after epoch {state['epoch']}")

    def _restore_loss(self: Any, epoch: int) -> None:
        """Restore losses whose weights change with the epoch, as stock resuming does."""
        model: Any = _plain(self.model)
        if hasattr(model, "init_criterion"):
            criterion = model.init_criterion()
            if hasattr(criterion, "update") and hasattr(criterion, "updates"):
                criterion.updates = epoch - 1
                criterion.update()
                model.criterion = criterion

    def _state_path(self: Any) -> Path:
        return Path(self.run_folder / STATE)

    @property
    def run_folder(self: Any) -> Path:
        """The folder of this training's run."""
        return Path(self.save_dir).parent


class RepeatableDetectionTrainer(_Repeatable, DetectionTrainer):  # type: ignore[misc]
    """Repeatable trainer for detection."""


class RepeatableSegmentationTrainer(_Repeatable, SegmentationTrainer):  # type: ignore[misc]
    """Repeatable trainer for segmentation."""


class RepeatablePoseTrainer(_Repeatable, PoseTrainer):  # type: ignore[misc]
    """Repeatable trainer for pose estimation."""


class RepeatableOBBTrainer(_Repeatable, OBBTrainer):  # type: ignore[misc]
    """Repeatable trainer for oriented boxes."""


class RepeatableClassificationTrainer(_Repeatable, ClassificationTrainer):  # type: ignore[misc]
    """Repeatable trainer for classification."""


class RepeatableRTDETRTrainer(_Repeatable, RTDETRTrainer):  # type: ignore[misc]
    """Repeatable trainer for RT-DETR."""


# Multi-GPU workers import these classes by their names in this module.
_TRAINERS: dict[str, type] = {
    "detect": RepeatableDetectionTrainer,
    "segment": RepeatableSegmentationTrainer,
    "pose": RepeatablePoseTrainer,
    "obb": RepeatableOBBTrainer,
    "classify": RepeatableClassificationTrainer,
}

with contextlib.suppress(ImportError):  # earlier releases have no semantic segmentation
    from ultralytics.models.yolo.semantic import SemanticSegmentationTrainer

    class RepeatableSemanticTrainer(_Repeatable, SemanticSegmentationTrainer):  # type: ignore[misc]
        """Repeatable trainer for semantic segmentation."""

    _TRAINERS["semantic"] = RepeatableSemanticTrainer


def find_trainer(task: str, *, rtdetr: bool = False) -> type:
    """Return the repeatable trainer of a task.

    Args:
        task: "detect", "segment", "pose", "obb", "classify" or "semantic".
        rtdetr: Whether the model is an RT-DETR.
    """
    return RepeatableRTDETRTrainer if rtdetr else _TRAINERS[task]


def check_state(folder: Path) -> float:
    """Return the seconds of training before the state in a project folder, or 0 without a state.

    A damaged state (by a disk failure or an interrupted copy) is removed and logged. It is checked once here instead of
    on restoring, because all processes of a multi-GPU training must agree on it.
    """
    path = folder / STATE
    if not path.exists():
        return 0.0
    with path.open("rb") as stream:  # a file that cannot be opened (permissions, network) is not damaged
        seconds = _read_seconds(path, stream)
    if seconds is None:
        path.unlink()
        LOGGER.warning(f"yolo-attn: {path} was damaged and has been removed; the training restarts")
    return seconds or 0.0


def _read_seconds(path: Path, stream: IO[bytes]) -> float | None:
    """Return the seconds of training before a state, or None if any of its bytes is damaged."""
    try:
        with zipfile.ZipFile(stream) as archive:  # the format of torch.save; torch.load does not verify checksums
            if archive.testzip() is not None:
                return None
        # mmap leaves the tensors on disk; only one number is read.
        return float(torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)["elapsed"])
    except Exception:  # damaged bytes may read as anything
        return None


def _state_seconds() -> float:
    return float(os.environ.get(STATE_SECONDS, _DEFAULT_STATE_SECONDS))


def fix_workers(loader: Any, workers: int) -> None:
    """Give a loader exactly the processes of `workers=`.

    Each process has its own random numbers, so the augmented images depend on how many there are. Ultralytics lowers
    their number to that of the CPU cores for each GPU, which differs between machines.

    Args:
        loader: A loader, which is reset afterwards; one with a single batch keeps its number.
        workers: The number of processes; 0 for none.
    """
    if workers and len(loader) > 1:
        loader.num_workers = workers
        loader.prefetch_factor = loader.prefetch_factor or _PREFETCHED


def load_one_epoch(loader: Any) -> None:
    """Restart a loader for one epoch.

    The processes of Ultralytics' loader go on with the next epoch, up to four batches each. The next restart would
    discard these batches, which for a small dataset can be more than those of the epoch.

    Args:
        loader: A loader of Ultralytics.
    """
    object.__setattr__(loader, "batch_sampler", _OneEpoch(loader.batch_sampler.sampler))  # PyTorch forbids `=`
    loader.reset()


class _OneEpoch:
    """The sampler of batches in the place of Ultralytics' one that repeats it.

    Args:
        sampler: The sampler, which the length of the loader is read from.
    """

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.sampler)


def _plain(model: Any) -> nn.Module:
    """Return a model without its wrappers for compilation and multi-GPU training."""
    while not hasattr(model, "yaml") and (hasattr(model, "_orig_mod") or hasattr(model, "module")):
        model = getattr(model, "_orig_mod", None) or model.module
    return model  # type: ignore[no-any-return]


def _forget_images(dataset: Any) -> None:
    """Empty the buffer of mosaic images, which in-process loaders would carry from epoch to epoch."""
    buffer = getattr(dataset, "buffer", None)
    if not isinstance(buffer, list):
        return
    if getattr(dataset, "cache", None) != "ram":
        for index in buffer:
            dataset.ims[index] = dataset.im_hw0[index] = dataset.im_hw[index] = None
    buffer.clear()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _numbers(values: Any) -> dict[str, Any]:
    """Return the plain numbers of a mapping, which the safe loader accepts."""
    kinds = (int, float, np.number, np.ndarray, torch.Tensor)
    found = {k: v for k, v in (values or {}).items() if isinstance(v, kinds)}
    return {k: v if isinstance(v, (bool, int)) else float(v) for k, v in found.items()}


def _without_numpy(value: Any) -> Any:
    """Return a state with Python numbers instead of numpy's, which the safe loader rejects."""
    if isinstance(value, dict):
        return {key: _without_numpy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_numpy(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def _file_tensor(path: Path) -> torch.Tensor | None:
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) if path.exists() else None
