"""One-line messages for errors with a cause outside the code: files, disk, memory, network, invalid arguments."""

from __future__ import annotations

import errno
import os
import re
import traceback
from pathlib import Path

from yolo_attn.errors import UserError, first_line
from yolo_attn.host.binding import UnsupportedHostError
from yolo_attn.host.parser import build_problem
from yolo_attn.host.resuming import after_interruption, folder_of
from yolo_attn.system.failures import FULL_DISK, NOT_WRITABLE, disk_error, is_disk_full, is_out_of_memory

__all__ = ["connection_message", "cut_training_message", "environment_message", "stock_message"]

_PACKAGES = {  # by imported module, where the names differ or another package is needed next
    "litert_torch": "litert-torch ai-edge-litert",
    "ncnn": "ncnn pnnx",
    "rknn": "rknn-toolkit2",
    "x2paddle": "x2paddle paddlepaddle",
}
_FAILED_SAVE = "PytorchStreamWriter"  # in the message of torch.save on a full disk


def environment_message(error: Exception) -> str | None:
    """Return the message for a problem with a file, the disk, the memory, the network or a model's rows.

    Args:
        error: The error.

    Returns:
        The message; None for other errors.
    """
    if isinstance(error.__cause__, UserError):  # wrapped by Ultralytics
        return str(error.__cause__)
    if isinstance(error, UnsupportedHostError):
        return str(error)
    if is_out_of_memory(error):
        return "not enough memory; give a smaller imgsz=, or batch= if the command has it"
    if isinstance(error, ConnectionError) or type(error).__module__ == "requests.exceptions":
        return connection_message(first_line(error))
    return (_file_message(error) if isinstance(error, OSError) else None) or build_problem(error)


def _file_message(error: OSError) -> str | None:
    """Return the message for a problem with a file or the disk; None for others."""
    if isinstance(error, PermissionError) and error.filename and _is_unreadable(error.filename):
        return f"{error.filename}: cannot be read (no permission); change its permissions"
    if error.errno in FULL_DISK | NOT_WRITABLE:
        return str(disk_error(error, Path(error.filename or "the output")))
    return f"{str(error.filename)[:200]}: {error.strerror}" if error.filename and error.strerror else None


def _is_unreadable(path: str | bytes | int) -> bool:
    return os.path.exists(path) and not os.access(path, os.R_OK)  # noqa: PTH110 (the name may be bytes)


def cut_training_message(error: Exception) -> str | None:
    """Return the message for training interrupted by a full disk, with the command to resume it; None for others."""
    if not (is_disk_full(error) or _FAILED_SAVE in str(error)) or not (progress := after_interruption(error)):
        return None
    name = getattr(error, "filename", None) or folder_of(error)
    return f"{name}: no space left on the disk; free some first. The training stopped {progress}"


def stock_message(error: Exception) -> str | None:
    """Return the message for an error of Ultralytics that the user can fix; None for other errors."""
    text = first_line(error).removesuffix(" Supported formats are:")
    if message := environment_message(error):
        return message
    if isinstance(error, RuntimeError) and _FAILED_SAVE in str(error):
        return str(disk_error(OSError(errno.ENOSPC, ""), Path("a checkpoint")))
    if isinstance(error, ModuleNotFoundError) and error.name and _raised_by_host(error):
        module = error.name.partition(".")[0]
        packages = _PACKAGES.get(module, module.replace("_", "-"))
        return f"this requires {module}, which is not installed: pip install {packages}"
    if isinstance(error, NotImplementedError) and "'None' task" in text:
        return "the last row of this model is not a head, such as Detect; see: yolo-attn lint model=FILE"
    return text.removeprefix("ERROR ❌️ ") if _is_about_input(error, text) else None


def _raised_by_host(error: ModuleNotFoundError) -> bool:
    """Return True if Ultralytics imports the missing module, False if a checkpoint's classes are in it."""
    frames = [frame.filename.replace("\\", "/") for frame in traceback.extract_tb(error.__traceback__)]
    return any("/ultralytics/" in name for name in frames) and not any(
        "pickle" in name or "serialization" in name for name in frames
    )


def connection_message(text: str) -> str:
    """Return the message for a source or a file that Ultralytics could not open or download, from its own."""
    if "Failed to open" in text:  # a camera or a stream
        return f"source=: cannot be opened ({text})"
    url = re.search(r"https?://\S+?(?=\.?(\s|$))", text)
    name = url[0].rpartition("/")[2] if url else "the model"
    return f"{name}: not found, and it could not be downloaded ({text}); download it by hand, or give its path"


def _is_about_input(error: Exception, text: str) -> bool:
    """Return True if an error of Ultralytics is about the input and its first line describes the problem."""
    if isinstance(error, (FileNotFoundError, SyntaxError)):
        return True
    if _rejected_by_exporter(error):
        return True
    if isinstance(error, AssertionError):
        return "nothing to resume" in text
    if not isinstance(error, (RuntimeError, TypeError, ValueError)):
        return False
    # bfloat16 autocast requires CUDA (amp=bf16), 'imgsz=abc' is not ..., model='x.png' is not ...
    return bool(
        re.search(r"ERROR|❌|autocast requires|Dataset '|Invalid|Unsupported onnx", str(error))
        or re.match(r"'?\w+=", text)
    )


def _rejected_by_exporter(error: Exception) -> bool:
    """Return True if Ultralytics' exporter rejects the model or an argument; converters have files of their own."""
    frames = traceback.extract_tb(error.__traceback__)
    name = frames[-1].filename.replace("\\", "/") if frames else ""
    return isinstance(error, (AssertionError, ValueError)) and name.endswith("/ultralytics/engine/exporter.py")
