"""Checks and loading of checkpoints, with errors of one line."""

from __future__ import annotations

import hashlib
import importlib.util
import pickletools
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils.downloads import attempt_download_asset

from yolo_attn.errors import UserError, first_line
from yolo_attn.host.binding import Binding
from yolo_attn.host.model_suggestions import suggest_checkpoint
from yolo_attn.host.restricted import is_restricted, restricted
from yolo_attn.system.files import is_file, is_folder

__all__ = ["CHECKPOINTS", "check_checkpoint", "check_layers", "download_checkpoint", "read_checkpoint", "weights_hash"]


_OLD_FORMAT = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # first bytes of checkpoints of PyTorch before 1.6
_MODEL_OWNERS = (b"ultralytics", b"models.yolo")  # packages with the classes of models
_OTHERS = ("sam_", "mobile_sam", "sam2_", "sam2.1_", "sam3", "yolo_nas")  # other models that Ultralytics supports
_LARGEST_RATIO = 50  # of the contents' size to the archive's; PyTorch does not compress


def check_checkpoint(path: str | Path) -> None:
    """Raise UserError if an existing file is not a complete checkpoint; a missing one may still be downloaded."""
    file = Path(path)
    if is_folder(file):
        raise UserError(f"{path}: a folder, not a checkpoint")
    if not is_file(file):
        meant = suggest_checkpoint(file.name)
        if meant and meant != file.name:
            raise UserError(f"{path}: no such checkpoint; did you mean {meant}?")
        return
    if file.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; copy or train it again")
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_OLD_FORMAT))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if start[:2] == b"PK":
        try:
            pickled = _pickles(file)
        except zipfile.BadZipFile as error:
            raise UserError(f"{path}: the checkpoint is truncated or damaged; copy or train it again") from error
        if not pickled:
            raise UserError(f"{path}: a zip file, but not a PyTorch checkpoint")
        if not any(owner in pickled[0] for owner in _MODEL_OWNERS) and not any(name in file.stem for name in _OTHERS):
            raise UserError(f"{path}: not a checkpoint of an Ultralytics model")
    elif start != _OLD_FORMAT:
        raise UserError(f"{path}: not a PyTorch checkpoint")


def _pickles(file: Path) -> list[bytes]:
    """Return the pickles in a checkpoint's archive.

    Raises:
        zipfile.BadZipFile: It is damaged, or its contents are suspiciously large.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > _LARGEST_RATIO * file.stat().st_size:
                raise zipfile.BadZipFile("its contents are far larger than the file")
            return [archive.read(entry) for entry in entries if entry.filename.endswith("data.pkl")]
    except (zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted, or an unknown compression
        raise zipfile.BadZipFile(str(error)) from error


def check_layers(path: str | Path) -> None:
    """Raise UserError if a checkpoint has a custom class that cannot be imported.

    Ultralytics would install a PyPI package with the name of the class's module.
    """
    for module, name in _classes(Path(path)):
        package = module.partition(".")[0]
        if package in _KNOWN_PACKAGES:
            continue
        if module == "__main__":
            if not hasattr(sys.modules[module], name):
                raise UserError(
                    f"{path}: its layer {name} was defined in a script or notebook (__main__), where no other process "
                    "finds it; define it here as well, or put its class into a file and train again with layers=FILE"
                )
        elif module not in sys.modules and not _is_importable(package if is_restricted() else module):
            raise UserError(
                f"{path}: its layer {name} is a class of the module {module}, which cannot be imported; give its "
                f"file, layers={module.replace('.', '/')}.py, or install the package that contains it"
            )


# Ultralytics has its own messages for modules that were moved. Pickles still use the last two names, of Python 2.
_KNOWN_PACKAGES = {"ultralytics", "models", "utils", "torch", "torchvision", "numpy", "__builtin__", "copy_reg"}


def _classes(file: Path) -> list[tuple[str, str]]:
    """Return module and name of every class and function in a checkpoint; [] for any other file."""
    try:
        return sorted({named for content in _pickles(file) for named in _globals(content)})
    except (OSError, ValueError, zipfile.BadZipFile):
        return []


def _globals(pickled: bytes) -> Iterator[tuple[str, str]]:
    """Yield module and name of the globals of a pickle of protocol 2, which PyTorch writes."""
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            yield module, name


def _is_importable(module: str) -> bool:
    """Return whether a module exists; its parent packages are imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package is missing
        return False


def _wrap_torch_safe_load(original: Callable[..., Any]) -> Callable[..., Any]:
    def torch_safe_load(weight: str | Path, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint unless it has a custom class that cannot be imported."""
        check_layers(weight)
        return original(weight, *args, **kwargs)

    return torch_safe_load


CHECKPOINTS = Binding(tasks, "torch_safe_load", _wrap_torch_safe_load)


def download_checkpoint(name: str) -> Path:
    """Return the path of a checkpoint; one of Ultralytics' own is downloaded if it is missing.

    Raises:
        UserError: It cannot be downloaded.
    """
    from yolo_attn.host.error_messages import connection_message

    try:
        return Path(attempt_download_asset(name)).resolve()
    except ConnectionError as error:
        raise UserError(connection_message(first_line(error))) from None


def read_checkpoint(path: str | Path) -> nn.Module:
    """Return the model of a checkpoint in float32, without running its code unless files are trusted.

    Raises:
        UserError: The file is missing and cannot be downloaded, is not a model's checkpoint, or would run code.
    """
    check_checkpoint(path)
    load = getattr(tasks, "load_checkpoint", None) or tasks.attempt_load_one_weight
    try:
        with restricted():
            model, _ = load(str(path))
    except OSError as error:  # missing, or the download failed
        raise UserError(f"{path}: no such checkpoint") from error
    except (TypeError, KeyError, AttributeError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()
        raise UserError(
            f"{path}: not a checkpoint of an Ultralytics model ({reason[0] if reason else error!r})"
        ) from error
    return model  # type: ignore[no-any-return]


def weights_hash(path: str | Path) -> str:
    """Return the SHA-256 of a checkpoint's tensors: two trainings with the same weights write different files.

    Raises:
        UserError: As for `read_checkpoint`.
    """
    digest = hashlib.sha256()
    for name, tensor in read_checkpoint(path).state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
