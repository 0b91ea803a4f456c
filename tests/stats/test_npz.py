"""Untrusted files: problems are reported in one line, and nothing large or executable is unpacked."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_attn.errors import UserError
from yolo_attn.stats import npz

HEADER = {"header.npy": np.frombuffer(json.dumps({"version": 1}).encode(), np.uint8)}


class Trap:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, ("touch sprung",)


def array(values: Any, shape: tuple[int, ...] | None = None, *, objects: bool = False) -> bytes:
    """Return an array as .npy with a wrong shape."""
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=objects)
    content = stream.getvalue()
    if shape is None:
        return content
    real, false = (str(text).encode() for text in (np.shape(values), shape))
    assert content.count(real) == 1
    return content.replace(real + b", }" + b" " * (len(false) - len(real)), false + b", }")


def write(path: Path, members: Mapping[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in {**HEADER, **members}.items():
            file.writestr(name, content if isinstance(content, bytes) else array(content))
    return path


def refuse(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        npz.load(path, 1)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def test_valid_file_is_read(tmp_path: Path) -> None:
    header, arrays = npz.load(write(tmp_path / "a.npz", {"x.npy": np.arange(6).reshape(2, 3)}), 1)
    assert header == {"version": 1}
    assert arrays["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"x.npy": array(np.array([Trap()], object), objects=True)}, "x.npy contains Python objects"),
        ({"x.npy": array(np.zeros(4), (10**12,))}, "x.npy does not have the size of its shape"),
        ({"x.npy": array(np.zeros(4), (-1000,))}, "damaged"),
        ({"x.npy": array(np.zeros(4), (2,))}, "x.npy does not have the size"),
        ({"x.npy": b"no array"}, "damaged"),
        ({"x.npy": b""}, "damaged"),
        ({"header.npy": np.frombuffer(b"[" * 100_000, np.uint8)}, "damaged"),
        ({"header.npy": np.frombuffer(b"\xff{", np.uint8)}, "damaged"),
        ({"header.npy": np.frombuffer(b"[1]", np.uint8)}, "written in format None"),
    ],
)
def test_inconsistent_file_is_rejected(fresh_folder: Path, members: Mapping[str, Any], reason: str) -> None:
    assert reason in refuse(write(fresh_folder / "a.npz", members))
    assert not Path("sprung").exists()


def test_small_file_that_unpacks_to_gigabytes_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MOST_BYTES", 2**20)
    path = write(tmp_path / "a.npz", {"x.npy": np.zeros(2**20, np.uint8)})
    assert path.stat().st_size < 5000
    assert "it unpacks to 2 arrays" in refuse(path)
    assert "arrays" in refuse(write(tmp_path / "b.npz", {f"{number}.npy": b"" for number in range(10_001)}))


def test_pickle_and_pipe_are_rejected(fresh_folder: Path) -> None:
    (fresh_folder / "a.npz").write_bytes(pickle.dumps(Trap()))
    assert "damaged" in refuse(fresh_folder / "a.npz")
    assert not Path("sprung").exists()
    if hasattr(os, "mkfifo"):
        os.mkfifo(fresh_folder / "pipe.npz")
        assert "not a file" in refuse(fresh_folder / "pipe.npz")
        with pytest.raises(UserError, match="not a file"):
            npz.fingerprint(fresh_folder / "pipe.npz")


def test_fingerprint_is_the_hash_of_all_bytes(tmp_path: Path) -> None:
    """The content can change without the archive's directory."""
    path = write(tmp_path / "a.npz", {"x.npy": np.zeros(4)})
    first, content = npz.fingerprint(path), bytearray(path.read_bytes())
    state = path.stat()
    content[80] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert npz.fingerprint(path) != first
